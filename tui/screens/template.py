"""Template: a look at the training rows exactly as the model will see them."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

import presets
from engine.config.draft import plan
from engine.config.schema import ORDINARY_LENGTH
from engine.data.render import MASK_WORDS, XRay
from engine.display import printable
from engine.errors import UserError
from engine.models.folder import inspect_model
from tui.dataset import DatasetReport, read_dataset
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.template_check import TemplateCheck, check_template
from tui.text import hanging, stack
from tui.widgets.x_ray import XRayView, x_ray_content

CHATML = str(Path(presets.__path__[0], "templates", "chatml.jinja"))


class TemplateScreen(WizardStep):
    """The X-ray of one row, and a verdict on all of them."""

    STEP = "template"
    KEY_GROUPS = ("wizard", "template")
    BINDINGS = bindings("wizard", "template")
    HELP = """\
A chat template is the recipe by which a conversation becomes one long text, with marks for who speaks. A token is a \
piece of that text, about three quarters of a word.

The model reads everything but learns only what stands in [brackets]: the answers, and the mark that ends them. So it \
learns to answer, not to ask. ⏎ is the end of a line."""

    def __init__(self) -> None:
        super().__init__()
        self._row = 0
        self._check: TemplateCheck | None = None
        self._data: DatasetReport | None = None

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

    def _fit_box(self) -> None:
        self.query_one(XRayView).styles.max_height = max(5, self.size.height - 14)

    def _look(self) -> None:
        draft, app = self.draft, self.the_app
        self.query_one("#shown", Static).update(
            Content.styled("Reading the rows through the template ...", "$muted")
        )

        def work() -> tuple[TemplateCheck | None, DatasetReport]:
            data = app.dataset(draft.data_path) or read_dataset(draft.data_path)
            folder = inspect_model(draft.model).folder
            if folder is None:
                return None, data
            max_length = plan(draft, app.machine).config.training.max_length or ORDINARY_LENGTH
            return check_template(folder, draft.chat_template, data.rows, max_length), data

        self.in_background(work, self._looked, "look", self._failed)

    def _looked(self, result: tuple[TemplateCheck | None, DatasetReport]) -> None:
        self._check, self._data = result
        self.the_app.keep_dataset(self._data)
        self._tell()

    def _failed(self, error: UserError) -> None:
        self.query_one("#shown", Static).update("")
        self.query_one(XRayView).display = False
        self.show_error(error)

    def _tell(self) -> None:
        if self._data is None:
            return
        box, about, width = self.query_one(XRayView), self.query_one("#about", Static), self.size.width - 4
        box.display = self._check is not None
        self.key_line.hide(
            *(
                ()
                if self._check
                else ("template.next", "template.previous", "template.longest", "template.other")
            )
        )
        if self._check is None:
            self.query_one("#shown", Static).update(
                Content.styled("How will the model see the rows?", "bold")
            )
            about.update(_not_here(self.draft.model, width))
            return
        row = self._data.rows[self._row]
        try:
            seen = self._check.xray(row)
        except UserError as error:
            box.show(Content.styled("The template refuses this row.", "$error"))
            about.update(hanging("!", "bold $error", printable(error.what, 300), width))
            seen = None
        self.query_one("#shown", Static).update(self._title(width))
        if seen is not None:
            box.show(x_ray_content(seen))
            about.update(stack(_legend(seen), "", *_verdict(seen, self._check, self._data, width)))

    def _title(self, width: int) -> Content:
        assert self._check is not None
        assert self._data is not None
        source = self._check.renderer.template_source
        own = self.draft.chat_template == "model"
        name = f"the model's own ({printable(source, 60)})" if own else printable(Path(source).stem, 40)
        left = f"Template: {name}"
        number = self._data.numbers[self._row]
        right = f"row {self._row + 1:,} of {len(self._data.rows):,} ({self._data.first.unit} {number})"
        gap = max(2, width - len(left) - len(right))
        return Content.assemble((left, "bold"), " " * gap, (right, "$muted"))

    # Keys

    def action_row(self, by: int) -> None:
        if self._check is not None and self._data is not None:
            self._row = (self._row + by) % len(self._data.rows)
            self._tell()

    def action_longest(self) -> None:
        if self._check is not None:
            self._row = self._check.longest
            self._tell()

    def action_other(self) -> None:
        """The model's own template, or ChatML."""
        self.notice.clear()
        if self.draft.chat_template == "model":
            self.draft.chat_template = CHATML
            self.notice.say(
                "ChatML instead of the model's own template. t again goes back. Only for base models."
            )
        else:
            self.draft.chat_template = "model"
        self._look()

    def accept(self) -> bool:
        check = self._check
        if check is not None and check.num_checked == len(check.nothing) + len(check.refused):
            self.show_error(
                UserError(
                    "The model would learn nothing: no row has a token to train on.",
                    f"template {printable(check.renderer.template_source, 200)}",
                    "Choose another template with t, or another model.",
                )
            )
            return False
        return True


def _legend(seen: XRay) -> Content:
    learnt = sum(seen.mask[: seen.kept])
    return Content.assemble(
        ("[ learnt ]", "bold $success"),
        "  ",
        ("read, not learnt", "$muted"),
        f"   {learnt} of {seen.total} tokens are learnt",
    )


def _verdict(seen: XRay, check: TemplateCheck, data: DatasetReport, width: int) -> list[Content]:
    lines: list[Content] = []
    if seen.trained_count and seen.stops:
        words = (
            "The model learns the whole text, and where it ends."
            if seen.mask_source == "whole text"
            else "The model learns what the assistant says, and how to stop."
        )
        lines.append(hanging("✓", "bold $success", words, width))
    if seen.mask_source in ("prefixes", "training copy of the template"):
        lines.append(hanging("→", "$primary", MASK_WORDS[seen.mask_source], width))
    lines += [hanging("!", "bold $warning", printable(problem, 300), width) for problem in seen.problems]
    some = "" if check.num_checked == len(data.rows) else "first "
    good = not (check.num_cut or check.nothing or check.refused)
    longest = f"The longest has {check.longest_total:,} of {check.max_length:,} tokens."
    if good:
        words = f"All {some}{check.num_checked:,} rows fit and teach something. {longest}"
        return [*lines, hanging("✓", "bold $success", words, width)]
    if check.num_cut:
        words = f"{check.num_cut:,} of {some}{check.num_checked:,} rows are cut off. {longest} max_length is set at Method."
        lines.append(hanging("!", "bold $warning", words, width))
    for indices, what in ((check.nothing, "teach nothing"), (check.refused, "are refused by the template")):
        if indices:
            numbers = ", ".join(str(data.numbers[index]) for index in indices[:5])
            more = ", ..." if len(indices) > 5 else ""
            words = f"{len(indices):,} rows {what} ({data.first.unit} {numbers}{more})."
            lines.append(hanging("!", "bold $warning", words, width))
    return lines


def _not_here(model: str, width: int) -> Content:
    return stack(
        hanging("→", "bold $primary", f"{printable(model, 100)} is not on this disk yet, so its rows cannot be shown.", width),
        "",
        hanging(" ", "", "The model brings its own chat template, the recipe that turns a conversation into text, and "
                "it is used as it is. When the training starts, the model is downloaded and every row is checked; a run "
                "in which nothing would be learnt is refused before it starts.", width),
    )  # fmt: skip
