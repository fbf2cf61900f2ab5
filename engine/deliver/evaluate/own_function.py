"""A user's own metric: a Python file with ``score(prompt, answer, reference)``, called in a process of its own."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.run.launch import ENVIRONMENT

SECONDS = 10.0  # for one answer
_LOADING = 35.0
SHOWN = 200


class OwnFunction:
    """The function, ready to be called.

    Args:
        path: The file.
        seconds: Longest time for one answer.

    Raises:
        UserError: The file cannot be used.
    """

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        import os

        self.path, self.seconds = path.expanduser().absolute(), seconds
        if not self.path.is_file():
            raise UserError("There is no such file.", str(self.path), "Check the path behind --function.")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "engine.deliver.evaluate.function_process",
                str(self.path),
                str(seconds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,  # into the log of the worker that starts it
            env={**os.environ, **ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
        )
        try:
            told = self._read(_LOADING)
            if told is None:
                raise self._error("it took too long to load", None, "Let it do its work inside score.")
            if "error" in told:
                raise self._error(
                    printable(told["error"], 300),
                    told["line"],
                    "Write a function: def score(prompt, answer, reference): return 1.0",
                )
        except BaseException:
            self.close()
            raise

    def score(self, prompt: str, answer: str, reference: str | None) -> float | None:
        """Score one answer; None where the function has no opinion.

        Raises:
            UserError: It failed, took too long, or returned no number.
        """
        assert self._process.stdin is not None
        asked = json.dumps({"prompt": prompt, "answer": answer, "reference": reference})
        told: dict[str, Any] | None = None
        try:
            self._process.stdin.write(asked.encode() + b"\n")
            self._process.stdin.flush()
            told = self._read(self.seconds + 5)
        except BrokenPipeError:
            pass
        on = f"on the answer: {printable(answer, SHOWN)!r}"
        if told is None:
            raise self._error(
                f"it took longer than {self.seconds:g} s, or ended its process, {on}",
                None,
                "Make it faster or let it take longer: --function_seconds 60",
            )
        if "error" in told:
            raise self._error(
                f"{printable(told['error'], 300)}, {on}", told["line"], "Mend it and try again."
            )
        return None if told["score"] is None else float(told["score"])

    def close(self) -> None:
        """End its process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def _read(self, seconds: float) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            if not ready.select(seconds):
                return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def _error(self, what: str, line: int | None, fix: str) -> UserError:
        where = f"{printable(self.path, 300)}{f', line {line}' if line else ''}"
        return UserError(f"Your score function cannot be used: {what}.", where, fix)
