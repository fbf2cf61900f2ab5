"""Damaged and random datasets: every one is answered in words, without a traceback and without a hang."""

from __future__ import annotations

import json
import random
import signal
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.cells import RowProblemError
from engine.data.check.lines import check_lines
from engine.data.check.opening import open_dataset
from engine.data.check.plan import Plan
from engine.data.check.repair_json import repaired_values
from engine.data.check.rows import Limits
from engine.data.check.run import CheckRequest, check
from engine.data.recognise import recognise
from engine.errors import UserError
from tests.data.damage import damaged, rows

SECONDS = 10  # for one input; it usually takes a hundredth of one


class HangError(BaseException):
    """Took too long; no handler for ordinary errors swallows it."""


@contextmanager
def time_limit(what: str) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise HangError(what)

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def answer(path: Path, fix: Path | None = None) -> str:
    """How a file was answered: ``usable``, ``stops`` or ``refused``."""
    try:
        report = check(CheckRequest((str(path),), max_length=64, fix=str(fix) if fix else None, processes=1))
    except UserError as error:
        shown = "".join(error.lines())
        outcome = "refused"
        assert error.what
        assert error.fix
    else:
        shown = "".join(report.lines())
        assert json.loads(json.dumps(report.as_json()))["rows"] == report.rows
        assert 0 <= report.usable <= report.rows or report.fixed
        assert report.usable or report.stops
        outcome = "stops" if report.stops else "usable"
    assert not any(ord(char) < 32 or char in "\x7f\x9b\u202e" for char in shown), shown
    return outcome


def fuzz(folder: Path, seeds: range) -> dict[str, int]:
    outcomes: dict[str, int] = {}
    for seed in seeds:
        kind, data = damaged(seed)
        path = folder / f"damaged.{kind}"
        path.write_bytes(data)
        fix = folder / "fixed.jsonl" if seed % 3 == 0 else None
        with time_limit(f"seed {seed}"):
            try:
                outcome = answer(path, fix)
            except Exception as error:
                raise AssertionError(f"seed {seed} ({kind})") from error
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if fix is not None:
            left = sorted(item.name for item in folder.iterdir() if item != path)
            assert set(left) <= {"fixed.jsonl", "fixed.rejected.jsonl"}, (seed, left)
            if fix.exists():
                assert all(isinstance(json.loads(line), dict) for line in fix.open("rb"))
            for name in left:
                (folder / name).unlink()
        path.unlink()
    return outcomes


def test_a_thousand_damaged_files_are_answered(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, range(1000))
    assert sum(outcomes.values()) == 1000
    assert min(outcomes.get(kind, 0) for kind in ("usable", "stops", "refused")) > 20, outcomes


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(10))
def test_fifty_thousand_damaged_files_are_answered(tmp_path: Path, part: int) -> None:
    outcomes = fuzz(tmp_path, range(1000 + part * 5000, 6000 + part * 5000))
    print(outcomes)
    assert sum(outcomes.values()) == 5000


_WORDS = st.sampled_from(
    ("Hi", "", " ", "a\x1b[1m", "\u202eabc", "1, 2", "[x]", "{", "<s>", "\ud800", "yes: no")
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)
_ROLES = st.sampled_from(("user", "assistant", "system", "tool", "human", "gpt", "Bot", "narrator")) | _VALUES
_TURNS = st.lists(
    st.fixed_dictionaries({"role": _ROLES, "content": _WORDS | _VALUES}, optional={"tool_calls": _VALUES})
    | _VALUES,
    max_size=5,
)
_PLAN = Plan(recognise([dict(row) for row in rows()], "rows"))


@settings(max_examples=100, deadline=None)
@given(_TURNS | _VALUES)
def test_the_quick_way_agrees_with_the_converter(turns: Any) -> None:
    row = {"messages": turns}
    quick = _PLAN.quick(row)
    try:
        slow = _PLAN.words(row)
    except RowProblemError:
        assert quick is None
        return
    if quick is not None:
        assert list(quick[1]) == list(slow[1])


@settings(max_examples=100, deadline=None)
@given(_VALUES | st.fixed_dictionaries({"messages": _TURNS}))
def test_every_line_is_used_or_named(value: Any) -> None:
    line = json.dumps(value).encode()
    checked = check_lines(line + b"\n", False, True, _PLAN, Limits(64))
    assert checked.rows == 1
    assert checked.usable == 1 or sum(checked.findings.counts.values()) >= 1


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(string.ascii_letters, min_size=1),
        st.text() | st.integers() | st.booleans() | st.none(),
        min_size=1,
    )
)
def test_what_python_prints_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    found = repaired_values(repr(value))
    if found is not None:  # texts that repr writes with \\x escapes are not JSON and not guessed at
        assert found[0][0] == value


def test_parts_of_any_size_see_every_line_once(tmp_path: Path) -> None:
    from engine.data.check import lines

    path = tmp_path / "a.jsonl"
    draw = random.Random(5)
    made = [json.dumps({**row, "pad": "x" * draw.randrange(40)}) for row in rows(40)]
    path.write_text("\n".join(made) + draw.choice(("", "\n")))
    size = path.stat().st_size
    plan = open_dataset(path).plan
    for step in (1, 7, 64, 100, 1000, size, size + 1):
        parts = [
            lines.check_part(lines.Part(str(path), at, at + step), plan, Limits())
            for at in range(0, size, step)
        ]
        assert sum(part.lines for part in parts) == 40
        assert sum(part.usable for part in parts) == 40
