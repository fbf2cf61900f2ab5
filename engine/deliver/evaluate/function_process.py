"""``python -m engine.deliver.evaluate.function_process FILE SECONDS``: the user's own score, in a process that may be killed.

It reads lines ``{"prompt", "answer", "reference"}`` and writes a line for each: ``{"score": number or null}`` or ``{"error",
"line"}``. What the function prints goes to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "score"


def main(path: str, seconds: str) -> int:
    """Load the file, then score until nobody asks any more."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**fields: Any) -> None:
        out.write(json.dumps(fields) + "\n")
        out.flush()

    # The default action ends this process, also where the function never comes back to Python.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(30.0, float(seconds)))
    try:
        function = _loaded(Path(path))
    except BaseException as error:
        say(error=_words(error), line=_line(error, path))
        return 2
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(ready=True)
    for line in sys.stdin:
        asked = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(seconds))
        try:
            value = function(asked["prompt"], asked["answer"], asked["reference"])
            score = None if value is None else float(value)
        except BaseException as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            say(error=_words(error), line=_line(error, path))
            continue
        signal.setitimer(signal.ITIMER_REAL, 0)
        if score is not None and not math.isfinite(score):
            say(error=f"it returned {score}, which is no number", line=None)
        else:
            say(score=score)
    return 0


def _loaded(path: Path) -> Callable[[str, str, str | None], Any]:
    spec = importlib.util.spec_from_file_location("finetui_metric_file", path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file; give it a name that ends in .py")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.append(str(path.parent))  # so that it can import what lies beside it
    spec.loader.exec_module(module)
    found = getattr(module, NAME, None)
    if not callable(found):
        raise AttributeError("it has no function score(prompt, answer, reference)")
    return found


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _line(error: BaseException, path: str) -> int | None:
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return own[-1].lineno if own else error.lineno if isinstance(error, SyntaxError) else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
