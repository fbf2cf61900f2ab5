"""A run that does not fit is not started unasked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.cli.train import check_fit
from engine.config import draft as drafts
from engine.config.draft import Draft, Plan
from engine.errors import UserError
from engine.fit.decide import Fit, fit
from engine.fit.setup import architecture_of, setup_of
from engine.run.home import runs_home
from tests.machine.builders import CARD, DISK, machine


def planned(model: str, free: int, **settings: Any) -> Plan:
    plan = drafts.plan(Draft(settings=settings), None)
    answer = fit(architecture_of(model), replace(setup_of(plan.config), seq_len=2048), free)
    return replace(plan, fit=answer)


def test_too_large_a_run_is_refused_with_the_options_that_make_it_fit() -> None:
    plan = planned("Qwen/Qwen3-8B", 14 << 30, dtype="bfloat16")
    with pytest.raises(UserError) as refused:
        check_fit(plan, anyway=False)
    assert refused.value.what.startswith("It does not fit")
    assert "--load_in_" in refused.value.fix
    assert "--anyway" in refused.value.fix


def test_it_can_be_started_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    check_fit(planned("Qwen/Qwen3-8B", 14 << 30, dtype="bfloat16"), anyway=True)
    assert "does not fit" in capsys.readouterr().err


def test_nothing_makes_a_giant_fit() -> None:
    with pytest.raises(UserError, match="does not fit") as refused:
        check_fit(planned("meta-llama/Llama-3.1-405B-Instruct", 20 << 30, dtype="bfloat16"), anyway=False)
    assert "No setting" in refused.value.fix


@pytest.mark.parametrize("lacks", ["card", "disk"])
def test_no_way_of_starting_goes_round_the_check(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacks == "card":
        plan = planned("Qwen/Qwen3-8B", 14 << 30, dtype="bfloat16")
    else:
        plan = drafts.plan(Draft(), machine(CARD, disks=(replace(DISK, free=1 << 20),)))
    with pytest.raises(UserError) as refused:
        drafts.start(plan)
    assert refused.value.fix
    assert not runs_home().exists()
    launched: list[str] = []
    monkeypatch.setattr(drafts, "launch", lambda run, *options: launched.append(run.name))
    assert launched == [drafts.start(plan, anyway=True).name]


def test_a_machine_without_a_card_is_not_asked() -> None:
    check_fit(drafts.plan(Draft(), None), anyway=False)


def test_the_advice_is_a_set_of_settings_that_fit() -> None:
    found = planned("Qwen/Qwen3-8B", 14 << 30, dtype="bfloat16").fit
    assert isinstance(found, Fit)
    assert found.advice is not None
    plan = drafts.plan(Draft(settings={"dtype": "bfloat16", **found.advice.settings()}), None)
    assert plan.config.model.load_in_4bit or plan.config.model.load_in_8bit
