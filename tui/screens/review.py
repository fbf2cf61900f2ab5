"""Review: exactly what will run, and the command that does the same."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.advise import reward_examples
from engine.advise.objectives import OBJECTIVES
from engine.config.draft import DEMO_DATA, DEMO_MODEL, Plan, plan
from engine.data.forms import PromptOnly
from engine.display import gib, printable
from engine.errors import UserError
from engine.run.layout import check_name
from tui.keymap import bindings
from tui.screens.wizard import Body, WizardStep
from tui.text import hanging, stack
from tui.tuning import MARKS, advice_sentence, apply_advice
from tui.widgets.memory_bar import MemoryBar

LOW = 30  # rows below which blank lines are left out


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
        self._asked = False
        self._scores: list[str] = []
        self._broken_reward: UserError | None = None

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Putting it together ...", "$muted"), id="summary", markup=False)
        yield Static("", id="memory", markup=False)
        yield MemoryBar(id="bar")
        with VerticalScroll(id="yaml"):
            yield Static("", id="budget", markup=False)
            yield Static("", id="rewards", markup=False)
            yield Static("", id="yaml-text", markup=False)

    def ready(self) -> None:
        self.key_line.relabel(wizard_next="start")
        self.query_one("#yaml").focus()
        self._fit_box()
        self._make_plan()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < LOW, "-low")
        self._tell()

    def _fit_box(self) -> None:
        """What the lines above leave of the screen, so that run.yaml alone scrolls."""
        above = sum(self.query_one(name).outer_size.height for name in ("#summary", "#memory", "#bar"))
        box = self.query_one("#yaml")
        room = (
            self.query_one(Body).size.height
            - above
            - box.styles.margin.height
            - (0 if self.has_class("-low") else 1)
        )
        box.styles.height = max(6, room)

    def _make_plan(self) -> None:
        draft, machine = self.draft, self.the_app.machine
        self.in_background(lambda: plan(draft, machine), self._planned, "plan")

    def _planned(self, result: Plan) -> None:
        self._plan = result
        self._tell()
        if OBJECTIVES[result.config.method.objective].form is PromptOnly:
            self.in_background(
                lambda: reward_examples.example_scores(result.config), self._scored, "rewards", self._unscored
            )
        if self._starting:
            self._start()

    def _tell(self) -> None:
        if self._plan is None:
            return
        width = self.size.width - 4
        self.query_one("#summary", Static).update(_summary(self._plan, width))
        fit = self._plan.fit
        memory, bar, budget = (
            self.query_one("#memory", Static),
            self.query_one(MemoryBar),
            self.query_one("#budget", Static),
        )
        memory.update(_memory(self._plan, width, short=self.has_class("-low")))
        memory.display = bool(fit or self._plan.fit_unknown)
        bar.show(fit.prediction if fit else None, fit.free if fit else 0)
        inside = max(40, width - 4)  # of the box, beside its scroll bar
        lines = self._plan.budget.lines(min(inside, 100)) if self._plan.budget is not None else []
        budget.update(stack(*(printable(line, 200) for line in lines), ""))
        budget.display = bool(lines)
        scores = self.query_one("#rewards", Static)
        # A table is cut at the edge, a message goes on in the next line.
        limit = inside - 3 if self._broken_reward is None else 400
        scores.update(stack(*(printable(line, limit) for line in self._scores), ""))
        scores.display = bool(self._scores)
        self.query_one("#yaml-text", Static).update(yaml_content(self._plan.yaml))
        self.call_after_refresh(self._fit_box)

    def _scored(self, examples: list[reward_examples.Scored]) -> None:
        self._broken_reward, self._scores = None, reward_examples.lines(examples)
        self._tell()

    def _unscored(self, error: UserError) -> None:
        self._broken_reward, self._scores = error, [f"✗ {error.what}", error.where, error.fix]
        self._tell()

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
        made = self._plan
        if made is None:
            return
        doubts = [] if self._asked else _doubts(made, self._broken_reward)
        if doubts:
            self._ask(made, doubts)
            return
        self.notice.say("Starting ...")
        self.the_app.start_plan(self, made, from_draft=True, anyway=self._asked)

    def _ask(self, made: Plan, doubts: list[str]) -> None:
        """A start that is likely to fail is asked for twice."""
        from tui.screens.confirm import ConfirmScreen

        title, *sentences = doubts
        options = [("back", "Do not start"), ("start", "Start anyway")]
        if made.fit is not None and made.fit.advice is not None and made.fit.advice.prediction is not None:
            options.insert(0, ("fit", "Make it fit first"))
        self.app.push_screen(ConfirmScreen(f"{title} Start anyway?", sentences, options), self._answered)

    def _answered(self, answer: str | None) -> None:
        self._starting = False
        advice = self._plan.fit.advice if self._plan and self._plan.fit else None
        if answer == "start":
            self._asked = self._starting = True
            self._start()
        elif answer == "fit" and advice is not None:
            apply_advice(self.draft, advice)
            self.keep_draft()
            self._make_plan()

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


def _doubts(made: Plan, broken_reward: UserError | None = None) -> list[str]:
    """What speaks against starting: a title, and a sentence for each reason; nothing where all is well."""
    found: list[str] = []
    if made.fit is not None and made.fit.verdict != "fits":
        likely = "will most likely" if made.fit.verdict == "no" else "may"
        found += [f"It {likely} run out of memory.", printable(made.fit.sentence, 400)]
        if made.fit.advice is not None:
            found.append(advice_sentence(made.fit.advice))
    problems = [*(made.budget.problems if made.budget is not None else ())]
    problems += [broken_reward] if broken_reward is not None else []
    if problems and not found:
        found.append("It will most likely fail.")
    return found + [printable(f"{problem.what} {problem.fix}", 300) for problem in problems]


def _memory(made: Plan, width: int, short: bool) -> Content:
    """Whether it fits; only the numbers where the screen is low and it does."""
    if made.fit is None:
        return hanging(" ", "", printable(made.fit_unknown, 300), width, "$muted")
    mark, style = MARKS[made.fit.verdict]
    sentence = printable(made.fit.sentence, 400)
    if short and made.fit.verdict == "fits":
        sentence = (
            f"It fits: at most {gib(made.fit.prediction.smi.p95)} of the {gib(made.fit.free)} that are free."
        )
    lines = [hanging(mark, f"bold {style}", sentence, width)]
    if made.fit.advice is not None:
        lines.append(hanging("→", "bold $primary", advice_sentence(made.fit.advice), width))
    return stack(*lines)


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
