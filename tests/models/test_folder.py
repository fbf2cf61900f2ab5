"""Model folders and Hub ids: the facts, and every way in which they can be wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.models.folder import inspect_model
from tests.models.build import CONFIG, NUM_PARAMS, TENSORS, model_folder, safetensors


def refused(target: Path | str) -> UserError:
    with pytest.raises(UserError) as caught:
        inspect_model(str(target))
    error = caught.value
    for line in error.lines():
        assert line.strip()
        assert "\n" not in line
    return error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "Tiny-Instruct")


def test_facts_of_a_folder(folder: Path) -> None:
    facts = inspect_model(str(folder))
    assert (facts.source, facts.path, facts.folder) == ("folder", str(folder), folder)
    assert (facts.model_type, facts.architecture) == ("llama", "LlamaForCausalLM")
    assert (facts.params, facts.dtype) == (NUM_PARAMS, "bfloat16")
    assert (facts.hidden, facts.layers, facts.vocab, facts.context) == (16, 2, 32, 128)
    assert facts.has_chat_template
    assert facts.chat_template_source == "tokenizer_config.json"
    assert facts.has_tokenizer
    assert facts.size_bytes == (folder / "model.safetensors").stat().st_size
    assert facts.problems == ()


def test_relative_and_home_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert inspect_model("../Tiny-Instruct").params == NUM_PARAMS
    monkeypatch.setenv("HOME", str(folder.parent))
    assert inspect_model("~/Tiny-Instruct").path == "~/Tiny-Instruct"
    monkeypatch.chdir(folder.parent)
    assert inspect_model("Tiny-Instruct").source == "folder"  # a folder wins over a Hub id of the same name


def test_params_equal_what_torch_loads() -> None:
    """The embedded model, counted by torch."""
    transformers = pytest.importorskip("transformers")
    demo = Path(__file__).parents[2] / "presets" / "demo"
    if not (demo / "model.safetensors").is_file():
        pytest.skip("the embedded model is not built")
    model = transformers.AutoModelForCausalLM.from_pretrained(demo)
    assert inspect_model(str(demo)).params == sum(weight.numel() for weight in model.parameters())


def test_shards_are_counted_together(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    names = list(TENSORS)
    parts = {"model-00001-of-00002.safetensors": names[:2], "model-00002-of-00002.safetensors": names[2:]}
    for file, held in parts.items():
        safetensors(folder / file, {name: TENSORS[name] for name in held})
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert inspect_model(str(folder)).params == NUM_PARAMS
    (folder / "model-00002-of-00002.safetensors").unlink()
    error = refused(folder)
    assert "1 of 2 weight files are missing: model-00002-of-00002.safetensors" in error.what
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../secret.safetensors"}}')
    assert "outside the model folder" in refused(folder).what
    (folder / "model.safetensors.index.json").write_text("[]")
    assert "not readable" in refused(folder).what


@pytest.mark.parametrize(
    ("config", "extra"),
    [
        ({"tie_word_embeddings": True}, {}),  # the copy in lm_head is not loaded
        ({}, {"model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [8])}),
        ({}, {"h.0.attn.bias": ("U8", [1, 1, 64, 64]), "h.0.attn.masked_bias": ("F32", [1])}),
        ({}, {"mtp.layers.0.weight": ("BF16", [16, 16])}),
        ({}, {"model.layers.2.mlp.weight": ("BF16", [16, 16])}),  # beyond the last layer
    ],
)
def test_what_is_stored_but_not_loaded_is_not_counted(
    tmp_path: Path, config: dict[str, Any], extra: Any
) -> None:
    made = model_folder(tmp_path / "m", CONFIG | config, TENSORS | extra)
    expected = NUM_PARAMS - (32 * 16 if config else 0)
    assert inspect_model(str(made)).params == expected


def test_biases_of_gpt2_are_counted(tmp_path: Path) -> None:
    made = model_folder(tmp_path / "m", None, TENSORS | {"h.0.attn.c_attn.bias": ("BF16", [48])})
    assert inspect_model(str(made)).params == NUM_PARAMS + 48


def test_chat_template_file_wins(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ 1 }}")
    assert inspect_model(str(folder)).chat_template_source == "chat_template.jinja"


def test_named_chat_templates(folder: Path) -> None:
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert inspect_model(str(folder)).has_chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named[:1]}))
    assert not inspect_model(str(folder)).has_chat_template


def test_instruct_without_template_is_a_problem(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    facts = inspect_model(str(folder))
    assert facts.has_chat_template is False
    assert "no chat template" in facts.problems[0]


def test_an_unknown_name_with_a_template_counts_as_instruct(tmp_path: Path) -> None:
    facts = inspect_model(str(model_folder(tmp_path / "mine")))
    assert (facts.name.variant, facts.name.tuned) == ("instruct", True)


def test_a_known_base_name_stays_base_even_with_a_template(tmp_path: Path) -> None:
    assert inspect_model(str(model_folder(tmp_path / "Qwen3-8B-Base"))).name.variant == "base"


def test_missing_folder_suggests_the_nearest(folder: Path) -> None:
    error = refused(folder.with_name("Tiny-Instrukt"))
    assert error.what == "There is no such model folder."
    assert str(folder) in error.fix


def test_missing_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "no config.json" in refused(folder).what


def test_folder_around_the_model_points_inside(folder: Path) -> None:
    assert refused(folder.parent).fix == f"Did you mean {folder}?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ("", "not valid JSON"),
        ("\xff", "not valid JSON"),
    ],
)
def test_broken_config(folder: Path, text: str, said: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    error = refused(folder)
    assert said in error.what
    assert "config.json" in error.where


def test_broken_config_names_line_and_column(folder: Path) -> None:
    (folder / "config.json").write_text('{\n  "a": 1,\n  "b" 2\n}')
    assert "line 3, column 7" in refused(folder).where


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(folder).what


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"]
)
def test_pickle_only_weights_are_refused_with_a_way_out(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    error = refused(folder)
    assert name in error.what
    assert "hidden code" in error.what
    assert "save_pretrained" in error.fix


def test_oddly_named_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert "weights.safetensors" in refused(folder).what


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in refused(folder).what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ends inside its header"),
        (b"\x10", "ends inside its header"),
        (struct.pack("<Q", 1 << 60), "ends inside its header"),
        (struct.pack("<Q", 500) + b"{", "ends inside its header"),
        (struct.pack("<Q", 2) + b"{]", "not readable"),
        (struct.pack("<Q", 2) + b"[]", "not readable"),
        (struct.pack("<Q", 10) + b'{"a":"bc"}', "not readable"),
        (struct.pack("<Q", 2) + b"{}", "holds no weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS placeholder"),
    ],
)
def test_damaged_weight_files(folder: Path, content: bytes, said: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert said in refused(folder).what


@pytest.mark.parametrize("change", [-1, -100, 3])
def test_truncated_and_padded_weight_files(folder: Path, change: int) -> None:
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[:change] if change < 0 else raw + bytes(change))
    error = refused(folder)
    assert ("is incomplete" if change < 0 else "is longer") in error.what
    assert f"{len(raw):,} bytes" in error.what


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "already compressed (gptq)"),
        ({"quantization_config": {}}, "already compressed"),
        ({"model_type": "brandnew"}, "does not know the architecture 'brandnew'"),
        (
            {"model_type": "brandnew", "auto_map": {"AutoModel": "x.Y"}},
            "never runs code that comes with a model",
        ),
        ({"model_type": None}, "no model_type"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "not of the kind that continues text"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, "not of the kind that continues text"),
        ({"model_type": "qwen2_vl", "vision_config": {}}, "image model"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "saved for another task"),
    ],
)
def test_models_that_cannot_be_trained(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    assert said in refused(model_folder(tmp_path / "m", CONFIG | config)).what


def test_own_code_of_a_known_architecture_is_ignored_and_said(tmp_path: Path) -> None:
    made = model_folder(tmp_path / "m", CONFIG | {"auto_map": {"AutoModel": "x.Y"}})
    assert "does not run it" in inspect_model(str(made)).problems[0]


def test_vision_folder(tmp_path: Path) -> None:
    config = {
        "model_type": "gemma3",
        "vision_config": {"hidden_size": 8},
        "text_config": {k: v for k, v in CONFIG.items() if k not in ("model_type", "architectures")},
    }
    facts = inspect_model(str(model_folder(tmp_path / "m", config)))
    assert facts.name.variant == "vision"
    assert (facts.hidden, facts.layers) == (16, 2)


def test_gguf_file_and_folder(tmp_path: Path) -> None:
    place = tmp_path / "models"
    place.mkdir()
    file = place / "Qwen2.5-7B-Instruct-Q4_K_M.gguf"
    file.write_bytes(b"GGUF")
    for target in (file, place):
        error = refused(target)
        assert "not for training" in error.what
        assert "Qwen/Qwen2.5-7B-Instruct" in error.fix


def test_other_files_are_not_models(folder: Path) -> None:
    assert str(folder) in refused(folder / "model.safetensors").fix
    (folder.parent / "x.txt").write_text("x")
    assert "a model is a folder" in refused(folder.parent / "x.txt").what


def test_adapter_folder_names_its_base(tmp_path: Path) -> None:
    place = tmp_path / "adapter"
    place.mkdir()
    (place / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen3-8B"}')
    error = refused(place)
    assert "LoRA adapter" in error.what
    assert "Qwen/Qwen3-8B" in error.fix


def test_hostile_strings_are_made_harmless(tmp_path: Path) -> None:
    error = refused(model_folder(tmp_path / "m", CONFIG | {"model_type": "\x1b[2J\u202eevil"}))
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    error = refused("./\x1b[31mred")
    assert "\x1b" not in str(error)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.usefixtures("empty_cache")
def test_hub_id_from_the_catalogue() -> None:
    facts = inspect_model("Qwen/Qwen3-8B")
    assert (facts.source, facts.folder, facts.params) == ("catalogue", None, 8_190_735_360)
    assert (facts.model_type, facts.hidden, facts.layers) == ("qwen3", 4096, 36)
    assert facts.has_chat_template
    for spelling in (
        "qwen/qwen3-8b",
        " Qwen/Qwen3-8B ",
        "https://huggingface.co/Qwen/Qwen3-8B/tree/main?x=1#y",
    ):
        assert inspect_model(spelling).path == "Qwen/Qwen3-8B"
    assert inspect_model("gpt2").path == "openai-community/gpt2"


@pytest.mark.usefixtures("empty_cache")
def test_unknown_hub_id_is_accepted_with_unknown_facts() -> None:
    facts = inspect_model("someone/New-Model-3B-Instruct")
    assert (facts.source, facts.params, facts.has_chat_template) == ("name", None, None)
    assert facts.name.params_b == 3


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize(
    ("model_id", "fix"),
    [
        ("bartowski/Llama-3.1-8B-Instruct-GGUF", "Train meta-llama/Llama-3.1-8B-Instruct instead."),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Train Qwen/Qwen2.5-7B-Instruct instead."),
        ("someone/some-lora", "Choose its base model"),
        ("BAAI/bge-m3", "Choose a model that writes text"),
        ("openai/gpt-oss-20b", "full (bf16) weights"),
    ],
)
def test_hub_ids_that_cannot_be_trained(model_id: str, fix: str) -> None:
    assert fix in refused(model_id).fix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "no-such-model",
        "../nowhere",
        "/no/where",
        "a/b/c",
        "owner/../x",
        "owner/na me",
        "o\0o",
        "~nobody/x",
        "x" * 5000,
    ],
)
def test_nonsense_is_refused_kindly(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(text)


def cached(cache: Path, model_id: str) -> Path:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = cache / ("models--" + model_id.replace("/", "--"))
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    return repo / "snapshots" / commit


def test_a_downloaded_model_gives_its_own_facts(empty_cache: Path) -> None:
    snapshot = model_folder(cached(empty_cache, "someone/New-Model-3B-Instruct"))
    facts = inspect_model("someone/New-Model-3B-Instruct")
    assert (facts.source, facts.folder, facts.params) == ("cache", snapshot, NUM_PARAMS)
    assert facts.has_chat_template


def test_a_half_finished_download_is_no_obstacle(empty_cache: Path) -> None:
    snapshot = model_folder(cached(empty_cache, "someone/New-Model-3B-Instruct"))
    (snapshot / "model.safetensors").write_bytes(b"")
    (snapshot / "tokenizer.json").unlink()
    facts = inspect_model("someone/New-Model-3B-Instruct")
    assert (facts.source, facts.folder, facts.params, facts.hidden) == ("cache", None, None, 16)
    assert facts.has_tokenizer is None


def test_a_downloaded_compressed_model_is_refused(empty_cache: Path) -> None:
    model_folder(
        cached(empty_cache, "someone/Model"), CONFIG | {"quantization_config": {"quant_method": "awq"}}
    )
    assert "awq" in refused("someone/Model").what
