"""Choosing, checking and repairing a dataset in a real terminal of 80x24 with 16 colours and without Unicode."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.pty.terminal import Terminal


def test_from_the_browser_to_a_repaired_file(finetui_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    rows = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(30)]
    lines = [json.dumps(row) for row in rows]
    lines[7] = '{"prompt": "x", "completion": "\\u001b]0;owned\\u0007 fine",}'
    (folder / "tickets.jsonl").write_text("\n".join(lines) + "\n")
    finetui_home.mkdir()
    (finetui_home / "draft.json").write_text('{"step": "data"}')
    env = {
        "FINETUI_HOME": str(finetui_home),
        "TERM": "xterm",
        "LANG": "C",
        "LC_ALL": "C",
        "HF_HUB_OFFLINE": "1",
    }
    with Terminal(columns=80, rows=24, env=env, cwd=folder) as terminal:
        terminal.wait_for("New fine-tune")
        terminal.press("enter")
        terminal.wait_for("Which examples")
        terminal.press("b")
        terminal.wait_for("30 rows")
        terminal.press("enter")
        terminal.wait_for("line 8")
        terminal.press("c")
        terminal.wait_for("29 of 30 rows usable", 30)
        terminal.wait_for(re.compile(r"line 8\b"))
        terminal.settle()
        assert all(char.isascii() for char in terminal.text)
        terminal.press("l")
        terminal.wait_for(re.compile(r"to \d+ +#+ \d+"))
        terminal.press("l", "x")
        terminal.wait_for("tickets.fixed.jsonl")
        terminal.press("enter")
        terminal.wait_for("30 of 30 rows usable", 30)
        terminal.press("escape")
        terminal.wait_for("> tickets.fixed.jsonl")
        assert b"\x1b]0;owned" not in terminal.raw
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert len((folder / "tickets.fixed.jsonl").read_text().splitlines()) == 30
    assert len((folder / "tickets.jsonl").read_text().splitlines()) == 30
