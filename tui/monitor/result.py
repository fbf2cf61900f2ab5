"""What came out of a finished run, in words."""

from __future__ import annotations

from dataclasses import dataclass

from engine.display import duration, printable
from engine.run.checkpoints import finished
from engine.run.layout import RunDir
from tui.monitor.lines import Row
from tui.monitor.model import MonitorModel
from tui.monitor.notes import loss_text
from tui.monitor.samples import sample_rows


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps after training, each with its state in words.

    Attributes:
        compare: The same questions to base and trained model.
        evaluate: Measured on held-out rows.
        export: Files for other programs.
        export_failed: One of them does not answer like the trained model.
        take_home: Copied to another computer.
        safe: What was learnt is somewhere else, too.
    """

    compare: str
    evaluate: str
    export: str
    export_failed: bool
    take_home: str
    safe: bool


def result_rows(
    run: RunDir, model: MonitorModel, steps: Steps, price_per_hour: float | None = None
) -> list[Row]:
    """Numbers, next steps, answers before and after, and places; one paragraph a row."""
    rows: list[Row] = [*_losses(model), *_effort(model, price_per_hour)]
    rows += [(), _heading("What comes next"), *_next(run, steps)]
    if model.samples:
        rows += [(), _heading("Before and after"), *sample_rows(model)[:-1]]
    rows += [(), _heading("Where it is"), *_places(run)]
    rows += [_labelled("do it again", f"finetui train -c {run.config}")]
    return rows


def _next(run: RunDir, steps: Steps) -> list[Row]:
    parts = [
        ("1 compare", steps.compare, ""),
        ("2 evaluate", steps.evaluate, ""),
        ("3 export", steps.export, "bold $error" if steps.export_failed else ""),
        ("4 take home", steps.take_home, "" if steps.safe else "$warning"),
        ("c chat", f"or on the command line: finetui chat {run.name}", ""),
    ]
    return [((f"{name:<14}", "bold"), (printable(words, 200), style)) for name, words, style in parts]


def _losses(model: MonitorModel) -> list[Row]:
    rows: list[Row] = []
    if model.first_loss is not None:
        rows.append(
            _labelled("training", f"loss {loss_text(model.first_loss)} → {loss_text(model.loss.last)}")
        )
    if model.first_eval is not None and model.best_eval is not None:
        best, last = model.best_eval, model.eval_loss.last
        text = f"loss {loss_text(model.first_eval)} → {loss_text(best)} on rows it never learned from"
        if best >= model.first_eval:
            text = f"loss {loss_text(model.first_eval)}: it never fell on rows the model did not learn from"
        rows.append(
            _labelled("held out", text, "bold $success" if best < model.first_eval else "bold $warning")
        )
        if last is not None and last > best * 1.02 and model.best_step is not None:
            words = f"The best was at step {model.best_step:,.0f}; later it rose to {loss_text(last)}. Fewer steps would do."
            rows.append(_labelled("", words, "$warning"))
    else:
        rows.append(_labelled("held out", "No rows were held out, so nobody knows how it does on new ones."))
    rows.append(_labelled("", "Loss says how wrong the model is: lower is better.", "$muted"))
    return rows


def _effort(model: MonitorModel, price_per_hour: float | None) -> list[Row]:
    seconds = model.clock.seconds
    text = f"{model.progress.step:,} steps in {duration(seconds)}"
    if model.epoch is not None:
        text += f", {model.epoch:.1f} passes over the rows"
    if price_per_hour is not None:
        text += f", about ${price_per_hour * seconds / 3600:,.2f}"
    return [_labelled("effort", text)]


def _places(run: RunDir) -> list[Row]:
    rows = []
    if run.adapter.is_dir():
        rows.append(_labelled("adapter", f"{run.adapter}  (the learned part; it needs the base model)"))
    if run.model.is_dir():
        rows.append(_labelled("model", f"{run.model}  (complete)"))
    saved = finished(run.checkpoints)
    if not rows and saved:
        rows.append(
            _labelled("checkpoint", f"{saved[-1]}  (the newest; finetui resume {run.name} goes on from it)")
        )
    elif not rows:
        rows.append(_labelled("result", f"It is no longer in {run.path}.", "$warning"))
    return [*rows, _labelled("settings", str(run.config)), _labelled("log", str(run.log))]


def _heading(text: str) -> Row:
    return ((text, "bold $primary"),)


def _labelled(label: str, text: str, style: str = "") -> Row:
    return ((f"{label:<12}", "$muted"), (text, style))
