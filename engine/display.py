"""Text and numbers made safe and readable before they reach a terminal."""

from __future__ import annotations

import unicodedata

GIB = 2**30


def printable(text: object, limit: int = 2000, newlines: bool = False) -> str:
    """Make a foreign string harmless for a terminal.

    Control characters, escape sequences, lone surrogates, and characters that reorder or hide text
    become visible escapes such as ``\\x1b``; everything else stays as it is.

    Args:
        text: Anything from a file, a hub, a model or a driver.
        limit: Longest result in characters; the rest is cut with an ellipsis.
        newlines: Keep line feeds and tabs instead of escaping them.
    """
    out: list[str] = []
    source = str(text)
    for char in source[:limit]:
        if (newlines and char in "\n\t") or char == " ":
            out.append(char)
        elif unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            code = ord(char)
            out.append(
                f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
            )
        else:
            out.append(char)
    if len(source) > limit:
        out.append("...")
    return "".join(out)


def gib(num_bytes: float) -> str:
    """Bytes as GiB with one decimal, or MiB below a tenth of a GiB: ``22.9 GiB``, ``38 MiB``, ``<1 MiB``."""
    if 0 < num_bytes < 2**19:
        return "<1 MiB"
    if abs(num_bytes) < GIB / 10:
        return f"{num_bytes / 2**20:.0f} MiB"
    return f"{num_bytes / GIB:.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds as ``42 s``, ``3:05`` (minutes) or ``1:02:03`` (hours)."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"
