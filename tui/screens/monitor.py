"""The monitor: a run as it goes on. It only reads the run's files; leaving, freezing or breaking it changes nothing there."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer

from engine.display import printable
from engine.errors import UserError
from engine.run import atomic, control
from engine.run.events import number
from engine.run.layout import RunDir
from tui.keymap import bindings, keys_of
from tui.monitor import lines
from tui.monitor.arrangement import Arrangement, arrange
from tui.monitor.charts import ZOOMS, View, loss_chart, memory_chart, more_charts
from tui.monitor.log_tail import LogTail
from tui.monitor.picture import Picture
from tui.monitor.samples import sample_rows
from tui.monitor.watch import Watch
from tui.screens.base import BaseScreen
from tui.widgets.key_line import KeyLine
from tui.widgets.line_chart import LineChart
from tui.widgets.notice import Notice
from tui.widgets.pager import Pager
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from tui.monitor.model import MonitorModel

POLL = 0.5  # seconds: watching by notification misses network volumes
BREATH = 0.005  # seconds between slices of a long history, for keys and painting
READING_EVERY = 0.5  # seconds between pictures while a long history is read
CLOCK_EVERY = 5.0  # seconds between pictures when nothing has happened, because time has passed
MORE_EVERY = 2.0  # seconds between pictures of the lower charts
NOTICE_FOR = 8.0  # seconds

Pane = Literal["curves", "log", "samples"]


class MonitorScreen(BaseScreen):
    """Watches one run.

    Args:
        run: Its directory.
    """

    KEY_GROUPS = ("monitor",)
    BINDINGS = bindings("monitor")
    CSS_PATH = "monitor.tcss"
    AUTO_FOCUS = ""
    HELP = """\
Loss says how surprised the model is by the right answer: lower is better. "train" is measured on what it learns from, \
"eval" on rows held out, which it never learns from. When eval rises while train falls, it learns by heart.

Learning rate (lr): how big each correction is. Gradient norm: how much the model wants to change; sudden peaks are \
a warning. An epoch is one pass over all rows. A checkpoint is the state on disk from which a run can go on.

Training is a program of its own: leaving this screen or losing the connection does not stop it."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self.watch_run = Watch(run)
        self._log = LogTail(run.log)
        self._view = View()
        self._pane: Pane = "curves"
        self._arrangement: Arrangement | None = None
        self._frozen: Picture | None = None
        self._price: float | None = None
        self._drawn = 0.0
        self._drawn_more = 0.0
        self._notice_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield KeyLine(keys_of(*self.KEY_GROUPS))
        yield Notice()
        with Vertical(id="full"):
            with Horizontal():
                yield Rows(id="title")
                yield Rows(id="step", align="right")
            with Horizontal():
                yield Rows(id="bar")
                yield Rows(id="times")
                yield Rows(id="price", align="right")
            yield Rows(id="numbers")
            with Vertical(id="curves"):
                with Horizontal(id="charts"):
                    yield LineChart(id="loss")
                    yield LineChart(id="memory")
                with Horizontal(id="more"):
                    yield LineChart(id="rate")
                    yield LineChart(id="norm")
                    yield LineChart(id="speed")
                yield Rows(id="cards")
                yield Rows(id="words")
            yield Pager(id="pane")
            yield Rows(id="farewell")
        yield Rows(id="compact")

    def on_mount(self) -> None:
        self._arrange()
        self.in_background(self._ask_price, self._set_price, "price")
        self._poll()

    # Reading and drawing

    def _poll(self) -> None:
        """Read a slice of what is new, draw, come back."""
        count = self.watch_run.read()
        behind = self.watch_run.behind
        if behind and 0 <= time.time() - self._drawn < READING_EVERY:
            self.set_timer(BREATH, self._poll)
            return
        before = self.watch_run.status
        status = self.watch_run.look()
        if self._pane == "log" and self._log.read():
            count += 1
        now = time.time()
        clock_due = status.live and not 0 <= now - self._drawn < CLOCK_EVERY
        if count or status != before or clock_due or not self._drawn:
            self._draw(everything=not status.live)
        self.set_timer(BREATH if behind else POLL, self._poll)

    @property
    def picture(self) -> Picture:
        """What is to be shown now, or what was when the picture was frozen."""
        if self._frozen is not None:
            return replace(self._frozen, status=self.watch_run.status)
        watch = self.watch_run
        return Picture(
            watch.model, watch.status, time.time(), self._price, False, watch.share_read, watch.bad_lines
        )

    @property
    def model(self) -> MonitorModel:
        """All that is known about the run, also while the picture is frozen."""
        return self.watch_run.model

    def _draw(self, everything: bool = True) -> None:
        if self._arrangement is None or self.app.screen is not self:
            return
        self._drawn = time.time()
        picture = self.picture
        self._draw_keys(picture)
        if self._arrangement.compact:
            self._rows("compact").set_rows(
                lines.compact(self.run.name, picture, self._rows("compact").size.height)
            )
        else:
            self._draw_head(picture)
            if self._pane == "curves":
                self._draw_curves(picture, everything)
        if self._pane != "curves":
            self._draw_pane(picture)

    def _draw_head(self, picture: Picture) -> None:
        model = picture.model
        self._rows("title").set_row(lines.title(self.run.name, picture))
        self._rows("step").set_row(lines.step_text(model))
        self._rows("bar").set_row(lines.bar(model.progress.fraction, self._rows("bar").size.width))
        self._rows("times").set_row(lines.times(picture))
        self._rows("price").set_row(lines.price(picture))
        self._rows("numbers").set_row(lines.numbers(picture, self._rows("numbers").size.width))
        self._rows("farewell").set_row(lines.farewell(picture, self.run.name), "$muted")

    def _draw_curves(self, picture: Picture, everything: bool) -> None:
        model = picture.model
        where = self._arrangement
        assert where is not None
        empty = "The first point comes after the first step." if picture.status.live else "no values"
        self._chart("loss").set_data(loss_chart(model, self._view, empty))
        if where.memory:
            chart = self._chart("memory")
            chart.set_data(memory_chart(model, self._view, chart.size.width))
        # These are looked at less and jump more: fewer pictures of them halve what goes over the line.
        if where.more_charts and (everything or not 0 <= picture.now - self._drawn_more < MORE_EVERY):
            self._drawn_more = picture.now
            for name, data in zip(("rate", "norm", "speed"), more_charts(model, self._view), strict=True):
                self._chart(name).set_data(data)
        self._rows("cards").set_row(lines.cards(model, self._why_no_gpu(), self.size.width - 2))
        words = self._rows("words")
        words.set_rows(lines.words(picture, self.run.name, words.size.width, words.size.height))

    def _draw_pane(self, picture: Picture) -> None:
        pager = self.query_one(Pager)
        if self._pane == "samples":
            pager.show(sample_rows(picture.model))
        elif self._frozen is None:
            pager.show(((line, ""),) for line in self._log.shown() or ["The log is empty so far."])

    def _draw_keys(self, picture: Picture) -> None:
        """Keys that mean nothing in this state are left out of the bottom line; pressed anyway they say why."""
        state = picture.status.state
        hidden = set()
        if state != "finished":
            hidden.add("monitor.result")
        if state not in ("stopped", "failed", "died", "new"):
            hidden.add("monitor.resume")
        if not picture.status.live:
            hidden |= {"monitor.stop", "monitor.freeze", "monitor.checkpoint", "monitor.evaluate"}
        self.key_line.hide(*hidden)
        self.key_line.relabel(monitor_freeze="go on" if self._frozen else "freeze")

    def _rows(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)

    def _chart(self, name: str) -> LineChart:
        return self.query_one(f"#{name}", LineChart)

    # Arrangement

    def _arrange(self) -> None:
        """Give every part its place; only the size and the pane decide, never the run."""
        where = self._arrangement = arrange(self.size.width, self.size.height)
        curves = self._pane == "curves"
        self.key_line.display = self.size.height > 2
        self.query_one("#compact").display = where.compact and curves
        self.query_one("#full").display = not where.compact or not curves
        for name in ("title", "bar"):
            parent = self.query_one(f"#{name}").parent
            assert isinstance(parent, Horizontal)
            parent.display = not where.compact
        for name in ("numbers", "farewell"):
            self.query_one(f"#{name}").display = not where.compact
        self.query_one("#curves").display = curves
        self.query_one("#pane").display = not curves
        self.query_one("#charts").styles.height = where.charts
        self.query_one("#memory").display = where.memory
        self.query_one("#more").display = bool(where.more_charts)
        self.query_one("#more").styles.height = where.more_charts
        self.query_one("#words").styles.height = where.words
        self.query_one("#farewell").styles.margin = (where.gap, 0, 0, 0)
        self._set_bar_width()
        self.call_after_refresh(self._draw)

    def _set_bar_width(self) -> None:
        price = 24 if self._price is not None else 0
        self.query_one("#price").display = bool(price)
        self.query_one("#bar").styles.width = max(14, min(80, self.size.width - 36 - price))

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self._draw)

    # What else the rows need

    def _why_no_gpu(self) -> str:
        machine = self.the_app.machine
        return printable(machine.gpu_state.message, 200) if machine is not None else ""

    def _ask_price(self) -> float | None:
        return number((atomic.read_json(self.run.launch) or {}).get("price_per_hour"))

    def _set_price(self, price: float | None) -> None:
        self._price = price
        if self._arrangement is not None:
            self._arrange()

    # Keys

    def say(self, text: str) -> None:
        """Show a sentence for a while."""
        self.notice.say(text)
        if self._notice_timer is not None:
            self._notice_timer.stop()
        self._notice_timer = self.set_timer(NOTICE_FOR, self.notice.clear)

    def action_back(self) -> None:
        if self.notice.display:
            self.notice.clear()
        elif self._pane != "curves":
            self._open_pane("curves")
        else:
            self.app.pop_screen()

    def action_samples(self) -> None:
        self._open_pane("curves" if self._pane == "samples" else "samples")

    def action_log(self) -> None:
        self._open_pane("curves" if self._pane == "log" else "log")

    def _open_pane(self, pane: Pane) -> None:
        self._pane = pane
        pager = self.query_one(Pager)
        if pane == "curves":
            self.set_focus(None)
        else:
            pager.border_title = "log" if pane == "log" else "samples: your questions before and now"
            pager.clear(follow=pane == "log")
            self._log.read()
            pager.focus()
        self._arrange()

    def action_freeze(self) -> None:
        if self._frozen is not None:
            self._frozen = None
        else:
            frozen = replace(self.picture, model=copy.deepcopy(self.model), frozen=True)
            self._frozen = frozen
        self._draw()

    def action_zoom(self) -> None:
        self._view = replace(self._view, zoom=ZOOMS[(ZOOMS.index(self._view.zoom) + 1) % len(ZOOMS)])
        self._draw()

    def action_log_scale(self) -> None:
        self._view = replace(self._view, log=not self._view.log)
        self._draw()

    def action_result(self) -> None:
        if self.watch_run.status.state != "finished":
            self.say("There is no result yet: the run is not finished.")
            return
        from tui.screens.done import DoneScreen

        self.app.switch_screen(DoneScreen(self.run, self.model, self._price))

    def action_resume(self) -> None:
        if self.watch_run.status.live:
            self.say("It is going on already; there is nothing to resume.")
            return

        def work() -> None:
            from engine.config.resume import resume

            resume(self.run)

        self.say("Starting it again from its last checkpoint ...")
        self.in_background(work, lambda _: self.notice.clear(), "resume")

    def action_checkpoint(self) -> None:
        self._request("checkpoint")

    def action_evaluate(self) -> None:
        if self.model.eval_rows == 0:
            self.say("There are no held-out rows to measure on; eval_fraction in run.yaml sets them aside.")
        else:
            self._request("evaluate")

    def action_stop(self) -> None:
        if not self.watch_run.status.live:
            self.say("The run is not going on, so there is nothing to stop.")
            return
        from tui.screens.stop import StopScreen

        self.app.push_screen(
            StopScreen(self.run.name, self._why_not_save(), self._why_not_write()), self._stop
        )

    def _stop(self, what: str | None) -> None:
        if what is not None:
            self._request(what)

    def _request(self, what: str) -> None:
        """Drop a request into the run's folder, or say why that makes no sense now."""
        live = self.watch_run.status.live
        why_not = None if live else "The run is not going on."
        if what != "stop-now":
            why_not = why_not or self._why_not_save()
        if why_not:
            self.say(why_not)
            return
        try:
            control.request(self.run, what)
        except OSError as error:
            self.show_error(
                UserError(
                    f"The trainer cannot be asked: {error.strerror}.",
                    str(self.run.control),
                    "Make the folder writable, or free some space.",
                )
            )
            return
        self.watch_run.look()
        self._draw()

    def _why_not_save(self) -> str | None:
        return None if self.model.training else "Training has not begun: nothing to save or measure yet."

    def _why_not_write(self) -> str | None:
        if os.access(self.run.control, os.W_OK):
            return None
        return "The run's folder cannot be written to."

    def leaving(self) -> Iterable[str]:
        name, status = self.run.name, self.watch_run.status
        if status.live:
            return (f"Training goes on. Back: finetui attach {name}   Stop it: finetui stop {name}",)
        if status.state == "finished":
            return (f"{name} is finished. Talk to it: finetui chat {name}",)
        if status.state in ("stopped", "failed", "died"):
            return (f"{name} {status.state}. Go on with it: finetui resume {name}",)
        return ()
