"""Pictures of the monitor, in every state of a run, and of its panels and dialogs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.captures.stage import COMPACT, Stage, shown, the
from tests.captures.told import ToldRun
from tests.captures.tours import tour
from tests.machine.builders import CARD, machine
from tests.tui.pilot import Screens

NAME = "support-qwen3-8b"
PANELS = ("loss", "objective", "rate", "memory", "gpu", "speed", "samples", "events", "log")
LOG = """\
15:00:01 INFO Loading the model Qwen/Qwen3-8B.
`torch_dtype` is deprecated! Use `dtype` instead!
Loading checkpoint shards: 100%|##########| 5/5 [00:08<00:00,  1.7s/it]
15:00:22 INFO 43,646,976 of 8,234,382,336 weights are trained (0.53 %).
15:00:23 WARNING a line with \x1b[31mcolour\x1b[0m and 中文 in it
15:00:31 INFO {'loss': 2.2143, 'grad_norm': 1.031, 'learning_rate': 3.5e-06, 'epoch': 0.003}
"""


@asynccontextmanager
async def watching(stage: Stage, run: ToldRun, live: bool = True) -> AsyncIterator[Screens]:
    """The monitor of a run, all of its events read, and everything that is worked out from them."""
    stage.machine = machine(CARD)
    stage.now = run.t + (2 if live else 600)
    run.run.log.write_text(LOG)
    if live:
        run.come_alive()
    try:
        async with stage.app("monitor", run.run.name) as screens:
            await until_read(screens)
            yield screens
    finally:
        run.die()


async def until_read(screens: Screens) -> None:
    """Wait until all events are read, and what was expected of the run is known."""
    for _ in range(500):
        monitor = the(screens)
        known = monitor._expected is not None or not monitor.model.training or not monitor.model.hardware.gpus
        if not monitor.watch_run.behind and known:
            return
        await screens.settle()
        await screens.pilot.pause(0.02)
    raise AssertionError(screens.text)


def middle(name: str = NAME, method: str = "SFT, QLoRA 4-bit", ended: float = 0.0) -> ToldRun:
    """A run that is healing and learning well, a third of the way."""
    run = ToldRun(name, 1128, 412, ended, method=method)
    run.price()
    run.load()
    return run


@tour(
    "monitor", *(f"monitor-{panel}" for panel in PANELS), "monitor-cursor", "monitor-frozen", "monitor-zoomed", "stop", "pause",
    "monitor-asked", "help-monitor",
    main=("monitor", "monitor-frozen"), more={"monitor": (COMPACT,)},
)  # fmt: skip
async def monitor_running(stage: Stage) -> None:
    run = middle()
    run.learn(heal=230)
    async with watching(stage, run) as screens:
        await shown(screens, "step 412 of 1,128")
        await stage.take(screens, "monitor", COMPACT)
        for number, panel in enumerate(PANELS, 1):
            await screens.press(str(number))
            await stage.take(screens, f"monitor-{panel}")
        await screens.press("escape", "space", "left", "left", "left")
        await stage.take(screens, "monitor-frozen")
        await screens.press("space")
        await stage.take(screens, "monitor-cursor")
        await screens.press("escape", "z", "y")
        await stage.take(screens, "monitor-zoomed")
        await screens.press("0", "x")
        await stage.take(screens, "stop")
        await screens.press("escape", "p")
        await stage.take(screens, "pause")
        await screens.press("escape", "c", "enter")
        await stage.take(screens, "monitor-asked")
        await screens.press("question_mark")
        await stage.take(screens, "help-monitor")


@tour("monitor-starting", "monitor-nan", "monitor-no-gpu", more={"monitor-starting": (COMPACT,)})
async def monitor_odd(stage: Stage) -> None:
    run = middle("starting")
    async with watching(stage, run) as screens:
        await stage.take(screens, "monitor-starting", COMPACT)
    run = middle("rate-too-high", method="SFT, LoRA")
    run.learn(1, 60)
    run.step(61, loss=float("inf"))
    run.step(62, loss=float("nan"))
    async with watching(stage, run) as screens:
        await shown(screens, "not a number")
        await stage.take(screens, "monitor-nan")
    run = middle("on-the-processor", method="SFT, LoRA")
    run.train()
    for step in range(1, 41):
        run.t += 6
        run.steps(step, step)
        run.memory()
    async with watching(stage, run) as screens:
        await stage.take(screens, "monitor-no-gpu")


@tour(
    "monitor-paused",
    "monitor-stopped",
    "monitor-died",
    "monitor-failed",
    "monitor-finished",
    "resume",
    main=("monitor-finished",),
    more={"monitor-died": (COMPACT,)},
)
async def monitor_ended(stage: Stage) -> None:
    for state, cause in (
        ("paused", "Paused at step 412; a checkpoint is saved and the GPU is free."),
        ("stopped", "Stopped at step 412 as asked; a checkpoint is saved."),
        ("died", "The trainer was killed (SIGKILL). Most often the machine ran out of memory (RAM)."),
        ("failed", "No space left on the disk."),
    ):
        run = middle(f"{state}-run", ended=600)
        run.learn()
        if state == "failed":
            run.say(
                "failure",
                what=cause,
                where=f"/home/you/.finetui/runs/{state}-run/checkpoints",
                fix="Free some space, or keep fewer checkpoints: save_total_limit.",
                phase="training",
            )
        run.over(state, cause)
        async with watching(stage, run, live=False) as screens:
            await stage.take(screens, f"monitor-{state}", *((COMPACT,) if state == "died" else ()))
            if state == "died":
                await screens.press("r")
                await stage.take(screens, "resume")
    run = ToldRun("finished-run", 300, 300, 600)
    run.price()
    run.load()
    run.learn()
    run.complete()
    async with watching(stage, run, live=False) as screens:
        await stage.take(screens, "monitor-finished")


@tour(
    "monitor-dpo", "monitor-dpo-objective", "monitor-grpo", "monitor-grpo-objective", main=("monitor-grpo",)
)
async def monitor_objectives(stage: Stage) -> None:
    run = middle("dpo-support", method="DPO, QLoRA 4-bit")
    run.learn(
        extra={
            "rewards/accuracies": lambda share, noise: round(min(1.0, 0.5 + share + noise.gauss(0, 0.03)), 3),
            "rewards/margins": lambda share, noise: round(3 * share + noise.gauss(0, 0.1), 3),
            "rewards/chosen": lambda share, noise: round(share + noise.gauss(0, 0.05), 3),
            "rewards/rejected": lambda share, noise: round(-2 * share + noise.gauss(0, 0.05), 3),
        }
    )
    async with watching(stage, run) as screens:
        await stage.take(screens, "monitor-dpo")
        await screens.press("2")
        await stage.take(screens, "monitor-dpo-objective")
    run = middle("grpo-sums", method="GRPO, QLoRA 4-bit")
    run.learn(
        extra={
            "reward": lambda share, noise: round(min(1.0, 0.2 + share + noise.gauss(0, 0.05)), 3),
            "reward_std": lambda share, noise: round(0.4 - share / 2 + abs(noise.gauss(0, 0.02)), 3),
            "rewards/numeric/mean": lambda share, noise: round(
                min(1.0, 0.2 + share + noise.gauss(0, 0.05)), 3
            ),
            "completions/mean_length": lambda share, noise: round(180 + 300 * share + noise.gauss(0, 9), 1),
            "kl": lambda share, noise: round(0.02 * share + abs(noise.gauss(0, 0.001)), 4),
            "frac_reward_zero_std": lambda share, noise: round(min(0.9, share), 3),
        }
    )
    async with watching(stage, run) as screens:
        await stage.take(screens, "monitor-grpo")
        await screens.press("2")
        await stage.take(screens, "monitor-grpo-objective")
