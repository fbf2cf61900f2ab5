"""What was changed since run.yaml so that a run could go on: proposed by the trainer, kept by the supervisor.

A process that ran out of memory is best replaced by a new one. So the trainer leaves a proposal in ``control/`` and ends; the
supervisor adds it to ``changes.json`` and starts the trainer again, which applies what stands there on top of run.yaml.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.run import atomic
from engine.run.layout import RunDir

RESTART = 75  # exit code of a trainer that asked for a new start (EX_TEMPFAIL)
MAX_RESTARTS = 20  # by the supervisor in one go; every way of going on is exhausted long before
WORDS = {
    "per_device_train_batch_size": "batch",
    "per_device_eval_batch_size": "evaluation batch",
    "gradient_accumulation_steps": "accumulation",
    "gradient_checkpointing": "checkpointing",
    "max_length": "length",
    "learning_rate": "learning rate",
    "dtype": "number format",
}


@dataclass(frozen=True, slots=True)
class Change:
    """Why a run goes on differently, and how.

    Attributes:
        why: A word for programs: ``out of memory``, ``not a number``, ``exploded``, ``room for more``, ``disk full``.
        words: What happened and what is done, for people.
        attempt: The attempt in which it happened.
        step: The last step before it.
        before: Settings as they were, by their key in run.yaml.
        after: The same settings from now on; empty when only a new process was needed.
        t: Unix time.
    """

    why: str
    words: str
    attempt: int
    step: int
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    t: float = field(default_factory=lambda: round(time.time(), 3))

    @property
    def difference(self) -> str:
        """``batch 8 → 4, accumulation 1 → 2``; empty when no setting changed."""
        return difference(self.before, self.after)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Settings that are not what they were, in a few words."""
    return ", ".join(
        f"{WORDS.get(key, key)} {shown(before.get(key))} → {shown(value)}" for key, value in after.items()
    )


def read(run: RunDir) -> list[Change]:
    """What was changed so far, oldest first; damaged entries are left out."""
    return _parsed((atomic.read_json(_file(run)) or {}).get("changes"))


def settings(run: RunDir) -> dict[str, Any]:
    """The settings that differ from run.yaml, by key."""
    found: dict[str, Any] = {}
    for change in read(run):
        found.update(change.after)
    return found


def summary(run: RunDir) -> str:
    """All that differs from run.yaml, first value to last: ``batch 8 → 2``."""
    before: dict[str, Any] = {}
    for change in read(run):
        before = {**change.before, **before}
    after = {key: value for key, value in settings(run).items() if before.get(key) != value}
    return difference(before, after)


def append(run: RunDir, change: Change) -> None:
    """Keep a change.

    Raises:
        OSError: The run directory cannot be written.
    """
    atomic.write_json(_file(run), {"changes": [asdict(known) for known in (*read(run), change)]})


def propose(run: RunDir, change: Change) -> bool:
    """Ask the supervisor for a new trainer process that honours a change.

    Several processes may fail in the same moment; the first one's proposal counts.

    Returns:
        Whether it was this one.

    Raises:
        OSError: The run directory cannot be written.
    """
    proposal = _proposal(run)
    run.control.mkdir(mode=0o700, exist_ok=True)
    whole = proposal.with_name(f".{proposal.name}.{os.getpid()}")
    atomic.write_json(whole, asdict(change))
    try:
        os.link(whole, proposal)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        os.replace(whole, proposal)
    finally:
        whole.unlink(missing_ok=True)
    return True


def is_proposed(run: RunDir) -> bool:
    """Whether a process of this run has asked for a new start."""
    return _proposal(run).exists()


def accept(run: RunDir) -> Change | None:
    """Keep the change that waits, if one does, and return it."""
    proposal = _proposal(run)
    waiting = _parsed([atomic.read_json(proposal)])
    if not waiting:
        return None
    with contextlib.suppress(OSError):
        append(run, waiting[0])
        proposal.unlink(missing_ok=True)
    return waiting[0]


def _file(run: RunDir) -> Path:
    return run.path / "changes.json"


def _proposal(run: RunDir) -> Path:
    return run.control / "restart"


def _parsed(stored: Any) -> list[Change]:
    found: list[Change] = []
    for entry in stored if isinstance(stored, list) else ():
        with contextlib.suppress(TypeError, ValueError):
            change = Change(**entry)
            if isinstance(change.before, dict) and isinstance(change.after, dict):
                found.append(change)
    return found


def shown(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
