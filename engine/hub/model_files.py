"""Which files of a model repository are needed to train it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from engine.hub.listing import RepoFile

Format = Literal["safetensors", "pickle", "gguf", "adapter", "none"]
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
CONFIG = "config.json"
TOKENIZER = (
    "tokenizer*.json", "tokenizer.model*", "vocab*.json", "vocab.txt", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "spiece.model", "sentencepiece*.model", "*.spm", "*.tiktoken", "tekken.json",
    "chat_template*.json", "chat_template*.jinja", "additional_chat_templates/*.jinja",
)  # fmt: skip
OTHER = ("generation_config.json", "preprocessor_config.json", "processor_config.json")
_PICKLE = ("pytorch_model*.bin", "consolidated*.pth", "*.pt", "*.ckpt", "tf_model.h5", "flax_model.msgpack")


def tokenizer_files(files: Iterable[RepoFile]) -> list[RepoFile]:
    """The tokenizer, the chat template and config.json: enough to turn text into tokens."""
    return [file for file in files if file.path == CONFIG or _any(file.path, TOKENIZER)]


def small_files(files: Iterable[RepoFile]) -> list[RepoFile]:
    """Everything needed but the weights."""
    names = (CONFIG, *TOKENIZER, *OTHER, INDEX)
    return [file for file in files if _any(file.path, names)]


def weight_files(files: Iterable[RepoFile], index: Mapping[str, Any] | None) -> list[RepoFile]:
    """The safetensors that transformers loads: one format, no duplicates for other programs, nothing from subfolders.

    Args:
        files: Everything in the repository.
        index: Content of ``model.safetensors.index.json``, where there is one.
    """
    by_path = {file.path: file for file in files}
    if SINGLE in by_path:  # transformers prefers it to an index
        return [by_path[SINGLE]]
    weight_map = (index or {}).get("weight_map")
    if isinstance(weight_map, dict):
        names = sorted({str(name) for name in weight_map.values()})
        return [by_path[name] for name in names if name in by_path]
    return []


def weight_format(files: Iterable[RepoFile]) -> Format:
    """How the weights are stored, from the names of the files."""
    names = [file.path for file in files]
    if SINGLE in names or INDEX in names:
        return "safetensors"
    if "adapter_config.json" in names and CONFIG not in names:
        return "adapter"
    if any(_any(name, _PICKLE) for name in names):
        return "pickle"
    if any(name.lower().endswith(".gguf") for name in names):
        return "gguf"
    return "none"


def _any(path: str, patterns: Iterable[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/") for pattern in patterns
    )
