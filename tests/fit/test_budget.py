"""Disk, main memory, time and money of a run."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.loading import validate
from engine.config.schema import RunConfig
from engine.fit.budget import Budget, budget_of, spoken
from engine.fit.budget_disk import download_bytes, hub_cache, q4_bytes, sizes_of, stored_bytes
from engine.fit.budget_memory import memory_of
from engine.fit.budget_rows import guess_rows, row_tokens
from engine.fit.budget_time import steps_of
from engine.fit.setup import architecture_of, setup_of
from engine.machine.model import Disk, Gpu, Machine
from tests.machine.builders import CARD, DISK, GIB, HOST, machine

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_PARAMS = 8_030_261_248
ADAPTER = 41_943_040  # rank 16 on all linears of Llama 3.1 8B
TOKENIZER = 128_256 * 130
SHOWN = 75


def config_of(model: str = LLAMA, tuning: str = "lora", four_bit: bool = False, **training: Any) -> RunConfig:
    watch = {
        key: training.pop(key) for key in ("save_total_limit", "save_steps", "eval_steps") if key in training
    }
    data = {key: training.pop(key) for key in ("eval_fraction",) if key in training}
    tree = {
        "model": {"model_name_or_path": model, "dtype": "bfloat16", "load_in_4bit": four_bit},
        "data": {"train": [{"path": "x.jsonl"}], **data},
        "method": {"tuning": tuning},
        "training": {
            "max_length": 1024,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 8,
            "num_train_epochs": 3,
            "gradient_checkpointing": True,
            **training,
        },
        "watch": watch,
    }
    return validate(tree, {}, "test", {})


def budget(
    config: RunConfig,
    here: Machine | None = None,
    gpu: Gpu | None = CARD,
    rows: int | None = 2000,
    tokens: float | None = 400,
    price: float | None = None,
    folder: Path = Path("/nowhere"),
) -> Budget:
    return budget_of(
        config,
        architecture_of(config.model.model_name_or_path),
        setup_of(config),
        machine(CARD) if here is None else here,
        gpu,
        rows=rows,
        tokens_per_row=tokens,
        price_per_hour=price,
        runs=folder / "runs",
        hub=folder / "hub",
    )


def disk(path: str, free: int, *uses: str, **changes: Any) -> Disk:
    return replace(
        DISK, path=Path(path) / "x", mount=Path(path), total=2 * free or 1, free=free, uses=uses, **changes
    )


# Disk


def test_sizes_of_an_adapter_run() -> None:
    config = config_of()
    sizes = sizes_of(config, architecture_of(LLAMA), setup_of(config), 357, Path("/nowhere"))
    assert sizes.download == 2 * LLAMA_PARAMS + TOKENIZER
    assert sizes.result == 2 * ADAPTER + TOKENIZER
    # The adapter and both moments of AdamW in bfloat16.
    assert sizes.checkpoint == pytest.approx(6 * ADAPTER + TOKENIZER, rel=0.01)
    # Two are kept, and a third is whole before the oldest goes.
    assert sizes.checkpoints == 3 * sizes.checkpoint
    assert sizes.writes == 10
    assert sizes.merged == 2 * LLAMA_PARAMS + TOKENIZER


def test_sizes_of_full_training() -> None:
    config = config_of(tuning="full", save_total_limit=1, eval_fraction=0)
    sizes = sizes_of(config, architecture_of(LLAMA), setup_of(config), 357, Path("/nowhere"))
    assert sizes.checkpoint == pytest.approx(6 * LLAMA_PARAMS + TOKENIZER, rel=0.01)
    assert sizes.checkpoints == 2 * sizes.checkpoint
    assert sizes.result == 2 * LLAMA_PARAMS + TOKENIZER
    assert sizes.merged == 0


def test_the_best_checkpoint_is_kept_beside_the_newest() -> None:
    config = config_of(save_total_limit=1)
    sizes = sizes_of(config, architecture_of(LLAMA), setup_of(config), 357, Path("/nowhere"))
    assert sizes.checkpoints == 3 * sizes.checkpoint


def test_a_short_run_writes_fewer_checkpoints_than_are_kept() -> None:
    config = config_of(save_total_limit=5, save_steps=100)
    sizes = sizes_of(config, architecture_of(LLAMA), setup_of(config), 90, Path("/nowhere"))
    assert sizes.writes == 1
    assert sizes.checkpoints == sizes.checkpoint


@pytest.mark.parametrize(
    ("model", "gigabytes"),  # sizes of published Q4_K_M files
    [(LLAMA, 4.92), ("meta-llama/Llama-3.2-1B-Instruct", 0.81), ("Qwen/Qwen2.5-0.5B-Instruct", 0.398)],
)
def test_the_size_of_a_4_bit_gguf_file(model: str, gigabytes: float) -> None:
    assert q4_bytes(architecture_of(model)) / 1e9 == pytest.approx(gigabytes, rel=0.03)


def test_some_models_are_stored_in_another_format() -> None:
    gpt2, gemma = "openai-community/gpt2", "google/gemma-2-2b"
    assert stored_bytes(gpt2, architecture_of(gpt2)) == 4 * architecture_of(gpt2).params
    assert stored_bytes(gemma, architecture_of(gemma)) == 4 * architecture_of(gemma).params
    gpt_oss = stored_bytes("openai/gpt-oss-20b", architecture_of("openai/gpt-oss-20b"))
    assert 12e9 < gpt_oss < 15e9  # 13.8 GB of safetensors


def test_a_folder_needs_no_download(tmp_path: Path) -> None:
    config = config_of(model=str(tmp_path))
    assert download_bytes(config, architecture_of(LLAMA), tmp_path) == 0


def safetensors(path: Path, tensors: dict[str, int]) -> int:
    header, offset = {}, 0
    for name, count in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [count], "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(offset))
    return path.stat().st_size


def test_what_is_in_the_cache_is_not_downloaded_again(tmp_path: Path) -> None:
    config, architecture = config_of(), architecture_of(LLAMA)
    whole = download_bytes(config, architecture, tmp_path)
    folder = tmp_path / "models--meta-llama--Llama-3.1-8B-Instruct"
    snapshot = folder / "snapshots" / "abc123"
    for made in (snapshot, folder / "refs", folder / "blobs"):
        made.mkdir(parents=True)
    (folder / "refs/main").write_text("abc123")
    (folder / "blobs/ffff.incomplete").write_bytes(bytes(1000))
    assert download_bytes(config, architecture, tmp_path) == whole - 1000
    # One of two files is here.
    (snapshot / "config.json").write_text("{}")
    weights = {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    first = safetensors(snapshot / "model-1.safetensors", {"a.weight": 500})
    assert download_bytes(config, architecture, tmp_path) == whole - 1000 - first
    safetensors(snapshot / "model-2.safetensors", {"b.weight": 500})
    assert download_bytes(config, architecture, tmp_path) == 0
    other = config.model_copy(update={"model": config.model.model_copy(update={"model_revision": "v2"})})
    assert download_bytes(other, architecture, tmp_path) == whole - 1000


def test_things_on_one_disk_are_added_up() -> None:
    one = budget(config_of(), machine(CARD, disks=(disk("/", 300 * GIB, "runs", "model cache"),)))
    (need,) = one.mounts
    assert need.needed == one.sizes.download + one.sizes.checkpoints + one.sizes.result
    assert need.verdict == "fits"
    apart = budget(
        config_of(),
        machine(CARD, disks=(disk("/workspace", 300 * GIB, "runs"), disk("/", 300 * GIB, "model cache"))),
    )
    runs, cache = apart.mounts
    assert (str(runs.disk.mount), str(cache.disk.mount)) == ("/workspace", "/")
    assert cache.parts == {"download": one.sizes.download}
    assert cache.later == 0
    assert runs.needed + cache.needed == need.needed
    assert runs.later == one.sizes.merged + one.sizes.gguf


@pytest.mark.parametrize(("spare", "verdict"), [(-1, "no"), (0, "tight"), (GIB, "tight"), (50 * GIB, "fits")])
def test_the_verdict_of_a_disk(spare: int, verdict: str) -> None:
    need = budget(config_of()).mounts[0].needed
    found = budget(config_of(), machine(CARD, disks=(disk("/", need + spare, "runs", "model cache"),)))
    assert found.mounts[0].verdict == verdict
    assert bool(found.problems) == (verdict == "no")
    assert found.mounts[0].later_verdict == ("fits" if spare == 50 * GIB else "no")


def test_a_full_disk_is_a_problem_with_a_way_out() -> None:
    disks = (disk("/", 4 * GIB, "runs", "model cache"), disk("/workspace", 200 * GIB))
    (problem,) = budget(config_of(), machine(CARD, disks=disks)).problems
    assert "4.0 GiB are free" in problem.what
    assert problem.where == "/"
    assert "HF_HOME=/workspace/x" in problem.fix
    (full,) = budget(config_of(tuning="full"), machine(CARD, disks=disks)).problems
    assert "--save_total_limit 1" in full.fix
    assert "FINETUI_HOME=" in full.fix


def test_the_size_of_a_storage_cluster_says_nothing() -> None:
    odd = disk("/cluster", 1 << 60, "runs", "model cache", free_reliable=False)
    silent = replace(disk("/dead", 0, "runs", "model cache"), total=0)
    for place in (odd, silent):
        found = budget(config_of(), machine(CARD, disks=(place,)))
        assert found.mounts[0].verdict == "unknown"
        assert "unknown" in "\n".join(found.lines())
        assert found.problems == ()


def test_disks_are_looked_up_where_the_machine_does_not_tell(tmp_path: Path) -> None:
    found = budget(config_of(), machine(CARD, disks=()), folder=tmp_path)
    assert found.mounts[0].disk.total > 0


def test_the_hubs_cache_is_found_by_its_own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_cache() == Path.home() / ".cache/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "/workspace/hf")
    assert hub_cache() == Path("/workspace/hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert hub_cache() == Path("/elsewhere")


# Main memory


def test_main_memory_beside_a_card() -> None:
    need = budget(config_of()).memory
    assert need.parts == {"program": 3 * GIB, "dataset": 2000 * 400 * 100, "loading": 5 * 10**9}
    assert need.verdict == "fits"


def test_a_processor_holds_everything_in_main_memory() -> None:
    small = budget(config_of("HuggingFaceTB/SmolLM2-135M-Instruct"), machine(), None).memory
    large = budget(config_of(), machine(), None).memory
    assert large.parts["training"] > 2 * LLAMA_PARAMS > small.needed
    host = replace(HOST, ram_total=8 * GIB, ram_available=7 * GIB, ram_limited=True)
    (problem,) = budget(config_of(), machine(host=host), None).problems
    assert "the container may use 8.0 GiB" in problem.what
    assert "smaller model" in problem.fix


def test_a_huge_dataset_is_what_fills_the_memory() -> None:
    found = budget(config_of(), rows=5_000_000, tokens=500)
    assert found.memory.verdict == "no"
    assert "dataset" in found.problems[-1].where
    assert "fewer rows" in found.problems[-1].fix


def test_memory_that_others_use_now_is_no_certain_failure() -> None:
    host = replace(HOST, ram_total=64 * GIB, ram_available=GIB)
    found = budget(config_of(), machine(CARD, host=host))
    assert found.memory.verdict == "no"
    assert found.problems == ()
    assert "not enough" in "\n".join(found.lines())


def test_every_process_has_its_own_share() -> None:
    one, four = (budget(config_of(num_processes=count)).memory.needed for count in (1, 4))
    assert four == 4 * one


def test_a_split_model_is_whole_on_disk_and_while_it_loads() -> None:
    split, whole = (
        budget(config_of(tuning="full", num_processes=4, sharding=sharding)) for sharding in ("fsdp", "ddp")
    )
    assert split.sizes == whole.sizes
    assert split.memory.parts["loading"] == 2 * LLAMA_PARAMS
    assert split.time is not None
    assert whole.time is not None
    assert split.time.parts["training"].middle > whole.time.parts["training"].middle


# Time and money


def test_steps_are_counted_as_the_trainer_does() -> None:
    config = config_of()
    steps = steps_of(config, setup_of(config), 2000)
    # 1,900 rows are 950 batches, 119 steps an epoch.
    assert (steps.steps, steps.batches, steps.rows) == (357, 2850, 5700)
    # Every 36 steps, at the end, and once before the first step; 100 rows two by two.
    assert (steps.evaluations, steps.eval_batches) == (11, 50)
    few = config_of(max_steps=10, eval_fraction=0)
    steps = steps_of(few, setup_of(few), 2000)
    assert (steps.steps, steps.batches, steps.evaluations) == (10, 80, 0)


def test_a_range_of_time_that_says_where_it_comes_from() -> None:
    found = budget(config_of(four_bit=True), price=0.69)
    assert found.time is not None
    total = found.time.total
    assert 0 < total.low < total.middle < total.high
    assert "not measured" in found.time.basis
    assert "RTX 4090" in found.time.basis
    # Two thousand short conversations, three times, with QLoRA on a good card: between a quarter of an hour and four hours.
    assert 900 < total.middle < 4 * 3600
    assert found.money is not None
    assert found.money.middle == pytest.approx(total.middle / 3600 * 0.69)


def test_nothing_is_made_up() -> None:
    strange = replace(CARD, name="Wonder 9000\x1b[31m")
    unknown = budget(config_of(), machine(strange), strange, price=1.0)
    assert unknown.time is None
    assert unknown.money is None
    text = " ".join(line.strip() for line in unknown.lines())
    assert "is not in the table" in text
    assert "\x1b" not in text
    uncounted = budget(config_of(), rows=None)
    assert uncounted.time is None
    assert "not counted" in uncounted.lines()[0]


def test_uncounted_tokens_widen_the_range() -> None:
    known = budget(config_of(), tokens=512).time
    guessed = budget(config_of(), tokens=None).time
    assert known is not None
    assert guessed is not None
    assert guessed.total.middle == pytest.approx(known.total.middle)
    assert guessed.total.low < known.total.low
    assert guessed.total.high > known.total.high
    assert "half max_length" in guessed.basis


def test_several_cards_are_faster_but_not_that_much() -> None:
    one, four = (budget(config_of(num_processes=count)).time for count in (1, 4))
    assert one is not None
    assert four is not None
    assert one.parts["training"].middle / 4 < four.parts["training"].middle < one.parts["training"].middle / 3


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(10, 100_000),
    tokens=st.floats(10, 1000),
    epochs=st.integers(1, 5),
    rank=st.sampled_from([8, 16, 64]),
    limit=st.integers(1, 5),
    method=st.sampled_from(["full", "lora", "qlora"]),
)
def test_more_never_costs_less(
    rows: int, tokens: float, epochs: int, rank: int, limit: int, method: str
) -> None:
    def made(rows: int, tokens: float, epochs: int, limit: int) -> Budget:
        tuning = "full" if method == "full" else "lora"
        config = config_of(
            "Qwen/Qwen3-0.6B",
            tuning,
            method == "qlora",
            num_train_epochs=epochs,
            save_total_limit=limit,
            save_steps=10,
        )
        config = config.model_copy(update={"lora": config.lora.model_copy(update={"lora_r": rank})})
        return budget(config, rows=rows, tokens=tokens, price=1.0)

    base = made(rows, tokens, epochs, limit)
    assert base.time is not None
    for more in (
        made(2 * rows, tokens, epochs, limit),
        made(rows, 1.01 * tokens, epochs, limit),
        made(rows, tokens, epochs + 1, limit),
        made(rows, tokens, epochs, limit + 1),
    ):
        assert more.time is not None
        assert more.time.parts["training"].middle >= base.time.parts["training"].middle
        assert more.memory.needed >= base.memory.needed
        assert more.mounts[0].needed >= base.mounts[0].needed
    assert all(len(line) <= SHOWN for line in base.lines())


# What is shown


def test_the_lines() -> None:
    lines = budget(config_of(four_bit=True), price=0.69).lines()
    assert lines[0].startswith("Time: about ")
    assert any(line.startswith("Money: about $") and line.endswith("estimated") for line in lines)
    text = " ".join(line.strip() for line in lines)
    assert "GiB of 300 GiB free on / (fits): 15 GiB download" in text
    assert "export later needs" in text
    assert lines[-1] == "Memory of the computer: 7.7 GiB of 60.0 GiB available"
    assert all(len(line) <= SHOWN for line in lines)


def test_an_export_that_will_not_fit_is_said_apart() -> None:
    place = disk("/", 25 * GIB, "runs", "model cache")
    found = budget(config_of(), machine(CARD, disks=(place,)))
    assert found.problems == ()
    assert "which is not there" in " ".join(line.strip() for line in found.lines())


def test_json_holds_everything() -> None:
    told = json.loads(json.dumps(budget(config_of(), price=2.0).as_json()))
    assert told["disks"][0]["verdict"] == "fits"
    assert told["seconds"]["measured_in"] is None
    assert told["steps"] == 357
    assert len(told["money"]) == 3
    assert told["problems"] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (40, "40 s"),
        (740, "12 min"),
        (4200, "1 h 10 min"),
        (7190, "2 h"),
        (50_000, "14 h"),
        (183_600, "2 days 3 h"),
    ],
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_look_at_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = {"messages": [{"role": "user", "content": "a" * 400}, {"role": "assistant", "content": "b" * 800}]}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(50)))
    config = config_of()
    config.data.train[0].path = str(path)
    found = guess_rows(config)
    assert found is not None
    assert found.rows == 50
    assert 300 < found.tokens_per_row < 330  # 1,200 letters at four a token, and what the template adds
    assert row_tokens({"text": "x" * 40}) == 11
    config.data.train[0].path = str(tmp_path / "missing.jsonl")
    assert guess_rows(config) is None


def test_without_a_known_computer_only_the_need_is_said() -> None:
    setup = setup_of(config_of())
    need = memory_of(architecture_of(LLAMA), setup, None, CARD, None)
    assert need.verdict == "unknown"
    assert "dataset" not in need.parts
