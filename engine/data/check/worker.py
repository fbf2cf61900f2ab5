"""``python -m engine.data.check.worker FOLDER``: check a dataset in a process of its own, for a viewer that stays responsive.

It reads one request from its standard input, ``{"kind": "check" | "stats", ...}`` with the fields of `CheckRequest`, and
writes ``progress`` messages (``share``, ``words``) and at last one ``report`` (``report`` in JSON form, ``text`` as lines).
When its standard input closes, it stops.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import IO

from engine.data.check.run import CheckRequest, check, stats
from engine.data.sources import Spec
from engine.deliver.protocol import run_worker, send

_PATIENCE = 2.5  # seconds from the wish to stop to the end by force
_BETWEEN = 0.1  # seconds between two signs of progress


class StoppedError(Exception):
    """The viewer does not want the answer any more."""


def main() -> int:
    """Answer one request."""
    return run_worker(_answer)


def _answer(channel: IO[str]) -> None:
    asked = json.loads(sys.stdin.buffer.readline() or b"{}")
    kind = asked.pop("kind")
    paths = tuple(path if isinstance(path, str) else Spec(**path) for path in asked["paths"])
    request = CheckRequest(**{**asked, "paths": paths})
    stopped = threading.Event()
    threading.Thread(target=_watch, args=(stopped,), daemon=True).start()
    last = 0.0

    def tell(share: float, words: str) -> None:
        nonlocal last
        if stopped.is_set():
            raise StoppedError
        if share in (0.0, 1.0) or time.monotonic() - last >= _BETWEEN:
            last = time.monotonic()
            send(channel, "progress", share=round(share, 4), words=words)

    try:
        report = check(request, tell) if kind == "check" else stats(request, tell)[1]
        send(channel, "report", report=report.as_json(), text=report.lines())
    except (StoppedError, BrokenPipeError):
        return


def _watch(stopped: threading.Event) -> None:
    """Wait for the end of standard input."""
    while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    stopped.set()
    time.sleep(_PATIENCE)
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
