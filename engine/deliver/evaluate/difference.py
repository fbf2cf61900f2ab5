"""Whether the trained model really differs from the other one. For worker processes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig
from engine.deliver.evaluate.report import Change
from engine.deliver.loading import Side

SAME_KL = 1e-5  # nats a token: what rounding alone makes of the same weights
HARDLY_KL = 1e-3
HARDLY_ANSWERS = 0.05
TOO_LOW = 0.1  # of the usual learning rate


@dataclass(frozen=True, slots=True)
class Weights:
    """How far the weights went.

    Attributes:
        lora_b: Largest absolute number in the adapter's B matrices; None without adapter.
        relative: Size of the change relative to that of the weight it is added to, the median over the layers.
    """

    lora_b: float | None
    relative: float | None


def weights_of(sides: Sequence[Side]) -> Weights:
    """Measure the change; of an adapter against the weights it is added to, of whole models against each other.

    Args:
        sides: The model before, if there is one, and the one after.
    """
    import torch

    with torch.inference_mode():
        if sides[-1].adapter is not None:
            return _of_adapter(sides[-1].model, sides[-1].adapter)
        if len(sides) == 2 and sides[0].model is not sides[1].model:
            return _of_models(sides[0].model, sides[1].model)
    return Weights(None, None)


def change_of(
    weights: Weights, answers: float | None, kl: float | None, config: RunConfig, before: str
) -> Change:
    """What the numbers say together.

    Args:
        weights: How far the weights went.
        answers: Share of answers that changed.
        kl: Mean divergence of the predictions, in nats a token.
        config: The run.
        before: Name of the model it is compared with.
    """
    numbers = _numbers(weights, answers, kl)
    kind, words = "different", f"The models really differ: {numbers}." if numbers else ""
    if kl is None and answers is None:
        return Change(kind, words, weights.lora_b, weights.relative)
    if (kl is None or kl < SAME_KL) and not answers:
        kind = "identical"
        words = f"{numbers[:1].upper()}{numbers[1:]}. {' '.join(causes(weights, config, before))}"
    elif (kl is None or kl < HARDLY_KL) and (answers is None or answers < HARDLY_ANSWERS):
        kind = "hardly"
        words = f"The models hardly differ: {numbers}. {' '.join(causes(weights, config, before))}"
    return Change(kind, words, weights.lora_b, weights.relative, answers, kl)


def causes(weights: Weights, config: RunConfig, before: str) -> list[str]:
    """Why a training may have had no effect, the likeliest reason first, in sentences."""
    about = OBJECTIVES[config.method.objective]
    lora = config.method.tuning == "lora"
    usual = about.lora_rate if lora else about.full_rate
    rate = config.training.learning_rate or usual
    made = []
    if weights.lora_b == 0:
        made.append("The adapter holds nothing but zeros: it was saved before anything was learnt.")
    if rate < TOO_LOW * usual:
        kind = "an adapter" if lora else "all weights"
        made.append(
            f"The learning rate was {rate:g}; for {kind} about {usual:g} is usual. Train again with that."
        )
    if not made and weights.relative is not None and weights.relative > 1e-3:
        made.append(
            "The weights did change, so the adapter is probably not the one for this base model, or is not applied, or the chat "
            "template is not the one of the training."
        )
    if not made:
        made.append(
            "Likely causes: too few steps, a learning rate that is too low, an adapter that was not loaded, or a chat template "
            "that is not the one of the training."
        )
    if before != "base":
        made.append(f"It is compared with {before}, which may simply be as good already.")
    return made


def _numbers(weights: Weights, answers: float | None, kl: float | None) -> str:
    told = []
    if answers is not None:
        told.append("not one answer changed" if answers == 0 else f"{answers:.0%} of the answers changed")
    if kl is not None:
        told.append(f"predictions are {kl:.2g} a token apart (0 is the same; in the unit of the loss)")
    if weights.relative is not None:
        told.append(f"weights moved by {100 * weights.relative:.2g} %")
    if weights.lora_b is not None:
        told.append(f"largest number in the adapter's B matrices {weights.lora_b:.2g}")
    return ", ".join(told)


def _of_adapter(model: Any, name: str) -> Weights:
    from peft.utils.integrations import dequantize_module_weight

    largest, moved = 0.0, []
    for module in model.modules():
        if name not in getattr(module, "lora_B", {}):
            continue
        down, up = module.lora_A[name].weight.float(), module.lora_B[name].weight.float()
        largest = max(largest, float(up.abs().max()))
        # |B A| without making the product, which is as large as the weight itself.
        inner = (up.T @ up) * (down @ down.T)
        size = float(inner.sum().clamp(min=0).sqrt()) * abs(float(module.scaling[name]))
        weight = float(dequantize_module_weight(module.get_base_layer()).float().norm())
        if weight:
            moved.append(size / weight)
    return Weights(largest, statistics.median(moved) if moved else None)


def _of_models(before: Any, after: Any) -> Weights:
    old = dict(before.named_parameters())
    moved = []
    for name, new in after.named_parameters():
        other = old.get(name)
        if other is None or other.shape != new.shape or not new.is_floating_point():
            continue
        size = float(other.float().norm())
        if size:
            moved.append(float((new.float().to(other.device) - other.float()).norm()) / size)
    changed = [one for one in moved if one]  # of a frozen model most layers stay as they are
    return Weights(None, statistics.median(changed) if changed else 0.0)
