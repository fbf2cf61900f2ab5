"""The reward functions of a run: those that come with finetui, and the user's own file."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from engine.config.objective_sections import REWARDS, Rewards
from engine.display import printable
from engine.errors import UserError
from engine.train.rewards.builtin import RewardFunction, builtin

MODULE = "finetui_reward_file"


def load_rewards(settings: Rewards) -> dict[str, RewardFunction]:
    """The functions by name, in the order of ``reward_funcs``.

    Raises:
        UserError: A name is unknown, the file cannot be used, or the regular expression is not one.
    """
    names = settings.reward_funcs or ([] if settings.reward_file is None else ["reward"])
    if not names:
        raise UserError(
            "Nothing says what a good answer is.",
            "reward_funcs",
            f"Choose one or several of {', '.join(REWARDS)}, or give a file of your own: --reward_file rewards.py",
        )
    own = None if settings.reward_file is None else _read(Path(settings.reward_file))
    return {name: _function(name, settings, own) for name in names}


def _function(name: str, settings: Rewards, own: ModuleType | None) -> RewardFunction:
    if name in REWARDS:
        try:
            return builtin(name, settings)
        except re.error as error:
            raise UserError(
                f"reward_pattern is not a regular expression: {error}.",
                printable(settings.reward_pattern, 120),
                "Write special characters such as ( or [ with a backslash before them.",
            ) from None
    found = getattr(own, name, None)
    if callable(found):
        return found
    if own is None:
        raise UserError(
            f"There is no reward function called {printable(name, 40)!r}.",
            "reward_funcs",
            f"Choose from {', '.join(REWARDS)}, or name the file it is in: --reward_file rewards.py",
        )
    functions = [
        key
        for key, value in vars(own).items()
        if inspect.isfunction(value) and value.__module__ == MODULE and not key.startswith("_")
    ]
    raise UserError(
        f"The reward file has no function {printable(name, 40)}.",
        str(settings.reward_file),
        f"Its functions: {printable(', '.join(functions), 200) or 'none'}. Name one in reward_funcs, or write: "
        "def reward(completions, **columns)",
    )


def _read(path: Path) -> ModuleType:
    where = printable(path, 300)
    if not path.is_file():
        raise UserError("There is no such reward file.", where, "Check the path of reward_file.")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise UserError("A reward file must be a Python file.", where, "Give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # so that it can import what lies beside it
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        number = own[-1].lineno if own else error.lineno if isinstance(error, SyntaxError) else None
        line = f", line {number}" if number else ""
        raise UserError(
            f"The reward file cannot be loaded: {type(error).__name__}: {printable(error, 200)}.",
            f"{where}{line}",
            "Mend it; try it with: python " + where,
        ) from None
    return module
