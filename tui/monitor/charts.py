"""The charts of the monitor."""

from __future__ import annotations

from tui.monitor.expected import Expected
from tui.monitor.model import MonitorModel
from tui.monitor.objective import title
from tui.monitor.view import View, by_step, by_time
from tui.plot import ChartData, Limit, Line, Points, Series

LEGEND = "  ── train  ● eval    "
FIRST = "The first point comes after the first step."


def loss_chart(model: MonitorModel, view: View, empty: str = FIRST) -> ChartData:
    """Training loss as a line, evaluations as points, another run, and what happened along the way."""
    other = () if view.other is None else (Line(view.other.loss, "compare", dotted=True),)
    data = ChartData(
        title="loss",
        lines=(Line(model.loss, "train"), *other),
        points=(Points(model.eval_loss, "eval"),),
        marks=model.marks(),
        log=view.log,
        empty=empty,
    )
    return by_step(model, view, data)


def metric_chart(model: MonitorModel, view: View, name: str | None, width: int) -> ChartData:
    """One of the objective's own numbers, while training and, where there is room to say so, on held-out rows."""
    if name is None:
        return by_step(model, view, ChartData(title="objective", empty="nothing beside the loss yet"))
    train, measured = model.metrics.train.get(name), model.metrics.eval.get(name)
    both = train is not None and measured is not None and width >= len(title(name)) + len(LEGEND)
    if train is not None:
        train.name = "train" if both else title(name)
        measured = measured if both else None
    data = ChartData(
        title=title(name),
        lines=() if train is None else (Line(train),),
        points=() if measured is None else (Points(measured, "eval"),),
    )
    return by_step(model, view, data)


def rate_chart(model: MonitorModel, view: View) -> ChartData:
    """The learning rate."""
    rate = model.learning_rate
    return by_step(model, view, ChartData(title=rate.name, lines=(Line(rate),)))


def norm_chart(model: MonitorModel, view: View) -> ChartData:
    """The gradient norm."""
    norm = model.grad_norm
    return by_step(model, view, ChartData(title=norm.name, lines=(Line(norm),), log=view.log))


def speed_chart(model: MonitorModel, view: View) -> ChartData:
    """Tokens per second."""
    speed = model.tokens_per_second
    return by_step(model, view, ChartData(title=speed.name, lines=(Line(speed),), y_include=(0.0,)))


def memory_chart(model: MonitorModel, view: View, width: int, expected: Expected | None = None) -> ChartData:
    """Memory of the fullest card against its limit; of the machine where there is no card.

    Args:
        model: What is known.
        view: How to show it.
        width: Columns of the chart; a narrow one has no room to say what more than two lines are.
        expected: With it the prediction is a line, too.
    """
    empty = "no sample yet"
    hardware = model.hardware
    if not hardware.gpus:
        limit = hardware.ram.total if hardware.ram else None
        data = ChartData(
            title="RAM",
            y_label="GiB",
            lines=(Line(hardware.trainer_ram, "used"), Line(hardware.machine_ram, "reserved", dotted=True)),
            limits=() if limit is None else (Limit(limit, "all there is"),),
            y_include=(0.0,),
            empty=empty,
        )
        return by_time(model, view, data)
    limit = hardware.limit
    torch = (
        Line(hardware.reserved, "reserved", dotted=True),
        Line(hardware.allocated, "allocated"),
    )
    limits = () if limit is None else (Limit(limit, "limit"),)
    if expected is not None and expected.at_most is not None:
        limits = (*limits, Limit(expected.at_most, "expected at most", "compare"))
    data = ChartData(
        title="GPU memory" if len(hardware.gpus) == 1 else "fullest GPU",
        y_label="GiB",
        lines=(Line(hardware.used, "used"), *(line for line in torch if line.series and width >= 46)),
        limits=limits,
        y_include=(0.0,),
        empty=empty,
    )
    return by_time(model, view, data)


def gpu_charts(model: MonitorModel, view: View) -> tuple[ChartData, ChartData, ChartData]:
    """How busy, how hot, and how much power: of one card, or of all of them."""
    hardware = model.hardware
    no_card = "no GPU here" if hardware.gpus == () else "no sample yet"
    each, hottest, together = (
        (", each", ", the hottest", ", all together") if len(hardware.gpus or ()) > 1 else ("", "", "")
    )

    def chart(series: Series, unit: str, *include: float) -> ChartData:
        data = ChartData(series.name, unit, lines=(Line(series),), y_include=include, empty=no_card)
        return by_time(model, view, data)

    return (
        chart(hardware.busy, f"%{each}", 0.0, 100.0),
        chart(hardware.temperature, f"°C{hottest}", 0.0),
        chart(hardware.power, f"W{together}", 0.0),
    )
