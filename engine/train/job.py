"""One training run from run.yaml to the saved result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.advise.objectives import OBJECTIVES
from engine.config.loading import load
from engine.config.reporting import cannot_report
from engine.config.schema import RunConfig
from engine.data.mixing import load_data
from engine.data.sources import fingerprint
from engine.errors import UserError
from engine.hub.download import local_model
from engine.run import atomic, checkpoints
from engine.run.layout import RunDir
from engine.train import early
from engine.train.fetch import fetch_data, fetch_model, name_base
from engine.train.heal.changed import honoured, tell
from engine.train.recorder import Recorder
from engine.train.what_is_learnt import report_tokens


def train(run: RunDir, recorder: Recorder, terminated: Callable[[], bool], own_process: bool = False) -> None:
    """Load, check, train, save. Continues from the newest whole checkpoint if there is one.

    Args:
        run: Its directory.
        recorder: Tells what happens.
        terminated: Whether the run was asked to end.
        own_process: Nothing else happens in this process, so what the run does not need may be left out of it.

    Raises:
        UserError: Something the user can put right.
    """
    config = honoured(run, load(run.config))
    started = time.time()
    tell(run, recorder)
    recorder.phase("loading data", "Reading the dataset.", **_header(config))
    if not recorder.silent:
        checkpoints.sweep(run.checkpoints)
    config = fetch_data(run, config, recorder)
    train_rows, eval_rows, conversational = read_data(config, recorder)
    check_same_data(run, config)
    config = fetch_model(run, config, recorder)

    recorder.phase("loading tokenizer", "Loading tokenizer and libraries.")
    folder = str(local_model(config.model.model_name_or_path, config.model.model_revision))
    if own_process:
        early.collect_later()
        early.leave_out_unused(config, folder)
        early.read_ahead(folder)

    from engine.train import model as loading
    from engine.train import token_cache
    from engine.train.asking import Asking
    from engine.train.callback import RunCallback
    from engine.train.heal.disk import Room
    from engine.train.heal.probe import Probe
    from engine.train.heal.start import checkpoint_to_resume, look_at_disk
    from engine.train.heal.watchdog import Watchdog
    from engine.train.objectives import core, load_objective
    from engine.train.quality import Quality, take_best
    from engine.train.tokens import prepare_tokenizer
    from engine.train.vocabulary import fit_vocabulary

    objective = load_objective(config.method.objective)
    tokenizer = loading.load_tokenizer(config)
    prepared = prepare_tokenizer(
        tokenizer, config.template.chat_template, conversational, config.model.model_name_or_path
    )
    for note in prepared.notes:
        recorder.warning(note)
    recorder.phase("tokenizing", "Turning the rows into tokens.")

    def tokens_of(rows: list[dict[str, Any]]) -> Any:
        return token_cache.prepared(objective.prepare, rows, tokenizer, config, conversational)

    train_set = tokens_of(train_rows)
    eval_set = tokens_of(eval_rows) if eval_rows else None
    report_tokens(recorder, train_set, config, conversational)

    recorder.phase("loading model", f"Loading the model {Path(config.model.model_name_or_path).name}.")
    model = loading.load_model(config, objective.auto_model)
    new_rows = fit_vocabulary(model, tokenizer, prepared)
    resume_from = checkpoint_to_resume(run, recorder)
    evaluated = eval_set.rows if eval_set else []
    args = core.arguments(config, str(run.checkpoints), bool(evaluated), resume_from is not None)
    callback = RunCallback(recorder, terminated, config)
    probe, quality = Probe(run, recorder, config), Quality(recorder, config)
    trainer = core.build(
        config,
        model,
        tokenizer,
        token_cache.as_dataset(train_set.rows),
        token_cache.as_dataset(evaluated) if evaluated else None,
        args,
        [probe, callback, quality, Watchdog(recorder, config)],
        new_rows,
        recorder.warning,
    )
    trainer.room, probe.trainer = Room(recorder, callback.is_ending), trainer
    look_at_disk(run, recorder, trainer.checkpoint_bytes(), trainer.result_bytes())
    if own_process:
        early.collect_again()
    dtypes = loading.describe_dtypes(trainer.model)
    loading.require_stated(dtypes, config)
    words = _model_words(dtypes, config)
    recorder.emit("phase", phase="model loaded", words=words, dtypes=dtypes)
    recorder.say(words)
    if trainer.layout_words:
        recorder.emit("phase", phase="rows laid out", words=trainer.layout_words)
        recorder.say(trainer.layout_words)

    rows = eval_rows or train_rows
    asking = Asking(recorder, config, trainer, tokenizer, rows, callback.is_ending, callback.leave_out)
    quality.asking = asking
    if resume_from is None:
        asking.ask("before")

    if resume_from is not None:
        step = checkpoints.step_of(resume_from)
        restore_token_count(trainer, resume_from)
        recorder.phase(
            "resuming", f"Going on from the checkpoint of step {step}.", step=step, resumed_from=step
        )
    elif recorder.attempt > 1:
        recorder.phase("resuming", "There is no checkpoint yet: starting again.", step=0, resumed_from=0)
    try:
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    except Exception as error:
        if (refusal := cannot_report(error)) is not None:
            raise refusal from error
        raise

    if trainer.state.global_step == 0 and callback.stop_reason is None:
        raise UserError(
            "Nothing was trained: the data do not fill a single step.",
            f"{len(train_set.rows):,} rows to learn from",
            "Add rows, or lower per_device_train_batch_size or gradient_accumulation_steps.",
        )
    if callback.stop_reason is not None:
        finish_stopped(recorder, callback.stop_reason, trainer.state.global_step, trainer.state.max_steps)
        return
    final: dict[str, float] = {}
    if evaluated:
        final = last_evaluation(trainer.state)
        if not final:
            recorder.phase("evaluating", "Measuring on the held-out rows.")
            final = trainer.evaluate()
        final = take_best(trainer, config, recorder) or final
    recorder.phase("saving", "Saving the result.")
    saved = save_result(run, config, trainer, tokenizer)
    if saved is None:
        finish_stopped(recorder, "unsaved", trainer.state.global_step, trainer.state.max_steps)
        return
    asking.ask("after")
    recorder.phase("done", "Done.")
    recorder.emit(
        "finished",
        outcome="completed",
        step=trainer.state.global_step,
        max_steps=trainer.state.max_steps,
        eval_loss=final.get("eval_loss"),
        measure=_measure(final, config),
        path=saved,
        seconds=round(time.time() - started, 1),
        words=f"Training is complete. {quality.stopped_early}".strip(),
    )


def read_data(
    config: RunConfig, recorder: Recorder
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """Training rows, evaluation rows, and whether they are conversations."""
    data = load_data(
        config.data.train_specs(),
        config.data.eval_specs(),
        config.data.eval_fraction,
        config.method.objective,
        config.training.seed,
    )
    for warning in data.warnings:
        recorder.warning(warning)
    train_rows, eval_rows, conversational = data.train, data.evaluation, data.conversational
    recorder.emit(
        "phase",
        phase="data loaded",
        words=f"{len(train_rows)} rows to learn from, {len(eval_rows)} held out.",
        train_rows=len(train_rows),
        eval_rows=len(eval_rows),
    )
    return train_rows, eval_rows, conversational


def check_same_data(run: RunDir, config: RunConfig) -> None:
    """Remember the dataset at the first start; refuse to go on with another one.

    Raises:
        UserError: A file changed since the run began, so going on would not be the same run.
    """
    record = run.path / "data.json"
    now: dict[str, str] = {}
    for spec in [*config.data.train_specs(), *config.data.eval_specs()]:
        now |= fingerprint(spec)
    before = atomic.read_json(record)
    if before is None:
        atomic.write_json(record, now)
    elif before != now:
        changed = next((path for path in now if before.get(path) != now[path]), record)
        raise UserError(
            "The dataset has changed since this run began, so it cannot be continued exactly.",
            str(changed),
            "Put the file back as it was, or start a new run on the new data.",
        )


def restore_token_count(trainer: Any, checkpoint: Path) -> None:
    """Let the count of tokens seen go on where it was; TRL does not save it."""
    history = json.loads((checkpoint / checkpoints.STATE).read_text(encoding="utf-8")).get("log_history", [])
    trainer._total_train_tokens = next(
        (int(e["num_tokens"]) for e in reversed(history) if "num_tokens" in e), 0
    )


def last_evaluation(state: Any) -> dict[str, float]:
    """What was measured at the last step; empty if nothing was."""
    for entry in reversed(state.log_history):
        if "eval_loss" in entry:
            return dict(entry) if entry.get("step") == state.global_step else {}
    return {}


def _measure(evaluation: dict[str, float], config: RunConfig) -> dict[str, float]:
    """The numbers that say most about this objective."""
    names = [f"eval_{metric.name}" for metric in OBJECTIVES[config.method.objective].metrics]
    return {name: float(evaluation[name]) for name in names if name in evaluation}


def save_result(run: RunDir, config: RunConfig, trainer: Any, tokenizer: Any) -> str | None:
    """Write adapter/ or model/ whole, with tokenizer and template.

    Returns:
        Its name; None when the run was ended while the disk was full.
    """
    from engine.train.heal.disk import saying_full

    final = run.adapter if config.method.tuning == "lora" else run.model
    staging = run.path / f".{final.name}.saving"

    def save() -> None:
        if trainer.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        # Nobody writes before what a death left behind is gone.
        trainer.accelerator.wait_for_everyone()
        try:
            with saying_full(run.checkpoints):
                trainer.save_model(str(staging))
                if trainer.args.should_save:
                    if not list(staging.glob("*.safetensors")):
                        raise RuntimeError(f"The library that saves the result wrote no weights to {staging}")
                    tokenizer.save_pretrained(str(staging))
                    (staging / "training_args.bin").unlink(missing_ok=True)
                    name_base(staging, config)
                    atomic.publish(staging, final)
        finally:
            if trainer.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()

    best = trainer.state.best_model_checkpoint
    keep = {Path(best).name} if best else set()
    saved = trainer.room.write(run.checkpoints, "the trained result", trainer.result_bytes(), keep, save)
    return final.name if saved else None


def finish_stopped(recorder: Recorder, reason: str, step: int, max_steps: int) -> None:
    """The last event of a run that was asked to stop."""
    words = {
        "terminated": f"Stopped by a signal at step {step}; a checkpoint is saved. Continue with finetui resume.",
        "stop-and-save": f"Stopped at step {step} as asked; a checkpoint is saved. Continue with finetui resume.",
        "pause": f"Paused at step {step}; a checkpoint is saved and the GPU is free. Go on with finetui resume.",
        "unsaved": f"Stopped at step {step} as asked, but there was nothing to save or no room for it: finetui resume goes back to the "
        "last checkpoint.",
        "stop-now": f"Stopped at step {step} as asked, without saving. finetui resume goes back to the last checkpoint.",
    }[reason]
    outcome = "paused" if reason == "pause" else "stopped"
    recorder.emit("finished", outcome=outcome, reason=reason, step=step, max_steps=max_steps, words=words)


def _header(config: RunConfig) -> dict[str, str]:
    quantized = " 4-bit" if config.model.load_in_4bit else " 8-bit" if config.model.load_in_8bit else ""
    names = {"full": "full", "freeze": "last layers", "lora": "QLoRA" if quantized else "LoRA"}
    tuning = names[config.method.tuning]
    return {
        "model": Path(config.model.model_name_or_path).name,
        "method": f"{config.method.objective.upper()}, {tuning}{quantized}",
        "dataset": ", ".join(Path(source.path).name for source in config.data.train),
    }


def _model_words(dtypes: dict[str, dict[str, int]], config: RunConfig) -> str:
    from engine.train.model import optimizer_words

    counts = {group: sum(found.values()) for group, found in dtypes.items()}
    bits = {"uint8": "4 bits", "int8": "8 bits"}
    formats = {
        group: ", ".join(sorted(bits.get(name, name) for name in found)) for group, found in dtypes.items()
    }
    frozen = (
        f"; the other {counts['frozen']:,} stay as they are ({formats['frozen']})" if counts["frozen"] else ""
    )
    return (
        f"Model loaded. {counts['trained']:,} numbers in it are trained ({formats['trained']}){frozen}. "
        f"{optimizer_words(config)}"
    )
