"""A fair sample of the rows of a dataset without reading all of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import orjson

from engine.data.cells import RowProblemError
from engine.data.check.lines import BOM, Part, read_part
from engine.data.check.opening import Opened, open_items
from engine.data.forms import Form
from engine.data.reading import Damage, as_row
from engine.errors import UserError

SAMPLE_BYTES = 1 << 20
"""Of a larger file about this much is looked at: a second of work for a tokenizer."""
BLOCKS = 64
"""Places in the file that the sample is taken from."""
_FIRST_ROWS = 2_000  # of files in which one cannot jump about
_MOST_ROW_BYTES = 8 << 20  # a larger row would take the sample's time alone


@dataclass(frozen=True, slots=True)
class Sampled:
    """Rows of a dataset.

    Attributes:
        blocks: Examples of usable rows with their line (0 where not known), by the place they were taken from.
        how: ``all rows``, ``sample``, or ``first rows``.
    """

    blocks: tuple[tuple[tuple[int, Form], ...], ...]
    how: str


def sample(opened: Opened, seed: int = 0) -> Sampled:
    """Rows from all over the file: whatever begins in one of `BLOCKS` short stretches, so every row is equally likely.

    Files that can only be read from their beginning give their first rows.
    """
    if not opened.has_byte_ranges:
        return _first(opened)
    size = opened.source.path.stat().st_size
    if size <= SAMPLE_BYTES:
        ranges = [(0, size)]
    else:
        length = SAMPLE_BYTES // BLOCKS
        places = random.Random(seed).sample(range(size // length), min(BLOCKS, size // length))
        ranges = [(place * length, (place + 1) * length) for place in sorted(places)]
    blocks = []
    for start, end in ranges:
        data, _ = read_part(Part(str(opened.source.path), start, end), _MOST_ROW_BYTES)
        data = data.removeprefix(BOM) if start == 0 else data
        known = start == 0
        lines = enumerate(data.split(b"\n"), 1)
        blocks.append(
            tuple(chain.from_iterable(_forms(opened, line, number * known) for number, line in lines))
        )
    return Sampled(tuple(blocks), "all rows" if len(ranges) == 1 else "sample")


def _forms(opened: Opened, line: bytes, number: int) -> Iterator[tuple[int, Form]]:
    try:
        row = as_row(orjson.loads(line))
        if not isinstance(row, Damage):
            yield from ((number, form) for form in opened.plan.forms(row))
    except (orjson.JSONDecodeError, RowProblemError, RecursionError):
        return


def _first(opened: Opened) -> Sampled:
    found: list[tuple[int, Form]] = []
    how = "all rows"
    try:
        for number, form in all_forms(opened):
            found.append((number, form))
            if len(found) >= _FIRST_ROWS:
                how = "first rows"
                break
    except UserError:
        how = "first rows"
    return Sampled((tuple(found),), how)


def all_forms(opened: Opened) -> Iterator[tuple[int, Form]]:
    """The examples of all usable rows with their numbers. Opens the files anew.

    Raises:
        UserError: The files are damaged beyond a row.
    """
    for number, row in opened.reading.gather(open_items(opened.spec).items):
        if isinstance(row, Damage):
            continue
        try:
            for form in opened.plan.forms(row):
                yield number, form
        except (RowProblemError, RecursionError):
            continue
