"""The catalogue of well-known open models in ``presets/models.json``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import presets


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """Verified facts of one published model; ``None`` means not verified.

    Attributes:
        id: Name on the Hugging Face Hub, ``owner/name``.
        family: Such as ``Llama 3.1`` or ``Qwen3``.
        params: Number of weights that transformers loads.
        active_params: Weights used for each token, for mixtures of experts.
        variant: ``base``, ``instruct``, or ``vision`` for models that also read images.
        tuned: Trained to follow instructions.
        reasoning: Writes down its thinking before it answers.
        base: Id of the model it was tuned from.
        licence: Licence name as the model card gives it.
        gated: The Hub asks to accept a licence before the download.
        template: Family of the chat template that comes with it.
        model_type: Architecture name used by transformers.
        context: Longest text in tokens.
        hidden: Width of the layers.
        layers: Number of layers.
        vocab: Number of different tokens.
        heads: Attention heads a layer.
        kv_heads: Key and value heads a layer.
        head_dim: Width of one head.
        intermediate: Width inside the feed-forward part.
        tied: Input and output embeddings are one matrix.
        stored: Number format of the weight files on the Hub where it is not bfloat16.
    """

    id: str
    family: str
    params: int
    active_params: int | None
    variant: Literal["base", "instruct", "vision"]
    tuned: bool
    reasoning: bool
    base: str | None
    licence: str | None
    gated: bool | None
    template: str | None
    model_type: str
    context: int | None
    hidden: int | None
    layers: int | None
    vocab: int | None
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    intermediate: int | None
    tied: bool | None
    stored: Literal["float16", "float32"] | None

    @property
    def params_b(self) -> float:
        """Weights in billions."""
        return self.params / 1e9


@cache
def load() -> tuple[CatalogueModel, ...]:
    """Every model of the catalogue, grouped by family, small to large."""
    text = Path(presets.__path__[0], "models.json").read_text(encoding="utf-8")
    return tuple(CatalogueModel(**entry) for entry in json.loads(text)["models"])


def find(model_id: str) -> CatalogueModel | None:
    """The model with this Hub id; upper and lower case do not matter."""
    return _by_id().get(model_id.lower().removeprefix("modelscope:"))


def find_by_name(name: str) -> CatalogueModel | None:
    """The model whose name without its owner is this, however re-uploaders spell it.

    ``Meta-Llama-3.1-8B-Instruct``, ``llama-3.1-8b-instruct`` and ``Llama-2-7B-Chat`` are all found.
    """
    return _by_name().get(name_key(name))


def instruct_twin(model_id: str) -> CatalogueModel | None:
    """The instruct model that was tuned from this base model, if the catalogue has one."""
    tuned = (model for model in load() if model.tuned and (model.base or "").lower() == model_id.lower())
    return next(tuned, None)


@cache
def sizes() -> tuple[float, ...]:
    """The sizes on offer in billions of weights, rounded as in the models' names, small to large."""
    return tuple(sorted({round_size(model.params_b) for model in load()}))


def round_size(params_b: float) -> float:
    """A size as people say it: 0.135 -> 0.14, 1.24 -> 1.2, 8.03 -> 8, 70.6 -> 71."""
    if params_b >= 3:
        return float(round(params_b))
    return float(f"{params_b:.2g}")


def name_key(name: str) -> str:
    """A spelling of a model name in which upload habits make no difference."""
    key = re.sub(r"[_\s]+", "-", name.lower())
    return re.sub(r"^meta-(?=llama)|-hf$", "", key)


@cache
def _by_id() -> dict[str, CatalogueModel]:
    return {model.id.lower(): model for model in load()}


@cache
def _by_name() -> dict[str, CatalogueModel]:
    return {name_key(model.id.rpartition("/")[2]): model for model in load()}
