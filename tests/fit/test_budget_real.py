"""The budget against what a real run of the embedded model leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.loading import load
from engine.fit.budget import budget_of
from engine.fit.setup import architecture_of, setup_of
from engine.machine.probe import probe
from tests.e2e.runs import start, wait_for_end


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.thorough
def test_disk_and_speed_of_a_real_run() -> None:
    run = start("real", "--max_steps", "13", "--save_steps", "5", "--sample_prompts", "[]")
    assert wait_for_end(run)["state"] == "finished"
    config = load(run.config)
    architecture = architecture_of(config.model.model_name_or_path)
    found = budget_of(
        config, architecture, setup_of(config), probe(run.path.parent), None, rows=400, tokens_per_row=39
    )
    checkpoints = sorted(run.checkpoints.glob("checkpoint-*"))
    assert len(checkpoints) == config.watch.save_total_limit == 2
    assert found.sizes.writes == 3
    # The tokenizer is small here, and the files of the trainer's state are not: they do not grow with the model.
    for folder in checkpoints:
        assert size(folder) == pytest.approx(found.sizes.checkpoint, rel=0.05)
    assert size(run.adapter) == pytest.approx(found.sizes.result, rel=0.1)
    assert found.sizes.download == 0
    assert found.time is not None
    assert found.time.measured is not None
    assert (found.time.measured.run, found.time.measured.same) == ("real", True)
    assert "Measured on this machine in run real." in " ".join(line.strip() for line in found.lines())
