"""What can be wrong with a row, in words, and a collector of such findings that stays small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["stops the run", "row is skipped", "worth a look"]
LISTED = 50
"""Findings of one kind that are kept with their lines; the rest is only counted."""

Entry = tuple[int, str, str, str]
"""Line (0: the whole file), field, the problem in words, and what to do where that is not what its kind says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: What it means for the training.
        title: What it is called in a summary.
        fix: What to do about it.
        by_fix: ``--fix`` repairs it.
    """

    severity: Severity
    title: str
    fix: str
    by_fix: bool = False


KINDS: dict[str, Kind] = {
    "cut short": Kind("stops the run", "the rest of the file cannot be read", "See the message."),
    "nothing usable": Kind("stops the run", "no row can be used", "Put right what the other findings name."),
    "not utf-8": Kind("row is skipped", "text that is not UTF-8", "Save the file as UTF-8, the usual encoding; --fix converts it.", True),
    "broken json": Kind("stops the run", "broken JSON", "Correct the line; --fix repairs what has one sure reading.", True),
    "not an object": Kind("stops the run", "a line that is no object", 'Each row looks like {"prompt": "...", "completion": "..."}; --fix leaves it out.', True),
    "huge line": Kind("stops the run", "a line too large to be a row", "Split the text into rows. A line break may be missing."),
    "nesting": Kind("stops the run", "nested too deeply", "Rows are flat: columns with texts, or one list of turns. Correct or remove it; --fix leaves it out.", True),
    "number": Kind("stops the run", "a number too large", "Write such numbers as text, in quotes; --fix leaves the row out.", True),
    "missing field": Kind("row is skipped", "a field is missing", "Fill it in, or remove the row."),
    "mixed types": Kind("row is skipped", "a value of the wrong type", "Make it a text, as in the other rows."),
    "no turns": Kind("row is skipped", "no conversation", "Fill in the list of turns, or remove the row."),
    "empty turn": Kind("row is skipped", "empty turns", "Fill in the words; --fix drops empty turns.", True),
    "unknown role": Kind("row is skipped", "unknown roles", "Roles are system, user, assistant and tool; --fix renames known synonyms.", True),
    "role order": Kind("row is skipped", "wrong order of roles", "User and assistant take turns, the user first; --fix merges turns of the same speaker.", True),
    "no assistant": Kind("row is skipped", "no assistant turn", "Add the answer: without one there is nothing to learn."),
    "empty text": Kind("row is skipped", "empty texts", "Fill it in, or remove the row; --fix leaves it out.", True),
    "half character": Kind("row is skipped", "half a character (a lone surrogate)", "Export the data again; --fix removes it.", True),
    "damaged row": Kind("stops the run", "rows that cannot be read", "Export the data again, or correct the line."),
    "unusable": Kind("row is skipped", "other rows that cannot be used", "Change the row, or remove it."),
    "refused": Kind("row is skipped", "rows the chat template refuses", "Change the rows, or use another template."),
    "no room": Kind("row is skipped", "the question leaves no room for the answer", "Raise max_length, or shorten the question: nothing of the answer would be learnt."),
    "odd turn": Kind("worth a look", "empty turns in rows that are used all the same", "Fill in the words; --fix drops empty turns.", True),
    "unlearnt turn": Kind("worth a look", "answers marked as not to be learnt", "The mark (weight 0, train false) is not followed: the answer is learnt. Leave such conversations out, or shorten them."),
    "western text": Kind("worth a look", "text in Windows-1252 instead of UTF-8", "It is read as such. --fix writes it as UTF-8, the usual encoding.", True),
    "byte order mark": Kind("worth a look", "a byte order mark", "Harmless; --fix removes it.", True),
    "escape sequence": Kind("worth a look", "terminal escape sequences", "The model would learn to write them; --fix removes them.", True),
    "bidi override": Kind("worth a look", "characters that reorder text on screen", "They can hide what is written; --fix removes them.", True),
    "null byte": Kind("worth a look", "null bytes", "They come from a faulty export; --fix removes them.", True),
    "control character": Kind("worth a look", "control characters", "They come from a faulty export; --fix removes them.", True),
    "damaged characters": Kind("worth a look", "characters damaged by a wrong encoding", "Export the data again as UTF-8."),
    "template token": Kind("worth a look", "words of chat templates inside the text", "The model may take them for the end of a turn. Remove them; finetui adds the template itself."),
    "duplicate key": Kind("worth a look", "a name used twice in one object", "Only the last value counts; keep one."),
    "duplicate": Kind("worth a look", "rows that repeat an earlier row", "The model reads them more often; --fix drops them.", True),
    "near-duplicate": Kind("worth a look", "rows that differ from an earlier one only in case, spaces, punctuation or numbers", "Keep one of them, unless the numbers are the point."),
    "in evaluation": Kind("worth a look", "rows that are also in the evaluation data", "Remove them from one side: the evaluation would only measure memory."),
    "question in evaluation": Kind("worth a look", "questions that are also in the evaluation data", "Check whether the answers give the evaluation away."),
    "over-long": Kind("worth a look", "rows longer than max_length", "What is over is cut off, often the end of the answer. Raise max_length, or split the row."),
    "secret": Kind("worth a look", "keys and passwords", "The model can repeat them to anybody. Remove them, and replace the key where it is still valid."),
    "personal data": Kind("worth a look", "personal data", "The model can repeat them to anybody. Replace them by made-up ones."),
    "system only sometimes": Kind("worth a look", "a system message in some rows only", "Intended? Otherwise give all rows the same."),
}  # fmt: skip
"""Every kind of finding, most serious first within a severity."""


@dataclass(slots=True)
class Findings:
    """Findings by kind: all are counted, the first `LISTED` of each kind kept.

    Attributes:
        counts: How often each kind was found.
        listed: The kept ones.
    """

    counts: dict[str, int] = field(default_factory=dict)
    listed: dict[str, list[Entry]] = field(default_factory=dict)

    def add(self, kind: str, line: int, where: str, problem: str, fix: str = "") -> None:
        """Note a finding.

        Args:
            kind: A key of `KINDS`.
            line: Line or row number, counted from 1; 0 for the whole file.
            where: The column or turn.
            problem: What is wrong, in words that are safe to print.
            fix: What to do about it; empty for what the kind says.
        """
        self.counts[kind] = self.counts.get(kind, 0) + 1
        kept = self.listed.setdefault(kind, [])
        if len(kept) < LISTED:
            kept.append((line, where, problem, fix))

    def merge(self, later: Findings, lines_before: int) -> None:
        """Take over the findings of a later part of the file, whose lines were counted from its own start."""
        for kind, count in later.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            kept = self.listed.setdefault(kind, [])
            for line, *words in later.listed[kind][: LISTED - len(kept)]:
                kept.append((line + lines_before if line else 0, words[0], words[1], words[2]))

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Kinds and kept findings, in the order of `KINDS`."""
        for kind in KINDS:
            for entry in self.listed.get(kind, ()):
                yield kind, entry
