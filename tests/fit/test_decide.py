"""Does it fit, what makes it fit, how long may texts be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.config.loading import load
from engine.fit.cards import find_card
from engine.fit.decide import METHODS, explain, largest_batch, longest_that_fits, make_fit, need, verdict
from engine.fit.predict import predict
from engine.fit.setup import architecture_of, setup_of
from engine.fit.types import TrainSetup

GIB = 2**30
LLAMA = architecture_of("meta-llama/Llama-3.1-8B-Instruct")
CARD = find_card("RTX 4090")


def setup(method: str = "LoRA 16-bit", **changes: object) -> TrainSetup:
    return replace(TrainSetup(batch=1, seq_len=2048, eval_batch=1, **METHODS[method]), **changes)  # type: ignore[arg-type]


def test_the_verdict_follows_the_interval() -> None:
    prediction = predict(LLAMA, setup(), card=CARD)
    assert prediction.smi.p50 <= prediction.smi.p95
    assert verdict(prediction, prediction.smi.p95) == "fits"
    assert verdict(prediction, prediction.smi.p50 - 1) == "no"
    if prediction.smi.p50 < prediction.smi.p95:
        assert verdict(prediction, prediction.smi.p95 - 1) == "tight"


def test_the_sentence_has_the_numbers() -> None:
    words = explain(predict(LLAMA, setup(), card=CARD), 24 * GIB)
    assert words.startswith("It fits")
    assert "24.0 GiB free" in words
    assert "largest part" in words


def test_a_run_that_fits_is_left_alone() -> None:
    advice = make_fit(LLAMA, setup("QLoRA 4-bit"), 24 * GIB, CARD)
    assert advice.changes == ()
    assert advice.prediction is not None


@pytest.mark.parametrize("free", [10, 16, 24, 40])
def test_what_is_advised_really_fits_and_nothing_in_it_is_needless(free: int) -> None:
    wish = setup("full", batch=8, eval_batch=8, gradient_checkpointing=False)
    advice = make_fit(LLAMA, wish, free * GIB, CARD)
    assert advice.prediction is not None
    assert verdict(advice.prediction, free * GIB) == "fits"
    assert advice.setup.seq_len == wish.seq_len
    assert advice.setup.batch * advice.setup.gradient_accumulation == wish.batch


def test_quality_is_given_up_last() -> None:
    advice = make_fit(LLAMA, setup("LoRA 16-bit", batch=16, eval_batch=16), 24 * GIB, CARD)
    assert {change.key for change in advice.changes} <= {
        "gradient_checkpointing",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
    }


def test_a_model_that_is_bigger_than_the_card_is_never_said_to_fit() -> None:
    giant = architecture_of("meta-llama/Llama-3.1-405B-Instruct")
    advice = make_fit(giant, setup("full"), 24 * GIB, CARD)
    assert advice.prediction is None
    assert longest_that_fits(giant, setup("QLoRA 4-bit"), 24 * GIB, CARD) == 0


def test_the_longest_text_fits_and_the_next_does_not() -> None:
    found = longest_that_fits(LLAMA, setup("QLoRA 4-bit"), 12 * GIB, CARD)
    fits = need(LLAMA, setup("QLoRA 4-bit", seq_len=found), 12 * GIB, CARD)
    beyond = need(LLAMA, setup("QLoRA 4-bit", seq_len=found + 256), 12 * GIB, CARD)
    assert verdict(fits, 12 * GIB) == "fits"
    assert verdict(beyond, 12 * GIB) != "fits"


def test_the_largest_batch_has_a_reason() -> None:
    choice = largest_batch(LLAMA, lambda rows: setup("QLoRA 4-bit", batch=rows), 24 * GIB, CARD)
    assert choice.value in (1, 2, 4, 8, 16)
    assert "GiB" in choice.reason


def test_a_run_yaml_becomes_a_setup() -> None:
    config = load(DEMO_RECIPE, {"load_in_4bit": "true", "max_length": "128"})
    made = setup_of(config, longest_row=40)
    assert (made.tuning, made.quantization, made.seq_len, made.batch) == ("lora", "nf4", 40, 8)
    assert made.eval_batch == 8
    assert made.gradient_checkpointing is False
    assert architecture_of(config.model.model_name_or_path).layers == 4


@pytest.mark.parametrize("method", METHODS)
def test_the_guides_table_is_a_minimum_that_the_prediction_respects(method: str) -> None:
    """At batch 1 and short texts a prediction below the table's minimum would be too good to be true; far above, too bad."""
    from engine.advise.fits import needed_gb

    name = {"QLoRA 4-bit": "qlora_4bit", "LoRA 16-bit": "lora_16bit"}.get(method)
    if name is None:
        pytest.skip("the table does not speak of this method")
    need = needed_gb(8.0, name)  # type: ignore[arg-type]
    assert need is not None
    predicted = predict(LLAMA, setup(method, seq_len=512), card=CARD).smi.p95 / 1e9
    assert 0.7 * need.gb < predicted < 1.4 * need.gb
