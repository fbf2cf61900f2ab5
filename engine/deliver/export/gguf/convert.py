"""Conversion of a model folder, or of a LoRA adapter, into a 16-bit GGUF file by llama.cpp's own converter."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.deliver.export.gguf.child import last_words, run_child
from engine.deliver.export.gguf.convert_main import UNKNOWN_TOKENIZER
from engine.deliver.export.gguf.model_folder import ModelFolder
from engine.deliver.export.gguf.pretokenizers import KNOWN
from engine.deliver.export.gguf.source import INSTALL, Converter, installed_version
from engine.deliver.export.job import Tell
from engine.display import printable
from engine.errors import UserError

_MODULE = "engine.deliver.export.gguf.convert_main"
_PACKAGES = ("torch", "transformers", "numpy", "sentencepiece", "google.protobuf", "tqdm", "yaml")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True)
class Converted:
    """A GGUF file that was written.

    Attributes:
        path: The file.
        pre: llama.cpp's name for the way the tokenizer splits words; empty for tokenizers without.
        mapped: The converter did not know the tokenizer; the name was found by its structure.
    """

    path: Path
    pre: str
    mapped: bool


def missing_packages() -> UserError | None:
    """Why GGUF files cannot be made here; None where everything that is needed is installed."""
    try:
        installed_version()
    except UserError as error:
        return error
    missing = [name for name in _PACKAGES if not _is_there(name)]
    if not missing:
        return None
    return UserError(
        f"llama.cpp's converter needs Python packages that are not installed: {', '.join(missing)}.",
        "optional packages of finetui",
        f"Install them: {INSTALL.replace('[gguf]', '[train,gguf]')}",
    )


def convert_model(
    converter: Converter,
    model: ModelFolder,
    target: Path,
    name: str,
    dtype: str,
    log: Path,
    tell: Tell,
    expected: int,
) -> Converted:
    """Convert a whole model.

    Args:
        converter: llama.cpp's converter.
        model: Folder made by `prepare_model_folder`.
        target: The file to write; on failure nothing of that name is left.
        name: The model's name inside the file.
        dtype: ``F16`` or ``BF16``; ``vocabulary`` for a file without weights.
        log: File that gets what the converter prints.
        tell: Told how many bytes are written.
        expected: Bytes the file will have, about; 0 tells of none.

    Raises:
        UserError: The converter does not know the architecture or the tokenizer, or fails.
        Cancelled: The user asked to stop.
    """
    wanted = ["--vocab-only"] if dtype == "vocabulary" else ["--outtype", dtype.lower()]
    arguments = [str(model.path), "--outfile", str(target), "--model-name", name, *wanted]
    return _convert(converter, "convert_hf_to_gguf.py", model, target, arguments, log, tell, expected)


def convert_adapter(
    converter: Converter,
    adapter: Path,
    base: Path,
    target: Path,
    dtype: str,
    log: Path,
    tell: Tell,
    expected: int,
) -> Converted:
    """Convert a LoRA adapter, for llama.cpp's ``--lora``.

    Args:
        converter: llama.cpp's converter.
        adapter: Folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: Folder with the base model's ``config.json``.
        target: The file to write; on failure nothing of that name is left.
        dtype: ``F32``, ``F16`` or ``BF16``.
        log: File that gets what the converter prints.
        tell: Told how many bytes are written.
        expected: Bytes the file will have, about.

    Raises:
        UserError: The converter cannot take this adapter.
        Cancelled: The user asked to stop.
    """
    arguments = [str(adapter), "--base", str(base), "--outfile", str(target), "--outtype", dtype.lower()]
    return _convert(converter, "convert_lora_to_gguf.py", None, target, arguments, log, tell, expected)


def _convert(
    converter: Converter,
    script: str,
    model: ModelFolder | None,
    target: Path,
    arguments: Sequence[str],
    log: Path,
    tell: Tell,
    expected: int,
) -> Converted:
    result = target.with_name(f".{target.name}.json")

    def poll() -> None:
        written = target.stat().st_size if target.exists() else 0
        if written and expected:
            tell.progress(min(written, expected), expected)
        else:
            tell.check()  # the converter is still reading

    settings = {}
    if model is not None:
        pre = model.splitting.pre
        settings = {"pre": pre, "add_bos": model.add_bos, "prefix_space": model.prefix_space}
    command = [sys.executable, "-P", "-m", _MODULE, str(os.getpid()), str(converter.folder), script]
    whole = False
    try:
        code = run_child([*command, json.dumps(settings), str(result), *arguments], log, poll, _OFFLINE)
        if code != 0 or not target.is_file():
            raise _failure(code, log, model.splitting.words if model else "", target)
        whole = True
        told = json.loads(result.read_text("utf-8")) if result.is_file() else {"pre": "", "mapped": False}
    finally:
        if not whole:
            target.unlink(missing_ok=True)
        result.unlink(missing_ok=True)
    if expected:
        tell.progress(expected, expected)
    return Converted(target, str(told["pre"]), bool(told["mapped"]))


def _failure(code: int, log: Path, splitting: str, target: Path) -> UserError:
    text = log.read_text("utf-8", "replace")[-200_000:] if log.is_file() else ""
    last = last_words(log)
    if code == UNKNOWN_TOKENIZER:
        names = ", ".join(dict.fromkeys(known.name for known in KNOWN))
        return UserError(
            "llama.cpp does not know this model's tokenizer, and its way of cutting text into words is none of the "
            "known ones, so a GGUF file would read text differently from the trained model.",
            f"tokenizer.json: {splitting}",
            f"Use the merged model with transformers or vLLM instead. Known to llama.cpp: {names}",
        )
    unsupported = re.search(r"Model (\S+) is not supported", text)
    if unsupported:
        return UserError(
            f"llama.cpp's converter does not know the architecture {printable(unsupported[1], 60)}.",
            f"llama-cpp-python {installed_version()}",
            "A newer llama-cpp-python may: pip install -U llama-cpp-python. Or use the merged model with transformers or vLLM.",
        )
    if "No space left on device" in text or _is_full(target.parent):
        return UserError(
            "The disk became full while the GGUF file was written.",
            printable(target.parent, 200),
            "Free some space, or write to another disk: --out DIR",
        )
    if code in (-9, 137):
        return UserError(
            "llama.cpp's converter was killed, most likely because the main memory was full.",
            printable(target.name, 100),
            "Close other programs, or use a machine with more memory.",
        )
    return UserError(
        f"llama.cpp's converter failed (exit code {code}): {last or 'it said nothing'}",
        printable(log, 200),
        "The trained model is unharmed. Export it merged, for transformers or vLLM: --to merged",
    )


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < 1 << 20


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
