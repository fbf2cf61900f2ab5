"""A first look at a long history: the whole of it, from samples, long before every event has been read."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from engine.run.events import Event, parse_line

WORTH_IT = 2 * 1024 * 1024  # bytes; a shorter file is read whole just as fast
PLACES = 160
BLOCK = 3 * 1024  # bytes at each place, about a dozen events
ENDS = 48 * 1024  # bytes at the beginning, where the run is described, and at the end, where it stands


def skim(path: Path) -> list[Event]:
    """Events from all over a long file, oldest first; none when the file is short or cannot be read.

    What happens once in a while, such as a spike or a note, is most likely not among them.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < WORTH_IT:
                return []
            inner = [ENDS + (size - 2 * ENDS) * place // PLACES for place in range(PLACES)]
            blocks = [os.pread(file.fileno(), ENDS, 0)]
            blocks += [os.pread(file.fileno(), BLOCK, at) for at in inner]
            blocks.append(os.pread(file.fileno(), ENDS, size - ENDS))
    except OSError:
        return []
    events: list[Event] = []
    for number, block in enumerate(blocks):
        # The first and the last line of a block are most likely parts of lines.
        lines = block.split(b"\n")[min(number, 1) : -1]
        events += [event for line in lines if (event := parse_line(line, orjson.loads)) is not None]
    return events
