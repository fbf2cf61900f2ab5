"""Method: how it is trained, and the settings that matter, each with the reason for its value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.choice import Choice
from engine.config.draft import Draft, Plan, plan
from engine.config.resolve_objective import choose_layers
from engine.config.schema import SECTIONS, keys
from engine.config.tuning import suggest_tuning, tuning_of
from engine.display import printable
from engine.errors import UserError
from engine.fit.decide import Fit, verdict
from engine.fit.grid import Cell
from engine.fit.predict import predict
from engine.fit.setup import architecture_of, setup_of
from engine.machine.model import Machine
from tui.keymap import KEYMAP, bindings
from tui.planning import planned_card, planned_machine
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.tuning import MARKS, TUNINGS, advice_sentence, apply_advice, memory_words
from tui.widgets.choice_list import POINTER, ChoiceList
from tui.widgets.memory_bar import MemoryBar

FIELDS = (
    ("num_train_epochs", "Epochs"),
    ("learning_rate", "Learning rate"),
    ("per_device_train_batch_size", "Batch size"),
    ("gradient_accumulation_steps", "Accumulation"),
    ("max_length", "Longest text"),
    ("gradient_checkpointing", "Checkpointing"),
    ("lora_r", "LoRA rank"),
)
LABELS = dict(FIELDS)
LOW = 30  # rows below which blank lines are left out
PAUSE = 0.3  # seconds without a key before the bar follows what is being typed


@dataclass(frozen=True, slots=True)
class Look:
    """A plan, and what the screen shows of it.

    Attributes:
        plan: What would run here.
        fit: Whether that fits, on the planned card where there is none here; None where it cannot be told.
        where: The name of that card.
        cells: The same run with each of the ways to train, by their ids.
    """

    plan: Plan
    fit: Fit | None
    where: str
    cells: dict[str, Cell]


def look_at(draft: Draft, machine: Machine | None) -> Look:
    """Plan the run and predict every way to train it.

    Raises:
        UserError: An answer cannot be used.
    """
    made = plan(draft, machine)
    fit, config, where = made.fit, made.config, "this card"
    planned, card = planned_machine(machine, draft), planned_card(draft)
    if planned is not None and card is not None:
        elsewhere = plan(draft, planned)
        fit, config, where = elsewhere.fit, elsewhere.config, card.name
    if fit is None:
        return Look(made, None, "", {})
    architecture = architecture_of(draft.model)
    cells = {}
    for tuning in TUNINGS:
        setup = replace(setup_of(config), **tuning.setup)
        if tuning.id == "freeze" and config.method.freeze_trainable_layers is None:
            setup = replace(setup, trained_layers=choose_layers(architecture.layers).value)
        same = tuning.id == tuning_of(config)
        found = fit.prediction if same else predict(architecture, setup, card=fit.card)
        cells[tuning.id] = Cell(tuning.title, verdict(found, fit.free), found.smi.p50, found.smi.p95)
    return Look(made, fit, where, cells)


class SettingInput(Input):
    """The value of one setting; empty means finetui chooses, and the chosen value is shown in grey."""

    typing_keys = KEYMAP["method-field"]
    # A page too high for the terminal scrolls with the arrows, and would take them before the screen is asked.
    BINDINGS: ClassVar[list[BindingType]] = [
        one for one in bindings("method") if isinstance(one, Binding) and one.action.startswith("field(")
    ]

    def __init__(self, key: str, value: str) -> None:
        super().__init__(value, id=f"set-{key}", compact=True, select_on_focus=False)
        self.key = key
        self.cursor_blink = False

    def action_field(self, by: int) -> None:
        """To the field below or above."""
        self.screen.focus_next() if by > 0 else self.screen.focus_previous()


class MethodScreen(WizardStep):
    """A list of methods, then the settings."""

    STEP = "method"
    KEY_GROUPS = ("wizard", "list", "method")
    BINDINGS = bindings("wizard", "method")
    HELP = """\
LoRA adds small matrices to the model and trains only those: little memory, a small result file, hard to break. QLoRA \
does the same and holds the model in 4 bits. Full training changes the model itself.

An epoch is one reading of the whole dataset. A step is one change of the model. Leave a field empty and finetui \
chooses; the reason stands beside it. Every other setting can be changed in run.yaml.

The bar is the memory of the card at the heaviest moment of a step: the model itself, what is learnt (adapters, their \
gradients and the optimizer's notes), activations (what each layer computed and the way back needs again), the loss over \
all words, work space, CUDA's own part, and the reserve that PyTorch keeps. The line is what is free. Checkpointing \
computes activations twice instead of keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self._look: Look | None = None
        self._suggestion: Choice[str] | None = None
        self._planned: object = None
        self._planning: object = None
        self._pause: Timer | None = None

    @property
    def _plan(self) -> Plan | None:
        return self._look.plan if self._look else None

    def question(self) -> ComposeResult:
        yield Static(Content.styled("How should it be trained?", "bold"), classes="asked")
        yield ChoiceList()
        for key, label in FIELDS:
            with Horizontal(classes="setting"):
                yield Static(label, classes="label", id=f"label-{key}", markup=False)
                yield SettingInput(key, str(self.draft.settings.get(key, "")))
                yield Static("", classes="reason", id=f"why-{key}", markup=False)
        yield Static("", id="memory", markup=False)
        yield MemoryBar(id="bar")
        yield Static("", id="about", markup=False)

    def ready(self) -> None:
        draft, machine = self.draft, self.the_app.machine
        self.query_one("#about", Static).update(Content.styled("Working out what fits ...", "$muted"))
        self.query_one(ChoiceList).focus()
        self.in_background(
            lambda: suggest_tuning(draft, planned_machine(machine, draft) or machine),
            self._suggested,
            "suggest",
        )

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < LOW, "-low")
        self._tell()

    def _suggested(self, suggestion: Choice[str]) -> None:
        self._suggestion = suggestion
        options = [Option(self._line(tuning.id), id=tuning.id) for tuning in TUNINGS]
        self.query_one(ChoiceList).fill(options, self.draft.tuning or suggestion.value)
        self._replan()

    def _line(self, tuning_id: str) -> Content:
        """A line of the list, with what is known by now."""
        tuning = next(one for one in TUNINGS if one.id == tuning_id)
        cell = self._look.cells.get(tuning_id) if self._look else None
        suggested = self._suggestion is not None and self._suggestion.value == tuning_id
        memory = ("", "")
        if cell is not None:
            memory = (f"{memory_words(cell):<12}", MARKS[cell.verdict][1])
        mark = (f"{'suggested' if suggested else '':<11}", "$muted")
        return Content.assemble((f"{tuning.title:<14}", "bold"), memory, mark, (tuning.words, "$muted"))

    # The plan follows the answers

    def _answers(self) -> object:
        return (self.draft.tuning, tuple(sorted(self.draft.settings.items())))

    def _replan(self, while_typing: bool = False) -> None:
        """Plan anew if an answer changed; what is still being typed may be wrong without a word."""
        draft, machine, wanted = self.draft, self.the_app.machine, self._answers()
        if self._pause is not None:
            self._pause.stop()
        if (self._look is not None and self._planned == wanted) or (
            while_typing and self._planning == wanted
        ):
            return
        self._planning = wanted

        def got(result: Look) -> None:
            self._look, self._planned, self._planning = result, wanted, None
            self.notice.clear()
            self._tell()
            if self.going and self._answers() == wanted:
                self.go(1)

        def failed(error: UserError) -> None:
            self._planning = None
            if not while_typing:
                self._failed(error)

        self.in_background(lambda: look_at(draft, machine), got, "plan", failed)

    def _failed(self, error: UserError) -> None:
        self.going = False
        self._planned = None
        self.show_error(error)
        key = next((key for key, _ in FIELDS if key in error.where), None)
        if key is not None:
            self.query_one(f"#set-{key}", SettingInput).focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_id != self.draft.tuning:
            self.draft.tuning = event.option_id
            self._replan()
        self._tell()

    def on_input_changed(self, event: Input.Changed) -> None:
        if isinstance(event.input, SettingInput):
            value = event.value.strip()
            if value:
                self.draft.settings[event.input.key] = value
            else:
                self.draft.settings.pop(event.input.key, None)
            if self._pause is not None:
                self._pause.stop()
            self._pause = self.set_timer(PAUSE, lambda: self._replan(while_typing=True))

    def on_input_blurred(self, event: Input.Blurred) -> None:
        self._replan()

    def on_descendant_focus(self) -> None:
        self._tell()

    # What is shown

    def _tell(self) -> None:
        width = self.size.width - 4
        choices = self.query_one(ChoiceList)
        for option in choices.options:
            if option.id is not None:
                choices.replace_option_prompt(option.id, self._line(option.id))
        self._tell_memory()
        for key, _ in FIELDS:
            field = self.query_one(f"#set-{key}", SettingInput)
            field.placeholder = self._chosen(key)
            pointer = POINTER if field is self.focused else " "
            self.query_one(f"#label-{key}", Static).update(f"{pointer} {LABELS[key]}")
            row = field.parent
            if key == "lora_r" and isinstance(row, Widget):
                row.display = self.draft.tuning not in ("full", "freeze")
            reason = self._reason(key)
            self.query_one(f"#why-{key}", Static).update(
                Content(reason).truncate(max(8, width - 28), ellipsis=True)
            )
        focused = self.focused
        about = self.query_one("#about", Static)
        if isinstance(focused, SettingInput):
            about.update(self._about_setting(focused.key, width))
        elif self._suggestion is not None:
            lines = [] if self._look is None else self._about_fit(self._look, width)
            if self._suggestion.value != self.draft.tuning or not lines:
                words = f"{self._suggested_title()} is suggested. {self._suggestion.reason}"
                lines.append(hanging("→", "bold $primary", words, width))
            about.update(stack(*lines))

    def _tell_memory(self) -> None:
        """The bar and the word above it."""
        look = self._look
        title, bar = self.query_one("#memory", Static), self.query_one(MemoryBar)
        fit = look.fit if look else None
        self.key_line.hide(*([] if fit and fit.verdict != "fits" else ["method.fit"]))
        title.display = bar.display = fit is not None
        if look is None or fit is None:
            return
        mark, style = MARKS[fit.verdict]
        words = {"fits": "fits", "tight": "tight: it may run out of memory", "no": "does not fit"}[
            fit.verdict
        ]
        title.update(
            Content.assemble(
                (f"Memory of {printable(look.where, 40)}: ", "bold"), (f"{mark} {words}", f"bold {style}")
            )
        )
        bar.show(fit.prediction, fit.free)

    def _about_fit(self, look: Look, width: int) -> list[Content]:
        if look.fit is None:
            return [hanging(" ", "", look.plan.fit_unknown, width)] if look.plan.fit_unknown else []
        mark, style = MARKS[look.fit.verdict]
        lines = [hanging(mark, f"bold {style}", printable(look.fit.sentence, 400), width)]
        if look.fit.advice is not None:  # first, because a low screen has no room for both
            key = "f" if look.fit.advice.prediction is not None else "→"
            lines.insert(0, hanging(key, "bold $primary", advice_sentence(look.fit.advice), width))
        return lines

    def _suggested_title(self) -> str:
        chosen = self._suggestion.value if self._suggestion else ""
        return next((tuning.title for tuning in TUNINGS if tuning.id == chosen), "LoRA")

    def _chosen(self, key: str) -> str:
        if self._plan is None:
            return ""
        value: Any = getattr(getattr(self._plan.config, keys()[key]), key)
        if isinstance(value, bool):
            return "on" if value else "off"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def _reason(self, key: str) -> str:
        if key in self.draft.settings:
            return "set by you; empty the field to let finetui choose"
        choice = self._plan.choices.get(key) if self._plan else None
        if choice is not None:
            return str(choice.reason)
        return _help(key) if self._plan else ""

    def _about_setting(self, key: str, width: int) -> Content:
        field = SECTIONS[keys()[key]].model_fields[key]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        unit = f", in {extra['unit']}" if extra.get("unit") else ""
        usual = f"Usual: {extra['usual']}." if extra.get("usual") else ""
        lines = [
            Content.assemble((LABELS[key], "bold"), (f"   {key}{unit}", "$muted")),
            hanging(" ", "", f"{field.description} {usual}", width),
        ]
        if key not in self.draft.settings and self._plan is not None and key in self._plan.choices:
            lines.append(hanging("→", "bold $primary", printable(self._reason(key), 300), width))
        return stack(*lines)

    # Keys

    def action_field(self, by: int) -> None:
        """To the field below or above."""
        self.focus_next() if by > 0 else self.focus_previous()

    def action_make_fit(self) -> None:
        """Take the cheapest changes that make it fit."""
        fit = self._look.fit if self._look else None
        if fit is None or fit.advice is None:
            self.notice.say("It fits as it is." if fit else "Without a card there is nothing to make fit.")
            return
        if fit.advice.prediction is None:
            self.notice.say(advice_sentence(fit.advice))
            return
        apply_advice(self.draft, fit.advice)
        for key, _ in FIELDS:
            field = self.query_one(f"#set-{key}", SettingInput)
            with field.prevent(Input.Changed):
                field.value = str(self.draft.settings.get(key, ""))
        choices = self.query_one(ChoiceList)
        choices.highlighted = next(
            (at for at, option in enumerate(choices.options) if option.id == self.draft.tuning),
            choices.highlighted,
        )
        self.keep_draft()
        self._replan()

    def action_next(self) -> None:
        self.notice.clear()
        if self._plan is not None and self._planned == self._answers():
            self.go(1)
            return
        self.going = True
        self._replan()


def _help(key: str) -> str:
    return str(SECTIONS[keys()[key]].model_fields[key].description)
