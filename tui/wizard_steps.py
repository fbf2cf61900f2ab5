"""The steps of the wizard in order, and the screen of each page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screens.wizard import WizardStep

TITLES = ("Machine", "Goal", "Data", "Model", "Template", "Method", "Review")
# Every page with the index of its title: a step may take more than one page.
PAGES = {
    "machine": 0,
    "goal": 1,
    "questions": 1,
    "data": 2,
    "model": 3,
    "template": 4,
    "method": 5,
    "review": 6,
}
STEPS = tuple(PAGES)


def step_screen(step: str) -> WizardStep:
    """A new screen for a page; each is imported when it is first needed, which keeps the first screen fast."""
    match step:
        case "goal":
            from tui.screens.goal import GoalScreen

            return GoalScreen()
        case "questions":
            from tui.screens.questions import QuestionsScreen

            return QuestionsScreen()
        case "data":
            from tui.screens.data import DataScreen

            return DataScreen()
        case "model":
            from tui.screens.model import ModelScreen

            return ModelScreen()
        case "template":
            from tui.screens.template import TemplateScreen

            return TemplateScreen()
        case "method":
            from tui.screens.method import MethodScreen

            return MethodScreen()
        case "review":
            from tui.screens.review import ReviewScreen

            return ReviewScreen()
    from tui.screens.machine import MachineScreen

    return MachineScreen()


def title_of(step: str) -> str:
    """The title of the step a page belongs to."""
    return TITLES[PAGES.get(step, 0)]
