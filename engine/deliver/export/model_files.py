"""Everything of a model folder but its weights: config, stop tokens, tokenizer, chat template."""

from __future__ import annotations

import fnmatch
import os
import shutil
from pathlib import Path
from typing import Any

from engine.hub.model_files import TOKENIZER
from engine.run import atomic

# Kept as they are in the base: what a vision or audio tower needs beside the tokenizer.
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


def copy_tokenizer(trained: Path, into: Path) -> None:
    """Copy the tokenizer and the chat template that the model was trained with.

    Raises:
        OSError: The disk is full, or a file cannot be read.
    """
    for path in sorted(trained.iterdir()):
        if path.is_file() and any(fnmatch.fnmatchcase(path.name, pattern) for pattern in TOKENIZER):
            shutil.copyfile(path, into / path.name)


def copy_processor(base: Path, into: Path) -> None:
    """Copy what turns pictures and sound into numbers, where the base has it."""
    for name in _PROCESSOR:
        if (base / name).is_file() and not (into / name).exists():
            shutil.copyfile(base / name, into / name)


def load_tokenizer(trained: Path) -> Any:
    """The tokenizer that was saved with the trained weights.

    Raises:
        UserError: It is missing or damaged.
    """
    from transformers import AutoTokenizer

    from engine.display import printable
    from engine.errors import UserError

    try:
        return AutoTokenizer.from_pretrained(str(trained), trust_remote_code=False)
    except (OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"The tokenizer that was saved with the trained weights cannot be read: {printable(lines[0], 200)}",
            printable(trained, 300),
            "Export another checkpoint: --checkpoint N",
        ) from None


def generation_config(base: Path, tokenizer: Any) -> dict[str, Any]:
    """How to generate: the base's own settings, with every token that ends an answer, and the pad token.

    Args:
        base: Folder of the base model.
        tokenizer: As it was saved with the trained weights.
    """
    from engine.train.tokens import end_ids

    config = atomic.read_json(base / "generation_config.json") or {}
    ends = {number for number in end_ids(tokenizer) if number is not None} | set(
        _ids(config.get("eos_token_id"))
    )
    config["eos_token_id"] = sorted(ends)
    for name in ("pad_token_id", "bos_token_id"):
        number = getattr(tokenizer, name, None)
        if number is not None:
            config[name] = number
    return config


def write_generation_config(base: Path, tokenizer: Any, into: Path) -> None:
    """Write `generation_config`."""
    atomic.write_json(into / "generation_config.json", generation_config(base, tokenizer))


def merged_config(
    config: dict[str, Any], tokenizer: Any, dtype: str | None, vocab_size: int | None, untied: bool
) -> dict[str, Any]:
    """config.json of a merged model.

    Args:
        config: That of the base.
        tokenizer: As it was saved with the trained weights.
        dtype: New number format; None where it stays.
        vocab_size: New number of rows of the embeddings; None where it stays.
        untied: Embedding and head have become different weights.
    """
    made = dict(config)
    for name in ("quantization_config", "auto_map"):
        made.pop(name, None)
    if os.path.isabs(str(made.get("_name_or_path", ""))):
        del made["_name_or_path"]
    # A model with a vision tower keeps the settings of its language part in a part of its own.
    parts = [made]
    if isinstance(made.get("text_config"), dict):
        made["text_config"] = dict(made["text_config"])
        parts.append(made["text_config"])
    for part in parts:
        if dtype is not None:
            for name in ("dtype", "torch_dtype"):
                if name in part:
                    part[name] = dtype
        if vocab_size is not None and "vocab_size" in part:
            part["vocab_size"] = vocab_size
        if untied and ("tie_word_embeddings" in part or part is parts[-1]):
            part["tie_word_embeddings"] = False
        end = tokenizer.eos_token_id
        if end is not None and part.get("eos_token_id") is not None and end not in _ids(part["eos_token_id"]):
            part["eos_token_id"] = end
    if dtype is not None and not {"dtype", "torch_dtype"} & made.keys():
        made["dtype"] = dtype
    if untied:
        made["tie_word_embeddings"] = False
    return made


def _ids(value: Any) -> list[int]:
    found = value if isinstance(value, list) else [value]
    return [number for number in found if isinstance(number, int) and not isinstance(number, bool)]
