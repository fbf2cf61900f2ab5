"""What ``finetui sweep`` makes of its options, and what it refuses before anything is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.cli.sweep import combine, require_room, split
from engine.config.draft import DEMO_RECIPE, Plan, prepare
from engine.config.loading import load
from engine.config.reporting import PACKAGES
from engine.errors import UserError
from engine.run import sweeps
from tests.machine.builders import CARD, machine

RECIPE = ("-c", str(DEMO_RECIPE))


def test_commas_within_brackets_and_quotes_do_not_part() -> None:
    assert split("8,16, 32") == ["8", "16", "32"]
    assert split("all-linear,[q_proj,v_proj]") == ["all-linear", "[q_proj,v_proj]"]
    assert split('"a,b",c') == ['"a,b"', "c"]
    assert split("8") == ["8"]
    assert split("") == [""]


def test_every_combination_is_one_run() -> None:
    combinations, swept = combine({"lora_r": "8,16", "learning_rate": "1e-4,2e-4", "max_steps": "5"})
    assert swept == ["lora_r", "learning_rate"]
    assert [(one["lora_r"], one["learning_rate"]) for one in combinations] == [
        ("8", "1e-4"),
        ("8", "2e-4"),
        ("16", "1e-4"),
        ("16", "2e-4"),
    ]
    assert {one["max_steps"] for one in combinations} == {"5"}


@pytest.mark.parametrize(
    "given", [{"lora_r": "8"}, {"lora_r": "8,8"}, {"seed": ",".join(map(str, range(70)))}]
)
def test_what_is_no_sweep(given: dict[str, str]) -> None:
    with pytest.raises(UserError):
        combine(given)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--lora_r", "8,many"), "lora_r"),
        (("--lora_rr", "8,16"), "command line"),
        (("--seed", "1,2", "--stop-losers"), "cannot be compared"),
        (("--lora_r", "8,16", "--name", "../x"), "run name"),
    ],
)
def test_nothing_is_made_of_a_wrong_one(
    options: tuple[str, ...], says: str, finetui_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *RECIPE, *options]) == 2
    assert says in capsys.readouterr().err
    assert not (finetui_home / "runs").exists()
    assert not (finetui_home / "sweeps").exists()


def test_a_dry_run_names_the_runs(finetui_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *RECIPE, "--lora_r", "8,16", "--name", "ranks", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "ranks-1  lora_r 8" in shown
    assert "ranks-2  lora_r 16" in shown
    assert not (finetui_home / "runs").exists()


def test_all_runs_need_room_together() -> None:
    plan = prepare(load(DEMO_RECIPE), machine(CARD), "ranks-1")
    assert plan.budget is not None
    sizes, (first, *others) = plan.budget.sizes, plan.budget.mounts
    needed = 2 * (sizes.checkpoints + sizes.result) - sizes.checkpoint

    def with_free(free: int) -> Plan:
        disk = replace(first.disk, free=free, total=1 << 40, free_reliable=True)
        assert plan.budget is not None
        return replace(plan, budget=replace(plan.budget, mounts=(replace(first, disk=disk), *others)))

    require_room([with_free(needed - 1)])
    require_room([with_free(needed)] * 2)
    with pytest.raises(UserError, match="all 2 runs together need"):
        require_room([with_free(needed - 1)] * 2)


def test_what_failed_is_gone_on_with_and_nothing_else() -> None:
    outcomes = ("finished", "failed", "loser", "died", "stopped", "")
    found = sweeps.Sweep(
        "ranks", tuple(sweeps.Entry(f"r-{n}", {}, outcome=how) for n, how in enumerate(outcomes))
    )
    assert [entry.outcome for entry in found.without_failures().entries] == [
        *("finished", "", "loser", "", "stopped", "")
    ]
    ended = replace(found, entries=found.entries[:-1])
    assert ended.words == "5 of 5 runs done, complete; 2 failed: try again with finetui sweep ranks --resume"


def test_an_unknown_sweep_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "nothing"]) == 2
    assert "There is no sweep" in capsys.readouterr().err


@pytest.mark.parametrize("name", PACKAGES)
def test_reporting_to_what_is_missing_is_refused(
    name: str, finetui_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.config.reporting.find_spec", lambda package: None)
    assert main(["train", *RECIPE, "--report_to", name, "--detach"]) == 2
    assert f"pip install {name}" in capsys.readouterr().err
    assert not list(finetui_home.glob("runs/*"))


@pytest.mark.parametrize("key", ["early_stopping_patience", "load_best_model_at_end"])
def test_measuring_needs_held_out_rows(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *RECIPE, f"--{key}", "1", "--eval_fraction", "0", "--dry-run"]) == 2
    assert "held-out rows" in capsys.readouterr().err


def test_a_sweep_without_a_name_gets_a_free_one(
    finetui_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sweep", *RECIPE, "--lora_r", "4,8", "--dry-run"]
    assert main(argv) == 0
    name = capsys.readouterr().out.split()[0].removesuffix("-1")
    sweeps.create(name)
    sweeps.write(sweeps.Sweep(name, ()))
    assert main(argv) == 0
    assert capsys.readouterr().out.split()[0] == f"{name}-2-1"
