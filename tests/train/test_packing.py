"""Rows that share a line must not know of each other, and training must not depend on how they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.train.packing import StepCollator, divide, fill_lines, keeps_apart
from engine.train.tokens import IGNORED
from tests.train.laid_out import config_of, trainer_of

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(LENGTHS)
def test_lines_hold_every_row_once_and_none_is_too_long(lengths: list[int]) -> None:
    lines = fill_lines(lengths, max(lengths))
    assert sorted(index for line in lines for index in line) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in line) <= max(lengths) for line in lines)
    # Any two lines hold more than one line's worth together, so at most half of the place is empty.
    assert len(lines) <= 2 * sum(lengths) / max(lengths) + 1


@given(LENGTHS, st.integers(1, 400))
def test_parts_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    lines = fill_lines(lengths, max(lengths))
    parts = divide(lines, lengths, budget)
    assert sorted(index for part in parts for line in part for index in line) == list(range(len(lengths)))
    for part in parts:
        width = max(sum(lengths[index] for index in line) for line in part)
        assert width * len(part) <= budget or len(part) == 1


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trainer_of(config_of(tuning="full"), tmp_path_factory.mktemp("packing"))


def rows_of(trainer: Any, count: int = 16) -> list[dict[str, Any]]:
    return [trainer.train_dataset[index] for index in range(count)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("layout", ["lines", "flat"])
def test_each_row_has_the_logits_it_has_alone(trainer: Any, attention: str, layout: Any) -> None:
    model = trainer.model.eval()
    model.set_attn_implementation(attention)
    rows = rows_of(trainer)
    width = max(len(row["input_ids"]) for row in rows)
    (batch,) = StepCollator(3, layout, None)(rows)["parts"]
    assert batch["input_ids"].numel() < 0.75 * width * len(rows), "rows share lines"
    with torch.inference_mode():
        packed = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits
    starts = (batch["position_ids"] == 0).nonzero().tolist()
    seen = 0
    for row in rows:
        ids = torch.tensor(row["input_ids"])
        with torch.inference_mode():
            alone = model(input_ids=ids[None]).logits[0]
        for line, start in starts:
            there = batch["input_ids"][line, start : start + len(ids)]
            if torch.equal(there, ids):
                assert (packed[line, start : start + len(ids)] - alone).abs().max() < 1e-4
                learnt = batch["labels"][line, start : start + len(ids)].tolist()
                assert learnt[0] == IGNORED
                assert learnt[1:] == row["labels"][1:]
                seen += 1
    assert seen >= len(rows)
    model.set_attn_implementation("sdpa")


def gradients(trainer: Any, collator: StepCollator) -> tuple[float, torch.Tensor]:
    batch = collator(rows_of(trainer, 8))
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    count = trainer._get_num_items_in_batch([batch], "cpu")
    loss = trainer.training_step(trainer.model, batch, count)
    found = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    trainer.model.zero_grad()
    return float(loss), found


@pytest.fixture(scope="module")
def one_by_one(trainer: Any) -> tuple[float, torch.Tensor]:
    return gradients(trainer, StepCollator(3, "padded", 1))


@pytest.mark.parametrize(
    ("layout", "budget"), [("lines", None), ("lines", 400), ("flat", None), ("flat", 300), ("padded", 400)]
)
def test_a_step_has_the_same_loss_and_gradients_however_its_rows_lie(
    trainer: Any, one_by_one: tuple[float, torch.Tensor], layout: Any, budget: int | None
) -> None:
    loss, wanted = one_by_one
    packed_loss, packed = gradients(trainer, StepCollator(3, layout, budget))
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    assert (packed - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_the_trial_tells_who_keeps_rows_apart(trainer: Any) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    rows = rows_of(trainer, 3)
    assert keeps_apart(trainer.model, rows, 3, "lines")
    assert keeps_apart(trainer.model, rows, 3, "flat")
    settings = MambaConfig(vocab_size=1280, hidden_size=32, state_size=8, num_hidden_layers=2, expand=2)
    assert not keeps_apart(MambaForCausalLM(settings), rows, 3, "lines")


def test_a_run_packs_and_the_logits_of_a_batch_are_never_held(trainer: Any) -> None:
    assert trainer.collator.layout == "lines"
    assert "fewer tokens" in trainer.layout_words
    (batch,) = trainer.collator(rows_of(trainer, 8))["parts"]
    batch.pop("num_tokens")
    assert not hasattr(trainer.model(**batch, fused_lm_head=True), "logits")


def test_a_model_that_mixes_rows_is_trained_without_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.train import batching

    monkeypatch.setattr(batching, "keeps_apart", lambda *given: False)
    found = trainer_of(config_of(packing=True), tmp_path)
    assert found.collator.layout == "padded"
    assert found.group_by_length


def test_what_is_chosen_and_why() -> None:
    from dataclasses import replace

    from engine.config.draft import DEMO
    from engine.config.resolve_layout import choose_grouping, choose_packing
    from engine.fit.architecture import from_folder

    demo = from_folder(DEMO)
    assert choose_packing(demo, "sdpa", split=False).value
    hybrid = choose_packing(replace(demo, linear_attention_layers=3), "sdpa", split=False)
    assert not hybrid.value
    assert "3 layers" in hybrid.reason
    assert not choose_packing(demo, "sdpa", split=True).value
    assert choose_grouping(packing=False).value
    assert not choose_grouping(packing=True).value


def test_packing_is_refused_where_it_means_nothing() -> None:
    from pydantic import ValidationError

    from engine.config.schema import RunConfig

    given = {"model": {"model_name_or_path": "m"}, "data": {"train": ["d.jsonl"]}}
    with pytest.raises(ValidationError, match="packing is for sft and cpt"):
        RunConfig.model_validate(given | {"method": {"objective": "dpo"}, "training": {"packing": True}})
