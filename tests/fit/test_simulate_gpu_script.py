"""The script that measures on a card: what of it can run without one."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu import measure_memory as script

BENCH = Path(__file__).parents[1] / "bench" / "data" / "vram_measured.csv"
TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
}
MEASURED: dict[str, Any] = {
    "outcome": "ok",
    "allocated": 3 << 30,
    "reserved": 4 << 30,
    "nvidia-smi": 5 << 30,
    "steady": 1 << 30,
    "params": 500_000_000,
    "gpu": "NVIDIA Test",
    "capability": [8, 0],
    "versions": "torch 2.13.0",
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_it_says_so_and_ends_with_3(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.measure_memory", str(tmp_path / "out.csv")],
        capture_output=True,
        text=True,
        check=False,
        cwd=BENCH.parents[3],
        timeout=120,
    )
    assert done.returncode == script.NO_GPU
    assert "No CUDA GPU" in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_dry_run_lists_the_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--dry-run", "--model", "Qwen/Qwen3-1.7B", "--method", "lora"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Qwen/Qwen3-1.7B, lora, batch 1, 512 tokens, checkpointing on, adamw_torch_fused" in lines
    assert lines[-2].endswith("growing from 256 to 2048")
    assert lines[-1] == "9 cases, three rows each; nothing was measured."


def test_rows_have_the_columns_of_the_published_file(tmp_path: Path) -> None:
    with BENCH.open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert columns == script.COLUMNS
    case = script.Case("Qwen/Qwen2.5-0.5B", "qlora4", 2, 1024, True)
    out = tmp_path / "out.csv"
    script.append(out, script.rows_of(case, MEASURED))
    script.append(out, script.rows_of(case, {**MEASURED, "outcome": "oom"}))
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["peak_gib_or_gb"], row["outcome"]) for row in rows] == [
        ("allocated", "3.000", "ok"),
        ("reserved", "4.000", "ok"),
        ("nvidia-smi", "5.000", "ok"),
        ("allocated", "", "oom"),
        ("reserved", "", "oom"),
        ("nvidia-smi", "", "oom"),
    ]


def test_the_matrix_covers_every_method_checkpointing_and_growing_lengths() -> None:
    cases = list(script.matrix(list(script.MODELS), list(script.METHODS), quick=False))
    assert {case.method for case in cases} == set(script.METHODS)
    assert {case.checkpointing for case in cases} == {True, False}
    assert {"adamw_8bit", "adafactor"} <= {case.optimizer for case in cases}
    assert any(case.lengths for case in cases)
    assert len(list(script.matrix(list(script.MODELS)[:1], ["lora"], quick=True))) == 4


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, marks=[pytest.mark.thorough] if at else []) for at, one in enumerate(script.METHODS)],
)
def test_a_case_trains_through_the_real_trainer(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine's CPU, with the card's counters replaced: that the script runs, not what it measures."""
    lengths: list[int] = []

    class Quiet:
        highest = 7

        def __enter__(self) -> Quiet:
            return self

        def __exit__(self, *exc: object) -> None:
            return None

    monkeypatch.setitem(script.MODELS, "tiny", dict(TINY))
    monkeypatch.setattr(script, "Sampler", Quiet)
    for name, value in (
        ("memory_allocated", 1),
        ("max_memory_allocated", 2),
        ("max_memory_reserved", 3),
        ("get_device_name", "none"),
        ("get_device_capability", (8, 0)),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    embedding = torch.nn.Embedding.forward

    def spy(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        if self.training:  # not in the trial whether rows on one line leave each other alone
            lengths.append(ids.shape[-1])
        return embedding(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", spy)
    folder = script.random_model("tiny", tmp_path)
    found = script.train(script.Case("tiny", method, 2, 32, True, lengths=(16, 24, 32, 32)), folder)
    assert found["outcome"] == "ok"
    assert (found["steady"], found["allocated"], found["reserved"], found["nvidia-smi"]) == (1, 2, 3, 7)
    assert found["params"] == script.num_params("tiny")
    assert lengths == [16, 24, 32, 32], "rows stay in order, so that lengths grow as stated"
