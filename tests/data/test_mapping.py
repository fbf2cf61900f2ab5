"""Columns assigned by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.loading import validate
from engine.config.writing import to_yaml
from engine.data.dataset import load_rows
from engine.data.recognise import recognise
from engine.data.sources import Spec, parse_mapping
from engine.errors import UserError

ROW = {"Frage": "Hi", "Notiz": "x y z", "Antwort lang": "Hello", "s": "Be kind", "meta": {"text": "inner"}}
TALK = [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    ("mapping", "objective", "spoken"),
    [
        ("prompt=Frage,completion=Antwort lang", "sft", TALK),
        ("question = Frage , answer = Antwort lang", "sft", TALK),
        ("prompt=Frage,completion=Antwort lang,system=s", "sft", [("system", "Be kind"), *TALK]),
        ("prompt=frage,completion=antwort_lang", "sft", TALK),
        ("prompt=Frage,chosen=Antwort lang,rejected=Notiz", "dpo",
         [("user", "Hi"), ("chosen", "Hello"), ("rejected", "x y z")]),
        ("text=Antwort lang", "cpt", [("text", "Hello")]),
        ("text=meta.text", "cpt", [("text", "inner")]),
        ("prompt=Frage", "grpo", [("user", "Hi")]),
        ("prompt=Frage,answer=Antwort lang", "grpo", [("user", "Hi"), ("answer", "Hello")]),
    ],
)  # fmt: skip
def test_a_mapping_wins(mapping: str, objective: Any, spoken: list[tuple[str, str]]) -> None:
    reading = recognise([ROW] * 3, "x", objective, parse_mapping(mapping))
    assert reading.forms(ROW)[0].spoken() == spoken
    assert "as the mapping says" in reading.reason


def test_a_part_of_a_mapping_completes_what_is_recognised() -> None:
    row = {"question": "Hi", "answer": "Hello", "persona": "Be kind"}
    reading = recognise([row], "x", "sft", {"system": "persona"})
    assert reading.forms(row)[0].spoken() == [("system", "Be kind"), *TALK]


def test_who_is_learnt_in_a_chat() -> None:
    rows = [{"ts": n, "user": ("ann", "bob")[n % 2], "text": f"words {n}"} for n in range(4)]
    reading = recognise(rows, "x", "sft", {"assistant": "bob"})
    assert reading.example(rows)[1] == ("assistant", "words 1")
    reading = recognise(rows, "x", "sft", {"assistant": "ann"})
    assert reading.example(rows) == [("user", "words 1"), ("assistant", "words 2"), ("user", "words 3")]


@pytest.mark.parametrize(
    ("mapping", "said", "fix"),
    [
        (
            {"prompt": "Frge", "completion": "Antwort lang"},
            "no column 'Frge' for prompt",
            "Did you mean Frage?",
        ),
        ({"prompt": "\x1b[2J", "completion": "s"}, "no column '\\x1b[2J' for prompt", "Columns: Frage"),
        ({"promt": "Frage"}, "does not say enough", "Roles: "),
        ({"chosen": "Frage"}, "does not say enough", "Roles: "),
    ],
)
def test_mistakes_in_a_mapping(mapping: dict[str, str], said: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        recognise([ROW], "x", "sft", mapping)
    assert said in caught.value.what
    assert fix in caught.value.fix


def test_a_mapping_in_run_yaml_and_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text((json.dumps(ROW) + "\n") * 4)
    tree: dict[str, Any] = {"model": {"model_name_or_path": "org/model"}, "data": {"train": [str(file)]}}
    config = validate(tree, {"mapping": "prompt=Frage,completion=Antwort lang"}, "test", {})
    assert config.data.mapping == {"prompt": "Frage", "completion": "Antwort lang"}
    assert load_rows(config.data.train_specs()[0]).usable == 4
    tree["data"]["train"] = [
        {"path": str(file), "mapping": {"text": "Notiz"}, "format": "text", "weight": 0.5}
    ]
    own = validate(tree, {"mapping": "prompt=Frage,completion=Antwort lang"}, "test", {})
    assert own.data.train_specs() == [Spec(str(file), weight=0.5, mapping={"text": "Notiz"}, format="text")]
    import yaml

    assert validate(yaml.safe_load(to_yaml(own)), {}, "again", {}) == own
    with pytest.raises(UserError, match="role=column"):
        validate(tree, {"mapping": "prompt"}, "test", {})
