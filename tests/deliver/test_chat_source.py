"""Which model of a run is meant, which settings an answer has, and where the models are held."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

from engine.config.draft import DEMO_MODEL, DEMO_RECIPE
from engine.config.loading import load
from engine.config.resolve import Facts, resolve
from engine.deliver.room import CardFullError, needed_bytes, place_for
from engine.deliver.sampling import Sampling, changed
from engine.deliver.source import choices, find_trained
from engine.deliver.talk import chosen
from engine.errors import UserError
from tests.deliver.chat_runs import made_run
from tests.machine.builders import CARD, GIB, HOST, machine


@pytest.mark.parametrize(
    ("which", "name", "words"),
    [
        (None, "result", "the result of owl"),
        ("result", "result", "the result of owl"),
        ("best", "checkpoint-24", "the best checkpoint of owl, of step 24"),
        ("48", "checkpoint-48", "the checkpoint of owl at step 48"),
        ("checkpoint-48", "checkpoint-48", "the checkpoint of owl at step 48"),
        ("base", "base", "the base model demo"),
    ],
)
def test_every_model_of_a_run_has_a_name(which: str | None, name: str, words: str) -> None:
    found = find_trained(made_run(), which)
    assert (found.name, found.words, found.is_base) == (name, words, which == "base")
    assert str(found.path).endswith(DEMO_MODEL if which == "base" else name.replace("result", "adapter"))


def test_without_a_result_the_newest_checkpoint_talks() -> None:
    run = made_run()
    shutil.rmtree(run.adapter)
    assert find_trained(run).name == "checkpoint-48"
    assert choices(run) == ["checkpoint-48", "checkpoint-24", "base"]
    shutil.rmtree(run.checkpoints)
    with pytest.raises(UserError, match="saved nothing yet"):
        find_trained(run)
    assert find_trained(run, "base").is_base


@pytest.mark.parametrize(
    ("which", "words"),
    [("77", "no checkpoint of step 77"), ("newest", "names no model"), ("../x", "names no model"), ("best", "marked")],
)  # fmt: skip
def test_what_is_not_there_is_said_with_what_is(which: str, words: str) -> None:
    run = made_run()
    (run.checkpoints / "best").unlink()
    with pytest.raises(UserError, match=words) as caught:
        find_trained(run, which)
    assert which == "newest" or which == "../x" or "checkpoint-24" in caught.value.fix


def test_a_damaged_result_is_said() -> None:
    run = made_run()
    (run.adapter / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"adapter_config.json is missing"):
        find_trained(run)


def test_two_sides_have_to_differ() -> None:
    run = made_run()
    with pytest.raises(UserError, match="Both sides are the same model"):
        chosen(run, ["24", "best"])
    assert [one.name for one in chosen(run, [None, "base"])] == ["result", "base"]


def test_what_objectives_do() -> None:
    assert find_trained(made_run("a", recipe="cpt-lora")).kind == "text"
    score = made_run("b", recipe="reward-lora")
    assert find_trained(score).kind == "score"
    with pytest.raises(UserError, match="gives no scores"):
        chosen(score, [None, "base"])


# Settings


def test_settings_are_taken_from_text() -> None:
    made = changed(Sampling(), {"temperature": "0.7", "top_k": 20, "seed": None, "max_new_tokens": "9"})
    assert made == Sampling(temperature=0.7, top_k=20, max_new_tokens=9)
    assert "temperature 0.7" in made.words()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", "hot"), ("temperature", -1), ("temperature", "nan"), ("temperature", "inf"), ("top_p", 0), ("top_p", 1.1),
        ("top_k", 1.5), ("top_k", True), ("repetition_penalty", 0), ("max_new_tokens", 0), ("seed", 2**32), ("temprature", 1),
        ("seed", [1]), ("max_new_tokens", "1" * 5000),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_in_words(key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        changed(Sampling(), {key: value})
    assert "takes" in caught.value.what or "no setting" in caught.value.what


# Memory


def config(**settings: str) -> Any:
    return resolve(load(DEMO_RECIPE, settings), Facts(num_rows=400)).config


def test_a_card_with_room_is_taken_and_told_to_the_worker() -> None:
    fuller = replace(CARD, index=1, uuid="GPU-2", memory_free=4 * GIB)
    place = place_for(config(), 1, "auto", machine(fuller, CARD))
    assert (place.device, place.env) == ("cuda", {"CUDA_VISIBLE_DEVICES": CARD.uuid})
    assert place_for(config(), 1, "cpu", machine(CARD)).env == {"CUDA_VISIBLE_DEVICES": ""}
    assert place_for(config(), 1, "auto", machine()).device == "cpu"


def test_a_card_that_trains_is_said_and_the_processor_offered() -> None:
    full = replace(CARD, memory_free=GIB // 10)
    with pytest.raises(CardFullError) as caught:
        place_for(config(), 1, "auto", machine(full), "night-run")
    assert "night-run is training" in caught.value.what
    assert "--device cpu" in caught.value.fix
    with pytest.raises(UserError) as short:
        place_for(config(), 1, "auto", machine(full, host=replace(HOST, ram_available=GIB // 10)))
    assert not isinstance(short.value, CardFullError)


def test_too_little_main_memory_is_said() -> None:
    with pytest.raises(UserError, match="not enough main memory"):
        place_for(config(), 1, "cpu", machine(host=replace(HOST, ram_available=GIB // 10)))
    with pytest.raises(UserError, match="no graphics card"):
        place_for(config(), 1, "cuda", machine())


def test_memory_grows_with_models_and_shrinks_with_bits() -> None:
    big = config(model_name_or_path="Qwen/Qwen3-8B", dtype="bfloat16")
    one, two = needed_bytes(big), needed_bytes(big, 2)
    four = needed_bytes(config(model_name_or_path="Qwen/Qwen3-8B", dtype="bfloat16", load_in_4bit="true"))
    assert one is not None
    assert two is not None
    assert four is not None
    assert 16 * GIB < one < 20 * GIB
    assert 1.9 * one < two + GIB
    assert 5 * GIB < four < 8 * GIB
    assert needed_bytes(config(model_name_or_path="someone/unheard-of")) is None
