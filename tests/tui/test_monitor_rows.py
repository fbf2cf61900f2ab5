"""Rows and pages of text: painted only where they changed."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.geometry import Region

from tui.widgets.pager import Pager, wrap
from tui.widgets.rows import Row, Rows


class PaintedRows(Rows):
    """Notes what it asked to be painted."""

    def __init__(self) -> None:
        super().__init__("rows")
        self.asked: list[tuple[Region, ...]] = []

    def refresh(self, *regions: Region, **options: bool):  # type: ignore[no-untyped-def]
        if hasattr(self, "asked"):
            self.asked.append(regions)
        return super().refresh(*regions, **options)


class RowsApp(App[None]):
    CSS = "Rows { width: 30; height: 4; }"

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def compose(self) -> ComposeResult:
        yield self.rows

    def lines(self) -> list[str]:
        return [strip.text[:30].rstrip() for strip in self.screen._compositor.render_strips()][:4]


def plain(*texts: str) -> list[Row]:
    return [((text, ""),) for text in texts]


async def test_only_the_changed_part_of_a_changed_row_is_painted() -> None:
    rows = PaintedRows()
    app = RowsApp(rows)
    async with app.run_test(size=(40, 8)) as pilot:
        rows.set_rows(plain("one", "step 41 of 100", "three"))
        await pilot.pause()
        rows.asked.clear()
        layouts = rows._layout_updates
        rows.set_rows(plain("one", "step 42 of 100", "three"))
        assert rows.asked == [(Region(0, 1, 7, 1),)]
        await pilot.pause()
        assert app.lines()[:3] == ["one", "step 42 of 100", "three"]
        assert rows._layout_updates == layouts


async def test_equal_rows_paint_nothing() -> None:
    rows = PaintedRows()
    async with RowsApp(rows).run_test(size=(40, 8)) as pilot:
        rows.set_rows(plain("one"))
        await pilot.pause()
        rows.asked.clear()
        rows.set_rows(plain("one"))
        rows.set_rows([*plain("one"), ()])
        assert rows.asked == []


async def test_a_change_of_colour_alone_is_painted() -> None:
    rows = PaintedRows()
    async with RowsApp(rows).run_test(size=(40, 8)) as pilot:
        rows.set_row((("good ", "$success"), ("thing", "")))
        await pilot.pause()
        rows.asked.clear()
        rows.set_row((("good ", "$error"), ("thing", "")))
        assert rows.asked == [(Region(0, 0, 5, 1),)]


async def test_shorter_text_leaves_nothing_behind() -> None:
    rows = PaintedRows()
    app = RowsApp(rows)
    async with app.run_test(size=(40, 8)) as pilot:
        rows.set_rows(plain("a long row", "second"))
        await pilot.pause()
        rows.set_rows(plain("short"))
        await pilot.pause()
        assert app.lines() == ["short", "", "", ""]


async def test_what_is_too_long_ends_in_an_ellipsis_wide_characters_count_twice() -> None:
    rows = PaintedRows()
    app = RowsApp(rows)
    async with app.run_test(size=(40, 8)) as pilot:
        rows.set_rows(plain("x" * 40, "模" * 20))
        await pilot.pause()
        assert app.lines()[0] == "x" * 29 + "…"
        assert app.lines()[1].startswith("模" * 14)
        assert all(rows.render_line(y).cell_length == 30 for y in range(4))


async def test_rows_can_stand_on_the_right() -> None:
    rows = Rows("rows", align="right")
    app = RowsApp(rows)
    async with app.run_test(size=(40, 8)) as pilot:
        rows.set_row("step 1")
        await pilot.pause()
        assert app.lines()[0] == "step 1".rjust(30)


async def test_markup_in_foreign_text_is_text() -> None:
    rows = Rows("rows")
    app = RowsApp(rows)
    async with app.run_test(size=(40, 8)) as pilot:
        rows.set_row("[bold]x[/bold] [@click=quit]y[/]")
        await pilot.pause()
        assert app.lines()[0] == "[bold]x[/bold] [@click=quit]y["[:29] + "…"


async def test_a_page_scrolls_with_keys_and_says_how_much_is_below() -> None:
    pager = Pager("pager")
    app = RowsApp(pager)
    async with app.run_test(size=(40, 8)) as pilot:
        pager.show(plain(*(f"line {number}" for number in range(10))))
        pager.focus()
        await pilot.pause()
        assert app.lines() == ["line 0", "line 1", "line 2", "↓ 7 more"]
        await pilot.press("down")
        assert app.lines()[0] == "line 1"
        await pilot.press("pagedown")
        assert app.lines()[0] == "line 4"
        await pilot.press("end")
        assert app.lines() == ["line 6", "line 7", "line 8", "line 9"]
        await pilot.press("down", "up")
        assert app.lines()[0] == "line 5"
        await pilot.press("home", "pageup")
        assert app.lines()[0] == "line 0"


async def test_a_growing_page_stays_at_its_end_until_the_reader_scrolls_up() -> None:
    pager = Pager("pager")
    app = RowsApp(pager)
    async with app.run_test(size=(40, 8)) as pilot:
        pager.clear(follow=True)
        pager.show(plain(*map(str, range(10))))
        await pilot.pause()
        assert app.lines()[-1] == "9"
        pager.show(plain(*map(str, range(12))))
        await pilot.pause()
        assert app.lines()[-1] == "11"
        pager.action_scroll_rows(-3)
        pager.show(plain(*map(str, range(20))))
        await pilot.pause()
        assert app.lines()[0] == "5"


def test_paragraphs_wrap_and_hang_below_their_text() -> None:
    assert wrap(((("label  "), ""), ("some words that wrap", "bold")), 18) == (
        (("label  ", ""), ("some words", "bold")),
        (("       ", ""), ("that wrap", "bold")),
    )
    assert wrap((("two\nlines", ""),), 30) == ((("two", ""),), (("lines", ""),))
    assert wrap((), 30) == ((),)


def test_wide_characters_wrap_by_cells() -> None:
    for row in wrap((("模型" * 20, ""),), 30):
        assert sum(len(text) for text, _ in row) <= 15
