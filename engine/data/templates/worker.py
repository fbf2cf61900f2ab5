"""A process that looks at rows through a template. Foreign templates and long rows cost time and memory here, not in the viewer.

It speaks JSON lines: each request gets one answer, in order. ``{"kind": "open", "folder": ..., "chat_template": ...,
"model": ..., "max_length": ..., "assistant_only_loss": ...}`` comes first, then ``{"kind": "xray", "row": ...}`` and
``{"kind": "scan", "rows": [...]}`` in any order. A user's error is ``{"kind": "error", "what", "where", "fix"}``.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from typing import Any

from engine.data.render import Renderer
from engine.data.templates.scan import Scanner
from engine.data.templates.segments import segments
from engine.data.templates.verify import verify
from engine.deliver.protocol import Message, claim_stdout, send
from engine.display import gib
from engine.errors import UserError

MOST_MEMORY = 8 * 2**30  # bytes of address space


class Looker:
    """One template, and what it makes of rows."""

    def __init__(self, request: Message) -> None:
        self.max_length: int | None = request["max_length"]
        self.only: bool = request["assistant_only_loss"]
        self.renderer = Renderer(request["folder"], request["chat_template"], request["model"])
        self.scanner = Scanner(self.renderer, self.max_length, self.only)

    def opened(self) -> dict[str, Any]:
        """What the template is, and whether it works."""
        source = self.renderer.source
        return {
            "title": source.title,
            "own": source.own,
            "reason": source.choice.reason,
            "added": self.renderer.added,
            "checks": [asdict(check) for check in verify(self.renderer)],
        }

    def xray(self, row: dict[str, Any]) -> dict[str, Any]:
        """One row, ready to show."""
        seen = self.renderer.xray(row, self.max_length, self.only)
        return {
            "segments": [asdict(piece) for piece in segments(seen)],
            "learnt": seen.learnt,
            "total": seen.total,
            "kept": seen.kept,
            "stops": seen.stops,
            "source": seen.mask_source,
            "problems": seen.problems,
        }

    def scan(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The next rows; tells what was found so far."""
        for row in rows:
            self.scanner.add(row)
        return asdict(self.scanner.result)


def main() -> int:
    """Answer requests until stdin ends."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    channel = claim_stdout()
    looker: Looker | None = None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            if request["kind"] == "open":
                looker = Looker(request)
                send(channel, "opened", **looker.opened())
                continue
            assert looker is not None, "the first request opens a template"
            if request["kind"] == "xray":
                send(channel, "xray", **looker.xray(request["row"]))
            else:
                send(channel, "scan", **looker.scan(request["rows"]))
        except UserError as error:
            send(channel, "error", what=error.what, where=error.where, fix=error.fix)
        except MemoryError:
            send(
                channel,
                "error",
                what=f"The row or the template needs more than {gib(MOST_MEMORY)}.",
                where="the process that looks at rows",
                fix="Shorten the row, or use another template.",
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
