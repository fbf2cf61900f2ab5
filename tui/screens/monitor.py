"""The monitor: a run as it goes on. It only reads the run's files; leaving, freezing or breaking it changes nothing there."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.timer import Timer

from engine.display import printable
from engine.run import atomic
from engine.run.events import number
from engine.run.layout import RunDir
from engine.run.result import has_result
from tui.keymap import bindings, keys_of
from tui.monitor import lines
from tui.monitor.arrangement import Arrangement, arrange
from tui.monitor.compare import curves_of
from tui.monitor.expected import Expected, expect
from tui.monitor.log_tail import LogTail
from tui.monitor.objective import better, meaning
from tui.monitor.panels import NAMES, PANELS, TEXT, Look
from tui.monitor.picture import Picture
from tui.monitor.watch import Watch
from tui.plot import charset
from tui.screens.monitor_actions import ENDED
from tui.screens.monitor_curves import MonitorCurves, MonitorHead
from tui.screens.monitor_panel import MonitorPanel
from tui.screens.monitor_view import ViewActions
from tui.widgets.key_line import KeyLine
from tui.widgets.line_chart import LineChart
from tui.widgets.memory_bar import parts_of
from tui.widgets.notice import Notice
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from tui.monitor.model import MonitorModel
    from tui.monitor.notes import Note

POLL = 0.5  # seconds: watching by notification misses network volumes
BREATH = 0.005  # seconds between slices of a long history, for keys and painting
READING_EVERY = 0.5  # seconds between pictures while a long history is read
CLOCK_EVERY = 5.0  # seconds between pictures when nothing has happened, because time has passed
DRAW_EVERY = (
    1.0  # seconds between pictures of the head and the loss, unless there is something to tell in words
)
MORE_EVERY = 2.0  # seconds between pictures of everything else
NOTICE_FOR = 8.0  # seconds

# Keys in the bottom line that mean something only while one panel fills the screen, and only while none does.
ONLY_IN_PANEL = ("monitor.back", "monitor.next", "monitor.earlier", "monitor.choose_down")
ONLY_IN_OVERVIEW = tuple(
    f"monitor.{name}" for name in ("panels", "stop", "pause", "freeze", "samples", "log")
)


class MonitorScreen(ViewActions):
    """Watches one run.

    Args:
        run: Its directory.
    """

    KEY_GROUPS = ("monitor", "panels")
    BINDINGS = bindings("monitor", "panels")
    CSS_PATH = "monitor.tcss"
    AUTO_FOCUS = ""
    HELP = """\
Loss says how surprised the model is by the right answer: lower is better. "train" is measured on what it learns from, \
"eval" on rows held out, which it never learns from. When eval rises while train falls, it learns by heart.

Learning rate (lr): how big each correction is. Gradient norm: how much the model wants to change; sudden peaks are \
a warning. An epoch is one pass over all rows. A checkpoint is the state on disk from which a run can go on.

Training is a program of its own: leaving this screen or losing the connection does not stop it. Times are those of \
this machine's clock; TZ=Europe/Berlin finetui shows them in another time zone."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self._log = LogTail(run.log)
        self._arrangement: Arrangement | None = None
        self._frozen: Picture | None = None
        self._price: float | None = None
        self._expected: Expected | None = None
        self._other: Watch | None = None
        self._num_cards = 1
        self._drawn = 0.0
        self._drawn_more = 0.0
        self._undrawn = False  # whether there is something new that is not shown yet
        self._widths: tuple[int, ...] = ()  # for which it was drawn
        self._told: Note | None = None
        self._waits = False
        self._notice_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield KeyLine(keys_of(*self.KEY_GROUPS))
        yield Notice()
        with Vertical(id="full"):
            yield MonitorHead()
            yield MonitorCurves()
            yield MonitorPanel(id="panel")
            yield Rows(id="farewell")
        yield Rows(id="compact")

    def on_mount(self) -> None:
        self._arrange()
        self.in_background(self._ask_price, self._set_price, "price")
        self.watch(self.the_app, "machine", lambda: self._ask_expected(), init=False)
        self._poll()

    # Reading and drawing

    def _poll(self) -> None:
        """Read a slice of what is new, draw, come back; under another screen wait until this one is back."""
        if self.app.screen is not self and self._drawn:
            self._waits = True  # textual renders a screen under a dialog anew with every timer of it
            return
        count = self.watch_run.read()
        behind = self.watch_run.behind
        if behind and 0 <= time.time() - self._drawn < READING_EVERY:
            self.set_timer(BREATH, self._poll)
            return
        before = self.watch_run.status
        status = self.watch_run.look()
        if self.panel == "log" and self._log.read():
            count += 1
        now = time.time()
        if self._other is not None and self._other.status.live and now - self._drawn_more >= MORE_EVERY:
            count += self._other.read()
        clock_due = status.live and not 0 <= now - self._drawn < CLOCK_EVERY
        notes, told = self.model.notes, self._told
        self._told = notes[-1] if notes else None
        self._undrawn = self._undrawn or bool(count)
        due = self._undrawn and not 0 <= now - self._drawn < DRAW_EVERY
        moved = self._widths_now() != self._widths
        if due or clock_due or moved or status != before or self._told is not told or not self._drawn:
            self._ask_expected()
            self._draw(everything=moved or not status.live)
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

    def redraw(self) -> None:
        """Show what has changed."""
        self._draw()

    def _widths_now(self) -> tuple[int, ...]:
        """Of the lines of text, which are cut to fit when they are drawn: on a busy machine before they are laid out."""
        return tuple(rows.size.width for rows in self.query(Rows))

    def _draw(self, everything: bool = True) -> None:
        if self._arrangement is None or self.app.screen is not self:
            return
        picture = self.picture
        cards = len(picture.model.hardware.gpus or ()) or 1
        if cards != self._num_cards:
            self._num_cards = cards
            self._arrange()
            return
        self._drawn, self._widths = time.time(), self._widths_now()
        # The rest is looked at less, costs more, and goes over the line.
        more = everything or not 0 <= self._drawn - self._drawn_more < MORE_EVERY
        if more:
            self._drawn_more = self._drawn
        self._undrawn = not more
        self._draw_keys(picture)
        if self._arrangement.compact and self.panel is None:
            rows = self._rows("compact")
            rows.set_rows(lines.compact(self.run.name, picture, rows.size.height))
            return
        if self.panel is not None:
            if more or self.panel == "loss" or self.panel in TEXT:
                self._draw_panel(picture)
        else:
            why = self._why_no_gpu()
            curves = self.query_one(MonitorCurves)
            curves.show(self.run.name, picture, self.view, self._arrangement, why, more)
        if not self._arrangement.compact:
            self._draw_head(picture)  # last, because it reads what the charts show

    def _draw_head(self, picture: Picture) -> None:
        read = [chart.data for chart in self.charts_shown()] if self.view.cursor is not None else []
        self.query_one(MonitorHead).show(self.run.name, picture, self.view, read, self._expected)
        self._rows("farewell").set_row(lines.farewell(picture, self.run.name, self.size.width - 2), "$muted")

    def _draw_panel(self, picture: Picture) -> None:
        assert self.panel is not None
        panel = self.query_one(MonitorPanel)
        if self.panel == "log":
            panel.title("log")
            if self._frozen is None:
                panel.pager.show(((line, ""),) for line in self._log.shown() or ["The log is empty so far."])
            return
        look = Look(self.view, self._expected, self.size.width, charset(), self.answers_back)
        panel.show(PANELS[self.panel](picture, look))

    def _draw_keys(self, picture: Picture) -> None:
        """Keys that mean nothing in this state are left out of the bottom line; pressed anyway they say why."""
        state = picture.status.state
        hidden = set(ONLY_IN_PANEL if self.panel is None else ONLY_IN_OVERVIEW)
        if self.panel != "objective":
            hidden.add("monitor.choose_down")
        if self.panel in TEXT:
            hidden |= {"monitor.earlier"} if self.panel != "samples" else set()
            hidden |= {f"monitor.{name}" for name in ("zoom", "log_scale", "smooth", "compare")}
        if state != "finished" and (self.watch_run.status.live or not has_result(self.run)):
            hidden.add("monitor.result")
        if state not in ENDED:
            hidden.add("monitor.resume")
        if not picture.status.live:
            hidden |= {
                *("monitor.stop", "monitor.pause", "monitor.freeze"),
                *("monitor.checkpoint", "monitor.evaluate"),
            }
        self.key_line.hide(*hidden)
        self.key_line.relabel(
            monitor_freeze="go on" if self._frozen else "freeze",
            monitor_compare="no other run" if self.view.other else "other run",
        )

    def _rows(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)

    def charts_shown(self) -> list[LineChart]:
        """The charts on the screen, the one that the cursor moves on first."""
        assert self._arrangement is not None
        if self.panel is None:
            return self.query_one(MonitorCurves).charts_of(self._arrangement)
        return self.query_one(MonitorPanel).charts if self.panel not in TEXT else []

    # Arrangement

    def _arrange(self) -> None:
        """Give every part its place; only the size, the panel and the number of cards decide, never the run."""
        where = self._arrangement = arrange(self.size.width, self.size.height, self._num_cards)
        overview = self.panel is None
        self.key_line.display = self.size.height > 2
        self.query_one("#compact").display = where.compact and overview
        self.query_one("#full").display = not where.compact or not overview
        head, curves = self.query_one(MonitorHead), self.query_one(MonitorCurves)
        head.display = self.query_one("#farewell").display = not where.compact
        head.divide(self.size.width, self._price is not None)
        curves.display = overview
        curves.divide(where)
        panel = self.query_one(MonitorPanel)
        panel.display = not overview
        if self.panel is not None:
            body = where.body if not where.compact else max(1, self.size.height - 1)
            num_charts = 0 if self.panel in TEXT else {"rate": 2, "gpu": 3}.get(self.panel, 1)
            panel.divide(self.panel, num_charts, body)
        self.query_one("#farewell").styles.margin = (where.gap, 0, 0, 0)
        self.call_after_refresh(self._draw)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_screen_resume(self) -> None:
        self.call_next(self._on_timer_update)  # textual's timer may begin only after a tenth of a second
        self.call_after_refresh(self._draw)
        if self._waits:
            self._waits = False
            self._poll()

    # What else is to be known

    def _why_no_gpu(self) -> str:
        machine = self.the_app.machine
        return printable(machine.gpu_state.message, 200) if machine is not None else ""

    def _ask_price(self) -> float | None:
        return number((atomic.read_json(self.run.launch) or {}).get("price_per_hour"))

    def _set_price(self, price: float | None) -> None:
        self._price = price
        if self._arrangement is not None:
            self._arrange()

    def _ask_expected(self) -> None:
        """Once there is a card that trains, work out what it should need and do."""
        machine, model = self.the_app.machine, self.model
        if self._expected is None and machine is not None and model.hardware.gpus and model.training:
            self._expected = Expected()
            self.in_background(
                lambda: expect(self.run, machine), self._set_expected, "expected", lambda _: None
            )

    def _set_expected(self, expected: Expected) -> None:
        found = expected.prediction
        self._expected = replace(expected, parts=parts_of(found)) if found is not None else expected
        self._draw()

    def help_text(self) -> str:
        """What the words mean, those of this run's objective too, and what cannot be done now."""
        parts = [self.HELP]
        names = self.model.metrics.names(self.model.objective)
        if names:
            should = {"up": ", should rise", "down": ", should fall", "": ""}
            parts.append(
                "This run also tells:\n"
                + "\n".join(f"{name}: {meaning(name)}{should[better(name)]}" for name in names)
            )
        asked = {"checkpoint": "Checkpoint", "evaluate": "Evaluate", "pause": "Pause", "stop-now": "Stop"}
        why_not = {name: self.why_not(what) for what, name in asked.items()} | {
            "Resume": self.why_no_resume()
        }
        told = [f"{name}: {why}" for name, why in why_not.items() if why]
        if told:
            parts.append("Not possible now:\n" + "\n".join(told))
        return "\n\n".join(parts)

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
        elif self.panel is not None:
            self._open(None)
        elif self.view.cursor is not None:
            self.look(replace(self.view, cursor=None))
        else:
            self.app.pop_screen()

    def action_panel(self, name: str) -> None:
        self._open(None if self.panel == name else name)

    def action_other_panel(self, direction: int) -> None:
        at = -1 if self.panel is None and direction > 0 else NAMES.index(self.panel or NAMES[0])
        self._open(NAMES[(at + direction) % len(NAMES)])

    def action_samples(self) -> None:
        self.action_panel("samples")

    def action_log(self) -> None:
        self.action_panel("log")

    def _open(self, panel: str | None) -> None:
        self.panel = panel
        self.answers_back = 0
        pager = self.query_one(MonitorPanel).pager
        pager.clear(follow=panel == "log")
        if panel == "log":
            self._log.read()
        # The objective's numbers are chosen from with the arrow keys that scroll other texts.
        self.set_focus(pager if panel not in (None, "objective") else None)
        self._arrange()

    def action_freeze(self) -> None:
        if self._frozen is not None:
            self._frozen = None
        else:
            self._frozen = replace(self.picture, model=copy.deepcopy(self.model), frozen=True)
        self._draw()

    def action_compare(self) -> None:
        if self.view.other is not None:
            self.compare_with(None)
        else:
            self.pick_other()

    def compare_with(self, other: Watch | None) -> None:
        """Draw another run beside this one, or none."""
        self._other = other
        self.look(replace(self.view, other=curves_of(other) if other is not None else None))

    def action_result(self) -> None:
        status = self.watch_run.status
        if status.state != "finished" and (status.live or not has_result(self.run)):
            saved = "" if status.live else ", and nothing of it is saved"
            self.say(f"There is no result yet: the run is not finished{saved}.")
            return
        from tui.screens.done import DoneScreen

        self.app.switch_screen(DoneScreen(self.run, self.model, self._price))

    def leaving(self) -> Iterable[str]:
        name, status = self.run.name, self.watch_run.status
        if status.live:
            return (f"Training goes on. Back: finetui attach {name}   Stop it: finetui stop {name}",)
        if status.state == "finished":
            return (f"{name} is finished. Talk to it: finetui chat {name}",)
        if status.state in ENDED and status.state != "new":
            return (f"{name} {status.state}. Go on with it: finetui resume {name}",)
        return ()
