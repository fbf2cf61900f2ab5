"""Data: choosing a file, seeing what is in it, and errors in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.draft import DEMO_DATA, Draft
from tests.tui.pilot import demo_rows, running, write_draft
from tui.dataset import DatasetReport, find_datasets, read_dataset
from tui.widgets.path_input import complete_path


def write_rows(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def at_data() -> None:
    write_draft(Draft(step="data"))


async def test_the_demo_data_is_chosen_and_shown() -> None:
    async with running() as screens:
        await screens.press("enter")
        assert "▸ The built-in demo data" in screens.text
        count = len(demo_rows())
        assert f"Conversations (role, content): {count} of {count} rows usable." in screens.one_line
        assert demo_rows()[0]["messages"][1]["content"] in screens.one_line
        before = screens.text
        await screens.press("n")
        assert f"Example 2 of {count}" in screens.text
        await screens.press("p")
        assert screens.text == before


async def test_files_nearby_are_offered() -> None:
    write_rows(Path("mine.jsonl"), *({"prompt": f"q{i}", "completion": f"a{i}"} for i in range(7)))
    write_rows(Path("sub/deep.jsonl"), {"question": "q", "answer": "a", "topic": "t"})
    async with running() as screens:
        await screens.press("enter", "down")
        assert "mine.jsonl" in next(line for line in screens.lines if "▸" in line)
        assert "Prompts with a completion: 7 of 7 rows usable." in screens.text
        await screens.press("down")
        assert "Pairs of question and answer" in screens.text
        assert "! Columns not used: topic." in screens.text
        await screens.press("enter")
        assert screens.at == "model"
        assert screens.app.the_draft().data_path.endswith("sub/deep.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.jsonl", b'{"prompt": "a", "completion": "b"}\n{"prompt":\n', "line 2"),
        ("empty.jsonl", b"", "The dataset file is empty."),
        ("columns.csv", b"x,y\n1,2\n", "Columns seen: x, y"),
        ("no-such-file.jsonl", None, "There is no such dataset file."),
    ],
)
async def test_wrong_files_are_explained_and_not_taken(name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    async with running() as screens:
        await screens.press("enter", "slash")
        await screens.type(name)
        await screens.press("enter")
        assert words in screens.one_line
        assert screens.at == "data"
        assert screens.app.the_draft().data_path == DEMO_DATA
        await screens.press("escape", "home", "enter")
        assert screens.at == "model"


async def test_another_encoding_is_read_and_said() -> None:
    Path("latin.csv").write_bytes("question,answer\nKöln?,Dom\n".encode("latin-1"))
    async with running() as screens:
        await screens.press("enter", "down")
        assert "Köln?" in screens.text
        assert "read as Windows-1252" in screens.one_line


async def test_a_typed_path_with_completion() -> None:
    path = write_rows(
        Path("folder/support-tickets.jsonl"),
        {"prompt": "a", "completion": "b"},
        {"prompt": "c", "completion": "d"},
    )
    async with running() as screens:
        await screens.press("enter", "slash")
        assert "Tab complete" in screens.lines[-1]
        assert "q leave" not in screens.lines[-1]
        await screens.type("fol")
        await screens.press("tab")
        await screens.type("s")
        await screens.press("tab", "enter")
        assert "▸ folder/support-tickets.jsonl" in screens.text
        await screens.press("enter")
        assert screens.app.the_draft().data_path == str(path)


async def test_text_of_a_file_cannot_paint() -> None:
    write_rows(
        Path("evil.jsonl"),
        {
            "prompt": "\x1b[31mred \x1b]0;title\x07 [bold]b[/bold] \u202e",
            "completion": "[@click=app.quit]x[/]",
        },
    )
    async with running() as screens:
        await screens.press("enter", "down")
        assert "\\x1b[31mred" in screens.text
        assert "[bold]b[/bold] \\u202e" in screens.text
        assert "[@click=app.quit]x[/]" in screens.text
        assert "\x1b" not in screens.text


async def test_skipped_rows_are_named() -> None:
    write_rows(
        Path("holes.jsonl"),
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "completion": ""},
        {"prompt": "c", "completion": "d"},
    )
    async with running() as screens:
        await screens.press("enter", "down")
        assert "2 of 3 rows usable; 1 skipped: line 2" in screens.one_line


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"})
    assert isinstance(read_dataset(str(path)), DatasetReport)
    write_rows(path, {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"})
    assert read_dataset(str(path)).num_rows == 2


def test_find_datasets_leaves_other_files_alone(tmp_path: Path) -> None:
    tmp_path = tmp_path / "place"
    for name in (
        "a.jsonl",
        "b.csv",
        "packed.jsonl.gz",
        "package.json",
        ".hidden.jsonl",
        "notes.txt",
        "sub/c.parquet",
        "sub/deeper/d.csv",
    ):
        write_rows(tmp_path / name, {"x": 1})
    (tmp_path / "empty.csv").touch()
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    found = [str(path.relative_to(tmp_path)) for path in find_datasets(tmp_path)]
    assert found == ["a.jsonl", "b.csv", "packed.jsonl.gz", "sub/c.parquet"]
    assert find_datasets(tmp_path / "nowhere") == []


def test_complete_path(tmp_path: Path) -> None:
    for name in ("alpha-one", "alpha-two", "beta"):
        (tmp_path / name).mkdir()
    assert complete_path(f"{tmp_path}/al") == f"{tmp_path}/alpha-"
    assert complete_path(f"{tmp_path}/b") == f"{tmp_path}/beta/"
    assert complete_path(f"{tmp_path}/zzz") == f"{tmp_path}/zzz"
    assert complete_path("/no/such/folder/x") == "/no/such/folder/x"
