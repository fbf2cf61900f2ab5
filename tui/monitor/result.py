"""What came out of a finished run, in words."""

from __future__ import annotations

from engine.display import duration
from engine.run.layout import RunDir
from tui.monitor.lines import Row
from tui.monitor.model import MonitorModel
from tui.monitor.notes import loss_text
from tui.monitor.samples import sample_rows


def result_rows(run: RunDir, model: MonitorModel, price_per_hour: float | None = None) -> list[Row]:
    """Numbers, answers before and after, places and next commands; one paragraph a row."""
    rows: list[Row] = [*_losses(model), *_effort(model, price_per_hour)]
    rows += [_labelled("talk to it", f"finetui chat {run.name}", "bold")]
    if model.samples:
        rows += [(), _heading("Before and after"), *sample_rows(model)[:-1]]
    rows += [(), _heading("Where it is"), *_places(run)]
    rows += [_labelled("do it again", f"finetui train -c {run.config}")]
    return rows


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
    if not rows:
        rows.append(_labelled("result", f"It is no longer in {run.path}.", "$warning"))
    return [*rows, _labelled("settings", str(run.config)), _labelled("log", str(run.log))]


def _heading(text: str) -> Row:
    return ((text, "bold $primary"),)


def _labelled(label: str, text: str, style: str = "") -> Row:
    return ((f"{label:<12}", "$muted"), (text, style))
