"""The wizard as questions in plain lines, with numbers to choose: for screen readers and terminals without screens.

It fills the same draft as the screens do, so either can go on where the other was left, and decides nothing by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.advise import fits
from engine.advise.choose_objective import choose_objective, look
from engine.advise.goals import GOALS, QUESTIONS, VERDICT_WORDS, Answers, triage
from engine.advise.variant import advise_variant
from engine.choice import Choice
from engine.cli.asking import HELP, BackError, LeaveError, Option, ask, ask_until_right, choose
from engine.cli.follow import follow
from engine.cli.main import print_error, why_plain
from engine.cli.train import fetch_data
from engine.config.draft import (
    DEMO_DATA,
    DEMO_MODEL,
    TUNINGS,
    Draft,
    Plan,
    choose_gpu,
    clear_draft,
    load_draft,
    plan,
    refusals,
    save_draft,
    start,
)
from engine.config.resume import resume
from engine.config.schema import keys
from engine.config.template_gate import require_good_template
from engine.config.tuning import suggest_tuning
from engine.data.dataset import load_rows, peek
from engine.data.sources import is_hub_id, spec_of
from engine.data.templates.catalogue import families
from engine.display import gib, printable
from engine.errors import UserError
from engine.fit.cards import find_card
from engine.hub.facts import look_ahead
from engine.machine.model import Machine
from engine.machine.probe import probe
from engine.models.folder import inspect_model
from engine.run.home import runs_home
from engine.run.launch import require_training_packages
from engine.run.layout import RunDir, check_name
from engine.run.state import RunState, list_runs, live_runs

MOST_RUNS = 9  # offered at the start
PEEK_ROWS = 20
WHOLE_BELOW = 16 * 2**20  # bytes; a larger file is read to its end by the trainer only
MODEL_CHOSEN = "model_chosen"  # as the Model screen notes it
METHODS = {
    "lora": "LoRA: small added matrices are trained; little memory, hard to break",
    "qlora": "QLoRA: the same, with the model held in 4 bits; least memory",
    "lora8": "LoRA, 8-bit: the same, with the model held in 8 bits; slower",
    "freeze": "Last layers: only the last layers are changed",
    "full": "Full: every weight is changed; most memory",
}


def run_wizard() -> int:
    """Ask, start, follow; returns the exit code."""
    print(f"finetui fine-tunes language models on this machine. {why_plain()}")
    print(HELP)
    wizard = PlainWizard()
    try:
        return wizard.home()
    except (LeaveError, EOFError, KeyboardInterrupt) as left:
        wizard.keep()
        goes_on = " Training goes on." if live_runs() else ""
        print(f"\nYour answers are kept. Go on with: finetui.{goes_on}")
        return 130 if isinstance(left, KeyboardInterrupt) else 0


@dataclass(frozen=True, slots=True)
class _Step:
    """A question or several; its name is that of the screen."""

    name: str
    title: str
    ask: Callable[[], None]


class PlainWizard:
    """The questions, one step after the other."""

    def __init__(self) -> None:
        try:
            self.draft = load_draft()
        except OSError:
            self.draft = Draft()
        self.machine: Machine | None = None
        self._rows: int | None = None
        self._started: RunDir | None = None
        self._steps = (
            _Step("machine", "Machine", self._machine),
            _Step("goal", "Goal", self._goal),
            _Step("questions", "Three questions", self._questions),
            _Step("data", "Data", self._data),
            _Step("model", "Model", self._model),
            _Step("template", "Template", self._template),
            _Step("method", "Method", self._method),
            _Step("review", "Review", self._review),
        )

    def keep(self) -> None:
        """Write the draft; a disk that cannot be written is no reason to stop."""
        with contextlib.suppress(UserError, OSError):
            save_draft(self.draft)

    # What to do

    def home(self) -> int:
        """The first menu."""
        runs = list_runs()
        begun = self.draft.step != "machine" or self.draft.goal is not None
        options: list[Option] = [
            ("continue", f"Go on with what you began; you were at: {self.draft.step}")
        ] * begun
        options += [
            ("new", "New fine-tune"),
            ("demo", "Try the demo: a tiny model learns to talk like an owl"),
        ]
        options += [(f"run:{run.name}", _run_words(run)) for run in runs[:MOST_RUNS]]
        try:
            chosen = choose("What do you want to do?", options, options[0][0])
            if chosen.startswith("run:"):
                return self._open(next(run for run in runs if f"run:{run.name}" == chosen))
        except BackError:
            raise LeaveError from None
        if chosen == "demo":
            return follow(start(plan(Draft(), probe(runs_home()))))
        if chosen == "new":
            self.draft = Draft(gpu=self.draft.gpu, price_per_hour=self.draft.price_per_hour)
        return self._through()

    def _open(self, run: RunState) -> int:
        found = RunDir(runs_home() / run.name)
        if run.state in ("paused", "stopped", "failed", "died"):
            options = [("resume", "Go on with it from its last checkpoint"), ("leave", "Leave it")]
            if choose(_run_words(run), options, "leave") != "resume":
                return self.home()
            resume(found)
        return follow(found)

    def _through(self) -> int:
        """From the step the draft stands at to the start."""
        self.machine = probe(runs_home())
        names = [step.name for step in self._steps]
        index = names.index(self.draft.step) if self.draft.step in names else 0
        while index < len(self._steps):
            step = self._steps[index]
            self.draft.step = step.name
            self.keep()
            print(f"\nStep {index + 1} of {len(self._steps)}: {step.title}")
            try:
                step.ask()
            except BackError:
                if index == 0:
                    return self.home()
                index -= 1
            except UserError as error:
                print_error(error)
                try:
                    choose("What now?", [("again", "Try again")], "again")
                except BackError:
                    index = max(0, index - 1)
            else:
                index += 1
        assert self._started is not None
        with contextlib.suppress(OSError):
            clear_draft()
        print("You can close this window; training continues. Back: finetui attach " + self._started.name)
        code = follow(self._started)
        if code == 0:
            print(f"Talk to it: finetui chat {self._started.name}")
        return code

    # The steps

    def _machine(self) -> None:
        machine = self.machine
        assert machine is not None
        for gpu in machine.gpus:
            free = (
                f"{gib(gpu.memory_free)} free of {gib(gpu.memory_total)}"
                if gpu.memory_total
                else "memory unknown"
            )
            print(
                f"{printable(gpu.label, 20)}: {printable(gpu.name, 60)}, {free}. {printable(gpu.problem or '', 200)}".rstrip()
            )
        if not machine.gpus:
            print(printable(machine.gpu_state.message, 400))
        print(f"Main memory: {gib(machine.host.ram_available)} free of {gib(machine.host.ram_total)}.")
        usable = [gpu for gpu in machine.gpus if gpu.usable]
        if len(usable) > 1:
            options = [("auto", "finetui chooses the cards")]
            options += [
                (str(gpu.index), f"Only {printable(gpu.label, 20)}, {printable(gpu.name, 60)}")
                for gpu in usable
            ]
            default = "auto" if self.draft.gpu is None else str(self.draft.gpu)
            chosen = choose("On which card?", options, default)
            self.draft.gpu = None if chosen == "auto" else int(chosen)
        price = self.draft.price_per_hour
        text = ask_until_right(
            f"Price of an hour of this machine, or Enter for {'unknown' if price is None else price}",
            "" if price is None else str(price),
            _price,
        )
        self.draft.price_per_hour = _price(text)

    def _goal(self) -> None:
        options = [(goal.id, f"{goal.title}. {goal.explanation}") for goal in GOALS]
        self.draft.goal = choose("What should the model learn?", options, self.draft.goal or GOALS[0].id)
        goal = next(goal for goal in GOALS if goal.id == self.draft.goal)
        print(f"Examples needed: {goal.data}")
        print(goal.now)

    def _questions(self) -> None:
        for question in QUESTIONS:
            default = self.draft.answers.get(question.id, question.options[0][0])
            self.draft.answers[question.id] = choose(question.text, question.options, default)
        given = {question.id: self.draft.answers[question.id] for question in QUESTIONS}
        advice = triage(Answers(**given), self.draft.goal)  # type: ignore[arg-type]
        print(VERDICT_WORDS[advice.verdict])
        for reason in advice.reasons:
            print(f"  {reason}")
        if advice.verdict != "fine-tune":
            choose("Go on all the same?", [("on", "Fine-tune anyway; nothing is lost by trying")], "on")

    def _data(self) -> None:
        default = self.draft.data_path
        shown = "the demo's data" if default == DEMO_DATA else printable(default, 200)
        path = ask_until_right(
            f"File or folder of examples, or a dataset of the Hugging Face Hub; Enter for {shown}",
            default,
            self._look_at_data,
        )
        if path != self.draft.data_path:
            for key in ("mapping", "format", "objective"):  # they were about the other file
                self.draft.settings.pop(key, None)
        self.draft.data_path = path

    def _look_at_data(self, path: str) -> None:
        self._rows = None
        spec = spec_of(path)
        if is_hub_id(spec.path):
            print("It is fetched from the Hub before the run starts, and looked at then.")
            return
        objective = choose_objective(self.draft.goal, look(spec))
        first = peek(spec, PEEK_ROWS, objective.value)
        self._rows, words = first.num_rows, f"{'' if first.exact else 'about '}{first.num_rows:,} rows"
        if first.size < WHOLE_BELOW:
            loaded = load_rows(spec, objective.value)
            self._rows, words = loaded.usable, loaded.summary()
        title = f"{first.reading.title[:1].upper()}{first.reading.title[1:]}"
        print(printable(f"{title}: {words}", 400) + "." * (not words.endswith(".")))
        for note in filter(None, (first.reading.note, *first.notes)):
            print(printable(note, 300))
        print(printable(objective.reason, 400))
        for number, row in first.examples[:1]:
            print(f"Row {number}:")
            turns = row.get("messages")
            for turn in turns if isinstance(turns, list) else [row]:
                print(
                    f"  {printable(turn.get('role', ''), 20)}: {printable(turn.get('content', turn), 500)}".replace(
                        "  : ", "  "
                    )
                )

    def _suggested(self) -> Choice[fits.Recommendation]:
        gpu = choose_gpu(self.machine, self.draft.gpu)
        free, card = (gpu.memory_free, find_card(gpu.name)) if gpu and gpu.memory_free else (None, None)
        return fits.recommend_model(free, card, self._rows, self.draft.goal or "task")

    def _model(self) -> None:
        suggestion = self._suggested()
        print(f"Suggested: {suggestion.value.model_id}. {suggestion.reason}")
        draft = self.draft
        own_data = (
            draft.data_path != DEMO_DATA and draft.model == DEMO_MODEL and MODEL_CHOSEN not in draft.answers
        )
        default = suggestion.value.model_id if own_data else draft.model
        offered = [suggestion.value.model_id, *(one.model_id for one in suggestion.alternatives[:4])]
        ids = list(dict.fromkeys([default, DEMO_MODEL, *offered]))
        options = [
            (one, "the demo model, tiny, no download" if one == DEMO_MODEL else printable(one, 100))
            for one in ids
        ]
        chosen = choose("Which model should learn it?", [*options, ("other", "Another one")], default)
        if chosen == "other":
            chosen = ask_until_right("A folder, or a name such as Qwen/Qwen3-0.6B", "", inspect_model)
        look_ahead(chosen)
        facts = inspect_model(chosen)
        advice = advise_variant(
            facts.name,
            self._rows,
            own_template=draft.chat_template == "model",
            has_template=facts.has_chat_template,
        )
        for line in (*advice.reasons, *facts.problems):
            print(printable(line, 400))
        if advice.level == "refused":
            raise UserError(
                "This model cannot be trained.",
                printable(chosen, 120),
                f"Better: {advice.better or 'another one'}.",
            )
        if chosen != draft.model:
            draft.tuning = None  # what suits one model need not suit another
        draft.model = facts.path
        draft.answers[MODEL_CHOSEN] = "yes"

    def _template(self) -> None:
        options = [("model", "The model's own, or the one finetui finds for it (recommended)")]
        options += [(one.name, one.title) for one in families() if one.available]
        wish: Literal["keep", "other"] = "keep"
        print(
            "The chat template is the recipe by which a conversation becomes one text, with marks for who speaks."
        )
        while True:
            if wish == "other":
                self.draft.chat_template = choose("Which one?", options, self.draft.chat_template)
            try:
                made = plan(self.draft, self.machine)
                require_good_template(made.config)
            except UserError as error:
                print_error(error)
                sound = False
            else:
                sound = True
                here = inspect_model(self.draft.model).folder is not None
                print(
                    "It was checked with the first rows: the model learns the answers, and when to stop."
                    if here
                    else "It is checked before the training begins, once the model is on this disk."
                )
                if (choice := made.choices.get("chat_template")) is not None:
                    print(printable(choice.reason, 300))
            keep = "Keep it" if sound else "Keep it; the run will be refused as it is"
            answer = choose(
                "Chat template:",
                [("keep", keep), ("other", "Take another one")],
                "keep" if sound else "other",
            )
            if answer == "keep":
                return
            wish = "other"

    def _method(self) -> None:
        suggested = suggest_tuning(self.draft, self.machine)
        title = METHODS[suggested.value].partition(":")[0]
        words = f"finetui chooses: {title}. {printable(suggested.reason, 300)}"
        options = [("auto", words), *((name, METHODS[name]) for name in METHODS if name in TUNINGS)]
        chosen = choose("How should it be trained?", options, self.draft.tuning or "auto")
        self.draft.tuning = None if chosen == "auto" else chosen
        self._settings()

    def _settings(self) -> None:
        """Any setting of run.yaml by its name, until Enter."""
        print(
            "Every setting is chosen already. To change one, type its name and value, such as: num_train_epochs 2"
        )
        while text := ask("Setting and value, or Enter to go on"):
            key, _, value = text.partition(" ")
            if key not in keys():
                print(f"There is no setting {printable(key, 60)!r}. docs/settings.md lists them all.")
                continue
            before = dict(self.draft.settings)
            self.draft.settings.pop(key, None)
            if value.strip():
                self.draft.settings[key] = value.strip()
            try:
                plan(self.draft, self.machine)
            except UserError as error:
                self.draft.settings = before
                print_error(error)
            else:
                print(f"{key} is {printable(value.strip(), 60) or 'chosen by finetui again'}.")

    def _review(self) -> None:
        while True:
            if is_hub_id(spec_of(self.draft.data_path).path):
                fetch_data(plan(self.draft, self.machine).config)
            made = plan(self.draft, self.machine)
            self._tell(made)
            doubts = refusals(made)
            for doubt in doubts:
                print_error(doubt)
            options = [
                ("start", "Start anyway" if doubts else "Start"),
                ("yaml", "Read run.yaml, with the reasons"),
            ]
            options += [("name", "Another name"), ("settings", "Change a setting")]
            chosen = choose("Ready?", options, "settings" if doubts else "start")
            if chosen == "yaml":
                print(made.yaml, end="")
            elif chosen == "name":
                self.draft.name = ask_until_right("Name of the run", made.name, check_name)
            elif chosen == "settings":
                self._settings()
            else:
                require_training_packages()
                look_ahead(made.config.model.model_name_or_path, made.config.model.model_revision)
                self._started = start(made, anyway=bool(doubts))
                return

    def _tell(self, made: Plan) -> None:
        config = made.config
        print(
            f"Run {made.name}: {printable(config.model.model_name_or_path, 120)}, {config.method.objective}, {config.method.tuning}."
        )
        print(f"Data: {printable(config.data.train[0].path, 200)}. {printable(made.lengths, 200)}")
        print(printable(made.fit.sentence if made.fit else made.fit_unknown, 400))
        for line in made.budget.lines() if made.budget else ():
            print(printable(line, 200))
        print(f"The same from the command line: {made.command}")


def _price(text: str) -> float | None:
    if not text:
        return None
    try:
        price = float(text.replace(",", ".").lstrip("$"))
    except ValueError:
        price = -1.0
    if not 0 <= price < 1e6:
        raise UserError(
            "This is no price.", printable(text, 40), "Type a number such as 1.20, or Enter alone."
        )
    return price


def _run_words(run: RunState) -> str:
    parts = [
        f"{printable(run.name, 80)}: {printable(run.words if run.words else run.state, 200).rstrip('.')}"
    ]
    parts += [f"step {run.step:,} of {run.max_steps:,}"] if run.max_steps else []
    parts += [f"loss {run.loss:.3g}"] if run.loss is not None else []
    return ", ".join(parts)
