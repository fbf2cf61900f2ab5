"""Does it fit, what makes it fit, and how long may the texts be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from engine.choice import Choice
from engine.display import gib
from engine.fit.cards import Card
from engine.fit.predict import predict
from engine.fit.types import Architecture, Prediction, TrainSetup

Verdict = Literal["fits", "tight", "no"]
_FIRST_GUESS = 2048  # tokens
_STEP = 256

METHODS: dict[str, dict[str, Any]] = {
    "QLoRA 4-bit": {"tuning": "lora", "quantization": "nf4"},
    "LoRA 8-bit": {"tuning": "lora", "quantization": "int8"},
    "LoRA 16-bit": {"tuning": "lora", "quantization": "none"},
    "full": {"tuning": "full", "quantization": "none"},
}
MEANING: dict[str, str] = {
    "load": "loading the model",
    "generation": "writing the answers it learns from",
    "forward": "the forward pass",
    "loss": "the loss over the vocabulary",
    "backward": "the backward pass through a layer",
    "optimizer": "the optimizer's step",
    "evaluation": "evaluation",
    "save": "saving",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that saves memory.

    Attributes:
        key: The setting of run.yaml.
        value: What it becomes.
        words: What it is, for the user.
        cost: What is lost.
    """

    key: str
    value: Any
    words: str
    cost: str


@dataclass(frozen=True, slots=True)
class Advice:
    """How to make a run fit.

    Attributes:
        changes: To be made together, in the order of quality lost; empty when it fits as it is.
        setup: The run with them.
        prediction: What it needs then; None when nothing here makes it fit.
    """

    changes: tuple[Change, ...]
    setup: TrainSetup
    prediction: Prediction | None

    def options(self) -> str:
        """The changes as options of the command line; empty when nothing makes it fit."""
        if self.prediction is None:
            return ""
        return " ".join(f"--{key} {_shown(value)}" for key, value in self.settings().items())

    def settings(self) -> dict[str, Any]:
        """The changes as settings of run.yaml, with those that go with them."""
        made: dict[str, Any] = {change.key: change.value for change in self.changes}
        if "per_device_train_batch_size" in made:
            made["gradient_accumulation_steps"] = self.setup.gradient_accumulation
        if made.get("load_in_4bit"):
            made["load_in_8bit"] = False
        return made


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether one run fits on the card it would use.

    Attributes:
        prediction: What a card of the run needs.
        free: Bytes free on that card now.
        card: What is known of that kind of card.
        advice: What would make it fit; None when it fits as it is.
    """

    prediction: Prediction
    free: int
    card: Card | None
    advice: Advice | None

    @property
    def verdict(self) -> Verdict:
        """``fits``, ``tight`` or ``no``."""
        return verdict(self.prediction, self.free)

    @property
    def sentence(self) -> str:
        """The answer with its numbers and the phase that decides."""
        return explain(self.prediction, self.free)


def fit(architecture: Architecture, setup: TrainSetup, free: int, card: Card | None = None) -> Fit:
    """Predict one run, and what would make it fit if it does not."""
    prediction = need(architecture, setup, free, card)
    fits = verdict(prediction, free) == "fits"
    return Fit(prediction, free, card, None if fits else make_fit(architecture, setup, free, card))


def need(architecture: Architecture, setup: TrainSetup, free: int, card: Card | None = None) -> Prediction:
    """What one GPU needs where so much is free: PyTorch gives cached memory back before it runs out.

    Args:
        architecture: The model.
        setup: The run.
        free: Bytes free on the card now; other programs may hold the rest.
        card: The kind of card.
    """
    return predict(architecture, setup, card=None if card is None else replace(card, usable=free))


def verdict(prediction: Prediction, free: int) -> Verdict:
    """``fits``: 19 of 20 runs stay below the free memory; ``tight``: half of them do; else ``no``.

    Args:
        prediction: Of one GPU.
        free: Bytes that are free on the card now, before the CUDA context.
    """
    if prediction.smi.p95 <= free:
        return "fits"
    return "tight" if prediction.smi.p50 <= free else "no"


def explain(prediction: Prediction, free: int) -> str:
    """One sentence with the numbers and the phase that decides."""
    smi, phase = prediction.smi, prediction.binding
    largest = max(phase.parts, key=lambda part: part.bytes)
    name = "work space" if largest.name == "temporary" else largest.name
    answer = {"fits": "It fits", "tight": "It is tight", "no": "It does not fit"}[verdict(prediction, free)]
    return (
        f"{answer}: {gib(smi.p50)} expected, at most {gib(smi.p95)} in 19 of 20 runs, {gib(free)} free. "
        f"The most is needed in {MEANING[phase.name]}; the largest part is {name} ({gib(largest.bytes)})."
    )


def make_fit(architecture: Architecture, setup: TrainSetup, free: int, card: Card | None = None) -> Advice:
    """The cheapest changes that make a run fit, in the order of quality lost.

    No quality: gradient checkpointing, a smaller batch with more accumulation, a smaller evaluation batch. Hardly any: an
    8-bit optimizer. Some: LoRA instead of full, 8 bits, 4 bits. Real: shorter texts.
    """
    made: list[Change] = []
    current = setup
    if verdict(need(architecture, current, free, card), free) == "fits":
        return Advice((), setup, need(architecture, setup, free, card))
    for change, apply in _ladder(setup):
        attempt = apply(current)
        if attempt == current:
            continue
        current = attempt
        made = [old for old in made if old.key != change.key] + [change]
        prediction = need(architecture, current, free, card)
        if verdict(prediction, free) == "fits":
            return _without_needless(architecture, setup, made, free, card)
    return Advice(tuple(made), current, None)


def longest_that_fits(
    architecture: Architecture, setup: TrainSetup, free: int, card: Card | None = None
) -> int:
    """The longest text for which the run fits, in tokens; 0 when none does. See `longest_below`."""

    def p95(length: int) -> int:
        return need(architecture, replace(setup, seq_len=length), free, card).smi.p95

    return longest_below(p95, free, architecture.max_length or 131_072)


def longest_below(p95: Callable[[int], int], free: int, limit: int) -> int:
    """The longest text whose need is not above `free`: a multiple of 256 tokens, 0 when none is.

    Memory grows almost in a straight line with the length, so a line through the ends finds it in a few predictions
    where halving would take twenty. It begins at the same length for everyone who asks, because the need has small
    steps back where the allocator packs better, and two searches could stop at different ones.

    Args:
        p95: The upper end of what a length needs, in bytes.
        free: Bytes.
        limit: Tokens the model can read; below 256 this is the only length that is tried.
    """
    if limit < _STEP:
        return limit if limit > 0 and p95(limit) <= free else 0
    limit = limit // _STEP * _STEP
    low, low_need = 0, 0
    high, high_need = limit + _STEP, 0
    guess = max(_STEP, min(_FIRST_GUESS, limit))
    while True:
        found = p95(guess)
        if found <= free:
            low, low_need = guess, found
        else:
            high, high_need = guess, found
        if high - low <= _STEP:
            return low
        if not high_need:
            guess = limit
        elif low_need and guess == low:
            # The line through both ends, and one step further: with luck that is already too long.
            share = (free - low_need) / max(1, high_need - low_need)
            guess = low + int(share * (high - low)) + _STEP
        else:
            guess = (low + high) // 2
        guess = max(low + _STEP, min(guess, high - _STEP)) // _STEP * _STEP


def largest_batch(
    architecture: Architecture,
    at: Callable[[int], TrainSetup],
    free: int,
    card: Card | None = None,
    limit: int = 16,
) -> Choice[int]:
    """The per-device batch for this card: the largest power of two up to `limit` that fits with room to spare.

    To spare: without PyTorch having to give cached memory back, which stops the card each time.

    Args:
        architecture: The model.
        at: The run with so many rows at once.
        free: Bytes free on the card now.
        card: The kind of card.
        limit: Rows that a step has use for.
    """
    sizes = [size for size in (1, 2, 4, 8, 16) if size <= max(1, limit)]
    roomy = None if card is None else replace(card, usable=1 << 50)
    # The largest with room to spare; else the smallest that fits at all, as one row may need more than two: batches that
    # are added up keep their gradients.
    found = chain(
        ((size, predict(architecture, at(size), card=roomy)) for size in reversed(sizes)),
        ((size, need(architecture, at(size), free, card)) for size in sizes),
    )
    for size, prediction in found:
        if verdict(prediction, free) == "fits":
            most = gib(prediction.smi.p95)
            return Choice(
                size,
                f"{size} at once need{'s' if size == 1 else ''} at most {most} of the {gib(free)} that are free.",
                tuple(other for other in (size // 2, size * 2) if 1 <= other <= 16),
            )
    return Choice(1, f"Not even one text of {at(1).seq_len:,} tokens is sure to fit into {gib(free)}.")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_needless(
    architecture: Architecture, setup: TrainSetup, made: list[Change], free: int, card: Card | None
) -> Advice:
    """Drop every change that a later, stronger one has made needless."""
    kept = list(made)
    for change in made:
        fewer = [other for other in kept if other is not change]
        attempt = _apply(setup, fewer)
        if fewer and verdict(need(architecture, attempt, free, card), free) == "fits":
            kept = fewer
    final = _apply(setup, kept)
    return Advice(tuple(kept), final, need(architecture, final, free, card))


def _apply(setup: TrainSetup, changes: list[Change]) -> TrainSetup:
    for change in changes:
        setup = _APPLY[change.key](setup, change.value)
    return setup


_APPLY: dict[str, Callable[[TrainSetup, Any], TrainSetup]] = {
    "gradient_checkpointing": lambda setup, value: replace(setup, gradient_checkpointing=value),
    "per_device_train_batch_size": lambda setup, value: replace(
        setup,
        batch=value * setup.texts,
        gradient_accumulation=setup.gradient_accumulation * max(1, setup.batch // (value * setup.texts)),
    ),
    "per_device_eval_batch_size": lambda setup, value: replace(setup, eval_batch=value * setup.texts),
    "optim": lambda setup, value: replace(setup, optimizer=value),
    "tuning": lambda setup, value: replace(setup, tuning=value),
    "load_in_8bit": lambda setup, value: replace(setup, quantization="int8"),
    "load_in_4bit": lambda setup, value: replace(setup, quantization="nf4"),
    "max_length": lambda setup, value: replace(setup, seq_len=value),
}


def _ladder(setup: TrainSetup) -> Iterator[tuple[Change, Callable[[TrainSetup], TrainSetup]]]:
    def step(
        key: str, value: Any, words: str, cost: str
    ) -> tuple[Change, Callable[[TrainSetup], TrainSetup]]:
        return Change(key, value, words, cost), lambda current: _APPLY[key](current, value)

    if not setup.gradient_checkpointing:
        yield step("gradient_checkpointing", True, "gradient checkpointing", "20 to 30 % more time")
    batch = setup.batch // setup.texts
    while batch > 1:
        batch //= 2
        yield step("per_device_train_batch_size", batch, f"batch {batch} with more accumulation", "some time")
    if setup.eval_batch > setup.texts:
        yield step("per_device_eval_batch_size", 1, "evaluation one by one", "slower evaluation")
    if setup.tuning != "lora" and "8bit" not in setup.optimizer:
        yield step("optim", "paged_adamw_8bit", "8-bit optimizer in pages", "hardly any quality")
    if setup.tuning != "lora":
        yield step(
            "tuning",
            "lora",
            "LoRA instead of full fine-tuning"
            if setup.tuning == "full"
            else "LoRA instead of the last layers",
            "a little quality where much is to be learnt",
        )
    if setup.quantization == "none":
        yield step("load_in_8bit", True, "the model in 8 bits", "a little quality, slower")
    if setup.quantization not in ("nf4", "fp4"):
        yield step("load_in_4bit", True, "the model in 4 bits (QLoRA)", "a little quality")
    length = setup.seq_len
    while length > 512:
        length = max(512, 1 << ((length - 1).bit_length() - 1))
        yield step("max_length", length, f"texts of at most {length:,} tokens", "the ends of longer ones")
