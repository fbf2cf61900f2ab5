"""Lengths of rows as horizontal bars, in text that every terminal can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

MEASURED = {
    "all rows": "counted in all rows",
    "sample": "counted in a sample of {rows:,} rows",
    "first rows": "counted in the first {rows:,} rows; later ones may differ",
    "rough estimate": "a rough estimate: four letters a token, until the model's tokenizer is here",
}


def percentile_words(tokens: Mapping[str, Any]) -> str:
    """Such as ``Half of the rows have up to 210 tokens, 95 % up to 911, the longest 2,040.``"""
    shares, margins = tokens["percentiles"], tokens.get("intervals_95", {})

    def margin(name: str) -> str:
        low, high = margins.get(name, (0, 0))
        return f" ({low:,.0f} to {high:,.0f})" if low != high else ""

    parts = [
        f"{share}\u00a0% up to {value:,}{margin(f'p{share}')}"
        for share, value in shares.items()
        if share != "50"
    ]
    half = f"Half of the rows have up to {shares.get('50', 0):,} tokens{margin('p50')}"
    return f"{half}, {', '.join(parts)}, the longest {tokens['longest']:,}."


def truncated_words(tokens: Mapping[str, Any]) -> str:
    """What max_length cuts off, in a sentence; empty without one."""
    if "max_length" not in tokens:
        return ""
    share, limit = tokens["truncated_share"], tokens["max_length"]
    low, high = tokens.get("intervals_95", {}).get("truncated", (share, share))
    about = f" ({100 * low:.1f} to {100 * high:.1f} %)" if low != high else ""
    if share == 0 and high == 0:
        return f"No row is longer than max_length {limit:,}: nothing is cut off."
    return f"{100 * share:.1f}\u00a0%{about} of the rows are longer than max_length {limit:,} and are cut off there."


def measured_words(tokens: Mapping[str, Any]) -> str:
    """How the lengths are known."""
    return MEASURED.get(str(tokens["how"]), "{how}").format(rows=tokens["rows"], how=tokens["how"])


def histogram(tokens: Mapping[str, Any], width: int, height: int) -> Content:
    """Bars of the number of rows by length.

    Args:
        tokens: ``tokens`` of a check's report.
        width: Cells in a line.
        height: Lines at most; the ranges at the ends are joined when there are more.
    """
    bins = _joined([(one["from"], one["to"], one["rows"]) for one in tokens["histogram"]], max(2, height))
    most = max((count for _, _, count in bins), default=0)
    if not most:
        return Content("")
    limit = tokens.get("max_length")
    labels = [f"{low:,} to {high:,}" for low, high, _ in bins]
    counts = [f"{count:,}" for _, _, count in bins]
    left = max(map(len, labels))
    room = max(4, width - left - max(map(len, counts)) - (3 if limit is None else 8))
    lines = []
    for (low, _, count), label, number in zip(bins, labels, counts, strict=True):
        bar = "█" * (max(1, round(count / most * room)) if count else 0)
        cut = limit is not None and low > limit
        style = "$warning" if cut else "$primary"
        note = "  cut" if cut and count else ""
        lines.append(Content.assemble((f"{label:>{left}}  ", "$muted"), (bar, style), f" {number}{note}"))
    return Content("\n").join(lines)


def _joined(bins: list[tuple[int, int, int]], most: int) -> list[tuple[int, int, int]]:
    """At most so many ranges: the emptier of the two ends is joined with its neighbour."""
    bins = list(bins)
    while len(bins) > most:
        if bins[0][2] <= bins[-1][2]:
            bins[:2] = [(bins[0][0], bins[1][1], bins[0][2] + bins[1][2])]
        else:
            bins[-2:] = [(bins[-2][0], bins[-1][1], bins[-2][2] + bins[-1][2])]
    return bins
