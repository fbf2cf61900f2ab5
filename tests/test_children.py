"""No program that finetui starts may write to the terminal: it would paint over the screen."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTERS = {
    "Popen",
    "run",
    "call",
    "check_call",
    "check_output",
    "create_subprocess_exec",
    "create_subprocess_shell",
}
# These are started by processes whose own output goes into a file: the log of the run, the log of the worker.
INHERIT = {"engine/run/supervise.py", "engine/data/check/crew.py"}


def calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "tui").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else ""
            if name in ("subprocess", "asyncio") and node.func.attr in STARTERS:
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node))
            if name == "os" and node.func.attr in ("system", "popen", "spawnvp", "posix_spawn"):
                raise AssertionError(f"{path}:{node.lineno} starts a program without saying where it writes")
    return found


def test_every_program_that_is_started_has_its_input_and_output_led_elsewhere() -> None:
    started = calls()
    assert len(started) >= 5
    for place, call in started:
        given = {keyword.arg for keyword in call.keywords}
        if place.partition(":")[0] in INHERIT:
            continue
        output = {"capture_output"} <= given or {"stdout", "stderr"} <= given
        assert output, f"{place}: stdout and stderr"
        assert given & {"stdin", "input"}, f"{place}: stdin"
