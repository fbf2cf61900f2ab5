"""Recognise the shape of a dataset from its columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.display import printable
from engine.errors import UserError

Objective = Literal["sft", "dpo", "kto", "grpo", "none"]
ShapeName = Literal[
    "messages", "conversations", "alpaca", "prompt_completion", "question_answer", "text",
    "preference", "kto", "prompt_only", "tokenized",
]  # fmt: skip

CONVERSATION_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
"""Columns that hold a list of turns."""
TEXT_COLUMNS = ("text", "content", "document", "body", "passage")
SYSTEM_COLUMNS = ("system", "system_prompt", "system_message")
# Names people give the two sides of a pair; earlier ones win where a dataset has several.
QUESTION_COLUMNS = (
    "prompt", "question", "instruction", "query", "input", "user", "human", "problem", "request", "source", "q",
    "article", "dialogue", "document", "context",
)  # fmt: skip
ANSWER_COLUMNS = (
    "completion", "response", "answer", "output", "assistant", "reply", "bot", "gpt", "solution", "target", "a",
    "answers", "summary", "highlights",
)  # fmt: skip
ACCEPTED = (
    "a list of turns: messages (role, content) or conversations (from, value)",
    "instruction, output and perhaps input",
    "prompt, completion",
    "question, answer (or query, response; input, output; problem, solution; ...)",
    "text",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the columns of a dataset are to be read.

    Attributes:
        name: Such as ``messages`` or ``alpaca``.
        objective: The training objective it serves; only ``sft`` can be trained in this release.
        columns: Role to column: ``turns``; ``question``, ``answer``, ``input``, ``system``; or ``text``.
        title: The shape in words, for the screen.
        note: What the user should know, such as columns that are not used; may be empty.
    """

    name: ShapeName
    objective: Objective
    columns: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    note: str = ""


def recognise(rows: Sequence[Mapping[str, Any]], where: str) -> Shape:
    """Tell the shape from the first rows of a dataset.

    Args:
        rows: Some rows, at least one; their columns are taken together.
        where: The file, for the message.

    Raises:
        UserError: No column can be trained on; names the columns seen and the shapes accepted.
    """
    columns: dict[str, str] = {}  # lower-case name -> name as written
    for row in rows:
        for column in row:
            columns.setdefault(str(column).strip().lower(), column)
    shape = _not_sft(columns, rows) or _conversation(columns, rows) or _pair(columns) or _text(columns)
    if shape is not None:
        return shape
    if "prompt" in columns:
        return Shape("prompt_only", "grpo", {"question": columns["prompt"]}, "prompts without answers")
    seen = printable(", ".join(str(name) for name in columns.values()), 300) or "none"
    raise UserError(
        f"No column of the dataset can be trained on. Columns seen: {seen}.",
        where,
        "Rename the columns to one of: " + "; ".join(ACCEPTED) + ".",
    )


def require_sft(shape: Shape, where: str) -> Shape:
    """Refuse shapes that are for other objectives than imitating answers.

    Raises:
        UserError: Says what the data are for and what to do with them now.
    """
    if shape.objective == "sft":
        return shape
    explanations = {
        "preference": (
            "These are preference pairs (a chosen and a rejected answer), for DPO training, which is not in this release.",
            "To train on the good answers now, make rows with prompt and completion, where completion is the chosen answer.",
        ),
        "kto": (
            "These are answers with a good/bad label, for KTO training, which is not in this release.",
            "To train on the good answers now, keep the rows whose label is true and remove the label column.",
        ),
        "prompt_only": (
            "These are prompts without answers, for training by rewards (GRPO), which is not in this release.",
            "Add a column completion with the answer you want to each prompt.",
        ),
        "tokenized": (
            "These rows are already tokens of one particular model (input_ids), not text.",
            "Give the dataset as text; finetui cuts it into tokens for the model you choose.",
        ),
    }
    what, fix = explanations[shape.name]
    raise UserError(what, where, fix)


def turns_in(value: Any) -> list[Any] | None:
    """The list of turns in a cell, also where it is written as JSON text; ``None`` where it is no such list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _not_sft(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Shape | None:
    if {"chosen", "rejected"} <= columns.keys():
        return Shape("preference", "dpo", {}, "preference pairs")
    answer = next((columns[name] for name in ANSWER_COLUMNS if name in columns), None)
    if answer is not None and "label" in columns:
        labels = [row.get(columns["label"]) for row in rows]
        if all(label is None or isinstance(label, bool) for label in labels) and any(
            isinstance(label, bool) for label in labels
        ):
            return Shape(
                "kto", "kto", {"answer": answer, "label": columns["label"]}, "answers with a good/bad label"
            )
    if "input_ids" in columns and not any(name in columns for name in (*CONVERSATION_COLUMNS, *TEXT_COLUMNS)):
        return Shape("tokenized", "none", {}, "token numbers")
    return None


def _conversation(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Shape | None:
    for name in CONVERSATION_COLUMNS:
        if name not in columns:
            continue
        found = (turns_in(row.get(columns[name])) for row in rows)
        first = next((turns[0] for turns in found if turns and isinstance(turns[0], dict)), None)
        if first is None:
            continue
        used = {"turns": columns[name]} | _system(columns)
        note = _unused(columns, used)
        if "tools" in columns:
            note = "The tools column is not used in this release. " + note
        if "from" in first:
            return Shape("conversations", "sft", used, "conversations (from, value)", note.strip())
        return Shape("messages", "sft", used, "conversations (role, content)", note.strip())
    return None


def _pair(columns: Mapping[str, str]) -> Shape | None:
    if "instruction" in columns:
        answer = next(
            (columns[name] for name in ("output", "response", "completion", "answer") if name in columns),
            None,
        )
        if answer is not None:
            used = {"question": columns["instruction"], "answer": answer} | _system(columns)
            extra = next((columns[name] for name in ("input", "context") if name in columns), None)
            if extra is not None:
                used["input"] = extra
            return Shape("alpaca", "sft", used, "instructions with an answer", _unused(columns, used))
    for question in QUESTION_COLUMNS:
        answer_name = next((name for name in ANSWER_COLUMNS if name in columns), None)
        if question in columns and answer_name is not None:
            used = {"question": columns[question], "answer": columns[answer_name]} | _system(columns)
            standard = (question, answer_name) == ("prompt", "completion")
            name: ShapeName = "prompt_completion" if standard else "question_answer"
            title = "prompts with a completion" if standard else f"pairs of {question} and {answer_name}"
            return Shape(name, "sft", used, title, _unused(columns, used))
    return None


def _text(columns: Mapping[str, str]) -> Shape | None:
    name = next((name for name in TEXT_COLUMNS if name in columns), None)
    if name is None:
        return None
    used = {"text": columns[name]}
    note = _unused(columns, used)
    label = next(
        (columns[name] for name in ("label", "labels", "category", "class") if name in columns), None
    )
    if label is not None:
        note += (
            f" To teach the model to predict {printable(label, 40)}, rename the text column to prompt and "
            f"{printable(label, 40)} to completion."
        )
    return Shape("text", "sft", used, "plain text, which the model learns to continue", note.strip())


def _system(columns: Mapping[str, str]) -> dict[str, str]:
    name = next((name for name in SYSTEM_COLUMNS if name in columns), None)
    return {"system": columns[name]} if name else {}


def _unused(columns: Mapping[str, str], used: Mapping[str, str]) -> str:
    left = [column for column in columns.values() if column not in used.values() and column != "tools"]
    if not left:
        return ""
    shown = ", ".join(printable(column, 40) for column in left[:5]) + (", ..." if len(left) > 5 else "")
    return f"Columns not used: {shown}."
