"""Every objective moves its own measure on rows it has not seen, by what is stated here."""

from __future__ import annotations

from typing import Any

import pytest

from engine.advise.objectives import OBJECTIVES
from tests.e2e import in_process, runs
from tests.e2e.in_process import Done

pytestmark = pytest.mark.slow

FAST = {"learning_rate": 3e-3}
BY_DEFAULT = ("dpo-lora",)  # every recipe takes two steps in tests/config/test_recipes.py
SHORT: dict[str, dict[str, Any]] = {
    "cpt-lora": {"max_steps": 6, "eval_steps": 6, **FAST},
    "dpo-lora": {
        "max_steps": 8,
        "eval_steps": 8,
        **FAST,
        "sample_prompts": '["What sound does a mouse make?"]',
    },
    "kto-lora": {"max_steps": 8, "eval_steps": 8, **FAST, "sample_prompts": "[]"},
    "orpo-lora": {"max_steps": 10, "eval_steps": 10, **FAST, "sample_prompts": "[]"},
    "reward-lora": {"max_steps": 8, "eval_steps": 8},
    "grpo-lora": {"max_steps": 2, "eval_steps": 2, "eval_fraction": 0.05},
    "rloo-lora": {"max_steps": 2, "eval_steps": 2, "eval_fraction": 0.05, "sample_prompts": "[]"},
}


def check(done: Done, objective: str, long: bool) -> None:
    """The measure of the objective moved by the stated amount; a short run of rewards only has to measure it."""
    losses = done.measured("eval_loss")
    if objective in ("sft", "cpt"):
        assert losses[-1] < 0.8 * losses[0]
        assert done.measured("perplexity")[-1] < done.measured("perplexity")[0]
    if objective in ("dpo", "kto"):
        assert losses[-1] < 0.6 * losses[0]
        assert done.measured("eval_rewards/margins")[-1] > 0.5
    if objective in ("dpo", "orpo"):
        accuracies = done.measured("eval_rewards/accuracies")
        assert accuracies[0] == 0.0
        assert accuracies[-1] >= (0.9 if objective == "dpo" or long else 0.0)
    if objective == "orpo":
        assert losses[-1] < 0.7 * losses[0]
        assert done.measured("eval_log_odds_chosen")[-1] > done.measured("eval_log_odds_chosen")[0] + 5
    if objective == "reward":
        assert done.measured("eval_accuracy")[-1] >= 0.95
        assert done.measured("eval_margin")[-1] > done.measured("eval_margin")[0] + 1
    if objective in ("grpo", "rloo"):
        rewards = done.measured("eval_reward")
        assert rewards[-1] > 0
        if long:
            assert rewards[-1] >= rewards[0] + 0.1
    points = done.of("metric")
    shown = {metric.name for metric in OBJECTIVES[done.config.method.objective].metrics}
    expected = shown - (set() if done.config.method.beta else {"kl"})  # with beta 0 nothing is compared
    assert expected <= {key for point in points for key in point}
    assert not [event for event in done.of("warning") if "optimizer" in event["words"]]


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(recipe, marks=[] if recipe in BY_DEFAULT else [pytest.mark.thorough]) for recipe in SHORT],
)
def test_a_short_run_moves_its_measure(recipe: str) -> None:
    done = in_process.train(recipe, SHORT[recipe], recipe)
    check(done, recipe.split("-")[0], long=False)
    assert done.of("finished")[-1]["measure"]
    samples = [sample for sample in done.of("sample") if sample["when"] != "during"]
    if recipe == "dpo-lora":
        assert samples[0]["text"] == "A mouse says squeak."
        assert samples[-1]["text"].startswith("A mouse says squeak. (sound: squeak)")
    if recipe == "reward-lora":
        assert [sample["when"] for sample in samples][:3] == ["before"] * 3
        assert [sample["when"] for sample in samples][-3:] == ["after"] * 3
        assert "better answer" in samples[-1]["text"]
    if recipe in ("grpo-lora", "rloo-lora"):
        assert any("rewards/numeric/mean" in point for point in done.of("metric"))


WAYS: dict[str, dict[str, Any]] = {
    "lora": {"tuning": "lora"},
    "qlora": {"tuning": "lora", "load_in_4bit": True},
    "full": {"tuning": "full", "learning_rate": 3e-4},
}
LONG: dict[str, dict[str, Any]] = {
    "sft": {"max_steps": 40},
    "cpt": {"max_steps": 20},
    "dpo": {"max_steps": 16},
    "kto": {"max_steps": 20},
    "orpo": {"max_steps": 40},
    "reward": {"max_steps": 16},
    "grpo": {
        "max_steps": 24,
        "per_device_train_batch_size": 64,
        "reward_funcs": "[numeric]",
        "eval_fraction": 0.25,
    },
    "rloo": {"max_steps": 40, "per_device_train_batch_size": 64, "eval_fraction": 0.25},
}


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("objective", LONG)
def test_every_objective_with_every_tuning(objective: str, way: str) -> None:
    settings = {"sample_prompts": "[]", **LONG[objective], **WAYS[way]}
    settings["eval_steps"] = settings["max_steps"]
    if objective == "grpo":
        settings["reward_weights"] = "null"
        if way == "full":
            settings["learning_rate"] = 5e-5  # at the rate of imitation the model unlearns what it gets right
    if way == "full" and objective in ("dpo", "kto"):
        settings["precompute_ref_log_probs"] = True  # no second model
    if way == "full" and objective == "rloo":
        settings["beta"] = 0  # no second model either
    done = in_process.train(f"{objective}-lora", settings, f"{objective}-{way}")
    check(done, objective, long=True)
    dtypes = next(event["dtypes"] for event in done.events if "dtypes" in event)
    assert set(dtypes["trained"]) == {"float32"}
    assert ("uint8" in dtypes["frozen"]) == (way == "qlora")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "recipe", ["dpo-lora", "kto-lora", "orpo-lora", "reward-lora", "grpo-lora", "rloo-lora", "cpt-lora"]
)
def test_sigterm_then_resume_gives_the_same_result(recipe: str) -> None:
    options = ("--max_steps", "12", "--save_steps", "4", "--eval_steps", "6", "--sample_prompts", "[]")
    path = in_process.RECIPES / f"{recipe}.yaml"
    whole = runs.start("whole", *options, config=path)
    assert runs.wait_for_end(whole)["state"] == "finished", whole.log.read_text()[-3000:]
    cut = runs.start("cut", *options, config=path)
    runs.wait_for_step(cut, 6)
    runs.kill(cut, "trainer", 15)
    assert runs.wait_for_end(cut)["state"] == "stopped", cut.log.read_text()[-3000:]
    assert runs.finetui("resume", "cut").returncode == 0
    assert runs.losses(cut) == runs.losses(whole)
    name = "adapter/adapter_model.safetensors"
    assert (cut.path / name).read_bytes() == (whole.path / name).read_bytes()
