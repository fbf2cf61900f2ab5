"""Columns under many names, several possible readings, and data offered for another objective."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from engine.data.forms import OBJECTIVE_WORDS, Objective
from engine.data.recognise import Reading, all_readings, recognise
from engine.data.shapes import all_shapes
from engine.errors import UserError

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
SHAREGPT = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
LONG = "A text that is long enough to be read as a text, because it goes on and on."


@pytest.mark.parametrize(
    ("row", "shape", "mapping"),
    [
        ({"messages": TURNS}, "messages", {"messages": "messages"}),
        ({"conversations": SHAREGPT}, "sharegpt", {"messages": "conversations"}),
        ({"conversations": TURNS}, "messages", {"messages": "conversations"}),
        ({"Messages ": TURNS}, "messages", {"messages": "Messages "}),
        ({"my_turns": TURNS}, "messages", {"messages": "my_turns"}),
        ({"system": "s", "conversations": SHAREGPT}, "sharegpt", {"messages": "conversations", "system": "system"}),
        ({"messages": TURNS, "tools": "[]"}, "messages", {"messages": "messages", "tools": "tools"}),
        ({"instruction": "a", "output": "b"}, "alpaca", {"prompt": "instruction", "completion": "output"}),
        ({"instruction": "a", "input": "x", "output": "b"}, "alpaca",
         {"prompt": "instruction", "completion": "output", "input": "input"}),
        ({"instruction": "a", "context": "x", "response": "b", "category": "c"}, "alpaca",
         {"prompt": "instruction", "completion": "response", "input": "context"}),
        ({"prompt": "a", "completion": "b"}, "prompt_completion", {"prompt": "prompt", "completion": "completion"}),
        ({"prompt": "a", "response": "b"}, "question_answer", {"prompt": "prompt", "completion": "response"}),
        ({"Question": "a", "Answer": "b"}, "question_answer", {"prompt": "Question", "completion": "Answer"}),
        ({"userQuestion": "a", "botResponse": "b"}, "question_answer", {"prompt": "userQuestion", "completion": "botResponse"}),
        ({"user": "a", "assistant": "b"}, "question_answer", {"prompt": "user", "completion": "assistant"}),
        ({"article": "a", "highlights": "b", "id": 1}, "question_answer", {"prompt": "article", "completion": "highlights"}),
        ({"pregunta": "a", "respuesta": "b"}, "question_answer", {"prompt": "pregunta", "completion": "respuesta"}),
        ({"text": LONG, "summary": "b"}, "question_answer", {"prompt": "text", "completion": "summary"}),
        ({"text": "a"}, "text", {"text": "text"}),
        ({"content": "a", "meta": {}}, "text", {"text": "content"}),
        ({"anything": LONG, "id": 3}, "text", {"text": "anything"}),
        ({"left": "one two", "right": "three four"}, "question_answer", {"prompt": "left", "completion": "right"}),
    ],
)  # fmt: skip
def test_column_names(row: dict[str, Any], shape: str, mapping: dict[str, str]) -> None:
    reading = recognise([row] * 3, "x.jsonl")
    assert (reading.shape, reading.mapping) == (shape, mapping)
    assert reading.usable == 1
    assert reading.title
    assert reading.reason


@pytest.mark.parametrize(
    "label", [True, 1, 0, "true", "False", "good", "bad", "👍", "thumbs_down", -1, "accepted"]
)
def test_labels_of_answers(label: Any) -> None:
    reading = recognise([{"prompt": "a", "completion": "b", "label": label}] * 3, "x")
    assert (reading.shape, reading.objective) == ("labelled", "kto")
    [form] = reading.forms({"prompt": "a", "completion": "b", "label": label})
    assert form.row()["label"] is (label in (True, "true", "good", "👍", "accepted"))


def test_a_label_that_is_no_verdict_is_just_a_column() -> None:
    reading = recognise([{"prompt": "a", "completion": "b", "label": "news"}], "x")
    assert (reading.shape, reading.note) == ("prompt_completion", "Columns not used: label.")


@pytest.mark.parametrize(
    ("row", "wanted", "what", "fix"),
    [
        (PAIR, "sft", "preference pairs (a chosen and a rejected answer)", "--format chosen"),
        (PAIR, "kto", "preference pairs", "--format unpaired"),
        ({"prompt": "a", "completion": "b", "label": False}, "sft", "answers with a good/bad label", "--format good"),
        ({"messages": TURNS, "label": True}, "dpo", "answers with a good/bad label", "Use them for kto. For dpo the rows need"),
        ({"messages": TURNS}, "dpo", "conversations (role, content)", "Use them for sft, grpo or rloo."),
        ({"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1}, "sft", "two answers", "--format chosen"),
        ({"instruction": "a", "output": ["b", "c"]}, "sft", "several answers", "--format chosen"),
        ({"messages": TURNS}, "cpt", "conversations (role, content)", "--format as_text"),
        ({"prompt": "a"}, "sft", "prompts to answer", "For sft the rows need an answer to each prompt."),
        ({"text": "a"}, "kto", "plain text", "Use them for cpt or sft."),
        ({"input_ids": [1], "attention_mask": [1]}, "sft", "tokens of one particular model", "Give the dataset as text"),
        ({"messages": TURNS, "images": ["1.jpg"]}, "sft", "with images, sound or film, which cannot be trained on yet", "text"),
    ],
)  # fmt: skip
def test_data_offered_for_another_objective_are_explained(
    row: dict[str, Any], wanted: Objective, what: str, fix: str
) -> None:
    with pytest.raises(UserError) as caught:
        recognise([row] * 3, "x.jsonl", wanted)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == "x.jsonl"


@pytest.mark.parametrize(
    ("row", "format", "objective", "made"),
    [
        (PAIR, "chosen", "sft", [[("user", "a"), ("assistant", "b")]]),
        (PAIR, "unpaired", "kto", [[("user", "a"), ("good", "b")], [("user", "a"), ("bad", "c")]]),
        (PAIR, "prompts", "grpo", [[("user", "a")]]),
        (
            {"prompt": "a", "completion": "b", "label": True},
            "good",
            "sft",
            [[("user", "a"), ("assistant", "b")]],
        ),
        ({"messages": TURNS}, "prompts", "rloo", [[("user", "a"), ("answer", "b")]]),
        ({"messages": TURNS}, "as_text", "cpt", [[("text", "a\n\nb")]]),
    ],
)
def test_an_explicit_choice_makes_other_uses_possible(
    row: dict[str, Any], format: str, objective: Objective, made: list[Any]
) -> None:
    reading = recognise([row] * 3, "x", objective, format=format)
    assert reading.format == format
    assert [form.spoken() for form in reading.forms(row)] == made
    assert all(objective in form.objectives for form in reading.forms(row))


def test_a_format_that_does_not_fit_or_exist() -> None:
    with pytest.raises(UserError, match="cannot be read as alpaca") as caught:
        recognise([{"text": "a"}], "x", format="alpaca")
    assert caught.value.fix == "These rows can be read as: text."
    with pytest.raises(UserError, match="no format called 'alpacca'"):
        recognise([{"text": "a"}], "x", format="alpacca")
    assert recognise([{"text": "a", "label": "b"}], "x", format="text_label").objective == "sft"


@pytest.mark.parametrize(
    ("rows", "both"),
    [
        ([{"question": "a", "answer": "2+2\n#### 4"}], {"prompt_only", "question_answer"}),
        ([{"left": "one two", "right": "three four"}], {"question_answer"}),
        ([{"ts": n, "user": "ann" if n % 2 else "bob", "text": "x y"} for n in range(6)], {"chat_log"}),
    ],
)
def test_two_possible_readings_each_show_an_example(rows: list[dict[str, Any]], both: set[str]) -> None:
    reading = recognise(rows, "x")
    assert reading.ambiguous
    other = reading.alternatives[0]
    assert {reading.shape, other.shape} == both
    assert reading.example(rows)
    assert other.example(rows)
    assert reading.example(rows) != other.example(rows)


def test_a_set_with_both_gives_each_objective_its_own() -> None:
    row = {
        "prompt": "a",
        "chosen": TURNS,
        "rejected": [TURNS[0], {"role": "assistant", "content": "c"}],
        "messages": TURNS,
    }
    assert recognise([row], "x", "sft").shape == "messages"
    assert recognise([row], "x", "dpo").shape == "preference"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        PAIR,
        {"prompt": "a", "completion": "b"},
        {"text": "a"},
        {"messages": TURNS, "label": True},
    ],
)
def test_what_is_plain_is_not_asked(row: dict[str, Any]) -> None:
    assert not recognise([row], "x").ambiguous


def test_worked_out_answers_serve_both_objectives() -> None:
    row = {"question": "a", "answer": "2+2 is 4.\n#### 4", "id": 7}
    assert recognise([row], "x", "sft").forms(row)[0].spoken() == [
        ("user", "a"),
        ("assistant", row["answer"]),
    ]
    assert recognise([row], "x", "grpo").forms(row)[0].row() == {
        "prompt": [{"role": "user", "content": "a"}], "answer": "4", "id": 7
    }  # fmt: skip


def test_prompts_of_other_data_serve_rewards() -> None:
    assert recognise([PAIR], "x", "grpo").forms(PAIR)[0].spoken() == [("user", "a")]
    assert recognise([{"messages": TURNS}], "x", "rloo").forms({"messages": TURNS})[0].spoken() == [
        ("user", "a"), ("answer", "b")
    ]  # fmt: skip


def test_pairs_become_prompts_for_rewards() -> None:
    row = {"problem": "a", "solution": "so \\boxed{\\frac{1}{2}}", "level": 3}
    [form] = recognise([row], "x", "grpo").forms(row)
    assert form.row() == {"prompt": [{"role": "user", "content": "a"}], "answer": "\\frac{1}{2}", "level": 3}


def test_nothing_to_train_on_names_columns_and_shapes() -> None:
    with pytest.raises(UserError) as caught:
        recognise([{"id": 1, "\x1b[31murl": "x"}, {"score": 2}], "x.csv")
    error = caught.value
    assert error.what.endswith("Columns seen: id, \\x1b[31murl, score.")
    assert "prompt, completion" in error.fix
    assert "messages" in error.fix


def test_columns_of_all_rows_count() -> None:
    assert recognise([{"id": 1}, {"question": "a", "answer": "b"}], "x").shape == "question_answer"
    assert recognise([{"messages": None}, {"messages": []}, {"messages": TURNS}], "x").shape == "messages"


def test_a_reading_that_fits_no_row_gives_way() -> None:
    assert recognise([{"chat": "hello", "text": "x"}], "x").shape == "text"
    assert recognise([{"instruction": "a", "output": "", "text": LONG}] * 4, "x").shape == "text"


def test_many_and_deep_columns_do_no_harm() -> None:
    wide = {f"c{n}": n for n in range(200_000)} | {"text": "a"}
    reading = recognise([wide], "x")
    assert reading.note == "Columns not used: c0, c1, c2, c3, c4, ...."
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    assert recognise([{"text": "a", "messages": deep, "x": {"y": deep}}], "x").shape == "text"


def test_every_shape_and_objective_has_words() -> None:
    names = [shape.name for shape in all_shapes()]
    assert len(names) == len(set(names))
    assert set(OBJECTIVE_WORDS) == set(get_args(Objective))
    assert all(shape.title for shape in all_shapes())


def test_readings_are_sorted() -> None:
    readings = all_readings([{"messages": TURNS, "question": "a", "answer": "b", "text": LONG}])
    assert [type(reading) for reading in readings] == [Reading] * len(readings)
    assert [reading.shape for reading in readings][:2] == ["messages", "question_answer"]
