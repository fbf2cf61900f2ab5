"""``python -m engine.deliver.export.gguf.runner_worker RUN_DIR SETTINGS``: a GGUF file in a process of its own.

SETTINGS is JSON: ``{"model": PATH, "adapter": PATH or null, "context": 1024, "vocab_only": false}``. Requests come as JSON
lines with a ``do``; `engine.deliver.export.gguf.runner` is the other side and describes them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from engine.deliver.export.gguf.child import die_with_parent
from engine.deliver.export.gguf.llama import Llama
from engine.deliver.protocol import run_worker, send


def main(_run: str, settings: str) -> int:
    """Serve requests until standard input ends."""

    def serve(channel: IO[str]) -> None:
        wanted = json.loads(settings)
        adapter = Path(wanted["adapter"]) if wanted.get("adapter") else None
        llama = Llama(Path(wanted["model"]), adapter, int(wanted["context"]), bool(wanted["vocab_only"]))
        info = llama.info()
        send(channel, "ready", **info)
        for line in sys.stdin:
            _answer(channel, llama, frozenset(info["ends"]), json.loads(line))

    return run_worker(serve)


def _answer(channel: IO[str], llama: Llama, ends: frozenset[int], request: dict[str, Any]) -> None:
    what = request["do"]
    if what == "tokenize":
        flags = bool(request["add_special"]), bool(request["parse_special"])
        send(channel, "done", ids=[llama.tokenize(text, *flags) for text in request["texts"]])
    elif what == "detokenize":
        send(channel, "done", text=llama.detokenize(request["ids"]))
    elif what == "greedy":
        made: list[int] = []
        ends = frozenset(request["ends"]) if request.get("ends") is not None else ends
        for token in llama.greedy(request["ids"], int(request["most"]), ends):
            made.append(token)
            send(channel, "token", id=token)
        end = made.pop() if made and made[-1] in ends else None
        send(channel, "done", ids=made, end=end, text=llama.detokenize(made) if made else "")
    elif what == "next":
        found: list[int] = []
        for rows in llama.logits(request["ids"]):
            found += [int(row.argmax()) for row in rows]
            send(channel, "token", id=found[-1])
        send(channel, "done", ids=found)
    elif what == "logits":
        with open(request["into"], "wb") as stream:
            for rows in llama.logits(request["ids"]):
                stream.write(rows.astype("<f4").tobytes())
                send(channel, "token", id=0)
        send(channel, "done", rows=len(request["ids"]))


if __name__ == "__main__":
    die_with_parent(os.getppid())
    sys.exit(main(*sys.argv[1:3]))
