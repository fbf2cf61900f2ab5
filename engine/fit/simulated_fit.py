"""The simulated step beside the arithmetic: asks the worker process, says progress, and goes on where it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.fit.cards import outside_torch
from engine.fit.setup import cached_config
from engine.fit.simulate_client import Simulator
from engine.fit.targets import Target
from engine.fit.types import Architecture, Prediction, TrainSetup

FIRST = "building the model"  # what a simulation begins with
PATIENCE = 600.0  # seconds: loading the libraries on a slow disk, and a model of which every layer has to be simulated


@dataclass(frozen=True, slots=True)
class Answer:
    """What both predictors say.

    Attributes:
        arithmetic: The instant one.
        simulated: The simulated step; None where it was not asked for or refused.
        refusal: Why there is none; empty when it was not asked for.
    """

    arithmetic: Prediction
    simulated: Prediction | None
    refusal: str

    @property
    def best(self) -> Prediction:
        """The one to go by."""
        return self.simulated or self.arithmetic


class Simulation:
    """Simulates one run after the other in a process of its own. A context manager."""

    def __init__(self) -> None:
        self._simulator = Simulator()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *exc: object) -> None:
        self._simulator.close()

    def ask(
        self,
        model: str,
        architecture: Architecture,
        setup: TrainSetup,
        target: Target,
        arithmetic: Prediction,
        title: str,
        rows: Sequence[int] = (),
        seed: int = 42,
    ) -> Answer:
        """Simulate one run; what is being done is said on standard error.

        Args:
            model: Folder or Hub id, whose own config.json is used where it is on this disk.
            architecture: What is known of it.
            setup: The run.
            target: Its card.
            arithmetic: The other predictor's answer.
            title: What to call the run.
            rows: Tokens of each row of the dataset, where known.
            seed: Of the run, which decides the order of the rows.
        """
        outside = outside_torch(target.card, setup.num_gpus)
        capability = target.card.compute_capability if target.card is not None else (8, 0)
        number = self._simulator.submit(
            setup,
            config_on_disk(model) or architecture,
            circumstances={
                "capability": list(capability),
                "context": outside,
                "capacity": max(1, target.free - outside),
                "rows": list(rows),
                "seed": seed,
            },
            progress=lambda words: _say(f"Simulating {title}", words),
        )
        try:
            simulated = self._simulator.result(number, PATIENCE)
        except UserError as error:
            return Answer(arithmetic, None, f"Not simulated: {error.what}")
        except TimeoutError:
            return Answer(arithmetic, None, f"Not simulated: it took longer than {PATIENCE:.0f} seconds.")
        finally:
            _say("", "")
        return Answer(arithmetic, simulated, "")


def _say(title: str, words: str) -> None:
    """Progress on standard error: one line that is written over on a terminal, one line a run elsewhere."""
    if sys.stderr.isatty():
        line = printable(f"{title}: {words} ...", 78) if title else ""
        print(f"\r{line:<79}\r", end="", file=sys.stderr, flush=True)
    elif words == FIRST:
        print(printable(f"{title} ...", 200), file=sys.stderr, flush=True)


def config_on_disk(model: str) -> dict[str, Any] | None:
    """The model's config.json from its folder or the Hub's cache."""
    path = Path(model).expanduser() / "config.json"
    if not path.is_file():
        return cached_config(model)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
