"""``finetui fit``: planning without a GPU; torch only where a step is simulated, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.config.draft import DEMO, DEMO_RECIPE, prepare
from engine.config.loading import load
from engine.fit.cards import find_card
from engine.machine.model import Gpu
from tests.fakes.nvml import GIB, SCENARIOS, FakeNvml, Scenario
from tests.machine.builders import machine

CARD = SCENARIOS["rtx_4090"].gpus[0]


def shown(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(["fit", *argv]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def report(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> dict[str, Any]:
    assert main(["fit", *argv, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def run_yaml(folder: Path, text: str, data: str = "x.jsonl") -> str:
    path = folder / "run.yaml"
    path.write_text(f"data: {{train: {data}, eval_fraction: 0}}\n{text}")
    return str(path)


def test_a_card_to_rent(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "Qwen/Qwen3-8B", "--gpu", "RTX 4090", "--max_length", "512", "4096")
    assert len(found["rows"]) == 8
    by_method = {(row["method"], row["max_length"]): row for row in found["rows"]}
    assert by_method["QLoRA 4-bit", 512]["verdict"] == "fits"
    assert by_method["full", 512]["verdict"] == "no"
    assert by_method["QLoRA 4-bit", 4096]["p95_bytes"] > by_method["QLoRA 4-bit", 512]["p95_bytes"]
    assert {row["predictor"] for row in found["rows"]} == {"arithmetic"}


def test_the_usual_sizes_fit_on_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--vram", "24GiB", "--max_length", "131072")
    assert "Qwen3-8B" in text
    assert "tokens" in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("model", [str(DEMO), "Qwen/Qwen2.5-7B-Instruct", "somebody/unheard-of-13b"])
def test_a_folder_a_known_model_and_one_with_a_size_in_its_name(
    capsys: pytest.CaptureFixture[str], model: str
) -> None:
    found = report(capsys, model, "--vram", "24GiB")
    assert [row["method"] for row in found["rows"]] == ["QLoRA 4-bit", "LoRA 8-bit", "LoRA 16-bit", "full"]


def test_a_model_of_the_hubs_cache(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: list[str] = []

    def cached(model: str, name: str) -> str:
        asked.append(f"{model}/{name}")
        return str(DEMO / name)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    config = run_yaml(tmp_path, "model: {model_name_or_path: somebody/private}\n", str(DEMO / "train.jsonl"))
    found = report(capsys, "-c", config, "--vram", "24GiB")
    assert found["verdict"] == "fits"
    assert found["data"]["counted"]
    assert {"somebody/private/config.json", "somebody/private/tokenizer.json"} <= set(asked)


def test_old_cards_compute_in_float16(capsys: pytest.CaptureFixture[str]) -> None:
    # Adapters in float32 need twice the bytes of bfloat16 ones.
    old, new = (report(capsys, "Qwen/Qwen3-8B", "--gpu", card)["rows"] for card in ("T4", "A10"))
    assert old[2]["allocated_bytes"] > new[2]["allocated_bytes"]


def test_one_run_is_explained_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "-c", str(DEMO_RECIPE), "--vram", "8GiB")
    assert "At the heaviest moment" in text
    assert "counted with the model's tokenizer" in " ".join(text.split())
    assert "The longest text that fits" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_longest_row_of_the_dataset_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    needs = []
    for words in (20, 200):
        data = tmp_path / f"{words}.jsonl"
        rows = [{"text": "one two"}, {"text": "word " * words}]
        data.write_text("\n".join(json.dumps(row) for row in rows))
        config = run_yaml(
            tmp_path,
            f"model: {{model_name_or_path: {DEMO}}}\ntraining: {{max_length: 4096, per_device_train_batch_size: 16}}\n",
            str(data),
        )
        found = report(capsys, "-c", config, "--vram", "8GiB")
        assert found["data"]["counted"]
        assert words <= found["data"]["longest_row"] <= 4 * words + 8
        needs.append(found["allocated"]["p50"])
    assert needs[0] < needs[1]


def test_rows_are_guessed_without_a_tokenizer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = run_yaml(tmp_path, "model: {model_name_or_path: Qwen/Qwen3-8B}\n", str(DEMO / "train.jsonl"))
    assert "guessed from its characters" in " ".join(shown(capsys, "-c", config, "--vram", "24GiB").split())
    missing = run_yaml(tmp_path, "model: {model_name_or_path: Qwen/Qwen3-8B}\n", "no-such-file.jsonl")
    assert "The data cannot be read here" in shown(capsys, "-c", missing, "--vram", "24GiB")


@pytest.mark.parametrize(
    ("objective", "tuning", "data"),
    [
        ("sft", "freeze", "demo/train"),
        ("grpo", "lora", "recipes/data/sums"),
        ("cpt", "lora", "recipes/data/texts"),
    ],
)
def test_what_is_left_open_is_chosen_as_the_run_itself_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, objective: str, tuning: str, data: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: {{model_name_or_path: {DEMO}}}\ndata: {{train: {DEMO.parent / data}.jsonl}}\n"
        f"method: {{objective: {objective}, tuning: {tuning}}}\n"
    )
    planned = report(capsys, "-c", str(config), "--gpu", "RTX 4090")["choices"]
    card = find_card("RTX 4090")
    assert card is not None
    gpu = Gpu(0, "GPU-1", card.name, card.memory, 0, card.usable, compute_capability=card.compute_capability)
    started = prepare(load(config), machine(gpu), "run").choices
    assert {key: choice["value"] for key, choice in planned.items()} == {
        key: choice.value for key, choice in started.items() if key in planned
    }
    assert {*started} - {*planned} <= {"chat_template"}


def test_a_run_that_does_not_fit_is_told_what_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = run_yaml(
        tmp_path,
        "model: {model_name_or_path: meta-llama/Llama-3.1-8B-Instruct}\nmethod: {tuning: full}\n",
    )
    text = shown(capsys, "-c", config, "--gpu", "RTX 4090", code=2)
    assert "It does not fit" in text
    assert "This makes it fit" in text
    found = report(capsys, "-c", config, "--gpu", "RTX 4090", code=2)
    assert found["verdict"] == "no"
    assert found["fits_with_changes"] is True
    assert found["changes"]


def on_machine(fake_nvml: FakeNvml, scenario: str | Scenario, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", "fit", *argv],
        env=fake_nvml.env(scenario),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_machines_own_card_is_the_default(fake_nvml: FakeNvml) -> None:
    default, named = (
        on_machine(fake_nvml, "half_full", "Qwen/Qwen3-8B", "--json", *more)
        for more in ((), ("--gpu", "detected"))
    )
    assert default.stdout == named.stdout
    found = json.loads(default.stdout)
    assert found["card"] == "NVIDIA GeForce RTX 4090"
    assert found["free_bytes"] == CARD.memory_total - CARD.memory_reserved - 12 * GIB


def test_each_card_of_a_run_has_its_own_verdict(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    busy = replace(CARD, uuid="GPU-22222222-0000-0000-0000-000000000000", memory_used=22 * GIB)
    config = run_yaml(
        tmp_path,
        "model: {model_name_or_path: Qwen/Qwen3-8B, load_in_4bit: true}\ntraining: {num_processes: 2}\n",
    )
    two = Scenario((CARD, busy))
    found = json.loads(on_machine(fake_nvml, two, "-c", config, "--json").stdout)
    assert [card["verdict"] for card in found["cards"]] == ["fits", "no"]
    assert found["verdict"] == "no", "the card with the least room decides"
    done = on_machine(fake_nvml, two, "-c", config)
    assert done.returncode == 2
    assert "GPU 0: NVIDIA GeForce RTX 4090: 23.6 GiB free: fits" in done.stdout
    assert "GPU 1: NVIDIA GeForce RTX 4090: 1.6 GiB free: no" in done.stdout
    few = on_machine(fake_nvml, "rtx_4090", "-c", config)
    assert (few.returncode, few.stderr.splitlines()[0]) == (
        2,
        "Error: The run wants 2 GPUs, but this machine has 1 that can be used.",
    )


def test_a_silent_driver_is_an_error(fake_nvml: FakeNvml) -> None:
    done = on_machine(fake_nvml, "memory_forbidden")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")


def test_a_simulated_step_stands_beside_the_arithmetic(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = run_yaml(tmp_path, f"model: {{model_name_or_path: {DEMO}}}\n", str(DEMO / "train.jsonl"))
    assert main(["fit", "-c", config, "--vram", "8GiB", "--simulate", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["predictor"] == "simulate"
    assert found["smi"]["p50"] == pytest.approx(found["arithmetic"]["p50"], rel=0.25)
    assert captured.err.startswith(f"Simulating {DEMO} ...")


def test_where_a_step_cannot_be_simulated_the_arithmetic_answers(capsys: pytest.CaptureFixture[str]) -> None:
    from engine.errors import UserError
    from engine.fit import simulated_fit

    class Refusing:
        def submit(self, *_: Any, **__: Any) -> int:
            return 1

        def result(self, *_: Any) -> None:
            raise UserError("This model has no step.", "here", "Use the arithmetic estimate.")

        def close(self) -> None:
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_fit, "Simulator", Refusing)
        found = report(capsys, "Qwen/Qwen3-8B", "--vram", "24GiB", "--simulate")
        text = shown(capsys, "Qwen/Qwen3-8B", "--vram", "24GiB", "--simulate")
    assert {row["predictor"] for row in found["rows"]} == {"arithmetic"}
    assert "Not simulated: This model has no step." in found["rows"][0]["notes"]
    assert "Not simulated: This model has no step." in text


@pytest.mark.parametrize(
    "argv",
    [
        ("--gpu", "RTX 9999\x1b[31m"),
        ("--vram", "lots"),
        ("--vram", "-3GiB"),
        ("--vram", "9" * 400),
        ("no-such-model", "--vram", "24GiB"),
        ("--vram", "24GiB", "--max_length", "-5"),
        ("--vram", "24GiB", "--batch", "0"),
        ("-c", "no-such-run.yaml", "--vram", "24GiB"),
    ],
)
def test_nonsense_is_refused_in_three_lines(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    text = shown(capsys, *argv, code=2)
    assert [line[:6] for line in text.splitlines()] == ["Error:", "Where:", "Fix:  "]
    assert "\x1b" not in text
