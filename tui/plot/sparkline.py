"""A curve in one line of text, for lists."""

from __future__ import annotations

from tui.plot.glyphs import GLYPHS, Charset
from tui.plot.series import Series

BRAILLE_BARS = ((0x40, 0x44, 0x46, 0x47), (0x80, 0xA0, 0xB0, 0xB8))  # height 1 to 4, left and right column
STEPS: dict[Charset, str] = {"block": "_▄█", "ascii": "_.-'"}


def sparkline(series: Series, width: int, charset: Charset = "braille") -> str:
    """The whole curve in ``width`` single-width characters, from its smallest to its largest mean.

    A part with nothing but NaN or infinite values shows a cross, a part without values a blank.
    """
    if width <= 0 or series.first_x is None or series.last_x is None:
        return " " * max(0, width)
    columns = width * 2 if charset == "braille" else width
    x0 = series.first_x
    x1 = max(series.last_x, x0 + max(1e-9, abs(x0) * 1e-9))
    # Fewer points than columns would leave holes between them.
    count = min(columns, max(1, len(series)))
    parts = series.columns(x0, x1, count)
    means = [part.mean for part in parts if part and part.n]
    low, high = min(means, default=0.0), max(means, default=0.0)
    cells = 4 if charset == "braille" else len(STEPS[charset])
    levels: list[int] = []
    for column in range(columns):
        part = parts[column * count // columns]
        if not part:
            levels.append(0)
        elif not part.n:
            levels.append(-1)
        else:
            share = (part.mean - low) / (high - low) if high > low else 0.0
            levels.append(1 + round(share * (cells - 1)))
    bad = GLYPHS[charset].marks["bad"]
    if charset != "braille":
        return "".join(bad if n < 0 else STEPS[charset][n - 1] if n else " " for n in levels)
    text = ""
    for left, right in zip(levels[0::2], levels[1::2], strict=True):
        if left < 0 or right < 0:
            text += bad
            continue
        bits = BRAILLE_BARS[0][left - 1] if left else 0
        bits |= BRAILLE_BARS[1][right - 1] if right else 0
        text += chr(0x2800 + bits) if bits else " "
    return text
