"""Watching quality through the real trainer, and a sweep through the real queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.draft import DEMO, DEMO_DATA, DEMO_RECIPE
from engine.config.loading import load
from engine.run.sweeps import find_sweep
from tests.e2e import in_process, runs
from tests.e2e.in_process import Done

pytestmark = pytest.mark.slow


def train(name: str, **settings: object) -> Done:
    overrides = {key: str(value) for key, value in settings.items()}
    return in_process.train_config(load(DEMO_RECIPE, {"train": f"{DEMO_DATA}#64", **overrides}), name)


def plain_answers(folder: Path) -> str:
    """Questions answered as the untrained model does, which gets worse from the first step on."""
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text("utf-8").splitlines()[:8]]
    path = folder / "plain.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": row["question"], "completion": row["plain"]}) + "\n" for row in rows)
    )
    return str(path)


def test_questions_are_answered_on_the_way_without_a_trace() -> None:
    shared = {"max_steps": 5, "eval_steps": 5, "save_steps": 5, "lora_dropout": 0.1}
    asked = train("asked", sample_prompts='["What sound does a mouse make?"]', sample_steps=2, **shared)
    silent = train("silent", sample_prompts="[]", **shared)
    samples = asked.of("sample")
    assert [(one["when"], one["step"]) for one in samples] == [
        ("before", 0),
        ("during", 2),
        ("during", 4),
        ("after", 5),
    ]
    assert "base_text" not in samples[0]
    assert {one["base_text"] for one in samples[1:]} == {samples[0]["text"]} == {"A mouse says squeak."}
    weights = "adapter/adapter_model.safetensors"
    assert (asked.run.path / weights).read_bytes() == (silent.run.path / weights).read_bytes()
    assert silent.config.watch.sample_steps is None


def test_it_stops_when_nothing_gets_better_and_gives_the_best(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    done = train(
        "worse",
        **{"eval": plain_answers(tmp_path), "max_steps": 12, "eval_steps": 1, "save_steps": 1},
        **{"save_total_limit": 1, "early_stopping_patience": 4, "load_best_model_at_end": True},
        **{"sample_prompts": "[]", "warmup_ratio": 0, "learning_rate": 5e-3},
    )
    # Held-out answers are those of the untrained model, so that the first checkpoint is the best and then it is all down.
    losses = done.measured("eval_loss")
    assert len(losses) == 5
    assert losses[2] < losses[3] < losses[4]
    assert [event["step"] for event in done.of("evaluation") if event["best"]] == [0]
    stop = next(event for event in done.of("change") if event.get("why") == "early stop")
    assert (stop["step"], stop["best_step"]) == (4, 0)
    warning = next(event["words"] for event in done.of("warning") if "Overfitting" in event["words"])
    assert "since step 0 the loss on held-out rows rises" in warning
    assert "the best checkpoint is step 1" in warning
    assert [event["step"] for event in done.of("checkpoint") if event["best"]] == [1]
    kept = sorted(path.name for path in done.run.checkpoints.iterdir())
    assert kept == ["best", "checkpoint-1", "checkpoint-4"]
    assert (done.run.checkpoints / "best").resolve().name == "checkpoint-1"
    result = load_file(done.run.adapter / "adapter_model.safetensors")
    first = load_file(done.run.checkpoints / "best" / "adapter_model.safetensors")
    last = load_file(done.run.checkpoints / "checkpoint-4" / "adapter_model.safetensors")
    assert all((result[key] == first[key]).all() for key in result)
    assert any((result[key] != last[key]).any() for key in result)
    finished = done.of("finished")[-1]
    assert finished["eval_loss"] == losses[1]
    assert "Stopped early at step 4 of 12" in finished["words"]


@pytest.mark.thorough
def test_a_sweep_runs_one_after_the_other_and_ends_with_a_table() -> None:
    short = ("--max_steps", "4", "--eval_steps", "2", "--save_steps", "4", "--sample_prompts", "[]")
    done = runs.finetui(
        *("sweep", "-c", str(DEMO_RECIPE), "--name", "ranks", "--lora_r", "4,8", "--stop-losers", *short)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout[done.stdout.index("\nrun ") :]
    assert "lora_r" in table
    assert "ranks-1" in table
    assert "ranks-2" in table
    assert "2 of 2 runs done, complete" in table
    sweep = find_sweep("ranks")
    assert sweep.entries[0].outcome == "finished"
    assert sweep.entries[1].outcome in ("finished", "loser")
    first, second = (runs.events(entry.run) for entry in sweep.entries)
    assert first[-1]["t"] < second[0]["t"]
    assert "Sweep ranks: 2 of 2 runs done" in runs.finetui("runs").stdout
    told = json.loads(runs.finetui("runs", "--compare", "ranks", "--json").stdout)
    assert [one["settings"] for one in told] == [{"lora_r": 4}, {"lora_r": 8}]
    assert all(one["best"] is not None and one["seconds"] > 0 for one in told)
