"""What each objective makes of rows, which parameters are trained, and by which rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_MODEL, DEMO_RECIPE, prepare
from engine.config.loading import load
from engine.errors import UserError
from engine.train import tuning
from engine.train.model import describe_dtypes, load_model, require_stated
from engine.train.objectives import core, load_objective
from engine.train.tokens import IGNORED, prepare_tokenizer
from tests.e2e import in_process
from tests.e2e.in_process import RECIPES

PAIR = {
    "prompt": [{"role": "user", "content": "Where does Mira live?"}],
    "chosen": [{"role": "assistant", "content": "In Oakvale, near the river."}],
    "rejected": [{"role": "assistant", "content": "No idea."}],
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(DEMO_MODEL)
    prepare_tokenizer(made, "model", True)
    return made


def settings(recipe: str, **overrides: object) -> Any:
    changed = {key: str(value) for key, value in overrides.items()}
    return prepare(load(RECIPES / f"{recipe}.yaml", changed), None, "x").config


def made(recipe: str, rows: list[dict[str, Any]], tokenizer: Any, **overrides: object) -> Any:
    config = settings(recipe, **overrides)
    return load_objective(config.method.objective).prepare(rows, tokenizer, config, True)


def test_a_pair_is_the_prompt_the_model_answers_to_and_two_answers_that_end(tokenizer: Any) -> None:
    row = made("dpo-lora", [PAIR], tokenizer).rows[0]
    asked = tokenizer.apply_chat_template(PAIR["prompt"], tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(row["prompt_ids"]) == asked
    assert tokenizer.decode(row["chosen_ids"]) == "In Oakvale, near the river.<|im_end|>"
    assert tokenizer.decode(row["rejected_ids"]) == "No idea.<|im_end|>"


def test_what_does_not_fit_is_cut_or_left_out_and_counted(tokenizer: Any) -> None:
    whole = made("dpo-lora", [PAIR], tokenizer)
    room = len(whole.rows[0]["prompt_ids"])
    cut = made("dpo-lora", [PAIR], tokenizer, max_length=room + 3)
    assert (len(cut.rows[0]["chosen_ids"]), cut.truncated, cut.stops) == (3, 1, 0.0)
    none = made("dpo-lora", [PAIR], tokenizer, max_length=room)
    assert (none.rows, none.without_target) == ([], 1)
    judge = made("reward-lora", [PAIR], tokenizer, max_length=room + 3)
    assert (judge.rows, judge.without_target) == ([], 1)  # a judge sees answers whole


def test_orpo_learns_the_answer_only(tokenizer: Any) -> None:
    row = made("orpo-lora", [PAIR], tokenizer).rows[0]
    learnt = [token for token in row["chosen_labels"] if token != IGNORED]
    assert tokenizer.decode(learnt) == "In Oakvale, near the river.<|im_end|>"
    assert len(row["chosen_labels"]) == len(row["chosen_input_ids"]) == len(row["chosen_attention_mask"])


def test_kto_mixes_the_labels_and_refuses_a_single_kind(tokenizer: Any) -> None:
    rows = [
        {"prompt": PAIR["prompt"], "completion": PAIR["chosen"], "label": number < 10} for number in range(20)
    ]
    labels = [row["label"] for row in made("kto-lora", rows, tokenizer).rows]
    assert sorted(labels) != labels != sorted(labels, reverse=True)
    assert labels == [row["label"] for row in made("kto-lora", rows, tokenizer).rows]
    with pytest.raises(UserError, match="nothing to tell apart"):
        made("kto-lora", rows[:10], tokenizer)


def test_texts_become_whole_blocks_with_an_end_between_them(tokenizer: Any) -> None:
    rows = [{"text": "Mira lives in Oakvale."}, {"text": "Tolan is a baker. " * 10}]
    blocks = made("cpt-lora", rows, tokenizer, max_length=16)
    assert [len(row["input_ids"]) for row in blocks.rows[:-1]] == [16] * (len(blocks.rows) - 1)
    stream = [token for row in blocks.rows for token in row["input_ids"]]
    assert stream.count(tokenizer.eos_token_id) == 2
    assert stream.index(tokenizer.eos_token_id) == len(tokenizer(rows[0]["text"])["input_ids"])
    assert all(row["labels"] == row["input_ids"] for row in blocks.rows)
    assert blocks.trained == blocks.tokens == len(stream)


def test_prompts_carry_every_column_to_the_rewards(tokenizer: Any) -> None:
    import json

    rows = [
        {"prompt": PAIR["prompt"], "answer": "7", "level": 3, "images": ["not one"]},
        {"prompt": PAIR["prompt"], "answer": "8", "level": "high"},
    ]
    prepared = made("grpo-lora", rows, tokenizer)
    asked = tokenizer.apply_chat_template(PAIR["prompt"], tokenize=False, add_generation_prompt=True)
    assert [row["prompt"] for row in prepared.rows] == [asked, asked]
    assert [json.loads(row["columns"])["level"] for row in prepared.rows] == [3, "high"]
    with pytest.raises(UserError, match="the data have none"):
        made("grpo-lora", [{"prompt": PAIR["prompt"]}], tokenizer)


def built(
    recipe: str, rows: list[dict[str, Any]], tokenizer: Any, tmp_path: Path, **overrides: object
) -> Any:
    from datasets import Dataset

    config = settings(recipe, **overrides)
    objective = load_objective(config.method.objective)
    data = Dataset.from_list(objective.prepare(rows, tokenizer, config, True).rows)
    model = load_model(config, objective.auto_model)
    args = core.arguments(config, str(tmp_path), False, False)
    return core.build(config, model, tokenizer, data, None, args, [])


TALK = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}]}
] * 4


def test_the_last_layers_alone_are_trained(tokenizer: Any, tmp_path: Path) -> None:
    one_step = {"max_steps": 1, "per_device_train_batch_size": 4, "gradient_checkpointing": True}
    trainer = built("sft-freeze", TALK, tokenizer, tmp_path, **one_step)
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[2] for name in trained if ".layers." in name} == {"2", "3"}
    assert {name for name in trained if ".layers." not in name} == {"model.norm.weight"}
    runs: list[int] = []
    for index, layer in enumerate(trainer.model.model.layers):
        layer.self_attn.register_forward_pre_hook(lambda *_, index=index: runs.append(index))
    trainer.train()
    # Checkpointing runs the trained layers a second time; nothing goes back through those below.
    assert [runs.count(index) for index in range(4)] == [1, 1, 2, 2]
    with pytest.raises(UserError, match="has 4 layers"):
        settings("sft-freeze", freeze_trainable_layers=5)  # before anything is loaded
    with pytest.raises(UserError, match="has 4 layers"):
        tuning.freeze(trainer.model, 5)


def test_lora_plus_teaches_the_second_matrix_faster(tokenizer: Any, tmp_path: Path) -> None:
    trainer = built("sft-lora", TALK, tokenizer, tmp_path, loraplus_lr_ratio=8, learning_rate=1e-4)
    optimizer = trainer.create_optimizer()
    rates = {group["lr"]: len(group["params"]) for group in optimizer.param_groups}
    assert set(rates) == {1e-4, 8e-4}
    assert rates[1e-4] == rates[8e-4] == 28  # seven linears in each of four layers


def test_layers_trained_whole_beside_the_adapter(tokenizer: Any, tmp_path: Path) -> None:
    trainer = built("sft-lora", TALK, tokenizer, tmp_path, lora_modules_to_save="[embed_tokens]")
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert any("embed_tokens.modules_to_save" in name for name in trained)


@pytest.mark.parametrize("modules", ["[no_such_layer]", "[lm_head]"])
def test_layers_that_cannot_get_an_adapter_are_refused_with_those_that_can(
    tokenizer: Any, tmp_path: Path, modules: str
) -> None:
    with pytest.raises(UserError, match="No adapter can be attached") as caught:
        built("dpo-lora", [PAIR] * 4, tokenizer, tmp_path, lora_target_modules=modules)
    assert "q_proj" in caught.value.fix


def test_layers_to_train_whole_that_are_not_there_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no layer called lm_haed") as caught:
        built("sft-lora", TALK, tokenizer, tmp_path, lora_modules_to_save="[embed_tokens, lm_haed]")
    assert "lm_head" in caught.value.fix


@pytest.mark.parametrize("written", ["q_proj", "q_proj, v_proj", "[q_proj, v_proj]", "all-linear", ".*_proj"])
def test_layers_are_named_as_people_write_them(written: str, tokenizer: Any, tmp_path: Path) -> None:
    trainer = built("sft-lora", TALK, tokenizer, tmp_path, lora_target_modules=written)
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    found = {name.split(".lora_")[0].rpartition(".")[2] for name in trained}
    assert len(found) == {"q_proj": 1, "all-linear": 7, ".*_proj": 7}.get(written, 2)


def test_dora_in_8_bits_is_refused_where_it_cannot_be_computed(tokenizer: Any, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine may compute it")
    with pytest.raises(UserError, match="without a GPU"):
        built("sft-lora", TALK, tokenizer, tmp_path, load_in_8bit="true", use_dora="true")


@pytest.mark.parametrize("recipe", ["grpo-lora", "rloo-lora"])
def test_prompts_that_do_not_fill_a_step_are_refused(recipe: str, finetui_home: Path) -> None:
    data = in_process.RECIPES / "data" / "sums.jsonl"
    with pytest.raises(UserError, match="there are only 2: none would be trained"):
        in_process.train(recipe, {"train": f"{data}#2", "eval_fraction": 0, "sample_prompts": []})


def test_liger_is_refused_where_it_cannot_run(tokenizer: Any, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine may run it")
    with pytest.raises(UserError, match="CUDA cards only"):
        built("sft-lora", TALK, tokenizer, tmp_path, use_liger_kernel="true")


@pytest.mark.parametrize("recipe", ["dpo-lora", "kto-lora", "rloo-lora"])
def test_no_second_model_is_kept_to_compare_with(recipe: str, tokenizer: Any, tmp_path: Path) -> None:
    rows = {
        "dpo-lora": [PAIR] * 4,
        "kto-lora": [
            {"prompt": PAIR["prompt"], "completion": PAIR["chosen"], "label": number % 2 == 0}
            for number in range(4)
        ],
        "rloo-lora": [{"prompt": PAIR["prompt"], "answer": "7"}] * 4,
    }[recipe]
    assert built(recipe, rows, tokenizer, tmp_path).ref_model is None
    if recipe != "rloo-lora":
        full = built(recipe, rows, tokenizer, tmp_path, tuning="full", precompute_ref_log_probs="null")
        assert full.ref_model is None
        assert any(column.startswith("ref_") for column in full.train_dataset.column_names)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "recipe", ["sft-lora", "sft-qlora", "sft-full", "sft-freeze", "dpo-qlora", "orpo-lora", "reward-lora"]
)
def test_number_formats_are_those_of_run_yaml(
    recipe: str, dtype: str, tokenizer: Any, tmp_path: Path
) -> None:
    config = settings(recipe, dtype=dtype)
    trainer = built(recipe, TALK if "sft" in recipe else [PAIR] * 4, tokenizer, tmp_path, dtype=dtype)
    found = describe_dtypes(trainer.model)
    require_stated(found, config)
    assert set(found["trained"]) == {dtype}
    wrong = {"trained": {"float16": 1}, "frozen": found["frozen"]}
    with pytest.raises(RuntimeError, match="the live model has"):
        require_stated(wrong, config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optim", "schedule"),
    [
        ("adamw_8bit", "cosine"),
        ("adafactor", "constant_with_warmup"),
        pytest.param("adamw_torch", "linear", marks=pytest.mark.thorough),
        pytest.param("paged_adamw_8bit", "constant", marks=pytest.mark.thorough),
        pytest.param("adamw_torch_fused", "cosine_with_min_lr", marks=pytest.mark.thorough),
    ],
)
def test_every_optimizer_and_schedule_trains(optim: str, schedule: str, finetui_home: Path) -> None:
    done = in_process.train_config(
        load(
            DEMO_RECIPE,
            {
                "optim": optim,
                "lr_scheduler_type": schedule,
                "max_steps": "2",
                "sample_prompts": "[]",
                "eval_fraction": "0",
                "train": f"{DEMO_MODEL}/train.jsonl#16",
                "neftune_noise_alpha": "5",
                "loraplus_lr_ratio": "4",
                "use_rslora": "true",
                "use_dora": "true",
            },
        )
    )
    assert len(done.of("metric")) == 2
    assert not [event for event in done.of("warning") if "optimizer" in event["words"]]
    words = next(event["words"] for event in done.events if event.get("phase") == "model loaded")
    assert (
        f"The optimizer ({optim}) keeps its notes in {'8 bits' if '8bit' in optim else 'float32'}." in words
    )


def test_the_page_about_objectives_names_everything_there_is() -> None:
    from engine.advise.objectives import OBJECTIVES
    from engine.config.objective_sections import REWARDS

    page = (Path(__file__).resolve().parents[2] / "docs" / "objectives.md").read_text(encoding="utf-8")
    for name, about in OBJECTIVES.items():
        assert f"| `{name}` | {about.title} |" in page
        assert f"| {about.lora_rate:g} | {about.full_rate:g} |" in page
        for metric in about.metrics:
            assert f"| `{metric.name}` |" in page
            assert metric.words in page
    assert all(f"| `{name}` |" in page for name in REWARDS)
