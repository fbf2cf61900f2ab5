"""What is recommended follows from the prediction, fits, and says why in numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.advise.objectives import OBJECTIVES
from engine.config.loading import validate
from engine.config.resolve import Facts, Resolved, resolve
from engine.errors import UserError
from engine.fit.cards import Card, find_card, known_cards
from engine.fit.decide import fit
from engine.fit.recommend import Place
from engine.fit.setup import architecture_of, setup_of

MODELS = (
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "meta-llama/Llama-3.2-1B-Instruct",
    "Qwen/Qwen3-8B",
    "google/gemma-2-9b-it",
    "Qwen/Qwen2.5-32B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
)


def recommended(
    model: str,
    card: Card,
    free: int | None = None,
    cards: int = 1,
    rows: int = 5000,
    longest: int | None = 700,
    **sections: Any,
) -> tuple[Resolved, Place]:
    """A run with nothing said, completed for this card."""
    tree = {"model": {"model_name_or_path": model}, "data": {"train": "x.jsonl"}}
    for section, values in sections.items():
        tree.setdefault(section, {}).update(values)
    architecture = architecture_of(model)
    place = Place(architecture, free or card.usable, card, cards, longest)
    facts = Facts(
        num_rows=rows,
        params_b=architecture.params / 1e9,
        gpu_name=card.name,
        compute_capability=card.compute_capability,
        place=place,
        layers=architecture.layers,
    )
    return resolve(validate(tree, {}, "test", {}), facts), place


def card(name: str) -> Card:
    found = find_card(name)
    assert found is not None
    return found


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(known_cards()),
    st.sampled_from([None, 100, 700, 3000, 30_000]),
    st.floats(0.5, 1.0),
    st.sampled_from(sorted(OBJECTIVES)),
    st.sampled_from(["lora", "full", "freeze"]),
    st.sampled_from([60, 5000]),
    st.sampled_from([1, 4]),
)
def test_what_is_recommended_fits_or_nothing_smaller_does(
    model: str,
    on: Card,
    longest: int | None,
    share: float,
    objective: str,
    tuning: str,
    rows: int,
    cards: int,
) -> None:
    free = int(on.usable * share)
    sections: dict[str, Any] = {"method": {"objective": objective, "tuning": tuning}}
    if objective in ("grpo", "rloo"):
        sections["rewards"] = {"reward_funcs": ["numeric"]}
    try:
        resolved, place = recommended(model, on, free, cards, rows, longest, **sections)
    except UserError as error:
        assert "mixture of experts" in error.what
        return
    config = resolved.config
    setup = setup_of(config, longest)
    answer = fit(place.architecture, setup, free, on)
    assert setup.seq_len >= min(512, (longest or 512) + setup.answer_length)
    if answer.verdict != "fits":
        assert config.model.load_in_4bit or tuning != "lora"
        batch = config.training.per_device_train_batch_size or 0
        smallest = replace(
            setup,
            seq_len=min(setup.seq_len, 512),
            answer_length=min(setup.answer_length, 256),
            gradient_checkpointing=True,
            batch=setup.texts * (2 if objective == "kto" else 1),
            gradient_accumulation=setup.gradient_accumulation * batch,
            optimizer=setup.optimizer if tuning == "lora" else "paged_adamw_8bit",
        )
        assert fit(place.architecture, smallest, free, on).verdict != "fits"
    for key, choice in resolved.choices.items():
        assert choice.reason.endswith("."), key
        assert len(choice.reason) < 260, key


def test_lora_where_it_fits_and_4_bits_where_it_does_not() -> None:
    large, _ = recommended("Qwen/Qwen3-8B", card("RTX 4090"))
    assert (large.choices["tuning"].value, large.config.model.load_in_4bit) == ("lora", False)
    small, _ = recommended("Qwen/Qwen3-8B", card("T4"))
    assert (small.choices["tuning"].value, small.config.model.load_in_4bit) == ("qlora", True)
    assert "GiB are free" in small.choices["tuning"].reason


def test_a_card_without_bfloat16_trains_in_float16_with_a_warning() -> None:
    resolved, _ = recommended("meta-llama/Llama-3.2-1B-Instruct", card("T4"))
    assert resolved.config.model.dtype == "float16"
    assert "NaN" in resolved.choices["dtype"].reason


def test_the_length_follows_the_longest_row_as_far_as_memory_goes() -> None:
    assert recommended("Qwen/Qwen3-8B", card("RTX 4090"), longest=1500)[0].config.training.max_length == 2048
    assert recommended("Qwen/Qwen3-8B", card("RTX 4090"), longest=90)[0].config.training.max_length == 512
    cut, place = recommended("Qwen/Qwen3-8B", card("RTX 4090"), longest=200_000)
    assert 2048 <= (cut.config.training.max_length or 0) <= (place.architecture.max_length or 0)
    assert "cut off" in cut.choices["max_length"].reason


def test_checkpointing_is_off_where_there_is_room_for_it() -> None:
    assert recommended("Qwen/Qwen3-8B", card("H100"))[0].config.training.gradient_checkpointing is False
    assert recommended("Qwen/Qwen3-8B", card("RTX 4090"))[0].config.training.gradient_checkpointing is True


def test_full_fine_tuning_takes_8_bit_states_where_plain_ones_do_not_fit() -> None:
    full: dict[str, Any] = {"method": {"tuning": "full"}}
    assert recommended("meta-llama/Llama-3.2-1B-Instruct", card("RTX 4090"), **full)[
        0
    ].config.training.optim == ("adamw_torch_fused")
    model = "meta-llama/Llama-3.2-3B-Instruct"
    tight, _ = recommended(model, card("RTX 5090"), 27 << 30, **full)
    assert tight.config.training.optim == "adamw_8bit"
    assert "instead of" in tight.choices["optim"].reason
    # One text alone would fit on 24 GiB with them; while batches are added up, the gradients stay and it does not.
    tighter, place = recommended(model, card("RTX 4090"), **full)
    assert tighter.config.training.optim == "paged_adamw_8bit"
    assert fit(place.architecture, setup_of(tighter.config, 700), place.free, place.card).verdict == "fits"


def test_attention_is_what_the_architecture_can_do() -> None:
    assert (
        recommended("google/gemma-2-9b-it", card("A100 80GB"))[0].config.model.attn_implementation == "eager"
    )
    assert recommended("Qwen/Qwen3-8B", card("A100 80GB"))[0].config.model.attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("model", "tuning", "rows", "cards", "sharding"),
    [
        ("Qwen/Qwen3-8B", "lora", 5000, 4, "ddp"),
        ("Qwen/Qwen3-8B", "lora", 100, 1, "ddp"),
        ("Qwen/Qwen2.5-32B-Instruct", "full", 100, 4, "fsdp"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "lora", 5000, 4, "fsdp"),
    ],
)
def test_several_cards_share_the_rows_or_the_model(
    model: str, tuning: str, rows: int, cards: int, sharding: str
) -> None:
    resolved, _ = recommended(model, card("A100 80GB"), cards=4, rows=rows, method={"tuning": tuning})
    training = resolved.config.training
    assert (training.num_processes, training.sharding) == (cards, sharding)


def test_what_the_user_said_is_kept_and_the_rest_is_chosen_around_it() -> None:
    resolved, _ = recommended(
        "Qwen/Qwen3-8B",
        card("RTX 4090"),
        training={"per_device_train_batch_size": 2, "gradient_checkpointing": False, "max_length": 4096},
    )
    training = resolved.config.training
    assert (training.per_device_train_batch_size, training.gradient_checkpointing) == (2, False)
    assert training.max_length == 4096
    assert resolved.config.model.load_in_4bit, "without checkpointing 4,096 tokens need the model in 4 bits"
    assert "load_in_4bit" in resolved.choices
