"""One training run from run.yaml to the saved result."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config.loading import load
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.data.dataset import load_rows, split
from engine.errors import UserError
from engine.run import atomic, checkpoints
from engine.run.layout import RunDir
from engine.train.recorder import Recorder


def train(run: RunDir, recorder: Recorder, terminated: Callable[[], bool]) -> None:
    """Load, check, train, save. Continues from the newest whole checkpoint if there is one.

    Raises:
        UserError: Something the user can put right.
    """
    config = load(run.config)
    started = time.time()
    recorder.phase("loading data", "Reading the dataset.", **_header(config))
    checkpoints.sweep(run.checkpoints)
    train_rows, eval_rows, conversational = read_data(config, recorder)
    check_same_data(run, config)

    recorder.phase("loading tokenizer", "Loading tokenizer and libraries.")
    from datasets import Dataset

    from engine.train import model as loading
    from engine.train import sft
    from engine.train.callback import RunCallback
    from engine.train.tokens import prepare_tokenizer, tokenize

    tokenizer = loading.load_tokenizer(config)
    for note in prepare_tokenizer(tokenizer, config.template.chat_template, conversational):
        recorder.warning(note)
    recorder.phase("tokenizing", "Turning the rows into tokens.")
    only = config.template.assistant_only_loss and conversational
    max_length = config.training.max_length or ORDINARY_LENGTH
    train_set = tokenize(train_rows, tokenizer, max_length, only)
    eval_set = tokenize(eval_rows, tokenizer, max_length, only)
    report_tokens(recorder, train_set, config)

    recorder.phase("loading model", f"Loading the model {Path(config.model.model_name_or_path).name}.")
    model = loading.load_model(config)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    resume_from = next(reversed(checkpoints.finished(run.checkpoints)), None)
    args = sft.arguments(config, str(run.checkpoints), bool(eval_set.rows), resume_from is not None)
    callback = RunCallback(recorder, terminated)
    trainer = sft.build(
        config,
        model,
        tokenizer,
        Dataset.from_list(train_set.rows),
        Dataset.from_list(eval_set.rows) if eval_set.rows else None,
        args,
        [callback],
    )
    dtypes = loading.describe_dtypes(trainer.model)
    recorder.emit("phase", phase="model loaded", words=_model_words(dtypes), dtypes=dtypes)

    if resume_from is None:
        ask_samples(recorder, config, trainer, tokenizer, "before")

    if resume_from is not None:
        step = checkpoints.step_of(resume_from)
        restore_token_count(trainer, resume_from)
        recorder.phase(
            "resuming", f"Going on from the checkpoint of step {step}.", step=step, resumed_from=step
        )
    elif recorder.attempt > 1:
        recorder.phase("resuming", "There is no checkpoint yet: starting again.", step=0, resumed_from=0)
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)

    if callback.stop_reason is not None:
        finish_stopped(recorder, callback.stop_reason, trainer.state.global_step, trainer.state.max_steps)
        return
    final = None
    if eval_set.rows:
        final = last_eval_loss(trainer.state)
        if final is None:
            recorder.phase("evaluating", "Measuring the loss on the held-out rows.")
            final = trainer.evaluate().get("eval_loss")
    recorder.phase("saving", "Saving the result.")
    saved = save_result(run, config, trainer, tokenizer)
    ask_samples(recorder, config, trainer, tokenizer, "after")
    recorder.phase("done", "Done.")
    recorder.emit(
        "finished",
        outcome="completed",
        step=trainer.state.global_step,
        max_steps=trainer.state.max_steps,
        eval_loss=final,
        path=saved,
        seconds=round(time.time() - started, 1),
        words="Training is complete.",
    )


def ask_samples(recorder: Recorder, config: RunConfig, trainer: Any, tokenizer: Any, when: str) -> None:
    """Put the user's questions to the model as it is now."""
    from engine.train.model import is_split
    from engine.train.safe_save import preserved_random_state
    from engine.train.samples import answer_all

    prompts = config.watch.sample_prompts
    split = is_split(config)
    # A model that is split answers only when every process asks it; before training only the first one has it whole.
    if not prompts or (recorder.silent and not split) or (split and when == "before"):
        return
    recorder.phase(f"sampling {when}", f"Asking your questions {when} training.")
    with preserved_random_state():
        answers = answer_all(trainer.model, tokenizer, prompts, config.watch.sample_max_new_tokens)
    for prompt, (text, stopped) in zip(prompts, answers, strict=True):
        recorder.emit(
            "sample",
            when=when,
            step=trainer.state.global_step,
            prompt=prompt,
            text=text[:2000],
            stopped=stopped,
        )


def read_data(
    config: RunConfig, recorder: Recorder
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """Training rows, evaluation rows, and whether they are conversations."""
    train_rows: list[dict[str, Any]] = []
    for source in config.data.train:
        loaded = load_rows(source.path)
        train_rows += loaded.rows
        if loaded.skipped:
            line, reason = loaded.skipped[0]
            recorder.warning(
                f"{len(loaded.skipped)} of {loaded.total} rows of {Path(source.path).name} cannot be used and are skipped; "
                f"the first is line {line}: {reason}"
            )
    eval_rows: list[dict[str, Any]] = []
    if config.data.eval:
        for source in config.data.eval:
            eval_rows += load_rows(source.path).rows
    elif config.data.eval_fraction > 0 and len(train_rows) > 1:
        train_rows, eval_rows = split(train_rows, config.data.eval_fraction, config.training.seed)
    conversational = "messages" in train_rows[0]
    recorder.emit(
        "phase",
        phase="data loaded",
        words=f"{len(train_rows)} rows to learn from, {len(eval_rows)} held out.",
        train_rows=len(train_rows),
        eval_rows=len(eval_rows),
    )
    return train_rows, eval_rows, conversational


def report_tokens(recorder: Recorder, made: Any, config: RunConfig) -> None:
    """Say what is learnt, and refuse a run that would learn nothing.

    Raises:
        UserError: No token would be trained on.
    """
    if made.trained == 0:
        raise UserError(
            "There is nothing to learn: in none of the rows is a token left to train on.",
            f"{made.total} rows, max_length {config.training.max_length}",
            "Raise --max_length so that the answers are not cut off, and check that the rows contain assistant answers.",
        )
    share = made.trained / made.tokens
    recorder.emit(
        "phase",
        phase="tokenized",
        words=f"{made.trained:,} of {made.tokens:,} tokens are learnt ({share:.0%}).",
        tokens=made.tokens,
        trained_tokens=made.trained,
        truncated=made.truncated,
        dropped=made.without_target,
    )
    if made.without_target:
        recorder.warning(
            f"{made.without_target} of {made.total} rows have no answer within max_length and are left out."
        )
    if made.truncated:
        recorder.warning(
            f"{made.truncated} of {made.total} rows are longer than {config.training.max_length} tokens and are cut.",
            "Raise max_length if memory allows.",
        )
    if made.stops < 0.5:
        recorder.warning(
            "In most rows the end of the answer is not learnt, so the model may not know when to stop."
        )


def check_same_data(run: RunDir, config: RunConfig) -> None:
    """Remember the dataset at the first start; refuse to go on with another one.

    Raises:
        UserError: A file changed since the run began, so going on would not be the same run.
    """
    record = run.path / "data.json"
    now: dict[str, str] = {}
    for source in [*config.data.train, *(config.data.eval or [])]:
        with open(source.path, "rb") as handle:
            now[source.path] = hashlib.file_digest(handle, "sha256").hexdigest()
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


def last_eval_loss(state: Any) -> float | None:
    """The evaluation loss of the last step, if it was measured there."""
    for entry in reversed(state.log_history):
        if "eval_loss" in entry:
            return float(entry["eval_loss"]) if entry.get("step") == state.global_step else None
    return None


def save_result(run: RunDir, config: RunConfig, trainer: Any, tokenizer: Any) -> str:
    """Write adapter/ or model/ whole, with tokenizer and template. Returns its name."""
    final = run.adapter if config.method.tuning == "lora" else run.model
    staging = run.path / f".{final.name}.saving"
    shutil.rmtree(staging, ignore_errors=True)
    trainer.save_model(str(staging))
    if trainer.args.should_save:
        tokenizer.save_pretrained(str(staging))
        (staging / "training_args.bin").unlink(missing_ok=True)
        atomic.publish(staging, final)
    trainer.accelerator.wait_for_everyone()
    return final.name


def finish_stopped(recorder: Recorder, reason: str, step: int, max_steps: int) -> None:
    """The last event of a run that was asked to stop."""
    words = {
        "terminated": f"Stopped by a signal at step {step}; a checkpoint is saved. Continue with finetui resume.",
        "stop-and-save": f"Stopped at step {step} as asked; a checkpoint is saved. Continue with finetui resume.",
        "stop-now": f"Stopped at step {step} as asked, without saving. finetui resume goes back to the last checkpoint.",
    }[reason]
    recorder.emit("finished", outcome="stopped", reason=reason, step=step, max_steps=max_steps, words=words)


def _header(config: RunConfig) -> dict[str, str]:
    quantized = " 4-bit" if config.model.load_in_4bit else " 8-bit" if config.model.load_in_8bit else ""
    tuning = "full" if config.method.tuning == "full" else ("QLoRA" if quantized else "LoRA")
    return {
        "model": Path(config.model.model_name_or_path).name,
        "method": f"{config.method.objective.upper()}, {tuning}{quantized}",
        "dataset": ", ".join(Path(source.path).name for source in config.data.train),
    }


def _model_words(dtypes: dict[str, dict[str, int]]) -> str:
    counts = {group: sum(found.values()) for group, found in dtypes.items()}
    formats = {group: ", ".join(sorted(found)) for group, found in dtypes.items()}
    frozen = (
        f"; the other {counts['frozen']:,} stay as they are ({formats['frozen']})" if counts["frozen"] else ""
    )
    return f"Model loaded. {counts['trained']:,} numbers in it are trained ({formats['trained']}){frozen}."
