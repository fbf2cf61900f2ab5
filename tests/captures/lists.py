"""Pictures of the list of runs, and of what is done with it."""

from __future__ import annotations

from engine.run import sweeps
from tests.captures.stage import DAY, Stage, shown, the
from tests.captures.told import ToldRun
from tests.captures.tours import tour
from tests.machine.builders import CARD, machine
from tests.tui.pilot import Screens


@tour("home-empty", "help-home", main=("home-empty",))
async def home_empty(stage: Stage) -> None:
    async with stage.app() as screens:
        await stage.take(screens, "home-empty")
        await screens.press("question_mark")
        await stage.take(screens, "help-home")


def runs() -> list[ToldRun]:
    """One run in each state, and a sweep; those that go on hold their locks until they `die`."""
    live = ToldRun("support-qwen3-8b", 1128, 240)
    live.load()
    live.learn()
    live.come_alive()
    silent = ToldRun("poems-gemma", 600, 90, 410, model="google/gemma-3-4b-it", method="SFT, LoRA")
    silent.load()
    silent.learn()
    silent.come_alive()
    loading = ToldRun("loading-run", 500, 0, -60, method="DPO, LoRA", model="深度求索/客服-🦉-7b")
    loading.load()
    loading.come_alive()
    for name, state, cause, steps in (
        ("paused-at-night", "paused", "Paused at step 180; a checkpoint is saved and the GPU is free.", 180),
        (
            "a-very-long-name-that-somebody-gave-to-a-run-of-august-2025",
            "stopped",
            "Stopped at step 120 as asked; a checkpoint is saved.",
            120,
        ),
        ("rank-64", "failed", "No space left on the disk of the run.", 60),
        (
            "rank-128",
            "died",
            "The trainer was killed (SIGKILL). Most often the machine ran out of memory (RAM).",
            33,
        ),
    ):
        run = ToldRun(name, 300, steps, DAY / 2 + 3600 * steps / 60)
        run.load()
        run.learn()
        run.over(state, cause)
    done = ToldRun("support-qwen3-1.7b", 300, 300, 2 * DAY, 1.4, model="Qwen/Qwen3-1.7B", method="SFT, LoRA")
    done.load()
    done.learn()
    done.complete()
    broken = ToldRun("rate-too-high", 300, 40, 3 * DAY)
    broken.load()
    broken.learn(1, 38)
    for step in (39, 40):
        broken.step(step, loss=float("nan"))
    broken.over("stopped", "Stopped at step 40 as asked; a checkpoint is saved.")
    entries = []
    for number, rate in enumerate(("1e-4", "3e-4"), 1):
        one = ToldRun(f"rates-{number}", 200, 200, 5 * DAY - number * 3600, 2.0, rate=rate)
        one.load()
        one.learn(fall=60.0 / number)
        one.complete()
        entries.append(sweeps.Entry(one.run.name, {"learning_rate": rate}, outcome="finished"))
    sweeps.create("rates")
    sweeps.write(sweeps.Sweep("rates", tuple(entries)))
    return [live, silent, loading]


@tour(
    "home",
    "home-run",
    "home-sweep",
    "home-marked",
    "home-find",
    "home-delete",
    "curves",
    "curves-two",
    "pick-run",
    main=("home", "home-run", "curves"),
)
async def home(stage: Stage) -> None:
    stage.machine = machine(CARD)
    alive = runs()
    try:
        async with stage.app() as screens:
            await stage.take(screens, "home")
            await at(screens, "rank-128")
            await stage.take(screens, "home-run")
            await screens.press("D")
            await shown(screens, "Delete rank-128?")
            await stage.take(screens, "home-delete")
            await screens.press("escape")
            await at(screens, "rates ")
            await screens.press("enter")
            await stage.take(screens, "home-sweep")
            await screens.press("c")
            await read(screens)
            await stage.take(screens, "curves-two")
            await screens.press("escape")
            await at(screens, "support-qwen3-1.7b")
            await screens.press("space")
            await at(screens, "support-qwen3-8b")
            await screens.press("space")
            await at(screens, "poems-gemma")
            await screens.press("space")
            await stage.take(screens, "home-marked")
            await screens.press("c")
            await read(screens)
            await stage.take(screens, "curves")
            await screens.press("escape", "escape", "slash")
            await screens.type("qwen")
            await stage.take(screens, "home-find")
            await screens.press("escape")
            await at(screens, "support-qwen3-1.7b")
            await screens.press("enter")
            await screens.press("o")
            await shown(screens, "Compare with which run?")
            await stage.take(screens, "pick-run")
    finally:
        for run in alive:
            run.die()


async def read(screens: Screens) -> None:
    """Wait until the screen that compares runs has read them."""
    await shown(screens, "runs side by side", "peak memory")
    while any(watch.behind for watch in the(screens)._watches):
        await screens.settle()


async def at(screens: Screens, words: str) -> None:
    """Mark the line of a run."""
    await screens.press("home")
    for _ in range(30):
        line = next((line for line in screens.lines if line.startswith(("▸", " ▸", ">", " >"))), "")
        if words in line:
            return
        await screens.press("down")
    raise AssertionError(f"{words} is not there:\n{screens.text}")
