"""The application: themes, the draft of the wizard, the way between screens, and what happens when something breaks."""

from __future__ import annotations

import contextlib
import gc
import os
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import Monochrome, NoColor
from textual.reactive import var
from textual.screen import Screen

from engine.errors import UserError
from engine.run.atomic import read_json
from engine.run.home import finetui_home
from engine.run.state import live_runs
from tui.driver import driver_class, paint
from tui.guard import TerminalGuard
from tui.in_turn import InTurn
from tui.keymap import bindings, use
from tui.own_keys import read_own_keys
from tui.plain_glyphs import PlainGlyphs
from tui.plot.glyphs import charset
from tui.themes import DARK, LIGHT, THEMES, choose_theme
from tui.widgets.notice import Notice

if TYPE_CHECKING:
    from engine.config.draft import Draft, Plan
    from engine.machine.model import Machine
    from tui.dataset import DatasetReport
    from tui.screens.base import BaseScreen

Start = Literal["home", "wizard", "monitor", "chat"]
CRASH_LOG = "tui-crash.log"


class FinetuiApp(InTurn):
    """The viewer. Everything it does goes through the engine's functions, so a command can do the same.

    Args:
        start: The first screen.
        run_name: The run to watch or to talk to, for ``monitor`` and ``chat``.
        options: What else the first screen begins with.
    """

    CSS_PATH = "app.tcss"
    TITLE = "finetui"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("everywhere"),
        Binding("ctrl+c,ctrl+q", "leave", show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = True

    machine: var[Machine | None] = var(None)
    """What this machine is; None until it was looked at."""
    draft: var[Draft | None] = var(None)
    """The wizard's answers; None until the wizard was opened."""

    def __init__(
        self, start: Start = "home", run_name: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(driver_class=driver_class(), ansi_color=None)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = choose_theme(os.environ)
        if self.no_color and self.current_theme.ansi:
            # textual chose its filter for the theme it started with; this one has no colours to turn grey.
            self._filters = [NoColor() if isinstance(each, Monochrome) else each for each in self._filters]
        self._filters.append(PlainGlyphs(charset()))
        self.start = start
        self.run_name = run_name
        self._options = dict(options or {})
        self._own_keys = read_own_keys()
        use(self._own_keys.keys)
        self.set_keymap(self._own_keys.keys)
        self.farewell: list[str] = []
        """Lines printed on the normal screen after the viewer has ended."""
        self.crash: Path | None = None
        self._painted: Screen[Any] | None = None
        self._datasets: dict[str, tuple[float, DatasetReport]] = {}

    # Start and end

    def on_mount(self) -> None:
        from tui.screens.home import HomeScreen

        self.push_screen(HomeScreen())
        if self.start == "wizard":
            self.open_wizard()
        elif self.start == "monitor" and self.run_name is not None:
            self.open_monitor(self.run_name)
        elif self.start == "chat" and self.run_name is not None:
            self.open_chat(self.run_name)
        if words := self._own_keys.words():
            self.call_after_refresh(lambda: self.screen.query_one(Notice).say(words))

    def action_leave(self) -> None:
        """Leave the viewer: the draft is kept, training goes on."""
        leaving = getattr(self.screen, "leaving", None)
        if callable(leaving):
            self.farewell = list(leaving())
        self.exit()

    def action_redraw(self) -> None:
        """Send everything again: another program may have written over it."""
        wire = getattr(self._driver, "wire", None)
        if wire is not None:
            wire.repaint((self.size.width, self.size.height))

    def exit_from_anywhere(self) -> None:
        """End the viewer from a signal handler or another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.exit)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: what the keys do, by name, and the colours."""
        yield SystemCommand("Help", "The keys of this screen", self.action_help)
        yield SystemCommand(
            "Dark colours", "Light text on a dark background", lambda: self.set_theme(DARK.name)
        )
        yield SystemCommand(
            "Light colours", "Dark text on a light background", lambda: self.set_theme(LIGHT.name)
        )
        yield SystemCommand("Leave", "Leave finetui; training goes on", self.action_leave)

    def set_theme(self, name: str) -> None:
        self.theme = name

    # Ways between screens

    def action_help(self) -> None:
        """Show the keys of the screen."""
        from tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def open_wizard(self, step: str | None = None) -> None:
        """Open the wizard where the draft stands, or at a step."""
        from tui.wizard_steps import step_screen

        draft = self.the_draft()
        self.push_screen(step_screen(step or draft.step))

    def open_monitor(self, name: str) -> None:
        """Open the monitor of a run."""
        from engine.run.home import runs_home
        from engine.run.layout import RunDir
        from tui.screens.monitor import MonitorScreen

        self.push_screen(MonitorScreen(RunDir(runs_home() / name)))

    def open_chat(self, name: str) -> None:
        """Talk to a run's models, as the command says that opened the viewer."""
        from engine.run.home import runs_home
        from engine.run.layout import RunDir
        from tui.screens.chat import ChatScreen

        self.push_screen(ChatScreen(RunDir(runs_home() / name), **self._options))

    def the_draft(self) -> Draft:
        """The draft, read from disk the first time."""
        if self.draft is None:
            from engine.config.draft import Draft, load_draft

            try:
                self.draft = load_draft()
            except OSError:  # the folder cannot be read; saving will say so
                self.draft = Draft()
        return self.draft

    def has_draft(self) -> bool:
        """Whether the wizard was ever told anything; quick, because the first screen must not wait for it."""
        return self.draft is not None or (finetui_home() / "draft.json").exists()

    def has_answers(self) -> bool:
        """Whether the wizard was left half-way, so that there is something to go on with."""
        if self.draft is not None:
            step, goal = self.draft.step, self.draft.goal
        else:
            try:
                stored = read_json(finetui_home() / "draft.json") or {}
            except OSError:
                return False
            step, goal = stored.get("step", "machine"), stored.get("goal")
        return step != "machine" or goal is not None

    def new_draft(self) -> None:
        """Forget the answers; the card and the price belong to the machine and stay."""
        from engine.config.draft import Draft, clear_draft, save_draft

        old = self.the_draft()
        self.draft = Draft(gpu=old.gpu, price_per_hour=old.price_per_hour)
        with contextlib.suppress(OSError, UserError):
            if self.draft == Draft():
                clear_draft()
            else:
                save_draft(self.draft)

    def start_demo(self, screen: BaseScreen) -> None:
        """Plan and start the demo in the background, then open its monitor; errors are shown on the screen."""

        def work() -> Plan:
            from engine.config.draft import Draft, plan
            from engine.machine.probe import probe

            return plan(Draft(), self.machine or probe())

        screen.in_background(work, lambda plan: self.start_plan(screen, plan), "start")

    def start_plan(
        self, screen: BaseScreen, plan: Plan, from_draft: bool = False, anyway: bool = False
    ) -> None:
        """Start a run in the background, then open its monitor.

        Args:
            screen: Where errors are shown.
            plan: The run.
            from_draft: It is the wizard's draft, which is then done with.
            anyway: The user was told that it is likely to fail, and starts it all the same.
        """

        def work() -> str:
            from engine.config.draft import start
            from engine.run.launch import require_training_packages
            from tui.hub import refuse_unavailable

            require_training_packages()  # before a folder is made for a run that cannot start
            refuse_unavailable(plan.config.model.model_name_or_path, plan.config.model.model_revision)
            return start(plan, anyway=anyway).name

        def started(name: str) -> None:
            if from_draft:
                self.new_draft()
                self.pop_screen()
            self.open_monitor(name)

        screen.in_background(work, started, "start")

    # Painting

    def _display(self, screen: Screen[Any], renderable: object) -> None:
        # Another screen is sent whole, so that going somewhere mends what others wrote over this one.
        if paint(self, renderable, whole=screen is not self._painted):
            self._painted = screen
            self.post_display_hook()
        else:
            super()._display(screen, renderable)  # type: ignore[arg-type]

    # What was read already

    def dataset(self, path: str) -> DatasetReport | None:
        """The report on a dataset, if it was read and the file has not changed since."""
        known = self._datasets.get(path)
        return known[1] if known is not None and known[0] == _modified(path) else None

    def keep_dataset(self, report: DatasetReport) -> None:
        """Keep the report on a dataset; only the newest, because it may be large."""
        self._datasets = {report.path: (_modified(report.path), report)}

    # The machine

    def look_at_machine(self, again: bool = False) -> None:
        """Probe the machine in the background; `machine` is set when it is done."""
        if self.machine is None or again:
            self.run_worker(
                self._probe, name="probe", group="probe", exclusive=True, thread=True, exit_on_error=False
            )

    def _probe(self) -> None:
        from engine.machine.probe import probe
        from engine.run.home import runs_home

        machine = probe(runs_home())
        self.call_from_thread(setattr, self, "machine", machine)

    # When something breaks

    def _handle_exception(self, error: Exception) -> None:
        self.crash = write_crash_log(error)
        super()._handle_exception(error)

    def _print_error_renderables(self) -> None:
        if self.crash is None:
            super()._print_error_renderables()
            return
        self._exit_renderables.clear()
        self.farewell = crash_words(self.crash)


def _modified(path: str) -> float:
    try:
        return Path(path).expanduser().stat().st_mtime
    except OSError:
        return 0.0


def crash_words(log: Path) -> list[str]:
    """What is printed when the viewer broke."""
    return [
        "finetui's screen broke. Training is another process and goes on.",
        f"Details: {log}",
        "Back to the run: finetui attach      As plain lines: finetui logs -f",
    ]


def write_crash_log(error: BaseException) -> Path:
    """Append a traceback to the crash log; returns its path."""
    log = finetui_home() / CRASH_LOG
    with contextlib.suppress(OSError):
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as handle:
            handle.write(time.strftime("\n%Y-%m-%d %H:%M:%S\n"))
            handle.writelines(traceback.format_exception(error))
    return log


def run_app(
    start: Start = "home",
    run_name: str | None = None,
    mouse: bool = True,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Show the screens until the user leaves.

    Args:
        start: ``home`` (or the monitor of the one live run), ``wizard``, or ``monitor`` or ``chat`` with a run name.
        run_name: The run to watch or to talk to.
        mouse: Let the screens react to the mouse; without it the terminal's own text selection works.
        options: What else the first screen begins with.

    Returns:
        The exit code: 0, 1 after a crash, 128 + signal when told to end.
    """
    if start == "home" and len(live := live_runs()) == 1:
        start, run_name = "monitor", live[0]
    app = FinetuiApp(start, run_name, options)
    gc.freeze()  # the modules stay for good: looking through them for garbage held up one key in fifty
    gc.set_threshold(20_000, 20, 20)
    with TerminalGuard(app.exit_from_anywhere) as guard:
        app.run(mouse=mouse)
    with contextlib.suppress(OSError):  # the terminal may be gone
        for line in app.farewell:
            print(line, flush=True)
    if app.crash is not None:
        return 1
    return guard.exit_code if guard.reason else 0
