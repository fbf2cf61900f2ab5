"""The catalogue: complete, consistent, quick."""

from __future__ import annotations

from engine.models import catalogue
from engine.models.naming import read_name


def test_every_entry_is_consistent() -> None:
    models = catalogue.load()
    assert len({model.id.lower() for model in models}) == len(models) >= 60
    for model in models:
        assert model.id.count("/") == 1
        assert 1e7 < model.params < 1e12
        assert model.active_params is None or model.active_params < model.params
        assert model.gated in (True, False, None)
        assert model.template is None or model.template
        assert model.licence
        assert model.context
        if model.base:
            assert model.tuned


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
