"""The file browser: only what can be a dataset, quick in huge folders, and back where the user was."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from engine.config.draft import Draft
from tests.tui.pilot import running, write_draft
from tui.browsing import MOST_SHOWN, guess_rows, list_folder
from tui.recent import last_folder, recent_datasets, remember_dataset, remember_folder


def write(path: Path, num_rows: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"prompt": f"q{i}", "completion": f"a{i}"}) + "\n" for i in range(num_rows))
    )
    return path


async def test_from_folder_to_folder_to_a_file_that_is_remembered() -> None:
    write(Path("deep/er/rows.jsonl"), 12)
    Path("deep/notes.pdf").write_bytes(b"%PDF")
    Path("deep/.hidden.jsonl").write_text("{}\n")
    write_draft(Draft(step="data"))
    async with running() as screens:
        await screens.press("enter", "b")
        assert "▸ deep/" in screens.text
        await screens.press("enter")
        assert "notes.pdf" not in screens.text
        assert ".hidden.jsonl" not in screens.text
        await screens.press("full_stop")
        assert ".hidden.jsonl" in screens.text
        await screens.press("home", "down", "enter")
        assert "rows.jsonl" in screens.text
        assert "12 rows" in screens.text
        await screens.press("backspace")
        assert "▸ er/" in screens.text
        await screens.press("enter", "enter")
        assert screens.at == "data"
        assert "12 of 12 rows usable" in screens.one_line
        await screens.press("enter")
        assert screens.at == "model"
    assert recent_datasets() == [str(Path("deep/er/rows.jsonl").absolute())]
    assert last_folder() == Path("deep/er").absolute()
    write_draft(Draft(step="data"))
    async with running() as screens:
        await screens.press("enter", "down")
        assert "▸ deep/er/rows.jsonl" in screens.text
        await screens.press("b")
        assert "▸ rows.jsonl" in screens.text


async def test_a_folder_is_one_dataset_and_a_typed_path_opens() -> None:
    write(Path("both/a.jsonl"), 2)
    write(Path("both/b.jsonl"), 3)
    write_draft(Draft(step="data"))
    async with running() as screens:
        await screens.press("enter", "b", "slash")
        await screens.type("bo")
        await screens.press("tab", "enter")
        assert "a.jsonl" in screens.text
        await screens.press("t")
        assert "5 of 5 rows usable" in screens.one_line


async def test_names_cannot_paint_and_bad_ones_are_left_out() -> None:
    write(Path("x\x1b[31m[bold]y.jsonl"))
    Path(b"half\xff.jsonl".decode("utf-8", "surrogateescape")).write_text("{}\n")
    write_draft(Draft(step="data"))
    async with running() as screens:
        await screens.press("enter", "b")
        assert "x\\x1b[31m[bold]y.jsonl" in screens.text
        assert "half" not in screens.text


def test_a_huge_folder_is_listed_quickly(tmp_path: Path) -> None:
    tmp_path = tmp_path / "huge"
    tmp_path.mkdir()
    for number in range(5000):
        (tmp_path / f"{number:05}.jsonl").write_text("{}\n")
    began = time.monotonic()
    found = list_folder(tmp_path)
    assert time.monotonic() - began < 2
    assert len(found.entries) == MOST_SHOWN
    assert found.left_out == 5000 - MOST_SHOWN
    assert list_folder(tmp_path / "nowhere").problem


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", "{}\n" * 7, "7 rows"),
        ("a.jsonl", "{}", "1 row"),
        ("a.csv", "x,y\n1,2\n3,4\n", "2 rows"),
        ("big.jsonl", "x" * 99 + "\n" * 1 + ("x" * 99 + "\n") * 50_000, "about 50,000 rows"),
        ("a.json", "[]", ""),
    ],
)
def test_guess_rows(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert guess_rows(str(path), path.stat().st_size) == words
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    assert guess_rows(str(tmp_path / "bad.parquet"), 4) == ""


def test_recent_files_survive_damage(finetui_home: Path) -> None:
    kept = write(Path("kept.jsonl"))
    for number in range(9):
        remember_dataset(str(write(Path(f"{number}.jsonl"))))
    remember_dataset("org/name")
    remember_dataset(str(kept))
    assert recent_datasets()[:2] == [str(kept.absolute()), "org/name"]
    assert len(recent_datasets()) == 6
    kept.unlink()
    assert recent_datasets()[0] == "org/name"
    for damage in ("", "[1]", '{"datasets": {"a": 1}, "folder": 3}', '{"datasets": [1, "a\\u0000b"]}'):
        (finetui_home / "recent.json").write_text(damage)
        assert recent_datasets() == []
        assert last_folder() == Path.cwd()
    remember_folder(Path.cwd())
    assert last_folder() == Path.cwd()
