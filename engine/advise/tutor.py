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

from engine.advise import trend
from engine.advise.curves import Curves, Part
from engine.advise.objectives import OBJECTIVES
from engine.advise.overfitting import overfitting, stays_worse
from engine.display import duration

Level = Literal["good", "info", "warning", "bad"]
Action = Literal["stop", "samples", ""]

EARLY = 8  # parts of a curve that must be known before it says anything
SURE = 3.0  # standard errors that a difference must have to count
CLIMB = 0.15  # share of the lowest level by which a loss stands above it when it is said to climb
CLIMB_OF_FALL = 0.1  # and share of what it had fallen by
OVERSHOOT = 0.25  # share of the first level that a loss rises above it when it overshoots
BARELY = 0.02  # share by which a loss has fallen when it is said to barely move
UNSURE = 0.04  # and share by which it may have fallen at most, for all that is known
FLAT = 0.005  # share by which the last evaluation must be better to say that it learns well
TO_COME = 0.04  # share by which a loss would still fall until the end when it is said to be flat
RISES = 0.03  # and share by which it may be rising
FLAT_EVALUATIONS = 2
AHEAD = 10  # times the steps that were looked at, so far a pace can be thought to go on
LEFT = 0.15  # share of a run that must be left before stopping it is worth a sentence
LEFT_AT_MOST = 0.75  # before that the learning rate may still be warming up
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
    if curves.broken_since is None:
        return None
    return Advice(
        "not a number",
        "bad",
        f"The loss is not a number since step {curves.broken_since:,.0f}: what is learned from there on is lost. Stop it, and start again "
        f"from the last checkpoint with a lower learning rate{_third(curves)}.",
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
    parts = [part for part in curves.loss if math.isfinite(part.mean)]
    values = trend.shares([part.mean for part in parts])
    if not _loss_tells(curves) or len(values) < 2 * EARLY or _held_out_falls(curves):
        return None
    width = max(3, len(values) // 6)
    levels = trend.levels(values, width)
    low = min(range(len(levels)), key=levels.__getitem__)
    # The lowest of many levels is low by luck, too, so more than the usual errors are asked for.
    if levels[-1] - levels[low] <= max(math.log(1 + CLIMB), 1.75 * SURE * trend.error(values, width)):
        return None
    first, lowest, now = (math.exp(level) for level in (levels[0], levels[low], levels[-1]))
    if now - lowest <= CLIMB_OF_FALL * (first - lowest) or levels[-1] < levels[-1 - width // 2]:
        return None
    since = parts[low + width - 1].x
    return Advice(
        "climbs",
        "warning",
        f"The loss climbs since about step {since:,.0f} ({_loss(lowest)} → {_loss(now)}): the learning rate is too high"
        f"{_third(curves, ' for this model and data; a third of it')}. Stop, and start again lower.",
        "stop",
    )


def _held_out_falls(curves: Curves) -> bool:
    """Rows that are always the same still get better: then only the rows it learns from have become harder."""
    return len(curves.held_out) >= 3 and curves.held_out[-1][1] <= min(
        value for _, value in curves.held_out[:-1]
    )


def _overfits(curves: Curves) -> Advice | None:
    if not _loss_tells(curves):
        return None
    held_out = {int(step): value for step, value in curves.held_out}
    training = {int(part.x): part.mean for part in curves.loss if math.isfinite(part.mean)}
    found = overfitting(held_out, training) or stays_worse(held_out, training)
    if found is None:
        return None
    return Advice(
        "overfits",
        "warning",
        f"It learns by heart since step {found.since:,}: the loss on held-out rows rises ({_loss(found.held_out[0])} → "
        f"{_loss(found.held_out[1])}) while the training loss falls. Step {found.since:,} was the best{_saves(curves, '; stopping now saves ')}.",
        "stop",
    )


def _overshot(curves: Curves) -> Advice | None:
    means = _means(curves.loss)
    peak = max((_overshoot(curves.start), _overshoot(curves.loss)), key=lambda found: found[1])
    if not _loss_tells(curves) or not peak[1] or means[-1] > means[0]:
        return None  # a loss that has not come down again climbs, which is said elsewhere
    return Advice(
        "overshot",
        "warning" if curves.left > 0.3 else "info",
        f"The loss shot up to {_loss(peak[1])} around step {peak[0]:,.0f} before it fell: the learning rate is "
        f"too high{_third(curves, '; a third of it')}. What is broken then seldom heals: a run with a lower one ends better.",
        "stop" if curves.left > 0.3 else "",
    )


def _overshoot(parts: Sequence[Part]) -> tuple[float, float]:
    """Step from which two parts in a row stood above the first, and the highest mean; zeros if none did."""
    parts = [part for part in parts if math.isfinite(part.mean)]
    values = trend.shares([part.mean for part in parts])
    if len(values) < EARLY:
        return 0.0, 0.0
    limit = values[0] + max(math.log(1 + OVERSHOOT), 1.25 * SURE * trend.error(values, 1))
    above = [at for at in range(2, len(values)) if min(values[at - 1 : at + 1]) > limit]
    return (parts[above[0]].x, max(parts[at].mean for at in above)) if above else (0.0, 0.0)


def _barely(curves: Curves) -> Advice | None:
    means = _means(curves.loss)
    if not _loss_tells(curves) or len(means) < 2 * EARLY or _may_warm_up(curves):
        return None
    width = len(means) // 4
    first, last = statistics.fmean(means[:width]), statistics.fmean(means[-width:])
    if (
        abs(first) < 0.05
        or last > first * (1 + UNSURE)
        or _fell(curves, first, last, trend.error(means, width))
    ):
        return None
    if curves.objective in ("dpo", "kto", "reward") and trend.rises(_means(curves.success)):
        return None
    about = next((about for about in OBJECTIVES.values() if about.id == curves.objective), OBJECTIVES["sft"])
    usual = about.lora_rate if curves.lora else about.full_rate
    rate = curves.learning_rate
    moves = f"The loss barely moves ({_loss(first)} → {_loss(last)} in {curves.step:,.0f} steps)."
    if rate is not None and rate < usual / 3:
        kind = "an adapter (LoRA)" if curves.lora else "training all weights"
        why = f"The learning rate {rate:.0e} is low for {kind}; {usual:.0e} is usual."
        return Advice("barely moves", "warning", f"{moves} {why}", "stop")
    why = "Either the model knows this already, or the learning rate is too low for it; the answers before and now tell which."
    return Advice("barely moves", "info", f"{moves} {why}", "samples")


def _fell(curves: Curves, first: float, last: float, error: float) -> bool:
    """Whether the loss fell by more than next to nothing, or may have for all that its noise tells."""
    if len(curves.held_out) >= 2:  # always the same rows: the surest sign
        began, lowest = curves.held_out[0][1], min(value for _, value in curves.held_out)
        return began - lowest > BARELY * abs(began)
    if first - last + 2 * error > UNSURE * abs(first):
        return True
    # What was learnt in the first moments is lost in the mean of the first quarter.
    start = _means(curves.start)
    return any(
        statistics.fmean(start[:count]) - last > max(BARELY * abs(first), trend.error(start, count))
        for count in (1, 2, 4, 8)
        if count <= len(start)
    )


def _flat(curves: Curves) -> Advice | None:
    if not _loss_tells(curves) or curves.left < LEFT or _may_warm_up(curves):
        return None
    if curves.held_out:
        since = _stands_still(curves, curves.held_out, max(FLAT_EVALUATIONS, len(curves.held_out) // 4))
        words = "The held-out loss is flat since step {:,.0f}: at its pace the rest would bring less than {:.0f} %."
    else:  # without held-out rows the training loss must do
        parts = [(part.x, part.mean) for part in curves.loss if math.isfinite(part.mean)]
        since = _stands_still(curves, parts, max(EARLY, len(parts) // 3))
        words = (
            "The training loss is flat since about step {:,.0f}: at its pace the rest would bring less than {:.0f} %, and without "
            "held-out rows nothing tells whether the answers still get better."
        )
    if since is None:
        return None
    told = words.format(since, 100 * TO_COME) + _saves(curves, " Stopping now would save ", ".")
    return Advice("flat", "info", told, "stop")


def _stands_still(curves: Curves, points: Sequence[tuple[float, float]], width: int) -> float | None:
    """Step since which a curve neither rises nor falls fast enough to get anywhere; None if it may do either."""
    if len(points) < 2 * width:
        return None
    before, last = points[-2 * width : -width], points[-width:]
    old, new = (statistics.median(value for _, value in some) for some in (before, last))
    error = trend.error([value for _, value in points[-2 * width :]], width)
    steps = statistics.median(at for at, _ in last) - statistics.median(at for at, _ in before)
    fall, sure = old - new, 2 * error
    to_come = min((curves.max_steps or 2 * curves.step) - curves.step, AHEAD * steps)
    if steps <= 0 or (fall + sure) * to_come / steps > TO_COME * abs(old) or sure - fall > RISES * abs(old):
        return None
    return before[0][0]


def _same_reward(curves: Curves) -> Advice | None:
    means = _means(curves.same_reward)
    recent = means[-max(2 * EARLY, len(means) // 3) :]
    if len(recent) < 2 * EARLY:
        return None
    share, error = statistics.fmean(recent), statistics.stdev(recent) / math.sqrt(len(recent))
    if share < SAME_REWARD or share - SURE * error < SAME_REWARD - 0.1:
        return None
    return Advice(
        "same reward",
        "warning",
        f"For {100 * share:.0f} % of the prompts all answers score the same, so there is nothing to learn from them. "
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
        if trend.rises(success):
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
    if first - last > SURE * trend.error(means, width):
        return Advice("learns", "good", f"Learning: the loss fell from {_loss(first)} to {_loss(last)}.")
    return Advice("jumps", "info", "The loss still jumps more than it falls; a trend shows after more steps.")


def _loss_tells(curves: Curves) -> bool:
    """Where answers are made up while training, the loss says nothing about how good they are."""
    return curves.objective not in ("grpo", "rloo")


def _may_warm_up(curves: Curves) -> bool:
    return bool(curves.max_steps) and curves.left > LEFT_AT_MOST


def _means(parts: Sequence[Part]) -> list[float]:
    return [part.mean for part in parts if math.isfinite(part.mean)]


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
