"""How likely two models find the same tokens, and how far apart their predictions are. For worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.deliver.evaluate.sequences import Masked
from engine.deliver.generation import give_back_memory
from engine.deliver.loading import Side
from engine.train.tokens import IGNORED

BATCH = 8
_AT_ONCE = 256  # predictions in float32 at the same time; a row of them is as long as the vocabulary


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of one sequence.

    Attributes:
        tokens: Tokens that count.
        nll: For each model the sum of their negative log-probabilities, in nats.
        kl: Sum of the divergence of the second model's predictions from the first one's, in nats; None with one model.
    """

    tokens: int
    nll: tuple[float, ...]
    kl: float | None


def likelihoods(
    sides: Sequence[Side],
    sequences: Sequence[Masked],
    told: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
    batch_size: int = BATCH,
) -> list[Likelihood]:
    """Let the models read; a batch that memory is too small for is cut in halves.

    Args:
        sides: One model or two.
        sequences: What they read.
        told: Given how many are done.
        cancelled: Asked before each batch; True ends it with an empty list.
        batch_size: Sequences at once.
    """
    from engine.train.heal.out_of_memory import is_out_of_memory

    order = sorted(range(len(sequences)), key=lambda number: -len(sequences[number].ids))
    made: dict[int, Likelihood] = {}
    size, start = max(1, batch_size), 0
    while start < len(order):
        if cancelled():
            return []
        part = order[start : start + size]
        try:
            found = _batch(sides, [sequences[number] for number in part])
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
            give_back_memory()
            continue
        made.update(zip(part, found, strict=True))
        start += len(part)
        told(start)
    return [made[number] for number in range(len(sequences))]


def _batch(sides: Sequence[Side], sequences: Sequence[Masked]) -> list[Likelihood]:
    import torch

    width = max(len(one.ids) for one in sequences)
    ids = torch.zeros((len(sequences), width), dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(sequences):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        labels[row, : len(one.ids)] = torch.tensor(one.labels)
        mask[row, : len(one.ids)] = 1
    counts = labels[:, 1:] != IGNORED
    rows, wanted = counts.nonzero()[:, 0], labels[:, 1:][counts]
    predictions = []
    with torch.inference_mode():
        for side in sides:
            with side.active() as model:
                device = model.device
                logits = model(
                    input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
                ).logits
                predictions.append(logits[:, :-1][counts.to(logits.device)])
                del logits
        nll, kl = _sums(predictions, rows, wanted, len(sequences))
    tokens = counts.sum(1).tolist()
    return [
        Likelihood(
            tokens[row], tuple(side[row] for side in nll), _floor(kl[row]) if len(sides) == 2 else None
        )
        for row in range(len(sequences))
    ]


def _floor(kl: float) -> float:
    """Rounding makes tiny divergences negative; what is no number stays none."""
    return 0.0 if kl < 0 else kl


def _sums(
    predictions: Sequence[Any], rows: Any, wanted: Any, count: int
) -> tuple[list[list[float]], list[float]]:
    import torch

    nll = [torch.zeros(count, dtype=torch.float64) for _ in predictions]
    kl = torch.zeros(count, dtype=torch.float64)
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        logs = [torch.log_softmax(side[part].float(), -1) for side in predictions]
        for total, log in zip(nll, logs, strict=True):
            picked = log.gather(1, wanted[part].to(log.device)[:, None])[:, 0]
            total.index_add_(0, rows[part], -picked.double().cpu())
        if len(logs) == 2:
            first, second = logs[0], logs[1].to(logs[0].device)
            apart = (first.exp() * (first - second)).sum(-1)
            kl.index_add_(0, rows[part], apart.double().cpu())
    return [total.tolist() for total in nll], kl.tolist()
