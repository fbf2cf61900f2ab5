"""The questions that two models of a run are compared on: the user's own, held-out rows of the dataset, or a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.schema import RunConfig, Source
from engine.data.mixing import load_data
from engine.data.sources import is_hub_id
from engine.display import printable
from engine.errors import UserError
from engine.hub.names import parse
from engine.hub.pin import remembered
from engine.run.layout import RunDir

BEGINNING = 0.4  # share of a text that is given; the model goes on from there
LONGEST_BEGINNING = 1000  # characters


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question.

    Attributes:
        source: Where it is from: ``yours``, ``held out`` or ``file``.
        content: Turns of a conversation, or the beginning of a text.
        expected: The answer that the data have, where they have one.
        tools: JSON schemas of functions the assistant may call.
        row: The line of a file as it is.
    """

    source: str
    content: str | list[dict[str, Any]]
    expected: str | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """What is asked, in one text: the last turn, or the whole text."""
        if isinstance(self.content, str):
            return self.content
        return str(self.content[-1].get("content") or "") if self.content else ""


def of_run(run: RunDir, config: RunConfig, limit: int) -> tuple[list[Prompt], list[str]]:
    """The run's own questions, and then rows that it never learned from, evenly taken.

    Args:
        run: Its directory, which remembers the commits of Hub datasets.
        config: Its settings.
        limit: Most questions in all.

    Returns:
        Questions, and sentences on what could not be had.
    """
    is_text = config.method.objective == "cpt"
    made = [
        Prompt("yours", question if is_text else [{"role": "user", "content": question}])
        for question in config.watch.sample_prompts
    ][:limit]
    notes: list[str] = []
    try:
        rows = held_out(run, config)
    except UserError as error:
        if not made:
            raise
        rows, notes = [], [f"The held-out rows cannot be read: {error.what}"]
    wanted = limit - len(made)
    step = max(1, len(rows) // wanted) if wanted else 1
    for row in rows[::step][: max(0, wanted)]:
        made.append(of_row(row))
    if not made:
        raise UserError(
            "There is nothing to ask: the run has no questions of its own (sample_prompts) and no held-out rows.",
            run.name,
            "Give questions: --prompts FILE, one a line.",
        )
    return made, notes


def held_out(run: RunDir, config: RunConfig) -> list[dict[str, Any]]:
    """The rows that a run never learned from, chosen as the trainer does.

    Raises:
        UserError: The data cannot be read any more.
    """
    data = config.data
    data = data.model_copy(
        update={"train": pinned(run, data.train), "eval": data.eval and pinned(run, data.eval)}
    )
    return load_data(
        data.train_specs(),
        data.eval_specs(),
        data.eval_fraction,
        config.method.objective,
        config.training.seed,
    ).evaluation


def of_file(path: Path, limit: int, is_text: bool = False) -> list[Prompt]:
    """Questions of a file: plain lines, or JSON lines with ``prompt``, ``question`` or ``messages``.

    Args:
        path: The file.
        limit: Most questions.
        is_text: They are beginnings of texts, not questions.

    Raises:
        UserError: It cannot be read, is empty, or a line is wrong.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The file with the questions cannot be read: {getattr(error, 'strerror', None) or error}.",
            str(path),
            "Give a UTF-8 text file with one question a line.",
        ) from None
    made: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        if len(made) >= limit:
            break
        if line.strip():
            made.append(_of_line(line.strip(), f"{path}, line {number}", is_text))
    if not made:
        raise UserError("The file has no questions.", str(path), "Write one question a line.")
    return made


def _of_line(line: str, where: str, is_text: bool) -> Prompt:
    fields: Any = None
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"This line is not valid JSON: {printable(error, 200)}.",
                where,
                "Check its quotes and commas.",
            ) from None
    if not isinstance(fields, dict):
        return Prompt("file", line if is_text else [{"role": "user", "content": line}])
    messages = fields.get("messages")
    if isinstance(messages, list) and messages and all(isinstance(turn, dict) for turn in messages):
        return of_row(fields, "file")
    question = next(
        (
            fields[key]
            for key in ("prompt", "question", "text")
            if isinstance(fields.get(key), str) and fields[key].strip()
        ),
        None,
    )
    if question is None:
        raise UserError(
            "This line has neither a prompt nor messages.",
            where,
            'Write {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}.',
        )
    content: str | list[dict[str, Any]] = question
    if not is_text:
        system = fields.get("system")
        content = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
        content.append({"role": "user", "content": question})
    expected = next(
        (
            fields[key]
            for key in ("expected", "answer", "completion", "styled")
            if isinstance(fields.get(key), str)
        ),
        None,
    )
    return Prompt("file", content, expected, row=fields)


def of_row(row: Mapping[str, Any], source: str = "held out") -> Prompt:
    """A row in training form as a question; its answer is what is expected."""
    tools = list(row.get("tools") or ())
    if "messages" in row:
        turns = [dict(turn) for turn in row["messages"]]
        last = max((at for at, turn in enumerate(turns) if turn.get("role") == "assistant"), default=None)
        if last is None:
            return Prompt(source, turns, None, tools, dict(row))
        return Prompt(source, turns[:last], _content(turns[last:]), tools, dict(row))
    if "text" in row:
        text = str(row["text"])
        cut = min(max(1, int(len(text) * BEGINNING)), LONGEST_BEGINNING)
        cut = text.rfind(" ", 0, cut) if " " in text[1:cut] else cut  # between two words
        return Prompt(source, text[:cut], text[cut:], tools)
    expected: Any = row.get("chosen") or (row.get("completion") if row.get("label") else None)
    if expected is None and row.get("answer") is not None:
        expected = str(row["answer"])
    turns = [dict(turn) for turn in row["prompt"]]
    return Prompt(source, turns, expected if isinstance(expected, str) else _content(expected), tools)


def _content(turns: Sequence[Mapping[str, Any]] | None) -> str | None:
    return str(turns[0].get("content") or "") if turns else None


def pinned(run: RunDir, sources: Sequence[Source]) -> list[Source]:
    """Hub datasets at the commit the run began with."""
    made = []
    for source in sources:
        if is_hub_id(source.path):
            branch = source.revision or "main"
            commit = remembered(run.path, f"datasets/{parse(source.path).id}", branch)
            source = source.model_copy(update={"revision": commit}) if commit != branch else source
        made.append(source)
    return made
