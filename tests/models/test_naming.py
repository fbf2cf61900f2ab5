"""What names say: 440 published names, and the spellings of re-uploaders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.models.naming import read_name

# id, weights in billions, 'vision' or 'text', follows instructions, reasons: facts of published models
GOLDEN = [tuple(row) for row in json.loads(Path(__file__).with_name("names.json").read_text("utf-8"))]
SIZE_IN_NAME_MISLEADS = {"tiiuae/Falcon3-1B-Base"}  # 1.7 B in truth
KIND_DIFFERS = ("mistralai/Ministral-3-",)  # listed as reasoning there; they read images as well


@pytest.mark.parametrize("model_id", [row[0] for row in GOLDEN])
def test_published_names(model_id: str) -> None:
    _, params_b, kind, tuned, reasons = next(row for row in GOLDEN if row[0] == model_id)
    name = read_name(model_id)
    assert name.tuned == tuned
    if not model_id.startswith(KIND_DIFFERS) and name.variant != "quantized":
        assert (name.variant == "vision") == (kind == "vision")
    if kind == "text":  # the list has no reasoning mark for vision models
        assert name.reasoning == reasons
    if params_b is not None and model_id not in SIZE_IN_NAME_MISLEADS:
        assert name.params_b == pytest.approx(params_b, rel=0.3)


def test_nearly_every_published_name_has_a_family() -> None:
    unknown = [row[0] for row in GOLDEN if not read_name(row[0]).family]
    assert len(unknown) <= 4, unknown


@pytest.mark.parametrize(
    ("name", "twin", "variant"),
    [
        ("bartowski/Llama-3.1-8B-Instruct-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "gguf"),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "gguf"),
        ("bartowski/google_gemma-3-4b-it-GGUF", "google/gemma-3-4b-it", "gguf"),
        ("Qwen/Qwen2.5-7B-Instruct-GGUF", "Qwen/Qwen2.5-7B-Instruct", "gguf"),
        ("unsloth/Qwen3-8B-GGUF", "unsloth/Qwen3-8B", "gguf"),
        ("unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "unsloth/Llama-3.2-1B-Instruct", "quantized"),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "unsloth/Qwen3-8B", "quantized"),
        ("TheBloke/Llama-2-7B-Chat-GGUF", "meta-llama/Llama-2-7b-chat-hf", "gguf"),
        ("TheBloke/Mistral-7B-Instruct-v0.2-GPTQ", "mistralai/Mistral-7B-Instruct-v0.2", "quantized"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct", "quantized"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct", "quantized"),
        ("Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B", "quantized"),
        (
            "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8-dynamic",
            "meta-llama/Llama-3.1-8B-Instruct",
            "quantized",
        ),
        ("RedHatAI/Llama-3.1-8B-Instruct-quantized.w4a16", "meta-llama/Llama-3.1-8B-Instruct", "quantized"),
        (
            "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
            "meta-llama/Llama-3.1-8B-Instruct",
            "quantized",
        ),
        ("mlx-community/Qwen3-8B-4bit", "Qwen/Qwen3-8B", "quantized"),
        ("google/gemma-3-4b-it-qat-q4_0-gguf", "google/gemma-3-4b-it", "gguf"),
        ("ISTA-DASLab/gemma-3-27b-it-GPTQ-4b-128g", "google/gemma-3-27b-it", "quantized"),
        ("/data/mistral-7b-instruct-v0.2.Q4_K_M.gguf", "mistralai/Mistral-7B-Instruct-v0.2", "gguf"),
        ("someone/Mystery-GGUF", "someone/Mystery", "gguf"),
        ("mradermacher/Mystery-8B-i1-GGUF", None, "gguf"),
        ("openai/gpt-oss-20b", None, "quantized"),
    ],
)
def test_compressed_copies_name_their_trainable_twin(name: str, twin: str | None, variant: str) -> None:
    read = read_name(name)
    assert (read.twin, read.variant, read.trainable) == (twin, variant, False)
    assert read.notes
    if twin:
        assert twin in read.notes[-1]


@pytest.mark.parametrize(
    ("name", "params_b", "active_b"),
    [
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7, 12.9),
        ("Qwen/Qwen3-30B-A3B", 30.5, 3.4),
        ("someone/Llama-4-Scout-17B-16E-mine", 108.6, 17.0),
        ("someone/OLMoE-1B-7B-mine", 7.0, 1.0),
        ("x/Foo-4x7B", 28.0, None),
        ("Qwen/Qwen3-0.6B", 0.596, None),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135, None),
        ("gpt2", 0.124, None),
        ("openai-community/gpt2-xl", 1.558, None),
        ("someone/New-360M", 0.36, None),
        ("bigscience/bloom-1b7", 1.7, None),
        ("stabilityai/stablelm-2-1_6b", 1.6, None),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7.0, None),
        ("microsoft/phi-4", 14.66, None),
        ("nobody/nothing", None, None),
    ],
)
def test_sizes(name: str, params_b: float | None, active_b: float | None) -> None:
    read = read_name(name)
    assert read.params_b == (None if params_b is None else pytest.approx(params_b, rel=0.01))
    assert read.active_params_b == (None if active_b is None else pytest.approx(active_b, rel=0.05))


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("meta-llama/Llama-3.2-11B-Vision", "vision"),
        ("google/gemma-3-27b-it", "vision"),
        ("google/gemma-3-1b-it", "instruct"),
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "vision"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "instruct"),
        ("unsloth/Mistral-Small-3.1-24B-Instruct-2503-text-only", "instruct"),
        ("google/gemma-3-4b-it-qat-q4_0-unquantized", "vision"),
        ("Qwen/Qwen2.5-7B", "base"),
        ("Qwen/Qwen3-8B", "instruct"),
        ("Qwen/Qwen3-8B-Base", "base"),
        ("./models/Qwen2.5-7B-Instruct/", "instruct"),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/abc", "instruct"),
        ("someone/my-cool-lora", "adapter"),
        ("BAAI/bge-m3", "other"),
        ("Qwen/Qwen3-Embedding-0.6B", "other"),
    ],
)
def test_variants(name: str, variant: str) -> None:
    assert read_name(name).variant == variant


def test_a_missing_suffix_is_explained() -> None:
    assert "mostly means a base model" in read_name("meta-llama/Llama-3.1-8B").notes[0]
    assert "follow instructions as they are" in read_name("Qwen/Qwen3-8B").notes[0]
    assert "says little" in read_name("someone/checkpoint").notes[0]


@pytest.mark.parametrize("name", ["", "/", "..", "a/b/c/d", "\\", "-", "GGUF", "models----"])
def test_strange_names_are_read_without_failing(name: str) -> None:
    assert read_name(name).params_b is None
