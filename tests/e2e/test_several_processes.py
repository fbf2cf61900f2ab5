"""Two processes on one machine: each with the whole model (DDP), or the model split between them (FSDP)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.draft import DEMO
from tests.e2e import runs

TWO = (
    "--num_processes",
    "2",
    "--per_device_train_batch_size",
    "4",
    "--save_steps",
    "10",
    "--eval_steps",
    "100",
    "--group_by_length",
    "false",  # a split model has it on by itself, and then the rows come in another order
)


@pytest.mark.thorough
def test_both_ways_learn_the_same_and_a_split_model_goes_on_from_its_checkpoint() -> None:
    ddp = runs.start("ddp", *TWO, "--sharding", "ddp", "--max_steps", "30")
    assert runs.wait_for_end(ddp)["state"] == "finished", ddp.log.read_text()[-3000:]
    split = runs.start("split", *TWO, "--sharding", "fsdp", "--max_steps", "30")
    runs.wait_for_step(split, 12)
    assert runs.finetui("stop", "split").returncode == 0
    assert runs.wait_for_end(split)["state"] == "stopped", split.log.read_text()[-3000:]
    assert runs.finetui("resume", "split", "--detach").returncode == 0
    assert runs.wait_for_end(split)["state"] == "finished", split.log.read_text()[-3000:]
    one, two = runs.losses(ddp), runs.losses(split)
    assert sorted(one) == sorted(two) == list(range(1, 31))
    assert [two[step] for step in sorted(two)] == pytest.approx([one[step] for step in sorted(one)], rel=2e-3)
    assert (split.adapter / "adapter_model.safetensors").exists()
    answers = [
        event for event in runs.events(split) if event["kind"] == "sample" and event["when"] == "after"
    ]
    assert len(answers) == 3


@pytest.mark.thorough
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_best_checkpoint_of_a_split_model_is_the_result(tuning: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    # Held-out answers are those of the untrained model, so the first checkpoint is the best.
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text("utf-8").splitlines()[:8]]
    plain = tmp_path / "plain.jsonl"
    plain.write_text(
        "".join(json.dumps({"prompt": row["question"], "completion": row["plain"]}) + "\n" for row in rows)
    )
    options = (
        *("--num_processes", "2", "--sharding", "fsdp", "--tuning", tuning, "--eval", str(plain)),
        *("--per_device_train_batch_size", "4", "--max_steps", "4", "--eval_steps", "1", "--save_steps", "1"),
        *("--load_best_model_at_end", "true", "--save_total_limit", "1", "--sample_prompts", "[]"),
        *("--learning_rate", "3e-3" if tuning == "lora" else "3e-4", "--warmup_ratio", "0"),
    )
    run = runs.start("best", *options)
    assert runs.wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
    assert "The result is the best checkpoint, step 1" in run.log.read_text()
    name = "adapter_model.safetensors" if tuning == "lora" else "model.safetensors"
    result = load_file((run.adapter if tuning == "lora" else run.model) / name)
    best = load_file(run.checkpoints / "checkpoint-1" / name)
    last = load_file(run.checkpoints / "checkpoint-4" / name)
    assert result.keys() == best.keys()
    assert all((result[key] == best[key]).all() for key in result)
    assert any((result[key] != last[key]).any() for key in result)
