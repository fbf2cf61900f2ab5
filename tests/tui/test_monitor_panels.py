"""The panels of the monitor on the whole screen, going back in time, and another run beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from engine.machine import Machine
from engine.run import atomic
from tests.machine.builders import CARD as A_CARD
from tests.machine.builders import machine
from tests.tui.made_runs import CARD, MadeRun
from tests.tui.pilot import Screens, running
from tui.screens.monitor import MonitorScreen
from tui.widgets.line_chart import LineChart

DPO = "DPO, LoRA"
QWEN = """\
model: {model_name_or_path: Qwen/Qwen3-8B, load_in_4bit: true, dtype: bfloat16}
data: {train: [{path: support.jsonl}]}
training: {max_length: 2048, per_device_train_batch_size: 4}
"""


pytestmark = pytest.mark.usefixtures("fast_monitor")


@pytest.fixture
def made() -> Iterator[MadeRun]:
    """A live run that tells everything there is."""
    run = MadeRun("owl")
    run.come_alive()
    run.begin()
    run.writer.emit("phase", phase="loading", words="Loading.", method=DPO)
    question = {"prompt": "What do owls eat?", "stopped": True}
    run.writer.emit("sample", when="before", step=0, text="I do not know.", **question)
    run.train()
    run.evaluate(0, 3.0)
    for step in range(1, 101):
        share = 0.5 + step / 250
        run.step(
            step, **{"rewards/accuracies": share, "rewards/chosen": share, "rewards/\x1b[31mevil/mean": 0.1}
        )
    run.evaluate(100, 1.05)
    run.memory(CARD, torch_allocated=10 * 2**30, torch_reserved=11 * 2**30, torch_peak_allocated=11 * 2**30)
    for step in (40, 80):
        run.writer.emit("sample", when="during", step=step, text=f"Mice at {step}.", **question)
    yield run
    run.die()


def screen(screens: Screens) -> MonitorScreen:
    found = screens.app.screen
    assert isinstance(found, MonitorScreen)
    return found


SIZES = ((80, 24), (200, 50), (59, 15))


@pytest.mark.parametrize("sizes", [SIZES, pytest.param([(120, 40)], marks=pytest.mark.thorough)])
async def test_each_digit_fills_the_screen_with_a_panel(
    made: MadeRun, sizes: Sequence[tuple[int, int]]
) -> None:
    made.run.log.write_text("hello from the trainer\n")
    async with running(*sizes[0], "monitor", "owl") as screens:
        for size in sizes:
            await screens.pilot.resize_terminal(*size)
            for key, wanted in (
                ("1", "on what it learns from" if size[0] > 59 else "on what it"), ("2", "pairs where the"),
                ("3", "gradient norm"), ("4", "allocated"), ("5", "97 % busy"),
                ("6", "tokens per second, mean of"), ("7", "samples: step 80, 2 of 2 times asked"), ("8", "events, newest first"),
                ("9", "hello from the trainer"),
            ):  # fmt: skip
                await screens.pilot.press(key)
                await screens.until(lambda wanted=wanted: wanted in screens.text, f"{key} at {size}")  # type: ignore[misc]
                assert "Esc back" in screens.text
                assert len(screens.lines) == size[1]
                assert max(map(len, screens.lines)) <= size[0]
                assert "\x1b" not in screens.text
            await screens.press("9")
            assert "Esc back" not in screens.text


async def test_brackets_go_through_the_panels_and_escape_goes_back(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        seen = []
        for _ in range(10):
            await screens.pilot.press("right_square_bracket")
            seen.append(screen(screens).panel)
        assert seen[0] == seen[9] == "loss"
        assert len(set(seen)) == 9
        await screens.pilot.press("left_square_bracket")
        assert screen(screens).panel == "log"
        await screens.press("escape")
        assert screen(screens).panel is None
        assert "1-9 panels" in screens.text


async def test_the_objectives_numbers_are_chosen_from_in_words(made: MadeRun) -> None:
    async with running(120, 40, "monitor", "owl") as screens:
        assert "─ pairs ranked right ─" in screens.text
        await screens.press("2")
        assert "▸    0.504 → 0.9" in screens.text
        assert "↑ pairs where the better answer scores higher" in screens.text
        assert "mean of the reward \\x1b[31mevil" in screens.text
        await screens.press("down")
        assert "╭─ better answers ─" in screens.text
        await screens.press("escape")
        assert "─ better answers ─" in screens.text


async def test_the_cursor_reads_all_curves_at_one_moment(made: MadeRun) -> None:
    async with running(200, 50, "monitor", "owl") as screens:
        await screens.press("left", "left")
        head = screens.lines[2]
        assert head.strip().startswith("┊ step 9")
        for wanted in ("train 1.", "eval 1.05", "pairs ranked right 0.8", "used 12.4"):
            assert wanted in head
        cursors = {
            chart.id: [mark.x for mark in chart.data.marks if mark.kind == "cursor"]
            for chart in screens.app.screen.query(LineChart)
            if chart.display and chart.id in ("loss", "memory", "rate")
        }
        assert all(cursors.values())
        assert cursors["loss"] == cursors["rate"]
        await screens.press("4", "left")
        assert screens.lines[2].strip().startswith("┊ step")
        await screens.press("escape", "escape")
        assert "┊" not in screens.lines[2]
        assert screens.at == "MonitorScreen"


async def test_zooming_goes_to_the_cursor_and_the_window_moves(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        chart = screens.app.screen.query_one("#loss", LineChart)
        await screens.press("less_than_sign")
        assert "z shows a part" in screens.one_line
        await screens.pilot.press("escape", *["left"] * 12)
        await screens.settle()
        at = screen(screens).view.cursor
        assert at is not None
        await screens.press("z")
        window = chart.data.x_range
        assert window is not None
        assert window[0] <= at.x <= window[1]
        await screens.press("less_than_sign")
        assert chart.data.x_range is not None
        assert chart.data.x_range[0] < window[0]
        await screens.pilot.press(*["greater_than_sign"] * 8)
        await screens.settle()
        assert chart.data.x_range is None  # at the newest end it follows the run again
        await screens.pilot.press("m", "y", "0")
        await screens.settle()
        assert screen(screens).view.plain
        assert not any(mark.kind == "cursor" for mark in chart.data.marks)


async def test_samples_go_back_in_time(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("7")
        assert "step 80     Mice at 80." in screens.text
        await screens.press("left")
        assert "samples: step 40, 1 of 2 times asked" in screens.text
        assert "before      I do not know." in screens.text
        assert "step 40     Mice at 40." in screens.text
        await screens.press("left", "right", "right")
        assert "Mice at 80." in screens.text


async def test_another_run_is_drawn_beside_this_one(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("o")
        assert "There is no other run to compare with." in screens.text
        other = MadeRun("barn-owl")
        other.begin()
        other.train()
        other.steps(1, 60)
        other.finish()
        await screens.press("escape", "o")
        assert "Compare with which run?" in screens.text
        assert "barn-owl" in screens.text
        await screens.press("enter")
        await screens.shows("╌╌ barn-owl")
        await screens.press("1")
        assert "barn-owl" in screens.text.split("best")[-1]
        await screens.press("left")
        assert "barn-owl" in screens.lines[2]
        await screens.press("o")
        assert "barn-owl" not in screens.text


async def test_a_known_card_tells_its_share_and_what_the_memory_is_made_of(
    made: MadeRun, computer: dict[str, Machine]
) -> None:
    computer["machine"] = machine(replace(A_CARD, name="NVIDIA GeForce RTX 4090"))
    made.run.config.write_text(QWEN)
    atomic.write_json(made.run.launch, {"env": {"CUDA_VISIBLE_DEVICES": A_CARD.uuid}})
    async with running(120, 40, "monitor", "owl") as screens:
        await screens.until(lambda: screen(screens)._expected is not None, "the prediction")
        await screens.press("6")
        await screens.shows("of what NVIDIA GeForce RTX 4090 can do: 165 TFLOP/s")
        await screens.press("4")
        for wanted in ("expected ", "than predicted", "model ", "activations ", "its weights"):
            assert wanted in screens.text, wanted


@pytest.mark.thorough
async def test_an_unknown_card_says_nothing_about_its_share(
    made: MadeRun, computer: dict[str, Machine]
) -> None:
    computer["machine"] = machine(replace(A_CARD, name="Homemade 9000"))
    made.run.config.write_text(QWEN)
    async with running(120, 40, "monitor", "owl") as screens:
        await screens.until(lambda: screen(screens)._expected is not None, "the prediction")
        await screens.press("6")
        assert "mean of the last points" in screens.text
        assert "of what" not in screens.text


async def test_a_paused_run_says_since_when_and_offers_to_go_on(made: MadeRun) -> None:
    made.writer.emit("checkpoint", step=100, path="checkpoints/checkpoint-100")
    words = "Paused at step 100; a checkpoint is saved and the GPU is free."
    made.writer.emit("finished", outcome="paused", step=100, words=words)
    made.end("paused", words)
    async with running(80, 24, "monitor", "owl") as screens:
        assert "■ paused" in screens.text
        assert "■ Since " in screens.text
        assert ": paused at step 100; a checkpoint is saved and the GPU is free." in screens.one_line
        assert "→ r resumes from step 100." in screens.text
        assert "r resume" in screens.lines[-1]
        await screens.press("q")
        assert screens.app.farewell == ["owl paused. Go on with it: finetui resume owl"]


async def test_a_loss_that_broke_says_since_when(made: MadeRun) -> None:
    made.step(101, loss=float("inf"))
    made.step(102, loss=float("nan"))
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("✗ The loss is not a number since step 101")
        await screens.press("1")
        assert "2 of its values are not numbers" in screens.text


async def test_many_cards_each_have_a_row(made: MadeRun) -> None:
    cards = [{**CARD, "index": index, "utilization": 90 + index} for index in range(4)]
    async with running(120, 40, "monitor", "owl") as screens:
        made.memory(*cards)
        await screens.shows("GPU 3 93 % busy")
        assert "GPU 0   90 % busy" in screens.text
        await screens.press("5")
        assert "GPU busy, %, each" in screens.text
        assert "power, W, all together" in screens.text
        assert "GPU 2   92 % busy" in screens.text


async def test_help_says_what_this_objective_tells_and_what_cannot_be_done(made: MadeRun) -> None:
    made.finish()
    async with running(100, 90, "monitor", "owl") as screens:
        await screens.press("question_mark")
        assert "rewards/accuracies: pairs where the better answer scores" in screens.one_line
        assert "Pause: The run is not going on." in screens.one_line
        assert "\x1b" not in screens.text


async def test_a_frozen_picture_can_be_looked_back_in(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.press("space")
        made.steps(101, 200)
        await screens.pilot.pause(0.2)
        await screens.press("left")
        assert "┊ step 9" in screens.text or "┊ step 100" in screens.text
        await screens.press("space", "escape")
        await screens.shows("step 200 of 400")
