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
from engine.config.draft import DEMO_MODEL, choose_gpu
from engine.display import printable
from engine.errors import UserError
from engine.models import catalogue
from engine.models.folder import ModelFacts, inspect_model
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList
from tui.widgets.path_input import PathInput

DEMO_TITLE = "The built-in demo model"
CHOSEN = "model_chosen"  # in the draft's answers: the user has passed this page
MOST_SUGGESTED = 6


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What is said about one model."""

    facts: ModelFacts
    advice: VariantAdvice


class ModelScreen(WizardStep):
    """A list with the suggested model on top, a field for any other, and a verdict on the marked one."""

    STEP = "model"
    KEY_GROUPS = ("wizard", "list", "model")
    BINDINGS = bindings("wizard", "model")
    HELP = """\
B stands for a billion weights: the numbers a model is made of. More weights know more and need more memory.

An instruct model already answers questions. A base model only continues text and needs thousands of examples. A \
vision model also reads images. GGUF files are for running a finished model, not for training. A gated model wants \
you to accept its licence on huggingface.co first."""

    def __init__(self) -> None:
        super().__init__()
        self._all = False
        self._go_when_read = False
        self._reports: dict[str, ModelReport | UserError] = {}

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Which model should learn it?", "bold"), classes="asked")
        yield ChoiceList()
        yield PathInput(placeholder="folder, or a name such as Qwen/Qwen3-0.6B; Enter looks at it", id="path")
        yield Static("", id="about", markup=False)

    def ready(self) -> None:
        self.query_one("#path").display = False
        self._suggestion = fits.recommend_model(self._free, self._num_rows, self.draft.goal or "task")
        self._fill(self._preselected())
        self.query_one(ChoiceList).focus()

    def on_resize(self, event: events.Resize) -> None:
        self._tell()

    @property
    def _free(self) -> int | None:
        machine = self.the_app.machine
        gpu = choose_gpu(machine, self.draft.gpu) or choose_gpu(machine, None)
        return gpu.memory_free if gpu else None

    @property
    def _num_rows(self) -> int | None:
        report = self.the_app.dataset(self.draft.data_path)
        return report.num_rows if report else None

    def _preselected(self) -> str:
        """The model of the draft; for data of one's own the suggestion, since the demo model knows next to nothing."""
        own_data = not self.draft.is_demo and self.draft.model == DEMO_MODEL
        return (
            self._suggestion.value.model_id
            if own_data and CHOSEN not in self.draft.answers
            else self.draft.model
        )

    def _fill(self, chosen: str | None) -> None:
        suggested = [self._suggestion.value, *self._suggestion.alternatives][:MOST_SUGGESTED]
        ids = [one.model_id for one in suggested]
        options = [Option(_line(DEMO_TITLE, self._demo_size(), "no download"), id=DEMO_MODEL)]
        if self.draft.model not in (DEMO_MODEL, *ids):
            options.append(Option(_line(self.draft.model, "", "your choice"), id=self.draft.model))
        for index, one in enumerate(suggested):
            how = "4-bit" if one.load_in_4bit else "LoRA"
            need = f", {one.needed_gb:g} GB" if one.needed_gb else ""
            words = f"{how}{need}{'   suggested' if index == 0 else ''}"
            options.append(Option(_line(one.model_id, size(one.params_b), words), id=one.model_id))
        if self._all:
            known = {option.id for option in options}
            options += [
                Option(_line(model.id, size(model.params_b), self._fit(model)), id=model.id)
                for model in catalogue.load()
                if model.id not in known
            ]
        self.query_one(ChoiceList).fill(options, chosen)

    @staticmethod
    def _demo_size() -> str:
        params = inspect_model(DEMO_MODEL).params
        return size(params / 1e9) if params else ""

    def _fit(self, model: catalogue.CatalogueModel) -> str:
        need = fits.needed_gb(model.params_b, "qlora_4bit")
        if need is None or self._free is None:
            return model.variant
        return f"{model.variant}, 4-bit {fits.verdict(need.gb, self._free).value} ({need.gb:.3g} GB)"

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

        def look() -> ModelReport | UserError:
            try:
                facts = inspect_model(model)
            except UserError as error:
                return error
            advice = advise_variant(facts.name, rows, own_template=own, has_template=facts.has_chat_template)
            return ModelReport(facts, advice)

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
        if self._model == self._suggestion.value.model_id:
            lines.append(hanging("→", "bold $primary", f"Suggested: {self._suggestion.reason}", width))
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


def _line(name: str, params: str, words: str) -> Content:
    return Content.assemble(f"{printable(name, 60):<36}", f"{params:>7}", (f"   {words}", "$muted"))
