"""Generation tags: ``{% generation %} ... {% endgeneration %}`` around what the assistant says."""

from __future__ import annotations

import re

_TAG = re.compile(r"\{%(-?)\s*(generation|endgeneration)\s*(-?)%\}")


def has_tags(source: str) -> bool:
    """The template marks the assistant's words."""
    return any(found[2] == "generation" for found in _TAG.finditer(source))


def without_tags(source: str) -> str:
    """The same template for programs that do not know generation tags: each becomes a comment, which renders alike."""
    return _TAG.sub(r"{#\1 \2 \3#}", source)
