"""Sources: samples, weights, several at once, Hub ids, and rows that cannot be used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.config.loading import load, validate
from engine.data.dataset import Dataset, Example, Problem, load_rows, peek
from engine.data.mixing import load_data
from engine.data.sources import Spec, fingerprint, is_hub_id, spec_of
from engine.errors import UserError

BASE = {"model": {"model_name_or_path": "org/model"}}


def write(path: Path, prefix: str, count: int) -> Path:
    path.write_text(
        "".join(json.dumps({"prompt": f"{prefix}{n}", "completion": "a"}) + "\n" for n in range(count))
    )
    return path


def asked(rows: list[dict[str, Any]]) -> list[str]:
    return [row["messages"][0]["content"] for row in rows]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("data.jsonl", Spec("data.jsonl")),
        ("data.jsonl#1000", Spec("data.jsonl", sample=1000)),
        ("trl-lib/tldr", Spec("trl-lib/tldr")),
        ("trl-lib/tldr#5", Spec("trl-lib/tldr", sample=5)),
        ("openai/gsm8k:main@train#1_000", Spec("openai/gsm8k", config="main", split="train", sample=1000)),
        ("openai/gsm8k@test", Spec("openai/gsm8k", split="test")),
        ("hf://datasets/org/name", Spec("hf://datasets/org/name")),
        ("modelscope:org/name#3", Spec("modelscope:org/name", sample=3)),
        ("./org/name", Spec("./org/name")),
        ("notes#1.txt", Spec("notes#1.txt")),
    ],
)
def test_a_source_in_one_word(text: str, spec: Spec) -> None:
    assert spec_of(text) == spec
    assert is_hub_id(spec.path) == (spec.path.split("/")[0] in ("trl-lib", "openai", "hf:", "modelscope:org"))


def test_files_win_over_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a#3").write_text("x")
    (tmp_path / "org").mkdir()
    assert spec_of("a#3") == Spec("a#3")
    assert not is_hub_id("org/name")


def test_a_sample_is_drawn_at_random_and_the_same_each_time(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", "q", 1000)
    first = load_rows(f"{file}#50")
    assert (first.usable, first.numbers) == (50, sorted(set(first.numbers)))
    assert 300 < sum(first.numbers) / 50 < 700
    assert load_rows(f"{file}#50").rows == first.rows
    assert load_rows(f"{file}#50", seed=7).rows != first.rows
    assert load_rows(f"{file}#5000").usable == 1000
    assert (peek(f"{file}#50").num_rows, peek(file).num_rows) == (50, 1000)


def test_sources_are_mixed_by_weight_and_no_row_is_both_learnt_and_measured(tmp_path: Path) -> None:
    a, b = str(write(tmp_path / "a.jsonl", "a", 100)), str(write(tmp_path / "b.jsonl", "b", 100))
    data = load_data([Spec(a, weight=2.0), Spec(b, weight=0.5)], [], 0.1, "sft", 42)
    train, held_out = asked(data.train), asked(data.evaluation)
    assert len(held_out) == 20
    assert not set(train) & set(held_out)
    names = [name for name in train if name.startswith("a")]
    assert len(names) == 2 * len(set(names))
    some = [name for name in train if name.startswith("b")]
    assert 25 < len(some) == len(set(some)) < 65
    same = load_data([Spec(a), Spec(b)], [], 0.0, "sft", 42)
    assert asked(same.train) == [f"a{n}" for n in range(100)] + [f"b{n}" for n in range(100)]
    assert load_data([Spec(a)], [Spec(b, sample=7)], 0.3, "sft", 1).evaluation.__len__() == 7


def test_texts_and_conversations_do_not_mix(tmp_path: Path) -> None:
    a = str(write(tmp_path / "a.jsonl", "a", 5))
    (tmp_path / "b.txt").write_text("Some words.\n")
    with pytest.raises(UserError, match="one run takes one of them"):
        load_data([Spec(a), Spec(str(tmp_path / "b.txt"))], [], 0, "sft", 1)


def test_warnings_name_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("question;answer\nWörter?;Ja\nleer?;\n".encode("cp1252"))
    data = load_data([Spec(str(file))], [], 0, "sft", 1)
    assert data.warnings[0].startswith("a.csv: The file is not UTF-8; it is read as Windows-1252")
    assert data.warnings[1] == (
        "1 of 2 rows of a.csv cannot be used and are skipped; the first is line 3: empty answer"
    )


def test_every_row_is_used_or_named(tmp_path: Path) -> None:
    rows = [
        '{"prompt": "a", "completion": "b"}',
        '{"prompt": "a"',
        "",
        '{"prompt": "a", "completion": ""}',
        "7",
    ] * 50
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    items = list(Dataset(tmp_path / "x.jsonl", "sft", check=False).items())
    assert [item.number for item in items] == [n for n, row in enumerate(rows, 1) if row]
    assert sum(isinstance(item, Example) for item in items) == 50
    problems = [
        (item.problem, item.field, item.unreadable) for item in items[1:4] if isinstance(item, Problem)
    ]
    assert problems == [
        ("is not valid JSON: a comma or a closing quote is missing", "", True),
        ("empty answer", "completion", False),
        ("is a number, not an object with columns", "", True),
    ]


def test_a_preference_set_for_imitation_needs_an_explicit_choice(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    with pytest.raises(UserError, match="preference pairs"):
        load_rows(file)
    assert load_rows(Spec(str(file), format="chosen")).rows == [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    ]
    assert load_rows(file, "dpo").rows[0].keys() == {"prompt", "chosen", "rejected"}


def test_sources_in_run_yaml(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "run.yaml").write_text(
        "model: {model_name_or_path: org/model}\n"
        "data:\n  train:\n    - a.jsonl#100\n    - {path: 'openai/gsm8k', config: main, split: train, weight: 2}\n"
        "    - local/part\n  eval: b.csv\n  format: alpaca\n"
    )
    data = load(tmp_path / "run.yaml").data
    assert data.train_specs() == [
        Spec(str(tmp_path / "a.jsonl"), sample=100, format="alpaca"),
        Spec("openai/gsm8k", config="main", split="train", weight=2.0, format="alpaca"),
        Spec("local/part", format="alpaca"),
    ]
    assert data.eval_specs() == [Spec(str(tmp_path / "b.csv"), format="alpaca")]
    with pytest.raises(UserError, match="weight"):
        validate({**BASE, "data": {"train": [{"path": "x", "weight": 0}]}}, {}, "test", {})


def test_hub_datasets_come_through_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[Any] = []

    def files(*wanted: Any) -> list[Path]:
        asked_for.append(wanted)
        return [write(tmp_path / "train-0.jsonl", "a", 3), write(tmp_path / "train-1.jsonl", "b", 2)]

    hub, datasets = ModuleType("engine.hub"), ModuleType("engine.hub.datasets")
    hub.datasets, datasets.files = datasets, files  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.hub", hub)
    monkeypatch.setitem(sys.modules, "engine.hub.datasets", datasets)
    loaded = load_rows("org/name:main@train")
    assert asked(loaded.rows) == ["a0", "a1", "a2", "b0", "b1"]
    assert asked_for == [("org/name", "main", "train", None)]
    assert loaded.place(5) == "train-1.jsonl, line 2"
    assert len(fingerprint(Spec("hf://datasets/org/name"))) == 2


def test_a_fingerprint_changes_with_any_file_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "a", 3)
    write(tmp_path / "b.jsonl", "b", 3)
    before = fingerprint(Spec(str(tmp_path)))
    assert before == fingerprint(Spec(str(tmp_path)))
    write(tmp_path / "b.jsonl", "c", 3)
    assert before != fingerprint(Spec(str(tmp_path)))
    with pytest.raises(UserError):
        fingerprint(Spec(str(tmp_path / "none")))
