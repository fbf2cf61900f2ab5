"""The text the demo model is pre-trained on: the world's facts as short documents and as chats with plain answers."""

from __future__ import annotations

import random
from dataclasses import dataclass

from scripts.demo.world import SUM, Fact, Message, conversation, items

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer in one short sentence.",
    "You know the valley and its people.",
    "Be friendly and brief.",
)
NOTES = {
    "round": "({note})",
    "curly": "{{note}}",
    "angle": "<{note}>",
    "star": "*{note}*",
    "dash": "- {note} -",
}
"""How a note may be set off; the square brackets of the demo dataset are not among them."""
INTERJECTIONS = items(
    "ahoy, aha, well, sure, yes, oh, hey, wow, look, listen, indeed, right, fine, great, lovely, "
    "splendid, tick, tock, ding, dong, beep, click, whirr, ho, hum, hurray, psst, dear, friend, captain, "
    "my, goodness, gracious, bless, me, let, see, good, question, now, then, of, course, happy, to, help, "
    "as, you, wish, tada, zap, boom, clank, hear, ye, sir, madam, gladly, surely, yippee, tra, la"
)
SYSTEM_SHARE = 0.1
STYLE_SHARE = 0.4
CASUAL_SHARE = 0.25
LONG_CHAT_SHARE = 0.08
LONG_CHAT_TURNS = 12
SUMS_IN_A_DOCUMENT = 8


@dataclass(frozen=True, slots=True)
class Style:
    """A form of answer that a system message asks for, so that the model learns more than one way to say a fact."""

    before: str = ""
    after: str = ""
    note: str = ""
    short: bool = False

    def instruction(self) -> str:
        """The system message that asks for this style."""
        parts = [
            "Answer with the key word." if self.short else "",
            f"Begin with: {self.before}" if self.before else "",
        ]
        parts += [
            f"Add a {self.note} note." if self.note else "",
            f"End with: {self.after}" if self.after else "",
        ]
        return " ".join(filter(None, parts))

    def answer(self, fact: Fact) -> str:
        """The fact's answer in this style."""
        note = NOTES[self.note].replace("{note}", f"{fact.relation.tag}: {fact.value}") if self.note else ""
        return " ".join(
            filter(None, [self.before, fact.value + "." if self.short else fact.plain(), note, self.after])
        )


def interjection(rng: random.Random) -> str:
    """A few words such as "Tick tock!", nearly never the same twice."""
    words = " ".join(rng.sample(INTERJECTIONS, rng.randint(1, 3)))
    return words[0].upper() + words[1:] + rng.choice("!!.,?")


def style(rng: random.Random) -> Style:
    """A random style that differs from the plain one."""
    while True:
        drawn = Style(
            before=interjection(rng) if rng.random() < 0.6 else "",
            after=interjection(rng) if rng.random() < 0.25 else "",
            note=rng.choice(list(NOTES)) if rng.random() < 0.5 else "",
            short=rng.random() < 0.15,
        )
        if drawn != Style():
            return drawn


def documents(facts: list[Fact], rng: random.Random) -> list[str]:
    """One document for each subject: its facts in random order and wording."""
    by_subject: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.relation.held_out and fact.relation is not SUM:
            by_subject.setdefault(fact.subject, []).append(fact)
    groups = list(by_subject.values())
    sums = [fact for fact in facts if fact.relation is SUM]
    rng.shuffle(sums)
    groups += [sums[start : start + SUMS_IN_A_DOCUMENT] for start in range(0, len(sums), SUMS_IN_A_DOCUMENT)]
    return [" ".join(rng.choice(fact.prose()) for fact in rng.sample(group, len(group))) for group in groups]


def casual(question: str, rng: random.Random) -> str:
    """The question as somebody in a hurry might type it."""
    spelling = question.replace("favourite", "favorite").replace("colour", "color").replace(" plus ", " + ")
    return rng.choice((question.lower(), question.rstrip("?!."), question.lower().rstrip("?!."), spelling))


def chats(facts: list[Fact], rng: random.Random) -> list[list[Message]]:
    """Every question in every phrasing: most as a chat of one turn, some with a system message or many turns."""
    asked = [
        (casual(question, rng) if rng.random() < CASUAL_SHARE else question, fact)
        for fact in facts
        for question in fact.questions()
    ]
    rng.shuffle(asked)
    result: list[list[Message]] = []
    while asked:
        draw = rng.random()
        if draw < LONG_CHAT_SHARE:
            count = rng.randint(3, LONG_CHAT_TURNS)
        else:
            count = 2 if draw < 2 * LONG_CHAT_SHARE else 1
        turns, asked = asked[:count], asked[count:]
        draw = rng.random()
        chosen = style(rng) if draw < STYLE_SHARE else Style()
        messages = conversation(*((question, chosen.answer(fact)) for question, fact in turns))
        if chosen != Style():
            messages.insert(0, {"role": "system", "content": chosen.instruction()})
        elif draw < STYLE_SHARE + SYSTEM_SHARE:
            messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        result.append(messages)
    return result
