"""The simulated prediction: record a few layers, extend to all, replay through the allocator."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from engine.errors import UserError
from engine.fit.allocator_config import AllocatorConfig
from engine.fit.profiles import DEFAULT, Profile, load
from engine.fit.simulate.config import config_of
from engine.fit.simulate.extend import Extender, Irregular
from engine.fit.simulate.report import gradients, peaks, prediction
from engine.fit.simulate.runs import Reel, anchors, orders, relative
from engine.fit.simulate.stack import Stack
from engine.fit.simulate.trace import Recording, Trace
from engine.fit.types import Architecture, Prediction, TrainSetup

EVENTS_A_SECOND = 200_000  # that the allocator model replays, about
DDP_FIRST_BUCKET, DDP_BUCKET = (
    1 << 20,
    25 << 20,
)  # kDefaultFirstBucketBytes and kDefaultBucketBytesCap in reducer.hpp


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a prediction depends on beside the run itself.

    Attributes:
        capability: CUDA compute capability of the card.
        context: Bytes a process needs on the card before its first tensor (CUDA, libraries).
        capacity: Bytes PyTorch can have on the card; cached memory is given back before it runs out. None: no limit.
        rows: Tokens of each row of the dataset; the batches are then those that the trainer will make.
        seed: Of the run, which decides the order of the rows.
        lengths: Padded lengths of the batches, where the rows are not known; empty: every batch has ``seq_len``.
        scored: Share of the tokens whose prediction is learnt.
        allocator: Settings of PyTorch's allocator in that run.
        seeds: Shuffled orders of the batches to replay; with ``rows``, as many epochs.
        replay_seconds: About how long replaying may take.
    """

    capability: tuple[int, int] = (8, 0)
    context: int = 0
    capacity: int | None = None
    rows: tuple[int, ...] = ()
    seed: int = 42
    lengths: tuple[int, ...] = ()
    scored: float = 1.0
    allocator: AllocatorConfig = AllocatorConfig()  # noqa: RUF009 - frozen
    seeds: tuple[int, ...] = (0, 1, 2)
    replay_seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class Simulated:
    """Everything a simulation found.

    Attributes:
        prediction: The answer.
        reel: Recorded steps of the full model, for more replays.
        unknown: Operators without a kernel for meta tensors, with how often they ran.
        layers: Layers that were simulated, of how many.
        params: Elements of the full model.
        seconds: Time it took.
    """

    prediction: Prediction
    reel: Reel
    unknown: dict[str, int]
    layers: tuple[int, int]
    params: int
    seconds: float


def simulate(
    setup: TrainSetup,
    model: Architecture | Mapping[str, Any],
    profile: Profile | str = DEFAULT,
    circumstances: Circumstances | None = None,
    check: Callable[[str], None] = lambda _: None,
) -> Prediction:
    """What one GPU of this run will need, found by running a simulated step on this machine's CPU.

    Changes libraries' attributes while it works, so one call at a time in a process that does nothing else with
    torch meanwhile; `engine.fit.simulate_client` runs it in a process of its own.

    Args:
        setup: The run; ``seq_len`` is the padded length of its heaviest batch.
        model: The model's ``config.json``, or architecture facts.
        profile: The software stack, or its name.
        circumstances: Card, dataset and allocator.
        check: Called with what is being done, in words; raise to stop.

    Returns:
        The prediction. ``reserved`` is a range over orders of the batches.

    Raises:
        UserError: This model or setup cannot be simulated.
    """
    return run(setup, model, profile, circumstances, check).prediction


def run(
    setup: TrainSetup,
    model: Architecture | Mapping[str, Any],
    profile: Profile | str = DEFAULT,
    circumstances: Circumstances | None = None,
    check: Callable[[str], None] = lambda _: None,
) -> Simulated:
    """As `simulate`, with everything that was found on the way."""
    _refuse(setup)
    started = time.monotonic()
    given = circumstances or Circumstances()
    stack = Stack.of(load(profile) if isinstance(profile, str) else profile, setup)
    config = config_of(model) if isinstance(model, Architecture) else model
    epochs = _epochs(setup, given)
    lengths = tuple(itertools.chain(*epochs)) or given.lengths
    longest = min(setup.seq_len, max(lengths)) if lengths else setup.seq_len
    recorded = anchors(lengths, longest, setup.batch)
    job = _Job(setup, stack, config, recorded, given, check)
    try:
        found = job.record(full=False)
        reel = _reel(setup, recorded, found.extend(), stack.empties_cache)
        reel.check()
    except Irregular:
        found = job.record(full=True)
        reel = _reel(setup, recorded, found.extend(), stack.empties_cache)
    per_step = len(reel.steps[longest].events)
    budget = int(given.replay_seconds * EVENTS_A_SECOND) - len(reel.load.events)
    # A run of three steps says more than several of two.
    shuffles = max(1, min(len(given.seeds), budget // (3 * per_step) - 1))
    num_steps = max(2, min(32, budget // (per_step * (1 + shuffles))))
    replayed = []
    for order in orders(lengths, longest, num_steps, given.seeds[:shuffles], epochs[:shuffles]):
        check("replaying batches through the memory allocator")
        replayed.append(peaks(reel.run(order), given.allocator, given.capacity))
    answer = prediction(
        setup,
        reel.run((longest, longest)),
        replayed,
        found.unknown,
        given.context,
        stack.name,
        _deviations(model, found),
    )
    return Simulated(
        answer,
        reel,
        dict(found.unknown),
        found.layers,
        found.params,
        time.monotonic() - started,
    )


def _epochs(setup: TrainSetup, given: Circumstances) -> list[tuple[int, ...]]:
    """The steps of the first epochs, as the trainer will make them."""
    if not given.rows:
        return []
    from engine.fit.simulate.batches import epoch_lengths

    if min(given.rows) < 1:
        raise UserError(
            "A row of the dataset is said to have no tokens.", "rows", "Give lengths in tokens from 1 on."
        )
    return [
        epoch_lengths(
            given.rows,
            setup.batch,
            setup.seq_len,
            given.seed,
            epoch,
            setup.num_gpus,
            setup.gradient_accumulation,
        )
        for epoch in range(max(1, len(given.seeds)))
    ]


@dataclass(slots=True)
class _Found:
    recordings: list[Recording]
    extender: Extender
    unknown: Counter[str]
    layers: tuple[int, int]
    params: int

    def extend(self) -> list[Trace]:
        return [self.extender.extend(recording) for recording in self.recordings]


@dataclass(frozen=True, slots=True)
class _Job:
    setup: TrainSetup
    stack: Stack
    config: Mapping[str, Any]
    lengths: tuple[int, ...]
    given: Circumstances
    check: Callable[[str], None]

    def record(self, *, full: bool) -> _Found:
        """Loading, the first step, and a step at each length; then an evaluation batch."""
        from engine.fit.simulate.device import Device
        from engine.fit.simulate.kernels import cuda_kernels
        from engine.fit.simulate.model import build
        from engine.fit.simulate.recorder import Recorder
        from engine.fit.simulate.semantics import device_semantics, replaced
        from engine.fit.simulate.step import Stepper

        setup, stack, check = self.setup, self.stack, self.check
        device = Device("cuda", self.given.capability)
        recorder = Recorder(cuda_kernels(self.given.scored))
        padded = setup.padded and not setup.packed and setup.batch > 1
        masked = setup.attention != "flash_attention_2"
        shared = setup.lines and setup.masked
        with ExitStack() as changes:
            autocast = changes.enter_context(
                device_semantics(device, padded, masked, stack.grouped_heads, shared)
            )
            try:
                check("building the model")
                built = build(self.config, setup, stack, recorder, device, full)
                changes.enter_context(replaced(*built.replaced))
                check("loading libraries for the step")
                stepper = Stepper(built, setup, stack, recorder, autocast, device)
                recordings = [recorder.take(), stepper.train(self.lengths[0])]
                for length in self.lengths:
                    check(f"a step with texts of {length:,} tokens")
                    recordings.append(stepper.train(length))
                if setup.eval_batch:
                    check("an evaluation batch")
                    recordings.append(stepper.evaluate(setup.eval_seq_len or setup.seq_len, setup.eval_batch))
                if setup.answers:
                    check("writing the answers of a step")
                    recordings.append(stepper.generate())
            except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
                raise UserError(
                    f"The step of this model cannot be simulated: {type(error).__name__}: {str(error)[:300]}",
                    str(self.config.get("model_type", "")),
                    "Use the arithmetic estimate instead.",
                ) from error
        depth = built.sketch.depth
        return _Found(
            recordings, Extender(built.sketch), recorder.unknown, (len(built.layers), depth), built.params
        )


def _reel(setup: TrainSetup, recorded: Sequence[int], traces: Sequence[Trace], empties_cache: bool) -> Reel:
    loaded, first, *rest = traces
    already = loaded.allocations
    generation = evaluation = None
    if setup.answers:
        generation = relative(rest.pop(), setup.seq_len, already)
    if setup.eval_batch:
        evaluation = relative(rest.pop(), setup.eval_seq_len or setup.seq_len, already)
    steps = {length: relative(trace, length, already) for length, trace in zip(recorded, rest, strict=True)}
    held: tuple[int, ...] = ()
    if setup.num_gpus > 1:
        held = _ddp_buckets(sum(gradients(steps[recorded[0]])))
    opening = relative(first, recorded[0], already, rest[0])
    return Reel(loaded, opening, steps, evaluation, held, empties_cache, generation)


def _ddp_buckets(total: int) -> tuple[int, ...]:
    """DistributedDataParallel copies gradients into flat buckets (``gradient_as_bucket_view`` is off)."""
    if total <= DDP_FIRST_BUCKET:
        return (total,)
    full, part = divmod(total - DDP_FIRST_BUCKET, DDP_BUCKET)
    return (DDP_FIRST_BUCKET, *[DDP_BUCKET] * full, part)


def _deviations(model: Architecture | Mapping[str, Any], found: _Found) -> tuple[str, ...]:
    """Where the simulated model is not quite the one that was asked for.

    Raises:
        UserError: It is another one.
    """
    if not isinstance(model, Architecture) or not model.params:
        return ()
    text = model.params - model.vision_params
    difference = abs(found.params / text - 1)
    if difference > 0.02:
        raise UserError(
            f"What is known of this model is not enough to build it: that gives {found.params / 1e9:.2f} billion weights "
            f"instead of {text / 1e9:.2f}.",
            model.name,
            "Give the model's own config.json, or use the arithmetic estimate.",
        )
    if difference > 0.001:
        return (
            "The simulated model was built from facts about it, not from its config.json.",
            *model.unsure,
        )
    return model.unsure


def _refuse(setup: TrainSetup) -> None:
    for here, words in (
        (
            setup.sharding not in ("none", "ddp"),
            "A run that splits the model over GPUs cannot be simulated on a CPU: when a gathered layer is released "
            "depends on how fast the cards exchange it.",
        ),
        (
            setup.reference,
            "A run that compares with a second, frozen model is not simulated: the simulated step has one model.",
        ),
        (
            setup.compiled,
            "A compiled model cannot be simulated on a CPU: the compiler decides for the card what it keeps.",
        ),
        (
            setup.optimizer_in_backward,
            "An optimizer that runs inside the backward pass is another trainer's; it cannot be simulated.",
        ),
        (
            setup.offload_checkpoints,
            "Activations that are moved to host memory are another trainer's way; it cannot be simulated.",
        ),
    ):
        if here:
            raise UserError(words, "run configuration", "Use the arithmetic estimate.")
    for what, value, limit in (
        ("batch size", setup.batch, 1 << 16),
        ("length", setup.seq_len, 1 << 27),
        ("rank", setup.lora_r, 1 << 16),
    ):
        if not 1 <= value <= limit:
            raise UserError(
                f"A {what} of {value:,} cannot be meant.", "run configuration", f"Give a {what} from 1 on."
            )
