"""What was to be expected of a run: its memory by part, and the work of a token against what the card can do."""

from __future__ import annotations

from dataclasses import dataclass

from engine.display import GIB, printable
from engine.fit.types import Prediction
from engine.machine.model import Gpu, Machine
from engine.run import atomic
from engine.run.layout import RunDir


@dataclass(frozen=True, slots=True)
class Expected:
    """Both are None where nothing is known.

    Attributes:
        prediction: Memory of one card.
        token_flops: Products and sums of one trained token.
        peak_flops: What all cards of the run can do in a second, as their data sheets say.
        card: Their name.
        parts: What lies in the memory of a card at the fullest moment: name and bytes.
    """

    prediction: Prediction | None = None
    token_flops: float | None = None
    peak_flops: float | None = None
    card: str = ""
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def at_most(self) -> float | None:
        """Predicted memory of a card in GiB, as ``nvidia-smi`` counts it, that 19 of 20 runs stay below."""
        return None if self.prediction is None else self.prediction.smi.p95 / GIB

    def share(self, tokens_per_second: float | None) -> float | None:
        """The share of what the cards can do that the run reaches, 0 to 1."""
        if not tokens_per_second or self.token_flops is None or not self.peak_flops:
            return None
        return tokens_per_second * self.token_flops / self.peak_flops


def expect(run: RunDir, machine: Machine) -> Expected:
    """Work it out from the run's settings; takes a moment the first time, because it reads the model's facts.

    Args:
        run: Its directory.
        machine: This one, where the run goes on, too.
    """
    gpu = _card_of(run, machine)
    if gpu is None:
        return Expected()
    from engine.advise.objectives import OBJECTIVES
    from engine.config.loading import load
    from engine.data.forms import PromptOnly
    from engine.errors import UserError
    from engine.fit.cards import find_card
    from engine.fit.predict import predict
    from engine.fit.setup import architecture_of, setup_of
    from engine.fit.throughput import device_of, work_of

    try:
        config = load(run.config)
        architecture, setup = architecture_of(config.model.model_name_or_path), setup_of(config)
        prediction = predict(architecture, setup, card=find_card(gpu.name))
        device = device_of(gpu, None, setup.dtype)
        # Made-up answers are written token by token, which is another kind of work.
        makes_up = OBJECTIVES[config.method.objective].form is PromptOnly
        if device is None or device.rough or makes_up:
            return Expected(prediction)
        work = work_of(architecture, setup, setup.seq_len)
    except UserError:
        return Expected()
    return Expected(prediction, work.training, device.flops * setup.num_gpus, printable(gpu.name, 60))


def _card_of(run: RunDir, machine: Machine) -> Gpu | None:
    """The first card the run was given; without a choice, the first that works."""
    env = (atomic.read_json(run.launch) or {}).get("env")
    asked = str(env.get("CUDA_VISIBLE_DEVICES") or "") if isinstance(env, dict) else ""
    chosen = next((gpu for gpu in machine.gpus if gpu.uuid and gpu.uuid in asked.split(",")), None)
    return chosen or next((gpu for gpu in machine.gpus if gpu.visible and not gpu.problem), None)
