"""The same job through transformers' own Trainer and PEFT, as their guides write it: ``python -m tests.bench.plain_trainer JOB.json``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Train LoRA on the learnt tokens of conversations, and save the adapter."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if not re.search(r"{%-?\s*generation\b", tokenizer.chat_template or ""):
        from trl import get_training_chat_template  # knows the same template with the answers marked

        tokenizer.chat_template = get_training_chat_template(tokenizer)
    cuda = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    lora = LoraConfig(
        r=job["lora_r"], lora_alpha=job["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, lora)

    def tokens(row: dict[str, Any]) -> dict[str, Any]:
        made = tokenizer.apply_chat_template(
            row["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = made["input_ids"][: job["max_length"]], made["assistant_masks"][: job["max_length"]]
        labels = [token if learnt else -100 for token, learnt in zip(ids, mask, strict=True)]
        return {"input_ids": ids, "labels": labels}

    data = load_dataset(job["data"]).map(tokens, remove_columns=["messages"])
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=job["output"],
            per_device_train_batch_size=job["batch"],
            gradient_accumulation_steps=job["accumulation"],
            per_device_eval_batch_size=job["batch"],
            learning_rate=job["learning_rate"],
            num_train_epochs=job["epochs"],
            warmup_steps=job["warmup"],
            eval_strategy="steps",
            eval_steps=job["steps"],
            prediction_loss_only=True,
            save_steps=job["steps"],
            logging_steps=1,
            seed=job["seed"],
            bf16=cuda and job["dtype"] == "bfloat16",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    trainer.train()
    trainer.save_model(job["output"])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
