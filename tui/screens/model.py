"""Model: which one learns, why that one, and what speaks against another."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.advise import fits
from engine.advise.variant import VariantAdvice, advise_variant
from engine.choice import Choice
from engine.config.draft import DEMO_MODEL
from engine.display import gib, printable
from engine.errors import UserError
from engine.fit import grid
from engine.fit.cards import known_cards
from engine.fit.setup import architecture_of
from engine.models import catalogue
from engine.models.folder import ModelFacts, inspect_model
from tui.keymap import bindings
from tui.planning import Target, target_of
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.tuning import MARKS, memory_words
from tui.widgets.choice_list import ChoiceList
from tui.widgets.path_input import PathInput

DEMO_TITLE = "The built-in demo model"
CHOSEN = "model_chosen"  # in the draft's answers: the user has passed this page
MOST_SUGGESTED = 6
AT_ONCE = 16  # models whose memory is predicted before the list is painted again


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What is said about one model.

    Attributes:
        facts: What it is.
        advice: Whether it suits the data.
        cell: Whether it fits, and how; None without a card, or where its size is not known.
    """

    facts: ModelFacts
    advice: VariantAdvice
    cell: grid.Cell | None


class ModelScreen(WizardStep):
    """A list with the suggested model on top, a field for any other, and a verdict on the marked one."""

    STEP = "model"
    KEY_GROUPS = ("wizard", "list", "model")
    BINDINGS = bindings("wizard", "model")
    HELP = """\
B stands for a billion weights: the numbers a model is made of. More weights know more and need more memory. The GiB \
beside a model are what 19 of 20 runs stay below, with one text of 2,048 tokens at once and the named way to train.

An instruct model already answers questions. A base model only continues text and needs thousands of examples. A \
vision model also reads images. GGUF files are for running a finished model, not for training. A gated model wants \
you to accept its licence on huggingface.co first."""

    def __init__(self) -> None:
        super().__init__()
        self._all = False
        self._go_when_read = False
        self._suggestion: Choice[fits.Recommendation] | None = None
        self._reports: dict[str, ModelReport | UserError] = {}
        self._cells: dict[str, grid.Cell | None] = {}
        self._predicting = False
        self._target: Target | None = None

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Which model should learn it?", "bold"), classes="asked")
        yield ChoiceList()
        yield PathInput(placeholder="folder, or a name such as Qwen/Qwen3-0.6B; Enter looks at it", id="path")
        yield Static("", id="about", markup=False)

    def ready(self) -> None:
        self.query_one("#path").display = False
        self.query_one("#about", Static).update(Content.styled("Working out what fits ...", "$muted"))
        self.query_one(ChoiceList).focus()
        self._target = target_of(self.the_app.machine, self.draft)
        target, rows, goal = self._target, self._num_rows, self.draft.goal or "task"
        free, card = (target.free, target.card) if target else (None, None)
        self.in_background(lambda: fits.recommend_model(free, card, rows, goal), self._suggested, "suggest")

    def _suggested(self, suggestion: Choice[fits.Recommendation]) -> None:
        self._suggestion = suggestion
        self._fill(self._preselected(suggestion))

    def on_resize(self, event: events.Resize) -> None:
        self._tell()

    @property
    def _num_rows(self) -> int | None:
        report = self.the_app.dataset(self.draft.data_path)
        return report.num_rows if report else None

    def _preselected(self, suggestion: Choice[fits.Recommendation]) -> str:
        """The model of the draft; for data of one's own the suggestion, since the demo model knows next to nothing."""
        own_data = not self.draft.is_demo and self.draft.model == DEMO_MODEL
        return (
            suggestion.value.model_id if own_data and CHOSEN not in self.draft.answers else self.draft.model
        )

    def _fill(self, chosen: str | None) -> None:
        if self._suggestion is None:
            return
        suggested = [self._suggestion.value, *self._suggestion.alternatives][:MOST_SUGGESTED]
        ids = [DEMO_MODEL]
        if self.draft.model != DEMO_MODEL and self.draft.model not in [one.model_id for one in suggested]:
            ids.append(self.draft.model)
        ids += [one.model_id for one in suggested]
        if self._all:
            ids += [model.id for model in catalogue.load() if model.id not in ids]
        self.query_one(ChoiceList).fill([Option(self._line(one), id=one) for one in ids], chosen)
        self._predict(ids)

    def _line(self, model: str) -> Content:
        """A line of the list, with what is known by now."""
        if model == DEMO_MODEL:
            return _line(DEMO_TITLE, self._demo_size(), "no download")
        known = catalogue.find(model)
        cell = self._cells.get(model)
        notes = [_fit_words(cell) if cell else ""]
        if self._suggestion is not None and model == self._suggestion.value.model_id:
            notes.append("suggested")
        elif known is None:
            notes.append("your choice")
        elif self._all:
            notes.append(known.variant)
        return _line(model, size(known.params_b) if known else "", "   ".join(filter(None, notes)))

    def _predict(self, ids: list[str]) -> None:
        """Predict the memory of models a few at a time, those the user looks at first."""
        target = self._target
        if target is None or self._predicting:
            return
        choices = self.query_one(ChoiceList)
        at = choices.highlighted or 0
        ahead = [one for one in [*ids[at:], *ids[:at]] if one not in self._cells and one != DEMO_MODEL]
        if not ahead:
            return

        def work() -> dict[str, grid.Cell | None]:
            return {one: cell_of(one, target) for one in ahead[:AT_ONCE]}

        def got(cells: dict[str, grid.Cell | None]) -> None:
            self._predicting = False
            self._cells |= cells
            present = {option.id for option in choices.options}
            for one in present & cells.keys():
                if one is not None:
                    choices.replace_option_prompt(one, self._line(one))
            self._predict([option.id for option in choices.options if option.id is not None])

        self._predicting = True
        # A group of its own: a worker that is just handing over its result must not be cancelled by the next.
        self.in_background(work, got, f"cells-{len(self._cells)}")

    @staticmethod
    def _demo_size() -> str:
        params = inspect_model(DEMO_MODEL).params
        return size(params / 1e9) if params else ""

    @property
    def _model(self) -> str:
        return self.query_one(ChoiceList).chosen or self.draft.model

    # Looking at a model

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._go_when_read = False
        self.notice.clear()
        self._tell()
        self._read(self._model)

    def _read(self, model: str) -> None:
        if model in self._reports:
            return
        rows = self._num_rows
        own = self.draft.chat_template == "model"
        target = self._target

        def look() -> ModelReport | UserError:
            try:
                facts = inspect_model(model)
            except UserError as error:
                return error
            advice = advise_variant(facts.name, rows, own_template=own, has_template=facts.has_chat_template)
            return ModelReport(facts, advice, cell_of(model, target) if target else None)

        self.in_background(look, lambda report: self._got(model, report), "look")

    def _got(self, model: str, report: ModelReport | UserError) -> None:
        self._reports[model] = report
        self._tell()
        if self._go_when_read and model == self._model:
            self.action_next()

    def _tell(self) -> None:
        about = self.query_one("#about", Static)
        report = self._reports.get(self._model)
        self.key_line.relabel()
        if isinstance(report, UserError):
            about.update("")
            self.show_error(report)
        elif report is None:
            about.update(Content.styled("Looking ...", "$muted"))
        else:
            if report.advice.level == "advised against":
                self.key_line.relabel(wizard_next="take it anyway")
            about.update(self._about(report))

    def _about(self, report: ModelReport) -> Content:
        width = self.size.width - 4
        lines = [Content(facts_line(report.facts)), Content("")]
        if self._suggestion is not None and self._model == self._suggestion.value.model_id:
            lines.append(hanging("→", "bold $primary", f"Suggested. {self._suggestion.reason}", width))
        elif report.cell is not None and self._target is not None and self._model != DEMO_MODEL:
            mark, style = MARKS[report.cell.verdict]
            lines.append(hanging(mark, f"bold {style}", fit_sentence(report.cell, self._target), width))
        if self._model == DEMO_MODEL:
            words = "It knows a small made-up world and trains in about a minute: to try things out."
            lines.append(hanging("→", "bold $primary", words, width))
            if (
                self.draft.data_path != self.draft.model
                and not self.draft.is_demo
                and CHOSEN not in self.draft.answers
            ):
                words = "For data of your own, take a real model: this one knows no ordinary language."
                lines.append(hanging("!", "bold $warning", words, width))
        good = report.advice.level == "good"
        mark, style = ("✓", "bold $success") if good else ("!", "bold $warning")
        lines += [hanging(mark, style, reason, width) for reason in report.advice.reasons]
        if report.advice.better:
            lines.append(hanging("→", "bold $primary", f"Better: {report.advice.better}", width))
        lines += [
            hanging("!", "bold $warning", printable(text, 300), width)
            for text in self._problems(report.facts)
        ]
        return stack(*lines)

    def _problems(self, facts: ModelFacts) -> list[str]:
        words = list(facts.problems)
        if facts.gated:
            words.append("Gated: accept its licence on huggingface.co, and log in here with: hf auth login")
        if facts.folder is None:
            words.append(
                "Not on this disk yet: it is downloaded from the Hugging Face Hub when the training starts."
            )
        return words

    # Another model

    def action_all(self) -> None:
        self._all = not self._all
        self._fill(self._model)
        self.key_line.relabel(model_all="show fewer" if self._all else "show all")

    def action_other(self) -> None:
        field = self.query_one(PathInput)
        field.display = True
        field.focus()

    def action_back(self) -> None:
        field = self.query_one(PathInput)
        if field.has_focus:
            field.display = False
            self.query_one(ChoiceList).focus()
        else:
            super().action_back()

    def submitted(self, value: str) -> None:
        self.notice.clear()
        text = value.strip()
        if text:
            self.in_background(lambda: inspect_model(text), self._typed, "look")

    def _typed(self, facts: ModelFacts) -> None:
        self.draft.model = facts.path
        self.query_one(PathInput).display = False
        self._fill(facts.path)
        self.query_one(ChoiceList).focus()

    def accept(self) -> bool:
        model = self._model
        report = self._reports.get(model)
        if report is None:
            self._go_when_read = True
            self._read(model)
            return False
        if isinstance(report, UserError):
            self.show_error(report)
            return False
        if model != self.draft.model:
            self.draft.tuning = None  # what suits one model need not suit another
        self.draft.model = model
        self.draft.answers[CHOSEN] = "yes"
        return True


def size(params_b: float) -> str:
    """Weights as people say them: ``8.2 B``, ``135 M``."""
    return f"{params_b:.3g} B" if params_b >= 1 else f"{params_b * 1000:.3g} M"


def facts_line(facts: ModelFacts) -> str:
    """What is known of a model, in one line."""
    params = size(facts.params / 1e9) + " weights" if facts.params else ""
    variant = {"base": "base", "instruct": "instruct", "vision": "reads images"}.get(facts.name.variant, "")
    context = f"up to {facts.context:,} tokens" if facts.context else ""
    licence = f"licence {facts.licence}" if facts.licence else ""
    return " · ".join(
        printable(part, 80) for part in (facts.name.family, params, variant, context, licence) if part
    )


def cell_of(model: str, target: Target) -> grid.Cell | None:
    """The best way to train a model on the target; None when nothing is known of its size."""
    try:
        return grid.best_cell(architecture_of(model), target.free, target.card)
    except UserError:
        return None


def fit_sentence(cell: grid.Cell, target: Target) -> str:
    """Whether a model fits, in words, and for one that does not what it would take."""
    free, need = gib(target.free), gib(cell.p95)
    where = f"on the {printable(target.name, 40)}" if target.planned else "here"
    texts = f"texts of {grid.LENGTH:,} tokens"
    if cell.verdict == "fits":
        return f"It fits {where} with {cell.method}: at most {need} of {free} for {texts}."
    larger = min(
        (card for card in known_cards() if card.usable >= cell.p95),
        key=lambda card: card.usable,
        default=None,
    )
    card = f"a card such as the {larger.name} has that" if larger else "no single card has that much"
    if cell.verdict == "tight":
        return (
            f"Tight {where}: {cell.method} needs {gib(cell.p50)} to {need} for {texts}, and {free} are free. Shorter texts "
            f"may fit; {card}."
        )
    return f"It does not fit {where}: even {cell.method} needs up to {need} for {texts}, and {free} are free; {card}."


def _fit_words(cell: grid.Cell) -> str:
    """Such as ``✓ QLoRA 8.2 GiB``."""
    mark, need = memory_words(cell).split(" ", 1)
    return f"{mark} {cell.method.partition(' ')[0]} {need}"


def _line(name: str, params: str, words: str) -> Content:
    return Content.assemble(f"{printable(name, 60):<36}", f"{params:>7}", (f"   {words}", "$muted"))
