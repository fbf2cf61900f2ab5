"""One run that is left alone, which disturbed ones are compared with; the tests that do share a process (xdist_group)."""

from __future__ import annotations

from engine.run.layout import RunDir
from tests.e2e.runs import events, losses

REFERENCE_STEPS = 30
# Dropout uses random numbers at every step, so a resume that restores them wrongly shows.
REFERENCE = (
    *("--max_steps", str(REFERENCE_STEPS), "--save_steps", "5", "--eval_steps", "10"),
    *("--per_device_train_batch_size", "8", "--num_train_epochs", "3"),
    *("--lora_dropout", "0.1", "--sample_prompts", "[]"),
)
ADAPTER = "adapter/adapter_model.safetensors"


def same_result(run: RunDir, reference: RunDir, steps: int = REFERENCE_STEPS) -> None:
    """The same loss at every step, and the same adapter and evaluation at the end, to the last bit."""
    assert losses(run) == losses(reference)
    assert len(losses(run)) == steps
    assert (run.path / ADAPTER).read_bytes() == (reference.path / ADAPTER).read_bytes()
    final, expected = (
        [event["eval_loss"] for event in events(one) if event["kind"] == "finished" and "eval_loss" in event]
        for one in (run, reference)
    )
    assert final[-1] == expected[-1]
