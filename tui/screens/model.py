"""Model: which one learns, why that one, and what speaks against another."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.advise import fits
from engine.advise.variant import advise_variant
from engine.choice import Choice
from engine.config.draft import DEMO_DATA, DEMO_MODEL
from engine.display import printable
from engine.errors import UserError
from engine.fit import grid
from engine.hub.facts import RepoFacts
from engine.hub.names import MODELSCOPE
from engine.models import catalogue
from engine.models.folder import ModelFacts, inspect_model
from tui.hub import HubLink, given_up, is_about, obstacle_of, offline_words, twin_of
from tui.keymap import bindings
from tui.model_words import (
    ModelReport,
    cell_of,
    facts_line,
    fit_sentence,
    fit_words,
    hub_lines,
    model_line,
    size,
)
from tui.planning import Target, target_of
from tui.screens.hub_search import PAUSE, HubSearchScreen
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.tuning import MARKS
from tui.widgets.choice_list import ChoiceList
from tui.widgets.path_input import PathInput

DEMO_TITLE = "The built-in demo model"
CHOSEN = "model_chosen"  # in the draft's answers: the user has passed this page
MOST_SUGGESTED = 6
LOW = 30  # rows of a terminal in which blank lines are left out
AT_ONCE = 16  # models whose memory is predicted before the list is painted again


class ModelScreen(WizardStep):
    """A list with the suggested model on top, a field for any other, and a verdict on the marked one."""

    STEP = "model"
    KEY_GROUPS = ("wizard", "model", "list")
    BINDINGS = bindings("wizard", "model")
    HELP = """\
B stands for a billion weights: the numbers a model is made of. More weights know more and need more memory. The GiB \
beside a model are what 19 of 20 runs stay below, with one text of 2,048 tokens at once and the named way to train.

An instruct model already answers questions. A base model only continues text and needs thousands of examples. A \
vision model also reads images. Weights come as safetensors, which hold numbers only; pickle, an older format, can run \
hidden code and is refused. GGUF files are for running a finished model, not for training. A gated model wants \
you to accept its licence on huggingface.co first."""

    def __init__(self) -> None:
        super().__init__()
        self._all = False
        self._suggestion: Choice[fits.Recommendation] | None = None
        self._reports: dict[str, ModelReport | UserError] = {}
        self._cells: dict[str, grid.Cell | None] = {}
        self._predicting = False
        self._target: Target | None = None
        self._link = HubLink()
        self._facts: dict[str, RepoFacts | UserError] = {}
        self._looking = ""  # the model the Hub is asked about
        self._waiting = ""  # the model that is taken once the Hub has answered
        self._silent = offline_words()  # why the Hub is not asked
        self._timer: Timer | None = None

    def on_unmount(self) -> None:
        self._link.close()

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
        self.set_class(event.size.height < LOW, "-low")
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
            return model_line(DEMO_TITLE, self._demo_size(), "no download")
        known = catalogue.find(model)
        cell = self._cells.get(model)
        notes = [fit_words(cell) if cell else ""]
        if self._suggestion is not None and model == self._suggestion.value.model_id:
            notes.append("suggested")
        elif known is None:
            notes.append("your choice")
        elif self._all:
            notes.append(known.variant)
        facts = self._facts.get(model)
        told = facts.params / 1e9 if isinstance(facts, RepoFacts) and facts.params else None
        params = known.params_b if known else told
        return model_line(model, size(params) if params else "", "   ".join(filter(None, notes)))

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
        self.going = False
        self.notice.clear()
        self._tell()
        self._read(self._model)
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._pause_over)

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
        if model != self._model:
            return
        if self._timer is None:
            self._ask_hub()
        if self.going and not self._looking:
            self.action_next()

    # Asking the Hub, in another process, about a model that stays marked for a moment

    def _must_ask(self, model: str) -> bool:
        """Whether only the Hub knows if the model can be had."""
        report = self._reports.get(model)
        here = not isinstance(report, ModelReport) or report.facts.folder is not None
        known = model in self._facts or bool(self._silent)
        return not (here or known or model == DEMO_MODEL or model.lower().startswith(MODELSCOPE))

    def _pause_over(self) -> None:
        self._timer = None
        self._ask_hub()

    def _ask_hub(self) -> None:
        model = self._model
        if self._looking == model or not self._must_ask(model):
            return
        self._looking = model
        self._tell()
        task = self._link.task()

        def work() -> RepoFacts | UserError | None:
            try:
                return given_up(lambda: self._link.client.look(model, "model", task=task))
            except UserError as error:
                return error

        self.in_background(work, lambda facts: self._told(model, facts), "hub")

    def _told(self, model: str, facts: RepoFacts | UserError | None) -> None:
        if self._looking == model:
            self._looking = ""
        if facts is None:
            return
        if isinstance(facts, UserError) and not is_about(facts, model):
            self._silent = (
                f"{printable(facts.what, 200)} Nothing more can be said of models that are not here."
            )
        else:
            self._facts[model] = facts
            choices = self.query_one(ChoiceList)
            if model in [option.id for option in choices.options]:
                choices.replace_option_prompt(model, self._line(model))
        self.notice.clear()
        if isinstance(facts, RepoFacts) and catalogue.find(model) is None:
            self._cells.pop(model, None)  # its config.json is here now, and says more than its name
            self._reports.pop(model, None)
            self._predict([model])
            self._read(model)
        else:
            self._tell()
            if self.going and model == self._model:
                self.action_next()

    def _obstacle(self, model: str) -> UserError | None:
        """Why the model cannot be had, as far as the Hub has said it."""
        facts = self._facts.get(model)
        return obstacle_of(facts) if isinstance(facts, RepoFacts) else facts

    def _tell(self) -> None:
        about = self.query_one("#about", Static)
        report = self._reports.get(self._model)
        self.key_line.relabel()
        obstacle = self._obstacle(self._model)
        twin = twin_of(self._model, obstacle) if obstacle else None
        self.key_line.hide(*(() if twin else ("model.twin",)))
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
        if self._obstacle(self._model) is not None:  # nothing else matters
            return stack(Content(facts_line(report.facts)), *self._hub_lines(width))
        lines = [Content(facts_line(report.facts)), Content("")]
        if self._suggestion is not None and self._model == self._suggestion.value.model_id:
            lines.append(hanging("→", "bold $primary", f"Suggested. {self._suggestion.reason}", width))
        elif report.cell is not None and self._target is not None and self._model != DEMO_MODEL:
            mark, style = MARKS[report.cell.verdict]
            lines.append(hanging(mark, f"bold {style}", fit_sentence(report.cell, self._target), width))
        if self._model == DEMO_MODEL:
            words = "It knows a small made-up world and trains in about a minute: to try things out."
            lines.append(hanging("→", "bold $primary", words, width))
            if self.draft.data_path != DEMO_DATA:
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
        lines += self._hub_lines(width)
        return stack(*lines)

    def _hub_lines(self, width: int) -> list[Content]:
        """What the Hub says of the marked model, or why it says nothing."""
        model = self._model
        facts = self._facts.get(model)
        told = facts if isinstance(facts, RepoFacts) else None
        silent = "" if self._is_here(model) or model == DEMO_MODEL else self._silent
        return hub_lines(model, told, self._obstacle(model), self._looking == model, silent, width)

    def _is_here(self, model: str) -> bool:
        report = self._reports.get(model)
        return isinstance(report, ModelReport) and report.facts.folder is not None

    def _problems(self, facts: ModelFacts) -> list[str]:
        words = list(facts.problems)
        if self._model in self._facts:
            return words
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

    def action_search(self) -> None:
        """Search the Hub."""
        self.app.push_screen(HubSearchScreen("model", self.submitted))

    def action_twin(self) -> None:
        """Take the same weights from a place without a gate."""
        obstacle = self._obstacle(self._model)
        if obstacle is not None and (twin := twin_of(self._model, obstacle)):
            self.submitted(twin)

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
            self.going = True
            self._read(model)
            return False
        if isinstance(report, UserError):
            self.show_error(report)
            return False
        if (obstacle := self._obstacle(model)) is not None:
            self.show_error(obstacle)
            return False
        if self._must_ask(model) and self._waiting != model:
            self._waiting, self.going = model, True
            self._ask_hub()
            self.notice.say("Asking the Hub whether it can be had. Enter again goes on without the answer.")
            return False
        if model != self.draft.model:
            self.draft.tuning = None  # what suits one model need not suit another
        self.draft.model = model
        self.draft.answers[CHOSEN] = "yes"
        return True
