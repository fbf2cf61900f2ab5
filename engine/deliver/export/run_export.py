"""The one way in which a verb or a screen exports: in a worker process, with messages, and stoppable. Loads no torch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.deliver.export.checks import check
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.export.manifest import Export, read
from engine.deliver.protocol import Message, Worker
from engine.deliver.source import find_trained
from engine.errors import UserError
from engine.run.layout import RunDir

MODULE = "engine.deliver.export_worker"
PATIENCE = 20.0  # seconds in which a stopped export cleans up


class Exporting:
    """One export on its way.

    Args:
        run: The run whose result it is.
        target: Name of the target.
        quants: Number formats of a GGUF target.
        out: Where it goes; None for the run's exports folder.
        which: As `engine.deliver.source.find_trained` takes it.
        options: Settings of the target.

    Raises:
        UserError: It is not possible; nothing was started.
    """

    def __init__(
        self,
        run: RunDir,
        target: str,
        quants: Sequence[str] = (),
        out: Path | None = None,
        which: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        out = out.expanduser().absolute() if out is not None else None
        self.job = Job(run, find_trained(run, which), target, tuple(quants), out, dict(options or {}))
        check(self.job)
        asked = {
            "target": target,
            "quants": list(quants),
            "out": str(out) if out is not None else None,
            "which": which,
            "options": self.job.options,
        }
        self._worker = Worker(MODULE, run, json.dumps(asked))

    def messages(self) -> Iterator[Message]:
        """What the worker tells: ``step``, ``progress``, ``say``; ends when the export stands.

        Raises:
            UserError: It failed; nothing half-written is left.
            Cancelled: It was stopped.
        """
        for message in self._worker.messages():
            if message["kind"] == "cancelled":
                raise Cancelled
            yield message

    def result(self) -> Export:
        """The finished export.

        Raises:
            UserError: There is none.
        """
        made = read(self.job.final)
        if made is None:
            raise UserError(
                "The export is not there, although nothing went wrong.",
                str(self.job.final),
                f"Try again; the worker's log is {self._worker.log}",
            )
        return made

    def cancel(self) -> None:
        """Ask the worker to stop; it cleans up first. May be called from another thread."""
        if self._worker.process.poll() is None:
            self._worker.process.terminate()

    def close(self) -> None:
        """End the worker, leaving it time to clean up. What it could not clean up, the next export does."""
        process = self._worker.process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        self._worker.close()
