"""A conversation with one or two models of a run, for programs that must not load torch: a worker process holds the models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.deliver.protocol import Message, Worker
from engine.deliver.room import Device, Place, place_for, training_now
from engine.deliver.sampling import Sampling, changed
from engine.deliver.source import BASE, Kind, Trained, find_trained, require_base
from engine.errors import UserError
from engine.run.launch import require_training_packages
from engine.run.layout import RunDir


@dataclass(frozen=True, slots=True)
class Opened:
    """What is loaded.

    Attributes:
        names: Of the sides, such as ``result`` and ``base``.
        words: What they are, for people.
        kind: What one does with them: chat, go on with a text, or score answers.
        sampling: How the model's makers want it to answer.
        window: Most tokens it can look at; None where it does not say.
        device: Where it is, such as ``cpu`` or ``cuda:0``.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    kind: Kind
    sampling: Sampling
    window: int | None
    device: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A few letters of an answer that is being made.

    Attributes:
        side: Which of the models.
        text: The new letters, as they came; not safe for a terminal.
        tokens: How many tokens there are by now.
        seconds: Since the beginning of the answer.
    """

    side: int
    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        side: Which of the models.
        text: As it came; not safe for a terminal.
        stopped: It ended by itself.
        cancelled: The user ended it.
        tokens: How many it has.
        tokens_per_second: How fast they came, the reading of the prompt included.
        dropped: Turns at the beginning of the conversation that did not fit and were left out; of a text, tokens.
        score: Of a reward model; None of any other.
    """

    side: int
    text: str
    stopped: bool = True
    cancelled: bool = False
    tokens: int = 0
    tokens_per_second: float = 0.0
    dropped: int = 0
    score: float | None = None

    def ending(self) -> str:
        """How it ended, in a few words."""
        if self.score is not None:
            return "higher is better"
        if self.cancelled:
            return "stopped by you"
        return "stopped by itself" if self.stopped else "cut off at the length limit (max_new_tokens)"

    def words(self, kind: Kind = "chat") -> str:
        """What there is to say about it, for a line below it."""
        if self.score is not None:
            return self.ending()
        told = f"{self.ending()}, {self.tokens:,} tokens, {self.tokens_per_second:,.1f} tokens/s"
        if self.dropped:
            what = "tokens of the text" if kind == "text" else "messages"
            told += f"; the first {self.dropped:,} {what} did not fit and were left out"
        return told

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        if self.score is not None:
            return {"score": self.score}
        plain = {
            "answer": self.text,
            "stopped": self.stopped,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens_per_second,
        }
        return {**plain, "dropped": self.dropped} if self.dropped else plain


def chosen(run: RunDir, sides: Sequence[str | None]) -> list[Trained]:
    """The models that are to answer.

    Raises:
        UserError: One is not there, two are the same, or they cannot be compared.
    """
    found = [find_trained(run, which) for which in sides]
    if len({one.path for one in found}) < len(found):
        raise UserError(
            f"Both sides are the same model: {found[0].words}.",
            run.name,
            "Compare it with another one, such as --against base.",
        )
    if found[0].kind == "score" and any(one.is_base for one in found):
        raise UserError(
            "The base of a reward model gives no scores: what scores was added by the training.",
            run.name,
            "Compare two checkpoints instead, such as --against 40.",
        )
    for one in found:
        require_base(one)
    return found


def place_of(found: Sequence[Trained], device: Device) -> Place:
    """Where the models would be held; adapters of a run share one base.

    Raises:
        UserError: Memory is too small.
    """
    from engine.machine.probe import probe

    num_models = 1 if any(one.is_adapter for one in found) else len(found)
    return place_for(found[0].config, num_models, device, probe(), training_now())


class Talk:
    """The models in their worker process.

    `open` and `ask` block and belong into one thread; `cancel` and `close` may come from any other.

    Args:
        run: The run.
        sides: Which of its models answer; see `find_trained`.
        device: Where they are held.
    """

    def __init__(self, run: RunDir, sides: Sequence[str | None] = (None,), device: Device = "auto") -> None:
        self.run = run
        self.sides = list(sides)
        self.device = device
        self.opened: Opened | None = None
        self._worker: Worker | None = None
        self._number = 0
        self._closed = False

    def open(self) -> Opened:
        """Check the memory, start the worker, and wait until the models are loaded.

        Raises:
            UserError: They cannot be loaded.
        """
        require_training_packages()
        found = chosen(self.run, self.sides)
        place = place_of(found, self.device)
        options = json.dumps({"sides": [one.name for one in found]})
        self._worker = worker = Worker("engine.deliver.chat_worker", self.run, options, env=place.env)
        if self._closed:  # meanwhile
            worker.close()
        ready = worker.wait_for("ready")
        self.opened = Opened(
            tuple(side["name"] for side in ready["sides"]),
            tuple(one.words for one in found),
            ready["what"],
            changed(Sampling(), ready["sampling"]),
            ready["window"],
            str(ready["device"]),
        )
        return self.opened

    @property
    def alive(self) -> bool:
        """The worker can be asked."""
        return self._worker is not None and not self._closed and self._worker.alive

    def ask(
        self,
        prompts: Sequence[Any],
        sampling: Sampling,
        tell: Callable[[Piece], None] = lambda piece: None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Reply]:
        """Ask every side and wait for the answers.

        Args:
            prompts: One for each side: turns, or a text.
            sampling: How the answers are made; the same seed for all sides.
            tell: Given pieces as they come.
            chat_template_kwargs: Variables of the chat template.
            tools: JSON schemas of functions the assistant may call.

        Returns:
            The answers; after `cancel` maybe not of every side.

        Raises:
            UserError: It could not be answered; or, where `alive` is false afterwards, the worker has ended.
        """
        assert self._worker is not None, "open comes first"
        self._number += 1
        number = self._number
        self._worker.request(
            {
                "id": number,
                "prompts": list(prompts),
                "sampling": sampling.to_dict(),
                "chat_template_kwargs": dict(chat_template_kwargs or {}),
                "tools": list(tools or ()),
            }
        )
        replies: list[Reply] = []
        for message in self._worker.messages():
            if message.get("id") != number:
                continue  # of a request that was given up
            if message["kind"] == "token":
                tell(Piece(message["side"], message["text"], message["tokens"], message["seconds"]))
            elif message["kind"] == "answer":
                replies.append(_reply(message))
            elif message["kind"] == "refused":
                raise UserError(message["what"], message["where"], message["fix"])
            elif message["kind"] == "done":
                return replies
        raise self._worker.ended()

    def cancel(self) -> None:
        """End the answer that is being made; the models stay loaded."""
        if self._worker is not None and self._number:
            try:
                self._worker.request({"cancel": self._number})
            except UserError:
                return  # whoever waits for the answer is told

    def close(self) -> None:
        """End the worker; takes up to three seconds while it loads."""
        self._closed = True
        if self._worker is not None:
            self._worker.close()


def _reply(message: Message) -> Reply:
    known = ("side", "text", "stopped", "cancelled", "tokens", "tokens_per_second", "dropped", "score")
    return Reply(**{key: message[key] for key in known if key in message})


@dataclass(slots=True)
class Conversation:
    """What was said so far. Each side remembers its own answers.

    Attributes:
        kind: As of the models.
        num_sides: How many there are.
        system: System message; empty for none.
        turns: For each side, the questions and its answers.
    """

    kind: Kind = "chat"
    num_sides: int = 1
    system: str = ""
    turns: list[list[Message]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.turns = [[] for _ in range(self.num_sides)]

    def prompts(self, question: str, answer: str | None = None) -> list[Any]:
        """What each side is asked.

        Args:
            question: The user's words; the text to go on with, where the models read texts.
            answer: The answer that is to be scored.
        """
        if self.kind == "text":
            return [question] * self.num_sides
        asked: list[Message] = [{"role": "user", "content": question}]
        if answer is not None:
            asked.append({"role": "assistant", "content": answer})
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [[*head, *(turns if self.kind == "chat" else ()), *asked] for turns in self.turns]

    def add(self, question: str, replies: Sequence[Reply]) -> None:
        """Remember a question and its answers; a question that a side did not answer is forgotten there."""
        for reply in replies:
            if reply.text:
                self.turns[reply.side] += [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": reply.text},
                ]


def sides_of(checkpoint: str | None, against: str | None, base: bool = False) -> list[str | None]:
    """The sides that the options of a command name."""
    first = BASE if base else checkpoint
    return [first] if against is None else [first, against]
