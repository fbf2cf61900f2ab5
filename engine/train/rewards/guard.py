"""Calling reward functions safely: within a time limit, with checked results, and naming the answer that broke one."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.train.rewards.builtin import RewardFunction

SLOW = 0.2  # share of the time limit from which the user is told, once
SHOWN = 200  # characters of an answer in a message
COLUMNS = "columns"  # the one column of a prepared dataset that holds all others, as JSON


class _TooSlow(BaseException):
    """Not an Exception, so that a function's own `except Exception` cannot swallow it."""


_FAILURES = (
    Exception,
    SystemExit,
    _TooSlow,
)  # a function that calls exit() must not end the run without a word


class Guarded:
    """A reward function as TRL calls it.

    Attributes:
        __name__: Its name, which TRL puts into ``rewards/NAME/mean``.
    """

    def __init__(
        self,
        name: str,
        function: RewardFunction,
        time_limit: float,
        warn: Callable[[str, str], None] = lambda words, fix: None,
    ) -> None:
        self.__name__ = name
        self._function = function
        self._limit = time_limit
        self._warn = warn
        self._told = False

    def __call__(self, completions: Sequence[str], **given: Any) -> list[float | None]:
        """Score answers.

        Args:
            completions: The answers, as text.
            **given: What TRL passes; the columns of the dataset are unpacked from ``columns``.

        Raises:
            UserError: The function failed, took too long, or did not return one number for each answer.
        """
        columns = unpacked(given)
        started = time.monotonic()
        try:
            with _time_limit(self._limit):
                listed = self._scores(list(completions), columns)
        except _FAILURES as error:
            raise self._failed(error, completions, columns) from error
        checked = self._checked(listed, completions, columns)
        seconds = time.monotonic() - started
        if not self._told and seconds > SLOW * self._limit:
            self._told = True
            self._warn(
                f"The reward function {self.__name__} took {_seconds(seconds)} for {len(completions)} answers, and the card "
                "waits meanwhile.",
                f"Make it faster; at {_seconds(self._limit)} (reward_time_limit) the run ends.",
            )
        return checked

    def _scores(self, completions: list[str], columns: dict[str, Any]) -> list[Any]:
        """What the function gives, as a list: a generator does its work only when it is read.

        Raises:
            UserError: It gives something that cannot be read one by one.
        """
        scores = self._function(completions=completions, **columns)
        if not isinstance(scores, Iterable):
            raise self._unusable(f"returned {printable(scores, 60)}, not a list of numbers", "")
        return list(scores)

    def _failed(self, error: BaseException, completions: Sequence[str], columns: dict[str, Any]) -> UserError:
        """The error with the first answer that causes it alone."""
        if isinstance(error, UserError):
            return error
        breaking, alone = self._culprit(completions, columns)
        error = alone or error
        if isinstance(error, _TooSlow):
            what = f"The reward function {self.__name__} took longer than {_seconds(self._limit)}" + (
                " on one answer." if breaking is not None else f" on {len(completions)} answers."
            )
            fix = "Make it faster, or raise reward_time_limit. A run that has begun goes on with finetui resume."
        else:
            kind = type(error).__name__
            what = f"The reward function {self.__name__} failed: {kind}: {printable(error, 200)}."
            fix = "Mend the function. A run that has begun goes on with finetui resume."
            if isinstance(error, SystemExit):
                what = f"The reward function {self.__name__} tried to end the whole program (exit)."
        text = completions[breaking] if breaking is not None else max(completions, key=len, default="")
        return UserError(what, f"{_place(error)}on the answer: {printable(text, SHOWN)!r}", fix)

    def _culprit(
        self, completions: Sequence[str], columns: dict[str, Any]
    ) -> tuple[int | None, BaseException | None]:
        each = max(0.1, self._limit / max(1, len(completions)) * 2)
        for index, text in enumerate(completions):
            one = {
                key: value[index : index + 1]
                if isinstance(value, list) and len(value) == len(completions)
                else value
                for key, value in columns.items()
            }
            try:
                with _time_limit(each):
                    alone = self._scores([text], one)
            except _FAILURES as error:
                return index, error
            if len(alone) != 1:
                return index, None
        return None, None

    def _checked(
        self, listed: list[Any], completions: Sequence[str], columns: dict[str, Any]
    ) -> list[float | None]:
        if len(listed) != len(completions):
            breaking, _ = self._culprit(completions, columns)
            where = "" if breaking is None else f"on the answer: {printable(completions[breaking], SHOWN)!r}"
            raise self._unusable(f"returned {len(listed)} numbers for {len(completions)} answers", where)
        checked: list[float | None] = []
        for score, text in zip(listed, completions, strict=True):
            try:
                value = None if score is None else float(score)
            except (TypeError, ValueError):
                value = math.nan
            if value is not None and not math.isfinite(value):
                raise self._unusable(
                    f"returned {printable(repr(score), 60)}, which is no number",
                    f"on the answer: {printable(text, SHOWN)!r}",
                )
            checked.append(value)
        return checked

    def _unusable(self, what: str, where: str) -> UserError:
        return UserError(
            f"The reward function {self.__name__} {what}.",
            where or "reward_funcs",
            "It must return one number (or None for no opinion) for each answer, in their order.",
        )


def unpacked(given: dict[str, Any]) -> dict[str, Any]:
    """The dataset's columns by name beside what TRL passes; rows that lack one have None."""
    packed = given.pop(COLUMNS, None)
    rows = [json.loads(row) for row in packed] if packed else []
    names = {name for row in rows for name in row}
    return {**{name: [row.get(name) for row in rows] for name in names}, **given}


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _place(error: BaseException) -> str:
    """Where in the user's file, such as ``rewards.py, line 7, ``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent != Path(__file__).parent]
    return f"{printable(own[-1].filename, 200)}, line {own[-1].lineno}, " if own else ""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what runs longer, again and again if it does not stop; only in the main thread, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    deadline = time.monotonic() + seconds
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
        if time.monotonic() > deadline:
            raise _TooSlow  # a bare `except:` of the function swallowed the interruption
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
