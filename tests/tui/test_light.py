"""The viewer stays light while it works, not only when it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WALK = """
import asyncio, sys
from tests.tui.pilot import running

async def walk():
    async with running() as screens:
        await screens.press(*["enter"] * 11)
        assert screens.at == "review", screens.text

asyncio.run(walk())
heavy = {"torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "accelerate", "pandas", "pyarrow", "numpy"}
print("HEAVY", sorted(heavy & set(sys.modules)), [name for name in sys.modules if name.startswith("engine.train")])
"""


def test_the_whole_wizard_loads_nothing_heavy(finetui_home: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", WALK], cwd=root, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY [] []" in done.stdout
