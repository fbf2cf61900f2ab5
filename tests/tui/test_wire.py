"""What is sent to the terminal makes it show what is wanted, with few bytes, however slow the line is."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator

import pyte
import pytest
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from tui.wire import Grid, Looks, Wire

WIDTH, HEIGHT = 40, 6
STYLES = [
    None,
    Style.parse("#5fd7ff on #121212"),
    Style.parse("#ffd75f on #121212"),
    Style.parse("bold #ffd75f on #121212"),
    Style.parse("reverse #ff5f5f on #005f87"),
    Style.parse("underline"),
]


class Shown:
    """A terminal that takes differences."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self.stream = pyte.Stream(self.screen)

    def cells(self) -> list[tuple[object, ...]]:
        return [self._seen(self.screen.buffer[y][x]) for y in range(HEIGHT) for x in range(WIDTH)]

    @staticmethod
    def _seen(cell: pyte.screens.Char) -> tuple[object, ...]:
        if cell.data == " " and not (cell.reverse or cell.underscore):
            return " ", cell.bg  # the colour and weight of a blank are not seen
        return cell.data, cell.fg, cell.bg, cell.bold, cell.reverse, cell.underscore


def line(source: random.Random, letters: str) -> list[Segment]:
    """A row of text in random colours."""
    segments, left = [], WIDTH
    while left:
        length = min(left, source.randint(1, 12))
        segments.append(Segment("".join(source.choices(letters, k=length)), source.choice(STYLES)))
        left -= length
    return segments


@pytest.mark.parametrize("colours", [ColorSystem.STANDARD, ColorSystem.EIGHT_BIT, ColorSystem.TRUECOLOR])
@pytest.mark.parametrize("letters", ["ab   ", "⣀⣤│ x  "])
def test_sending_differences_shows_what_sending_everything_shows(colours: ColorSystem, letters: str) -> None:
    source, looks = random.Random(5), Looks(colours)
    grid, shown = Grid(WIDTH, HEIGHT), Shown()
    rows = [line(source, letters) for _ in range(HEIGHT)]
    for number in range(120):
        for y in source.sample(range(HEIGHT), k=source.randint(0, 2) if number else HEIGHT):
            if source.random() < 0.5:
                rows[y] = line(source, letters)
            else:  # one cell, as a new point of a curve
                at = source.randrange(len(rows[y]))
                rows[y] = [
                    *rows[y][:at],
                    Segment(rows[y][at].text, source.choice(STYLES)),
                    *rows[y][at + 1 :],
                ]
        grid.put(((y, 0, WIDTH, row) for y, row in enumerate(rows)), looks)
        shown.stream.feed(grid.difference())
        whole, anew = Grid(WIDTH, HEIGHT), Shown()
        whole.put(((y, 0, WIDTH, row) for y, row in enumerate(rows)), looks)
        anew.stream.feed(whole.difference())
        assert shown.cells() == anew.cells(), f"picture {number}"
        text = "".join(char for row in rows for piece in row for char in piece.text)
        assert "".join(str(cell[0]) for cell in shown.cells()) == text


def test_one_cell_that_changes_costs_a_few_bytes() -> None:
    grid, looks = Grid(WIDTH, HEIGHT), Looks(ColorSystem.EIGHT_BIT)
    grid.put([(2, 0, WIDTH, [Segment("⣀" * WIDTH, STYLES[1])])], looks)
    grid.difference()
    grid.put([(2, 0, WIDTH, [Segment("⣀" * 20 + "⣤" + "⣀" * 19, STYLES[1])])], looks)
    assert grid.difference() == "\x1b[3;21H\x1b[38;5;81;48;5;233m⣤\x1b[m"
    grid.put([(2, 0, WIDTH, [Segment("⣀" * 20 + "⣤" + "⣀" * 19, STYLES[1])])], looks)
    assert grid.difference() == ""


def test_a_part_of_a_row_and_wide_characters() -> None:
    grid, looks, shown = Grid(WIDTH, HEIGHT), Looks(ColorSystem.EIGHT_BIT), Shown()
    grid.put([(1, 0, WIDTH, [Segment("." * WIDTH)])], looks)
    shown.stream.feed(grid.difference())
    grid.put([(1, 10, 14, [Segment("猫ab and what is cut")])], looks)
    shown.stream.feed(grid.difference())
    assert shown.screen.display[1] == "." * 10 + "猫ab" + "." * 26
    grid.put([(1, 10, 14, [Segment("....")]), (99, 0, 4, [Segment("off ")])], looks)
    shown.stream.feed(grid.difference())
    assert shown.screen.display[1] == "." * WIDTH


def test_a_screen_that_may_show_anything_is_sent_again() -> None:
    grid, looks = Grid(WIDTH, HEIGHT), Looks(ColorSystem.EIGHT_BIT)
    grid.put([(0, 0, WIDTH, [Segment("owl".ljust(WIDTH))])], looks)
    first = grid.difference()
    grid.forget()
    grid.put([(0, 0, WIDTH, [Segment("owl".ljust(WIDTH))])], looks)
    assert grid.difference() == first


class Line:
    """A pipe as the line: nobody reads until the test does."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.wire = Wire(os.fdopen(writer, "w", encoding="utf-8"))
        self.wire.start()

    def paint(self, text: str) -> None:
        rows = [(y, 0, 200, [Segment(text.ljust(200))]) for y in range(60)]
        self.wire.paint((200, 60), rows, ColorSystem.EIGHT_BIT)

    def read(self, until: bytes, timeout: float = 5.0) -> bytes:
        taken, deadline = b"", time.monotonic() + timeout
        while until not in taken:
            assert time.monotonic() < deadline
            taken += os.read(self.reader, 1 << 16)
        return taken


@pytest.fixture
def slow() -> Iterator[Line]:
    line = Line()
    yield line
    os.close(line.reader)
    line.wire.stop()


def test_pictures_that_were_not_sent_in_time_are_left_out(slow: Line) -> None:
    started = time.monotonic()
    for number in range(300):
        slow.paint(f"picture {number:03} " * 14)  # 12 kB each, and the pipe holds 64
    slow.paint("the newest ends here")
    assert time.monotonic() - started < 3, "painting never waits for the line"
    taken = slow.read(b"the newest ends here" + b" " * 50)
    assert len(taken) < 200_000
    assert taken.count(b"the newest") >= 1


def test_settings_come_before_pictures_and_the_last_picture_before_the_end_of_the_screen(slow: Line) -> None:
    slow.wire.write("\x1b]22;default\x07")
    slow.paint("painted")
    slow.wire.write("\x1b[?1049l")
    taken = slow.read(b"\x1b[?1049l")
    assert taken.index(b"painted") < taken.index(b"\x1b[?1049l")
    assert b"\x1b]22" not in taken


def test_a_dead_line_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    wire = Wire(os.fdopen(writer, "w", encoding="utf-8"))
    wire.start()
    os.close(reader)
    for number in range(100):
        wire.write(f"{number}" * 5000)
    ending = threading.Thread(target=wire.stop)
    ending.start()
    ending.join(5)
    assert not ending.is_alive()


def test_a_terminal_that_cannot_encode_a_character_gets_a_question_mark() -> None:
    reader, writer = os.pipe()
    wire = Wire(os.fdopen(writer, "w", encoding="ascii"))
    wire.start()
    wire.paint((4, 1), [(0, 0, 4, [Segment("a⣀b ")])], ColorSystem.STANDARD)
    wire.stop()
    assert b"a?b " in os.read(reader, 1000)
