"""A run for another tool: every key is one the tool has, and nothing is left out silently."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.draft import DEMO, DEMO_RECIPE
from engine.config.loading import load
from engine.config.others import llamafactory
from engine.config.others.material import gather
from engine.config.others.table import Written, relevant_keys, values_of
from engine.config.others.writing import TOOLS, Converted, convert, reasons_in
from engine.config.resolve import Facts, resolve
from engine.config.schema import RunConfig
from engine.errors import UserError

KNOWN = json.loads(Path(__file__).with_name("keys.json").read_text("utf-8"))
RECIPES = {path.stem: path for path in sorted((DEMO.parent / "recipes").glob("*.yaml"))}
REFUSED = {
    ("trl", "orpo-lora"), ("llamafactory", "grpo-lora"), ("llamafactory", "grpo-qlora"), ("llamafactory", "rloo-lora"),
    ("axolotl", "rloo-lora"), ("unsloth", "reward-lora"),
}  # fmt: skip


def complete(path: Path, **flags: Any) -> RunConfig:
    config = load(path, {key: str(value) for key, value in flags.items()})
    return resolve(config, Facts(num_rows=400)).config


def made(path: Path, tool: str, out: Path, **flags: Any) -> tuple[Converted, dict[str, Any]]:
    done = convert(complete(path, **flags), {}, tool, out)
    name = TOOLS[tool].FILE
    return done, {} if name.endswith(".py") else yaml.safe_load((out / name).read_text("utf-8"))


def rows(out: Path, name: str = "train") -> list[dict[str, Any]]:
    text = (out / "data" / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def fits(value: Any, kinds: str) -> bool:
    kind = type(value).__name__
    return (
        "any" in kinds
        or kind in kinds.split()
        or (kind == "int" and "float" in kinds)
        or (kind == "bool" and "bool" in kinds)
    )


def check(values: dict[str, Any], known: dict[str, list[str]]) -> None:
    kinds = {key: kind for kind, names in known.items() for key in names}
    for key, value in values.items():
        assert key in kinds, key
        assert fits(value, kinds[key]), (key, value, kinds[key])


@pytest.mark.parametrize("tool", ["llamafactory", "axolotl"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_key_is_one_the_tool_has(tool: str, recipe: str, tmp_path: Path) -> None:
    if (tool, recipe) in REFUSED:
        with pytest.raises(UserError) as told:
            made(RECIPES[recipe], tool, tmp_path / "out")
        assert "--to" in told.value.fix
        assert not (tmp_path / "out").exists()
        return
    _, values = made(RECIPES[recipe], tool, tmp_path / "out")
    known = KNOWN[tool]
    if tool == "llamafactory":
        check(values, known["keys"])
        assert values["template"] in known["templates"] if "template" in values else True
        about = json.loads((tmp_path / "out/data/dataset_info.json").read_text("utf-8"))
        assert {values["dataset"], values["eval_dataset"]} == set(about)
        assert all((tmp_path / "out/data" / entry["file_name"]).is_file() for entry in about.values())
    else:
        check(values, known["config"])
        check(values.get("trl", {}), known["trl"])
        kind = {"dpo": "dpo", "kto": "kto"}.get(values.get("rl", ""), "sft")
        for source in values["datasets"] + values["test_datasets"]:
            check(source, known[kind])
            assert (tmp_path / "out" / source["path"]).is_file()


def test_every_family_of_templates_is_one_llama_factory_has() -> None:
    assert set(llamafactory.TEMPLATES.values()) <= set(KNOWN["llamafactory"]["templates"])


@pytest.mark.parametrize("recipe", [name for name in RECIPES if ("trl", name) not in REFUSED])
def test_trl_parses_it(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    out = tmp_path / "out"
    done, _ = made(RECIPES[recipe], "trl", out)
    command = done.command.split()[1]
    parser = importlib.import_module(f"trl.scripts.{command}").make_parser()
    monkeypatch.chdir(out)
    script, arguments, model, _, unknown = parser.parse_args_and_config(
        ["--config", "trl.yaml", "--use_cpu"], return_remaining_strings=True
    )
    config = complete(RECIPES[recipe])
    assert unknown == []
    assert arguments.per_device_train_batch_size == config.training.per_device_train_batch_size
    assert arguments.learning_rate == config.training.learning_rate
    assert arguments.warmup_steps == config.training.warmup_ratio
    assert (model.lora_r, model.load_in_4bit) == (config.lora.lora_r, bool(config.model.load_in_4bit))
    assert model.use_peft == (config.method.tuning == "lora")
    assert Path(script.dataset_name).is_dir()


def test_nothing_is_left_out_silently(tmp_path: Path) -> None:
    config = complete(
        DEMO_RECIPE, use_liger_kernel=True, neftune_noise_alpha=5, loraplus_lr_ratio=4, num_processes=2, sharding="fsdp",
        early_stopping_patience=3, group_by_length=True, packing=False, lr_scheduler_type="cosine_with_min_lr", report_to="wandb",
    )  # fmt: skip
    for tool, module in TOOLS.items():
        job = Written(config, gather(config), {})
        module.write(job)
        module.data(job)
        job.remaining(module.TITLE)
        assert relevant_keys(config) <= job.covered
        said = " ".join(job.notes)
        for key in ("sample_prompts", "heal", "probe", "on_nan"):
            assert key in said, (tool, key)
        written = {**job.values, "said": said}
        for key in ("loraplus_lr_ratio", "early_stopping", "neftune_noise_alpha", "liger", "cosine"):
            assert key in str(written), (tool, key)


def test_the_rows_are_those_finetui_trains_on(tmp_path: Path) -> None:
    config = complete(DEMO_RECIPE)
    material = gather(config)
    before = Path(config.data.train[0].path).read_bytes()
    for tool in TOOLS:
        out = tmp_path / tool
        convert(config, {}, tool, out)
        assert len(rows(out)) == len(material.train)
        assert len(rows(out, "eval" if tool == "llamafactory" else "test")) == len(material.evaluation)
    assert Path(config.data.train[0].path).read_bytes() == before
    answers = [row["messages"][-1]["content"] for row in material.train]
    assert [row["completion"][0]["content"] for row in rows(tmp_path / "trl")] == answers
    assert [row["conversations"][-1]["value"] for row in rows(tmp_path / "llamafactory")] == answers
    assert [row["messages"][-1]["content"] for row in rows(tmp_path / "axolotl")] == answers


def test_calls_of_tools_and_several_answers(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "sun", "tool_call_id": "1"},
        {"role": "assistant", "content": "Sunny."},
    ]
    data = tmp_path / "tools.jsonl"
    tools = [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    ]
    data.write_text((json.dumps({"messages": turns, "tools": tools}) + "\n") * 2)
    _, values = made(DEMO_RECIPE, "trl", tmp_path / "trl", train=data, eval_fraction=0.5)
    assert values["assistant_only_loss"] is True
    made(DEMO_RECIPE, "llamafactory", tmp_path / "lf", train=data, eval_fraction=0.5)
    row = rows(tmp_path / "lf")[0]
    assert [turn["from"] for turn in row["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(row["conversations"][1]["value"]) == [{"name": "look", "arguments": {"at": "sky"}}]
    assert (row["system"], json.loads(row["tools"])) == ("Be kind.", tools)
    made(DEMO_RECIPE, "axolotl", tmp_path / "axolotl", train=data, eval_fraction=0.5)
    row = rows(tmp_path / "axolotl")[0]
    assert json.loads(row["messages"][2]["tool_calls"][0]["function"]["arguments"]) == {"at": "sky"}
    assert json.loads(rows(tmp_path / "trl")[0]["tools"]) == json.loads(row["tools"]) == tools
    made(DEMO_RECIPE, "unsloth", tmp_path / "unsloth", train=data, eval_fraction=0.5)
    assert (
        json.loads(rows(tmp_path / "unsloth")[0]["messages"])[2]["tool_calls"][0]["function"]
        == call["function"]
    )
    assert 'json.loads(row["messages"])' in (tmp_path / "unsloth/train.py").read_text("utf-8")
    ast.parse((tmp_path / "unsloth/train.py").read_text("utf-8"))


@pytest.mark.parametrize("tool", ["trl", "axolotl"])
def test_rewards_score_as_in_finetui(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "mine.py"
    own.write_text(
        "def shout(completions, answer, **columns):\n    return [float(text.isupper()) for text in completions]\n"
    )
    made(RECIPES["grpo-lora"], tool, tmp_path / "out", reward_funcs="[numeric, json, length, tags, shout]", reward_weights="[1,1,1,1,1]",
         reward_file=own)  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path / "out"))
    space: dict[str, Any] = {}
    exec((tmp_path / "out/rewards.py").read_text("utf-8"), space)
    row = rows(tmp_path / "out")[0]
    right = json.loads(row["columns"])["answer"]
    answers = [
        [{"role": "assistant", "content": f"It is {right}."}],
        [{"role": "assistant", "content": "[1, 2]"}],
    ]
    given = {
        "prompts": [row["prompt"]] * 2,
        "completions": answers,
        "columns": [row["columns"]] * 2,
        "trainer_state": None,
    }
    assert space["reward_numeric"](**given) == [1.0, float(right == "2")]
    assert space["reward_json"](**given) == [0.0, 1.0]
    assert space["reward_length"](**given) == [1.0, 1.0]
    assert space["reward_shout"](**given) == [0.0, 0.0]


HOSTILE = 'a: "b" # c\n- evil\'); import os  # \x1b[31m\u2028{% x %}'


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "here": # no'
    folder.mkdir()
    data = folder / "d'a\"ta.jsonl"
    words = [
        {
            "messages": [
                {"role": "user", "content": HOSTILE},
                {"role": "assistant", "content": HOSTILE + str(n)},
            ]
        }
        for n in range(4)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in words))
    model = folder / "model"
    model.symlink_to(DEMO)
    config = complete(
        DEMO_RECIPE, model_name_or_path=model, train=f"{data}", sample_prompts=json.dumps([HOSTILE])
    )
    reasons = {"learning_rate": HOSTILE, "lora_r": HOSTILE}
    for tool, key in (
        ("trl", "model_name_or_path"),
        ("llamafactory", "model_name_or_path"),
        ("axolotl", "base_model"),
    ):
        convert(config, reasons, tool, tmp_path / tool)
        values = yaml.safe_load((tmp_path / tool / TOOLS[tool].FILE).read_text("utf-8"))
        assert (values[key], values["learning_rate"]) == (str(model), config.training.learning_rate)
        assert "evil" not in values
    assert rows(tmp_path / "trl")[0]["prompt"][0]["content"] == HOSTILE
    convert(config, reasons, "unsloth", tmp_path / "unsloth")
    tree = ast.parse((tmp_path / "unsloth/train.py").read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"torch"}
    assert str(model) in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("recipe", [name for name in RECIPES if ("unsloth", name) not in REFUSED])
def test_the_unsloth_script(recipe: str, tmp_path: Path) -> None:
    import dataclasses

    import trl
    from trl.experimental.orpo import ORPOConfig

    made(RECIPES[recipe], "unsloth", tmp_path / "out")
    tree = ast.parse((tmp_path / "out/train.py").read_text("utf-8"))
    calls = {
        ast.unparse(node.func): [k.arg for k in node.keywords]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    allowed = KNOWN["unsloth"]
    assert set(calls["FastLanguageModel.from_pretrained"]) <= set(allowed["from_pretrained"])
    assert set(calls.get("FastLanguageModel.get_peft_model", [])) <= set(allowed["get_peft_model"])
    name = next(name for name in calls if name.endswith("Config"))
    fields = {
        field.name for field in dataclasses.fields(ORPOConfig if name == "ORPOConfig" else getattr(trl, name))
    }
    assert set(calls[name]) <= fields


def test_a_foreign_template_goes_along(tmp_path: Path) -> None:
    done, values = made(DEMO_RECIPE, "trl", tmp_path / "trl", chat_template="vicuna")
    assert (tmp_path / "trl/chat_template.jinja").read_text("utf-8")
    assert values["chat_template_path"] == "./chat_template.jinja"
    _, values = made(DEMO_RECIPE, "axolotl", tmp_path / "axolotl", chat_template="vicuna")
    assert (values["chat_template"], values["chat_template_jinja"]) == ("jinja", "./chat_template.jinja")
    done, values = made(RECIPES["dpo-lora"], "trl", tmp_path / "dpo", chat_template="vicuna")
    assert "chat_template_path" not in values
    assert any("template" in note for note in done.notes)


def test_several_cards(tmp_path: Path) -> None:
    for tool, words in (
        ("trl", "--num_processes 2"),
        ("llamafactory", "NPROC_PER_NODE=2"),
        ("axolotl", "--num-processes 2"),
    ):
        done, _ = made(DEMO_RECIPE, tool, tmp_path / tool, num_processes=2)
        assert words in done.command
    made(DEMO_RECIPE, "unsloth", tmp_path / "unsloth", num_processes=2, gradient_accumulation_steps=3)
    assert "gradient_accumulation_steps=6" in (tmp_path / "unsloth/train.py").read_text("utf-8")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="there already"):
        made(DEMO_RECIPE, "trl", out)
    assert list(out.iterdir()) == []


def test_reasons_are_read_from_the_comments() -> None:
    text = 'training:\n  seed: 1  # one # two\n  max_length: 128\ndata:\n  train: ["a # b"]  # c\n'
    assert reasons_in(text) == {"seed": "one # two", "train": "c"}
    assert reasons_in(": [") == {}
    assert {"seed", "train"} <= set(values_of(load(DEMO_RECIPE)))


def test_kto_of_axolotl_is_text_the_template_has_written(tmp_path: Path) -> None:
    _, values = made(RECIPES["kto-lora"], "axolotl", tmp_path / "out")
    assert "type" not in values["datasets"][0]
    row = rows(tmp_path / "out")[0]
    assert row["prompt"].endswith("<|im_start|>assistant\n")
    assert row["completion"].rstrip().endswith("<|im_end|>")
    assert {bool(row["label"]) for row in rows(tmp_path / "out")[:20]} == {True, False}


def test_words_of_the_list_read_as_sentences(tmp_path: Path) -> None:
    done, _ = made(DEMO_RECIPE, "trl", tmp_path / "out", packing=True)
    text = (tmp_path / "out/trl.yaml").read_text("utf-8")
    for note in done.notes:
        assert note.endswith((".", ")"))
        assert note in text
    assert done.command in text
    assert done.install in text
