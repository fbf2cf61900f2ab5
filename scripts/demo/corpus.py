"""The text the demo model is pre-trained on: the world's facts as short documents and as chats with plain answers."""

from __future__ import annotations

import random

from scripts.demo.world import SUM, Fact, Message, conversation

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer in one short sentence.",
    "You know the valley and its people.",
    "Be friendly and brief.",
)
SYSTEM_SHARE = 0.2
CASUAL_SHARE = 0.25
LONG_CHAT_SHARE = 0.08
LONG_CHAT_TURNS = 12
SUMS_IN_A_DOCUMENT = 8


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
    edits = (
        lambda text: text.lower(),
        lambda text: text.rstrip("?!."),
        lambda text: text.lower().rstrip("?!."),
        lambda text: text.replace("favourite", "favorite").replace("colour", "color").replace(" plus ", " + "),
    )
    return rng.choice(edits)(question)


def chats(facts: list[Fact], rng: random.Random) -> list[list[Message]]:
    """Every question in every phrasing, most as a chat of one turn, some with a system message or many turns."""
    turns = [
        (casual(question, rng) if rng.random() < CASUAL_SHARE else question, fact.plain())
        for fact in facts
        for question in fact.questions()
    ]
    rng.shuffle(turns)
    result: list[list[Message]] = []
    while turns:
        draw = rng.random()
        if draw < LONG_CHAT_SHARE:
            count = rng.randint(3, LONG_CHAT_TURNS)
        else:
            count = 2 if draw < 2 * LONG_CHAT_SHARE else 1
        messages = conversation(*turns[:count])
        del turns[:count]
        if rng.random() < SYSTEM_SHARE:
            messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        result.append(messages)
    return result
