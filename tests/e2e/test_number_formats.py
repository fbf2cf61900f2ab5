"""Base, trained parameters and optimizer states have the number formats of run.yaml, and the head of the run says so."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.draft import DEMO_DATA
from tests.e2e import in_process

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

SHORT: dict[str, Any] = {
    **{"train": f"{DEMO_DATA}#16", "max_steps": 2, "save_steps": 2, "eval_fraction": 0},
    **{"sample_prompts": "[]", "per_device_train_batch_size": 4},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", ["sft-lora", "sft-qlora", "sft-full", "sft-freeze"])
def test_what_the_head_of_a_run_says_is_what_is_saved(
    recipe: str, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file

    done = in_process.train(recipe, {**SHORT, "dtype": dtype})
    told = next(event for event in done.of("phase") if event["phase"] == "model loaded")
    frozen = set() if recipe == "sft-full" else {dtype, "uint8"} if recipe == "sft-qlora" else {dtype}
    assert set(told["dtypes"]["trained"]) == {dtype}
    assert set(told["dtypes"]["frozen"]) == frozen
    optimizer = done.config.training.optim
    assert f"are trained ({dtype})" in told["words"]
    assert f"The optimizer ({optimizer}) keeps its notes in {dtype}." in told["words"]
    assert told["words"] in capsys.readouterr().out  # which is log.txt in a trainer process
    checkpoint = done.run.checkpoints / "checkpoint-2"
    states = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    notes = {value.dtype for state in states.values() for value in state.values() if value.dim() > 0}
    assert notes == {getattr(torch, dtype)}
    name = "adapter_model" if done.config.method.tuning == "lora" else "model"
    saved = load_file(checkpoint / f"{name}.safetensors")
    assert {weight.dtype for weight in saved.values()} == {getattr(torch, dtype)}
