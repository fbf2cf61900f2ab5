"""Predict the memory of a run: the arithmetic predictor's front door."""

from __future__ import annotations

from engine.display import printable
from engine.errors import UserError
from engine.fit.allocator import OutOfMemory
from engine.fit.allocator_config import MIN_LARGE_ALLOC
from engine.fit.arithmetic import Moments, moments
from engine.fit.cards import Card, outside_torch
from engine.fit.head import check_loss
from engine.fit.plan import Plan, make_plan
from engine.fit.profiles import DEFAULT, Profile, load
from engine.fit.replay import replay
from engine.fit.static import Static, measure
from engine.fit.types import Architecture, Part, Phase, PhaseName, Prediction, Range, TrainSetup

# How far the upper end of an interval lies above its middle, in per cent. Allocated memory follows from the code, but
# the end of a 20 MiB segment, up to 1 MiB, counts with the block before it (should_split), and which block that is
# depends on the order: with blocks below 10 MiB up to a twentieth. What a compiler keeps is its own choice. In reserved
# memory the order in which blocks are reused is uncertain, and more so with the extra streams of sharding.
_ALLOCATED_SPREAD = 2
_SMALL_BLOCKS_SPREAD = 5
_COMPILED_SPREAD = 5
_RESERVED_SPREAD = 6
_SHARDED_SPREAD = 12
# More than any card has: what the allocator keeps beside it no longer matters.
_BEYOND_ANY_CARD = 320 << 30


def predict(
    architecture: Architecture,
    setup: TrainSetup,
    profile: Profile | str = DEFAULT,
    card: Card | None = None,
) -> Prediction:
    """What one GPU of this run will need.

    Args:
        architecture: The model.
        setup: The run.
        profile: The software stack, or its name; the one finetui installs by default.
        card: The GPU; without one an ordinary CUDA context is assumed.

    Raises:
        UserError: The setup cannot be meant.
    """
    stack = load(profile) if isinstance(profile, str) else profile
    _check(architecture, setup, stack)
    plan = make_plan(architecture, setup, stack)
    static = measure(plan)
    hopper = card is not None and card.compute_capability >= (9, 0)
    workspace = stack.workspace_handles * (stack.workspace_hopper if hopper else stack.workspace)
    found = moments(plan, static, workspace)
    phases = _phases(found)
    allocated = max(phase.bytes for phase in phases)
    outside = outside_torch(card, setup.num_gpus)
    reserved, smi = _from_allocator(plan, static, workspace, allocated, outside, card)
    return Prediction(
        allocated=Range(allocated, _widened(allocated, _allocated_spread(plan), architecture)),
        reserved=reserved,
        smi=smi,
        phases=phases,
        steady=sum(found.steady.values()),
        predictor="arithmetic",
        profile=stack.name,
        notes=_notes(plan),
    )


def _from_allocator(
    plan: Plan, static: Static, workspace: int, allocated: int, outside: int, card: Card | None
) -> tuple[Range, Range]:
    """Reserved memory and what ``nvidia-smi`` shows, from a replay through the caching allocator's model."""
    spread = _SHARDED_SPREAD if plan.sharded else _RESERVED_SPREAD
    if allocated > _BEYOND_ANY_CARD:
        high = _widened(allocated, spread, plan.architecture)
        return Range(allocated, high), Range(allocated + outside, high + outside)
    free = replay(plan, static, None)
    peak = max(allocated, free.peak + workspace)
    high = _widened(peak, spread, plan.architecture)
    if card is None or high + outside <= card.usable:
        return Range(peak, high), Range(peak + outside, high + outside)
    # The card is smaller than what the allocator would like to keep: it empties its cache and goes on, as long as
    # the tensors themselves fit.
    capacity = card.usable - outside - workspace
    try:
        held = replay(plan, static, capacity)
    except OutOfMemory:
        return Range(peak, high), Range(peak + outside, high + outside)
    middle = max(allocated, held.peak + workspace)
    shown = max(allocated, held.seen + workspace) + outside
    # What other streams keep is given back when the card is full, so only the rest of the doubt is left.
    doubt = _RESERVED_SPREAD + plan.architecture.spread
    try:
        replay(plan, static, capacity * 100 // (100 + doubt))
    except OutOfMemory:
        return Range(middle, high), Range(shown, high + outside)
    return Range(middle, capacity + workspace), Range(shown, max(shown, card.usable))


def _allocated_spread(plan: Plan) -> int:
    if plan.setup.compiled:
        return _COMPILED_SPREAD
    hidden = plan.architecture.hidden
    block = min(hidden * hidden * plan.base, plan.setup.tokens * hidden * plan.stream)
    return _SMALL_BLOCKS_SPREAD if block < MIN_LARGE_ALLOC else _ALLOCATED_SPREAD


def _notes(plan: Plan) -> tuple[str, ...]:
    notes = plan.architecture.unsure
    if plan.quantized and plan.unquantizable:
        notes = (*notes, "this model's linears are of a class that is not quantized, so they stay in 16 bits")
    return notes


def _widened(value: int, percent: int, architecture: Architecture) -> int:
    return value + value * (percent + architecture.spread) // 100


def _phases(found: Moments) -> tuple[Phase, ...]:
    named: list[tuple[PhaseName, dict[str, int] | None]] = [
        ("load", found.load),
        ("generation", found.generation),
        ("loss", found.loss),
        ("backward", found.backward),
        ("optimizer", found.optimizer),
        ("evaluation", found.evaluation),
        ("save", found.save),
    ]
    return tuple(
        Phase(name, tuple(Part(kind, size) for kind, size in parts.items() if size))
        for name, parts in named
        if parts is not None
    )


def _check(architecture: Architecture, setup: TrainSetup, profile: Profile) -> None:
    check_loss(setup.loss or profile.loss)
    for what, value, limit in (
        ("batch size", setup.batch, 1 << 16),
        ("length", setup.seq_len, 1 << 27),
        ("rank", setup.lora_r, 1 << 16),
        ("number of GPUs", setup.num_gpus, 1 << 16),
    ):
        if not 1 <= value <= limit:
            raise UserError(
                f"A {what} of {value:,} cannot be meant.", "run configuration", f"Give a {what} from 1 on."
            )
    longest = min(architecture.learned_positions, architecture.max_length or architecture.learned_positions)
    length = max(setup.seq_len, setup.eval_seq_len if setup.eval_batch else 0)
    if longest and length > longest and not setup.packed:
        raise UserError(
            f"{printable(architecture.name, 80)} cannot read texts of {length:,} tokens: it knows {longest:,} positions.",
            "max_length",
            f"Set max_length to {longest} or less, or choose another model.",
        )
