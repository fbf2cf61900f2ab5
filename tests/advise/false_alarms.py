"""``python -m tests.advise.false_alarms [--runs 200]``: how often the tutor warns of nothing, and how often it misses a fault.

Made-up runs, healthy ones and ones with a planted fault, are looked at as the monitor would, at moments over their whole length. A
healthy run counts as warned wrongly if it was warned at any of them.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.advise.curves import Curves
from engine.advise.objectives import OBJECTIVES
from engine.advise.tutor import Advice, advise
from tui.monitor.tutor import broken_since, parts_of, start_of
from tui.plot import Series

SHORTEST, LONGEST = 20, 20_000  # steps
LOOKS = 25
WARNS = ("warning", "bad")
WANDERS = (0.001, 0.003, 0.01, 0.015)  # share of a held-out loss by which the weights make it wander
COUNTS = (3, 5, 10, 20, 50)  # evaluations in a run
MANY = (10, 20, 50)
FLAT_IS_WRONG = 0.05  # share by which the true loss still falls after it was called flat


@dataclass(slots=True)
class Made:
    """A made-up run, one entry a step."""

    objective: str
    loss: list[float]
    true: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    same_reward: list[float] = field(default_factory=list)
    rate: float = 2e-4
    logging: int = 1
    memory: tuple[float, float] | None = None
    busy: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A run in which something is wrong.

    Attributes:
        made: The run.
        begins: Step from which a perfect eye could see it.
        wanted: Rules that name it.
    """

    made: Made
    begins: int
    wanted: tuple[str, ...]


# Healthy runs


def length(luck: random.Random) -> int:
    """Steps of a run, short and long ones alike often."""
    return int(math.exp(luck.uniform(math.log(SHORTEST), math.log(LONGEST))))


def noisy(luck: random.Random, true: Sequence[float], sigma: float, tails: bool = False) -> list[float]:
    """What is logged of a true loss: rows differ, and a few are odd."""
    return [
        level * math.exp(sigma * (abs(z) + 2 if tails and luck.random() < 0.02 else z) - sigma * sigma / 2)
        for level, z in ((level, luck.gauss(0, 1)) for level in true)
    ]


def spread(luck: random.Random) -> float:
    """How much a logged loss jumps, as a share of it: one row a batch, down to many rows by accumulating."""
    return 0.5 / math.sqrt(luck.choice([1, 2, 4, 8, 16, 64, 256]))


def evaluated(
    luck: random.Random, true: Sequence[float], wanders: Sequence[float], counts: Sequence[int]
) -> list[tuple[int, float]]:
    """Evaluations of a true loss: always the same rows, so they differ only by how the weights wander."""
    steps, wander = len(true), luck.choice(wanders)
    every = max(1, steps // luck.choice(counts))
    return [
        (step, 1.05 * true[max(0, step - 1)] * (1 + luck.gauss(0, wander)))
        for step in range(0, steps + 1, every)
    ]


def warmed(luck: random.Random, steps: int) -> list[float]:
    """How much has been learnt after each step, in steps at the full rate: warm-up, then one of the usual schedules."""
    warm = max(1, int(steps * luck.choice([0.0, 0.01, 0.03, 0.1])))
    kind = luck.choice(["constant", "linear", "cosine"])
    gone, total = [], 0.0
    for step in range(steps):
        share = (step - warm) / max(1, steps - warm)
        after = {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}[kind]
        total += step / warm if step < warm else after
        gone.append(total)
    return gone


def hits(luck: random.Random, likely: float, tries: int) -> float:
    """Share of so many tries that succeed."""
    if tries <= 8:
        return sum(luck.random() < likely for _ in range(tries)) / tries
    return min(1.0, max(0.0, luck.gauss(likely, math.sqrt(likely * (1 - likely) / tries))))


def imitating(luck: random.Random, kind: str) -> Made:
    """A healthy run that imitates answers."""
    steps = length(luck)
    start = luck.uniform(0.5, 4.0)
    share, speed = {
        "falls": (luck.uniform(0.2, 0.8), steps * luck.uniform(0.03, 0.5)),
        "falls at once": (luck.uniform(0.4, 0.85), min(steps * 0.03, luck.uniform(5, 40))),
        "has little to learn": (luck.uniform(0.85, 0.95), steps * luck.uniform(0.02, 0.3)),
        "goes through epochs": (luck.uniform(0.4, 0.8), steps * luck.uniform(0.05, 0.3)),
        "starts with a bump": (luck.uniform(0.3, 0.8), steps * luck.uniform(0.03, 0.3)),
        "has blocks of like rows": (luck.uniform(0.3, 0.8), steps * luck.uniform(0.03, 0.3)),
        "follows a power law": (luck.uniform(0.05, 0.15), max(1.0, steps * luck.uniform(0.001, 0.02))),
    }[kind]
    gone = warmed(luck, steps)
    floor = start * share
    if kind == "follows a power law":
        true = [start * (1 + step / speed) ** -share for step in gone]
    else:
        true = [floor + (start - floor) * math.exp(-step / speed) for step in gone]
    seen = true
    if kind == "goes through epochs":
        seen = [level * 0.87 ** (3 * step // steps) for step, level in enumerate(true)]
    elif kind == "starts with a bump":
        peak, wide = max(1.0, steps * luck.uniform(0.005, 0.05)), luck.uniform(0.03, 0.12)
        true = [v * (1 + wide * (s / peak) * math.exp(1 - s / peak)) for s, v in enumerate(true)]
        seen = true
    elif kind == "has blocks of like rows":
        levels = [luck.uniform(0.95, 1.05) for _ in range(12)]
        seen = [level * levels[12 * step // steps] for step, level in enumerate(true)]
    made = Made("sft", noisy(luck, seen, spread(luck), luck.random() < 0.3), true)
    if luck.random() < 0.6:
        made.held_out = evaluated(luck, true, WANDERS, COUNTS)
    if steps > 200:
        made.logging = luck.choice([1, 1, 5, 10])
    made.rate = OBJECTIVES["sft"].lora_rate * math.exp(luck.uniform(math.log(0.1), math.log(2.5)))
    if luck.random() < 0.1:  # one batch in which nothing is learnt from, which has no loss
        made.loss[luck.randrange(steps)] = math.nan
    made.memory, made.busy = (luck.uniform(12, 22.5), 24.0), luck.uniform(60, 100)
    return made


def preferring(luck: random.Random) -> Made:
    """A healthy run that learns from pairs: from ln 2 downwards, by a little or by much."""
    steps = length(luck)
    floor, speed = luck.choice([0.6, 0.5, 0.3, 0.05]), steps * luck.uniform(0.05, 0.4)
    true = [floor + (math.log(2) - floor) * math.exp(-gone / speed) for gone in warmed(luck, steps)]
    pairs = luck.choice([2, 8, 32])
    right = [0.5 + 0.4 * (math.log(2) - level) / math.log(2) for level in true]
    made = Made("dpo", noisy(luck, true, spread(luck) / 2), true, rate=1e-5)
    made.reward = [hits(luck, share, pairs) for share in right]
    if luck.random() < 0.6:
        made.held_out = evaluated(luck, true, WANDERS, COUNTS)
    return made


def rewarded(luck: random.Random) -> Made:
    """A healthy run whose answers are scored: the loss means nothing, the reward rises under much noise."""
    steps = length(luck)
    prompts, alike = luck.choice([1, 2, 4, 8, 32]), luck.uniform(0.0, 0.6)
    made = Made("grpo", [luck.gauss(0, 0.03) for _ in range(steps)], rate=1e-5)
    low, high = luck.uniform(0.0, 0.4), luck.uniform(0.5, 0.95)
    for step in range(steps):
        wanted = low + (high - low) * step / steps
        made.reward.append(hits(luck, wanted, 8 * prompts))
        made.same_reward.append(hits(luck, alike, prompts))
    return made


HEALTHY = (
    "falls", "falls at once", "has little to learn", "goes through epochs", "starts with a bump", "has blocks of like rows",
    "follows a power law", "pairs", "rewards",
)  # fmt: skip


def healthy(luck: random.Random, kind: str) -> Made:
    """A run of this kind in which nothing is wrong."""
    if kind == "pairs":
        return preferring(luck)
    return rewarded(luck) if kind == "rewards" else imitating(luck, kind)


# Planted faults


def _usual(luck: random.Random, least: int = 100) -> Made:
    """A good run to plant a fault in, without much noise."""
    steps = max(least, length(luck))
    start, speed = luck.uniform(1.0, 3.0), steps * luck.uniform(0.05, 0.2)
    true = [start * (0.5 + 0.5 * math.exp(-gone / speed)) for gone in warmed(luck, steps)]
    return Made("sft", noisy(luck, true, luck.uniform(0.02, 0.15)), true)


def diverges(luck: random.Random) -> Fault:
    """A rate ten times too high: from some step on the loss climbs to where it knows nothing."""
    made = _usual(luck)
    steps = len(made.loss)
    at = int(steps * luck.uniform(0.1, 0.6))
    top, speed = luck.uniform(5, 10), steps * luck.uniform(0.01, 0.1)
    rise = [(top - made.true[at]) * (1 - math.exp(-max(0, step - at) / speed)) for step in range(steps)]
    made.loss = [seen + up for seen, up in zip(made.loss, rise, strict=True)]
    return Fault(made, at, ("climbs", "overshot"))


def overshoots(luck: random.Random) -> Fault:
    """A rate ten times too high: the loss shoots up in the first steps and never comes down to where it could be."""
    made = _usual(luck)
    steps = len(made.loss)
    peak, height = max(4.0, steps * luck.uniform(0.02, 0.08)), luck.uniform(0.8, 3.0)
    made.loss = [
        seen * (1 + height * (step / peak) * math.exp(1 - step / peak)) for step, seen in enumerate(made.loss)
    ]
    return Fault(made, int(peak), ("climbs", "overshot"))


def too_slow(luck: random.Random) -> Fault:
    """A rate a hundred times too low: next to nothing happens."""
    made = _usual(luck)
    level, steps = made.true[0], len(made.loss)
    made.true = [level * (1 - 0.01 * step / steps) for step in range(steps)]
    made.loss = noisy(luck, made.true, luck.uniform(0.02, 0.1))
    made.rate = OBJECTIVES["sft"].lora_rate / 100
    if luck.random() < 0.5:
        made.held_out = evaluated(luck, made.true, (0.002,), COUNTS)
    return Fault(made, int(0.3 * steps), ("barely moves",))


def by_heart(luck: random.Random) -> Fault:
    """Held-out rows get worse from some step on while the training loss falls to little."""
    made = _usual(luck)
    steps = len(made.loss)
    at, up = int(steps * luck.uniform(0.2, 0.6)), luck.uniform(0.2, 1.0)
    fall = [math.exp(-2.0 * max(0, step - at) / steps) for step in range(steps)]
    made.loss = [seen * down for seen, down in zip(made.loss, fall, strict=True)]
    held_out = [level * (1 + up * max(0, step - at) / steps) for step, level in enumerate(made.true)]
    made.held_out = evaluated(luck, held_out, (0.001, 0.003, 0.005), MANY)
    return Fault(made, at, ("overfits",))


def settles(luck: random.Random) -> Fault:
    """All is learnt in the first third; the rest of the run changes nothing."""
    made = _usual(luck, 300)
    steps = len(made.loss)
    made.true = [1.0 + math.exp(-step / (0.03 * steps)) for step in range(steps)]
    made.loss = noisy(luck, made.true, luck.uniform(0.02, 0.08))
    if luck.random() < 0.6:
        made.held_out = evaluated(luck, made.true, (0.001, 0.003), MANY)
    return Fault(made, int(0.25 * steps), ("flat",))


def one_odd_batch(luck: random.Random) -> Fault:
    """One batch stands out."""
    made = _usual(luck)
    at = int(len(made.loss) * luck.uniform(0.3, 0.8))
    made.loss[at] *= luck.uniform(6, 12)
    return Fault(made, at, ("spike",))


def zero(luck: random.Random) -> Fault:
    """No token is learnt from."""
    return Fault(Made("sft", [0.0] * max(40, length(luck))), 8, ("zero",))


def not_a_number(luck: random.Random) -> Fault:
    """The loss breaks."""
    made = _usual(luck)
    at = int(len(made.loss) * luck.uniform(0.1, 0.8))
    made.loss[at:] = [math.nan] * (len(made.loss) - at)
    return Fault(made, at, ("not a number",))


def all_alike(luck: random.Random) -> Fault:
    """Hardly a prompt whose answers differ in what they score."""
    made = rewarded(luck)
    prompts = luck.choice([2, 4, 8])
    made.same_reward = [hits(luck, 0.93, prompts) for _ in made.loss]
    return Fault(made, 20, ("same reward",))


def nearly_full(luck: random.Random) -> Fault:
    """The card has no room left."""
    made = _usual(luck)
    made.memory = 24 * luck.uniform(0.955, 1.0), 24.0
    return Fault(made, 0, ("memory",))


def waits(luck: random.Random) -> Fault:
    """The card waits for rows."""
    made = _usual(luck)
    made.busy = luck.uniform(5, 50)
    return Fault(made, 0, ("waits",))


Plant = Callable[[random.Random], Fault]
FAULTS: tuple[Plant, ...] = (
    diverges, overshoots, too_slow, by_heart, settles, one_odd_batch, zero, not_a_number, all_alike, nearly_full, waits,
)  # fmt: skip


def name_of(plant: Plant) -> str:
    """Of a fault, in words."""
    return plant.__name__.replace("_", " ")


# Looking


def looks(made: Made) -> Iterator[tuple[int, list[Advice]]]:
    """What the tutor says at moments over the whole run; steps gone, and the advice."""
    steps = len(made.loss)
    moments = {max(1, round(steps * look / LOOKS)) for look in range(1, LOOKS + 1)} | {10, 16, 24}
    loss, success, same = Series("loss"), Series("success"), Series("same")
    since: list[float] = []
    for step in range(1, steps + 1):
        since.append(made.loss[step - 1])
        if step % made.logging == 0:
            loss.append(step, sum(since) / len(since))
            since = []
            if made.reward:
                success.append(step, made.reward[step - 1])
            if made.same_reward:
                same.append(step, made.same_reward[step - 1])
        if step in moments:
            told = Curves(
                objective=made.objective,
                step=step,
                max_steps=steps,
                loss=parts_of(loss),
                broken_since=broken_since(loss),
                start=start_of(loss),
                held_out=[(at, value) for at, value in made.held_out if at <= step],
                learning_rate=made.rate,
                success=parts_of(success),
                same_reward=parts_of(same),
                memory=made.memory,
                busy=made.busy,
                remaining=3600 * (1 - step / steps),
                price_per_hour=2.0,
            )
            yield step, advise(told)


def wrongly(made: Made) -> set[str]:
    """Rules that warned of a healthy run, and ``flat?`` where it was called flat although much was still to come."""
    found = set()
    for step, said in looks(made):
        found |= {one.about for one in said if one.level in WARNS}
        falls = bool(made.true) and made.true[-1] < (1 - FLAT_IS_WRONG) * made.true[step - 1]
        found |= {f"{one.about}?" for one in said if one.about in ("flat", "barely moves", "zero") and falls}
    return found


def told_after(fault: Fault) -> float | None:
    """Share of the run that passed between the fault and its being named; None if it never was."""
    steps = len(fault.made.loss)
    for step, said in looks(fault.made):
        if step >= fault.begins and {one.about for one in said} & set(fault.wanted):
            return (step - fault.begins) / steps
    return None


def main(argv: list[str] | None = None) -> int:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="of each kind")
    parser.add_argument(
        "--first", type=int, default=0, metavar="SEED", help="the rules were made with seeds below 300"
    )
    given = parser.parse_args(argv)
    runs, seeds = given.runs, range(given.first, given.first + given.runs)
    print(
        "| healthy run | of | warned wrongly | called flat too early | by which rule |\n|---|---|---|---|---|"
    )
    total = warned = early = 0
    for kind in HEALTHY:
        each = [wrongly(healthy(random.Random(f"{kind} {seed}"), kind)) for seed in seeds]
        bad = sum(any(not about.endswith("?") for about in found) for found in each)
        soon = sum(any(about.endswith("?") for about in found) for found in each)
        rules = Counter(about for found in each for about in found)
        by = ", ".join(f"{about} {count}" for about, count in rules.most_common())
        print(f"| {kind} | {runs} | {bad} | {soon} | {by} |", flush=True)
        total, warned, early = total + runs, warned + bad, early + soon
    print(f"| together | {total:,} | {100 * warned / total:.1f} % | {100 * early / total:.1f} % | |\n")
    print("| planted fault | of | named | after it began, of the whole run (median) |\n|---|---|---|---|")
    for plant in FAULTS:
        after = [told_after(plant(random.Random(f"{name_of(plant)} {seed}"))) for seed in seeds]
        named = sorted(share for share in after if share is not None)
        middle = f"{100 * named[len(named) // 2]:.0f} %" if named else ""
        print(f"| {name_of(plant)} | {runs} | {100 * len(named) / runs:.1f} % | {middle} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
