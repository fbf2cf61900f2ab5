"""Compressed files, columnar files and folders."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from engine.data.dataset import load_rows
from engine.data.files import open_rows
from engine.errors import UserError

ROWS = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(600)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
pa = pytest.importorskip("pyarrow")


def rows(path: Path, split: str | None = None) -> list[dict[str, Any]]:
    return [row for _, row in open_rows(path, split).rows]


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("zst", zstd), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_compressed(tmp_path: Path, ending: str, pack: Any) -> None:
    table = "question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(600))
    for name, content in (
        ("x.jsonl", JSONL), ("x.json", json.dumps(ROWS).encode()), ("o.json", json.dumps({"data": ROWS}).encode()),
        ("x.csv", table.encode()),
    ):  # fmt: skip
        (tmp_path / f"{name}.{ending}").write_bytes(pack(content))
        assert rows(tmp_path / f"{name}.{ending}") == ROWS
    (tmp_path / f"x.txt.{ending}").write_bytes(pack(b"words\n"))
    assert rows(tmp_path / f"x.txt.{ending}") == [{"text": "words"}]
    (tmp_path / f"cut.jsonl.{ending}").write_bytes(pack(JSONL)[:-40])
    with pytest.raises(UserError, match="damaged or incomplete"):
        rows(tmp_path / f"cut.jsonl.{ending}")


def test_arrow_of_both_kinds(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    for name, opened in (
        ("file.arrow", pa.ipc.new_file),
        ("stream.arrow", pa.ipc.new_stream),
        ("x.data", pa.ipc.new_stream),
    ):
        with opened(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=250)
        source = open_rows(tmp_path / name)
        assert (source.format, source.unit, [row for _, row in source.rows]) == ("arrow", "row", ROWS)
    raw = (tmp_path / "file.arrow").read_bytes()
    (tmp_path / "x.arrow.gz").write_bytes(gzip.compress(raw))
    assert rows(tmp_path / "x.arrow.gz") == ROWS
    (tmp_path / "cut.arrow").write_bytes(raw[:200])
    with pytest.raises(UserError, match="not a readable Arrow file"):
        rows(tmp_path / "cut.arrow")


def save_to_disk(folder: Path, part: list[dict[str, Any]]) -> None:
    """As the datasets library writes it."""
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(part)
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (folder / "dataset_info.json").write_text("{}")


def test_save_to_disk(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "one", ROWS)
    assert rows(tmp_path / "one") == ROWS
    save_to_disk(tmp_path / "both" / "train", ROWS)
    save_to_disk(tmp_path / "both" / "test", ROWS[:5])
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = open_rows(tmp_path / "both")
    assert [row for _, row in source.rows] == ROWS
    assert source.progress.notes[0] == "The folder holds the splits train, test; train is read."
    assert rows(tmp_path / "both", "test") == ROWS[:5]
    with pytest.raises(UserError, match="no split dev; there are: train, test"):
        rows(tmp_path / "both", "dev")


def test_the_datasets_library_reads_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "x"), num_shards=2)
    assert rows(tmp_path / "x") == ROWS


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, part in (("b.jsonl", ROWS[3:5]), ("a.jsonl", ROWS[:3])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in part) + "\n")
    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".hidden.csv").write_text("x")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    source = open_rows(tmp_path)
    numbered = list(source.rows)
    assert [row for _, row in numbered] == ROWS[:5]
    assert [source.place(number) for number, _ in numbered] == [
        "a.jsonl, line 1", "a.jsonl, line 2", "a.jsonl, line 3", "b.jsonl, line 1", "b.jsonl, line 2"
    ]  # fmt: skip
    (tmp_path / "b.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"question": "x", "answer": ""}\n')
    assert load_rows(tmp_path).summary() == "4 of 5 rows usable; 1 skipped: b.jsonl, line 2 (empty answer)"
    (tmp_path / "b.jsonl").write_text("{oops\n")
    with pytest.raises(UserError) as caught:
        load_rows(tmp_path)
    assert (
        caught.value.what.startswith("B.jsonl, line 1 is not valid JSON")
        or "b.jsonl, line 1" in caught.value.where
    )


def test_a_copy_of_a_hub_repository(tmp_path: Path) -> None:
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    for name, part in (
        ("train-00000-of-00002", ROWS[:300]),
        ("train-00001-of-00002", ROWS[300:]),
        ("test-00000-of-00001", ROWS[:9]),
    ):
        parquet.write_table(pa.Table.from_pylist(part), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").write_text("---\n---\n")
    assert rows(tmp_path) == ROWS
    assert rows(tmp_path, "test") == ROWS[:9]
    with pytest.raises(UserError, match="no split validation; there are: test, train"):
        rows(tmp_path, "validation")


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset file in this folder"):
        rows(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(JSONL)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"mixes files of different kinds \(1 csv, 1 jsonl\)"):
        rows(tmp_path)


def test_a_folder_of_texts_is_one_document_a_file(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt"):
        (tmp_path / name).write_text(f"# {name}\n\nSome words.\n")
    assert [row["text"] for row in rows(tmp_path)] == ["# a.txt\n\nSome words.", "# b.md\n\nSome words."]


@pytest.mark.parametrize(
    ("text", "unit", "texts"),
    [
        ("one\n\ntwo", "paragraphs", ["one\n\ntwo"]),
        (
            f"{'w ' * 150}\n{'v ' * 150}\n",
            "each line is a text",
            [("w " * 150).strip(), ("v " * 150).strip()],
        ),
    ],
)
def test_how_a_text_is_cut_is_said(tmp_path: Path, text: str, unit: str, texts: list[str]) -> None:
    (tmp_path / "x.txt").write_text(text)
    source = open_rows(tmp_path / "x.txt")
    assert [row["text"] for _, row in source.rows] == texts
    assert unit in source.progress.notes[0]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.txt", "x.jsonl.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    line = {"question": "what " * 100, "answer": "that " * 100}
    count = 20_000
    if name.startswith("x.jsonl"):
        content = (json.dumps(line) + "\n").encode() * count
        (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    else:
        with (tmp_path / name).open("w") as file:
            file.write({"x.json": "[", "x.csv": "question,answer\n"}.get(name, ""))
            for n in range(count):
                file.write(
                    {
                        "x.json": ",\n" * (n > 0) + json.dumps(line),
                        "x.csv": f"{line['question']},{line['answer']}\n",
                    }.get(name, f"{line['question']}\n\n")
                )
            file.write("]" if name == "x.json" else "")
    tracemalloc.start()
    try:
        assert sum(1 for _ in open_rows(tmp_path / name).rows) > 1000
        assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    finally:
        tracemalloc.stop()


def test_a_line_too_long_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.data import json_rows, streams

    monkeypatch.setattr(streams, "LONGEST_LINE", 1000)
    monkeypatch.setattr(json_rows, "LONGEST_LINE", 1000)
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": "' + "x" * 5000 + '"}\n')
    with pytest.raises(UserError, match="Line 2 is longer than"):
        rows(tmp_path / "x.jsonl")
