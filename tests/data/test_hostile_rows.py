"""Rows of every known layout, damaged at random: each is used, named, or the file refused in words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from engine.data.columns import ANSWERS, CHOSENS, CONVERSATIONS, LABELS, PROMPTS, REJECTEDS, TEXTS
from engine.data.dataset import Dataset, Example, Problem
from engine.data.forms import OBJECTIVES
from engine.errors import UserError
from tests.data.test_wild import DISCORD, JSON_CASES, OASST, SLACK

COLUMNS = (
    *PROMPTS, *ANSWERS, *CHOSENS, *REJECTEDS, *LABELS, *CONVERSATIONS, *TEXTS, "mapping", "paragraphs", "chat_messages",
    "translation", "annotations", "data", "choices", "completions", "winner", "message_id", "parent_id", "role", "ts",
    "author", "tools", "images", "history", "reward_model", "info", "response_0", "response_1", "score_0", "score_1",
)  # fmt: skip
KEYS = (
    "role", "content", "from", "value", "text", "name", "type", "qas", "context", "question", "answers", "message",
    "parent", "author", "parts", "sender", "score", "response", "rank", "replies", "result", "messages", "function",
    "arguments", "data",
)  # fmt: skip
CELLS = (
    "", "Hi", "\x1b]0;x\x07", "\ud800", "\u202e", "[1,2]", "{'a':1}", '[{"role":"user"', "null", "#### 4", "true", "[" * 3000,
    "\n\nHuman: a\n\nAssistant: b", "User: x\nAssistant: y", "<image>", 0, 1, -1, 10**40, 1.5, float("nan"), float("inf"),
    True, None,
)  # fmt: skip
LAYOUTS = [*([case[0]] for case in JSON_CASES.values()), SLACK, OASST, [DISCORD]]


def some(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.randrange(8)
    if kind < 5 or depth > 3:
        return draw.choice(CELLS)
    if kind < 7:
        return [some(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(KEYS): some(draw, depth + 1) for _ in range(draw.randrange(5))}


def damaged(value: Any, draw: random.Random) -> Any:
    if draw.random() < 0.12:
        return some(draw)
    if isinstance(value, dict):
        kept = {key: damaged(item, draw) for key, item in value.items() if draw.random() > 0.05}
        return kept | ({draw.choice(COLUMNS): some(draw)} if draw.random() < 0.1 else {})
    if isinstance(value, list):
        return [damaged(item, draw) for item in value if draw.random() > 0.05]
    return value


def answered(file: Path, draw: random.Random) -> None:
    objective = draw.choice([None, *OBJECTIVES])
    try:
        data = Dataset(file, objective, check=draw.random() < 0.5)
        first = [row for _, row in data.first]
        for reading in (data.reading, *data.reading.alternatives):
            reading.example(first)
        for item in data.items():
            if isinstance(item, Example):
                assert objective is None or objective in item.form.objectives
                json.dumps([item.form.row(), item.form.spoken()])
            else:
                assert isinstance(item, Problem)
                assert "\x1b" not in item.problem
                assert "\n" not in item.problem
    except UserError as error:
        assert all("\x1b" not in line and "\n" not in line for line in error.lines())


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.thorough)])
def test_damaged_rows_are_answered(tmp_path: Path, count: int) -> None:
    draw = random.Random(count)
    for _ in range(count):
        if draw.random() < 0.3:
            rows: Any = [{draw.choice(COLUMNS): some(draw) for _ in range(draw.randrange(1, 6))}]
        else:
            rows = [damaged(row, draw) for row in draw.choice(LAYOUTS)]
        as_list = draw.random() < 0.5
        text = (
            json.dumps(rows, indent=draw.choice([None, 1])) if as_list else "\n".join(map(json.dumps, rows))
        )
        content = bytearray(text.encode())
        if draw.random() < 0.2 and content:
            for _ in range(draw.randrange(1, 4)):
                content[draw.randrange(len(content))] = draw.randrange(256)
        file = tmp_path / f"x.{'json' if as_list else 'jsonl'}"
        file.write_bytes(content)
        answered(file, draw)


def test_a_thousand_levels_and_ten_megabytes(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900
    for column in ("messages", "conversations", "tools", "answers", "chosen", "choices", "images", "history"):
        row = f'{{"question": "a", "answer": "b", "{column}": {deep}, "rejected": {deep}}}\n'
        (tmp_path / "x.jsonl").write_text(row * 3)
        answered(tmp_path / "x.jsonl", random.Random(1))
    (tmp_path / "x.jsonl").write_text(json.dumps({"question": "a", "answer": "b " * 5_000_000}) + "\n")
    [item] = Dataset(tmp_path / "x.jsonl", "sft").items()
    assert isinstance(item, Example)
