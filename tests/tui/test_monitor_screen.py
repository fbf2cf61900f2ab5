"""The monitor on made-up runs: what it shows at which size, and when it paints."""

from __future__ import annotations

from functools import partialmethod

import pytest

from engine.run import atomic
from tests.tui.made_runs import CARD, MadeRun
from tests.tui.pilot import running
from tui.monitor.watch import Watch

pytestmark = pytest.mark.usefixtures("fast_monitor")


async def test_everything_of_the_sketch_is_on_80_by_24(made: MadeRun) -> None:
    atomic.write_json(made.run.launch, {"price_per_hour": 0.69})
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("$0.00")
        for wanted in (
            "owl · SFT, LoRA · ● running", "step 100 of 400", "25 %", "gone", "loss 1.", "eval 1.050", "3,1", "tokens/s",
            "lr 2e-4", "epoch 1.0", "── train  ● eval", "GPU memory, GiB", "★ best", "GPU 0   97 % busy  71 °C  312 W",
            "12.4 of 22.9 GiB", "Evaluated at step 100: loss 1.050, the best so far",
            "You can close this window. Training continues. Back: finetui attach owl",
            "1-9 panels", "x stop", "p pause", "space freeze", "? help", "q leave",
        ):  # fmt: skip
            assert wanted in screens.text, wanted
        assert len(screens.lines) == 24
        assert max(map(len, screens.lines)) <= 80


async def test_a_wide_terminal_shows_more_at_once(made: MadeRun) -> None:
    async with running(120, 40, "monitor", "owl") as screens:
        await screens.shows("learning rate 2e-4")
        for wanted in (
            "─ learning rate ─",
            "─ gradient norm ─",
            "─ tokens per second ─",
            "c checkpoint",
            "Reading the dataset.",
        ):
            assert wanted in screens.text, wanted


async def test_every_size_shows_the_state(made: MadeRun) -> None:
    async with running(1, 1, "monitor", "owl") as screens:
        for size in ((60, 16), (59, 20), (80, 15), (40, 8), (20, 5), (10, 2), (1, 1), (200, 50), (300, 80)):
            await screens.pilot.resize_terminal(*size)
            await screens.settle()
            assert max(map(len, screens.lines), default=0) <= size[0]
            if size > (20, 2):
                assert "running" in screens.text, size
            if size > (39, 2):
                assert "loss 1." in screens.text, size
                assert "25 %" in screens.text, size


async def test_a_storm_of_sizes_ends_in_a_good_picture(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        before = screens.lines[3:16]
        for size in ((20, 5), (300, 80), (60, 16), (59, 15), (120, 40), (1, 1), (80, 24)):
            await screens.pilot.resize_terminal(*size)
        await screens.settle()
        assert screens.lines[3:16] == before


async def test_without_a_card_it_shows_ram_and_says_so(made: MadeRun) -> None:
    made.memory()
    async with running(100, 30, "monitor", "owl") as screens:
        assert "RAM, GiB  ── trainer  ╌╌ all" in screens.text
        assert "No GPU here, so RAM: trainer 2.0 GiB, all 6.0 of 64.0 GiB" in screens.text


async def test_loading_is_said_in_words() -> None:
    made = MadeRun("new")
    made.come_alive()
    made.begin()
    async with running(80, 24, "monitor", "new") as screens:
        assert "→ Loading the model owl-1b ... (" in screens.text
        assert "The first point comes after the first step." in screens.text
        made.train()
        made.step(1)
        await screens.shows("step 1 of 400")
    made.die()


async def test_new_events_appear_and_move_nothing(made: MadeRun) -> None:
    async with running(80, 24, "monitor", "owl") as screens:
        updates = {widget: widget._layout_updates for widget in screens.app.screen.walk_children()}
        made.steps(101, 140)
        made.memory({**CARD, "temperature": 79})
        await screens.shows("step 140 of 400")
        await screens.shows("79 °C")
        assert {widget: widget._layout_updates for widget in screens.app.screen.walk_children()} == updates


async def test_when_nothing_happens_nothing_is_painted(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.monitor.CLOCK_EVERY", 3600.0)
    async with running(80, 24, "monitor", "owl") as screens:
        painted: list[object] = []
        display = screens.app._display
        monkeypatch.setattr(screens.app, "_display", lambda *args: (painted.append(args), display(*args)))
        await screens.pilot.pause(0.3)
        assert painted == []
        made.step(101)
        await screens.shows("step 101 of 400")
        assert painted


async def test_time_goes_on_by_itself_every_few_seconds(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.monitor.CLOCK_EVERY", 0.1)
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("1 s gone")


async def test_a_long_history_is_read_in_slices_with_a_percentage(
    made: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.monitor.watch.READ_BYTES", 2000)
    monkeypatch.setattr("tui.screens.monitor.BREATH", 0.2)
    made.steps(101, 350)
    monkeypatch.setattr(Watch, "read", partialmethod(Watch.read, max_events=100))
    async with running(80, 24, "monitor", "owl") as screens:
        await screens.shows("Reading what has happened so far:")
        await screens.shows("step 350 of 400")
        await screens.shows("Training.")
