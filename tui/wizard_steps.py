"""The steps of the wizard in order, and the screen of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screens.wizard import WizardStep

STEPS = ("machine", "goal", "data", "model", "template", "method", "review")
TITLES = tuple(step.capitalize() for step in STEPS)


def step_screen(step: str) -> WizardStep:
    """A new screen for a step; each is imported when it is first needed, which keeps the first screen fast."""
    match step:
        case "goal":
            from tui.screens.goal import GoalScreen

            return GoalScreen()
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
