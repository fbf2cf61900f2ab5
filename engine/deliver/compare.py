"""Two models of a run on the same questions, for programs that must not load torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.deliver.protocol import Worker
from engine.deliver.room import Device
from engine.deliver.source import BASE
from engine.deliver.talk import chosen, place_of
from engine.errors import UserError
from engine.run.launch import require_training_packages
from engine.run.layout import RunDir


@dataclass(frozen=True, slots=True)
class Compared:
    """One question with both answers; texts are as the models wrote them, not safe for a terminal.

    Attributes:
        number: Of the question, from 0.
        source: ``yours``, ``held out`` or ``file``.
        question: The last turn, or the text to go on with.
        expected: What the data say; None where they say nothing.
        before: Answer of the first model.
        after: Answer of the second one.
        before_stopped: It ended by itself.
        after_stopped: It ended by itself.
        changed: The answers differ in at least one token.
    """

    number: int
    source: str
    question: str
    expected: str | None
    before: str
    after: str
    before_stopped: bool
    after_stopped: bool
    changed: bool

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Started:
    """The models are loaded.

    Attributes:
        before: Name of the first model.
        after: Name of the second one.
        words: What both are.
        total: How many questions there are.
    """

    before: str
    after: str
    words: tuple[str, str]
    total: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know.

    Attributes:
        words: One sentence.
        number: The question that was left out because of it, from 0; None where it is about none.
    """

    words: str
    number: int | None = None


class Compare:
    """The comparison in its worker process.

    Args:
        run: The run.
        which: The model after: see `find_trained`.
        against: The model before.
        prompts: A file with questions; None takes those of the run.
        limit: Most questions.
        max_new_tokens: Longest answer.
        device: Where the models are held.
    """

    def __init__(
        self,
        run: RunDir,
        which: str | None = None,
        against: str = BASE,
        prompts: Path | None = None,
        limit: int = 20,
        max_new_tokens: int = 256,
        device: Device = "auto",
    ) -> None:
        self.run, self._which, self._against = run, which, against
        self._prompts, self._limit, self._max_new_tokens = prompts, limit, max_new_tokens
        self._device: Device = device
        self._worker: Worker | None = None
        self._closed = False

    def results(self) -> Iterator[Started | Note | Compared]:
        """Start, and what comes: first `Started`, then answers as they are made. Ends early after `close`.

        Raises:
            UserError: The models cannot be loaded, or there is nothing to ask.
        """
        require_training_packages()
        found = chosen(self.run, [self._which, self._against])
        if found[0].kind == "score":
            raise UserError(
                "A reward model scores answers and writes none, so there are no answers to compare.",
                self.run.name,
                f"Score answers of your own: finetui chat {self.run.name}",
            )
        place = place_of(found, self._device)
        options = {
            "sides": [found[1].name, found[0].name],
            "max_new_tokens": self._max_new_tokens,
        }
        file = "-" if self._prompts is None else str(self._prompts.expanduser().absolute())
        self._worker = worker = Worker(
            "engine.deliver.compare_worker",
            self.run,
            file,
            str(self._limit),
            json.dumps(options),
            env=place.env,
        )
        if self._closed:  # meanwhile
            worker.close()
        try:
            yield from _results(worker)
        except (UserError, ValueError):
            if not self._closed:
                raise
        finally:
            worker.close()

    def close(self) -> None:
        """End it; may be called from any thread."""
        self._closed = True
        if self._worker is not None:
            self._worker.close()


def summary(answers: Sequence[Compared], before: str, after: str) -> str:
    """What the answers say together, in a sentence or two."""
    total = len(answers)
    if not total:
        return "No question was answered."
    changed = sum(one.changed for one in answers)
    told = f"{changed} of {total} answers changed. "
    if not changed:
        told = "Not one answer changed: on these questions the models do the same. "
    ends = [sum(one.before_stopped for one in answers), sum(one.after_stopped for one in answers)]
    return f"{told}Stopped by itself: {before} {ends[0]} of {total}, {after} {ends[1]} of {total}."


def _results(worker: Worker) -> Iterator[Started | Note | Compared]:
    for message in worker.messages():
        if message["kind"] == "ready":
            old, new = message["before"], message["after"]
            yield Started(old["name"], new["name"], (old["words"], new["words"]), message["total"])
        elif message["kind"] == "note":
            yield Note(message["words"])
        elif message["kind"] == "skipped":
            yield Note(message["words"], message["number"])
        elif message["kind"] == "answer":
            yield Compared(**{name: message[name] for name in Compared.__slots__})
