"""The catalogue: complete, consistent, quick."""

from __future__ import annotations

from itertools import groupby

import pytest

from engine.display import GIB
from engine.errors import UserError
from engine.fit.architecture import from_catalogue
from engine.fit.predict import predict
from engine.fit.setup import architecture_of
from engine.fit.types import TrainSetup
from engine.models import catalogue
from engine.models.naming import read_name


def test_every_entry_is_consistent() -> None:
    models = catalogue.load()
    assert len({model.id.lower() for model in models}) == len(models) >= 300
    for model in models:
        assert model.id.count("/") == 1
        assert 1e7 < model.params < 1e12
        assert model.active_params is None or model.active_params < model.params
        assert model.gated in (True, False, None)
        assert model.template is None or model.template
        assert model.licence is None or model.licence == model.licence.strip() != ""
        assert model.context is None or model.context >= 512
        assert model.template or not model.tuned, model.id
        if model.base:
            assert model.tuned
    assert sum(model.licence is None for model in models) <= 6
    assert {model.id.partition("/")[0] for model in models if model.gated is None} <= {
        "mistralai",
        "stabilityai",
    }


def test_entries_agree_with_what_their_names_say() -> None:
    for model in catalogue.load():
        name = read_name(model.id)
        assert name.trainable, model.id
        assert (name.variant, name.tuned) == (model.variant, model.tuned), model.id
        assert name.family == model.family


def test_find_ignores_case_and_owner_spellings() -> None:
    model = catalogue.find("qwen/qwen3-8b")
    assert model is not None
    assert model.params == 8_190_735_360
    assert catalogue.find("Qwen/Qwen3-9000B") is None
    same = [catalogue.find_by_name(name) for name in ("Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct")]
    assert [found and found.id for found in same] == ["meta-llama/Llama-3.1-8B-Instruct"] * 2


def test_instruct_twin() -> None:
    twin = catalogue.instruct_twin("Qwen/Qwen2.5-7B")
    assert twin is not None
    assert twin.id == "Qwen/Qwen2.5-7B-Instruct"
    assert catalogue.instruct_twin("Qwen/Qwen2.5-7B-Instruct") is None


def test_sizes_are_rounded_as_people_say_them() -> None:
    sizes = catalogue.sizes()
    assert list(sizes) == sorted(sizes)
    assert {0.6, 1.7, 4, 8, 70} & set(sizes) >= {0.6, 1.7, 4, 8}
    assert catalogue.round_size(0.1345) == 0.13


@pytest.mark.parametrize(
    ("family", "base", "instruct"),
    [
        ("Llama 2", "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf"),
        ("Llama 3", "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("Llama 3.1", "meta-llama/Llama-3.1-405B", "meta-llama/Llama-3.1-405B-Instruct"),
        ("Llama 3.2", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct"),
        ("Llama 3.3", None, "meta-llama/Llama-3.3-70B-Instruct"),
        ("Mistral 7B", "mistralai/Mistral-7B-v0.3", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("Mistral Small", "mistralai/Mistral-Small-24B-Base-2501", "mistralai/Mistral-Small-24B-Instruct-2501"),
        ("Mixtral", "mistralai/Mixtral-8x22B-v0.1", "mistralai/Mixtral-8x22B-Instruct-v0.1"),
        ("Qwen2.5", "Qwen/Qwen2.5-72B", "Qwen/Qwen2.5-72B-Instruct"),
        ("Qwen3", "Qwen/Qwen3-14B-Base", "Qwen/Qwen3-14B"),
        ("Qwen3.5", "Qwen/Qwen3.5-9B-Base", "Qwen/Qwen3.5-9B"),
        ("Gemma", "google/gemma-7b", "google/gemma-7b-it"),
        ("Gemma 2", "google/gemma-2-9b", "google/gemma-2-9b-it"),
        ("Gemma 3", "google/gemma-3-1b-pt", "google/gemma-3-1b-it"),
        ("Gemma 3n", "google/gemma-3n-E2B", "google/gemma-3n-E2B-it"),
        ("Gemma 4", "google/gemma-4-31B", "google/gemma-4-31B-it"),
        ("Phi-3", None, "microsoft/Phi-3-mini-128k-instruct"),
        ("Phi-4", None, "microsoft/phi-4"),
        ("Falcon", "tiiuae/falcon-7b", "tiiuae/falcon-7b-instruct"),
        ("Falcon3", "tiiuae/Falcon3-10B-Base", "tiiuae/Falcon3-10B-Instruct"),
        ("SmolLM", "HuggingFaceTB/SmolLM-135M", "HuggingFaceTB/SmolLM-135M-Instruct"),
        ("SmolLM2", "HuggingFaceTB/SmolLM2-1.7B", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
        ("SmolLM3", "HuggingFaceTB/SmolLM3-3B-Base", "HuggingFaceTB/SmolLM3-3B"),
    ],
)  # fmt: skip
def test_the_families_that_guides_name(family: str, base: str | None, instruct: str) -> None:
    found = catalogue.find(instruct)
    assert found is not None
    assert found.family == family
    assert found.tuned
    assert found.template
    if base is not None:
        untuned = catalogue.find(base)
        assert untuned is not None
        assert untuned.family == family
        assert not untuned.tuned


def test_every_model_has_an_architecture_that_gives_a_prediction() -> None:
    setup = TrainSetup(tuning="lora", quantization="nf4", batch=1, seq_len=512)
    for model in catalogue.load():
        architecture = from_catalogue(model.id)
        assert architecture is not None, model.id
        assert architecture.params == model.params, model.id
        need = predict(architecture, setup).smi
        # Never less than half a byte a weight, never more than 16-bit weights and 20 GiB.
        assert model.params / 2 < need.p50 <= need.p95 < 3 * model.params + 20 * GIB, model.id


def test_families_lie_together_and_grow() -> None:
    models = catalogue.load()
    families = [family for family, _ in groupby(models, key=lambda model: model.family)]
    assert len(families) == len(set(families))
    for _, members in groupby(models, key=lambda model: model.family):
        sizes = [round(model.params_b, 2) for model in members]
        assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", ["someone/Fresh-7B-Instruct", "someone/fresh-7b-chat", "Fresh-7B"])
def test_a_hub_id_outside_the_catalogue_is_planned_by_the_size_in_its_name(name: str) -> None:
    assert catalogue.find(name) is None
    architecture = architecture_of(name)
    assert architecture.params == 7_000_000_000
    assert architecture.unsure
    assert architecture.spread > 0


def test_a_reuploaded_model_is_the_one_of_the_catalogue() -> None:
    assert architecture_of("unsloth/Meta-Llama-3.1-8B-Instruct").params == 8_030_261_248
    with pytest.raises(UserError, match="Nothing is known"):
        architecture_of("someone/mystery")
