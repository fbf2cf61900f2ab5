"""Check the rows of one dataset, one after the other."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.data.cells import RowProblemError
from engine.data.check.findings import Findings
from engine.data.check.fingerprints import NONE, exact_hash, near_hash, question_hash
from engine.data.check.histogram import Histogram
from engine.data.check.plan import ANSWERING, Plan, Words
from engine.data.check.text_problems import text_problems
from engine.data.reading import Damage
from engine.display import printable

_HARMLESS = {"empty turn": "odd turn", "unlearnt turn": "unlearnt turn"}
"""Problems of a turn that leave the row usable, and what they are called then."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Lengths that rows are compared with.

    Attributes:
        max_length: Tokens a row may have; None where it is not known.
        bytes_per_token: How many bytes of text make a token, measured with the tokenizer or the usual 4.
    """

    max_length: int | None = None
    bytes_per_token: float = 4.0


@dataclass(slots=True)
class Checked:
    """What a part of a dataset showed.

    Attributes:
        lines: Lines that begin in this part.
        rows: Rows among them.
        usable: Rows that can be trained on.
        findings: What was found, with lines counted from the start of this part.
        records: For each usable row its line, and hashes for finding repeated ones.
        lengths: Bytes of text of the usable rows.
        with_system: Usable conversations that begin with a system message.
        utf8_lines: Lines in UTF-8 that have other than ASCII characters.
        western_lines: Lines that are not UTF-8 but may be Windows-1252.
        western_usable: Usable rows among those; they are not in `usable`.
    """

    lines: int = 0
    rows: int = 0
    usable: int = 0
    findings: Findings = field(default_factory=Findings)
    records: array[int] = field(default_factory=lambda: array("Q"))
    lengths: Histogram = field(default_factory=Histogram)
    with_system: int = 0
    utf8_lines: int = 0
    western_lines: int = 0
    western_usable: int = 0


class RowChecker:
    """Checks rows that were read as columns.

    Attributes:
        checked: What was found so far.
    """

    def __init__(self, plan: Plan, limits: Limits = Limits()) -> None:
        self._plan, self._limits = plan, limits
        self._most_bytes = (
            int(limits.max_length * limits.bytes_per_token) if limits.max_length else sys.maxsize
        )
        self.checked = Checked()
        self._records = bytearray()

    def row(self, line: int, row: Mapping[str, Any]) -> bool:
        """Check one row.

        Args:
            line: Line or row number, counted from 1.
            row: Its columns.

        Returns:
            Whether it can be used.
        """
        self.checked.rows += 1
        words = self._plan.quick(row) or self._slowly(line, row)
        if words is None:
            return False
        speakers, texts = words
        text = "\n".join(texts)
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            self._add("half character", line, "", "half a character (a lone surrogate) is in the text")
            return False
        for _ in text_problems(text, raw):
            self._locate(line, speakers, texts)
            break
        size = len(raw)
        questions = self._questions(speakers, texts)
        if size > self._most_bytes and not self._fits(line, size, len(questions.encode())):
            return False
        checked = self.checked
        checked.usable += 1
        checked.with_system += speakers[0] == "system"
        checked.lengths.add(size)
        asked = question_hash(questions) if questions else NONE
        self._records += line.to_bytes(8, "little") + exact_hash(raw) + near_hash(text, raw) + asked
        return True

    def finish(self) -> Checked:
        """The result, with all records in it."""
        self.checked.records.frombytes(bytes(self._records))
        if sys.byteorder == "big":
            self.checked.records.byteswap()
        self._records.clear()
        return self.checked

    def damage(self, line: int, damage: Damage) -> None:
        """Note a row that could not be read."""
        self.checked.rows += 1
        kind = (
            "broken json" if "JSON" in damage.problem else "not an object" if "not an object" in damage.problem
            else "damaged row"
        )  # fmt: skip
        where = f"column {damage.column}" if damage.column else ""
        self._add(kind, line, where, f"the row {damage.problem}", damage.fix)

    def _slowly(self, line: int, row: Mapping[str, Any]) -> Words | None:
        """A row that is not of the ordinary kind: the converter decides, and every problem is named."""
        try:
            words = self._plan.words(row)
        except RowProblemError as problem:
            for kind, where, what in self._plan.problems(row, problem):
                self._add(kind, line, where, what, printable(problem.fix, 200))
            return None
        except RecursionError:
            self._add("nesting", line, "", "lists or objects are nested hundreds deep")
            return None
        for kind, where, what in self._plan.problems(row, None):
            if kind in _HARMLESS:
                self._add(_HARMLESS[kind], line, where, what)
        return words

    def _questions(self, speakers: Sequence[str], texts: Sequence[str]) -> str:
        """The words before the first answer, without the system message."""
        if speakers[0] == "text":
            return ""
        first = 1 if speakers[0] == "system" else 0
        if len(speakers) == first + 2:
            return texts[first]
        asked: list[str] = []
        for speaker, text in zip(speakers[first:], texts[first:], strict=True):
            if speaker in ANSWERING:
                break
            asked.append(text)
        return "\n".join(asked)

    def _fits(self, line: int, size: int, asked: int) -> bool:
        limit, rate = self._limits.max_length or 0, self._limits.bytes_per_token
        if asked > self._most_bytes:
            about = f"the question alone has about {asked / rate:,.0f} tokens"
            self._add("no room", line, "", f"{about}, max_length is {limit:,}")
            return False
        self._add("over-long", line, "", f"about {size / rate:,.0f} tokens, max_length is {limit:,}")
        return True

    def _locate(self, line: int, speakers: Sequence[str], texts: Sequence[str]) -> None:
        """Name the turn of each problem inside the text."""
        for number, text in enumerate(texts, 1):
            where = f"turn {number}" if len(texts) > 1 else speakers[0]
            for kind, problem in text_problems(text, text.encode()):
                self._add(kind, line, where, problem)

    def _add(self, kind: str, line: int, where: str, problem: str, fix: str = "") -> None:
        self.checked.findings.add(kind, line, where, problem, fix)
