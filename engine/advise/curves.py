"""A run's numbers so far, as the tutor reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a curve.

    Attributes:
        x: Step in its middle.
        mean: Of its finite values; NaN without any.
        high: The largest of them.
        bad: Whether a value of it is NaN or infinite.
    """

    x: float
    mean: float
    high: float
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Curves:
    """A run's numbers so far.

    Attributes:
        objective: Its name in run.yaml.
        lora: An adapter is trained, whose usual learning rate is ten times higher.
        step: Steps taken.
        max_steps: Steps of the whole run; 0 while unknown.
        loss: The training loss in some forty parts of equal length, in order.
        broken_since: Step since which it is no number any more; None while it is one.
        start: Its beginning alone, in as many parts.
        held_out: Step and loss of each evaluation, in order; finite ones.
        learning_rate: Its highest value so far; None before the first.
        success: The objective's own measure in parts, such as the share of pairs ranked right.
        same_reward: Share of prompts whose answers all get the same reward, in parts; empty without rewards.
        memory: GiB used and GiB there are, on the fullest card; None without a card.
        busy: Per cent of the last minutes in which the card computed; None without a card.
        remaining: Seconds left; None when unknown.
        price_per_hour: None when nobody said.
    """

    objective: str
    lora: bool = True
    step: float = 0
    max_steps: float = 0
    loss: Sequence[Part] = ()
    broken_since: float | None = None
    start: Sequence[Part] = ()
    held_out: Sequence[tuple[float, float]] = ()
    learning_rate: float | None = None
    success: Sequence[Part] = ()
    same_reward: Sequence[Part] = ()
    memory: tuple[float, float] | None = None
    busy: float | None = None
    remaining: float | None = None
    price_per_hour: float | None = None

    @property
    def left(self) -> float:
        """Share of the steps that is still to come."""
        return max(0.0, 1 - self.step / self.max_steps) if self.max_steps else 1.0
