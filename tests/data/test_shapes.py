"""Dataset shapes, by their columns."""

from __future__ import annotations

from typing import Any

import pytest

from engine.data.shapes import recognise, require_sft
from engine.errors import UserError

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
SHAREGPT = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]


@pytest.mark.parametrize(
    ("row", "name", "columns"),
    [
        ({"messages": TURNS}, "messages", {"turns": "messages"}),
        ({"conversations": SHAREGPT}, "conversations", {"turns": "conversations"}),
        ({"conversations": TURNS}, "messages", {"turns": "conversations"}),
        ({"Messages ": TURNS}, "messages", {"turns": "Messages "}),
        ({"messages": '[{"role": "user", "content": "a"}]'}, "messages", {"turns": "messages"}),
        (
            {"system": "s", "conversations": SHAREGPT},
            "conversations",
            {"turns": "conversations", "system": "system"},
        ),
        ({"instruction": "a", "output": "b"}, "alpaca", {"question": "instruction", "answer": "output"}),
        (
            {"instruction": "a", "input": "", "output": "b"},
            "alpaca",
            {"question": "instruction", "answer": "output", "input": "input"},
        ),
        (
            {"instruction": "a", "context": "", "response": "b", "category": "c"},
            "alpaca",
            {"question": "instruction", "answer": "response", "input": "context"},
        ),
        (
            {"prompt": "a", "completion": "b"},
            "prompt_completion",
            {"question": "prompt", "answer": "completion"},
        ),
        ({"prompt": "a", "response": "b"}, "question_answer", {"question": "prompt", "answer": "response"}),
        ({"Question": "a", "Answer": "b"}, "question_answer", {"question": "Question", "answer": "Answer"}),
        ({"query": "a", "response": "b"}, "question_answer", {"question": "query", "answer": "response"}),
        ({"input": "a", "output": "b"}, "question_answer", {"question": "input", "answer": "output"}),
        ({"problem": "a", "solution": "b"}, "question_answer", {"question": "problem", "answer": "solution"}),
        ({"user": "a", "assistant": "b"}, "question_answer", {"question": "user", "answer": "assistant"}),
        (
            {"article": "a", "highlights": "b", "id": 1},
            "question_answer",
            {"question": "article", "answer": "highlights"},
        ),
        ({"dialogue": "a", "summary": "b"}, "question_answer", {"question": "dialogue", "answer": "summary"}),
        ({"text": "a"}, "text", {"text": "text"}),
        ({"text": "a", "label": 1}, "text", {"text": "text"}),
    ],
)
def test_shapes_for_supervised_fine_tuning(row: dict[str, Any], name: str, columns: dict[str, str]) -> None:
    shape = recognise([row], "x.jsonl")
    assert (shape.name, shape.objective, shape.columns) == (name, "sft", columns)
    assert require_sft(shape, "x") is shape
    assert shape.title


@pytest.mark.parametrize(
    ("row", "name", "objective", "said"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference", "dpo", "DPO"),
        ({"chosen": TURNS, "rejected": TURNS}, "preference", "dpo", "chosen answer"),
        ({"prompt": "a", "completion": "b", "label": True}, "kto", "kto", "KTO"),
        ({"prompt": "a"}, "prompt_only", "grpo", "GRPO"),
        ({"input_ids": [1], "attention_mask": [1]}, "tokenized", "none", "tokens of one particular model"),
    ],
)
def test_shapes_for_other_objectives_are_named_and_explained(
    row: dict[str, Any], name: str, objective: str, said: str
) -> None:
    shape = recognise([row], "x.jsonl")
    assert (shape.name, shape.objective) == (name, objective)
    with pytest.raises(UserError) as caught:
        require_sft(shape, "x.jsonl")
    assert said in str(caught.value)


def test_a_label_that_is_no_truth_value_is_just_a_column() -> None:
    shape = recognise([{"prompt": "a", "completion": "b", "label": "news"}], "x")
    assert shape.name == "prompt_completion"
    assert shape.note == "Columns not used: label."


def test_nothing_to_train_on_names_columns_and_shapes() -> None:
    with pytest.raises(UserError) as caught:
        recognise([{"id": 1, "\x1b[31murl": "x"}, {"score": 2}], "x.csv")
    error = caught.value
    assert error.what.endswith("Columns seen: id, \\x1b[31murl, score.")
    assert "prompt, completion" in error.fix
    assert "messages" in error.fix


def test_columns_of_all_rows_count() -> None:
    assert recognise([{"id": 1}, {"question": "a", "answer": "b"}], "x").name == "question_answer"
    assert recognise([{"messages": None}, {"messages": []}, {"messages": TURNS}], "x").name == "messages"


def test_notes() -> None:
    assert (
        "rename the text column to prompt and label to completion"
        in recognise([{"text": "a", "label": 1}], "x").note
    )
    assert "tools column is not used" in recognise([{"messages": TURNS, "tools": []}], "x").note
    many = {f"c{n}": 1 for n in range(9)} | {"text": "a"}
    assert recognise([many], "x").note == "Columns not used: c0, c1, c2, c3, c4, ...."


def test_a_column_called_messages_that_holds_text_is_not_a_conversation() -> None:
    with pytest.raises(UserError):
        recognise([{"messages": "hello"}], "x")
    assert recognise([{"chat": "hello", "text": "x"}], "x").name == "text"
