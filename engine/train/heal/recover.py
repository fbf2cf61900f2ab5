"""What becomes of an error that ended training: a new start with other settings, or words that help."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.config.loading import load
from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.run import changes, checkpoints
from engine.run.changes import Change
from engine.run.events import tail_events, whole
from engine.run.layout import RunDir
from engine.train.heal.changed import honoured, value_of
from engine.train.heal.curves import Broken, LossBroken
from engine.train.heal.disk import is_full
from engine.train.heal.ladder import lighter
from engine.train.heal.out_of_memory import Doing, doing, is_out_of_memory
from engine.train.recorder import Recorder

MAX_RESTORES = 3  # times the loss may break before finetui gives up
MAX_FRESH_STARTS = 2  # without a change of settings
LESS = 4.0  # the learning rate is divided by this when the loss broke
BEFORE_THE_MODEL = (
    "loading data",
    "downloading",
    "loading tokenizer",
    "tokenizing",
)  # a smaller batch helps none of these
OTHERS = 3.0  # seconds in which another process may say why this one's partner vanished


class Restart(Exception):
    """The supervisor will start the trainer again."""


@contextmanager
def healing(run: RunDir, recorder: Recorder) -> Iterator[None]:
    """Around training: an error that finetui can do something about ends in a new start.

    Raises:
        Restart: A new start is asked for; leave quietly.
        UserError: Nothing helps but the user; it says what would.
        Exception: Any other error, as it was.
    """
    try:
        yield
    except (UserError, Restart):
        raise
    except LossBroken as error:
        recorder.sync()
        _after_broken_loss(run, recorder, error.found)
    except Exception as error:
        recorder.sync()
        if is_out_of_memory(error):
            traceback.print_exc()
            _after_out_of_memory(run, recorder, error)
        if is_full(error, run.path):
            traceback.print_exc()
            _after_full_disk(run, recorder, error)
        if _somebody_else_knows(run):
            raise Restart from error
        raise


def _after_out_of_memory(run: RunDir, recorder: Recorder, error: Exception) -> None:
    if recorder.phase_name in BEFORE_THE_MODEL:
        raise UserError(
            "The main memory (RAM) ran out before training began.",
            f"while {recorder.phase_name}",
            f"Close other programs, then: finetui resume {run.name}   Or take fewer rows in a new run: #10000 behind a dataset "
            "draws so many.",
        ) from error
    config = honoured(run, load(run.config))
    what, step = doing(error), last_step(run)
    if recorder.phase_name == "loading model":
        what = "loading"
    when = f"after step {step}" if step else "at the first step"
    evaluating = what == "evaluating"
    when = f"while evaluating {when}" if evaluating else when
    ways_out = _ways_out(run, config, what)
    if not config.healing.heal:
        raise UserError(f"Out of memory {when}.", what_is_asked(config), ways_out) from error
    if what == "loading":
        raise UserError(
            "Out of memory while loading: the model itself does not fit.",
            config.model.model_name_or_path,
            ways_out,
        ) from error
    if what == "saving" or recorder.phase_name == "saving":
        _fresh(run, recorder, Change("out of memory", "Out of memory while saving.", this_attempt(run), step))
    rung = lighter(config, evaluating)
    if rung is None:
        raise UserError(
            f"Out of memory {when}, and finetui has nothing left to make smaller.",
            what_is_asked(config),
            ways_out,
        ) from error
    words = f"Out of memory {when}. From here on {rung.words}."
    _ask(run, Change("out of memory", words, this_attempt(run), step, rung.before, rung.after), error)


def _after_broken_loss(run: RunDir, recorder: Recorder, found: Broken) -> None:
    config = honoured(run, load(run.config))
    tries = sum(change.why in ("not a number", "exploded") for change in changes.read(run))
    # A loss of zero breaks no weights, and a lower learning rate would not change it.
    restores = config.healing.on_nan == "restore" and found.why != "zero" and tries < MAX_RESTORES
    _only_good_ones(run, recorder, found, restores)
    good = next(reversed(checkpoints.finished(run.checkpoints)), None)
    back = f"the checkpoint of step {checkpoints.step_of(good)}" if good else "the beginning"
    if not restores:
        tried = f" {tries} lower learning rates did not help." if tries else ""
        raise UserError(
            f"{found.words}{tried} Training was stopped; the last good state is {back}.",
            f"step {found.step}, learning_rate {value_of(config, 'learning_rate'):.3g}, dtype {config.model.dtype}",
            _fix_of(run, config, found),
        )
    before, after, words = _gentler(config)
    change = Change(
        found.why, f"{found.words} Back to {back}, {words}.", this_attempt(run), found.since, before, after
    )
    _ask(run, change, None)


def _only_good_ones(run: RunDir, recorder: Recorder, found: Broken, restores: bool) -> None:
    """Remove what was saved after the loss broke, unless that would leave nothing to a run that stops."""
    saved = [checkpoints.step_of(path) for path in checkpoints.finished(run.checkpoints)]
    bad = [step for step in saved if step >= found.since]
    if recorder.silent or not bad or (len(bad) == len(saved) and not restores):
        return
    checkpoints.drop_from(run.checkpoints, found.since)
    steps = ", ".join(str(step) for step in bad)
    recorder.emit(
        "change", why=found.why, words=f"Removed what was saved after the loss broke: step {steps}."
    )


def _gentler(config: RunConfig) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Settings before and after, and what changes in words."""
    if config.model.dtype == "float16":
        import torch

        able = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        wider = "bfloat16" if able else "float32"
        return {"dtype": "float16"}, {"dtype": wider}, f"and on in {wider}, whose numbers do not overflow"
    rate = value_of(config, "learning_rate")
    lower = {"learning_rate": rate / LESS}
    return (
        {"learning_rate": rate},
        lower,
        f"and on with a learning rate of {rate / LESS:.3g} instead of {rate:.3g}",
    )


def _after_full_disk(run: RunDir, recorder: Recorder, error: Exception) -> None:
    change = Change(
        "disk full", "The disk was full while saving; starting again.", this_attempt(run), last_step(run)
    )
    if doing(error) == "saving":
        _fresh(run, recorder, change)
    raise UserError(
        "The disk is full.",
        str(run.path),
        f"Free some space, then go on with: finetui resume {run.name}",
    ) from error


def _fresh(run: RunDir, recorder: Recorder, change: Change) -> None:
    """A new process with the same settings, a few times."""
    before = [known for known in changes.read(run) if known.why == change.why and not known.after]
    if len(before) < MAX_FRESH_STARTS:
        _ask(run, change, None)


def _ask(run: RunDir, change: Change, error: Exception | None) -> None:
    changes.propose(run, change)
    raise Restart from error


def _somebody_else_knows(run: RunDir) -> bool:
    """Whether this process only failed because another one did, which has asked for a new start."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    deadline = time.monotonic() + OTHERS
    while not changes.is_proposed(run):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def last_step(run: RunDir) -> int:
    """The last step that was logged."""
    steps = (whole(event.get("step")) for event in reversed(tail_events(run.events)))
    return next((step for step in steps if step is not None), 0)


def this_attempt(run: RunDir) -> int:
    """The attempt that goes on. Only the first of several processes counts them, so it is read from what that one wrote."""
    return max((whole(event.get("attempt")) or 0 for event in tail_events(run.events)), default=1)


def what_is_asked(config: RunConfig) -> str:
    """The settings that memory depends on."""
    keys = (
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "max_length",
        "gradient_checkpointing",
    )
    return ", ".join(f"{changes.WORDS[key]} {changes.shown(value_of(config, key))}" for key in keys)


def _ways_out(run: RunDir, config: RunConfig, what: Doing) -> str:
    ways = []
    if config.method.tuning == "lora" and not config.model.load_in_4bit:
        ways.append("load_in_4bit: true")
    if config.method.tuning != "lora":
        ways.append("tuning: lora (in a new run)")
    if "8bit" not in (config.training.optim or "") and config.method.tuning != "lora" and what != "loading":
        ways.append("optim: adamw_8bit (in a new run)")
    # Evaluation recomputes nothing, and a model that is not even loaded has no rows yet.
    if not config.training.gradient_checkpointing and what == "training":
        ways.append("gradient_checkpointing: true")
    if what != "loading":
        ways.append(f"a smaller max_length than {value_of(config, 'max_length'):,}")
    ways.append("a smaller model or a larger card (in a new run)")
    return f"What would help: {', '.join(ways)}. Change it in {run.config}, then: finetui resume {run.name}"


def _fix_of(run: RunDir, config: RunConfig, found: Broken) -> str:
    if found.why == "zero":
        return "Look at the data: what is learnt may be cut off or empty (finetui data check). Then start a new run."
    if config.model.dtype == "float16":
        advice = "float16 overflows easily: set dtype to bfloat16 (cards since 2020) or float32"
    else:
        advice = f"Lower learning_rate, for example to {value_of(config, 'learning_rate') / LESS:.3g}"
    return f"{advice} in {run.config}, then: finetui resume {run.name}. Or let finetui do that by itself with on_nan: restore."
