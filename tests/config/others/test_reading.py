"""Another tool's file as a run.yaml: every key is taken, or listed with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.cli import main as cli
from engine.config.draft import DEMO, DEMO_DATA, DEMO_MODEL, DEMO_RECIPE
from engine.config.loading import load
from engine.config.others.back import Taken, read_foreign
from engine.config.others.table import values_of
from engine.config.others.writing import TOOLS, convert
from engine.config.resolve import Facts, resolve
from engine.errors import UserError

RECIPES = {path.stem: path for path in sorted((DEMO.parent / "recipes").glob("*.yaml"))}


def read(tmp_path: Path, tree: dict[str, Any], **given: Any) -> Taken:
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return read_foreign(path, **given)


@pytest.mark.parametrize("tool", ["trl", "llamafactory", "axolotl"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_there_and_back(tool: str, recipe: str, tmp_path: Path) -> None:
    config = resolve(load(RECIPES[recipe]), Facts(num_rows=400)).config
    try:
        convert(config, {}, tool, tmp_path / "out")
    except UserError:
        pytest.skip(f"{tool} does not know the objective of {recipe}")
    file = tmp_path / "out" / TOOLS[tool].FILE
    objective = "cpt" if recipe.startswith("cpt") else "rloo" if recipe.startswith("rloo") else None
    taken = read_foreign(file, objective=objective)
    assert taken.format == tool
    before, after = values_of(config), values_of(taken.config)
    wanted = {
        "model_name_or_path", "objective", "load_in_4bit", "per_device_train_batch_size", "gradient_accumulation_steps",
        "learning_rate", "num_train_epochs", "lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm", "seed",
        "gradient_checkpointing", "eval_steps", "save_steps", "beta", "num_generations", "desirable_weight",
    }  # fmt: skip
    if config.method.tuning == "lora":
        wanted |= {"tuning", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "use_rslora"}
    if config.method.objective not in ("grpo", "rloo"):
        wanted |= {"max_length"}
    for key in wanted:
        assert after[key] == before[key], key
    theirs = yaml.safe_load(file.read_text("utf-8"))
    told = " ".join([*taken.notes, *taken.origin.values()])
    pairs = {"use_peft", "eval_strategy", "finetuning_type", "quantization_bit", "bf16", "fp16", "report_to", "dataset_dir",
             "eval_dataset", "train_on_prompt", "pref_loss", "adapter", "lora_target_linear", "rl", "trl", "reward_model",
             "bnb_config_kwargs", "lora_task_type", "assistant_only_loss", "packing", "train_on_inputs", "sample_packing",
             "attn_implementation", "stage"}  # fmt: skip
    for key, value in theirs.items():
        assert key in told or key in pairs or value is None, key


def test_llama_factory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text(
        json.dumps(
            {"mine": {"file_name": "m.json", "columns": {"prompt": "Frage", "response": "Antwort"}, "odd": 1}}
        )
    )
    (tmp_path / "data/m.json").write_text("[]")
    taken = read(tmp_path, {
        "model_name_or_path": DEMO_MODEL, "stage": "dpo", "pref_loss": "simpo", "finetuning_type": "lora", "lora_rank": 4,
        "dataset": "mine", "cutoff_len": 99, "lr_scheduler_type": "polynomial", "quantization_bit": 8, "val_size": 0.1,
        "warmup_steps": 20, "simpo_gamma": 0.5, "disable_gradient_checkpointing": True, "flash_attn": "fa2",
    })  # fmt: skip
    config, said = taken.config, " ".join(taken.notes)
    assert (config.method.objective, config.lora.lora_r, config.lora.lora_alpha) == ("dpo", 4, 8)
    assert (config.training.max_length, config.model.load_in_8bit, config.data.eval_fraction) == (
        99,
        True,
        0.1,
    )
    assert config.training.gradient_checkpointing is False
    assert config.model.attn_implementation == "flash_attention_2"
    assert config.data.train[0].path == str(tmp_path / "data/m.json")
    assert config.data.train[0].mapping == {"prompt": "Frage", "completion": "Antwort"}
    for key in ("pref_loss", "polynomial", "warmup_steps", "simpo_gamma", "odd"):
        assert key in said


def test_axolotl(tmp_path: Path) -> None:
    taken = read(tmp_path, {
        "base_model": DEMO_MODEL, "adapter": "qlora", "load_in_4bit": True, "micro_batch_size": 2, "sequence_len": 256,
        "datasets": [{"path": "org/name", "type": {"field_instruction": "q", "field_output": "a", "format": "x"}, "shards": 3}],
        "lora_target_linear": True, "lr_scheduler": "cosine", "cosine_min_lr_ratio": 0.2, "optimizer": "adamw_bnb_8bit",
        "val_set_size": 0.1, "flash_attention": True, "bf16": "auto", "plugins": ["axolotl.integrations.liger.LigerPlugin", "x.Y"],
        "sample_packing": True, "trl": None,
    })  # fmt: skip
    config, said = taken.config, " ".join(taken.notes)
    assert config.model.load_in_4bit
    assert config.lora.lora_target_modules == "all-linear"
    assert (config.training.lr_scheduler_type, config.training.optim) == ("cosine_with_min_lr", "adamw_8bit")
    assert config.training.use_liger_kernel
    assert config.data.train[0].path == "org/name"
    assert config.data.train[0].mapping == {"prompt": "q", "completion": "a"}
    for key in ("datasets.type.format", "shards", "cosine_min_lr_ratio", "bf16", "x.Y", "sample_packing"):
        assert key in said


def test_trl_defaults_are_taken_too(tmp_path: Path) -> None:
    taken = read(
        tmp_path,
        {"model_name_or_path": DEMO_MODEL, "dataset_name": DEMO_DATA, "use_peft": True, "weird": {"a": 1}},
    )
    config = taken.config
    assert (config.lora.lora_dropout, config.training.max_length, config.training.learning_rate) == (
        0.05,
        1024,
        2e-5,
    )
    assert config.model.load_in_4bit is False
    assert any(note.startswith("weird: {a: 1} is left out") for note in taken.notes)
    text = taken.yaml()
    assert "# - weird" in text
    again = tmp_path / "run.yaml"
    again.write_text(text, "utf-8")
    assert load(again).lora == config.lora
    rewarded = read(
        tmp_path,
        {"model_name_or_path": DEMO_MODEL, "dataset_name": DEMO_DATA, "reward_funcs": ["accuracy_reward"]},
    )
    assert rewarded.config.method.objective == "grpo"
    assert rewarded.config.rewards.reward_funcs is None
    assert any("accuracy_reward" in note for note in rewarded.notes)


@pytest.mark.parametrize(
    "text",
    ["", "- 1", "a: [", "just: this", "stage: sft\nbase_model: x\n", "stage: sft\nfinetuning_type: lora\n", "lora_rank: {a: [1]}\n",
     "base_model: [1]\nmicro_batch_size: x\ndatasets: 7\n", "model_name_or_path: x\nuse_peft: 1\ndatasets: [1, {path: 2}]\n",
     "stage: [sft]\ncutoff_len: x\ndataset: {a: 1}\nlora_rank: x\n", "base_model: x\nadapter: lora\nplugins: 3\ntrl: 4\nrl: {}\n"],
)  # fmt: skip
def test_broken_files_are_told_in_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        read_foreign(path)


def test_a_run_yaml_is_not_for_another_tool() -> None:
    with pytest.raises(UserError, match=r"run\.yaml already"):
        read_foreign(DEMO_RECIPE)


def finetui(*words: str) -> int:
    return cli.main(["convert", *words])


def test_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.VERBS, "convert", "go on with another tool")
    out = tmp_path / "there"
    assert finetui("-c", str(DEMO_RECIPE), "--to", "llamafactory", "--out", str(out)) == 0
    told = capsys.readouterr().out
    assert "llamafactory-cli train llamafactory.yaml" in told
    assert "Going on with a smaller batch" in told
    assert finetui("-c", str(DEMO_RECIPE), "--to", "llamafactory", "--out", str(out)) == 2
    assert finetui("--from", str(out / "llamafactory.yaml"), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["format"] == "llamafactory"
    assert finetui("--from", str(out / "llamafactory.yaml"), "--out", str(tmp_path / "back.yaml")) == 0
    assert load(tmp_path / "back.yaml").lora.lora_r == load(DEMO_RECIPE).lora.lora_r
    assert finetui("--from", str(out / "llamafactory.yaml"), "--to", "trl") == 2
    assert finetui("--to", "trl", "--data", "x") == 2
    assert finetui("--from", str(tmp_path / "none.yaml")) == 2


def test_a_run_with_its_reasons(
    tmp_path: Path, finetui_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.config.draft import Draft, plan
    from engine.run.layout import create

    monkeypatch.setitem(cli.VERBS, "convert", "go on with another tool")
    monkeypatch.chdir(tmp_path)
    made = plan(Draft(), None)
    create("first").config.write_text(made.yaml, "utf-8")
    assert finetui("first", "--to", "trl", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == str(tmp_path / "first-trl")
    text = (tmp_path / "first-trl/trl.yaml").read_text("utf-8")
    assert made.choices["optim"].reason in text
