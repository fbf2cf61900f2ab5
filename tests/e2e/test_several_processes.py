"""Two processes on one machine: each with the whole model (DDP), or the model split between them (FSDP)."""

from __future__ import annotations

import pytest

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
