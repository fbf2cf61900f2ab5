"""Repaired copies: never over another file, whole or not at all, nothing made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.check.repair_json import repaired_values
from engine.data.check.repair_rows import clean_text
from engine.data.check.run import CheckRequest, check
from engine.errors import UserError

TURNS = [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Fine, thanks."}]


def fixed(path: Path, out: Path) -> tuple[Any, list[Any], list[Any]]:
    report = check(CheckRequest((str(path),), fix=str(out), processes=1))
    rejected = out.with_name("out.rejected.jsonl")
    read = [[json.loads(line) for line in file.open()] if file.exists() else [] for file in (out, rejected)]
    return report.fixed, read[0], read[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ("{'a': 'it is \"so\"'}", {"a": 'it is "so"'}),
        (r"{'a': 'it\'s'}", {"a": "it's"}),
        ("{'a': None, 'b': True,}", {"a": None, "b": True}),
        ("{a: 'x'}", {"a": "x"}),
        ('{"a": "x\ty"}', {"a": "x\ty"}),
        ('\x00\x00{"a": 1}', {"a": 1}),
        ('[{"a": 1},', {"a": 1}),
        ('{"a": 1}]', {"a": 1}),
        ('{"a": "b, }"},', {"a": "b, }"}),
        ('{"a": "cut', None),
        ("{'a': 'don't'}", None),
        ('{"a": 1 "b": 2}', None),
        ('{"a": }', None),
        ("hello", None),
        ("{'a': {1, 2}}", None),
    ],
)
def test_lines_with_one_sure_reading(text: str, value: Any) -> None:
    found = repaired_values(text)
    assert found is None if value is None else found is not None and [row for row, _ in found] == [value]


def test_several_objects_on_a_line() -> None:
    found = repaired_values('{"a": 1}{"a": 2}, {"a": 3}')
    assert found is not None
    assert [row["a"] for row, _ in found] == [1, 2, 3]


def test_texts_are_cleaned_of_what_no_model_should_learn() -> None:
    text = "a\x1b]0;title\x07b\x1b[1;31mc\x1b[0m d\x00e\u202ef\ud800g\x07h\x9b2Ji\n\tj\ufffd"
    assert clean_text(text)[0] == "abc defghi\n\tj\ufffd"
    assert clean_text("plain \u4f60\u597d \U0001f600\n")[1] == []


def test_a_dataset_with_everything_wrong(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    lines = [
        json.dumps({"id": 1, "messages": TURNS}),
        json.dumps({"id": 2, "messages": other})[:-1] + ",}",
        str(
            {
                "id": 3,
                "messages": [{"role": "user", "content": "\x1b[1mHi"}, {"role": "bot", "content": "Yo"}],
            }
        ).replace("\\x1b", "\x1b"),
        json.dumps({"id": 4, "messages": TURNS}),
        json.dumps(
            {
                "id": 5,
                "messages": [
                    TURNS[0],
                    {"role": "user", "content": "And you?"},
                    TURNS[1],
                    {"role": "user", "content": " "},
                ],
            }
        ),
        json.dumps({"id": 6, "messages": [TURNS[0]]}),
        '{"id": 7, "messages": [{"role": "user", "content": "cut o',
        json.dumps(
            {"id": 8, "messages": [{"role": "user", "content": "Caf\u00e9?"}, TURNS[1]]}, ensure_ascii=False
        ),
    ]
    path = tmp_path / "in.jsonl"
    raw = b"\xef\xbb\xbf" + "\n".join(lines[:-1]).encode() + b"\n" + lines[-1].encode("cp1252")
    path.write_bytes(raw)
    result, rows, rejected = fixed(path, tmp_path / "out.jsonl")
    assert path.read_bytes() == raw
    assert [row["id"] for row in rows] == [1, 2, 3, 5, 8]
    assert rows[2]["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    assert rows[3]["messages"] == [{"role": "user", "content": "How are you?\n\nAnd you?"}, TURNS[1]]
    assert rows[4]["messages"][0]["content"] == "Caf\u00e9?"
    assert [(row["line"], bool(row["reason"])) for row in rejected] == [(6, True), (7, True)]
    assert rejected[1]["row"] == lines[6]
    changes = {words: [line for line, *_ in listed] for words, listed in result.changes.listed.items()}
    assert changes["repeated rows dropped"] == [4]
    assert changes["trailing comma removed"] == [2]
    assert changes["byte order mark removed"] == [1]
    assert changes["escape sequences removed"] == [3]
    assert changes["empty turns dropped"] == changes["turns of the same speaker merged"] == [5]
    again = check(CheckRequest((str(tmp_path / "out.jsonl"),), processes=1))
    assert (again.rows, again.usable, again.stops) == (5, 5, False)


def test_a_file_of_nothing_but_python_literals(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(str({"prompt": f"Question {n}?", "completion": "It's so."}) for n in range(3)))
    result, rows, _ = fixed(path, tmp_path / "out.jsonl")
    assert [row["prompt"] for row in rows] == ["Question 0?", "Question 1?", "Question 2?"]
    assert result.rows == 3


@pytest.mark.parametrize("name", ["in.jsonl", "out.jsonl", "out.rejected.jsonl", "link.jsonl"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"messages": TURNS}))
    if name == "link.jsonl":
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    elif name != "in.jsonl":
        (tmp_path / name).write_text("mine")
    before = {item.name for item in tmp_path.iterdir()}
    out = tmp_path / (name if name != "out.rejected.jsonl" else "out.jsonl")
    with pytest.raises(UserError, match="exists already"):
        check(CheckRequest((str(path),), fix=str(out), processes=1))
    assert {item.name for item in tmp_path.iterdir()} == before


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.data.check import fix_file

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fix_file, "_put", full)
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"messages": TURNS}))
    with pytest.raises(UserError, match="No space left"):
        check(CheckRequest((str(path),), fix=str(tmp_path / "out.jsonl"), processes=1))
    assert [item.name for item in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", ["", ".", "/", "fixed.csv", "fixed.parquet", "fixed.jsonl.gz"])
def test_a_name_that_is_not_one_for_jsonl_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text(json.dumps({"prompt": "Hi", "completion": "Ho"}) + "\n")
    with pytest.raises(UserError, match="JSONL"):
        check(CheckRequest(("a.jsonl",), fix=name, processes=1))
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
