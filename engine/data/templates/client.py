"""Looking at rows through a template from a program that must stay responsive: the work is done by a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.templates.learnt import MaskSource
from engine.data.templates.scan import Scan
from engine.data.templates.segments import Segment
from engine.data.templates.verify import Check
from engine.errors import UserError

MODULE = "engine.data.templates.worker"


class ClosedError(Exception):
    """The looker was closed while it worked."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A template that is ready to look through.

    Attributes:
        title: Its name for people.
        own: The model brought it.
        reason: Why it is used.
        added: Tokens it needs that the model does not have.
        checks: Whether it works with the model.
    """

    title: str
    own: bool
    reason: str
    added: tuple[str, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One row, ready to show; fields as in `engine.data.render.XRay`."""

    segments: tuple[Segment, ...]
    learnt: int
    total: int
    kept: int
    stops: bool
    source: MaskSource
    problems: tuple[str, ...]


class TemplateLooker:
    """A worker process that looks through one template. Safe to use from several threads; `close` ends any wait."""

    def __init__(
        self,
        folder: Path,
        chat_template: str = "model",
        model: str = "",
        max_length: int | None = None,
        assistant_only_loss: bool = True,
    ) -> None:
        self._closed = False
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,
        )
        self._opening = {
            "kind": "open",
            "folder": str(folder),
            "chat_template": chat_template,
            "model": model,
            "max_length": max_length,
            "assistant_only_loss": assistant_only_loss,
        }

    def open(self) -> Opened:
        """Read tokenizer and template.

        Raises:
            UserError: They cannot be used.
            ClosedError: `close` was called meanwhile.
        """
        told = self._ask(self._opening)
        checks = tuple(Check(**check) for check in told["checks"])
        return Opened(told["title"], told["own"], told["reason"], tuple(told["added"]), checks)

    def xray(self, row: Mapping[str, Any]) -> Picture:
        """One row as the model sees it.

        Raises:
            UserError: The template refuses it.
            ClosedError: `close` was called meanwhile.
        """
        told = self._ask({"kind": "xray", "row": row})
        pieces = tuple(Segment(**piece) for piece in told.pop("segments"))
        return Picture(segments=pieces, **{**told, "problems": tuple(told["problems"])})

    def scan(self, rows: Sequence[Mapping[str, Any]]) -> Scan:
        """Look at further rows.

        Returns:
            What was found in all rows so far.
        """
        told = self._ask({"kind": "scan", "rows": list(rows)})
        lists = {key: tuple(value) for key, value in told.items() if isinstance(value, list)}
        return Scan(**{**told, **lists})

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                # Another thread may be reading; it finds the end by itself.
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None
            assert stdout is not None
            try:
                stdin.write(json.dumps(request).encode() + b"\n")
                stdin.flush()
                line = stdout.readline()
            except (OSError, ValueError):
                line = b""
        if self._closed:
            raise ClosedError
        if not line:
            raise UserError(
                "The process that looks at rows ended unexpectedly.",
                self._last_words(),
                "The row may be too long for this machine's memory; try another row or template.",
            )
        told: dict[str, Any] = json.loads(line)
        if told.pop("kind") == "error":
            raise UserError(told["what"], told["where"], told["fix"])
        return told

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else MODULE
