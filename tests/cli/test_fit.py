"""``finetui fit``: planning without a GPU and without torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.config.draft import DEMO_RECIPE


def shown(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(["fit", *argv]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_a_card_to_rent(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(
        shown(capsys, "Qwen/Qwen3-8B", "--gpu", "RTX 4090", "--max_length", "512", "4096", "--json")
    )
    assert len(found["rows"]) == 8
    by_method = {(row["method"], row["max_length"]): row for row in found["rows"]}
    assert by_method["QLoRA 4-bit", 512]["verdict"] == "fits"
    assert by_method["full", 512]["verdict"] == "no"
    assert by_method["QLoRA 4-bit", 4096]["p95_bytes"] > by_method["QLoRA 4-bit", 512]["p95_bytes"]


def test_the_usual_sizes_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--vram", "24GiB")
    assert "Llama-3.1-8B" in text
    assert "tokens" in text


def test_one_run_is_explained_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert "At the heaviest moment" in shown(capsys, "-c", str(DEMO_RECIPE), "--vram", "8GiB")


def test_a_run_that_does_not_fit_is_told_what_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "model: {model_name_or_path: meta-llama/Llama-3.1-8B-Instruct}\ndata: {train: x.jsonl}\nmethod: {tuning: full}\n"
    )
    text = shown(capsys, "-c", str(config), "--gpu", "RTX 4090", code=2)
    assert "does not fit" in text
    assert "This makes it fit" in text
    report = json.loads(shown(capsys, "-c", str(config), "--gpu", "RTX 4090", "--json", code=2))
    assert report["verdict"] == "no"
    assert report["fits_with_changes"] is True
    assert report["changes"]


@pytest.mark.parametrize(
    "argv",
    [
        ("--gpu", "RTX 9999\x1b[31m"),
        ("--vram", "lots"),
        ("--vram", "-3GiB"),
        ("no-such-model", "--vram", "24GiB"),
        ("--vram", "24GiB", "--max_length", "-5"),
        ("--vram", "24GiB", "--batch", "0"),
    ],
)
def test_nonsense_is_refused_in_three_lines(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    text = shown(capsys, *argv, code=2)
    assert [line[:6] for line in text.splitlines()] == ["Error:", "Where:", "Fix:  "]
    assert "\x1b" not in text
