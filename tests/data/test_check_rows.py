"""Findings name the line, the turn and what to do; repeated rows and leaks are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.check import fingerprints
from engine.data.check.run import CheckRequest, check
from engine.data.dataset import Dataset, Example
from engine.errors import UserError

GOOD = [
    {"role": "user", "content": "How do I reset my password?"},
    {"role": "assistant", "content": "In the settings."},
]


def report_of(path: Path, lines: list[Any], **options: Any) -> Any:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return check(CheckRequest((str(path),), processes=1, **options))


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("line", "kind", "where", "words"),
    [
        ('{"messages": [}', "broken json", "column", "not valid JSON"),
        ("[1, 2]", "not an object", "", "is a list"),
        ({"messages": None}, "no turns", "messages", "no conversation"),
        ({"messages": []}, "no turns", "messages", "empty"),
        ({"messages": 5}, "mixed types", "messages", "a number"),
        ({"messages": [user("Hi"), "yes", assistant("x")]}, "mixed types", "turn 2", "text"),
        ({"messages": [user("Hi"), "yes"]}, "mixed types", "turn 2", "text"),
        ({"messages": [user("Hi"), assistant(None)]}, "missing field", "turn 2", "no content"),
        ({"messages": [user("Hi"), assistant(" ")]}, "empty turn", "turn 2", "empty"),
        ({"messages": [user("Hi"), {"content": "x"}]}, "missing field", "turn 2", "no role"),
        ({"messages": [user("Hi"), {"role": "narrator", "content": "x"}]}, "unknown role", "turn 2", "narrator"),
        ({"messages": [user("Hi")]}, "no assistant", "", "nothing to learn"),
        ({"messages": [assistant("Hi"), user("Hi")]}, "role order", "turn 1", "starts with the assistant"),
        ({"messages": [user("Hi"), user("Hi"), assistant("x")]}, "role order", "turn 2", "two user turns"),
        ({"messages": [*GOOD, {"role": "system", "content": "x"}]}, "role order", "turn 3", "system message"),
    ],
)  # fmt: skip
def test_every_problem_has_its_place(tmp_path: Path, line: Any, kind: str, where: str, words: str) -> None:
    report = report_of(
        tmp_path / "a.jsonl", [{"messages": GOOD}, "", line, {"messages": [user("Yes?"), assistant("No.")]}]
    )
    assert (report.rows, report.usable) == (3, 2)
    found = next(problem for problem in report.problems if problem.kind == kind)
    assert found.line == 3
    assert where in found.field
    assert words in found.problem
    assert found.fix


def test_every_row_is_used_or_named_as_training_does(tmp_path: Path) -> None:
    turns = [
        GOOD,
        [user("Hi")],
        [user(3), assistant("x")],
        [user(" "), assistant("y")],
        [user("a"), assistant("b"), user("c")],
    ]
    report = report_of(tmp_path / "a.jsonl", [{"messages": part} for part in turns])
    loaded = [
        item for item in Dataset(tmp_path / "a.jsonl", check=False).items() if isinstance(item, Example)
    ]
    assert report.usable == len(loaded)


def test_lines_are_right_across_parts_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.data.check import scan

    monkeypatch.setattr(scan, "PART_BYTES", 5_000)
    monkeypatch.setattr(scan, "_ALONE_BYTES", 0)
    lines = [{"messages": [user(f"Question number {n}?"), assistant("x" * 50)]} for n in range(2000)]
    lines[1234] = {"messages": [user("Hi")]}
    lines[1700] = lines[3]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    report = check(CheckRequest((str(path),), processes=2))
    assert [(p.kind, p.line) for p in report.problems if p.kind in ("no assistant", "duplicate")] == [
        ("no assistant", 1235),
        ("duplicate", 1701),
    ]
    assert report.rows == 2000


def test_repeated_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_AT_ONCE", 2)  # several passes
    near = [user("HOW do I reset: my password!"), assistant("in the   settings")]
    other = [user("How do I change my address?"), assistant("In the settings.")]
    rows = [{"messages": GOOD}, {"messages": other}, {"id": 7, "messages": GOOD}, {"messages": near}]
    report = report_of(tmp_path / "a.jsonl", rows)
    assert [(p.kind, p.line, p.problem) for p in report.problems] == [
        ("duplicate", 3, "the same as line 1"),
        ("near-duplicate", 4, "nearly the same as line 1"),
    ]


def test_repeats_across_files_and_in_the_evaluation_data(tmp_path: Path) -> None:
    other = [user("How do I change my address?"), assistant("In the settings.")]
    same_question = [user("how do I change my address"), assistant("Write to us.")]
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": other}) + "\n" + json.dumps({"messages": GOOD}))
    (tmp_path / "eval.jsonl").write_text(
        json.dumps({"messages": GOOD}) + "\n" + json.dumps({"messages": same_question})
    )
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": GOOD}))
    report = check(
        CheckRequest(
            (str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")),
            evaluation=str(tmp_path / "eval.jsonl"),
            processes=1,
        )
    )
    found = [(p.kind, p.file, p.line) for p in report.problems]
    assert ("duplicate", "b.jsonl", 2) in found
    assert ("in evaluation", "a.jsonl", 1) in found
    assert ("question in evaluation", "b.jsonl", 1) in found
    assert report.evaluation == {"rows": 2, "usable": 2}


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl.gz", "parquet"])
def test_other_kinds_of_files(tmp_path: Path, ending: str) -> None:
    import gzip

    rows = [{"prompt": "What is it?", "completion": "A house."}, {"prompt": "Who is it?", "completion": ""}]
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        path.write_text("prompt,completion\n" + "\n".join(",".join(row.values()) for row in rows))
    elif ending == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    report = check(CheckRequest((str(path),), processes=1))
    assert (report.rows, report.usable) == (2, 1)
    assert {p.severity for p in report.problems} == {"row is skipped"}
    assert report.problems[0].line in (2, 3, 6)


def test_encodings(tmp_path: Path) -> None:
    rows = [{"messages": [user("Caf\u00e9?"), assistant("Ja, na\u00efve \u20ac.")]}, {"messages": GOOD}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for encoding, kind in (("utf-8-sig", "byte order mark"), ("cp1252", "western text"), ("utf-16", None)):
        path = tmp_path / f"{encoding}.jsonl"
        path.write_bytes(text.encode(encoding))
        report = check(CheckRequest((str(path),), processes=1))
        assert (report.rows, report.usable) == (2, 2), encoding
        assert kind is None or report.counts.get(kind) == 1
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_bytes(text.encode() + b"\n" + text.encode("cp1252"))
    report = check(CheckRequest((str(mixed),), processes=1))
    assert report.counts["not utf-8"] == 1
    assert report.usable == 3


def test_data_that_do_not_suit_the_objective_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        report_of(tmp_path / "a.jsonl", [{"messages": GOOD}], objective="dpo")
    assert "do not suit" in error.value.what


def test_rows_that_are_already_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="already tokens"):
        report_of(tmp_path / "a.jsonl", [{"input_ids": [1, 2], "labels": [1, 2]}] * 3)


def test_preferences_labels_and_texts(tmp_path: Path) -> None:
    pair = {"prompt": "Is it?", "chosen": "Yes, it is.", "rejected": "No."}
    report = report_of(tmp_path / "dpo.jsonl", [pair, {**pair, "rejected": pair["chosen"]}])
    assert (report.objective, report.usable, report.rows) == ("dpo", 1, 2)
    assert "same" in report.problems[0].problem
    report = report_of(tmp_path / "kto.jsonl", [{"prompt": "Is it?", "completion": "Yes.", "label": True}])
    assert (report.objective, report.usable) == ("kto", 1)
    report = report_of(tmp_path / "text.jsonl", [{"text": "A long text."}, {"text": " "}], max_length=1000)
    assert report.usable == 1
    assert report.counts["empty text"] == 1


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}])
def test_answers_marked_as_not_to_be_learnt_are_named(tmp_path: Path, mark: dict[str, Any]) -> None:
    turns = [user("Hi"), assistant("Ho") | mark, user("And?"), assistant("So.") | {"weight": 1}]
    report = report_of(tmp_path / "a.jsonl", [{"messages": GOOD}, {"messages": turns}])
    assert report.usable == 2
    (found,) = [problem for problem in report.problems if problem.kind == "unlearnt turn"]
    assert (found.line, found.field) == (2, "turn 2")
