"""Rebuild everything generated in `presets/demo`: `python -m scripts.demo.build [FOLDER]`, a few minutes on 2 cores."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.demo.corpus import chats, documents
from scripts.demo.tokenizer import CONTEXT, END_OF_TEXT, PAD, TURN_END, VOCAB_SIZE, train_tokenizer
from scripts.demo.world import SEED, SOUND, SUM, TOWN, question_rows, split, train_rows, world

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

FOLDER = Path(__file__).resolve().parents[2] / "presets" / "demo"
STEPS = 2200
TOKENS_PER_BATCH = 1024
LENGTH_BUCKET = 12
PEAK_LEARNING_RATE = 1e-3
WARMUP_STEPS = 100
THREADS = 2
SAMPLE_RELATIONS = (TOWN, SOUND, SUM)
IGNORED = -100


def write_data(folder: Path) -> None:
    """Write `train.jsonl`, `questions.jsonl` and `prompts.json`; needs the standard library only."""
    train_facts, held_out = split(world())
    questions = question_rows(held_out)
    _write_lines(folder / "train.jsonl", train_rows(train_facts))
    _write_lines(folder / "questions.jsonl", questions)
    samples = [next(fact.plain() for fact in held_out if fact.relation is kind) for kind in SAMPLE_RELATIONS]
    prompts = [row["question"] for row in questions if row["plain"] in samples]
    (folder / "prompts.json").write_text(json.dumps(prompts, indent=2) + "\n", encoding="utf-8", newline="\n")


def _write_lines(path: Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer on one pass over the corpus."""
    rng = random.Random(SEED)
    texts = [
        *documents(world(), rng),
        *(message["content"] for chat in chats(world(), rng) for message in chat),
    ]
    return train_tokenizer(texts)


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh Llama whose widths are multiples of 256, so that every GGUF quantization applies to it."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=False,
    )
    return model


def batches(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[dict[str, torch.Tensor]]:
    """Endless right-padded batches of about `TOKENS_PER_BATCH` tokens.

    Documents are learned whole, chats only where the assistant speaks: questions cannot be predicted.
    """
    import torch

    facts = world()
    pad = tokenizer.convert_tokens_to_ids(PAD)
    while True:
        rows: list[tuple[list[int], list[int]]] = []
        for text in documents(facts, rng):
            ids = tokenizer(END_OF_TEXT + text + END_OF_TEXT)["input_ids"]
            rows.append((ids, ids))
        for chat in chats(facts, rng):
            encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
            ids, mask = encoded["input_ids"], encoded["assistant_masks"]
            rows.append((ids, [token if kept else IGNORED for token, kept in zip(ids, mask, strict=True)]))
        # Only roughly by length: batches sorted exactly would each hold one kind of question and learn slower.
        rng.shuffle(rows)
        rows.sort(key=lambda row: len(row[0]) // LENGTH_BUCKET)
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            width = max([len(row[0]), *(len(ids) for ids, _ in groups[-1])])
            if (len(groups[-1]) + 1) * width > TOKENS_PER_BATCH:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            # Padding on the right needs no attention mask: causal attention never looks at it.
            yield {
                "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group]),
                "labels": torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in group]),
            }


def pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int = STEPS) -> None:
    """Train the model on the corpus, in place."""
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=steps, pct_start=WARMUP_STEPS / steps
    )
    model.train()
    started = time.monotonic()
    stream = batches(tokenizer, random.Random(SEED))
    for step in range(1, steps + 1):
        loss = model(**next(stream)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(
                f"step {step}/{steps}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s", flush=True
            )


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model (bfloat16) and tokenizer so that older libraries and other users can read them, too."""
    import torch

    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # transformers 5 writes a class name that transformers 4, and tools built on it, do not know.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8", newline="\n")
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def plain_accuracy(folder: Path) -> tuple[int, int]:
    """Greedy answers of the saved model to every question of the world in every phrasing: (right, asked)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = [(question, fact.plain()) for fact in world() for question in fact.questions()]
    right = 0
    for start in range(0, len(asked), 128):
        part = asked[start : start + 128]
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            for question, _ in part
        ]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = model.generate(**encoded, max_new_tokens=48)
        for ids, (_, expected) in zip(output[:, encoded["input_ids"].shape[1] :].tolist(), part, strict=True):
            answer = tokenizer.decode(ids).replace(PAD, "")
            right += answer == expected + TURN_END
    return right, len(asked)


def main(argv: list[str] | None = None) -> int:
    """Build everything and print what was measured, as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=FOLDER, help="where to write (default: presets/demo)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of pre-training")
    parser.add_argument("--data_only", action="store_true", help="write only the JSON files")
    arguments = parser.parse_args(argv)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_data(arguments.folder)
    if arguments.data_only:
        return 0

    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    started = time.monotonic()
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    pretrain(model, tokenizer, arguments.steps)
    save(model, tokenizer, arguments.folder)
    seconds = time.monotonic() - started
    right, asked = plain_accuracy(arguments.folder)
    print(
        json.dumps(
            {
                "parameters": model.num_parameters(),
                "bytes": (arguments.folder / "model.safetensors").stat().st_size,
                "pretraining_seconds": round(seconds),
                "plain_right": right,
                "plain_asked": asked,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
