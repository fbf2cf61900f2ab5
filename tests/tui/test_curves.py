"""Comparing runs: their curves in one chart and what is different between them."""

from __future__ import annotations

import pytest

from tests.tui.made_runs import MadeRun
from tests.tui.pilot import Screens, running
from tui.screens.curves import CurvesScreen


@pytest.fixture
def names() -> list[str]:
    names = ["owl-1", "owl-2", "owl-3"]
    for number, name in enumerate(names):
        made = MadeRun(name, max_steps=60)
        made.begin()
        made.train()
        made.steps(1, 40 + 10 * number)
        made.evaluate(20, 1.5 - number / 10)
        made.finish()
    return names


async def opened(screens: Screens, names: list[str]) -> CurvesScreen:
    screen = CurvesScreen(names)
    screens.app.push_screen(screen)
    await screens.settle()
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12)])
async def test_chart_and_table(names: list[str], size: tuple[int, int]) -> None:
    async with running(*size) as screens:
        screen = await opened(screens, names)
        assert "3 runs side by side" in screens.text
        data = screen.chart()
        assert [line.series.name for line in data.lines] == names
        assert [line.series.last_x for line in data.lines] == [40, 50, 60]
        assert [points.series.last for points in data.points] == [1.5, 1.4, 1.3]
        assert len({line.role for line in data.lines}) == 3
        if size[0] >= 80:
            assert "best eval_loss" in screens.text
            assert "1.3000" in screens.text


async def test_the_run_in_front_is_the_solid_one(names: list[str]) -> None:
    async with running() as screens:
        screen = await opened(screens, names)
        assert [line.dotted for line in screen.chart().lines] == [False, True, True]
        await screens.press("tab")
        data = screen.chart()
        assert [line.series.name for line in data.lines] == ["owl-2", "owl-3", "owl-1"]
        assert [line.dotted for line in data.lines] == [False, True, True]


async def test_train_and_eval_alone(names: list[str]) -> None:
    async with running() as screens:
        screen = await opened(screens, names)
        await screens.press("e")
        assert not screen.chart().points
        assert "training loss" in screens.text
        await screens.press("e")
        assert not screen.chart().lines
        await screens.press("e", "y", "z")
        data = screen.chart()
        assert data.log
        assert data.zoom < 1
        assert data.lines
        assert data.points


async def test_a_live_run_goes_on_and_a_deleted_one_is_no_end(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.curves.POLL", 0.05)
    made = MadeRun("live", max_steps=60)
    made.begin()
    made.steps(1, 5)
    async with running() as screens:
        screen = await opened(screens, [*names[:1], "live", "never-was"])
        made.steps(6, 30)
        for _ in range(40):
            await screens.pilot.pause(0.05)
            if screen.chart().lines[1].series.last_x == 30:
                break
        assert screen.chart().lines[1].series.last_x == 30
        assert "no run of this name" in screens.one_line
