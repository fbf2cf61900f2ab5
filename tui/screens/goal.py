"""Goal: what the model should learn, in plain words."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.advise.goals import GOALS, Goal, find_goal
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList

EXPLAIN_ALL = 30  # rows from which every goal has room for its explanation


class GoalScreen(WizardStep):
    """Which of the five things people want it is."""

    STEP = "goal"
    KEY_GROUPS = ("wizard", "list", "goal")
    BINDINGS = bindings("wizard", "goal")
    HELP = """\
Fine-tuning is good at how a model answers: its tone, its format, its skill at one task. It is less good at facts \
that must be exact or that change; those are better looked up at the moment of the question, which is called \
retrieval or RAG. The next page asks three questions and says which serves you better."""

    def question(self) -> ComposeResult:
        yield Static(Content.styled("What should the model learn?", "bold"), classes="asked")
        yield ChoiceList()
        yield Static("", id="about", markup=False)

    def ready(self) -> None:
        self._fill(self.draft.goal)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._about(GOALS[event.option_index])

    def on_resize(self) -> None:
        self._fill(self._marked().id)
        self._about(self._marked())

    def _fill(self, chosen: str | None) -> None:
        explained = self.size.height >= EXPLAIN_ALL
        options = [Option(_option(goal, self.size.width - 5, explained), id=goal.id) for goal in GOALS]
        self.query_one(ChoiceList).fill(options, chosen)

    def _marked(self) -> Goal:
        return find_goal(self.query_one(ChoiceList).chosen or "") or GOALS[0]

    def _about(self, goal: Goal) -> None:
        width = self.size.width - 4
        mark, style = ("✓", "bold $success") if goal.trainable_now else ("!", "bold $warning")
        lines = [
            hanging("→", "bold $primary", f"Examples needed: {goal.data}", width),
            hanging(mark, style, goal.now, width),
        ]
        if self.size.height < EXPLAIN_ALL:
            lines[:0] = [hanging(" ", "", goal.explanation, width), Content("")]
        about = stack(*lines)
        self.query_one("#about", Static).update(about)

    def accept(self) -> bool:
        self.draft.goal = self._marked().id
        return True


def _option(goal: Goal, width: int, explained: bool) -> Content:
    title = Content.styled(goal.title, "bold")
    return stack(title, hanging(" ", "", goal.explanation, width)) if explained else title
