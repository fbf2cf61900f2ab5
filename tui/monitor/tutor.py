"""The numbers of a run as the tutor reads them, and its sentences with the key that acts on them."""

from __future__ import annotations

import math

from engine.advise.curves import Curves, Part
from engine.advise.tutor import Advice, advise
from tui.keymap import shown_key
from tui.monitor.hardware import fullest
from tui.monitor.objective import success_of
from tui.monitor.picture import Picture
from tui.plot import Series

PARTS = 40
START = 0.05  # share of a curve that is its beginning
MOST = 2  # sentences: more would push out what has happened
RECENT = 120.0  # seconds of work over which it is told how busy the card was
STYLES = {
    "good": ("✓", "$success"),
    "info": ("→", "bold $primary"),
    "warning": ("!", "bold $warning"),
    "bad": ("✗", "bold $error"),
}
KEYS = {"stop": "monitor.stop", "samples": "monitor.samples"}
DOES = {"stop": "stops it", "samples": "shows them"}


def tutor(picture: Picture) -> list[tuple[str, str, str]]:
    """Mark, its style, and the words; the most urgent first."""
    return [(*STYLES[one.level], _words(one)) for one in advise(curves_of(picture))[:MOST]]


def curves_of(picture: Picture) -> Curves:
    """What the tutor wants to know of a run."""
    model = picture.model
    objective = model.objective or "sft"
    success = success_of(objective)
    card = fullest(model.hardware.gpus or ())
    memory = None if card is None or card.used is None or not card.total else (card.used, card.total)
    return Curves(
        objective=objective,
        lora="lora" in model.method.lower(),
        step=model.progress.step,
        max_steps=model.progress.max_steps or 0,
        loss=parts_of(model.loss),
        broken_since=broken_since(model.loss),
        start=start_of(model.loss),
        held_out=[(bucket.x1, bucket.mean) for bucket in model.eval_loss.window() if bucket.n],
        learning_rate=model.learning_rate.max,
        success=parts_of(model.metrics.train.get(success)) if success else (),
        same_reward=parts_of(model.metrics.train.get("frac_reward_zero_std")),
        memory=memory,
        busy=_recent(model.hardware.busy),
        remaining=picture.remaining,
        price_per_hour=picture.price_per_hour,
    )


def parts_of(series: Series | None, share: float = 1.0) -> tuple[Part, ...]:
    """A curve in `PARTS` parts of equal length.

    Args:
        series: The curve.
        share: How much of it, from its beginning.
    """
    if series is None or series.first_x is None or series.last_x is None:
        return ()
    end = series.first_x + share * max(series.last_x - series.first_x, 1e-9)
    return tuple(
        Part((bucket.x0 + bucket.x1) / 2, bucket.mean, bucket.high, bool(bucket.bad))
        for bucket in series.columns(series.first_x, end, PARTS)
        if bucket is not None
    )


def start_of(series: Series) -> tuple[Part, ...]:
    """The beginning of a curve, of which the first parts of the whole would show little."""
    return parts_of(series, START)


def broken_since(loss: Series) -> float | None:
    """The step since which a loss is no number any more; None while it is one.

    One batch without a loss, such as one in which nothing is learnt from, breaks nothing.
    """
    since, bad = None, 0
    if loss.last is None or math.isfinite(loss.last):
        return None
    for bucket in reversed(list(loss.window())):
        if bucket.n and since is not None:
            break
        bad += bucket.bad
        since = bucket.x1 if bucket.n else bucket.x0
    return since if bad > 1 else None


def _recent(busy: Series) -> float | None:
    if busy.last_x is None:
        return None
    values = [bucket.mean for bucket in busy.window(busy.last_x - RECENT) if bucket.n]
    return sum(values) / len(values) if values else None


def _words(advice: Advice) -> str:
    if not advice.action:
        return advice.words
    return f"{advice.words} {shown_key(KEYS[advice.action])} {DOES[advice.action]}."
