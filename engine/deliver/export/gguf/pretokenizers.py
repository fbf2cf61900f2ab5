"""Which of llama.cpp's ways to cut text into words a tokenizer uses, read from the structure of its ``tokenizer.json``.

llama.cpp has the word-splitting rules of byte-level tokenizers built in, under names such as ``llama-bpe``. Its converter
finds the name by the checksum of what a tokenizer makes of one test text, so it knows published tokenizers only. A
tokenizer that was trained anew but splits words by the same rule is as good; that is what is looked for here. The
outcome is checked afterwards by comparing token ids (`engine.deliver.export.gguf.tokenizer_check`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.models.chat_template import read_json

Step = tuple[object, ...]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
_QWEN35 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _SPACES
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_TEKKEN = (
    f"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _SPACES
)
_GPT4O = (
    f"{_BEFORE}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_BEFORE}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _SPACES
)
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    + _SPACES
)


def _split(pattern: str) -> Step:
    return ("Split", pattern, "Isolated", False)


_BYTES: Step = ("ByteLevel", False, False)  # no space put in front, words not split again
_BYTES_AND_WORDS: Step = ("ByteLevel", False, True)


@dataclass(frozen=True, slots=True)
class Known:
    """A way of splitting that llama.cpp has.

    Attributes:
        name: Its name there, as in ``tokenizer.ggml.pre``.
        steps: The same as the steps of a ``tokenizer.json``.
        normalizers: What may happen to the text before; llama.cpp's own models of this kind have one of these.
        ignore_merges: A word that is a token is taken whole.
    """

    name: str
    steps: tuple[Step, ...]
    normalizers: tuple[str | None, ...] = (None,)
    ignore_merges: bool = False


KNOWN = (
    Known("gpt-2", (_BYTES_AND_WORDS,)),
    Known("gpt-2", (_split(_GPT2), _BYTES)),
    Known("llama-bpe", (_split(_LLAMA3), _BYTES), ignore_merges=True),
    Known("dbrx", (_split(_LLAMA3), _BYTES)),
    Known("qwen2", (_split(_QWEN2), _BYTES), ("NFC", None)),
    Known("qwen35", (_split(_QWEN35), _BYTES), ("NFC", None)),
    Known("tekken", (_split(_TEKKEN), _BYTES), ignore_merges=True),
    Known("gpt-4o", (_split(_GPT4O), _BYTES)),
    Known("starcoder", (("Digits", True), _BYTES_AND_WORDS)),
    Known(
        "deepseek-v3",
        (_split(r"\p{N}{1,3}"), _split("[一-龥぀-ゟ゠-ヿ]+"), _split(_DEEPSEEK3), _BYTES),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Splitting:
    """How a tokenizer cuts text, as far as llama.cpp is concerned.

    Attributes:
        kind: ``bytes`` (byte-level, needs a known way of splitting), ``sentencepiece`` (no words), or ``other``.
        pre: llama.cpp's name for its way of splitting; None where it is none of the known ones.
        words: What it does, for people.
    """

    kind: str
    pre: str | None
    words: str


def read_splitting(folder: Path) -> Splitting:
    """How the tokenizer of a model folder splits words.

    Raises:
        UserError: ``tokenizer.json`` is damaged.
    """
    tokenizer = read_json(folder / "tokenizer.json")
    model = tokenizer.get("model")
    model = model if isinstance(model, dict) else {}
    steps = _steps(tokenizer.get("pre_tokenizer"))
    if model.get("type") != "BPE":
        return Splitting("other", None, f"a {printable(model.get('type') or 'unknown', 40)} model")
    if not any(step[0] == "ByteLevel" for step in steps):
        kind = "sentencepiece" if model.get("byte_fallback") else "other"
        return Splitting(kind, None, ", ".join(str(step[0]) for step in steps) or "nothing")
    normalizer = _normalizer(tokenizer.get("normalizer"))
    ignores = bool(model.get("ignore_merges"))
    for known in KNOWN:
        if steps == known.steps and normalizer in known.normalizers and ignores == known.ignore_merges:
            return Splitting("bytes", known.name, known.name)
    words = " then ".join(printable(step[0], 30) for step in steps)
    if normalizer is not None:
        words = f"{printable(normalizer, 60)} then {words}"
    if ignores:
        words += ", whole words first"
    return Splitting("bytes", None, words)


def _steps(value: Any) -> tuple[Step, ...]:
    """The steps of a pre-tokenizer, one after the other, without what changes no token."""
    if not isinstance(value, dict):
        return ()
    kind = value.get("type")
    if kind == "Sequence":
        inner = value.get("pretokenizers")
        return tuple(step for one in (inner if isinstance(inner, list) else ()) for step in _steps(one))
    if kind == "ByteLevel":
        return ((kind, bool(value.get("add_prefix_space", True)), bool(value.get("use_regex", True))),)
    if kind == "Split":
        return ((kind, _pattern(value.get("pattern")), value.get("behavior"), bool(value.get("invert"))),)
    if kind == "Digits":
        return ((kind, bool(value.get("individual_digits"))),)
    return ((kind, json.dumps(value, sort_keys=True)),)


def _pattern(value: object) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("Regex"), str):
        return str(value["Regex"])
    return json.dumps(value, sort_keys=True)


def _normalizer(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if value.get("type") == "Sequence":
        inner = [
            one for one in (_normalizer(part) for part in value.get("normalizers") or ()) if one is not None
        ]
        return " then ".join(inner) or None
    return str(value.get("type"))
