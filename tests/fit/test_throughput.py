"""The work of a step, the speed of cards, and what earlier runs say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import presets
from engine.config.loading import validate
from engine.config.writing import to_yaml
from engine.fit.calibrate import from_runs, padded
from engine.fit.cards import known_cards
from engine.fit.setup import architecture_of, setup_of
from engine.fit.throughput import Device, device_of, evaluation_seconds, step_seconds, work_of
from engine.fit.types import Architecture, Experts, Linear, TrainSetup
from engine.machine.model import Gpu, Machine
from engine.run import atomic
from engine.run.events import EventWriter
from engine.run.layout import RunDir, create
from tests.machine.builders import CARD, HOST, machine

# One layer with a million weights in two linears, and a head of half a million.
TINY = Architecture(
    name="tiny",
    model_type="llama",
    params=2_000_000,
    hidden=1000,
    layers=1,
    heads=10,
    kv_heads=10,
    head_dim=100,
    intermediate=1000,
    vocab=500,
    tied=False,
    linears=(
        Linear("q_proj", 1000, 500, 1),
        Linear("o_proj", 500, 1000, 1),
        Linear("lm_head", 1000, 500, 1, part="head"),
    ),
    norm_params=1000,
    embedding_params=500_000,
    full_attention_layers=1,
)
FULL = TrainSetup(tuning="full", gradient_checkpointing=False, batch=2, seq_len=100)
DEVICE = Device("card", 1e12, 1e11, True)
MODEL = "Qwen/Qwen3-8B"


def test_full_training_costs_six_operations_a_weight_and_token() -> None:
    work = work_of(TINY, FULL, 100)
    attention = 2 * 10 * (100 + 100) * 100
    assert work.forward == 2 * 1_500_000 + attention
    assert work.training == 6 * 1_500_000 + 3 * attention
    assert work.trained == TINY.params


def test_checkpointing_adds_a_forward_pass_of_the_layers() -> None:
    plain, again = (work_of(TINY, replace(FULL, gradient_checkpointing=on), 100) for on in (False, True))
    assert again.training - plain.training == 2 * 1_000_000 + 2 * 10 * 200 * 100
    assert again.forward == plain.forward


def test_an_adapter_costs_four_a_weight_and_six_of_its_own() -> None:
    setup = TrainSetup(tuning="lora", gradient_checkpointing=False, lora_r=8)
    work = work_of(TINY, setup, 100)
    adapter = 8 * (1500 + 1500)
    assert work.trained == adapter
    assert work.training == 4 * 1_500_000 + 6 * adapter + 3 * 2 * 10 * 200 * 100


def test_only_the_experts_that_see_a_token_count() -> None:
    mixed = replace(
        TINY, experts=Experts(count=8, top_k=2, intermediate=500, layers=1, fused_params=8_000_000)
    )
    extra = work_of(mixed, FULL, 100).forward - work_of(TINY, FULL, 100).forward
    assert extra == 2 * 2_000_000
    assert work_of(mixed, FULL, 100).weights == 9_000_000


def test_a_sliding_window_bounds_attention() -> None:
    local = replace(TINY, full_attention_layers=0, sliding_window=50)
    assert work_of(local, FULL, 1000).forward == work_of(local, FULL, 50).forward
    assert work_of(TINY, FULL, 1000).forward > work_of(TINY, FULL, 50).forward


def test_seconds_of_a_batch() -> None:
    # 200 tokens of 9.12 million operations at 45 % of 1e12, narrowed by 1000 / 2024; then the optimizer's seven accesses
    # of two bytes to two million weights at 65 % of 1e11.
    flops = 200 * (6 * 1_500_000 + 3 * 2 * 10 * 200 * 100)
    expected = flops / (1e12 * 0.45 * 1000 / 2024) + 7 * 2 * 2_000_000 / (1e11 * 0.65)
    assert step_seconds(TINY, FULL, DEVICE, 100) == pytest.approx(expected)


def test_a_small_model_waits_for_the_processor() -> None:
    fast = replace(DEVICE, flops=1e18, bandwidth=1e18)
    assert step_seconds(TINY, FULL, fast, 100) == pytest.approx(25 * 3 * 10e-6, rel=0.01)


def test_four_bits_cost_dequantization_eight_bits_more_arithmetic() -> None:
    llama = architecture_of("meta-llama/Llama-3.1-8B")
    device = Device("card", 165e12, 1e12, True)
    plain, four, eight = (
        step_seconds(llama, TrainSetup(quantization=kind, batch=2), device, 512)
        for kind in ("none", "nf4", "int8")
    )
    assert plain < four < eight < 2 * plain


def test_evaluation_is_a_forward_pass() -> None:
    setup = replace(FULL, eval_batch=2)
    assert evaluation_seconds(TINY, setup, DEVICE, 100) < step_seconds(TINY, setup, DEVICE, 100) / 2


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 16),
    length=st.integers(16, 4096),
    method=st.sampled_from(["full", "none", "nf4", "int8"]),
    checkpointing=st.booleans(),
)
def test_more_work_never_takes_less_time(batch: int, length: int, method: str, checkpointing: bool) -> None:
    setup = TrainSetup(
        tuning="full" if method == "full" else "lora",
        quantization="none" if method in ("full", "none") else method,  # type: ignore[arg-type]
        batch=batch,
        gradient_checkpointing=checkpointing,
    )
    seconds = step_seconds(TINY, setup, DEVICE, length)
    assert seconds > 0
    assert step_seconds(TINY, setup, DEVICE, length + 64) >= seconds
    assert step_seconds(TINY, replace(setup, batch=batch + 1), DEVICE, length) >= seconds
    assert step_seconds(TINY, replace(setup, gradient_checkpointing=True), DEVICE, length) >= seconds
    assert step_seconds(TINY, setup, replace(DEVICE, flops=2e12, bandwidth=2e11), length) <= seconds
    several = step_seconds(TINY, replace(setup, num_gpus=4), DEVICE, length)
    assert seconds < several < 1.2 * seconds


@given(mean=st.floats(1, 4096), batch=st.integers(1, 64), more=st.floats(0, 4096))
def test_padding_lies_between_the_mean_and_the_longest(mean: float, batch: int, more: float) -> None:
    assert mean <= padded(mean, batch, mean + more) <= mean + more
    assert padded(mean, batch, mean + more) <= padded(mean, batch + 1, mean + more)


def test_every_known_card_has_a_speed() -> None:
    entries = json.loads(Path(presets.__path__[0], "throughput.json").read_text("utf-8"))["cards"]
    assert {entry["name"] for entry in entries} == {card.name for card in known_cards()}
    for entry in entries:
        assert 0 < entry["tflops_32bit"] <= entry["tflops_16bit"], entry
        assert entry["gb_per_s"] > 100


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("Tesla T4", 65),
    ],
)
def test_the_speed_of_a_card(name: str, tflops: float) -> None:
    device = device_of(replace(CARD, name=name), HOST, "bfloat16")
    assert device is not None
    assert device.flops == tflops * 1e12


def test_unknown_cards_have_none_and_slices_their_share() -> None:
    assert device_of(replace(CARD, name="Wonder 9000"), HOST, "bfloat16") is None
    assert device_of(None, None, "float32") is None
    whole = device_of(replace(CARD, name="NVIDIA A100-SXM4-40GB"), HOST, "bfloat16")
    part = device_of(replace(CARD, name="NVIDIA A100-SXM4-40GB MIG 2g.10gb", mig_index=0), HOST, "bfloat16")
    assert whole is not None
    assert part is not None
    assert part.flops == pytest.approx(whole.flops * 2 / 7)


def test_a_processor_is_a_rule_of_thumb() -> None:
    device = device_of(None, HOST, "float32")
    assert device is not None
    assert device.rough
    assert device.name == "8 processor cores"


def made_run(
    name: str,
    tokens_per_second: float,
    uuid: str | None = CARD.uuid,
    model: str = MODEL,
    dtype: str = "bfloat16",
) -> RunDir:
    """A run as the trainer leaves it: 100 rows of 400 tokens, twelve points of speed."""
    run = create(name)
    tree = {
        "model": {"model_name_or_path": model, "dtype": dtype, "load_in_4bit": True},
        "data": {"train": [{"path": "x.jsonl"}]},
        "training": {"per_device_train_batch_size": 2, "max_length": 1024},
    }
    run.config.write_text(to_yaml(validate(tree, {}, "test", {}), {}))
    atomic.write_json(run.launch, {"env": {"CUDA_VISIBLE_DEVICES": uuid} if uuid else {}})
    writer = EventWriter(run.events)
    writer.emit("memory", gpus=[], host_total=HOST.ram_total)
    writer.emit("phase", phase="data loaded", train_rows=100)
    writer.emit("phase", phase="tokenized", tokens=40_000)
    for step in range(1, 13):
        # The first steps load kernels, and one step was disturbed.
        speed = tokens_per_second * (0.1 if step < 3 or step == 7 else 1)
        writer.metric(step=step, loss=1.0, tokens_per_second=speed)
    writer.close()
    return run


def calibrated(
    run: RunDir, here: Machine, gpu: Gpu | None = CARD, **changes: object
) -> tuple[float, bool] | None:
    setup = TrainSetup(quantization="nf4", batch=2, seq_len=1024, trained_dtype="bfloat16")
    device = device_of(gpu, HOST, "bfloat16")
    assert device is not None
    setup = replace(setup, **changes)  # type: ignore[arg-type]
    found = from_runs(architecture_of(MODEL), setup, device, gpu, here, run.path.parent)
    return None if found is None else (found.ratio, found.same)


def test_an_earlier_run_on_this_card_corrects_the_estimate() -> None:
    run = made_run("before", 1000)
    here = machine(CARD)
    config = validate(
        {
            "model": {"model_name_or_path": MODEL, "dtype": "bfloat16", "load_in_4bit": True},
            "data": {"train": [{"path": "x.jsonl"}]},
            "training": {"per_device_train_batch_size": 2, "max_length": 1024},
        },
        {},
        "test",
        {},
    )
    device = device_of(CARD, HOST, "bfloat16")
    assert device is not None
    setup = setup_of(config)
    architecture = architecture_of(MODEL)
    found = from_runs(architecture, setup, device, CARD, here, run.path.parent)
    assert found is not None
    assert (found.run, found.same) == ("before", True)
    # A batch of two rows of 400 tokens, padded as on average.
    seconds = step_seconds(architecture, setup, device, padded(400, 2, 1024))
    assert found.ratio == pytest.approx(1000 / (2 * 400 / seconds))
    assert 0 < found.share < 1


def test_a_faster_run_gives_a_higher_ratio() -> None:
    here = machine(CARD)
    slow = calibrated(made_run("slow", 500), here)
    made_run("fast", 2000)
    fast = calibrated(made_run("faster", 2000), here)
    assert slow is not None
    assert fast is not None
    assert fast[0] == pytest.approx(4 * slow[0])


def test_what_does_not_compare_is_left_out() -> None:
    here = machine(CARD)
    assert calibrated(made_run("other-card", 1000, uuid="GPU-elsewhere"), here) is None
    assert calibrated(made_run("other-size", 1000, model="Qwen/Qwen3-0.6B"), here) is None
    assert calibrated(made_run("other-format", 1000, dtype="float16"), here) is None
    assert calibrated(made_run("processor", 1000, uuid=None), here) is None
    assert calibrated(made_run("unknown", 1000, model="someone/mystery"), here) is None


def test_another_model_of_about_the_size_is_used_with_less_trust() -> None:
    found = calibrated(made_run("cousin", 1000, model="Qwen/Qwen3-4B"), machine(CARD))
    assert found is not None
    assert not found[1]


def test_a_run_on_this_processor() -> None:
    run = made_run("cpu", 100, uuid=None)
    found = calibrated(run, machine(), gpu=None)
    assert found is not None
    smaller = machine(host=replace(HOST, ram_total=HOST.ram_total // 2))
    assert calibrated(run, smaller, gpu=None) is None


def test_broken_event_files_are_no_obstacle() -> None:
    run = made_run("torn", 1000)
    run.events.write_bytes(b'\xff\xfe not json\n{"kind":"metric","tokens_per_second":"NaN"}\n' * 30)
    assert calibrated(run, machine(CARD)) is None
    run.launch.write_text("[1, 2")
    assert calibrated(run, machine(CARD)) is None
