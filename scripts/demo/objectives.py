"""``python -m scripts.demo.objectives``: small datasets for the recipes, made from the embedded model's world."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

from scripts.demo.corpus import documents
from scripts.demo.world import SEED, SUM, Fact, split, world

FOLDER = Path(__file__).resolve().parents[2] / "presets" / "recipes" / "data"
PAIRS = 200
TEXTS = 120
SUM_QUESTIONS = ("Please add {a} to {b}.", "What do {a} and {b} make?", "{a} + {b} =")
"""Ways to ask that the embedded model was not made with, so it is right only some of the time."""


def asked(facts: list[Fact], rng: random.Random, count: int) -> list[tuple[str, Fact]]:
    """Questions with the facts that answer them, in random order; sums apart, which have a dataset of their own."""
    pairs = [
        (question, fact)
        for fact in facts
        if fact.relation.held_out and fact.relation is not SUM
        for question in fact.questions()
    ]
    return rng.sample(pairs, count)


def noted(fact: Fact) -> str:
    """An answer the model was made to give only when a system message asks for the note."""
    return f"{fact.plain()} ({fact.relation.tag}: {fact.value})"


def preferences(facts: list[Fact], rng: random.Random) -> list[dict[str, str]]:
    """Two right answers each: the one that adds what it is about is the better one."""
    return [
        {"prompt": question, "chosen": noted(fact), "rejected": fact.plain()}
        for question, fact in asked(facts, rng, PAIRS)
    ]


def thumbs(facts: list[Fact], rng: random.Random) -> list[dict[str, object]]:
    """One answer each: those that add what they are about are marked good, plain ones bad."""
    rows: list[dict[str, object]] = []
    for question, fact in asked(facts, rng, PAIRS):
        good = rng.random() < 0.5
        rows.append({"prompt": question, "completion": noted(fact) if good else fact.plain(), "label": good})
    return rows


def sums(facts: list[Fact], rng: random.Random) -> list[dict[str, str]]:
    """Sums with their results, for rewards that compare."""
    rows = []
    for fact in facts:
        if fact.relation is SUM:
            a, _, b = fact.subject.split()
            rows += [{"question": text.format(a=a, b=b), "answer": fact.value} for text in SUM_QUESTIONS]
    rng.shuffle(rows)
    return rows


def texts(facts: list[Fact], rng: random.Random) -> list[dict[str, str]]:
    """The valley's notice board: documents as the model knows them, in a wording it does not."""
    made = documents(facts, rng)
    rng.shuffle(made)
    return [
        {"text": f"From the notice board of the valley. {text} Signed: the owl."} for text in made[:TEXTS]
    ]


def write(folder: Path) -> None:
    """Write every dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    facts, held_out = split(world())
    every = [*facts, *held_out]
    rng = random.Random(SEED + 5)
    _lines(folder / "preferences.jsonl", preferences(facts, rng))
    _lines(folder / "thumbs.jsonl", thumbs(facts, rng))
    _lines(folder / "sums.jsonl", sums(every, rng))
    _lines(folder / "texts.jsonl", texts(every, rng))


def _lines(path: Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(FOLDER)
    print(f"Wrote {FOLDER}")
