"""Numbers out of event fields, which may hold anything."""

from __future__ import annotations

import math
from typing import Any

from engine.run.events import number


def finite(value: Any) -> float | None:
    """The finite number that an event field holds, or None."""
    found = number(value)
    return found if found is not None and math.isfinite(found) else None
