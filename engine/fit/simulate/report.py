"""What a replayed run says, as a prediction: phases, their parts, ranges. Plain Python."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median, quantiles

from engine.fit.allocator_config import AllocatorConfig
from engine.fit.allocator_replay import Peak, replay
from engine.fit.simulate.runs import Film, Step
from engine.fit.types import Part, Phase, PhaseName, Prediction, Range, TrainSetup

PHASES: tuple[PhaseName, ...] = (
    "load",
    "generation",
    "forward",
    "loss",
    "backward",
    "optimizer",
    "evaluation",
)
# Over published runs whose stack the installed libraries can follow, allocated memory is off by less than 0.1 %
# (tests/fit/test_simulate_rows.py); what the data decide, such as outliers, comes on top.
MODEL_ERROR = 0.01
# Phases of a recording that are shown as part of another.
SHOWN_AS = {"adapter": "load", "workspace": "load", "held": "load", "inputs": "forward"}
KINDS = {
    "load": "weights",
    "adapter": "adapters",
    "workspace": "workspaces of the matrix library",
    "held": "buckets for exchanging gradients",
    "inputs": "token ids, masks and positions",
    "generation": "answers being written",
    "forward": "activations kept for the backward pass",
    "loss": "logits and loss",
    "backward": "temporary",
    "optimizer": "temporaries of the optimizer step",
    "evaluation": "evaluation batch",
}


def peaks(film: Film, settings: AllocatorConfig, capacity: int | None) -> dict[str, Peak]:
    """The highest use of each phase over a run.

    Args:
        film: The run.
        settings: Of the allocator.
        capacity: Bytes PyTorch can have. A run that does not fit is replayed without a limit, because then how much it
            would need is what one wants to know.
    """
    usage = replay(film.events, settings, capacity, film.cuts, film.empties)
    if usage.out_of_memory is not None:
        usage = replay(film.events, settings, None, film.cuts, film.empties)
    found: dict[str, Peak] = {}
    for name, peak in zip(film.names, usage.sections, strict=True):
        shown = SHOWN_AS.get(name, name)
        before = found.get(shown, Peak(0, 0))
        found[shown] = Peak(max(before.allocated, peak.allocated), max(before.reserved, peak.reserved))
    return found


def prediction(
    setup: TrainSetup,
    film: Film,
    found: Sequence[Mapping[str, Peak]],
    unknown: Mapping[str, int],
    context: int,
    profile: str,
    notes: Sequence[str] = (),
) -> Prediction:
    """The answer.

    Args:
        setup: The run.
        film: A run at the longest length, for the parts.
        found: Peaks of every order of batches that was replayed.
        unknown: Operators that could not be simulated.
        context: Bytes on the card before the first tensor.
        profile: Name of the stack.
        notes: What is known to be unsure, in words; each adds to the upper end.
    """
    phases = _phases(film, found, KINDS | {"adapter": KINDS["load"]} if setup.tuning != "lora" else KINDS)
    allocated = max(phase.bytes for phase in phases)
    reserved = [max(peak.reserved for peak in run.values()) for run in found]
    high = quantiles(reserved, n=20, method="inclusive")[-1] if len(reserved) > 1 else reserved[0]
    own, doubt = _doubts(setup, unknown)
    spread = 1 + MODEL_ERROR * (1 + len(notes)) + doubt
    middle = int(median(reserved))
    upper = int(max(high, middle) * spread)
    return Prediction(
        allocated=Range(allocated, int(allocated * spread)),
        reserved=Range(middle, upper),
        smi=Range(middle + context, upper + context),
        phases=phases,
        steady=_steady(film),
        predictor="simulate",
        profile=profile,
        notes=(*notes, *own),
    )


def gradients(step: Step) -> list[int]:
    """Sizes of what the backward pass leaves for the optimizer."""
    live: dict[int, int] = {}
    made = 0
    backward = next((at for at, name in step.marks if name == "backward"), 0)
    for index, event in enumerate(step.events[: step.tail]):
        if event > 0:
            if index >= backward:
                live[made] = event
            made += 1
        else:
            live.pop(-event - 1, None)
    return list(live.values())


def _doubts(setup: TrainSetup, unknown: Mapping[str, int]) -> tuple[list[str], float]:
    notes: list[str] = []
    doubt = 0.0
    if unknown:
        names = ", ".join(sorted(unknown)[:5])
        notes.append(
            f"These operations could not be simulated and were counted as large as their input: {names}."
        )
        doubt += 0.05 + 0.01 * len(unknown)
    if setup.quantization == "int8":
        notes.append(
            "How many columns the 8-bit kernel keeps in 16 bits depends on the data; 1 % is assumed."
        )
        doubt += 0.01
    if setup.attention == "flash_attention_2":
        notes.append("flash_attention_2 is simulated as PyTorch's own flash attention.")
    if "paged" in setup.optimizer:
        notes.append(
            "Paged optimizer states are not counted: the driver moves them off the card when it is full."
        )
    return notes, doubt


def _phases(film: Film, found: Sequence[Mapping[str, Peak]], names: Mapping[str, str]) -> tuple[Phase, ...]:
    """Each phase at its heaviest moment, with what is in memory then."""
    parts = _parts(film, names)
    phases = []
    for name in PHASES:
        if name not in parts:
            continue
        total = max(run[name].allocated for run in found if name in run)
        named = [Part(kind, size) for kind, size in parts[name].items() if size]
        rounding = total - sum(part.bytes for part in named)
        if rounding > 0:
            named.append(Part("rounding", rounding, "the allocator rounds every tensor up"))
        phases.append(Phase(name, tuple(named)))
    return tuple(phases)


def _parts(film: Film, names: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """What is allocated at the heaviest moment of each phase, by kind."""
    kinds = _kinds(film, names)
    live: Counter[str] = Counter()
    sizes: list[int] = []
    best: dict[str, int] = {}
    found: dict[str, dict[str, int]] = {}
    total = 0
    for name, start, end in film.sections():
        phase = SHOWN_AS.get(name, name)
        rising = False
        for event in film.events[start:end]:
            if event > 0:
                live[kinds[len(sizes)]] += event
                sizes.append(event)
                total += event
                rising = True
                continue
            if rising and total > best.get(phase, 0):
                best[phase], found[phase] = total, dict(live)
            rising = False
            live[kinds[-event - 1]] -= sizes[-event - 1]
            total -= sizes[-event - 1]
        if rising and total > best.get(phase, 0):
            best[phase], found[phase] = total, dict(live)
    return found


def _kinds(film: Film, names: Mapping[str, str]) -> list[str]:
    """The kind of every allocation, from when it was made and how long it stays."""
    made_in: list[str] = []
    released: dict[int, str] = {}
    for name, start, end in film.sections():
        for event in film.events[start:end]:
            if event > 0:
                made_in.append(name)
            else:
                released[-event - 1] = name
    kinds: list[str] = []
    for identity, name in enumerate(made_in):
        kind = names.get(name, name)
        ends = released.get(identity)
        if name == "backward" and ends == "optimizer":
            kind = "gradients"
        elif name == "optimizer" and ends is None:
            kind = "optimizer states"
        elif name == "load" and ends is not None:
            kind = "weights on their way"
        kinds.append(kind)
    return kinds


def _steady(film: Film) -> int:
    """Allocated between two steps: what nobody releases."""
    sizes = [event for event in film.events if event > 0]
    stays = array("b", [1]) * len(sizes)
    for event in film.events:
        if event <= 0:
            stays[-event - 1] = 0
    return sum(512 * -(-size // 512) for size, kept in zip(sizes, stays, strict=True) if kept)
