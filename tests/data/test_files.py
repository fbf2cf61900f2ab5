"""Dataset files of every kind, whole and broken."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data import json_rows
from engine.data.files import open_rows
from engine.data.reading import Damage, Progress
from engine.data.text_rows import TEXT_ROW_CHARS
from engine.errors import UserError

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "ü\n☃", "completion": "d"}]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    return list(open_rows(path).rows)


def damage(path: Path) -> list[tuple[int, str]]:
    return [(number, row.problem) for number, row in open_rows(path).items if isinstance(row, Damage)]


def refused(path: Path | str) -> UserError:
    with pytest.raises(UserError) as caught:
        list(open_rows(path).rows)
    for line in caught.value.lines():
        assert "\n" not in line
        assert "\x1b" not in line
    return caught.value


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_jsonl(tmp_path: Path, bom: str, end: str) -> None:
    text = bom + end + json.dumps(ROWS[0]) + end + "  " + end + json.dumps(ROWS[1], ensure_ascii=False)
    assert read(write(tmp_path / "x.jsonl", text)) == [(2, ROWS[0]), (4, ROWS[1])]


def test_jsonl_keeps_unusual_line_separators(tmp_path: Path) -> None:
    row = {"text": "one\u2028two\x85three"}
    assert read(write(tmp_path / "x.jsonl", json.dumps(row, ensure_ascii=False))) == [(1, row)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.data"])
def test_json_array_whatever_the_file_is_called(tmp_path: Path, indent: int | None, name: str) -> None:
    rows = read(write(tmp_path / name, "\ufeff" + json.dumps(ROWS, indent=indent)))
    assert [row for _, row in rows] == ROWS
    assert [line for line, _ in rows] == ([1, 1] if indent is None else [2, 6])


def test_jsonl_under_the_name_json(tmp_path: Path) -> None:
    assert [row for _, row in read(write(tmp_path / "x.json", jsonl(ROWS)))] == ROWS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_object_that_holds_the_rows(tmp_path: Path, indent: int | None, name: str) -> None:
    source = open_rows(write(tmp_path / name, json.dumps({"version": 1, "data": ROWS}, indent=indent)))
    assert (source.unit, source.num_rows, list(source.rows)) == ("row", 2, [(1, ROWS[0]), (2, ROWS[1])])


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_row_is_not_taken_for_a_container(tmp_path: Path, indent: int | None) -> None:
    row = {"messages": [{"role": "user", "content": "a"}]}
    assert read(write(tmp_path / "x.json", json.dumps(row, indent=indent))) == [(1, row)]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_jsonl_with_very_long_lines(tmp_path: Path, name: str) -> None:
    rows = [{"text": "x" * 200_000}, {"text": "y"}]
    assert [row for _, row in read(write(tmp_path / name, jsonl(rows)))] == rows


def test_object_with_several_lists(tmp_path: Path) -> None:
    file = write(tmp_path / "x.json", json.dumps({"train": ROWS, "test": ROWS[:1]}))
    source = open_rows(file)
    assert (len(list(source.rows)), source.progress.notes) == (
        2,
        ["The file holds several lists; the rows of train are read, not test."],
    )
    assert len(list(open_rows(file, "test").rows)) == 1
    error = refused(write(tmp_path / "x.json", json.dumps({"north": ROWS, "south": ROWS})))
    assert "2 lists of rows inside: north, south" in error.what
    assert "split: north" in error.fix


@pytest.mark.parametrize(
    "value",
    [
        {"question": ["a", "b"], "answer": ["c", "d"]},
        {"question": {"0": "a", "1": "b"}, "answer": {"0": "c", "1": "d"}},
        {"x1": {"question": "a", "answer": "c"}, "x2": {"question": "b", "answer": "d"}},
        {"features": [], "rows": [{"row_idx": n, "row": {"question": q, "answer": a}, "truncated_cells": []}
                                  for n, (q, a) in enumerate([("a", "c"), ("b", "d")])]},
    ],
)  # fmt: skip
def test_objects_as_tools_write_them(tmp_path: Path, value: dict[str, Any]) -> None:
    file = write(tmp_path / "x.json", json.dumps(value, indent=1))
    assert read(file) == [(1, {"question": "a", "answer": "c"}), (2, {"question": "b", "answer": "d"})]


def test_objects_over_several_lines_one_after_the_other(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    assert read(write(tmp_path / "x.jsonl", text)) == [(1, ROWS[0]), (5, ROWS[1])]


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('{"a": 1}\n{"a": 2,}\n', 2, 9, "column name in double quotes"),
        ("{\"a\": 1}\n{'a': 2}\n", 2, 2, "column name in double quotes"),
        ('{"a": 1}\n\n{"a": 1} {"a": 2}\n', 3, 10, "more text after the end"),
        ('{"a": 1}\n{"a": \n', 2, 7, "a value is missing"),
        ('{"a": 1}\n{"a": "x\n', 2, 7, "no closing quote"),
        ('{"a": 1}\n{"a" 1}\n', 2, 6, "a colon is missing"),
        ('{"a": 1}\n{"a": "b" "c": 1}\n', 2, 11, "a comma or a closing quote is missing"),
        ('{"a": 1}\n{"a": "\\q"}\n', 2, 8, "a backslash must be doubled"),
        ("{'a': 1}\n", 1, 2, "column name in double quotes"),
        ('{"a": 1}\n' + "[" * 100_000 + "\n", 2, 1, "nested too deeply"),
        ('{"a": 1}\n{"a": ' + "1" * 5000 + "}\n", 2, 1, "thousands of digits"),
    ],
)
def test_broken_json_names_line_and_column(
    tmp_path: Path, text: str, line: int, column: int, said: str
) -> None:
    error = refused(write(tmp_path / "x.jsonl", text))
    assert f"Line {line} is not valid JSON" in error.what
    assert said in error.what
    if "recursion" not in said:
        assert error.where.endswith(f"x.jsonl, line {line}, column {column}")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[\n {"a": 1},\n {"a" 2}\n]', 3, 7),
        ('[\n {"a": 1}\n {"a": 2}\n]', 3, 2),
        ('[\n {"a": 1},\n]', 3, 1),
        ('[\n {"a": 1},\n {"a": 2}', 3, 10),
        ('[{"a": 1}] x', 1, 12),
        ("[", 1, 2),
    ],
)
def test_broken_array_names_line_and_column(tmp_path: Path, text: str, line: int, column: int) -> None:
    assert refused(write(tmp_path / "x.json", text)).where.endswith(f"line {line}, column {column}")


def test_broken_object_file(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "x.json", '{\n "data": [\n  {"a": 1},\n  {"a" 1}\n]}'))
    assert error.where.endswith("line 4, column 8")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1}\nnull\n', "Line 2 is empty (null), not an object with columns."),
        ('{"a": 1}\n\n[1]\n', "Line 3 is a list, not an object with columns."),
        ('{"a": 1}\n3\n', "Line 2 is a number, not an object with columns."),
        ('{"a": 1}\ntrue\n', "Line 2 is true or false, not an object with columns."),
        ('[{"a": 1},\nnull]', "Line 2 is empty (null), not an object with columns."),
        ('{"data": [{"a": 1}, null]}', "Row 2 is empty (null), not an object with columns."),
    ],
)
def test_rows_that_are_not_objects(tmp_path: Path, text: str, what: str) -> None:
    assert refused(write(tmp_path / "x.json", text)).what == what


def test_rows_that_are_lists_of_turns_or_texts(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}]
    assert read(write(tmp_path / "x.json", json.dumps([turns, turns]))) == [(1, {"messages": turns})] * 2
    assert read(write(tmp_path / "x.json", json.dumps(["a", "b"]))) == [
        (1, {"text": "a"}),
        (1, {"text": "b"}),
    ]


def test_damaged_lines_are_named_and_the_others_read(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", '{"a": 1}\n{"a"\n\nnull\n{"a": 2}\n')
    items = list(open_rows(file).items)
    assert [(number, isinstance(row, Damage)) for number, row in items] == [
        (1, False),
        (2, True),
        (4, True),
        (5, False),
    ]
    array = write(
        tmp_path / "x.json", '[\n  {"a": 1},\n  {"a": {"b" 2},\n   "c": [{}]},\n  {"a": 3},\n  {"a": }\n]'
    )
    assert [number for number, row in open_rows(array).items if isinstance(row, dict)] == [2, 5]
    assert damage(array) == [
        (3, "is not valid JSON: a colon is missing"), (6, "is not valid JSON: a value is missing or has no quotes")
    ]  # fmt: skip
    table = write(tmp_path / "x.csv", 'a,b\n1,2\n1,2,3\n1,"2"3\n4,5\n6,"7\n8,9\n')
    assert [row for _, row in open_rows(table).items if isinstance(row, dict)] == [
        {"a": "1", "b": "2"},
        {"a": "4", "b": "5"},
    ]
    assert [number for number, _ in damage(table)] == [3, 4, 6]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.txt"])
@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("cp1252", "Windows-1252"),
        ("utf-16", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
    ],
)
def test_encodings_are_recognised_and_said(tmp_path: Path, name: str, encoding: str, said: str) -> None:
    rows = [{"text": f"plain ascii words in row {n}"} for n in range(3)] + [{"text": "Größe und Café – „ja“"}]
    texts = [row["text"] for row in rows]
    content = {
        "x.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "x.json": json.dumps(rows, ensure_ascii=False, indent=1),
        "x.csv": "text\n" + "\n".join(texts),
        "x.txt": "\n\n".join(texts),
    }[name]
    source = open_rows(write(tmp_path / name, content.encode(encoding)))
    assert "\n\n".join(row["text"] for _, row in source.rows) == "\n\n".join(texts)
    notes = [note for note in source.progress.notes if "UTF" in note]
    assert bool(notes) == bool(said)
    assert said in "".join(notes)


def test_bytes_of_no_encoding_are_left_for_their_row(tmp_path: Path) -> None:
    good = json.dumps({"text": "Größe"}, ensure_ascii=False).encode()
    for chunk in (
        good + b"\n" + b'{"text": "caf\xe9"}\n' + good,
        '{"text": "\u4f60\u597d"}'.encode("gb18030"),
    ):
        source = open_rows(write(tmp_path / "x.jsonl", chunk))
        rows = [row["text"] for _, row in source.rows]
        assert "not UTF-8" in source.progress.notes[0]
        assert sum(any("\udc80" <= char <= "\udcff" for char in text) for text in rows) == 1


def test_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "support.jsonl", "{}")
    error = refused(tmp_path / "suport.jsonl")
    assert error.what == "There is no such dataset file."
    assert str(tmp_path / "support.jsonl") in error.fix
    assert "does not exist either" in refused(tmp_path / "no" / "x.jsonl").fix


@pytest.mark.parametrize("content", [b"", b"  \n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.txt"])
def test_empty_files(tmp_path: Path, content: bytes, name: str) -> None:
    assert refused(write(tmp_path / name, content)).what == "The dataset file is empty."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"{}", mtime=0)[:-9], "damaged or incomplete"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04xx", "Excel"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\x89PNG\r\n", "picture"),
        (b"\x7fELF", "cannot be read as a dataset"),
    ],
)
def test_other_kinds_of_file(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(write(tmp_path / "x.dat", content)).what


def test_special_files_and_odd_paths(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "not a regular file" in refused(tmp_path / "pipe.jsonl").what
    for odd in ("", "a\0b.jsonl", "x" * 5000, "~nobody/x.jsonl", "\x1b[31m.jsonl"):
        refused(odd)


def test_csv(tmp_path: Path) -> None:
    text = '\ufeffquestion,answer\r\n"a, b","say ""hi"""\r\n\r\n"two\r\nlines",y\r\nlast,z\r\n'
    assert read(write(tmp_path / "x.csv", text)) == [
        (2, {"question": "a, b", "answer": 'say "hi"'}),
        (4, {"question": "two\r\nlines", "answer": "y"}),
        (6, {"question": "last", "answer": "z"}),
    ]


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "x.csv"), ("\t", "x.csv"), ("|", "x.csv"), ("\t", "x.tsv")]
)
def test_csv_separators(tmp_path: Path, separator: str, name: str) -> None:
    text = separator.join(["question", "answer"]) + "\n" + separator.join(["a, b, c", "d"]) + "\n"
    assert read(write(tmp_path / name, text)) == [(2, {"question": "a, b, c", "answer": "d"})]


def test_csv_with_very_long_fields(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.csv", "text\n" + "x" * 300_000))[0][1]["text"] == "x" * 300_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n1,2,3\n", "Line 3 has 3 fields, but the first line names 2 columns"),
        ("a,b\n1\n", "Line 2 has 1 fields"),
        ('a,b\n1,"2\n3,4\n', "Line 2 is not valid CSV: a quote is opened here and never closed"),
        ('a,b\n1,"x"y\n', "Line 2 is not valid CSV"),
    ],
)
def test_broken_csv(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(write(tmp_path / "x.csv", text)).what


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    for text, row in (
        ("sep=;\na;b\n1;2\n", (3, {"a": "1", "b": "2"})),
        ("a,a,\n1,2,\n", (2, {"a": "1", "a (column 2)": "2", "column 3": ""})),
        ("a;b\n1;2;;\n", (2, {"a": "1", "b": "2"})),
        ("text\nno, quotes; here\n", (2, {"text": "no, quotes; here"})),
    ):
        assert read(write(tmp_path / "x.csv", text)) == [row]
    source = open_rows(write(tmp_path / "x.csv", "What is this thing?,It is a thing.\nAnd that?,Another.\n"))
    assert [list(row.values()) for _, row in source.rows] == [
        ["What is this thing?", "It is a thing."],
        ["And that?", "Another."],
    ]
    assert "looks like a row" in source.progress.notes[0]


def test_csv_with_only_a_header_has_no_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.csv", "a,b\n")) == []


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"messages": [{"role": "user", "content": str(n)}]} for n in range(2500)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    source = open_rows(tmp_path / "x.parquet")
    assert (source.num_rows, source.unit) == (2500, "row")
    assert list(source.rows) == list(enumerate(rows, 1))
    raw = (tmp_path / "x.parquet").read_bytes()
    for damaged in (raw[:-1], raw[: len(raw) // 2], b"PAR1" + raw[100:]):
        assert "not a readable Parquet file" in refused(write(tmp_path / "y.parquet", damaged)).what


def test_text_becomes_rows_of_whole_paragraphs(tmp_path: Path) -> None:
    paragraph = "\n".join(["word " * 20] * 6).strip()
    text = "\n\n".join([paragraph] * 30)
    rows = read(write(tmp_path / "x.txt", "\n\n" + text + "\n"))
    assert 3 < len(rows) < 30
    assert all(len(row["text"]) <= TEXT_ROW_CHARS for _, row in rows)
    assert all(row["text"].startswith("word") and row["text"].count(paragraph) >= 1 for _, row in rows)
    lines = ("\n\n" + text).split("\n")
    assert all(lines[number - 1] == row["text"].split("\n")[0] for number, row in rows)
    assert "\n".join(row["text"] for _, row in rows).split() == text.split()


def test_long_lines_are_cut_between_words_and_nothing_is_lost(tmp_path: Path) -> None:
    text = " ".join(f"word{n}" for n in range(3000)) + " " + "x" * 5000
    rows = read(write(tmp_path / "x.md", text))
    assert max(len(row["text"]) for _, row in rows) <= TEXT_ROW_CHARS
    assert "".join("".join(row["text"] for _, row in rows).split()) == "".join(text.split())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=8), values, min_size=1, max_size=4), min_size=1, max_size=8
    ),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    chunk=st.sampled_from([1, 5, 64, 1 << 20]),
)
def test_arrays_read_in_pieces_equal_the_whole(
    tmp_path: Path, rows: list[dict[str, Any]], indent: int | None, ascii_only: bool, chunk: int
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        file = write(tmp_path / "x.json", text.encode("utf-8"))
        made = list(json_rows.value_items(file, Progress()))
    assert [row for _, row in made] == rows
    lines = text.split("\n")
    assert all("{" in lines[number - 1] for number, _ in made)
