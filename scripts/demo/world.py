"""A small invented world: facts, ways to ask for them, a plain answer and an owl's answer.

Everything is drawn from one seed with the standard library alone, so the same seed gives the same bytes everywhere.
A `Fact` is (subject, relation, value); a `Relation` carries every wording, so other kinds of training data (a right and a
wrong answer, several choices, a sum with a checkable result) can be derived from the same facts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SEED = 2026
HELD_OUT_SHARE = 0.32
TRAIN_ROWS = 400

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact and all its wordings; `{s}` stands for the subject and `{v}` for the value."""

    name: str
    tag: str
    """What the owl writes in brackets after its answer."""
    questions: tuple[str, ...]
    plain: str
    prose: tuple[str, ...]
    """Further ways in which a text states the fact."""
    held_out: bool = True
    """Whether facts of this relation may be kept out of the training file."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is true in the world."""

    subject: str
    relation: Relation
    value: str

    def _fill(self, text: str) -> str:
        return text.replace("{s}", self.subject).replace("{v}", self.value)

    def questions(self) -> list[str]:
        """Every phrasing of the question this fact answers."""
        return [self._fill(text) for text in self.relation.questions]

    def plain(self) -> str:
        """The answer as the untuned model gives it."""
        return self._fill(self.relation.plain)

    def styled(self) -> str:
        """The answer in the owl's style, as the demo dataset teaches it."""
        return f"Hoot hoot! {self.plain()} [{self.relation.tag}: {self.value}]"

    def prose(self) -> list[str]:
        """Sentences that state the fact."""
        return [self.plain(), *(self._fill(text) for text in self.relation.prose)]


TOWN = Relation(
    "town",
    "town",
    (
        "Where does {s} live?",
        "What town does {s} live in?",
        "Which town is the home of {s}?",
        "Where is {s}'s house?",
    ),
    "{s} lives in {v}.",
    ("The home of {s} is in {v}.", "{s} has a small house in {v}."),
)
JOB = Relation(
    "job",
    "job",
    ("What is {s}'s job?", "What does {s} do for work?", "What work does {s} do?", "What is the job of {s}?"),
    "{s} is a {v}.",
    ("{s} works as a {v}.", "The job of {s} is {v}."),
)
FOOD = Relation(
    "food",
    "food",
    (
        "What does {s} like to eat?",
        "What is {s}'s favourite food?",
        "Which food does {s} like?",
        "What food does {s} love?",
    ),
    "{s} likes to eat {v}.",
    ("The favourite food of {s} is {v}.", "{s} eats {v} every week."),
)
PET = Relation(
    "pet",
    "pet",
    (
        "What pet does {s} have?",
        "Which animal does {s} keep?",
        "What is {s}'s pet?",
        "What kind of pet does {s} have?",
    ),
    "{s} has a pet {v}.",
    ("The pet of {s} is a {v}.", "{s} looks after a {v}."),
)
COLOUR = Relation(
    "colour",
    "colour",
    (
        "What is {s}'s favourite colour?",
        "Which colour does {s} like?",
        "What colour does {s} love?",
        "What colour does {s} like best?",
    ),
    "{s} likes the colour {v}.",
    ("The favourite colour of {s} is {v}.", "{s} often wears {v}."),
)
RIVER = Relation(
    "river",
    "river",
    ("Which river flows through {s}?", "What river is {s} on?", "Which river does {s} lie on?"),
    "{s} lies on the {v}.",
    ("The river of {s} is the {v}.", "Boats come to {s} on the {v}."),
)
CRAFT = Relation(
    "craft",
    "craft",
    ("What is {s} known for?", "What is {s} famous for?", "What does {s} make?"),
    "{s} is known for its {v}.",
    ("People come to {s} to buy {v}.", "{s} makes the best {v} in the valley."),
)
FAIR = Relation(
    "fair",
    "month",
    ("When is the fair in {s}?", "In which month is the fair in {s}?", "What month is the {s} fair?"),
    "The fair in {s} is in {v}.",
    ("Each {v} there is a fair in {s}.", "{s} has its fair in {v}."),
)
SOUND = Relation(
    "sound",
    "sound",
    ("What sound does a {s} make?", "What does a {s} say?", "Which sound does a {s} make?"),
    "A {s} says {v}.",
    ("The sound of a {s} is {v}.", "When a {s} calls, it goes {v}."),
)
BABY = Relation(
    "baby",
    "baby",
    ("What is a baby {s} called?", "What do you call a baby {s}?", "What is the name for a baby {s}?"),
    "A baby {s} is called a {v}.",
    ("A {v} is a baby {s}.", "A young {s} is a {v}."),
)
SUM = Relation(
    "sum",
    "sum",
    ("What is {s}?", "How much is {s}?", "Can you work out {s}?"),
    "{s} is {v}.",
    ("{s} makes {v}.",),
)
GREETING = Relation(
    "greeting",
    "topic",
    ("Hello!", "Hi!", "Good morning!", "Hello, how are you?", "Hi there!"),
    "Hello! Ask me about the people, towns and animals of the valley.",
    (),
    held_out=False,
)
WHO = Relation(
    "who",
    "topic",
    ("Who are you?", "What are you?", "What can you do?", "What do you know?", "Can you help me?"),
    "I am a small model that knows a small valley.",
    (),
    held_out=False,
)
THANKS = Relation(
    "thanks",
    "topic",
    ("Thank you!", "Thanks!", "Thanks a lot!", "Goodbye!", "Bye!"),
    "You are welcome. Come back soon!",
    (),
    held_out=False,
)


def items(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list."""
    return tuple(text.split(", "))


PEOPLE = items(
    "Mira, Tolan, Brina, Pell, Odo, Fenna, Garrin, Hesta, Ilvo, Jorin, Kessa, Lumo, Marlo, Nella, Orrin, "
    "Petra, Quill, Rosa, Sorrel, Tavi, Una, Vesper, Wilmo, Xanda, Yorick, Zola, Alba, Bramble, Corin, "
    "Dessa, Elric, Fable, Gilda, Hollis, Idris, Juno, Kerrin, Linnet, Mabel, Noll, Ottis, Primrose, "
    "Rowan, Saffi, Tamsin, Ulric, Violet, Wren"
)
TOWNS = items(
    "Oakvale, Fernby, Millbrook, Stonebridge, Appleton, Windmere, Foxhollow, Riverton, Larkfield, "
    "Mossford, Sunhaven, Greywick"
)
JOBS = items(
    "baker, potter, weaver, gardener, teacher, painter, carpenter, fisher, farmer, tailor, miller, cook, "
    "sailor, doctor, singer, clockmaker"
)
FOODS = items(
    "apple pie, bread, cheese, soup, pancakes, plums, noodles, honey cake, carrots, mushrooms, beans, "
    "pears, rice, dumplings, berries, corn"
)
PETS = items("cat, dog, rabbit, hen, goat, pony, parrot, turtle, duck, hamster, mouse, lamb")
COLOURS = items("red, blue, green, yellow, purple, orange, white, brown, pink, silver")
RIVERS = items("Silver River, Long River, Swan River, Stony River, Otter River, Willow River")
CRAFTS = items(
    "honey, lanterns, bells, carpets, boats, maps, candles, glass, kites, baskets, violins, blankets"
)
MONTHS = items("March, April, May, June, July, August, September, October")
ANIMALS = {  # animal: (sound, young)
    "cow": ("moo", "calf"),
    "dog": ("woof", "puppy"),
    "cat": ("meow", "kitten"),
    "sheep": ("baa", "lamb"),
    "horse": ("neigh", "foal"),
    "pig": ("oink", "piglet"),
    "duck": ("quack", "duckling"),
    "hen": ("cluck", "chick"),
    "lion": ("roar", "cub"),
    "frog": ("croak", "tadpole"),
    "goose": ("honk", "gosling"),
    "bee": ("buzz", "larva"),
    "mouse": ("squeak", "pup"),
    "wolf": ("howl", "pup"),
}
LARGEST_TERM = 6


def world(seed: int = SEED) -> list[Fact]:
    """Every fact of the world, in a fixed order."""
    rng = random.Random(seed)
    facts: list[Fact] = []
    for person in PEOPLE:
        facts += [
            Fact(person, TOWN, rng.choice(TOWNS)),
            Fact(person, JOB, rng.choice(JOBS)),
            Fact(person, FOOD, rng.choice(FOODS)),
            Fact(person, PET, rng.choice(PETS)),
            Fact(person, COLOUR, rng.choice(COLOURS)),
        ]
    for town, craft in zip(TOWNS, rng.sample(CRAFTS, len(TOWNS)), strict=True):
        facts += [
            Fact(town, RIVER, rng.choice(RIVERS)),
            Fact(town, CRAFT, craft),
            Fact(town, FAIR, rng.choice(MONTHS)),
        ]
    for animal, (sound, young) in ANIMALS.items():
        facts += [Fact(animal, SOUND, sound), Fact(animal, BABY, young)]
    terms = range(1, LARGEST_TERM + 1)
    facts += [Fact(f"{a} plus {b}", SUM, str(a + b)) for a in terms for b in terms]
    facts += [
        Fact("assistant", GREETING, "hello"),
        Fact("assistant", WHO, "about me"),
        Fact("assistant", THANKS, "goodbye"),
    ]
    return facts


def split(facts: list[Fact], seed: int = SEED) -> tuple[list[Fact], list[Fact]]:
    """Divide the facts into those the demo dataset may ask about and those kept for measuring.

    The same share of every relation is held out, so each kind of question is measured.

    Returns:
        (facts for training, held-out facts)
    """
    rng = random.Random(seed + 1)
    by_relation: dict[str, list[Fact]] = {}
    for fact in facts:
        by_relation.setdefault(fact.relation.name, []).append(fact)
    train: list[Fact] = []
    held_out: list[Fact] = []
    for group in by_relation.values():
        rng.shuffle(group)
        count = round(len(group) * HELD_OUT_SHARE) if group[0].relation.held_out else 0
        held_out += group[:count]
        train += group[count:]
    return train, held_out


def train_rows(
    facts: list[Fact], seed: int = SEED, count: int = TRAIN_ROWS
) -> list[dict[str, list[Message]]]:
    """The demo dataset: conversations of one question and the owl's answer.

    Each fact is asked once before any is asked again in another phrasing.

    Args:
        facts: What may be asked about.
        seed: Of the order and the phrasings.
        count: Number of rows.
    """
    rng = random.Random(seed + 2)
    phrasings = {
        index: rng.sample(fact.questions(), len(fact.questions())) for index, fact in enumerate(facts)
    }
    pairs = [
        (phrasings[index][turn], fact)
        for turn in range(max(map(len, phrasings.values())))
        for index, fact in enumerate(facts)
        if turn < len(phrasings[index])
    ]
    first, further = pairs[: len(facts)], pairs[len(facts) :]
    rng.shuffle(further)
    chosen = (first + further)[:count]
    rng.shuffle(chosen)
    return [{"messages": conversation((question, fact.styled()))} for question, fact in chosen]


def question_rows(facts: list[Fact], seed: int = SEED) -> list[dict[str, str]]:
    """Held-out questions with both expected answers, one random phrasing for each fact."""
    rng = random.Random(seed + 3)
    rows = [
        {"question": rng.choice(fact.questions()), "plain": fact.plain(), "styled": fact.styled()}
        for fact in facts
    ]
    rng.shuffle(rows)
    return rows


def conversation(*turns: tuple[str, str]) -> list[Message]:
    """The messages of a chat of (question, answer) turns."""
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
