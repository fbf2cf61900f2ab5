"""How far an exported form may be from the trained model, stated before anything is measured.

Rounding noise. A number stored with p significant bits is off by at most ``u = 2**-p`` of itself. Eight roundings a layer, in
two computations that round independently, add up like a random walk: ``u * sqrt(2 * 8 * layers)`` of the logits' spread
(their standard deviation over the vocabulary). Twice that is the bound for a form in 16 bits.

Greedy tokens. Along the reference answer, the share of positions at which both find the same token likeliest. Where the two
likeliest tokens of the reference are closer than its own noise, either counts: the reference itself would decide by chance.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

EXACT = 1e-3
"""Largest difference of any logit between base with adapter and the merged model, both in float32."""

_SIGNIFICANT_BITS = {"float32": 24, "float16": 11, "bfloat16": 8}
_ROUNDINGS = 8  # a layer: two norms, four products of attention, two of the feed-forward part

# Least share of greedy tokens that agree.
_LEAST = {
    "F32": 0.99, "F16": 0.99, "BF16": 0.99, "Q8_0": 0.99, "Q6_K": 0.98, "Q5_K_M": 0.97, "Q5_K_S": 0.97, "Q5_1": 0.97,
    "Q5_0": 0.96, "Q4_K_M": 0.95, "Q4_K_S": 0.93, "Q4_1": 0.92, "Q4_0": 0.90, "Q3_K_L": 0.85, "Q3_K_M": 0.80,
    "Q3_K_S": 0.75, "Q2_K": 0.60,
}  # fmt: skip
# A base that was held in a few bits in training and is exported unrounded.
_TRAINED_ON = {"4bit": 0.90, "8bit": 0.95}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a form must keep.

    Attributes:
        tokens: Least share of greedy tokens that agree.
        exact: Largest difference of any logit; None where it is not bounded.
        spread: Largest difference of logits (root mean square over the vocabulary) as a share of their spread; None
            where it is not bounded.
    """

    tokens: float
    exact: float | None = None
    spread: float | None = None


def noise(dtype: str, layers: int) -> float:
    """Rounding noise of logits computed in a number format, as a share of their spread.

    Args:
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        layers: Depth of the model.
    """
    return float(2.0 ** -_SIGNIFICANT_BITS.get(dtype, 8) * math.sqrt(2 * _ROUNDINGS * max(1, layers)))


def model_bound(dtype: str, reference: str, layers: int, trained_in: str = "") -> Bound:
    """For a form that transformers runs.

    Args:
        dtype: Number format of the form.
        reference: Number format in which the reference was computed.
        layers: Depth of the model.
        trained_in: ``4bit`` or ``8bit`` where the reference's base is rounded.
    """
    if trained_in in _TRAINED_ON:
        return Bound(_TRAINED_ON[trained_in])
    if dtype == reference == "float32":
        return Bound(0.99, exact=EXACT)
    return Bound(0.99, spread=2 * max(noise(dtype, layers), noise(reference, layers)))


def gguf_bound(quant: str, layers: int, trained_in: str = "") -> Bound:
    """For a GGUF file.

    Args:
        quant: Its number format, such as ``Q4_K_M``.
        layers: Depth of the model.
        trained_in: ``4bit`` or ``8bit`` where the reference's base is rounded.
    """
    least = _LEAST.get(quant, 0.60)
    if trained_in in _TRAINED_ON:
        return Bound(min(least, _TRAINED_ON[trained_in]))
    # 16 bits: the weights may have been rounded to bfloat16 on the way. 8 bits a block of 32: about half as fine.
    times = {"F32": 2, "F16": 2, "BF16": 2, "Q8_0": 4}.get(quant)
    return Bound(least, spread=times * noise("bfloat16", layers) if times else None)


def quant_of(file: str) -> str:
    """The number format in a file's name, such as ``owl-Q4_K_M.gguf``; empty where there is none."""
    found = re.search(r"-([A-Z]{1,2}\d[A-Z0-9_]*)\.gguf$", file)
    return found[1] if found and found[1] in _LEAST else ""


def fineness(file: str) -> int:
    """Place of a file among others, finest number format first."""
    names = list(_LEAST)
    quant = quant_of(file)
    return names.index(quant) if quant else len(names)
