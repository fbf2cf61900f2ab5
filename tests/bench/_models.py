"""Which model a measurement is about, however its name is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from engine.errors import UserError
from engine.fit.architecture import from_catalogue, from_size, known_ids
from engine.fit.config_fields import SIZE_ONLY
from engine.fit.types import Architecture

# What re-uploads and tables add to a name, and what it does not change.
_NOISE = re.compile(
    r"[-_ ](?:bnb|nf4|fp4|gptq|awq|gguf|hf|fp16|bf16|[248][-_ ]?bits?|int[48])(?![a-z0-9])", re.IGNORECASE
)
_TUNED = frozenset("base instruct it chat pt pretrained sft dpo alpaca zephyr hf meta deduped model".split())
_SIZE = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(\d?)")
_NAME_SIZES = 0.06  # a size in a name is rounded
_TOLD_SIZES = 0.25  # and one in a table is often what the name says, such as 7 for a model of 8.5 billion


@dataclass(frozen=True, slots=True)
class _Words:
    """A name in words.

    Attributes:
        words: All of it, in lower case.
        sizes: Billions of weights that it says.
    """

    words: tuple[str, ...]
    sizes: tuple[float, ...]

    def version(self, family: str) -> str:
        """The number right behind the family's name, such as ``3.1``; empty without one."""
        position = self.words.index(family) + 1
        follows = self.words[position] if position < len(self.words) else ""
        return follows if re.fullmatch(r"\d{1,2}(?:\.\d+)?[a-z]?", follows) and not _size(follows) else ""


def find_architecture(model: str, params_b: str) -> Architecture:
    """The model by name, by what its name says, or a stand-in of its size.

    Args:
        model: As the row has it: a Hub id, a name in any spelling, or a size only.
        params_b: Billions of weights; may be empty.

    Raises:
        UserError: Neither the name nor the number says anything.
    """
    found = from_catalogue(model)
    if found is not None:
        return found
    told = _number(params_b)
    name = _read(_NOISE.sub("", model))
    ranked = sorted(
        (rank, order, model_id)
        for order, (model_id, words) in enumerate(_known())
        if (rank := _rank(name, words, model_id, told)) is not None
    )
    if ranked:
        rank, _, model_id = ranked[0]
        similar = from_catalogue(model_id)
        assert similar is not None
        if rank[0]:
            note = f"taken to be like {model_id}"
            similar = replace(similar, unsure=(*similar.unsure, note), spread=similar.spread + SIZE_ONLY)
        return similar
    size = name.sizes[0] if name.sizes else told
    if size is None:
        raise UserError("Neither the model's name nor its size is known.", model[:80], "Give its size.")
    return from_size(size, model)


@cache
def _known() -> tuple[tuple[str, _Words], ...]:
    return tuple((model_id, _read(model_id)) for model_id in known_ids())


@cache
def _params_b(model_id: str) -> float:
    architecture = from_catalogue(model_id)
    assert architecture is not None
    return (architecture.params - architecture.vision_params) / 1e9


def _rank(name: _Words, known: _Words, model_id: str, told: float | None) -> tuple[int, int, int] | None:
    """How well a known model fits the name: less is better; ``None`` if it is another one."""
    family = known.words[0] if known.words else ""
    if len(family) < 2 or family not in name.words:
        return None
    for size in name.sizes:
        if size not in known.sizes and abs(_params_b(model_id) / size - 1) > _NAME_SIZES:
            return None
    if not name.sizes and told is not None and abs(_params_b(model_id) / told - 1) > _TOLD_SIZES:
        return None
    wanted, has = name.version(family), known.version(family)
    other = int(bool(wanted) and wanted != has)
    if other and not (name.sizes or told):
        return None
    shared = set(name.words) & set(known.words)
    missing = len(set(name.words) - shared - _TUNED)
    if missing and not (name.sizes or told):
        return None  # a name that says more than this one, and no size to go by
    extra = set(known.words) - shared
    return other, 4 * missing + (2 if has and not wanted else 0), len(extra - _TUNED) * 2 + len(extra)


def _read(name: str) -> _Words:
    """Cut a name into words: letters and digits apart, but not in ``7b``, ``3n``, ``e2b``, ``v0.3``, ``8x7b``."""
    text = name.rpartition("/")[2].lower()
    text = re.sub(r"\b(?:meta|c4ai)\b|(?<=open)(?=llama)", " ", text.replace("_hf", ""))
    text = re.sub(r"(?<=-\d)_(?=\db)|(?<=[a-z]\d)_(?=\d(?![\d.]*b))", ".", text)  # 1_6b, llama3_1
    text = re.sub(r"(?<=[a-z]{2})(?=\d)", " ", text)
    words = re.findall(r"\d+x\d+(?:\.\d+)?[bm]|\d+(?:\.\d+)?[a-z]*\d?|[a-z]+(?:\d+(?:\.\d+)?[a-z]?)?", text)
    joined = " ".join(words)
    joined = re.sub(
        r"\b(\d+(?:\.\d+)?) (b|m|billion|million)\b", lambda found: found[1] + found[2][0], joined
    )
    words = joined.split()
    return _Words(tuple(words), tuple(size for word in words if (size := _size(word)) is not None))


def _size(word: str) -> float | None:
    found = _SIZE.fullmatch(word)
    if found is None:
        return None
    number = float(f"{found[2]}.{found[4]}") if found[4] and "." not in found[2] else float(found[2])
    if found[3] == "m":
        number /= 1000
    if found[1]:  # 8x7b shares its attention, so its weights are fewer than eight times as many
        number *= int(found[1]) * 0.83
    return number


def _number(text: str) -> float | None:
    found = re.search(r"\d+(?:\.\d+)?", text)
    return float(found[0]) if found and float(found[0]) > 0 else None
