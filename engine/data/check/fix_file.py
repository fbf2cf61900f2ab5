"""Write a repaired copy of a dataset: never over another file, whole or not at all."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import orjson

from engine.data.cells import RowProblemError
from engine.data.check.findings import Findings
from engine.data.check.fingerprints import RECORD, FingerprintLog, exact_hash
from engine.data.check.opening import Opened
from engine.data.check.repair_json import repaired_values
from engine.data.check.repair_rows import repaired_row
from engine.data.files import JSON_SUFFIXES, SUFFIXES, RowSource
from engine.data.json_rows import damage_of
from engine.data.reading import Damage, Progress, as_row
from engine.data.streams import COMPRESSED, lines
from engine.display import printable
from engine.errors import UserError

Tell = Callable[[float, str], None]


@dataclass(slots=True)
class Fixed:
    """What a repaired copy holds.

    Attributes:
        out: The new file.
        rows: Rows in it.
        rejected: Rows that could not be repaired.
        rejected_file: Where those are, with the reason of each; None without any.
        changes: What was changed: the words are the kinds.
    """

    out: Path
    rows: int = 0
    rejected: int = 0
    rejected_file: Path | None = None
    changes: Findings = field(default_factory=Findings)


def refuse_existing(out: Path) -> Path:
    """The file beside `out` for rows that cannot be repaired.

    Raises:
        UserError: One of the two exists, or their folder does not, or the name is not one for JSONL.
    """
    ending = out.suffix.lower()
    if not out.name or (ending in (*SUFFIXES, *COMPRESSED) and ending not in JSON_SUFFIXES):
        raise UserError(
            "The repaired dataset is a JSONL file, so its name must be that of one.",
            printable(out, 300),
            "Give a name such as repaired.jsonl.",
        )
    rejected = out.with_name(f"{out.name.removesuffix('.jsonl')}.rejected.jsonl")
    for file in (out, rejected):
        if os.path.lexists(file):
            raise UserError(
                "The file for the repaired dataset exists already; nothing is overwritten.",
                printable(file, 300),
                "Give another name, or remove that file yourself.",
            )
    if not out.parent.is_dir():
        raise UserError(
            "The folder for the repaired dataset does not exist.",
            printable(out.parent, 300),
            "Make it first.",
        )
    return rejected


def write_fixed(opened: Opened, out: Path, tell: Tell = lambda share, words: None) -> Fixed:
    """Write the repaired rows of a dataset as JSONL.

    Args:
        opened: The dataset.
        out: The new file.
        tell: Told the share of the work that is done.

    Raises:
        UserError: `out` exists, or cannot be written.
    """
    rejected = refuse_existing(out)
    fixed = Fixed(out)
    temporary = [file.with_name(f".{file.name}.{os.getpid()}.tmp") for file in (out, rejected)]
    try:
        with FingerprintLog() as log:
            with temporary[0].open("wb") as good, temporary[1].open("wb") as bad:
                _write(opened, fixed, log, good, bad, tell)
            again = sorted(log.repeated(1))
            if again:
                _drop(temporary[0], {row for row, _ in again})
                fixed.rows -= len(again)
                source_lines = dict(log.pairs(2))
                for row, _ in again:
                    fixed.changes.add("repeated rows dropped", source_lines.get(row, 0), "", "")
        if fixed.rejected:
            _put(temporary[1], rejected)
            fixed.rejected_file = rejected
        _put(temporary[0], out)
    except OSError as error:
        raise UserError(
            f"The repaired dataset cannot be written: {os.strerror(error.errno or 0)}.",
            printable(out, 300),
            "Free some space, or choose another folder.",
        )
    finally:
        for file in temporary:
            file.unlink(missing_ok=True)
    return fixed


def _write(
    opened: Opened, fixed: Fixed, log: FingerprintLog, good: IO[bytes], bad: IO[bytes], tell: Tell
) -> None:
    records: array[int] = array("Q")
    plan = opened.plan

    def reject(number: int, reason: str, row: Any) -> None:
        fixed.rejected += 1
        bad.write(_json({"line": number, "reason": reason, "row": row}) + b"\n")

    for number, row in _repaired_items(opened, fixed.changes, tell):
        if isinstance(row, Damage):
            reject(number, row.problem, row.fix)
            continue
        new = repaired_row(row, plan, number, fixed.changes)
        try:
            spoken = plan.words(new)
        except RowProblemError as problem:
            reject(number, str(problem), dict(row))
            continue
        good.write(_json(new) + b"\n")
        fixed.rows += 1
        text = "\x1f".join(map(str, [*spoken[0], *spoken[1]])).encode("utf-8", "replace")
        records.extend((fixed.rows, int.from_bytes(exact_hash(text), "little"), number, 0))
        if len(records) >= RECORD << 16:
            log.add(records)
            records = array("Q")
    log.add(records)


def _repaired_items(
    opened: Opened, changes: Findings, tell: Tell
) -> Iterator[tuple[int, dict[str, Any] | Damage]]:
    """Rows with their numbers; lines of JSONL are repaired where they are no valid JSON."""
    source, plan = opened.source, opened.plan
    if source.format == "jsonl" and source.path.is_file() and not plan.joins_rows:
        yield from _repaired_lines(source, changes, tell)
        return
    for number, row in plan.reading.gather(chain(opened.head, source.items)):
        if number % 10_000 == 0:
            tell(min(1.0, source.progress.bytes / max(1, source.size)), "writing the repaired copy")
        yield number, row


def _repaired_lines(
    source: RowSource, changes: Findings, tell: Tell
) -> Iterator[tuple[int, dict[str, Any] | Damage]]:
    progress = Progress()
    with source.path.open("rb") as stream:
        if stream.read(3) == b"\xef\xbb\xbf":
            changes.add("byte order mark removed", 1, "", "")
    for number, text in lines(source.path, progress):
        if number % 10_000 == 0:
            tell(min(1.0, progress.bytes / max(1, source.size)), "writing the repaired copy")
        if not text.strip():
            continue
        if not text.isascii():
            if progress.encoding != "utf-8":
                changes.add("text written as UTF-8", number, "", "")
            text = _reread(text, number, changes)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            values = repaired_values(text)
            if values is None:
                line = text.rstrip("\r\n")
                yield number, Damage(damage_of(line).problem, line)
                continue
            for repaired, words in values:
                for word in words:
                    changes.add(word, number, "", "")
                yield number, _row(repaired)
            continue
        yield number, _row(value)


def _row(value: Any) -> dict[str, Any] | Damage:
    found = as_row(value)
    return Damage(found.problem, value) if isinstance(found, Damage) else found


def _reread(text: str, number: int, changes: Findings) -> str:
    """A line with bytes that are not UTF-8, read as Windows-1252."""
    if not any("\udc80" <= char <= "\udcff" for char in text):
        return text
    try:
        new = text.encode("utf-8", "surrogateescape").decode("cp1252")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return text
    changes.add("text written as UTF-8", number, "", "")
    return new


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):  # numbers of more than 64 bits, half characters
        try:
            return json.dumps(value, default=str).encode()
        except (ValueError, RecursionError):
            return json.dumps({"unreadable": printable(str(type(value)), 40)}).encode()


def _drop(file: Path, numbers: set[int]) -> None:
    """Leave out the lines with these numbers."""
    shorter = file.with_name(f"{file.name}.2")
    try:
        with file.open("rb") as old, shorter.open("wb") as new:
            new.writelines(line for number, line in enumerate(old, 1) if number not in numbers)
        os.replace(shorter, file)
    finally:
        shorter.unlink(missing_ok=True)


def _put(temporary: Path, final: Path) -> None:
    """Give a finished file its name, unless something has taken it meanwhile."""
    with temporary.open("rb") as done:
        os.fsync(done.fileno())
    try:
        os.link(temporary, final)  # unlike a rename, never replaces a file
    except FileExistsError:
        refuse_existing(final)
    except OSError:  # a file system without links
        os.rename(temporary, final)
