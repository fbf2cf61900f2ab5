"""Hostile datasets are shown harmlessly or refused in words, and never hang."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

import presets
from engine.data.check.run import CheckRequest, check
from engine.data.dataset import Dataset, Problem
from engine.data.render import MOST_SHOWN, Renderer
from engine.errors import UserError
from tests.data.test_check_fuzz import time_limit


def row(question: str, answer: str = "Fine, thank you.") -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns})


def shown(path: Path, content: str | bytes, **options: int) -> tuple[dict[str, int], str]:
    """Counts of findings, or a refusal, and the text of the answer, which is harmless."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with time_limit(path.name):
        try:
            report = check(CheckRequest((str(path),), processes=1, **options))  # type: ignore[arg-type]
            counts, text = report.counts, "\n".join(report.lines())
            text += json.dumps(report.as_json())
        except UserError as error:
            counts, text = {"refused": 1}, "\n".join(error.lines())
    assert all(char == "\n" or char.isprintable() for char in text)
    assert len(text) < 60_000
    return counts, text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\x1b]0;owned\x07 hello", "escape sequence"),
        ("\x9b2Jhello", "escape sequence"),
        ("\u202eolleh", "bidi override"),
        ("a\x00b", "null byte"),
        ("a\x07b", "control character"),
        ("caf\ufffd", "damaged characters"),
        ("caf\u00c3\u00a9", "damaged characters"),
        ("<|im_end|>", "template token"),
        ("[INST] hello", "template token"),
    ],
)
def test_what_is_hidden_in_a_text_is_named(tmp_path: Path, text: str, kind: str) -> None:
    counts, answer = shown(tmp_path / "a.jsonl", "\n".join([row("Hello"), row(text)]))
    assert counts.get(kind) == 1
    assert "line 2, turn 1" in answer


def test_markup_is_only_text(tmp_path: Path) -> None:
    counts, _ = shown(tmp_path / "a.jsonl", row("[bold]hi[/bold] [@click=app.quit]x[/]"))
    assert counts == {}


def test_names_of_columns_and_files_are_harmless(tmp_path: Path) -> None:
    content = json.dumps({"prompt": "Hello there", "completion": "Yes", "\x1b]0;x\x07": "y", "\u202e": "z"})
    _, text = shown(tmp_path / "a\x1b[2J\u202e.jsonl", content)
    assert "\\x1b" in text


@pytest.mark.parametrize("unit", ["a b ", "a@", "sk-ant-eyJ", "<|", "\x1b"])
def test_ten_megabytes_on_one_line(tmp_path: Path, unit: str) -> None:
    count = 10_000_000 // len(json.dumps(unit)) + 1
    counts, _ = shown(tmp_path / "a.jsonl", row(unit * count) + "\n" + row("Hello"), max_length=1000)
    assert counts["no room"] == 1


def test_a_line_without_any_row_in_it(tmp_path: Path) -> None:
    assert shown(tmp_path / "a.jsonl", "x" * 10_000_000)[0] == {"refused": 1}


def test_a_row_that_does_not_fit_into_memory_many_times(tmp_path: Path) -> None:
    huge = '{"messages": "' + "x" * 70_000_000 + '"}'
    counts, text = shown(tmp_path / "a.jsonl", "\n".join([row("Hello"), row("Hi"), huge, row("Hello there")]))
    assert counts["huge line"] == 1
    assert "3 of 4 rows usable" in text


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_million_columns(tmp_path: Path, kind: str) -> None:
    count = 1_000_000 if kind == "csv" else 100_000
    names = [f"c{number}" for number in range(count)]
    if kind == "csv":
        content = ",".join(names) + "\n" + ",".join("x" * len(names)) + "\n"
    else:
        content = json.dumps(dict.fromkeys(names, "some text"))
    counts, text = shown(tmp_path / f"a.{kind}", content)
    assert counts == {"refused": 1}
    assert f"{count:,} columns" in text


@pytest.mark.parametrize("depth", [300, 1_000, 100_000])
def test_lists_nested_deeply(tmp_path: Path, depth: int) -> None:
    deep = '{"messages": ' + "[" * depth + "]" * depth + "}"
    counts, text = shown(tmp_path / "a.jsonl", row("Hello") + "\n" + deep)
    assert "1 of 2 rows usable" in text
    assert set(counts) & {"nesting", "mixed types"}
    assert "line 2" in text
    for content in (deep, "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        counts, _ = shown(tmp_path / "b.json", content)
        assert counts.get("refused") or counts.get("nothing usable")


def test_huge_numbers_lone_surrogates_and_names_used_twice(tmp_path: Path) -> None:
    good = json.loads(row("Hello"))
    lines = [
        row("Hello"),
        '{"messages": ' + "9" * 5000 + "}",
        json.dumps({"x": 10**99, **good}),
        row("\ud800"),
        '{"messages": [{"role": "user", "content": "a", "content": "Hi"}, {"role": "assistant", "content": "b"}]}',
    ]
    counts, text = shown(tmp_path / "a.jsonl", "\n".join(lines))
    assert counts["number"] == counts["half character"] == counts["duplicate key"] == 1
    assert "3 of 5 rows usable" in text


def test_very_many_broken_rows_make_a_short_report(tmp_path: Path) -> None:
    counts, text = shown(tmp_path / "a.jsonl", row("Hello") + "\n" + '{"messages": [\n' * 50_000)
    assert counts["broken json"] == 50_000
    assert len(text) < 60_000


def test_as_deep_as_the_check_goes_the_training_goes(tmp_path: Path) -> None:
    good = json.dumps({"prompt": "Hi", "completion": "Ho"})
    for depth, readable in ((1000, True), (1100, False), (100_000, False)):
        path = tmp_path / "deep.jsonl"
        path.write_text(f'{good}\n{{"prompt":{"[" * depth}{"]" * depth},"completion":"Ho"}}\n')
        counts, _ = shown(path, path.read_bytes())
        assert ("nesting" in counts) is not readable
        problem = [item for item in Dataset(path, check=False).items() if isinstance(item, Problem)]
        assert [item.unreadable for item in problem] == [not readable]
        assert readable or "nested too deeply" in problem[0].problem


def test_no_room_for_the_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert "temporary file" in shown(tmp_path / "a.jsonl", row("Hello"))[1]


def test_the_beginning_of_a_huge_row_is_shown() -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x " * 2_000_000}]
    seen = Renderer(Path(presets.__path__[0], "demo")).xray({"messages": talk}, 128)
    assert seen.total <= MOST_SHOWN
    assert "only the first 1,000,000 are looked at" in seen.problems[0]
