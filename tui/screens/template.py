"""Template: a look at the training rows exactly as the model will see them."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from engine.config.draft import plan
from engine.config.schema import ORDINARY_LENGTH
from engine.data.templates.client import ClosedError, Picture
from engine.data.templates.scan import refuse
from engine.display import printable
from engine.errors import UserError
from tui.dataset import DatasetReport, read_dataset, wanted_of
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.template_check import TemplateCheck, TemplateState, fetch_tokenizer, offers, tokenizer_folder
from tui.template_words import legend, not_here, title, verdict_lines
from tui.text import hanging, stack
from tui.widgets.x_ray import XRayView, x_ray_content

ROW_KEYS = (
    "template.next",
    "template.previous",
    "template.longest",
    "template.worst",
    "template.other",
)
WIDE = 100  # columns in which all keys are named
LOW = 30  # rows of a terminal in which lines that say all is well are joined


class TemplateScreen(WizardStep):
    """The X-ray of one row, and a verdict on all of them."""

    STEP = "template"
    KEY_GROUPS = ("wizard", "template")
    BINDINGS = bindings("wizard", "template")
    HELP = """\
A chat template is the recipe by which a conversation becomes one long text, with marks for who speaks. A token is a \
piece of that text, about three quarters of a word.

The model reads everything but learns only what stands in [brackets]: the answers, and the mark that ends them. So it \
learns to answer, not to ask. ⏎ is the end of a line. What is struck through lies beyond max_length, is cut off, and is \
never seen.

A model that brings a template was trained with it and learns fastest with it. A base model has none; it gets one."""

    def __init__(self) -> None:
        super().__init__()
        self._row = 0
        self._worst = -1
        self._folder: Path | None = None
        self._data: DatasetReport | None = None
        self._check: TemplateCheck | None = None
        self._state: TemplateState | None = None
        self._picture: Picture | UserError | None = None

    def question(self) -> ComposeResult:
        yield Static("", id="shown", markup=False)
        yield XRayView()
        yield Static("", id="about", markup=False)

    def ready(self) -> None:
        self._fit_box()
        self._look()

    def on_resize(self, event: events.Resize) -> None:
        self._fit_box()
        self._tell()

    def on_unmount(self) -> None:
        self._close()

    def _fit_box(self) -> None:
        self.query_one(XRayView).styles.max_height = max(
            6, self.size.height - (16 if self.size.height < LOW else 19)
        )

    def _close(self) -> None:
        if self._check is not None:
            self._check.close()
        self._check = self._state = self._picture = None

    # The work, all of it in a thread and another process

    def _look(self, folder: Path | None = None) -> None:
        """Open the template and look at the first row; the rest follows."""
        draft, app = self.draft, self.the_app
        self._close()
        self.query_one("#shown", Static).update(
            Content.styled("Reading the rows through the template ...", "$muted")
        )

        def work() -> tuple[Path | None, DatasetReport, TemplateCheck | None, TemplateState | None]:
            data = app.dataset(draft.data_path) or read_dataset(wanted_of(draft))
            here = folder or tokenizer_folder(draft.model)
            if here is None:
                return None, data, None, None
            max_length = plan(draft, app.machine).config.training.max_length or ORDINARY_LENGTH
            check = TemplateCheck(here, draft.chat_template, draft.model, data.rows, max_length)
            try:
                return here, data, check, check.open()
            except UserError:
                check.close()
                raise

        self.in_background(work, self._opened, "look", self._failed)

    def _opened(
        self, result: tuple[Path | None, DatasetReport, TemplateCheck | None, TemplateState | None]
    ) -> None:
        self._folder, self._data, self._check, self._state = result
        self.the_app.keep_dataset(self._data)
        self._row = min(self._row, len(self._data.rows) - 1)
        self._worst = -1
        if self._check is None or self._state is None:
            self._tell()
            return
        check, state = self._check, self._state
        self._show_row(self._row)

        def scan() -> TemplateState | None:
            try:
                return check.scan(
                    state, lambda found: self._deliver(check is not self._check, self._scanned, found)
                )
            except ClosedError:
                return None

        self.in_background(scan, self._scanned, "scan", self._failed)

    def _scanned(self, state: TemplateState | None) -> None:
        if state is not None and self._check is not None:
            self._state = state
            self._tell()

    def _failed(self, error: UserError) -> None:
        self._close()
        self.query_one("#shown", Static).update("")
        self.query_one("#about", Static).update("")
        self.query_one(XRayView).display = False
        self.show_error(error)

    def _show_row(self, row: int) -> None:
        self._row = row
        check = self._check
        if check is None:
            return

        def work() -> Picture | UserError | None:
            try:
                return check.picture(row)
            except UserError as error:
                return error
            except ClosedError:
                return None

        def done(picture: Picture | UserError | None) -> None:
            if check is self._check and picture is not None:
                self._picture = picture
                self._tell()

        self.in_background(work, done, "row")

    # What is shown

    def _tell(self) -> None:
        if self._data is None:
            return
        box, about, width = self.query_one(XRayView), self.query_one("#about", Static), self.size.width - 4
        box.display = self._check is not None
        # On a narrow screen, where few keys are named, going back is the one that everybody knows.
        narrow = ("wizard.back",) if self._check and self.size.width < WIDE else ()
        self.key_line.hide(*narrow, *(("template.fetch",) if self._check else ROW_KEYS))
        shown = self.query_one("#shown", Static)
        if self._check is None or self._state is None:
            shown.update(Content.styled("How will the model see the rows?", "bold"))
            about.update(not_here(self.draft.model, width))
            return
        shown.update(title(self._state, self._data, self._row, width))
        picture = self._picture
        lines = verdict_lines(
            self._state, self._data, picture, self._check.max_length, width, self.size.height < LOW
        )
        if isinstance(picture, UserError):
            box.show(Content.styled("The template refuses this row.", "$error"))
            about.update(stack(hanging("!", "bold $error", printable(picture.what, 300), width), "", *lines))
        elif picture is not None:
            box.show(x_ray_content(picture.segments))
            about.update(stack(legend(picture), "", *lines))

    # Keys

    def action_row(self, by: int) -> None:
        if self._check is not None and self._data is not None:
            self._show_row((self._row + by) % len(self._data.rows))

    def action_longest(self) -> None:
        if self._state is not None:
            self._show_row(self._state.scan.longest)

    def action_worst(self) -> None:
        """The worst row, then the next worst, and around."""
        if self._state is not None and self._state.scan.worst:
            self._worst = (self._worst + 1) % len(self._state.scan.worst)
            self._show_row(self._state.scan.worst[self._worst])

    def action_other(self) -> None:
        """Choose from the list of templates."""
        from textual.widgets.option_list import Option

        from tui.screens.pick import PickScreen

        self.notice.clear()
        listed = offers(self._folder, self.draft.model, self.draft.chat_template)
        chosen = self.draft.chat_template if self.draft.chat_template != "model" else listed[0].name
        options = [
            Option(
                Content.assemble(
                    f"{printable(offer.title, 27):<28}",
                    (f"{printable(offer.name, 20):<21}", "$muted"),
                    offer.note,
                ),
                id=offer.name,
            )
            for offer in listed
        ]
        words = "The model's own is best where there is one. Another kind of conversation mark has to be learnt first."
        self.app.push_screen(PickScreen("Which chat template?", words, options, chosen), self._picked)

    def _picked(self, name: str | None) -> None:
        if name is not None and name != self.draft.chat_template:
            self.draft.chat_template = name
            self.draft.settings.pop("allow_bad_template", None)
            self.keep_draft()
            self._look(self._folder)

    def action_fetch(self) -> None:
        """Download the tokenizer of a model that is not here."""
        if self._check is not None or self._data is None:
            return
        model = self.draft.model
        revision = str(self.draft.settings.get("model_revision") or "main")
        self.notice.say("Downloading the tokenizer, a few megabytes ...")

        def fetched(folder: Path) -> None:
            self.notice.clear()
            self._look(folder)

        self.in_background(lambda: fetch_tokenizer(model, revision), fetched, "fetch")

    def accept(self) -> bool:
        state = self._state
        if state is None or not state.verdict.bad or self.draft.settings.get("allow_bad_template"):
            return True
        from tui.screens.confirm import ConfirmScreen

        error = refuse(state.verdict, state.opened.title)
        options = [("back", "Stay here and choose another template"), ("go", "Train with it all the same")]
        self.app.push_screen(
            ConfirmScreen("This training would be wasted.", [printable(error.what, 400)], options),
            self._confirmed,
        )
        return False

    def _confirmed(self, answer: str | None) -> None:
        if answer == "go":
            self.draft.settings["allow_bad_template"] = True
            self.go(1)
