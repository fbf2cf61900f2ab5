"""How an answer is made: the settings of a conversation, with their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.display import printable
from engine.errors import UserError


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of one answer; as they stand here they are greedy, so the same question gets the same answer.

    Attributes:
        temperature: 0 takes the likeliest token every time; higher is more varied.
        top_p: Only the likeliest tokens that together have this probability are drawn from.
        top_k: Only so many of the likeliest tokens are drawn from; 0 for all.
        repetition_penalty: Above 1 makes what was already said less likely.
        max_new_tokens: Longest answer in tokens.
        seed: The same seed draws the same answer.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 512
    seed: int = 42

    def words(self) -> str:
        """In a few words, for a line of the screen."""
        if self.temperature == 0:
            how = "always the likeliest word"
        else:
            how = f"temperature {self.temperature:g}, top_p {self.top_p:g}, top_k {self.top_k}, seed {self.seed}"
        if self.repetition_penalty != 1:
            how += f", repetition_penalty {self.repetition_penalty:g}"
        return f"{how}, at most {self.max_new_tokens:,} tokens"

    def to_dict(self) -> dict[str, Any]:
        """For messages and ``--json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them as a user sets it.

    Attributes:
        whole: It is a whole number.
        low: Smallest value.
        high: Largest value.
        open_low: The smallest value itself is not allowed.
        help: One sentence without its full stop.
    """

    whole: bool
    low: float
    high: float
    help: str
    open_low: bool = False


SETTINGS: dict[str, Setting] = {
    "temperature": Setting(False, 0, 10, "0 always the likeliest word; 0.7 is usual"),
    "top_p": Setting(False, 0, 1, "draw from words with this share; 1: all", open_low=True),
    "top_k": Setting(True, 0, 1_000_000, "draw from so many words; 0: all"),
    "repetition_penalty": Setting(False, 0, 10, "above 1 repeats itself less; 1.1 is much", open_low=True),
    "max_new_tokens": Setting(True, 1, 1_000_000, "longest answer, in tokens"),
    "seed": Setting(True, 0, 2**32 - 1, "the same seed draws the same answer"),
}


def changed(sampling: Sampling, values: Mapping[str, Any], where: str = "") -> Sampling:
    """The same settings with some values replaced; None leaves one as it is.

    Args:
        sampling: The settings before.
        values: Numbers, or text that says them, by name.
        where: What is named in errors; the setting itself without it.

    Raises:
        UserError: There is no such setting, or its value is not possible.
    """
    numbers: dict[str, Any] = {
        key: _number(key, value, where) for key, value in values.items() if value is not None
    }
    return replace(sampling, **numbers)


def _number(key: str, value: Any, where: str) -> float | int:
    setting = SETTINGS.get(key)
    if setting is None:
        raise UserError(
            f"There is no setting {printable(key, 60)!r} for answers.",
            where or "settings of an answer",
            f"There are: {', '.join(SETTINGS)}.",
        )
    try:
        if isinstance(value, bool):
            raise ValueError
        number = int(str(value)) if setting.whole else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    too_low = number <= setting.low if setting.open_low else number < setting.low
    if number != number or too_low or number > setting.high:
        kind = "a whole number" if setting.whole else "a number"
        beyond = "above" if setting.open_low else "from"
        raise UserError(
            f"{printable(value, 40)!r} is no value for {key}: it takes {kind} {beyond} {setting.low:g} to {setting.high:g}.",
            where or key,
            f"{setting.help[0].upper()}{setting.help[1:]}.",
        )
    return number
