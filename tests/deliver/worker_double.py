"""A worker process that speaks the protocol of the real ones without a model, so that what talks to it is tested in no time.

``python -m tests.deliver.worker_double RUN OPTIONS``: says back what it hears. Some words make it misbehave.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from engine.deliver.chat_worker import Inbox
from engine.deliver.protocol import Worker, run_worker, send
from engine.deliver.sampling import Sampling
from engine.run.layout import RunDir

ROOT = Path(__file__).resolve().parents[2]
ESCAPE = (
    "red ",
    "\x1b",
    "[31mhot",
    "\u009b2J",
    "\r",
)  # a sequence that comes in two tokens, and one in one character


class Double(Worker):
    """Stands in for `engine.deliver.protocol.Worker` where the module of a real worker is asked for."""

    started: list[tuple[str, ...]] = []  # noqa: RUF012 - what was asked for, for the tests to look at

    def __init__(self, module: str, run: RunDir, *args: str, env: Mapping[str, str] | None = None) -> None:
        self.started.append((module, *args))
        # the tests are no installed package
        super().__init__(
            "tests.deliver.worker_double", run, *args, env={**(env or {}), "PYTHONPATH": str(ROOT)}
        )
        self.name = module.rsplit(".", 1)[-1]


def main(*args: str) -> int:
    return run_worker(_compare if len(args) == 4 else lambda channel: _chat(channel, json.loads(args[1])))


def _chat(channel: IO[str], options: dict[str, Any]) -> None:
    inbox = Inbox(sys.stdin)
    kind = os.environ.get("DOUBLE_KIND", "chat")
    sides = [{"name": name or "result", "words": str(name)} for name in options["sides"]]
    send(
        channel, "ready", sides=sides, what=kind, sampling=Sampling(max_new_tokens=99).to_dict(), window=1024, device="cpu",
    )  # fmt: skip
    for request in inbox.requests():
        for side, prompt in enumerate(request["prompts"]):
            if not _answer(channel, inbox, request, side, prompt, kind):
                break
        else:
            send(channel, "done", id=request["id"])


def _answer(
    channel: IO[str], inbox: Inbox, request: dict[str, Any], side: int, prompt: Any, kind: str
) -> bool:
    number = request["id"]
    words = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
    if words == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if words == "refuse":
        send(channel, "refused", id=number, what="It is too long.", where="the message", fix="Shorten it.")
        return False
    if kind == "score":
        send(channel, "answer", id=number, side=side, text="+0.500", score=0.5)
        return True
    pieces = list(ESCAPE) if words == "escape" else [f"{side}: ", *(f"{word} " for word in words.split())]
    if words == "history":
        pieces = [json.dumps(prompt)]
    if words == "settings":
        pieces = [json.dumps([request["sampling"], request["chat_template_kwargs"]])]
    text, cancelled = "", False
    for count, piece in enumerate(pieces if words != "slow" else ["on and on "] * 10_000, 1):
        cancelled = inbox.is_cancelled(number)
        if cancelled:
            break
        text += piece
        send(channel, "token", id=number, side=side, text=piece, tokens=count, seconds=0.1 * count)
        time.sleep(0.01 if words == "slow" else 0)
    send(
        channel, "answer", id=number, side=side, text=text.strip(), stopped=not cancelled, cancelled=cancelled, tokens=3,
        tokens_per_second=30.0, dropped=2 if words == "long" else 0,
    )  # fmt: skip
    return True


def _compare(channel: IO[str]) -> None:
    before, after = ({"name": name, "words": f"the {name}"} for name in ("base", "result"))
    send(channel, "note", words="The held-out rows cannot be read.")
    send(channel, "ready", before=before, after=after, total=4)
    send(channel, "skipped", number=3, question="?", words="The message is too long.")
    for number, old, new in (
        (0, "Mice.", "Mice, hoot!"),
        (1, "Yes.", "Yes."),
        (2, "\x1b[31mNo", "No, hoot!"),
    ):
        send(
            channel, "answer", number=number, source="held out", question=f"Question {number}?", expected="Mice, hoot!",
            before=old, after=new, before_stopped=number != 0, after_stopped=True, changed=old != new, row={},
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
