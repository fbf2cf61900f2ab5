"""One pass over a dataset: every row checked, in memory that does not grow with the file."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from itertools import chain

from engine.data.check.crew import Crew
from engine.data.check.fingerprints import RECORD, FingerprintLog
from engine.data.check.lines import Part, check_part
from engine.data.check.opening import Opened
from engine.data.check.rows import Checked, Limits, RowChecker
from engine.data.reading import Damage
from engine.errors import UserError

PART_BYTES = 4 << 20
"""Of a JSONL file, this much is checked at a time in each process."""
_ALONE_BYTES = 16 << 20  # smaller files are checked before a second process has started
_ROWS_AT_A_TIME = 5_000
_MOST_PROCESSES = 4  # each takes memory, and with more the disk is the limit
_FILE_SHIFT = 40  # bits for a line number

Tell = Callable[[float, str], None]


def scan(
    opened: Opened,
    limits: Limits,
    log: FingerprintLog,
    tell: Tell,
    processes: int | None = None,
    file_number: int = 0,
) -> Checked:
    """Check all rows.

    Args:
        opened: The dataset; what is left of it is read.
        limits: What lengths are compared with.
        log: Filled with the hashes of all usable rows.
        tell: Told the share of the file that is done, and what goes on.
        processes: How many to use for a large JSONL file; up to four by default.
        file_number: Which dataset of several this is; the lines in `log` say so (`in_file`).

    Returns:
        What was found, without what needs a comparison of rows.
    """
    whole = Checked()
    parts = _parts(opened, limits, processes) if opened.has_byte_ranges else _serial(opened, limits)
    for share, part in parts:
        _join(whole, part, file_number << _FILE_SHIFT)
        log.add(part.records)
        tell(share, "checking the rows")
    whole.records = array("Q")
    if whole.western_lines and not whole.utf8_lines:
        whole.usable += whole.western_usable
    elif (
        whole.western_lines
    ):  # a mixture: what such lines mean is anybody's guess, and training leaves them out
        found = whole.findings
        found.counts["not utf-8"] = found.counts.get("not utf-8", 0) + found.counts.pop("western text")
        found.listed.setdefault("not utf-8", []).extend(found.listed.pop("western text"))
        found.listed["not utf-8"].sort()
    return whole


def _parts(opened: Opened, limits: Limits, processes: int | None) -> Iterator[tuple[float, Checked]]:
    """The parts of a JSONL file, checked side by side."""
    path = opened.source.path
    size = path.stat().st_size
    starts = range(0, size, PART_BYTES)
    tasks = ((Part(str(path), start, start + PART_BYTES), opened.plan, limits) for start in starts)
    count = processes or min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))
    if size <= _ALONE_BYTES or count < 2:
        for start, task in zip(starts, tasks, strict=True):
            yield min(1.0, (start + PART_BYTES) / size), check_part(*task)
        return
    with Crew(count) as crew:
        for start, checked in zip(starts, crew.map(check_part, tasks), strict=True):
            yield min(1.0, (start + PART_BYTES) / size), checked


def _serial(opened: Opened, limits: Limits) -> Iterator[tuple[float, Checked]]:
    """Any dataset, row by row. Line numbers are those of the reader."""
    source = opened.source
    checker = RowChecker(opened.plan, limits)
    try:
        for number, row in opened.plan.reading.gather(chain(opened.head, source.items)):
            if isinstance(row, Damage):
                checker.damage(number, row)
            else:
                checker.row(number, row)
            if checker.checked.rows >= _ROWS_AT_A_TIME:
                yield min(1.0, source.progress.bytes / max(1, source.size)), checker.finish()
                checker = RowChecker(opened.plan, limits)
        if opened.trouble is not None:
            raise opened.trouble
    except (
        UserError
    ) as error:  # what comes after the damage cannot be read; what came before has been checked
        checker.checked.findings.add("cut short", 0, "", f"{error.what} ({error.where})", error.fix)
    yield 1.0, checker.finish()


def in_file(line: int) -> tuple[int, int]:
    """Number of the dataset and line in it, of a line in the log."""
    return line >> _FILE_SHIFT, line & ((1 << _FILE_SHIFT) - 1)


def _join(whole: Checked, part: Checked, file_mark: int) -> None:
    """Add a part; the lines of parts that count their own are moved behind those before."""
    before = whole.lines
    if before or file_mark:
        part.records[::RECORD] = array("Q", [line + before + file_mark for line in part.records[::RECORD]])
    whole.findings.merge(part.findings, before)
    whole.lengths.merge(part.lengths)
    for name in ("lines", "rows", "usable", "with_system", "utf8_lines", "western_lines", "western_usable"):
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
