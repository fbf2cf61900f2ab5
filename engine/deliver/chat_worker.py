"""``python -m engine.deliver.chat_worker RUN_DIR OPTIONS``: holds one or two models of a run and answers requests.

OPTIONS is JSON: ``{"sides": ["result", "base"]}``. After ``ready``, each line of standard input is a request:

* ``{"id": 1, "prompts": [...], "sampling": {...}, "chat_template_kwargs": {...}}`` with one prompt for each side: the turns of a
  conversation, or a text. It is answered with ``token`` messages, one ``answer`` for each side, and ``done``; or with
  ``refused``, after which the next request may come.
* ``{"cancel": 1}`` ends the answer to that request; the models stay loaded.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from engine.deliver import generation
from engine.deliver.loading import Side, explained, load_sides
from engine.deliver.protocol import run_worker, send
from engine.deliver.sampling import Sampling, changed
from engine.deliver.source import find_trained
from engine.deliver.window import fitted
from engine.errors import UserError
from engine.run.layout import RunDir


def main(run_path: str, options: str) -> int:
    """Serve requests from standard input until it ends."""

    def serve(channel: IO[str]) -> None:
        inbox = Inbox(sys.stdin)
        trained = [find_trained(RunDir(Path(run_path)), which) for which in json.loads(options)["sides"]]
        sides, tokenizer = load_sides(trained)
        model = sides[0].model
        send(
            channel,
            "ready",
            sides=[{"name": side.trained.name, "words": side.trained.words} for side in sides],
            what=trained[0].kind,
            sampling=defaults(getattr(model, "generation_config", None)).to_dict(),
            window=generation.window_of(model),
            device=str(model.device),
        )
        for request in inbox.requests():
            try:
                _answer(channel, sides, tokenizer, request, inbox)
            except Exception as error:
                told = error if isinstance(error, UserError) else explained(error)
                if told is None:
                    raise
                generation.give_back_memory()
                where = {"what": told.what, "where": told.where, "fix": told.fix}
                send(channel, "refused", id=request["id"], **where)

    return run_worker(serve, explained)


def defaults(config: Any) -> Sampling:
    """How the model's makers want it to answer, where its generation_config.json says so; greedy where it does not."""
    plain = Sampling()
    if config is None:
        return plain
    said = {
        key: getattr(config, key, None) for key in ("top_p", "top_k", "repetition_penalty", "max_new_tokens")
    }
    if getattr(config, "do_sample", None):
        said["temperature"] = getattr(config, "temperature", None) or 1.0
    try:
        return changed(plain, said)
    except UserError:  # a damaged file; what is asked for can still be set by hand
        return plain


class Inbox:
    """Reads requests in a thread of its own, so that an answer can be cancelled while it is made."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            message = json.loads(line)
            if "cancel" in message:
                self._cancelled.add(int(message["cancel"]))
            else:
                self._requests.put(message)
        self._closed = True
        self._requests.put(None)

    def requests(self) -> Iterator[dict[str, Any]]:
        """Requests in the order in which they came; ends with standard input."""
        while (request := self._requests.get()) is not None:
            yield request

    def is_cancelled(self, number: int) -> bool:
        """Whether nobody waits for the answer to this request any more."""
        return self._closed or number in self._cancelled


def _answer(
    channel: IO[str], sides: Sequence[Side], tokenizer: Any, request: Mapping[str, Any], inbox: Inbox
) -> None:
    number = int(request["id"])
    sampling = changed(Sampling(), request.get("sampling") or {})
    for index, (side, prompt) in enumerate(zip(sides, request["prompts"], strict=True)):
        if inbox.is_cancelled(number):
            break
        if side.trained.kind == "score":
            limit = side.trained.config.training.max_length or generation.window_of(side.model) or 1 << 30
            with side.active() as model:
                points = generation.score(model, tokenizer, prompt, limit)
            send(channel, "answer", id=number, side=index, text=f"{points:+.3f}", score=points)
            continue
        fit = fitted(
            tokenizer,
            prompt,
            generation.window_of(side.model),
            sampling.max_new_tokens,
            request.get("chat_template_kwargs"),
            request.get("tools"),
        )

        def tell(text: str, tokens: int, seconds: float, index: int = index) -> None:
            send(channel, "token", id=number, side=index, text=text, tokens=tokens, seconds=round(seconds, 3))

        with side.active() as model:
            made = generation.stream(
                model,
                tokenizer,
                fit.ids,
                replace(sampling, max_new_tokens=fit.max_new_tokens),
                tell,
                lambda: inbox.is_cancelled(number),
                keep_ends=isinstance(prompt, str),
            )
        send(
            channel,
            "answer",
            id=number,
            side=index,
            text=made.answer.text,
            stopped=made.answer.stopped,
            cancelled=made.cancelled,
            tokens=made.answer.tokens,
            tokens_per_second=round(made.answer.tokens / made.seconds, 1),
            dropped=fit.dropped,
            prompt_tokens=len(fit.ids),
        )
    send(channel, "done", id=number)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
