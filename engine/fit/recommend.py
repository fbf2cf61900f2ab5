"""The settings that memory decides, chosen from the prediction: each as a Choice with the numbers in its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.choice import Choice
from engine.config.schema import ORDINARY_LENGTH
from engine.display import gib
from engine.fit.cards import Card
from engine.fit.decide import Verdict, largest_batch, longest_below, need, verdict
from engine.fit.families import EAGER_ONLY, NO_SDPA
from engine.fit.types import Architecture, Prediction, TrainSetup

SHORTEST_TEXT = 512
BATCH_WITHOUT_CHECKPOINTING = 4  # from here on a GPU is busy enough for the saved recomputation to pay


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run would go.

    Attributes:
        architecture: The model.
        free: Free memory in bytes, of the card that has least of it.
        card: What is known of that kind of card; None for one that is not in the table.
        count: Cards of the same kind that the run could use.
        longest_row: Tokens of the longest row of the dataset; None when not measured.
        counted: By the model's tokenizer; otherwise guessed, which is not good enough to count on.
    """

    architecture: Architecture
    free: int
    card: Card | None
    count: int = 1
    longest_row: int | None = None
    counted: bool = True

    @property
    def padded_to(self) -> int | None:
        """Tokens that the heaviest batch is sure not to exceed, besides max_length."""
        return self.longest_row if self.counted else None

    def predict(self, setup: TrainSetup) -> Prediction:
        """What one card needs."""
        return need(self.architecture, setup, self.free, self.card)

    def verdict(self, setup: TrainSetup) -> Verdict:
        """Whether it fits on the fullest card."""
        return verdict(self.predict(setup), self.free)


def choose_tuning(setup: TrainSetup, place: Place) -> Choice[str]:
    """``lora`` where the model fits in 16 bits, else ``qlora``.

    Args:
        setup: The run at its smallest: one text at once, with gradient checkpointing.
        place: Where it would go.
    """
    plain = place.predict(replace(setup, tuning="lora", quantization="none"))
    small = place.predict(replace(setup, tuning="lora", quantization="nf4"))
    if setup.num_gpus > 1 and verdict(small, place.free) != "fits":
        split = place.predict(replace(setup, tuning="lora", quantization="none", sharding="fsdp"))
        if verdict(split, place.free) == "fits":
            return Choice(
                "lora",
                f"LoRA with the model split between {setup.num_gpus} cards needs at most {gib(split.smi.p95)} of each; "
                f"on one card even QLoRA needs {gib(small.smi.p95)}, and {gib(place.free)} are free.",
                ("qlora",),
            )
    room = f"{gib(place.free)} are free"
    length = f"texts of {setup.seq_len:,} tokens"
    if verdict(plain, place.free) == "fits":
        return Choice(
            "lora", f"LoRA needs at most {gib(plain.smi.p95)} for {length}, and {room}.", ("qlora", "full")
        )
    answer = {"fits": "fits", "tight": "is tight", "no": "does not fit either"}[verdict(small, place.free)]
    return Choice(
        "qlora",
        f"QLoRA needs at most {gib(small.smi.p95)} and {answer}, where LoRA needs {gib(plain.smi.p95)} for {length}; {room}.",
        ("lora8", "lora"),
    )


def choose_attention(architecture: Architecture | None) -> Choice[str]:
    """``sdpa``, PyTorch's own fast attention, unless transformers has none for this architecture."""
    kind = architecture.model_type if architecture else ""
    if kind in EAGER_ONLY or kind in NO_SDPA:
        return Choice("eager", f"Models of the kind {kind} have no faster attention in transformers.")
    if architecture is not None and (architecture.softcap or architecture.attention_sinks):
        return Choice(
            "eager",
            "This model's attention scores are changed in a way that the faster kernels cannot do.",
            ("flash_attention_2",),
        )
    return Choice("sdpa", "PyTorch's own attention: fast on every card, nothing to install.", ("eager",))


def choose_max_length(at: Callable[[int], TrainSetup], place: Place) -> Choice[int]:
    """The shortest of the usual lengths that holds every row, or what fits.

    Args:
        at: The run with a max_length of so many tokens.
        place: Where it would go.
    """
    limit = place.architecture.max_length or 1 << 20
    wanted = ORDINARY_LENGTH
    why = f"{ORDINARY_LENGTH:,} tokens hold an ordinary conversation"
    if place.longest_row is not None:
        wanted = SHORTEST_TEXT
        while wanted < place.longest_row + at(wanted).answer_length:
            wanted *= 2
        why = f"The longest row has {'' if place.counted else 'about '}{place.longest_row:,} tokens"
        if made := at(wanted).answer_length:
            why = f"{why}, and {made:,} are for an answer"
    if wanted > limit:
        wanted, why = limit, f"{why}, and the model was made for at most {limit:,}"
    if place.verdict(at(wanted)) == "fits":
        return Choice(wanted, f"{why}; {wanted:,} fit in memory.", _lengths(wanted, limit))
    longest = longest_below(lambda length: place.predict(at(length)).smi.p95, place.free, wanted)
    if longest >= SHORTEST_TEXT:
        longest = 1 << (longest.bit_length() - 1)
        return Choice(
            longest,
            f"{why}, but no more than {longest:,} fit in {gib(place.free)}; what is beyond is cut off.",
            _lengths(longest, limit),
        )
    return Choice(
        min(wanted, ORDINARY_LENGTH),
        f"{why}; not even {SHORTEST_TEXT} tokens are sure to fit in {gib(place.free)}.",
    )


def choose_optimizer(setup: TrainSetup, place: Place) -> Choice[str]:
    """AdamW, or its 8-bit form where full fine-tuning would not fit otherwise."""
    if setup.tuning == "lora":
        return Choice(
            "adamw_torch_fused",
            "AdamW; an adapter is so small that its optimizer states hardly take memory.",
            ("paged_adamw_8bit",),
        )
    plain = place.predict(replace(setup, optimizer="adamw_torch_fused"))
    small = place.predict(replace(setup, optimizer="adamw_8bit"))
    if verdict(plain, place.free) == "fits":
        return Choice(
            "adamw_torch_fused",
            f"AdamW: with it the run needs at most {gib(plain.smi.p95)} of {gib(place.free)}.",
            ("adamw_8bit",),
        )
    if verdict(small, place.free) == "fits":
        return Choice(
            "adamw_8bit",
            f"Its states take a quarter: at most {gib(small.smi.p95)} in all instead of {gib(plain.smi.p95)}; "
            f"{gib(place.free)} are free.",
            ("paged_adamw_8bit", "adamw_torch_fused"),
        )
    return Choice(
        "paged_adamw_8bit",
        f"Its states take a quarter and move to main memory when the card is full; {gib(place.free)} are free.",
        ("adamw_8bit",),
    )


def choose_checkpointing(at: Callable[[int], TrainSetup], place: Place, wanted: int) -> Choice[bool]:
    """Off where the texts a step needs fit without it, because it costs time.

    Args:
        at: The run so far with so many rows at once.
        place: Where it would go.
        wanted: Rows one card should handle between two changes of the model.
    """
    attempt = replace(at(min(BATCH_WITHOUT_CHECKPOINTING, wanted)), gradient_checkpointing=False)
    prediction = place.predict(attempt)
    batch, need, room = attempt.batch, gib(prediction.smi.p95), gib(place.free)
    if verdict(prediction, place.free) == "fits":
        return Choice(
            False,
            f"{batch} {'text fits' if batch == 1 else 'texts at once fit'} without it (at most {need} of {room}), which is 20 to 30 % faster.",
            (True,),
        )
    return Choice(
        True,
        f"Without it {batch} {'text' if batch == 1 else 'texts at once'} would need up to {need} of {room}; it costs 20 to 30 % more time.",
        (False,),
    )


def choose_batch(at: Callable[[int], TrainSetup], place: Place, wanted: int) -> Choice[int]:
    """As many rows at once as fit, up to what a step needs; `at` is the run with so many."""
    return largest_batch(place.architecture, at, place.free, place.card, limit=wanted)


def choose_num_processes(setup: TrainSetup, place: Place, rows: int | None) -> Choice[int]:
    """Every card of the same kind, unless the dataset is too small to share.

    Args:
        setup: The run so far, on one card.
        place: Where the run would go.
        rows: Training rows; None when not counted.
    """
    if place.count < 2:
        return Choice(1, "One card is used.")
    smallest = replace(setup, quantization="nf4") if setup.tuning == "lora" else setup
    if place.verdict(smallest) != "fits":
        return Choice(
            place.count, f"It does not fit on one card, so {place.count} of the same kind share it.", (1,)
        )
    if rows is not None and rows < 200 * place.count:
        return Choice(
            1,
            f"{rows:,} rows are too few to share between {place.count} cards: one is as good.",
            (place.count,),
        )
    return Choice(
        place.count,
        f"{place.count} cards of the same kind, each with its own share of the rows.",
        (1,),
    )


def choose_sharding(setup: TrainSetup, place: Place) -> Choice[str]:
    """DDP, which is fastest, unless the model fits only when it is split between the cards."""
    if setup.num_gpus < 2:
        return Choice("ddp", "One card is used, so there is nothing to split.")
    alone = place.predict(replace(setup, sharding="ddp"))
    if verdict(alone, place.free) == "fits" or setup.quantization != "none":
        return Choice(
            "ddp",
            f"Each card can hold the whole model (at most {gib(alone.smi.p95)} of {gib(place.free)}), which is fastest.",
            () if setup.quantization != "none" else ("fsdp",),
        )
    split = place.predict(replace(setup, sharding="fsdp"))
    return Choice(
        "fsdp",
        f"One card would need up to {gib(alone.smi.p95)} of {gib(place.free)}; split between {setup.num_gpus} cards it is "
        f"at most {gib(split.smi.p95)} on each.",
        ("ddp",),
    )


def _lengths(chosen: int, limit: int) -> tuple[int, ...]:
    return tuple(value for value in (chosen // 2, chosen * 2) if SHORTEST_TEXT <= value <= limit)
