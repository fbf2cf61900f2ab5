"""Export: choose a form, see what it takes, watch it being made, read whether it still says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.deliver.export.gguf.quants import DEFAULT, NAMES, QUANTS
from engine.deliver.export.job import Cancelled
from engine.deliver.export.manifest import Export
from engine.deliver.export.run_export import Exporting
from engine.deliver.export_choices import WITH_QUANTS, Choice, Room, choices_of, quant_sizes, room_for
from engine.deliver.protocol import Message
from engine.display import gib, printable
from engine.errors import UserError
from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.screens.base import BaseScreen
from tui.screens.export_rows import detail, form, progress, result_rows
from tui.widgets.choice_list import ChoiceList
from tui.widgets.pager import Pager
from tui.widgets.rows import Row

_FORMS = 34  # width of the list of forms


class ExportScreen(BaseScreen):
    """Makes one export after the other of a run.

    Args:
        run: The run.
    """

    KEY_GROUPS = ("export",)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("export"), Binding("shift+tab", "other", show=False)]
    CSS_PATH = "done.tcss"
    AUTO_FOCUS = "#forms"
    HELP = """\
The adapter alone is the smallest and needs its base model. A merged model is base and adapter in one, for transformers and \
vLLM. GGUF files run on a laptop with llama.cpp, Ollama or LM Studio; with fewer bits a number they get smaller and a little worse.

After each export the same questions go through the trained model and through the exported files: the prompt as text, its \
tokens, the likeliest words, and whether it stops by itself. "CHECK FAILED" means: do not use this file before you have done \
what stands below it.

Everything is written under a hidden name first. Stopping leaves nothing half-written, and the trained files are only read."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self._choices: dict[str, Choice] = {}
        self._sizes: Mapping[str, int] = {}
        self._quants = set(DEFAULT)
        self._room: Room | UserError | None = None
        self._exporting: Exporting | None = None
        self._told: list[Row] = []
        self._step = ""
        self._bytes: tuple[int, int] | None = None
        self._finished: Export | None = None

    def head(self) -> Iterable[Widget]:
        yield Static(
            Content.assemble(("Export: ", "bold"), (printable(self.run.name, 64), "bold")),
            classes="head",
            markup=False,
        )

    def body(self) -> ComposeResult:
        with Horizontal(id="choose"):
            yield ChoiceList(id="forms")
            yield ChoiceList(id="quants")
        yield Static("", id="detail", markup=False)
        yield Static("", id="progress", markup=False)
        yield Pager(id="told")

    def on_mount(self) -> None:
        self._look()
        self._tell()

    def on_screen_resume(self) -> None:
        self._relabel()

    def on_resize(self, event: events.Resize) -> None:
        self._fill_quants()
        self._tell()

    def on_unmount(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()

    # What there is

    def _look(self) -> None:
        def work() -> tuple[list[Choice], Mapping[str, int]]:
            return choices_of(self.run), quant_sizes(self.run)

        self.in_background(work, self._looked, "look")

    def _looked(self, found: tuple[list[Choice], Mapping[str, int]]) -> None:
        choices, self._sizes = found
        self._choices = {choice.name: choice for choice in choices}
        self.query_one("#forms", ChoiceList).fill(Option(form(choice), id=choice.name) for choice in choices)
        self._fill_quants()
        self._measure()

    def _fill_quants(self) -> None:
        rows = []
        for quant in QUANTS:
            size = f"{gib(self._sizes[quant.name]):>9}" if quant.name in self._sizes else ""
            tick = "[x]" if quant.name in self._quants else "[ ]"
            words = Content(f"{tick} {quant.name:<7}{size}  {quant.help}")
            rows.append(
                Option(words.truncate(max(20, self.size.width - _FORMS - 8), ellipsis=True), id=quant.name)
            )
        listed = self.query_one("#quants", ChoiceList)
        listed.fill(rows, listed.chosen or DEFAULT[0])

    @property
    def _target(self) -> str | None:
        return self.query_one("#forms", ChoiceList).chosen

    @property
    def _wanted(self) -> tuple[str, ...]:
        return tuple(name for name in NAMES if name in self._quants) if self._target in WITH_QUANTS else ()

    def _measure(self) -> None:
        """Disk that the marked form takes."""
        target, quants = self._target, self._wanted
        self._room = None
        self._tell()
        if target is None:
            return

        def work() -> Room:
            return room_for(self.run, target, quants)

        def came(found: Room | UserError) -> None:
            if (target, quants) == (self._target, self._wanted):
                self._room = found
                self._tell()

        self.in_background(work, came, "measure", came)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_list.id == "forms" and self._choices:
            self._measure()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_start()

    # What is shown

    @property
    def _busy(self) -> bool:
        return self._exporting is not None

    def _tell(self) -> None:
        working = self._busy or bool(self._told)
        self.query_one("#choose").display = not working
        self.query_one("#quants").display = self._target in WITH_QUANTS
        self.query_one("#detail").display = not working
        self.query_one("#progress").display = self._busy
        self.query_one("#told").display = working
        self.query_one("#detail", Static).update(self._detail())
        self.query_one("#progress", Static).update(progress(self._step, self._bytes))
        self.query_one(Pager).show(self._told)
        self._relabel()

    def _relabel(self) -> None:
        hidden = [] if self._finished is not None else ["export.take_home"]
        if self._busy or self._told:
            hidden += ["export.start", "export.toggle", "export.other"]
        elif self._target not in WITH_QUANTS:
            hidden += ["export.toggle", "export.other"]
        self.key_line.hide(*hidden)
        self.key_line.relabel(export_back="stop" if self._busy else "back")

    def _detail(self) -> Content:
        choice = self._choices.get(self._target or "")
        if choice is None:
            return Content.styled("Looking at what can be made ...", "$muted")
        return detail(choice, self._room, max(30, self.size.width - 2))

    # The work, in a thread and another process

    def _begin(self, options: Mapping[str, str]) -> None:
        target, quants = self._target, self._wanted
        assert target is not None
        self._told, self._finished = [], None
        self._step, self._bytes = "Starting", None
        self.notice.clear()
        try:
            from engine.run.launch import require_training_packages

            require_training_packages()
            self._exporting = exporting = Exporting(self.run, target, quants, options=options)
        except UserError as error:
            self.show_error(error)
            return
        self._tell()
        self.query_one(Pager).focus()

        def work() -> Export | None:
            try:
                for message in exporting.messages():
                    self._deliver(exporting is not self._exporting, self._came, message)
                return exporting.result()
            except Cancelled:
                return None
            finally:
                exporting.close()

        self.in_background(work, self._ended, "export", self._failed)

    def _came(self, message: Message) -> None:
        if message["kind"] == "step":
            if self._step != "Starting":
                self._told.append((("✓ ", "$success"), (printable(self._step, 200), "")))
            self._step, self._bytes = str(message["words"]), None
        elif message["kind"] == "progress":
            self._bytes = (int(message["done"]), int(message["total"]))
        elif message["kind"] == "say":
            self._told.append((("• ", "$muted"), (printable(message["words"], 600), "$muted")))
        self._tell()

    def _ended(self, made: Export | None) -> None:
        self._exporting = None
        if made is None:
            self._told = []
            self.notice.say("Stopped. Nothing half-written is left; the trained files are untouched.")
            self._again()
            return
        self._finished = made
        self._told = result_rows(made, max(40, self.size.width - 4))
        self._tell()

    def _failed(self, error: UserError) -> None:
        self._exporting, self._told = None, []
        self.show_error(error)
        self._again()

    def _again(self) -> None:
        self._tell()
        self.query_one("#forms").focus()
        self._look()

    # Keys

    def action_start(self) -> None:
        choice = self._choices.get(self._target or "")
        if choice is None or self._busy:
            return
        if choice.refusal is not None:
            self.notice.say("This form is not possible here; why, and what to do, stands above.")
        elif choice.name in WITH_QUANTS[:1] and not self._wanted:
            self.notice.say("Tick at least one number format: Tab, then space.")
        elif choice.name == "ollama" and len(self._wanted) > 1:
            self.notice.say("Ollama takes one number format: Tab, then space on the one that you want.")
        elif choice.name == "hub":
            self._ask_repo()
        elif choice.made is not None:
            self._ask_overwrite(choice)
        else:
            self._begin({})

    def _ask_repo(self) -> None:
        from engine.hub.upload import check_repo_name
        from tui.screens.ask import AskScreen

        words = "It goes to your account and stays private: only you see it. Write owner/name for an organisation."

        def named(repo: str | None) -> None:
            if repo:
                self._begin({"repo": repo})

        self.app.push_screen(
            AskScreen("Name of the repository", words, self.run.name, check_repo_name), named
        )

    def _ask_overwrite(self, choice: Choice) -> None:
        from tui.screens.confirm import ConfirmScreen

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._begin({"overwrite": "yes"})

        title = f"There is an export of this kind already: {choice.title}"
        words = ["It is replaced only once the new one is whole and checked."]
        self.app.push_screen(
            ConfirmScreen(title, words, [("yes", "Replace it"), ("no", "Keep it")], False), answered
        )

    def action_tick(self) -> None:
        listed = self.query_one("#quants", ChoiceList)
        if self._target not in WITH_QUANTS or listed.chosen is None or self._busy:
            return
        if self.focused is not listed:
            listed.focus()
            return
        name = listed.chosen
        if self._target == "ollama":  # a Modelfile names one file
            self._quants = {name}
        else:
            self._quants ^= {name}
        self._fill_quants()
        self._measure()

    def action_other(self) -> None:
        forms, quants = self.query_one("#forms"), self.query_one("#quants")
        if quants.display and not self._busy:
            (quants if self.focused is forms else forms).focus()

    def action_take_home(self) -> None:
        if self._finished is None:
            self.notice.say("Export something first.")
            return
        from tui.screens.take_home import TakeHomeScreen

        self.app.push_screen(TakeHomeScreen(self.run, self._finished.folder.name))

    def action_back(self) -> None:
        if self._exporting is not None:
            self._step = "Stopping"
            self._exporting.cancel()
            self._tell()
        elif self._told:
            self._told, self._finished = [], None
            self._again()
        else:
            self.app.pop_screen()

    def leaving(self) -> Iterable[str]:
        stopped = ("The export was stopped; nothing half-written is left.",) if self._busy else ()
        return (*stopped, f"The same on the command line: finetui export {self.run.name}")
