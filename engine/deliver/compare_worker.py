"""``python -m engine.deliver.compare_worker RUN_DIR FILE LIMIT``: the same questions to the base and the tuned model.

FILE holds JSON lines with a ``question``; one ``answer`` message comes back for each, with ``before`` and ``after``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from engine.deliver.loading import load_trained
from engine.deliver.protocol import run_worker, send
from engine.deliver.source import find_trained
from engine.run.layout import RunDir

BATCH = 32
MAX_NEW_TOKENS = 64


def main(run_path: str, questions_path: str, limit: str) -> int:
    """Ask, and send the answers."""

    def ask(channel: IO[str]) -> None:
        rows = [json.loads(line) for line in Path(questions_path).read_text(encoding="utf-8").splitlines()]
        rows = rows[: int(limit)]
        questions = [row["question"] for row in rows]
        trained = find_trained(RunDir(Path(run_path)))
        model, tokenizer = load_trained(trained)
        after = answers(model, tokenizer, questions)
        if trained.is_adapter:
            with model.disable_adapter():
                before = answers(model, tokenizer, questions)
        else:
            from engine.train.model import load_model

            before = answers(load_model(trained.config).eval(), tokenizer, questions)
        for row, old, new in zip(rows, before, after, strict=True):
            send(channel, "answer", row=row, before=old, after=new)

    return run_worker(ask)


def answers(model: Any, tokenizer: Any, questions: Sequence[str]) -> list[str]:
    """Greedy answers, in batches padded on the left."""
    import torch

    from engine.train.tokens import end_ids

    tokenizer.padding_side = "left"
    made: list[str] = []
    for start in range(0, len(questions), BATCH):
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            for question in questions[start : start + BATCH]
        ]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                eos_token_id=sorted(end_ids(tokenizer)),
                pad_token_id=tokenizer.pad_token_id,
                use_cache=True,
            )
        new = out[:, batch["input_ids"].shape[1] :]
        made += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    return made


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
