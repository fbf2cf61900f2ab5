"""Tokens from the disk are those that would be made, and nothing else ever is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from engine.train import early, many_rows, token_cache
from engine.train import model as loading
from engine.train.objectives import load_objective
from engine.train.tokens import prepare_tokenizer, tokenize
from tests.train.laid_out import config_of, conversations


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    found = loading.load_tokenizer(config_of())
    prepare_tokenizer(found, "model", True)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many rows were tokenized, call by call; everything is worth keeping."""
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path))
    monkeypatch.setattr(token_cache, "WORTH_IT", 0.0)
    monkeypatch.setattr(token_cache, "LEFT_FREE", 0)
    return []


def made(tokenizer: Any, asked: list[int], rows: list[dict[str, Any]], **training: Any) -> Any:
    prepare = load_objective("sft").prepare

    def counted(rows: Any, *others: Any) -> Any:
        asked.append(len(rows))
        return prepare(rows, *others)

    return token_cache.prepared(counted, rows, tokenizer, config_of(**training), True)


def test_the_second_time_the_same_tokens_come_from_the_disk(tokenizer: Any, asked: list[int]) -> None:
    rows = conversations(30)
    first, second = made(tokenizer, asked, rows), made(tokenizer, asked, rows)
    assert asked == [30]
    assert list(second.rows) == list(first.rows)
    assert dataclasses.replace(second, rows=[]) == dataclasses.replace(first, rows=[])
    assert token_cache.as_dataset(second.rows)[3] == token_cache.as_dataset(first.rows)[3]


def test_other_rows_template_or_length_are_made_anew(tokenizer: Any, asked: list[int]) -> None:
    rows = conversations(10)
    made(tokenizer, asked, rows)
    rows[4]["messages"][1]["content"] += "!"
    made(tokenizer, asked, rows)
    made(tokenizer, asked, rows, max_length=64)
    before = tokenizer.chat_template
    tokenizer.chat_template = before + " "
    try:
        made(tokenizer, asked, rows)
    finally:
        tokenizer.chat_template = before
    assert asked == [10] * 4


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_file_is_no_obstacle(tokenizer: Any, asked: list[int], content: bytes | None) -> None:
    rows = conversations(30)
    first = made(tokenizer, asked, rows)
    (file,) = token_cache.folder().glob("*.arrow")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    assert list(made(tokenizer, asked, rows).rows) == list(first.rows)
    assert asked == [30, 30]
    assert [path.suffix for path in token_cache.folder().iterdir()] == [".arrow"], "nothing is left behind"


def test_what_was_longest_unused_goes_first(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.arrow" for name in "abc"]
    for age, file in enumerate(files):
        file.write_bytes(b"x" * 100)
        os.utime(file, (1000 + age, 1000 + age))
    token_cache.trim(files[2], limit=250)
    assert [file.exists() for file in files] == [False, True, True]


def test_a_full_disk_or_a_read_only_folder_only_costs_the_cache(
    tokenizer: Any, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert len(made(tokenizer, asked, conversations(5)).rows) == 5
    assert list(token_cache.folder().iterdir()) == []


def test_several_processes_make_the_same_tokens(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_rows, "WORTH_IT", 10)
    monkeypatch.setattr(many_rows, "CHUNK", 7)
    rows = [*conversations(40), {"messages": [{"role": "user", "content": "nobody answers"}]}]
    found = many_rows.tokenize_rows(rows, tokenizer, 90, True, processes=2)
    wanted = tokenize(rows, tokenizer, 90, True)
    assert found.stops == pytest.approx(wanted.stops)
    assert dataclasses.replace(found, stops=wanted.stops) == wanted
    assert wanted.without_target == 1
    assert wanted.truncated > 0


def test_bitsandbytes_is_left_out_only_where_nothing_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    def left_out(text: str = "{}", **training: Any) -> bool:
        monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
        (tmp_path / "config.json").write_text(text)
        early.leave_out_unused(config_of(**training), str(tmp_path))
        return sys.modules.get("bitsandbytes", 0) is None

    assert left_out()
    assert not left_out(optim="adamw_8bit")
    assert not left_out('{"quantization_config": {"quant_method": "bitsandbytes"}}')
