"""Whether the models of a conversation fit in memory, and on which device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config.schema import RunConfig
from engine.display import GIB, gib
from engine.errors import UserError
from engine.fit.setup import architecture_of
from engine.fit.types import DTYPE_BYTES, Architecture
from engine.machine.model import Gpu, Machine
from engine.run.home import runs_home

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")
CONTEXT = 4096  # tokens of conversation for which room is left
_PROGRAM = GIB * 3 // 4  # Python with torch and transformers; on a card the CUDA context is about as much
# Bytes of one weight in bitsandbytes' formats, its scales included.
_PACKED = {"4bit": 0.57, "8bit": 1.02}
_HIDE_CARDS = {"CUDA_VISIBLE_DEVICES": ""}


class CardFullError(UserError):
    """The card has no room, and main memory has: the processor could do it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the models are held.

    Attributes:
        device: ``cpu`` or ``cuda``.
        env: Variables that the worker needs.
        words: For the user.
    """

    device: Literal["cpu", "cuda"]
    env: dict[str, str]
    words: str


def place_for(
    config: RunConfig, num_models: int, device: Device, machine: Machine, training: str | None = None
) -> Place:
    """Choose the device for a conversation.

    Args:
        config: The run.
        num_models: How many whole models are held at once.
        device: What the user asked for; ``auto`` takes a card where there is one.
        machine: What is here.
        training: Name of a run that trains at the moment.

    Raises:
        CardFullError: The card has not enough free memory, and the processor would do.
        UserError: There is not enough memory, or no card.
    """
    need = needed_bytes(config, num_models)
    cards = machine.usable_gpus
    if device == "cuda" and not cards:
        raise UserError(
            "There is no graphics card (GPU) that can be used.",
            machine.gpu_state.message,
            "Use the processor: --device cpu. See also: finetui doctor",
        )
    if device == "cpu" or not cards:
        return _on_processor(need, machine)
    card = max(cards, key=lambda gpu: gpu.memory_free)
    if card.memory_reported and need is not None and need > card.memory_free:
        raise _too_full(need, card, machine, training)
    return Place("cuda", {"CUDA_VISIBLE_DEVICES": card.uuid}, f"on {card.label}")


def needed_bytes(config: RunConfig, num_models: int = 1) -> int | None:
    """Memory of loaded models, one conversation and the program; None where the model's size is not known."""
    try:
        architecture = architecture_of(config.model.model_name_or_path)
    except UserError:
        return None
    # A second model answers after the first one, but the words both have read stay in memory.
    return num_models * (_weights(architecture, config) + _conversation(architecture, config)) + _PROGRAM


def training_now() -> str | None:
    """The name of a run that trains at the moment."""
    from engine.run.layout import RunDir
    from engine.run.state import is_live

    try:
        folders: list[Path] = sorted(runs_home().iterdir())
    except OSError:
        return None
    return next((path.name for path in folders if (path / "lock").exists() and is_live(RunDir(path))), None)


def _weights(architecture: Architecture, config: RunConfig) -> int:
    element = DTYPE_BYTES[config.model.dtype or "float32"]
    model = config.model
    packed = _PACKED["4bit"] if model.load_in_4bit else _PACKED["8bit"] if model.load_in_8bit else element
    layers = sum(linear.weights * linear.count for linear in architecture.linears if linear.part != "head")
    layers = min(layers, architecture.params)
    adapter = 0.02 * architecture.params * element if config.method.tuning == "lora" else 0.0
    return int(layers * packed + (architecture.params - layers) * element + adapter)


def _conversation(architecture: Architecture, config: RunConfig) -> int:
    """Keys and values of what was said, and one row of logits in float32 a few times over."""
    element = DTYPE_BYTES[config.model.dtype or "float32"]
    tokens = min(CONTEXT, architecture.max_length or CONTEXT)
    kept = 2 * architecture.layers * architecture.kv_heads * architecture.head_dim * tokens * element
    return kept + 8 * architecture.hidden * tokens * element + 16 * architecture.vocab


def _on_processor(need: int | None, machine: Machine) -> Place:
    free = machine.host.ram_available
    if need is not None and need > free:
        limit = " This container's limit is what counts." if machine.host.ram_limited else ""
        raise UserError(
            f"There is not enough main memory: loading this takes about {gib(need)}, and {gib(free)} are free.{limit}",
            "main memory (RAM)",
            "End other programs or wait for a training to end; one model at a time (without --against) takes less.",
        )
    return Place("cpu", dict(_HIDE_CARDS), "on the processor")


def _too_full(need: int, card: Gpu, machine: Machine, training: str | None) -> UserError:
    holder = f" The run {training} is training at the moment and holds memory." if training else ""
    what = (
        f"The card has not enough free memory: this takes about {gib(need)}, and {gib(card.memory_free)} of "
        f"{gib(card.memory_total)} are free.{holder}"
    )
    where = f"{card.label} ({card.name})"
    if need > machine.host.ram_available:
        return UserError(
            what, where, "Wait until the card is free; one model at a time (without --against) takes less."
        )
    return CardFullError(
        what, where, "Use the processor, which is slower: --device cpu. Or wait until the card is free."
    )
