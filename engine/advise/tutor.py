"""What the curves of a run mean, in one or two plain sentences each, and what could be done about it.

Only from numbers that the run has told; nothing here knows a screen. The rules are held against recorded runs in tests/advise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from engine.advise.curves import Curves, Part
from engine.advise.objectives import OBJECTIVES
from engine.advise.overfitting import Overfitting, overfitting
from engine.display import duration

Level = Literal["good", "info", "warning", "bad"]
Action = Literal["stop", "evaluate", "pause", "log", ""]

EARLY = 8  # parts of a curve that must be known before it says anything
SURE = 3.0  # standard errors that a difference must have to count
CLIMB = 0.15  # share of the lowest level by which a loss stands above it when it is said to climb
OVERSHOOT = 0.25  # share of the first level that a loss rises above it when it overshoots
STAYS = 4  # evaluations that must all be worse than the best
WORSE = 0.05  # share by which they must be worse
CLIMB_OF_FALL = 0.1  # and share of what it had fallen by
BARELY = 0.02  # share by which a loss has fallen when it is said to barely move
FLAT = 0.005  # share by which the last evaluations got better when they are said to be flat
FLAT_EVALUATIONS = 3
LEFT = 0.15  # share of a run that must be left before stopping it is worth a sentence
SPIKE = 8.0  # times the ordinary jump from part to part
ZERO = 1e-6
BY_HEART = 0.005  # loss at which hardly a word surprises any more
CLOSE = 0.95  # share of the card's memory
WAITING = 55.0  # per cent of the time a card computes while it trains, below which it waits for something
SAME_REWARD = 0.8  # share of prompts whose answers all score the same
IMITATES = ("sft", "cpt", "orpo")


@dataclass(frozen=True, slots=True)
class Advice:
    """What a curve means.

    Attributes:
        about: Short name of the rule, stable.
        level: How bad it is.
        words: One or two sentences.
        action: What would act on it; empty where nothing should be done.
    """

    about: str
    level: Level
    words: str
    action: Action = ""


def advise(curves: Curves) -> list[Advice]:
    """All that the curves say, the most urgent first; never empty.

    Args:
        curves: The run's numbers.
    """
    urgent = [found for rule in RULES if (found := rule(curves)) is not None]
    if any(found.about in ABOUT_LEARNING for found in urgent):
        return urgent
    return [*urgent, _progress(curves)]


def _broken(curves: Curves) -> Advice | None:
    last = curves.loss[-1] if curves.loss else None
    if last is None or not last.bad or math.isfinite(last.mean):
        return None
    since = next(
        (after.x for before, after in reversed(list(pairwise(curves.loss))) if math.isfinite(before.mean)),
        last.x,
    )
    return Advice(
        "not a number",
        "bad",
        f"The loss is not a number since about step {since:,.0f}: what is learnt from there on is lost. Stop it, and start again from "
        f"the last checkpoint with a lower learning rate{_third(curves)}.",
        "stop",
    )


def _zero(curves: Curves) -> Advice | None:
    means = _means(curves.loss)
    if curves.objective not in IMITATES or len(means) < EARLY or max(map(abs, means[-5:])) > BY_HEART:
        return None
    if max(map(abs, means)) <= ZERO:
        words = "The loss is zero from the start: there is no token to learn from. Look at the template: which parts are learnt?"
    else:
        words = "The loss has fallen to nearly zero: the rows are known by heart, and nothing is left to learn from them."
    return Advice("zero", "bad", words, "stop")


def _climbs(curves: Curves) -> Advice | None:
    means = _means(curves.loss)
    if not _loss_tells(curves) or len(means) < EARLY:
        return None
    width = max(2, len(means) // 6)
    levels = [statistics.fmean(means[i : i + width]) for i in range(len(means) - width + 1)]
    low = min(range(len(levels)), key=levels.__getitem__)
    now, lowest = levels[-1], levels[low]
    error = _noise(means) * math.sqrt(2 / width)
    fallen = max(0.0, levels[0] - lowest)
    if (
        now - lowest <= max(CLIMB * abs(lowest), CLIMB_OF_FALL * fallen, SURE * error)
        or levels[-1] < levels[-1 - width // 2]
    ):
        return None
    parts = [part for part in curves.loss if math.isfinite(part.mean)]
    since = parts[min(low + width - 1, len(parts) - 1)].x
    return Advice(
        "climbs",
        "warning",
        f"The loss climbs since about step {since:,.0f} ({_loss(lowest)} → {_loss(now)}): the learning rate is too high"
        f"{_third(curves, ' for this model and data; a third of it')}. Stop, and start again lower.",
        "stop",
    )


def _overfits(curves: Curves) -> Advice | None:
    if not _loss_tells(curves):
        return None
    held_out = {int(step): value for step, value in curves.held_out}
    training = {int(part.x): part.mean for part in curves.loss if math.isfinite(part.mean)}
    found = overfitting(held_out, training) or _stays_worse(held_out, training)
    if found is None:
        return None
    return Advice(
        "overfits",
        "warning",
        f"It learns by heart since step {found.since:,}: the loss on held-out rows rises ({_loss(found.held_out[0])} → "
        f"{_loss(found.held_out[1])}) while the training loss falls. Step {found.since:,} was the best{_saves(curves, '; stopping now saves ')}.",
        "stop",
    )


def _stays_worse(held_out: dict[int, float], training: dict[int, float]) -> Overfitting | None:
    """The rise is over, and what was lost has not come back."""
    if not held_out or not training:
        return None
    steps = sorted(held_out)
    low = min(steps, key=lambda step: (held_out[step], step))
    later = [held_out[step] for step in steps if step > low]
    if len(later) < STAYS or min(later) <= held_out[low] + WORSE * abs(held_out[low]):
        return None
    then = training[min(training, key=lambda step: abs(step - low))]
    now = training[max(training)]
    return Overfitting(low, (held_out[low], later[-1]), (then, now)) if now < then else None


def _overshot(curves: Curves) -> Advice | None:
    parts = [part for part in curves.loss if math.isfinite(part.mean)]
    if not _loss_tells(curves) or len(parts) < EARLY:
        return None
    first = parts[0].mean
    above = [
        part
        for before, part in pairwise(parts[1:])
        if min(before.mean, part.mean) > first + OVERSHOOT * abs(first)
    ]
    if not above or parts[-1].mean > first:
        return None  # a loss that has not come down again climbs, which is said elsewhere
    return Advice(
        "overshot",
        "warning" if curves.left > 0.3 else "info",
        f"The loss shot up to {_loss(max(part.mean for part in above))} around step {above[0].x:,.0f} before it fell: the learning rate is "
        f"too high{_third(curves, '; a third of it')}. What is broken then seldom heals: a run with a lower one ends better.",
        "stop" if curves.left > 0.3 else "",
    )


def _barely(curves: Curves) -> Advice | None:
    means = _means(curves.loss)
    if not _loss_tells(curves) or len(means) < 2 * EARLY or (curves.max_steps and curves.left > 0.8):
        return None
    width = max(3, len(means) // 4)
    first, last = statistics.fmean(means[:width]), statistics.fmean(means[-width:])
    error = _noise(means) * math.sqrt(2 / width)
    if (
        abs(first) < 0.05
        or first - last > max(BARELY * abs(first), SURE * error)
        or last > first * (1 + CLIMB)
    ):
        return None
    if curves.objective in ("dpo", "kto", "reward") and _rises(_means(curves.success)):
        return None
    about = next((about for about in OBJECTIVES.values() if about.id == curves.objective), OBJECTIVES["sft"])
    usual = about.lora_rate if curves.lora else about.full_rate
    rate = curves.learning_rate
    if rate is not None and rate < usual / 3:
        kind = "an adapter (LoRA)" if curves.lora else "training all weights"
        why = f"The learning rate {rate:.0e} is low for {kind}; {usual:.0e} is usual."
    else:
        why = "Either the model knows this already, or the learning rate is too low for it; the answers before and now tell which."
    return Advice(
        "barely moves",
        "warning",
        f"The loss barely moves ({_loss(first)} → {_loss(last)} in {curves.step:,.0f} steps). {why}",
        "stop",
    )


def _flat(curves: Curves) -> Advice | None:
    values = [value for _, value in curves.held_out]
    if not values:
        return _flat_training(curves)
    if not _loss_tells(curves) or len(values) <= FLAT_EVALUATIONS + 1 or curves.left < LEFT:
        return None
    before = min(values[:-FLAT_EVALUATIONS])
    last = values[-FLAT_EVALUATIONS:]
    if before - min(last) > FLAT * abs(before) or max(last) - before > 0.02 * abs(before):
        return None
    since = curves.held_out[-FLAT_EVALUATIONS - 1][0]
    return Advice(
        "flat",
        "info",
        f"The held-out loss is flat since step {since:,.0f} (it moves by less than {100 * FLAT:.1f} %)."
        + _saves(curves, " Stopping now would save ", "."),
        "stop",
    )


def _flat_training(curves: Curves) -> Advice | None:
    """Without held-out rows the training loss must do."""
    parts = [part for part in curves.loss if math.isfinite(part.mean)]
    third = len(parts) // 3
    if not _loss_tells(curves) or third < EARLY or curves.left < LEFT:
        return None
    middle = statistics.fmean(part.mean for part in parts[third : 2 * third])
    last = statistics.fmean(part.mean for part in parts[-third:])
    if abs(middle - last) > 2 * FLAT * abs(middle):
        return None
    return Advice(
        "flat",
        "info",
        f"The training loss is flat since about step {parts[third].x:,.0f}, and without held-out rows nothing tells whether the answers "
        f"still get better.{_saves(curves, ' Stopping now would save ', '.')}",
        "stop",
    )


def _same_reward(curves: Curves) -> Advice | None:
    if curves.same_reward is None or curves.same_reward < SAME_REWARD or curves.step < 5:
        return None
    return Advice(
        "same reward",
        "warning",
        f"For {100 * curves.same_reward:.0f} % of the prompts all answers score the same, so there is nothing to learn from them. "
        "Raise num_generations or temperature, or use prompts that the model gets right sometimes.",
        "stop",
    )


def _memory(curves: Curves) -> Advice | None:
    if curves.memory is None or curves.memory[1] <= 0 or curves.memory[0] / curves.memory[1] < CLOSE:
        return None
    used, there = curves.memory
    return Advice(
        "memory",
        "info",
        f"The GPU is nearly full: {there - used:.1f} of {there:.1f} GiB are free. Should a longer batch not fit, finetui halves the batch "
        "and goes on from the last checkpoint.",
    )


def _waits(curves: Curves) -> Advice | None:
    if curves.busy is None or curves.busy >= WAITING or curves.step < 5:
        return None
    return Advice(
        "waits",
        "info",
        f"The GPU computes only {curves.busy:.0f} % of the time: it waits for the processor or the disk. A larger "
        "per_device_train_batch_size with fewer gradient_accumulation_steps usually helps.",
    )


def _spike(curves: Curves) -> Advice | None:
    parts = [part for part in curves.loss if math.isfinite(part.mean)]
    if len(parts) < 2 * EARLY or not _loss_tells(curves):
        return None
    recent = parts[-max(3, len(parts) // 5) :]
    worst = max(recent, key=lambda part: part.high)
    ordinary = statistics.median(part.high for part in parts[len(parts) // 4 :])
    jump = statistics.median(abs(after.high - before.high) for before, after in pairwise(parts))
    if worst.high - ordinary <= max(SPIKE * jump, abs(ordinary)) or worst is parts[-1]:
        return None
    return Advice(
        "spike",
        "info",
        f"One batch around step {worst.x:,.0f} stood out (loss {_loss(worst.high)}), and the curve came back: usually an odd row. "
        "Nothing needs to be done.",
    )


RULES: tuple[Callable[[Curves], Advice | None], ...] = (
    _broken, _zero, _climbs, _overfits, _overshot, _same_reward, _barely, _flat, _memory, _waits, _spike,
)  # fmt: skip
ABOUT_LEARNING = (
    "not a number",
    "zero",
    "climbs",
    "overfits",
    "overshot",
    "barely moves",
    "flat",
    "same reward",
)
"""What says already how the learning goes."""


def _progress(curves: Curves) -> Advice:
    """How it goes when nothing is wrong."""
    means = _means(curves.loss)
    if len(means) < EARLY:
        return Advice("early", "info", "Too early to tell: the first steps jump up and down.")
    success = [part.mean for part in curves.success if math.isfinite(part.mean)]
    if not _loss_tells(curves) and len(success) >= 4:
        width = max(2, len(success) // 3)
        first, last = statistics.fmean(success[:width]), statistics.fmean(success[-width:])
        if _rises(success):
            return Advice("rewards rise", "good", f"Learning: the reward rises ({first:.2f} → {last:.2f}).")
        return Advice(
            "rewards",
            "info",
            f"The reward does not rise yet ({first:.2f} → {last:.2f}). It often takes a while, then moves.",
        )
    if curves.objective in ("dpo", "orpo", "reward") and success:
        last = statistics.fmean(success[-max(1, len(success) // 5) :])
        if 0 <= last <= 1:
            level: Level = "good" if last >= 0.6 else "info"
            return Advice(
                "pairs", level, f"It ranks {100 * last:.0f} % of the pairs right; guessing would be 50 %."
            )
    if len(curves.held_out) >= 2:
        (before, old), (after, new) = curves.held_out[-2:]
        if old > 0 and after > before:
            per = 100 * (old - new) / old
            if per > 100 * FLAT:
                return Advice(
                    "learns", "good",
                    f"Learning well: the loss on held-out rows fell by {per:.1f} % in the last {after - before:,.0f} steps.",
                )  # fmt: skip
            return Advice(
                "settles", "info", "The loss on held-out rows has settled; the rest of the run polishes."
            )
    width = max(2, len(means) // 4)
    first, last = statistics.fmean(means[:width]), statistics.fmean(means[-width:])
    if first - last > SURE * _noise(means) * math.sqrt(2 / width):
        return Advice("learns", "good", f"Learning: the loss fell from {_loss(first)} to {_loss(last)}.")
    return Advice("jumps", "info", "The loss still jumps more than it falls; a trend shows after more steps.")


def _loss_tells(curves: Curves) -> bool:
    """Where answers are made up while training, the loss says nothing about how good they are."""
    return curves.objective not in ("grpo", "rloo")


def _means(parts: Sequence[Part]) -> list[float]:
    return [part.mean for part in parts if math.isfinite(part.mean)]


def _noise(means: Sequence[float]) -> float:
    """Standard deviation of one part around the trend: from neighbour to neighbour, where the trend does not show."""
    jumps = [after - before for before, after in pairwise(means)]
    if not jumps:
        return 0.0
    # The median forgives a few spikes; 1.4826 makes it the standard deviation of a normal distribution.
    return 1.4826 * statistics.median(map(abs, jumps)) / math.sqrt(2)


def _rises(means: Sequence[float]) -> bool:
    """Whether a straight line through the values goes up almost certainly: its slope is more than two standard errors."""
    count = len(means)
    if count < 4:
        return False
    slope, start = statistics.linear_regression(range(count), means)
    rest = sum((value - start - slope * at) ** 2 for at, value in enumerate(means)) / (count - 2)
    spread = sum((at - (count - 1) / 2) ** 2 for at in range(count))
    return slope > 2 * math.sqrt(rest / spread)


def _saves(curves: Curves, before: str, after: str = "") -> str:
    """What is not spent when it is stopped now; empty when that is little or unknown."""
    if curves.remaining is None or curves.left < LEFT or curves.remaining < 60:
        return ""
    time = f"{duration(curves.remaining)} of time"
    if curves.price_per_hour:
        cost = curves.price_per_hour * curves.remaining / 3600
        if cost >= 0.01:
            return f"{before}${cost:,.2f}{after}"
    return f"{before}{time}{after}"


def _third(curves: Curves, before: str = ", such as") -> str:
    return "" if not curves.learning_rate else f"{before} {curves.learning_rate / 3:.0e}".rstrip()


def _loss(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
