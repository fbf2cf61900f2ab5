"""A dataset nobody tuned for: questions and answers from the standard library's docstrings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.draft import DEMO_MODEL
from tests.e2e import docstrings
from tests.e2e.runs import events, finetui, run_dir

pytestmark = pytest.mark.slow

WAYS = {
    "lora": ("--tuning", "lora", "--learning_rate", "1e-3"),
    "qlora": ("--tuning", "lora", "--load_in_4bit", "true", "--learning_rate", "1e-3"),
    "lora8": ("--tuning", "lora", "--load_in_8bit", "true", "--learning_rate", "1e-3"),
    "full": ("--tuning", "full", "--learning_rate", "2e-4"),
}
LOAD_PLAINLY = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = PeftModel.from_pretrained(base, sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
ids = tokenizer.apply_chat_template([{"role": "user", "content": "What is the Python module json for?"}],
                                    add_generation_prompt=True, return_tensors="pt", return_dict=True)
with torch.inference_mode(), model.disable_adapter():
    without = model(**ids).logits
with torch.inference_mode():
    print("DIFFERS", float((model(**ids).logits - without).abs().max()))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "stdlib.jsonl"
    assert docstrings.write(path) >= 2000
    return path


@pytest.mark.thorough  # the recipes and the demo train each way in the default suite
@pytest.mark.parametrize("way", WAYS)
def test_the_evaluation_loss_falls(way: str, dataset: Path) -> None:
    done = finetui(
        *("train", "--name", way, "--model_name_or_path", DEMO_MODEL, "--train", str(dataset)),
        *("--max_steps", "16", "--max_length", "96", "--eval_fraction", "0.005", "--eval_steps", "8"),
        *WAYS[way],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_dir(way)
    measured = [event["eval_loss"] for event in events(run) if event["kind"] == "evaluation"]
    assert len(measured) == 3
    assert measured[0] > measured[1] > measured[2]
    dtypes = next(event["dtypes"] for event in events(run) if "dtypes" in event)
    assert set(dtypes["trained"]) == {"float32"}
    assert ("uint8" in dtypes["frozen"]) == (way == "qlora")
    assert ("int8" in dtypes["frozen"]) == (way == "lora8")
    if way in ("qlora", "full"):  # LoRA's chat is in the demo's test
        answer = finetui(
            "chat", way, "--json", "--max_new_tokens", "12", stdin="What is the Python module json for?\n"
        )
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["tokens"] > 0
    if way != "full":
        plain = subprocess.run(
            [sys.executable, "-c", LOAD_PLAINLY, DEMO_MODEL, str(run.adapter)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert float(plain.stdout.split("DIFFERS")[1]) > 0.1
