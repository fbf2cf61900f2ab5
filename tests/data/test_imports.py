"""Looking at models and data must not load the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "textual", "pandas", "pyarrow")


def loaded_after(code: str) -> list[str]:
    code += f"; import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()


def test_imports_are_light() -> None:
    code = (
        "import engine.models.folder, engine.advise.fits, engine.advise.goals, engine.advise.variant, "
        "engine.data.dataset, engine.data.render"
    )
    assert loaded_after(code) == []


def test_the_xray_loads_no_torch() -> None:
    code = (
        "from engine.data.render import Renderer; from engine.data.dataset import load_rows; "
        "from engine.models.folder import inspect_model; inspect_model('presets/demo'); "
        "Renderer('presets/demo').xray(load_rows('presets/demo/train.jsonl').rows[0])"
    )
    assert loaded_after(code) == []
