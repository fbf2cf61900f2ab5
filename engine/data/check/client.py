"""Checking a dataset from a program that must stay responsive: the work is done by a worker process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from engine.data.check.run import CheckRequest
from engine.deliver.protocol import Message, Worker
from engine.run.layout import RunDir


class CheckProcess:
    """A check in another process.

    Example:
        ``for message in CheckProcess(request).messages(): ...`` in a thread; `cancel` from any other.
    """

    def __init__(self, request: CheckRequest, kind: Literal["check", "stats"] = "check") -> None:
        """Start it.

        Args:
            request: What to check.
            kind: Everything, or the token lengths alone.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="finetui-check-")  # its log, gone with it
        self._worker = Worker("engine.data.check.worker", RunDir(Path(self._folder.name)))
        self._cancelled = False
        self._worker.request({"kind": kind, **asdict(request)})

    def messages(self) -> Iterator[Message]:
        """``progress`` messages (``share`` from 0 to 1, ``words``), and at last a ``report`` (``report``, ``text``).

        Ends without a report after `cancel`.

        Raises:
            UserError: The dataset cannot be checked; or the process died.
        """
        try:
            yield from self._worker.messages()
        except Exception:
            if not self._cancelled:
                raise
        finally:
            self.close()

    def cancel(self) -> None:
        """Stop it; a repaired copy under way leaves nothing behind. Takes at most a few seconds."""
        self._cancelled = True
        if self._worker.process.stdin is not None:
            self._worker.process.stdin.close()

    def close(self) -> None:
        """End the process and remove its log."""
        self._worker.close()
        self._folder.cleanup()
