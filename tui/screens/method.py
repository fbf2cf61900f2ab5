"""Method: how it is trained, and the settings that matter, each with the reason for its value."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.config.draft import Plan, choose_gpu, plan
from engine.config.schema import SECTIONS, keys
from engine.display import printable
from engine.errors import UserError
from engine.models.folder import inspect_model
from tui.keymap import KEYMAP, bindings
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.tuning import TUNINGS, memory_words, recommend_tuning
from tui.widgets.choice_list import POINTER, ChoiceList

FIELDS = (
    ("num_train_epochs", "Epochs"),
    ("learning_rate", "Learning rate"),
    ("per_device_train_batch_size", "Batch size"),
    ("gradient_accumulation_steps", "Accumulation"),
    ("max_length", "Longest text"),
    ("lora_r", "LoRA rank"),
)
LABELS = dict(FIELDS)


class SettingInput(Input):
    """The value of one setting; empty means finetui chooses, and the chosen value is shown in grey."""

    typing_keys = KEYMAP["method-field"]

    def __init__(self, key: str, value: str) -> None:
        super().__init__(value, id=f"set-{key}", compact=True, select_on_focus=False)
        self.key = key
        self.cursor_blink = False


class MethodScreen(WizardStep):
    """A list of methods, then the settings."""

    STEP = "method"
    KEY_GROUPS = ("wizard", "list", "method")
    BINDINGS = bindings("wizard", "method")
    HELP = """\
LoRA adds small matrices to the model and trains only those: little memory, a small result file, hard to break. QLoRA \
does the same and holds the model in 4 bits. Full training changes the model itself.

An epoch is one reading of the whole dataset. A step is one change of the model. Leave a field empty and finetui \
chooses; the reason stands beside it. Every other setting can be changed in run.yaml."""

    def __init__(self) -> None:
        super().__init__()
        self._params_b: float | None = None
        self._plan: Plan | None = None
        self._planned: object = None
        self._go_when_planned = False

    def question(self) -> ComposeResult:
        yield Static(Content.styled("How should it be trained?", "bold"), classes="asked")
        yield ChoiceList()
        for key, label in FIELDS:
            with Horizontal(classes="setting"):
                yield Static(label, classes="label", id=f"label-{key}", markup=False)
                yield SettingInput(key, str(self.draft.settings.get(key, "")))
                yield Static("", classes="reason", id=f"why-{key}", markup=False)
        yield Static("", id="about", markup=False)

    def ready(self) -> None:
        model = self.draft.model
        self.in_background(
            lambda: inspect_model(model).params, self._sized, "size", lambda error: self._sized(None)
        )

    def on_resize(self, event: events.Resize) -> None:
        self._tell()

    @property
    def _free(self) -> int | None:
        machine = self.the_app.machine
        gpu = choose_gpu(machine, self.draft.gpu) or choose_gpu(machine, None)
        return gpu.memory_free if gpu else None

    def _sized(self, params: int | None) -> None:
        """The number of weights is known, so the list can say what fits."""
        self._params_b = params / 1e9 if params else None
        self._suggestion = recommend_tuning(self._params_b, self._free)
        options = []
        for tuning in TUNINGS:
            memory = memory_words(tuning, self._params_b, self._free)
            mark = "suggested" if tuning.id == self._suggestion.value else ""
            notes = "  ".join(note for note in (memory, mark) if note)
            line = Content.assemble(
                (f"{tuning.title:<14}", "bold"), tuning.words, (f"  {notes}" if notes else "", "$muted")
            )
            options.append(Option(line, id=tuning.id))
        choices = self.query_one(ChoiceList)
        choices.fill(options, self.draft.tuning or self._suggestion.value)
        choices.focus()
        self._replan()

    # The plan follows the answers

    def _answers(self) -> object:
        return (self.draft.tuning, tuple(sorted(self.draft.settings.items())))

    def _replan(self) -> None:
        draft, machine, wanted = self.draft, self.the_app.machine, self._answers()
        if self._plan is not None and self._planned == wanted:
            return

        def got(result: Plan) -> None:
            self._plan, self._planned = result, wanted
            self.notice.clear()
            self._tell()
            if self._go_when_planned and self._answers() == wanted:
                self.go(1)

        self.in_background(lambda: plan(draft, machine), got, "plan", self._failed)

    def _failed(self, error: UserError) -> None:
        self._go_when_planned = False
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

    def on_input_blurred(self, event: Input.Blurred) -> None:
        self._replan()

    def on_descendant_focus(self) -> None:
        self._tell()

    # What is shown

    def _tell(self) -> None:
        width = self.size.width - 4
        for key, _ in FIELDS:
            field = self.query_one(f"#set-{key}", SettingInput)
            field.placeholder = self._chosen(key)
            pointer = POINTER if field is self.focused else " "
            self.query_one(f"#label-{key}", Static).update(f"{pointer} {LABELS[key]}")
            row = field.parent
            if key == "lora_r" and isinstance(row, Widget):
                row.display = self.draft.tuning != "full"
            reason = self._reason(key)
            self.query_one(f"#why-{key}", Static).update(
                Content(reason).truncate(max(8, width - 28), ellipsis=True)
            )
        focused = self.focused
        about = self.query_one("#about", Static)
        if isinstance(focused, SettingInput):
            about.update(self._about_setting(focused.key, width))
        elif hasattr(self, "_suggestion"):
            about.update(
                hanging(
                    "→",
                    "bold $primary",
                    f"{self._suggested_title()} is suggested. {self._suggestion.reason}",
                    width,
                )
            )

    def _suggested_title(self) -> str:
        return next(tuning.title for tuning in TUNINGS if tuning.id == self._suggestion.value)

    def _chosen(self, key: str) -> str:
        if self._plan is None:
            return ""
        value: Any = getattr(getattr(self._plan.config, keys()[key]), key)
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
        self.screen.focus_next() if by > 0 else self.screen.focus_previous()

    def action_next(self) -> None:
        self.notice.clear()
        if self._plan is not None and self._planned == self._answers():
            self.go(1)
            return
        self._go_when_planned = True
        self._replan()


def _help(key: str) -> str:
    return str(SECTIONS[keys()[key]].model_fields[key].description)
