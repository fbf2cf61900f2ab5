"""Check a part of a JSONL file: the lines that begin between two byte positions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.data.check.plan import Plan
from engine.data.check.rows import Checked, Limits, RowChecker
from engine.data.json_rows import broken
from engine.data.reading import Damage, as_row
from engine.data.streams import LONGEST_LINE, looks_western
from engine.display import printable

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a JSONL file to check.

    Attributes:
        path: The file.
        start: The first byte.
        end: The byte after the last; a line that begins before it is read to its end.
    """

    path: str
    start: int
    end: int


def check_part(part: Part, plan: Plan, limits: Limits) -> Checked:
    """Check the lines that begin in a part."""
    data, huge = read_part(part)
    return check_lines(data, huge, part.start == 0, plan, limits)


def check_lines(data: bytes, huge: bool, is_first: bool, plan: Plan, limits: Limits) -> Checked:
    """Check whole lines.

    Args:
        data: The lines; the last may lack its line feed.
        huge: After them comes a line too long to be read.
        is_first: They are the beginning of the file.
        plan: How rows are read.
        limits: What lengths are compared with.
    """
    checker = LineChecker(plan, limits)
    if is_first and data.startswith(BOM):
        data = data[len(BOM) :]
        checker.checked.findings.add("byte order mark", 1, "", "the file begins with a byte order mark")
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        checker.line(number, line)
    checker.checked.lines = len(lines)
    if huge:
        checker.checked.lines += 1
        checker.checked.rows += 1
        what = f"the line is longer than {LONGEST_LINE // 2**20} MiB"
        checker.checked.findings.add("huge line", checker.checked.lines, "", what)
    return checker.finish()


class LineChecker(RowChecker):
    """Checks lines of JSONL."""

    def line(self, number: int, line: bytes) -> bool:
        """Check one line; blank ones are passed over.

        Returns:
            Whether it is a row that can be used.
        """
        checked = self.checked
        if not line.isascii():
            checked.utf8_lines += 1
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            if not line or line.isspace():
                return False
            return self._special(number, line)
        if type(value) is not dict:
            found = as_row(value)
            if isinstance(found, Damage):
                checked.rows += 1
                self._add("not an object", number, "", f"the line {found.problem}", found.fix)
                return False
            value = found
        if line.count(self._plan.telltale) > self._plan.telltale_count(value):
            self._duplicate_keys(number, line)
        return self.row(number, value)

    def _special(self, number: int, line: bytes) -> bool:
        """A line that is not the JSON of the standard; Python's own reader knows more of it, and names what is wrong."""
        checked = self.checked
        western = False
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            checked.utf8_lines -= 1
            western = looks_western(line)
            if not western:
                checked.rows += 1
                where = f"byte {error.start + 1}"
                self._add("not utf-8", number, where, f"the byte {line[error.start]:#04x} is not UTF-8 text")
                return False
            checked.western_lines += 1
            self._add(
                "western text",
                number,
                f"byte {error.start + 1}",
                "the line is not UTF-8, but may be Windows-1252",
            )
            text = line.decode("cp1252", "replace")
        try:
            value: Any = json.loads(text)
        except json.JSONDecodeError as error:
            return self._broken(number, broken(error.msg, error.colno))
        except RecursionError:
            return self._broken(number, Damage("is nested too deeply", ""), "nesting")
        except ValueError:
            return self._broken(number, Damage("holds a number of thousands of digits", ""), "number")
        row = as_row(value)
        if isinstance(row, Damage):
            return self._broken(number, row, "not an object")
        usable = self.row(number, row)
        if western and usable:
            checked.usable -= 1
            checked.western_usable += 1
        return usable

    def _broken(self, number: int, damage: Damage, kind: str = "broken json") -> bool:
        self.checked.rows += 1
        self._add(
            kind,
            number,
            f"column {damage.column}" if damage.column else "",
            f"the line {damage.problem}",
            damage.fix,
        )
        return False

    def _duplicate_keys(self, number: int, line: bytes) -> None:
        twice: list[str] = []

        def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if len(found) < len(pairs):
                names = [name for name, _ in pairs]
                twice.extend(name for name in found if names.count(name) > 1)
            return found

        try:
            json.loads(line, object_pairs_hook=look)
        except (ValueError, RecursionError):
            return
        if twice:
            self._add(
                "duplicate key",
                number,
                "",
                f"the name '{printable(twice[0], 40)}' is used twice in one object",
            )


def read_part(part: Part, longest: int = LONGEST_LINE) -> tuple[bytes, bool]:
    """The lines that begin in a part, and whether a line follows that is longer than fits."""
    with Path(part.path).open("rb") as stream:
        begin = max(0, part.start - 1)
        stream.seek(begin)
        data = stream.read(part.end - begin)
        if part.start:
            first = data.find(b"\n")
            if first < 0:
                return b"", False
            data = data[first + 1 :]
        if not data or data.endswith(b"\n"):
            return data, False
        rest = stream.readline(longest)
        last = data.rfind(b"\n") + 1
        if len(data) - last + len(rest) >= longest:
            return data[:last], True
        return data + rest, False
