"""The few forms every dataset is brought into; an objective trains on one of them, whatever the file looked like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

Objective = Literal["sft", "cpt", "dpo", "orpo", "reward", "kto", "grpo", "rloo"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
OBJECTIVE_WORDS: dict[Objective, str] = {
    "sft": "supervised fine-tuning (sft), which imitates answers",
    "cpt": "continued pre-training (cpt), which goes on reading texts",
    "dpo": "preference training (dpo), which prefers the better of two answers",
    "orpo": "preference training (orpo), which imitates and prefers at once",
    "reward": "a reward model (reward), which learns to score answers",
    "kto": "training on good and bad answers (kto)",
    "grpo": "training by rewards (grpo), which scores answers the model makes up",
    "rloo": "training by rewards (rloo), which scores answers the model makes up",
}
Message = dict[str, Any]
"""``role`` (system, user, assistant or tool), ``content`` (text), and perhaps ``tool_calls``, ``tool_call_id``, ``name``,
``reasoning_content``. Arguments of tool calls are objects, never JSON text."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns, some of them the assistant's; its words are learnt.

    Attributes:
        messages: The turns; the first may be a system message, then a user begins.
        tools: JSON schemas of the functions the assistant may call.
        images: Pictures, sounds or films that belong to it; rows that have some cannot be trained on yet.
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("sft", "grpo", "rloo")
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    images: tuple[Any, ...] = ()

    def row(self) -> dict[str, Any]:
        """The row as TRL's trainers take it."""
        return {"messages": self.messages, "tools": self.tools} if self.tools else {"messages": self.messages}

    def spoken(self) -> list[tuple[str, str]]:
        """Who says what, for a screen."""
        return _spoken(self.messages)


@dataclass(frozen=True, slots=True)
class Text:
    """A text; every word of it is learnt."""

    objectives: ClassVar[tuple[Objective, ...]] = ("cpt", "sft")
    text: str

    def row(self) -> dict[str, Any]:
        """The row as TRL's trainers take it."""
        return {"text": self.text}

    def spoken(self) -> list[tuple[str, str]]:
        """Who says what, for a screen."""
        return [("text", self.text)]


@dataclass(frozen=True, slots=True)
class Preference:
    """A better and a worse answer to the same prompt.

    Attributes:
        prompt: Turns up to the answer.
        chosen: The turns of the better answer, usually one.
        rejected: The turns of the worse one.
        tools: JSON schemas of the functions the assistant may call.
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("dpo", "orpo", "reward")
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """The row as TRL's trainers take it."""
        row: dict[str, Any] = {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}
        return {**row, "tools": self.tools} if self.tools else row

    def spoken(self) -> list[tuple[str, str]]:
        """Who says what, for a screen."""
        answers = [("chosen", self.chosen), ("rejected", self.rejected)]
        return _spoken(self.prompt) + [(name, text) for name, turns in answers for _, text in _spoken(turns)]


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer with a verdict.

    Attributes:
        prompt: Turns up to the answer.
        completion: The turns of the answer, usually one.
        label: The answer is good.
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("kto",)
    prompt: list[Message]
    completion: list[Message]
    label: bool

    def row(self) -> dict[str, Any]:
        """The row as TRL's trainers take it."""
        return {"prompt": self.prompt, "completion": self.completion, "label": self.label}

    def spoken(self) -> list[tuple[str, str]]:
        """Who says what, for a screen."""
        verdict = "good" if self.label else "bad"
        return _spoken(self.prompt) + [(verdict, text) for _, text in _spoken(self.completion)]


@dataclass(frozen=True, slots=True)
class PromptOnly:
    """Something to answer; the model makes up answers and a reward scores them.

    Attributes:
        prompt: Turns up to the answer.
        answer: What a right answer says, where the data tell it; a short one, such as a number.
        extra: The other columns of the row, for reward functions.
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("grpo", "rloo")
    prompt: list[Message]
    answer: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The row as TRL's trainers take it; the other columns reach the reward functions by name."""
        row = {**self.extra, "prompt": self.prompt}
        return row if self.answer is None else {**row, "answer": self.answer}

    def spoken(self) -> list[tuple[str, str]]:
        """Who says what, for a screen."""
        return _spoken(self.prompt) + ([("answer", self.answer)] if self.answer is not None else [])


Form = Conversation | Text | Preference | Labelled | PromptOnly


def user(content: str) -> Message:
    """A turn of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A turn of the assistant."""
    return {"role": "assistant", "content": content}


def _spoken(messages: list[Message]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for message in messages:
        if thinking := message.get("reasoning_content"):
            lines.append(("thinking", str(thinking)))
        calls = message.get("tool_calls")
        if message["content"] or not calls:
            lines.append((message["role"], message["content"]))
        for call in calls or ():
            function = call.get("function", call)
            lines.append(("call", f"{function.get('name')}({function.get('arguments')})"))
    return lines
