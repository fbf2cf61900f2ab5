"""Number formats, names, sizes, and what is refused before anything is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.deliver.export.gguf import convert, source
from engine.deliver.export.gguf.quants import NAMES, QUANTS, file_bytes, file_name, find_quant, find_quants
from engine.deliver.export.targets import find_target
from engine.errors import UserError
from tests.deliver.gguf.jobs import whole_model_job

DEMO = DEMO_RECIPE.parent


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if llama-cpp-python and what the converter needs were installed."""
    monkeypatch.setattr(source, "version", lambda project: "0.3.36")
    monkeypatch.setattr(convert, "_PACKAGES", ("json",))


def test_names_in_any_spelling() -> None:
    assert [quant.name for quant in find_quants(("q4_k_m", "Q8-0", " f16 ", "Q4_K_M"))] == [
        "Q4_K_M",
        "Q8_0",
        "F16",
    ]
    assert [quant.name for quant in find_quants(())] == ["Q4_K_M"]
    assert {
        "Q2_K",
        "Q3_K_S",
        "Q3_K_M",
        "Q3_K_L",
        "Q4_K_S",
        "Q5_K_S",
        "Q5_K_M",
        "Q6_K",
        "Q4_0",
        "BF16",
    } <= set(NAMES)


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(UserError) as told:
        find_quant("Q4_K\x1b[31m")
    assert "\x1b" not in told.value.what
    assert "Q4_K" in told.value.fix


def test_numbers_are_those_of_llama_cpp() -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    for quant in QUANTS:
        assert getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quant.name}") == quant.ftype


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("owl", "owl-Q8_0.gguf"),
        ("my owl ünï", "my-owl-n-Q8_0.gguf"),
        ("../x", "x-Q8_0.gguf"),
        ("ü", "model-Q8_0.gguf"),
    ],
)
def test_file_names(run: str, name: str) -> None:
    assert file_name(run, "Q8_0") == name


def test_sizes_of_a_known_model_are_about_right() -> None:
    # Llama 3.1 8B: 8.03e9 weights; its Q4_K_M, Q8_0 and F16 files have 4.92, 8.54 and 16.1 GB.
    params, tables = 8_030_261_248, 2 * 128_256 * 4096
    for name, size in (
        ("Q4_K_M", 4.92e9),
        ("Q8_0", 8.54e9),
        ("F16", 16.07e9),
        ("Q6_K", 6.60e9),
        ("Q2_K", 3.18e9),
    ):
        assert size * 0.98 < file_bytes(find_quant(name), params, tables, 4096) < size * 1.25, name


@pytest.mark.usefixtures("installed")
def test_needs_are_in_words_with_sizes(tmp_path: Path) -> None:
    job = whole_model_job(shutil.copytree(DEMO, tmp_path / "model"), quants=("Q4_K_M", "Q8_0"))
    target = find_target("gguf")
    assert target.refuse(job) is None
    needs = target.needs(job)
    params = 3_736_832
    assert needs.disk_bytes > 2 * params + params + params // 2
    assert needs.words.startswith("a 16-bit GGUF file, for the time being (")
    assert needs.words.count("MiB") == 3
    assert needs.ram_bytes > 1 << 30


@pytest.mark.parametrize(
    ("target", "quants", "what"),
    [("gguf", ("Q9",), "no number format 'Q9'"), ("ollama", ("Q8_0", "F16"), "one number format at a time"),
     ("lora-gguf", (), "no adapter to export")],
)  # fmt: skip
@pytest.mark.usefixtures("installed")
def test_refusals(target: str, quants: tuple[str, ...], what: str, tmp_path: Path) -> None:
    job = whole_model_job(shutil.copytree(DEMO, tmp_path / "model"), target, quants)
    error = find_target(target).refuse(job)
    assert error is not None
    assert what in error.what


@pytest.mark.parametrize("target", ["gguf", "ollama"])
def test_without_the_extra_the_words_say_how_to_get_it(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(project: str) -> str:
        raise PackageNotFoundError(project)

    monkeypatch.setattr(source, "version", missing)
    error = find_target(target).refuse(whole_model_job(shutil.copytree(DEMO, tmp_path / "model"), target))
    assert error is not None
    assert "pip install 'finetui[gguf]'" in error.fix


def test_missing_packages_of_the_converter_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "version", lambda project: "0.3.36")
    monkeypatch.setattr(convert, "_PACKAGES", ("json", "no_such_package_at_all"))
    error = convert.missing_packages()
    assert error is not None
    assert "no_such_package_at_all" in error.what


ADAPTER = {"peft_type": "LORA", "lora_alpha": 16, "r": 8}


def adapter(folder: Path, names: tuple[str, ...] = (), **config: Any) -> Path:
    """An adapter with weights of these names."""
    from safetensors.numpy import save_file

    numpy = pytest.importorskip("numpy")
    folder.mkdir()
    plain = ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", *names)
    save_file({name: numpy.zeros((2, 2), "f4") for name in plain}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**ADAPTER, **config}))
    return folder


@pytest.mark.parametrize(
    ("names", "config", "what"),
    [
        ((), {}, None),
        ((), {"use_dora": True}, "DoRA"),
        ((), {"fan_in_fan_out": True}, "other way round"),
        ((), {"peft_type": "IA3"}, "no LoRA adapter but IA3"),
        (("base_model.model.model.embed_tokens.weight",), {}, "trained embeddings"),
        (("base_model.model.score.weight",), {}, "beside the LoRA matrices"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_adapters_that_llama_cpp_cannot_hold(
    names: tuple[str, ...], config: dict[str, Any], what: str | None, tmp_path: Path
) -> None:
    job = whole_model_job(shutil.copytree(DEMO, tmp_path / "model"), "lora-gguf")
    trained = replace(job.trained, path=adapter(tmp_path / "adapter", names, **config), is_adapter=True)
    error = find_target("lora-gguf").refuse(replace(job, trained=trained))
    assert (error is None) == (what is None)
    if error is not None and what is not None:
        assert what in error.what
        assert "--to gguf" in error.fix
