"""Reward functions: what they say, and what happens when one breaks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.advise.reward_examples import example_scores, lines
from engine.config.draft import prepare
from engine.config.loading import load
from engine.config.objective_sections import Rewards
from engine.errors import UserError
from engine.train.rewards.builtin import builtin, last_number
from engine.train.rewards.guard import COLUMNS, Guarded
from engine.train.rewards.load import load_rewards
from tests.e2e.in_process import RECIPES


def scores(name: str, texts: list[str], answer: str | None = None, **settings: Any) -> list[float | None]:
    function = builtin(name, Rewards.model_validate(settings))
    return list(function(completions=texts, answer=[answer] * len(texts), prompts=[""] * len(texts)))


def test_exact_forgives_capitals_spaces_and_a_full_stop_only() -> None:
    assert scores("exact", ["Oakvale", " oakvale. ", "In Oakvale", ""], "Oakvale") == [1, 1, 0, 0]
    assert scores("exact", [r"so \boxed{x+1}"], "#### x+1") == [1]
    assert scores("exact", ["Oakvale"], None) == [None]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2 plus 3 is 5.", 5),
        ("He pays 3 and gets 4.\n#### 1,234.50", 1234.5),
        (r"Thus \boxed{-7}", -7),
        ("three quarters, 3/4", 0.75),
        ("1e3 of them", 1000),
        ("none at all", None),
        ("1/0", None),
        ("#### nothing, but 9 before", 9),
    ],
)
def test_the_number_that_counts(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_numeric_compares_values_not_spelling() -> None:
    assert scores("numeric", ["#### 1000", "1,000.0", "999", "no idea"], "1,000") == [1, 1, 0, 0]
    assert scores("numeric", ["5"], None) == [None]


def test_regex_tags_length_and_json() -> None:
    assert scores("regex", ["[town: X]", "town X"], reward_pattern=r"\[\w+: .+\]") == [1, 0]
    good = "<think>a</think><answer>b</answer>"
    halves = ["<answer>b</answer><think>a</think>", "<think>a</think>", f"{good}<answer>", "</think><think>"]
    assert scores("tags", [good, *halves, "plain"]) == [1, 0.5, 0.5, 0.5, 0, 0]
    assert scores("length", ["x" * 10, "x" * 15, "x" * 20, "x" * 99, "  "], reward_length=10) == [
        1,
        0.5,
        0,
        0,
        0,
    ]
    fenced = '```json\n{"a": 1}\n```'
    assert scores("json", ['{"a": 1}', "[]", fenced, "7", "{", "[" * 100_000]) == [1, 1, 1, 0, 0, 0]


def own_file(tmp_path: Path, code: str) -> Rewards:
    path = tmp_path / "rewards.py"
    path.write_text(code)
    return Rewards(reward_file=str(path))


def test_a_file_of_ones_own_gets_the_columns_by_name(tmp_path: Path) -> None:
    settings = own_file(
        tmp_path,
        "def reward(completions, level, prompts, **columns):\n"
        "    return [len(text) * rank if rank else None for text, rank in zip(completions, level)]\n",
    )
    guarded = Guarded("reward", load_rewards(settings)["reward"], 5)
    packed = [json.dumps({"level": 2, "answer": "x"}), json.dumps({"answer": "y"})]
    assert guarded(["abc", "d"], prompts=["", ""], **{COLUMNS: packed}) == [6, None]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def other(completions, **columns): return []", "no function reward"),
        ("def reward(:", "SyntaxError"),
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_rewards(own_file(tmp_path, code))


def test_names_that_mean_nothing() -> None:
    with pytest.raises(UserError, match="no reward function called 'kind'"):
        load_rewards(Rewards(reward_funcs=["kind"]))
    with pytest.raises(UserError, match="no such reward file"):
        load_rewards(Rewards(reward_file="/nowhere.py"))
    with pytest.raises(UserError, match="not a regular expression"):
        load_rewards(Rewards(reward_funcs=["regex"], reward_pattern="(("))
    with pytest.raises(UserError, match="what a good answer is"):
        load_rewards(Rewards())


def breaking(completions: list[str], **columns: Any) -> list[float]:
    return [1 / len(text) for text in completions]


def sleeping(completions: list[str], **columns: Any) -> list[float]:
    for text in completions:
        while text == "endless":
            time.sleep(0.01)
    return [0.0] * len(completions)


def patient(completions: list[str], **columns: Any) -> list[float]:
    for text in completions:
        try:
            time.sleep(30 if text == "endless" else 0)
        except:  # noqa: E722 - as people write it
            continue
    return [0.0] * len(completions)


def one_by_one(completions: list[str], **columns: Any) -> Iterator[float]:
    for text in completions:
        yield 1 / len(text)


def leaving(completions: list[str], **columns: Any) -> list[float]:
    return [1.0 if text else sys.exit(0) for text in completions]


def leaving_out(completions: list[str], **columns: Any) -> list[float]:
    return [1.0 for text in completions if text]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (breaking, "ZeroDivisionError"),
        (one_by_one, "ZeroDivisionError"),
        (leaving, "tried to end the whole program"),
        (leaving_out, "returned 3 numbers for 4 answers"),
    ],
)
def test_the_answer_that_breaks_a_function_is_named(function: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Guarded("mine", function, 5)(["fine", "good", "", "well"], prompts=[""] * 4)
    assert words in caught.value.what
    assert ("test_rewards.py, line" in caught.value.where) == (function is not leaving_out)
    assert caught.value.where.endswith("on the answer: ''")


@pytest.mark.parametrize("function", [sleeping, patient])
def test_a_function_that_takes_too_long_is_stopped_with_the_answer_it_hung_on(function: Any) -> None:
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        Guarded("mine", function, 0.3)(["fine", "endless"], prompts=["", ""])
    assert time.monotonic() - started < 3
    assert "took longer than 0.3 s on one answer" in caught.value.what
    assert "'endless'" in caught.value.where


def test_a_slow_function_is_told_once() -> None:
    told: list[str] = []

    def slow(completions: list[str], **columns: Any) -> list[float]:
        time.sleep(0.15)
        return [0.0]

    guarded = Guarded("mine", slow, 0.5, lambda words, fix: told.append(words))
    guarded(["a"], prompts=[""])
    guarded(["a"], prompts=[""])
    assert len(told) == 1
    assert "the card waits" in told[0]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([1.0], "1 numbers for 2"),
        (7, "not a list"),
        ([1, float("nan")], "no number"),
        ([1, "x"], "no number"),
    ],
)
def test_results_that_are_no_rewards(result: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Guarded("mine", lambda completions, **columns: result, 5)(["a", "b"], prompts=["", ""])


def test_examples_are_scored_before_the_run() -> None:
    config = prepare(load(RECIPES / "grpo-lora.yaml"), None, "x").config
    scored = example_scores(config)
    assert {example.kind for example in scored} == {"right", "wrong", "empty"}
    for example in scored:
        assert example.scores["numeric"] == (example.kind == "right")
        assert example.total == pytest.approx(
            (example.scores["numeric"] or 0) + 0.2 * (example.scores["length"] or 0)
        )
    table = "\n".join(lines(scored))
    assert "Prompt: Please add" in table
    assert "numeric" in table


def test_examples_name_what_breaks(tmp_path: Path) -> None:
    own_file(
        tmp_path,
        "def reward(completions, **columns):\n    import os; print('hello'); os.system('echo hello')\n    return [1 / len(c) for c in completions]",
    )
    overrides = {
        "reward_funcs": "null",
        "reward_weights": "null",
        "reward_file": str(tmp_path / "rewards.py"),
    }
    config = prepare(load(RECIPES / "grpo-lora.yaml", overrides), None, "x").config
    with pytest.raises(UserError, match="ZeroDivisionError") as caught:
        example_scores(config)
    assert "rewards.py, line 3" in caught.value.where
