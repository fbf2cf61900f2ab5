"""A run of the demo as the trainer would leave it, without weights."""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.config.draft import DEMO, DEMO_RECIPE, prepare
from engine.config.loading import load
from engine.run.layout import RunDir, create

RECIPES = DEMO.parent / "recipes"


def made_run(name: str = "owl", checkpoints: Sequence[int] = (24, 48), recipe: str | None = None) -> RunDir:
    """Its folder, with a result, checkpoints, and the last but one marked as the best.

    Args:
        name: Of the run.
        checkpoints: Their steps.
        recipe: One of presets/recipes; the demo without it.
    """
    run = create(name)
    config = load(DEMO_RECIPE if recipe is None else RECIPES / f"{recipe}.yaml")
    run.config.write_text(prepare(config, None, name).yaml, encoding="utf-8")
    lora = config.method.tuning == "lora"
    folders = [run.adapter if lora else run.model]
    folders += [run.checkpoints / f"checkpoint-{step}" for step in checkpoints]
    for folder in folders:
        folder.mkdir()
        (folder / ("adapter_config.json" if lora else "config.json")).write_text("{}")
    if checkpoints:
        os.symlink(f"checkpoint-{checkpoints[0]}", run.checkpoints / "best")
    return run
