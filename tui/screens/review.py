"""Review: exactly what will run, and the command that does the same."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.config.draft import DEMO_DATA, DEMO_MODEL, Plan, plan
from engine.display import printable
from engine.errors import UserError
from engine.run.layout import check_name
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack


class ReviewScreen(WizardStep):
    """The last step: run.yaml, and Enter starts."""

    STEP = "review"
    KEY_GROUPS = ("wizard", "review")
    BINDINGS = bindings("wizard", "review")
    HELP = """\
run.yaml is the whole run in one file: with it, the same run can be repeated on any machine, and every setting can be \
changed in an editor. Behind each value that finetui chose stands the reason.

Training is a program of its own. It goes on when you close this window."""

    def __init__(self) -> None:
        super().__init__()
        self._plan: Plan | None = None
        self._starting = False

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Putting it together ...", "$muted"), id="summary", markup=False)
        with VerticalScroll(id="yaml"):
            yield Static("", id="yaml-text", markup=False)

    def ready(self) -> None:
        self.key_line.relabel(wizard_next="start")
        self.query_one("#yaml").focus()
        self._fit_box()
        self._make_plan()

    def on_resize(self, event: events.Resize) -> None:
        self._fit_box()
        self._tell()

    def _fit_box(self) -> None:
        self.query_one("#yaml").styles.height = max(6, self.size.height - 8)

    def _make_plan(self) -> None:
        draft, machine = self.draft, self.the_app.machine
        self.in_background(lambda: plan(draft, machine), self._planned, "plan")

    def _planned(self, result: Plan) -> None:
        self._plan = result
        self._tell()
        if self._starting:
            self._start()

    def _tell(self) -> None:
        if self._plan is None:
            return
        self.query_one("#summary", Static).update(_summary(self._plan, self.size.width - 4))
        self.query_one("#yaml-text", Static).update(yaml_content(self._plan.yaml))

    # Keys

    def action_name(self) -> None:
        from tui.screens.ask import AskScreen

        if self._plan is not None:
            words = "Letters, digits, '.', '_' and '-'. Its folder gets this name; a number is added if it is taken."
            self.app.push_screen(
                AskScreen("Name of the run", words, self._plan.name, check_name), self._named
            )

    def _named(self, name: str | None) -> None:
        if name is not None:
            self.draft.name = name
            self.keep_draft()
            self._make_plan()

    def action_save(self) -> None:
        """Write run.yaml into the current folder, for the command line."""
        if self._plan is None:
            return
        try:
            path = save_yaml(self._plan.yaml, Path.cwd())
        except OSError as error:
            self.show_error(
                UserError(f"It could not be saved: {error.strerror}.", str(Path.cwd()), "Start it from here.")
            )
            return
        self.notice.say(f"Saved. Run it anywhere with: finetui train -c {path}")

    def action_next(self) -> None:
        self.notice.clear()
        if self._starting:
            return  # a second Enter while the first one works
        self._starting = True
        if self._plan is None:
            self._make_plan()
        else:
            self._start()

    def _start(self) -> None:
        if self._plan is not None:
            self.notice.say("Starting ...")
            self.the_app.start_plan(self, self._plan, from_draft=True)

    def show_error(self, error: UserError) -> None:
        self._starting = False
        super().show_error(error)


def _summary(made: Plan, width: int) -> Content:
    model, data = made.config.model.model_name_or_path, made.config.data.train[0].path
    model = "the demo model" if model == DEMO_MODEL else printable(Path(model).name, 40)
    data = "the demo data" if data == DEMO_DATA else printable(Path(data).name, 40)
    return stack(
        Content.assemble(
            ("This will run: ", "bold"), (made.name, "bold $primary"), f"   {model} learns from {data}"
        ),
        hanging(" ", "", f"The same from the command line: {made.command}", width, "$muted"),
    )


def yaml_content(text: str) -> Content:
    """run.yaml with its comments in grey."""
    parts: list[tuple[str, str]] = []
    for line in text.rstrip().splitlines():
        if line.startswith("#"):
            parts.append((line + "\n", "$muted"))
            continue
        code, mark, comment = line.partition("  # ")
        section = not code.startswith(" ")
        parts += [(code, "bold" if section else ""), (f"{mark}{comment}\n", "$muted")]
    return Content.assemble(*parts)


def save_yaml(text: str, folder: Path) -> Path:
    """Write run.yaml, or run-2.yaml and so on where that exists; returns its path."""
    number = 1
    while True:
        path = folder / ("run.yaml" if number == 1 else f"run-{number}.yaml")
        try:
            with open(path, "x", encoding="utf-8") as handle:
                handle.write(text)
        except FileExistsError:
            number += 1
        else:
            return path
