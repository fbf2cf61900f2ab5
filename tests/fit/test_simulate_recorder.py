"""The simulated sequence of allocations is the real trainer's, as PyTorch's own memory profiler measures it."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.fit.simulate.device import Device
from engine.fit.simulate.kernels import cuda_kernels
from engine.fit.simulate.recorder import Recorder
from engine.fit.types import TrainSetup
from tests.fit.real_step import DEMO, real_step
from tests.fit.simulated_step import record, signed_sizes

LENGTH = 48
MODELS: dict[str, dict[str, Any]] = {
    "demo": json.loads((DEMO / "config.json").read_text("utf-8")),
    "qwen3-wide": {
        "model_type": "qwen3",
        "hidden_size": 320,
        "intermediate_size": 896,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "head_dim": 64,
        "vocab_size": 1024,
        "tie_word_embeddings": True,
    },
    "llama-wide": {
        "model_type": "llama",
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": 1024,
        "tie_word_embeddings": False,
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"tuning": "full"},
    "lora": {"tuning": "lora", "lora_r": 8},
    "4-bit": {"tuning": "lora", "lora_r": 8, "quantization": "nf4"},
    "8-bit": {"tuning": "lora", "lora_r": 8, "quantization": "int8"},
}


def _peak(sizes: list[int]) -> int:
    total = highest = 0
    for size in sizes:
        total += size
        highest = max(highest, total)
    return highest


def _bytes(sizes: list[int]) -> int:
    return sum(size for size in sizes if size > 0)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["keeping", "checkpointing"])
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=[] if method in ("lora", "4-bit") else [pytest.mark.thorough])
        for method in METHODS
    ],
)
@pytest.mark.parametrize(
    "model",
    [pytest.param(model, marks=[pytest.mark.thorough] if at else []) for at, model in enumerate(MODELS)],
)
def test_simulated_step_matches_the_profiled_one(
    model: str, method: str, checkpointing: bool, tmp_path: Path
) -> None:
    setup = TrainSetup(
        batch=2,
        seq_len=LENGTH,
        dtype="float32",
        gradient_checkpointing=checkpointing,
        padded=False,
        lines=True,
        **METHODS[method],
    )
    _compare(MODELS[model], setup, tmp_path)


BOTH = pytest.mark.parametrize(
    "checkpointing", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["keeping", "checkpointing"]
)


@BOTH
def test_the_last_layer_only(checkpointing: bool, tmp_path: Path) -> None:
    setup = TrainSetup(
        tuning="freeze",
        trained_layers=1,
        batch=2,
        seq_len=LENGTH,
        dtype="float32",
        gradient_checkpointing=checkpointing,
        padded=False,
        lines=True,
    )
    _compare(MODELS["qwen3-wide"], setup, tmp_path)


@BOTH
def test_rows_that_share_lines(checkpointing: bool, tmp_path: Path) -> None:
    """Four rows of a step lie on two lines, and a mask keeps them apart."""
    setup = TrainSetup(
        batch=2,
        seq_len=LENGTH,
        dtype="float32",
        gradient_checkpointing=checkpointing,
        gradient_accumulation=2,
        lines=True,
        lora_r=8,
    )
    lengths = (LENGTH, LENGTH // 2, LENGTH // 4, LENGTH // 4)
    _compare(MODELS["qwen3-wide"], setup, tmp_path, lengths)


def _compare(config: dict[str, Any], setup: TrainSetup, folder: Path, lengths: tuple[int, ...] = ()) -> None:
    measured = real_step(config, setup, folder, lengths)
    once = replace(setup, gradient_accumulation=1)  # the trainer computes the rows of a step in one part
    recordings, _ = record(config, once, [LENGTH] * 3, Device("cpu"), full=True)
    simulated = signed_sizes(recordings, 3)

    assert _peak(simulated) == pytest.approx(_peak(measured), rel=0.01)
    assert _bytes(simulated) == pytest.approx(_bytes(measured), rel=0.01)
    # Below 1 KiB the host's own scalars are in the measured sequence, too.
    real, ours = ([size for size in sizes if abs(size) >= 1024] for sizes in (measured, simulated))
    alike = difflib.SequenceMatcher(None, real, ours, autojunk=False).ratio()
    assert alike > 0.99, f"{alike:.4f} of {len(real)} and {len(ours)} events"


def test_a_storage_lives_as_long_as_its_last_view() -> None:
    recorder = Recorder()
    with recorder:
        whole = torch.empty(1000, device="meta")
        part = whole[10:20]
        del whole
        other = torch.empty(8, device="meta")
        del part
        del other
    assert list(recorder.take().events) == [4000, 32, -1, -2]


def test_what_autograd_saves_is_not_released_early() -> None:
    recorder = Recorder()
    weight = torch.empty(8, 8, device="meta", requires_grad=True)
    with recorder:
        source = torch.empty(4, 8, device="meta")
        out = source @ weight
        del source
        recorder.mark("backward")
        out.sum().backward()
        del out
    recording = recorder.take()
    at = recording.marks[0][0]
    assert -1 not in recording.events[:at], "autograd needs the input for the weight's gradient"
    assert -1 in recording.events[at:]


def test_gradients_that_meet_are_added_in_place_as_the_engine_does() -> None:
    leaf = torch.empty(1000, device="meta", requires_grad=True)
    recorder = Recorder()
    with recorder:
        middle = leaf * 2
        result = middle.exp() * middle.sin()
        recorder.take()
        recorder.forward_begins()
        recorder.backward_begins()
        result.backward(torch.empty(1000, device="meta"))
        recorder.backward_ends()
    made = [event for event in recorder.take().events if event > 0]
    # Beside the gradient handed in: grad*sin, grad*exp, exp's and sin's own (cos included), twice the product for leaf.
    assert len(made) == 7
    plain = _profiled_backward()
    assert len(made) - 1 == plain


def _profiled_backward() -> int:
    """How many tensors the same backward pass makes with real tensors."""
    from torch.profiler import ProfilerActivity, profile

    leaf = torch.ones(1000, requires_grad=True)
    middle = leaf * 2
    result = middle.exp() * middle.sin()
    grad = torch.ones(1000)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result.backward(grad)
    waiting = list(profiled.profiler.kineto_results.experimental_event_tree())
    made = 0
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        kind, details = event.typed
        if kind == torch._C._profiler._EventType.Allocation and details.alloc_size == 4000:
            made += 1
    return made


def test_an_operator_without_a_kernel_is_named_and_counted() -> None:
    library = torch.library.Library("finetui_test", "DEF")
    library.define("opaque(Tensor x) -> Tensor")
    recorder = Recorder(cuda_kernels(1.0))
    source = torch.empty(1000, device="meta")
    with recorder:
        result = torch.ops.finetui_test.opaque(source)
    assert dict(recorder.unknown) == {"finetui_test.opaque.default": 1}
    assert list(recorder.take().events) == [4000]
    assert result.shape == source.shape
    library._destroy()


def test_scalars_and_copies_to_the_host_have_values() -> None:
    recorder = Recorder()
    with recorder:
        flag = torch.empty(3, device="meta") > 1
        assert bool(flag.all()) is True
        assert torch.empty(3, device="meta").sum().item() == 1.0
        assert torch.empty(3, 2, device="meta").to("cpu").shape == (3, 2)
