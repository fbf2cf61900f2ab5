"""``python -m engine.fit.simulate_worker``: simulates steps, one request a line; see `engine.fit.simulate_client`."""

from __future__ import annotations

import dataclasses
import json
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import IO, Any

from engine.deliver.protocol import claim_stdout, send
from engine.errors import UserError
from engine.fit.allocator_config import AllocatorConfig
from engine.fit.types import Architecture, Experts, Linear, TrainSetup


class Cancelled(Exception):
    """The request is no longer wanted."""


class Requests:
    """Requests as they come in, and which of them were taken back."""

    def __init__(self, lines: IO[str]) -> None:
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancelled: set[int] = set()
        self._ended = threading.Event()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            message = json.loads(line)
            if "cancel" in message:
                self._cancelled.add(int(message["cancel"]))
            else:
                self._queue.put(message)
        self._ended.set()
        self._queue.put(None)

    def next(self) -> dict[str, Any] | None:
        """The next request; None when there will be no more."""
        return self._queue.get()

    def check(self, number: int) -> None:
        """Raise `Cancelled` if nobody waits for this one any more."""
        if number in self._cancelled or self._ended.is_set():
            raise Cancelled


def main() -> int:
    """Answer requests from standard input until it ends."""
    channel = claim_stdout()
    requests = Requests(sys.stdin)
    while (request := requests.next()) is not None:
        number = int(request["id"])
        try:
            answer(channel, requests, request)
        except Cancelled:
            send(channel, "cancelled", id=number)
        except UserError as error:
            send(channel, "error", id=number, what=error.what, where=error.where, fix=error.fix)
        except Exception as error:  # a bug in a library must not end the worker
            traceback.print_exc()
            send(
                channel,
                "error",
                id=number,
                what=f"The simulation failed: {type(error).__name__}: {str(error)[:300]}",
                where=str((request.get("architecture") or request.get("config") or {}).get("model_type", "")),
                fix="Use the arithmetic estimate.",
            )
    return 0


def answer(channel: IO[str], requests: Requests, request: Mapping[str, Any]) -> None:
    """Simulate one request and send the prediction."""
    number = int(request["id"])
    requests.check(number)
    from engine.fit.simulate.predict import run

    def check(words: str) -> None:
        requests.check(number)
        send(channel, "progress", id=number, words=words)

    facts = request.get("architecture")
    found = run(
        setup_from(request["setup"]),
        architecture_from(facts) if facts else request["config"],
        str(request.get("profile") or "finetui"),
        circumstances_from(request.get("circumstances") or {}),
        check,
    )
    send(
        channel,
        "prediction",
        id=number,
        prediction=dataclasses.asdict(found.prediction),
        layers=found.layers,
        params=found.params,
        seconds=round(found.seconds, 2),
    )


def setup_from(fields: Mapping[str, Any]) -> TrainSetup:
    """A setup as JSON brings it."""
    known = {field.name for field in dataclasses.fields(TrainSetup)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if name in known
    }
    return TrainSetup(**given)


def architecture_from(fields: Mapping[str, Any]) -> Architecture:
    """Architecture facts as JSON brings them."""
    given: dict[str, Any] = {**fields, "linears": tuple(Linear(**linear) for linear in fields["linears"])}
    given["unsure"] = tuple(given.get("unsure", ()))
    if given.get("experts"):
        given["experts"] = Experts(**given["experts"])
    return Architecture(**given)


def circumstances_from(fields: Mapping[str, Any]) -> Any:
    """`engine.fit.simulate.predict.Circumstances` as JSON brings them."""
    from engine.fit.simulate.predict import Circumstances

    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    if isinstance(given.get("allocator"), str):
        given["allocator"] = AllocatorConfig.parse(given["allocator"], given.get("capacity"))
    return Circumstances(**given)


if __name__ == "__main__":
    sys.exit(main())
