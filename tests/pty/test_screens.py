"""finetui in a real pseudo-terminal, as somebody with an ssh session sees it."""

from __future__ import annotations

import re
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.pty.terminal import FINETUI, Terminal


@pytest.fixture
def env(finetui_home: Path) -> dict[str, str | None]:
    return {"FINETUI_HOME": str(finetui_home)}


def opened(env: Mapping[str, str | None], columns: int = 80, rows: int = 24) -> Terminal:
    terminal = Terminal(columns=columns, rows=rows, env=env)
    terminal.wait_for("New fine-tune")
    return terminal


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
def test_the_way_to_the_review(env: dict[str, str | None], columns: int, rows: int) -> None:
    with opened(env, columns, rows) as terminal:
        assert terminal.alternate
        for words in (
            "RAM", "What should the model learn?", "Question 1 of 3", "Question 2 of 3", "Question 3 of 3",
            "Fine-tuning is the right tool.", "rows usable", "Which model should learn it?",
            "how to stop.", "How should it be trained?", "This will run: demo",
        ):  # fmt: skip
            terminal.press("enter")
            terminal.wait_for(words)
        assert "q leave" in terminal.lines[-1]
        assert terminal.has("finetui train -c run.yaml")
        terminal.press("escape")
        terminal.wait_for("How should it be trained?")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert not terminal.alternate
        assert terminal.has("Your answers are kept. Go on with: finetui")
    with opened(env, columns, rows) as terminal:
        assert terminal.has("you were at: Method")


def test_leaving_restores_the_terminal(env: dict[str, str | None]) -> None:
    with Terminal(["cat"]) as plain:
        plain.pump(0.2)
        expected = termios.tcgetattr(plain.master)
    with opened(env) as terminal:
        assert termios.tcgetattr(terminal.master)[3] != expected[3]
        terminal.press("ctrl+c")
        assert terminal.wait_exit() == 0
        assert termios.tcgetattr(terminal.master)[:4] == expected[:4]
        assert terminal.raw.rindex(b"\x1b[?1049l") > terminal.raw.rindex(b"\x1b[?1049h")
        assert b"\x1b[?25h" in terminal.raw


def test_nothing_moves_while_nothing_happens(env: dict[str, str | None]) -> None:
    with opened(env) as terminal:
        terminal.settle(1.0)
        assert terminal.pump(3.0) == 0


def test_standard_error_may_be_a_file(env: dict[str, str | None], tmp_path: Path) -> None:
    errors = tmp_path / "errors.txt"
    command = ["sh", "-c", f'exec "$@" 2>"{errors}"', "sh", *FINETUI]
    with Terminal(command, env=env) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert errors.read_text() == ""


def test_without_a_terminal_for_input_it_explains_itself(env: dict[str, str | None]) -> None:
    with Terminal(["sh", "-c", 'exec "$@" </dev/null', "sh", *FINETUI], rows=40, env=env) as terminal:
        assert terminal.wait_exit() == 0
        assert terminal.has("usage: finetui")


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (60, 16), (300, 80)])
def test_every_size_shows_something_and_ends(env: dict[str, str | None], size: tuple[int, int]) -> None:
    with Terminal(columns=size[0], rows=size[1], env=env) as terminal:
        terminal.wait_for(re.compile("New fine|fine-tunes"))
        terminal.press("enter", "enter")
        terminal.settle()
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_resizing_while_it_runs(env: dict[str, str | None]) -> None:
    with opened(env) as terminal:
        terminal.press("enter")
        terminal.wait_for("RAM")
        for step in range(60):
            terminal.resize(20 + 4 * step, 5 + step)
            terminal.pump(0.01)
        terminal.resize(80, 24)
        terminal.wait_for(re.compile(r"● Machine ─ ○ Goal.*Review"))
        terminal.press("q")
        assert terminal.wait_exit() == 0


@pytest.mark.parametrize(
    ("extra", "allowed"),
    [
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "screen"}, {"default", "cyan", "green", "brown", "red", "blue", "brightwhite"}),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, {"default"}),
    ],
)
def test_colours_are_those_the_terminal_has(
    env: dict[str, str | None], extra: dict[str, str], allowed: set[str] | None
) -> None:
    with opened({**env, **extra}) as terminal:
        terminal.press("enter", "enter")
        terminal.wait_for("What should the model learn?")
        terminal.settle()
        assert b"[38;2;" not in terminal.raw
        if allowed is not None:
            assert terminal.colours() <= allowed
        assert any("▸" in line for line in terminal.lines)  # the mark is seen without colours


def test_plain_characters_where_the_font_has_no_others(env: dict[str, str | None]) -> None:
    with opened({**env, "FINETUI_CHARSET": "ascii"}) as terminal:
        terminal.press("enter", "enter")
        terminal.wait_for("What should the model learn?")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        shown = re.sub(rb"\x1b\[[0-9;?<>=$]*[a-zA-Z]", b"", bytes(terminal.raw))
        assert shown.isascii()


def test_a_run_with_a_hostile_name_and_model_cannot_paint(
    env: dict[str, str | None], finetui_home: Path
) -> None:
    folder = finetui_home / "runs" / "x\x1b[31m"
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text("")
    (folder / "events.jsonl").write_text(
        '{"v": 1, "seq": 1, "t": 1, "kind": "phase", "model": "\\u001b]0;pwned\\u0007"}\n'
    )
    with Terminal(columns=120, env=env) as terminal:
        terminal.wait_for("x\\x1b[31m")
        assert b"pwned\x07" not in terminal.raw
