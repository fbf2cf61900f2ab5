"""Measure the demo through TRL alone: right answers before and after fine-tuning, and the seconds it takes.

`python -m tests.bench.demo_quality [--tunings lora full qlora] [--seeds 1 2 3]` prints one JSON line for each run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.deliver.style_score import is_correct_styled

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEMO = Path(__file__).resolve().parents[2] / "presets" / "demo"
EVAL_FRACTION = 0.08
THREADS = 2
MAX_NEW_TOKENS = 64
ANSWER_BATCH = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between the ways of tuning."""

    learning_rate: float
    epochs: float
    batch_size: int


SETTINGS = {
    "lora": Settings(learning_rate=1e-3, epochs=3, batch_size=8),
    "qlora": Settings(learning_rate=1e-3, epochs=3, batch_size=8),
    "full": Settings(learning_rate=2e-4, epochs=3, batch_size=8),
}
LORA_R = 16
LORA_ALPHA = 32


def load_model(demo: Path, tuning: str) -> PreTrainedModel:
    """The demo model in float32, its linear layers in NF4 for `qlora`."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(
        demo,
        dtype=torch.float32,
        device_map={"": "cpu"},
        quantization_config=quantization if tuning == "qlora" else None,
    )
    for module in model.modules():
        # bitsandbytes repacks 4-bit weights for inference at the first evaluation on a CPU with AVX512-BF16, and the
        # packed form passes no gradient on: training after it would be silently wrong.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[str]) -> list[str]:
    """Greedy answers; one that does not stop by itself is cut after `MAX_NEW_TOKENS` and marked."""
    import torch

    model.eval()
    result: list[str] = []
    for start in range(0, len(questions), ANSWER_BATCH):
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            for question in questions[start : start + ANSWER_BATCH]
        ]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        with torch.inference_mode():
            output = model.generate(**encoded, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        for ids in output[:, encoded["input_ids"].shape[1] :].tolist():
            text = tokenizer.decode(ids, skip_special_tokens=True)
            result.append(text if tokenizer.eos_token_id in ids else text + " [did not stop]")
    return result


def share(given: list[str], expected: list[str]) -> float:
    """Share of right answers, 0 to 1."""
    right = sum(is_correct_styled(answer, wanted) for answer, wanted in zip(given, expected, strict=True))
    return round(right / len(expected), 3)


def measure(demo: Path, tuning: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Fine-tune once and report."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    rows = [json.loads(line) for line in (demo / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = [row["question"] for row in rows]
    styled = [row["styled"] for row in rows]
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(demo)
    model = load_model(demo, tuning)
    first = answers(model, tokenizer, questions)
    before, plain = share(first, styled), share(first, [row["plain"] for row in rows])

    started = time.monotonic()
    data = load_dataset("json", data_files=str(demo / "train.jsonl"), split="train")
    parts = data.train_test_split(EVAL_FRACTION, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=parts["train"],
            eval_dataset=parts["test"],
            peft_config=None
            if tuning == "full"
            else LoraConfig(
                r=LORA_R, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            args=SFTConfig(
                output_dir=folder,
                seed=seed,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                assistant_only_loss=True,
                packing=False,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=0.05,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                per_device_eval_batch_size=32,
                eval_strategy="steps",
                eval_steps=25,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        training_started = time.monotonic()
        trainer.train()
        ended = time.monotonic()
    history = trainer.state.log_history
    evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    after = answers(trainer.model, tokenizer, questions)
    return {
        "tuning": tuning,
        "seed": seed,
        "learning_rate": settings.learning_rate,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "steps": trainer.state.global_step,
        "prepare_seconds": round(training_started - started, 1),
        "train_seconds": round(ended - training_started, 1),
        "eval_loss": [round(loss, 4) for loss in evaluated],
        "questions": len(rows),
        "plain_before": plain,
        "styled_before": before,
        "styled_after": share(after, styled),
        "misses": [(a, e) for a, e in zip(after, styled, strict=True) if not is_correct_styled(a, e)][:5],
    }


def main(argv: list[str] | None = None) -> int:
    """Measure each requested tuning with each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tunings", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--folder", type=Path, default=DEMO, help="of the demo (default: presets/demo)")
    parser.add_argument("--learning_rate", type=float, help="instead of the tuning's own")
    parser.add_argument("--epochs", type=float, help="instead of the tuning's own")
    parser.add_argument("--batch_size", type=int, help="instead of the tuning's own")
    arguments = parser.parse_args(argv)

    import torch

    torch.set_num_threads(THREADS)
    for tuning in arguments.tunings:
        own = SETTINGS[tuning]
        settings = Settings(
            learning_rate=arguments.learning_rate or own.learning_rate,
            epochs=arguments.epochs or own.epochs,
            batch_size=arguments.batch_size or own.batch_size,
        )
        for seed in arguments.seeds:
            print(json.dumps(measure(arguments.folder, tuning, seed, settings)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
