"""run.yaml in and out, what finetui fills in, and the wizard's draft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.advise.choose_objective import Seen
from engine.advise.objectives import OBJECTIVES, OWN_SETTINGS, choose_rate
from engine.config import draft as drafts
from engine.config.draft import DEMO_DATA, DEMO_MODEL, DEMO_RECIPE, Draft
from engine.config.loading import load, parse, validate
from engine.config.resolve import Facts, choose_dtype, resolve
from engine.config.schema import SECTIONS, RunConfig, keys
from engine.config.writing import scalar, to_yaml
from engine.display import printable
from engine.errors import UserError

BASE: dict[str, dict[str, Any]] = {
    "model": {"model_name_or_path": "org/model"},
    "data": {"train": ["x.jsonl"]},
}


def config(**sections: dict[str, object]) -> RunConfig:
    return validate({**BASE, **sections}, {}, "test", {})


def test_no_key_occurs_in_two_sections() -> None:
    assert len(keys()) == sum(len(model.model_fields) for model in SECTIONS.values())


def test_every_setting_has_help() -> None:
    for section, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            assert len(field.description or "") > 15, f"{section}.{key}"


@pytest.mark.parametrize(
    ("capability", "name", "dtype"),
    [
        ((8, 9), "RTX 4090", "bfloat16"),
        ((8, 0), "A100", "bfloat16"),
        ((7, 5), "T4", "float16"),
        (None, None, "float32"),
    ],
)
def test_precision_follows_the_card(capability: tuple[int, int] | None, name: str | None, dtype: str) -> None:
    choice = choose_dtype(Facts(gpu_name=name, compute_capability=capability))
    assert choice.value == dtype
    assert choice.reason


WITHOUT = (
    "eval", "mapping", "format", "loraplus_lr_ratio", "neftune_noise_alpha", "reward_weights", "reward_file",
    "reward_pattern", "sample_steps",
)  # fmt: skip
"""Settings that mean something by being left out."""


def left_open(resolved: RunConfig) -> list[str]:
    """Settings that nobody has decided, of those the run has."""
    own = OBJECTIVES[resolved.method.objective].settings
    return [
        key
        for section in SECTIONS
        for key, value in getattr(resolved, section).model_dump().items()
        if value is None
        and key not in WITHOUT
        and (key not in OWN_SETTINGS or key in own)
        and (key != "freeze_trainable_layers" or resolved.method.tuning == "freeze")
        and (key != "loss_type" or resolved.method.objective not in ("sft", "cpt"))
    ]


@pytest.mark.parametrize("tuning", ["lora", "full", "freeze"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_filled_in(objective: str, tuning: str) -> None:
    seen = Seen(("sft",), "pairs", "numbers", 0.2)
    resolved = resolve(
        config(method={"objective": objective, "tuning": tuning}), Facts(num_rows=1000, layers=32, seen=seen)
    )
    assert not left_open(resolved.config)
    assert all(resolved.reasons.values())
    tree, lines = parse(to_yaml(resolved.config, resolved.reasons), "written")
    assert validate(tree, {}, "written", lines) == resolved.config
    rates = {
        kind: choose_rate(resolved.config.method.objective, kind, None).value for kind in ("lora", "full")
    }
    assert rates["lora"] > rates["full"]
    assert resolved.config.training.learning_rate == rates["lora" if tuning == "lora" else "full"]
    if tuning == "freeze":
        assert resolved.config.method.freeze_trainable_layers == 8
    if objective == "kto":
        assert resolved.config.preference.desirable_weight == 4.0
        assert resolved.config.preference.undesirable_weight == 1.0
    if objective in ("dpo", "kto"):
        assert resolved.config.preference.precompute_ref_log_probs == (tuning != "lora")
    if objective in ("grpo", "rloo"):
        made = resolved.config.generation.num_generations or 0
        training = resolved.config.training
        a_step = (training.per_device_train_batch_size or 0) * (training.gradient_accumulation_steps or 0)
        assert a_step % made == 0
        assert resolved.config.rewards.reward_funcs == ["numeric"]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"method": {"objective": "dpo", "loss_type": "nll"}}, "has the losses sigmoid"),
        ({"generation": {"num_generations": 4}}, "is for grpo and rloo"),
        ({"method": {"objective": "grpo"}, "rewards": {"reward_funcs": ["regex"]}}, "reward_pattern"),
        ({"method": {"objective": "grpo"}, "rewards": {"reward_weights": [1]}}, "one number for each"),
        (
            {"method": {"objective": "kto"}, "training": {"per_device_train_batch_size": 1}},
            "choose 2 or more",
        ),
        (
            {
                "method": {"objective": "rloo"},
                "generation": {"num_generations": 4},
                "training": {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
            },
            "no multiple",
        ),
        ({"method": {"tuning": "freeze"}, "model": {**BASE["model"], "load_in_4bit": True}}, "quantized"),
        ({"method": {"tuning": "full"}, "lora": {"loraplus_lr_ratio": 4}}, "for adapters"),
        ({"method": {"objective": "dpo"}, "preference": {"label_smoothing": 0.1}}, "robust"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(
    sections: dict[str, dict[str, object]], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        config(**sections)


def test_a_run_that_learns_by_rewards_says_what_a_good_answer_is() -> None:
    with pytest.raises(UserError, match="what a good answer is"):
        resolve(config(method={"objective": "grpo"}), Facts(seen=Seen(("sft",), "pairs", "long", None)))


def test_everything_open_is_filled_in_with_a_reason() -> None:
    resolved = resolve(
        config(), Facts(num_rows=1000, params_b=8.0, gpu_name="RTX 4090", compute_capability=(8, 9))
    )
    assert not left_open(resolved.config)
    assert set(resolved.reasons) >= {
        "dtype",
        "learning_rate",
        "per_device_train_batch_size",
        "num_train_epochs",
    }
    assert resolved.config.training.learning_rate == 2e-4
    assert resolved.config.training.gradient_checkpointing is True


def test_what_the_user_set_is_never_changed() -> None:
    mine = config(
        training={"learning_rate": 0.5, "per_device_train_batch_size": 3},
        model={**BASE["model"], "dtype": "float16"},
    )
    resolved = resolve(mine, Facts(num_rows=10))
    assert resolved.config.training.learning_rate == 0.5
    assert resolved.config.training.per_device_train_batch_size == 3
    assert resolved.config.model.dtype == "float16"
    assert not {"learning_rate", "dtype", "per_device_train_batch_size"} & set(resolved.reasons)


def test_full_fine_tuning_takes_a_smaller_learning_rate_than_lora() -> None:
    full = resolve(config(method={"tuning": "full"}), Facts(num_rows=1000)).config.training.learning_rate
    lora = resolve(config(), Facts(num_rows=1000)).config.training.learning_rate
    assert full == 2e-5
    assert lora == 2e-4


def test_paths_are_relative_to_the_file_and_hub_ids_stay(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {model_name_or_path: org/model}\ndata: {train: [a.jsonl], eval: b.jsonl}\n")
    loaded = load(path)
    assert loaded.model.model_name_or_path == "org/model"
    assert loaded.data.train[0].path == str(tmp_path / "a.jsonl")
    assert loaded.data.eval is not None
    assert loaded.data.eval[0].path == str(tmp_path / "b.jsonl")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_survives_writing_and_reading(text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        return
    written = f"key: {scalar({text: [text]})}"
    assert yaml.safe_load(written) == {"key": {text: [text]}}
    assert printable(written, len(written)) == written, "it is shown in terminals, too"


@settings(max_examples=200, deadline=None)
@given(st.floats(min_value=1e-12, max_value=1.0))
def test_floats_are_read_as_floats(value: float) -> None:
    read = yaml.safe_load(f"key: {scalar(value)}")["key"]
    assert isinstance(read, float | int)
    assert read == pytest.approx(value)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["model", "data", "train", "training", "lora_r", "x"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_any_tree_is_accepted_or_refused_in_words(tree: object) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        parsed, lines = parse(text, "fuzz.yaml")
        validate(parsed, {}, "fuzz.yaml", lines)
    except UserError as error:
        assert error.what
        assert error.where
        assert error.fix


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "run.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError):
        load(path)


def test_a_yaml_bomb_is_refused_or_read_quickly(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("a: " + "[" * 3000)
    with pytest.raises(UserError):
        load(path)


def test_the_draft_survives_and_ignores_what_it_does_not_know(finetui_home: Path) -> None:
    assert drafts.load_draft().is_demo
    drafts.save_draft(Draft(step="model", data_path="/x.jsonl", settings={"lora_r": 8}))
    again = drafts.load_draft()
    assert (again.step, again.data_path, again.settings) == ("model", "/x.jsonl", {"lora_r": 8})
    (finetui_home / "draft.json").write_text('{"step": 7, "tuning": "magic", "unknown": 1}')
    assert drafts.load_draft() == Draft()
    (finetui_home / "draft.json").write_text("{broken")
    assert drafts.load_draft() == Draft()


@pytest.mark.parametrize("tuning", [None, "lora", "qlora", "lora8", "full", "freeze"])
def test_the_demo_draft_becomes_a_complete_run(tuning: str | None) -> None:
    plan = drafts.plan(Draft(tuning=tuning), None)
    assert plan.name == "demo"
    assert plan.config.model.model_name_or_path == DEMO_MODEL
    assert plan.config.data.train[0].path == DEMO_DATA
    assert plan.config.model.load_in_4bit == (tuning == "qlora")
    assert plan.config.model.load_in_8bit == (tuning == "lora8")
    tree, lines = parse(plan.yaml, "plan")
    assert validate(tree, {}, "plan", lines) == plan.config


def test_settings_given_by_hand_win() -> None:
    plan = drafts.plan(
        Draft(settings={"learning_rate": "1e-5", "max_steps": 7, "lora_target_modules": "[q_proj]"}), None
    )
    assert plan.config.training.learning_rate == 1e-5
    assert plan.config.training.max_steps == 7
    assert plan.config.lora.lora_target_modules == ["q_proj"]


def test_the_chosen_card_is_the_one_the_trainer_sees(fake_nvml) -> None:  # type: ignore[no-untyped-def]
    machine = fake_nvml.machine("h100_x8")
    one = drafts.plan(Draft(gpu=3), machine)
    assert one.env == {"CUDA_VISIBLE_DEVICES": machine.gpus[3].uuid}
    two = drafts.plan(Draft(gpu=3, settings={"num_processes": 2}), machine)
    assert len(two.env["CUDA_VISIBLE_DEVICES"].split(",")) == 2
    assert DEMO_RECIPE.exists()
