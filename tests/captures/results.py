"""Pictures of what comes after training: the result, chatting, comparing, evaluating, exporting, taking home."""

from __future__ import annotations

from textual.screen import Screen
from textual.widgets import Input

from engine.deliver.evaluate import report
from engine.deliver.export_choices import Room
from engine.deliver.take_home import Remote
from tests.captures.scripted import NAME, SIZES, Exporting, Scripted, choices, evaluation, finished
from tests.captures.stage import Stage, shown
from tests.captures.told import QUESTIONS
from tests.captures.tours import tour
from tests.deliver.chat_runs import made_run
from tests.tui.pilot import Screens


async def opened(screens: Screens, screen: Screen[None]) -> None:
    screens.app.push_screen(screen)
    await screens.settle()


@tour(
    "chat-empty",
    "chat",
    "chat-beside",
    "chat-settings",
    "chat-model",
    "compare",
    "compare-next",
    main=("chat", "chat-beside", "compare"),
)
async def chat(stage: Stage) -> None:
    from tui.screens.chat import ChatScreen
    from tui.screens.compare import CompareScreen

    stage.patch.setattr("engine.deliver.talk.Worker", Scripted)
    stage.patch.setattr("engine.deliver.compare.Worker", Scripted)
    run = made_run(NAME)
    async with stage.app() as screens:
        await opened(screens, ChatScreen(run, (None,)))
        await stage.take(screens, "chat-empty")
        for question in (QUESTIONS[0][0], QUESTIONS[2][0]):
            screens.app.screen.query_one(Input).value = question
            await screens.press("enter")
        await stage.take(screens, "chat")
        await screens.press("tab", "s")
        await stage.take(screens, "chat-settings")
        await screens.press("escape", "b")
        await stage.take(screens, "chat-model")
        await screens.press("enter")
        screens.app.screen.query_one(Input).value = QUESTIONS[1][0]
        screens.app.screen.query_one(Input).focus()
        await screens.press("enter")
        await shown(screens, "return policy")
        await stage.take(screens, "chat-beside")
        await screens.press("escape")
        await opened(screens, CompareScreen(run))
        await shown(screens, "question 1 of 3")
        await stage.take(screens, "compare")
        await screens.press("n")
        await stage.take(screens, "compare-next")


@tour(
    "export", "export-adapter", "export-working", "export-proof", "export-failed", "take-home", "take-home-none", "take-home-ask", "done",
    "done-exported", "help-done",
    main=("export", "export-proof", "take-home", "done"),
)  # fmt: skip
async def after(stage: Stage) -> None:
    from tui.screens.done import DoneScreen
    from tui.screens.export import ExportScreen
    from tui.screens.take_home import TakeHomeScreen

    patch = stage.patch
    patch.setattr("tui.screens.take_home.this_machine", lambda: Remote("you", "203.0.113.7", 22022))
    patch.setattr("engine.deliver.take_home.shutil.which", lambda name: f"/usr/bin/{name}")
    patch.setattr("tui.screens.export.Exporting", Exporting)
    patch.setattr("tui.screens.export.quant_sizes", lambda run: SIZES)
    patch.setattr(
        "tui.screens.export.room_for",
        lambda run, target, quants: Room(
            41_000_000_000, 322_000_000_000, "the merged model in bfloat16 and the new files"
        ),
    )
    patch.setattr("tui.screens.export.choices_of", choices)
    run = finished().run
    async with stage.app() as screens:
        await opened(screens, DoneScreen(run))
        await shown(screens, "not yet")
        await stage.take(screens, "done")
        await screens.press("question_mark")
        await stage.take(screens, "help-done")
        await screens.press("escape")
        await opened(screens, TakeHomeScreen(run))
        await stage.take(screens, "take-home-none")
        await screens.press("escape")
        await opened(screens, ExportScreen(run))
        await stage.take(screens, "export-adapter")
        while the_form(screens) != "gguf":
            await screens.press("down")
        await stage.take(screens, "export")
        Exporting.go_on.clear()
        Exporting.good = False
        await screens.pilot.press("enter")
        await stage.take(screens, "export-working", wait_for="Making Q4_K_M", busy=True)
        Exporting.go_on.set()
        await shown(screens, "DIFFERS")
        await stage.take(screens, "export-failed")
        await screens.press("escape")
        for file in (run.exports / "gguf").iterdir():
            file.unlink()
        (run.exports / "gguf").rmdir()
        patch.setattr("tui.screens.export.choices_of", choices)
        Exporting.good = True
        while the_form(screens) != "gguf":
            await screens.press("down")
        await screens.press("enter")
        if screens.at == "ConfirmScreen":
            await screens.press("enter")
        await shown(screens, "Exported")
        await stage.take(screens, "export-proof")
        await screens.press("t")
        await stage.take(screens, "take-home")
        await screens.press("h")
        await stage.take(screens, "take-home-ask")
        await screens.press("escape", "escape", "escape", "escape")
        assert screens.at == "DoneScreen", screens.at
        await stage.take(screens, "done-exported")


def the_form(screens: Screens) -> str | None:
    """The form that is marked on the export screen."""
    found: str | None = screens.app.screen._target  # type: ignore[attr-defined]
    return found


@tour("evaluate", "evaluate-row", "evaluate-none", main=("evaluate",))
async def evaluate(stage: Stage) -> None:
    from tui.screens.evaluate import EvaluateScreen

    run = finished().run
    good = [
        "The trained model is better: token F1 went from 21.2 % to 77.4 %.",
        "With 95 % certainty the change is between 48.2 and 64.2 points.",
    ]
    report.save(run, evaluation("better", good))
    async with stage.app() as screens:
        await opened(screens, EvaluateScreen(run))
        await shown(screens, "The trained model is better")
        await stage.take(screens, "evaluate")
        await screens.press("n")
        await stage.take(screens, "evaluate-row")
        await screens.press("escape")
        report.saved(run)[0].unlink()
        report.save(
            run,
            evaluation(
                "identical",
                [
                    "Identical: training had no effect at all.",
                    "The learning rate is most likely far too low.",
                ],
            ),
        )
        await opened(screens, EvaluateScreen(run))
        await shown(screens, "Identical")
        await stage.take(screens, "evaluate-none")
