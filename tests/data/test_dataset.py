"""Loading, splitting and peeking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.dataset import load_rows, peek
from engine.data.mixing import split
from engine.errors import UserError

QA = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(10)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_load_counts_and_explains_what_is_skipped(tmp_path: Path) -> None:
    rows = [
        QA[0],
        {"question": "q", "answer": ""},
        QA[1],
        {"question": "q"},
        QA[2],
        {"question": "", "answer": "a"},
    ]
    loaded = load_rows(write(tmp_path / "x.jsonl", rows))
    assert (loaded.total, loaded.usable, loaded.unit) == (6, 3, "line")
    assert loaded.numbers == [1, 3, 5]
    assert loaded.rows[0] == {
        "messages": [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "a0"}]
    }
    assert loaded.skipped == ((2, "empty answer"), (4, "no answer"), (6, "empty question"))
    assert loaded.summary(2) == (
        "3 of 6 rows usable; 3 skipped: line 2 (empty answer), line 4 (no answer), ..."
    )
    assert load_rows(write(tmp_path / "y.jsonl", QA)).summary() == "10 of 10 rows usable"


def test_load_every_format_alike(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    files = [write(tmp_path / "a.jsonl", QA)]
    for name, text in (
        ("b.json", json.dumps(QA)),
        ("c.json", json.dumps({"data": QA})),
        ("d.csv", "question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(10))),
        ("e.tsv", "question\tanswer\n" + "".join(f"q{n}\ta{n}\n" for n in range(10))),
    ):
        (tmp_path / name).write_text(text)
        files.append(tmp_path / name)
    parquet.write_table(pa.Table.from_pylist(QA), tmp_path / "f.parquet")
    loaded = [load_rows(file) for file in [*files, tmp_path / "f.parquet"]]
    assert all(data.rows == loaded[0].rows for data in loaded)
    assert [data.numbers[0] for data in loaded] == [1, 1, 1, 2, 2, 1]


def test_plain_text(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("# Title\n\nOne.\n")
    loaded = load_rows(tmp_path / "x.md")
    assert loaded.rows == [{"text": "# Title\n\nOne."}]
    assert (loaded.reading.shape, loaded.reading.objective) == ("text", "sft")


def test_no_usable_row_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_rows(write(tmp_path / "x.jsonl", [{"question": "q", "answer": ""}] * 5))
    assert caught.value.what.startswith("None of the 5 rows can be used: line 1 (empty answer), line 2")
    assert "pairs of question and answer" in caught.value.fix


def test_other_errors_of_loading(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question,answer\n")
    with pytest.raises(UserError, match="holds no rows"):
        load_rows(tmp_path / "x.csv")
    with pytest.raises(UserError, match="preference pairs"):
        load_rows(write(tmp_path / "x.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}]))
    with pytest.raises(UserError, match="Columns seen: id"):
        load_rows(write(tmp_path / "x.jsonl", [{"id": 1}]))
    rows = [json.dumps(row) for row in QA * 50]
    rows[300] = '{"question": "q", "answer"}'
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    with pytest.raises(UserError) as caught:
        load_rows(tmp_path / "x.jsonl")
    assert caught.value.where.endswith("line 301, column 27")


def test_split_is_the_same_everywhere() -> None:
    # Frozen: another result would change what an old run.yaml trains on.
    train, held_out = split(list(range(20)), 0.25, 42)
    assert held_out == [1, 7, 9, 12, 19]
    assert train == [n for n in range(20) if n not in held_out]
    assert split(list(range(20)), 0.25, 43)[1] != held_out


@settings(max_examples=200, deadline=None)
@given(
    num_rows=st.integers(2, 300),
    fraction=st.floats(0.0001, 0.99),
    seed=st.integers(-(2**40), 2**40),
    max_eval=st.none() | st.integers(1, 50),
)
def test_split_properties(num_rows: int, fraction: float, seed: int, max_eval: int | None) -> None:
    rows = list(range(num_rows))
    train, held_out = split(rows, fraction, seed, max_eval)
    assert sorted(train + held_out) == rows
    assert train == sorted(train)
    assert held_out == sorted(held_out)
    assert train
    assert held_out
    assert len(held_out) <= (max_eval or num_rows)
    assert (train, held_out) == split(rows, fraction, seed, max_eval)


def test_split_edges() -> None:
    assert split([1, 2], 0, 1) == ([1, 2], [])
    assert split([], 0, 1) == ([], [])
    assert [len(part) for part in split([1, 2], 0.5, 1)] == [1, 1]
    assert [len(part) for part in split([1, 2, 3], 0.99, 1)] == [1, 2]
    with pytest.raises(UserError, match="cannot be split"):
        split([1], 0.1, 1)


def test_peek_shows_the_first_rows_and_counts_small_files(tmp_path: Path) -> None:
    rows = [*QA, {"question": "q", "answer": ""}]
    seen = peek(write(tmp_path / "x.jsonl", rows), limit=20)
    assert (seen.num_rows, seen.exact, seen.columns) == (11, True, ("question", "answer"))
    assert [number for number, _ in seen.rows] == list(range(1, 12))
    assert len(seen.examples) == 10
    assert seen.skipped == ((11, "empty answer"),)
    assert (seen.reading.shape, seen.format, seen.unit) == ("question_answer", "jsonl", "line")
    assert len(peek(tmp_path / "x.jsonl", limit=3).rows) == 3


def test_peek_does_not_refuse_other_objectives(tmp_path: Path) -> None:
    seen = peek(write(tmp_path / "x.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}]))
    assert (seen.reading.objective, seen.examples[0][1].keys()) == ("dpo", {"prompt", "chosen", "rejected"})


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_peek_estimates_large_files(tmp_path: Path, form: str) -> None:
    num_rows = 40_000
    row = {"question": "What is it? " * 5, "answer": "It is this. " * 10}
    file = tmp_path / f"x.{form}"
    if form == "jsonl":
        file.write_text((json.dumps(row) + "\n") * num_rows)
    elif form == "json":
        file.write_text(json.dumps([row] * num_rows, indent=1))
    else:
        file.write_text("question,answer\n" + f"{row['question']},{row['answer']}\n" * num_rows)
    assert file.stat().st_size > 5e6
    seen = peek(file)
    assert not seen.exact
    assert seen.num_rows == pytest.approx(num_rows, rel=0.02)


def test_peek_ignores_what_is_broken_further_down(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text((json.dumps(QA[0]) + "\n") * 60_000 + "{broken\n")
    assert peek(file).num_rows == pytest.approx(60_000, rel=0.01)
    with pytest.raises(UserError, match="Line 60001"):
        load_rows(file)
