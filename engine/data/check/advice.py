"""Settings that suit the lengths and the number of rows, each with its reason."""

from __future__ import annotations

from engine.choice import Choice
from engine.data.check.tokens import TokenStats
from engine.data.forms import Objective

LENGTHS = (128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536, 131072)
_CUT = 0.01
"""Share of rows that may be cut; the longest few cost memory for all."""
_HOPELESS = 0.1
"""Up to this share, rows that no limit can hold are cut and do not decide about the others."""
_WORTH_PACKING = 0.6
"""Packing pays where rows fill less than this share of the room."""


def recommend_max_length(stats: TokenStats, context: int | None = None) -> Choice[int]:
    """The shortest usual limit that cuts at most one row in a hundred.

    Args:
        stats: Lengths of the rows.
        context: The longest text the model can take, in tokens.
    """
    lengths = stats.lengths
    usual = [length for length in LENGTHS if context is None or length <= context] or [context or LENGTHS[0]]
    hopeless = lengths.share_over(usual[-1])  # too long for any limit, so they say nothing for a long one
    cut = hopeless if _CUT < hopeless <= _HOPELESS else _CUT
    value = next((length for length in usual if lengths.share_over(length) <= cut), usual[-1])
    about = "about " if stats.how != "all rows" else ""
    longest = max(lengths.bins, default=0)
    share = 100 * (1 - lengths.share_over(value))
    shown = f"{share:.0f}" if share in (0, 100) else f"{min(99.9, share):.1f}"
    reason = (
        f"{value:,} tokens hold {about}{shown} % of the rows whole; the longest measured has {longest:,}."
    )
    if context is not None and lengths.share_over(value) > _CUT:
        reason = f"{reason} The model takes no more than {context:,}."
    at = usual.index(value)
    return Choice(value, reason, tuple(usual[at + 1 : at + 2] + usual[max(0, at - 1) : at]))


def recommend_packing(stats: TokenStats, max_length: int, objective: Objective | None) -> Choice[bool]:
    """Whether several short rows should share one place of `max_length` tokens."""
    if objective not in ("sft", "cpt", None):
        return Choice(False, f"Packing is for sft and cpt, not for {objective}.")
    filled = stats.lengths.tokens_within(max_length) / max(1, stats.lengths.rows) / max_length
    if filled < _WORTH_PACKING:
        return Choice(
            True,
            f"Rows fill {100 * filled:.0f} % of {max_length:,} tokens on average; packing puts about {1 / max(filled, 1e-3):.0f} "
            "of them into one, so there are that many times fewer steps.",
            (False,),
        )
    return Choice(
        False,
        f"Rows fill {100 * filled:.0f} % of {max_length:,} tokens on average, so packing saves little.",
        (True,),
    )


def recommend_epochs(rows: int) -> Choice[float]:
    """How often the rows should be read."""
    from engine.config.resolve import choose_epochs

    return choose_epochs(rows)
