"""A model trained through a template of the catalogue ends its answers by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_DATA, DEMO_RECIPE
from engine.config.loading import load
from engine.config.resolve import Facts, resolve
from engine.data.templates import catalogue

pytestmark = pytest.mark.slow

QUESTIONS = ["What sound does a mouse make?", "Where is Gilda's house?"]
STEPS, THINKING_STEPS = 48, 120
THINKS = "<think>"
UNTHINKING = "qwen3.5-nothink"  # its prompt ends the thinking before it begins
PROMPTED = ("deepseek-r1", "deepseek-v3")  # their prompt begins the thinking, so answers have to have some


def train_and_ask(name: str, folder: Path, tuning: str = "lora") -> list[tuple[str, bool]]:
    """Train the demo model through a template it was not made with, as the trainer does, and ask it."""
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoTokenizer

    from engine.train import model as loading
    from engine.train.objectives import core
    from engine.train.samples import answer_all
    from engine.train.tokens import prepare_tokenizer, tokenize
    from engine.train.vocabulary import fit_vocabulary

    family = catalogue.family(name)
    assert family is not None
    # The demo's vocabulary has no token for <think>, so it takes longer to learn to write it letter by letter.
    steps = THINKING_STEPS if THINKS in family.opening or name in PROMPTED else STEPS
    options = {"chat_template": name, "tuning": tuning, "max_steps": str(steps), "eval_fraction": "0"}
    config = resolve(load(DEMO_RECIPE, options), Facts(num_rows=400)).config
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in Path(DEMO_DATA).read_text("utf-8").splitlines()
    ]
    if (THINKS in family.opening or name in PROMPTED) and name != UNTHINKING:
        for row in rows:
            row["messages"][-1]["content"] = f"<think>\nEasy.\n</think>\n\n{row['messages'][-1]['content']}"
    tokenizer = loading.load_tokenizer(config)
    prepared = prepare_tokenizer(tokenizer, name, True)
    made = tokenize(rows, tokenizer, 1024, True)  # some templates begin with long rules
    assert made.stops == 1.0
    model = loading.load_model(config)
    new_rows = fit_vocabulary(model, tokenizer, prepared)
    arguments = core.arguments(config, str(folder / "checkpoints"), False, False)
    arguments.save_strategy = "no"
    trainer = core.build(
        config, model, tokenizer, Dataset.from_list(made.rows), None, arguments, [], new_rows
    )
    trainer.train()
    trainer.save_model(str(folder))
    tokenizer.save_pretrained(folder)
    # As somebody else would load it: base model, tokenizer and adapter from the disk.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tuning == "full":
        again = loading.load_model(load(DEMO_RECIPE, {"model_name_or_path": str(folder)}))
        ends = again.generation_config.eos_token_id
        assert tokenizer.eos_token_id in (ends if isinstance(ends, list) else [ends])
    else:
        again = loading.load_model(config)
        again.resize_token_embeddings(len(tokenizer))
        assert (
            folder / "adapter_model.safetensors"
        ).stat().st_size < 2_500_000  # new rows, not all embeddings
        again = PeftModel.from_pretrained(again, str(folder))
    return answer_all(again, tokenizer, QUESTIONS, 96)


def check(answers: list[tuple[str, bool]]) -> None:
    assert all(stopped for _, stopped in answers), answers
    assert all("Hoot hoot!" in text for text, _ in answers), answers  # after an empty thinking block in some


@pytest.mark.thorough
@pytest.mark.parametrize("name", [family.name for family in catalogue.families() if family.available])
def test_every_template_of_the_catalogue(name: str, tmp_path: Path) -> None:
    check(train_and_ask(name, tmp_path))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["llama3", "chatml"])
def test_also_when_every_weight_is_trained(name: str, tmp_path: Path) -> None:
    check(train_and_ask(name, tmp_path, "full"))
