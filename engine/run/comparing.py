"""What became of a run, in numbers that can be put beside those of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from engine.run import atomic
from engine.run.events import Event, EventReader, expand, number, whole
from engine.run.layout import RunDir
from engine.run.state import read_state


@dataclass(frozen=True, slots=True)
class Result:
    """The results of one run; None where it has none.

    Attributes:
        name: Of the run.
        state: As ``finetui runs`` tells it.
        measure: Name of the number by which the best checkpoint is told, such as ``eval_loss``.
        best: Its best value, and the step of it.
        eval_loss: Loss on held-out rows at the last evaluation.
        loss: Last training loss.
        step: Last step.
        seconds: From start to end, of all attempts together.
        tokens_per_second: Median while training.
        peak_memory: Largest use in bytes.
        memory_of: ``GPU`` or ``RAM``.
        price: Of that time, in the user's currency, where a price an hour is known.
        changed: What was changed so that the run could go on.
    """

    name: str
    state: str
    measure: str | None
    best: float | None
    best_step: int | None
    eval_loss: float | None
    loss: float | None
    step: int
    seconds: float
    tokens_per_second: float | None
    peak_memory: int | None
    memory_of: str
    price: float | None
    changed: str

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


class _Counting:
    """What a run's events add up to."""

    def __init__(self) -> None:
        self.evaluations: dict[int, Event] = {}
        self.losses: dict[int, float] = {}
        self.speeds: list[float] = []
        self.on_card = self.in_ram = 0
        self._times: dict[int, tuple[float, float]] = {}

    def feed(self, event: Event) -> None:
        t, step = number(event.get("t")), whole(event.get("step"))
        if t is not None:
            attempt = whole(event.get("attempt")) or 1
            first, last = self._times.get(attempt, (t, t))
            self._times[attempt] = (min(first, t), max(last, t))
        kind = event["kind"]
        resumed = whole(event.get("resumed_from"))
        if resumed is not None:
            # Those steps are trained again; only what they end in counts.
            self.evaluations = {at: one for at, one in self.evaluations.items() if at <= resumed}
            self.losses = {at: loss for at, loss in self.losses.items() if at <= resumed}
        elif kind == "evaluation" and step is not None:
            self.evaluations[step] = event
        elif kind == "metric" and step is not None:
            if (loss := number(event.get("loss"))) is not None:
                self.losses[step] = loss
            if (speed := number(event.get("tokens_per_second"))) is not None:
                self.speeds.append(speed)
        elif kind == "memory":
            self._memory(event)

    def _memory(self, event: Event) -> None:
        gpus = event.get("gpus")
        used = (
            [whole(gpu.get("memory_used")) for gpu in gpus if isinstance(gpu, dict)]
            if isinstance(gpus, list)
            else []
        )
        # What PyTorch took is the run's own; what the driver tells holds other programs too.
        own = whole(event.get("torch_peak_reserved"))
        self.on_card = max(
            self.on_card, own if own is not None else max((one or 0 for one in used), default=0)
        )
        self.in_ram = max(self.in_ram, whole(event.get("process_rss")) or 0)

    @property
    def seconds(self) -> float:
        return sum(last - first for first, last in self._times.values())


def result_of(run: RunDir) -> Result:
    """Read all of a run's events and add them up. Never raises: the file may hold anything."""
    found = _Counting()
    reader = EventReader(run.events)
    while reader.behind:
        for event in reader.read():
            for point in expand(event):
                found.feed(point)
    state = read_state(run)
    best = next((one for _, one in sorted(found.evaluations.items(), reverse=True) if one.get("best")), None)
    measure = str(best.get("best_by") or "eval_loss") if best else None
    last = found.evaluations[max(found.evaluations)] if found.evaluations else {}
    each = number((atomic.read_json(run.launch) or {}).get("price_per_hour"))
    return Result(
        name=run.name,
        state=state.state,
        measure=measure,
        best=number(best.get(measure)) if best and measure else None,
        best_step=whole(best.get("step")) if best else None,
        eval_loss=number(last.get("eval_loss")),
        loss=found.losses[max(found.losses)] if found.losses else None,
        step=state.step,
        seconds=round(found.seconds, 1),
        tokens_per_second=median(found.speeds) if found.speeds else None,
        peak_memory=found.on_card or found.in_ram or None,
        memory_of="GPU" if found.on_card else "RAM",
        price=None if each is None else each * found.seconds / 3600,
        changed=state.changed,
    )


def differing(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all runs, in their order; one that a run does not have differs.

    Args:
        settings: Run name to its settings by key.
    """
    every = list(dict.fromkeys(key for values in settings.values() for key in values))
    return [
        key
        for key in every
        if any(values.get(key) != next(iter(settings.values())).get(key) for values in settings.values())
    ]
