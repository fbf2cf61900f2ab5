"""Every recipe is what its script writes, makes TRL's configuration, and trains."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from engine.advise.objectives import OBJECTIVES
from engine.cli.train import example
from engine.config.draft import prepare
from engine.config.loading import load, parse, validate
from scripts.recipes import FOLDER, RECIPES, help_of, recipe, render
from tests.e2e import in_process


def test_the_files_are_what_the_script_writes() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RECIPES), "run: python -m scripts.recipes"
    for name in RECIPES:
        assert (FOLDER / f"{name}.yaml").read_text(encoding="utf-8") == render(name), name


def test_every_key_is_commented_with_its_help_and_every_objective_has_a_recipe() -> None:
    assert {name.split("-")[0] for name in RECIPES} == set(OBJECTIVES)
    for name in RECIPES:
        words = " ".join((FOLDER / f"{name}.yaml").read_text().replace("#", " ").split())
        for section, values in recipe(name).items():
            for key in values:
                assert " ".join(help_of(section, key).replace("#", " ").split()) in words, f"{name}: {key}"


@pytest.mark.parametrize("name", ["demo", *RECIPES])
def test_a_printed_example_runs_wherever_it_is_saved(name: str, tmp_path: Path) -> None:
    saved = tmp_path / "run.yaml"
    saved.write_text(example(name), encoding="utf-8")
    config = load(saved)
    assert all(Path(spec.path).is_file() for spec in config.data.train_specs())
    assert (Path(config.model.model_name_or_path) / "config.json").is_file()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_the_configuration_class_of_trl(name: str, tmp_path: Path) -> None:
    """An upgrade that renames or drops a key fails here: TRL's dataclasses refuse keys they do not know."""
    from engine.train.objectives import core, load_objective

    plan = prepare(load(FOLDER / f"{name}.yaml"), None, name)
    tree, lines = parse(plan.yaml, name)
    assert validate(tree, {}, name, lines) == plan.config
    for has_eval in (True, False):
        made = core.arguments(plan.config, str(tmp_path), has_eval, resuming=False)
        objective = load_objective(plan.config.method.objective)
        assert type(made) is objective.config_class
        known = {field.name for field in fields(made)}
        for key, value in objective.own(plan.config).items():
            assert key in known
            if key not in ("loss_type",):  # dpo makes a list of it
                assert getattr(made, key) == value
        assert made.learning_rate == plan.config.training.learning_rate
        assert made.metric_for_best_model == (objective.about.best_by if has_eval else None)
    if plan.config.method.loss_type is not None:
        assert plan.config.method.loss_type in made.loss_type


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_two_steps(name: str, finetui_home: Path) -> None:
    rows = in_process.RECIPES / load(FOLDER / f"{name}.yaml").data.train[0].path
    done = in_process.train(
        name,
        {
            "train": f"{rows}#16",
            "eval_fraction": 0,
            "max_steps": 2,
            "save_steps": 2,
            "sample_prompts": [],
            "per_device_train_batch_size": 8,
        },
        name,
    )
    points = done.of("metric")
    assert [point["step"] for point in points] == [1, 2]
    assert all(isinstance(point["loss"], float) for point in points)
    assert done.of("finished")[-1]["outcome"] == "completed"
    assert (done.run.adapter if done.config.method.tuning == "lora" else done.run.model).is_dir()
    assert not [event for event in done.of("warning") if "optimizer" in event["words"]]
