"""The charts of the monitor."""

from __future__ import annotations

from dataclasses import dataclass

from tui.monitor.model import MonitorModel
from tui.plot import ChartData, Limit, Line, Points

ZOOMS = (1.0, 0.25, 0.1)  # shares of the curve that `z` goes through


@dataclass(frozen=True, slots=True)
class View:
    """How the user wants to see the curves."""

    log: bool = False
    zoom: float = 1.0


def loss_chart(model: MonitorModel, view: View, empty: str) -> ChartData:
    """Training loss as a line, evaluations as points, and what happened along the way."""
    return ChartData(
        title="loss",
        lines=(Line(model.loss, "train"),),
        points=(Points(model.eval_loss, "eval"),),
        marks=model.marks(),
        x_max=_x_max(model),
        log=view.log,
        zoom=view.zoom,
        empty=empty,
    )


def memory_chart(model: MonitorModel, view: View, width: int) -> ChartData:
    """Memory of the fullest card against its limit; of the machine where there is no card.

    Args:
        model: What is known.
        view: How to show it.
        width: Columns of the chart; a narrow one has no room to say what more than two lines are.
    """
    empty = "no sample yet"
    if not model.gpus:
        limit = model.ram.total if model.ram else None
        return ChartData(
            title="RAM",
            y_label="GiB",
            x_label="time",
            lines=(Line(model.trainer_ram, "used"), Line(model.machine_ram, "reserved", dotted=True)),
            limits=() if limit is None else (Limit(limit, "all there is"),),
            x_unit="seconds",
            zoom=view.zoom,
            y_include=(0.0,),
            empty=empty,
        )
    limit = model.gpu_limit
    torch = (Line(model.torch_reserved, "reserved", dotted=True), Line(model.torch_allocated, "allocated"))
    return ChartData(
        title="GPU memory" if len(model.gpus) == 1 else "fullest GPU",
        y_label="GiB",
        x_label="time",
        lines=(Line(model.gpu_used, "used"), *(line for line in torch if line.series and width >= 46)),
        limits=() if limit is None else (Limit(limit, "limit"),),
        x_unit="seconds",
        zoom=view.zoom,
        y_include=(0.0,),
        empty=empty,
    )


def more_charts(model: MonitorModel, view: View) -> tuple[ChartData, ChartData, ChartData]:
    """Learning rate, gradient norm, and speed."""
    rate, norm, speed = model.learning_rate, model.grad_norm, model.tokens_per_second
    return (
        ChartData(title=rate.name, lines=(Line(rate),), x_max=_x_max(model), zoom=view.zoom),
        ChartData(title=norm.name, lines=(Line(norm),), x_max=_x_max(model), zoom=view.zoom, log=view.log),
        ChartData(
            title=speed.name, lines=(Line(speed),), x_max=_x_max(model), zoom=view.zoom, y_include=(0.0,)
        ),
    )


def _x_max(model: MonitorModel) -> float | None:
    return float(model.progress.max_steps) or None
