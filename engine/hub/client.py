"""The viewer's side of `engine.hub.worker`. Loads nothing heavy; every method may be called from any thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from engine.errors import UserError
from engine.hub.datasets import DatasetParts, parts_from
from engine.hub.facts import RepoFacts, facts_from
from engine.hub.names import Kind
from engine.hub.search import LIMIT, Found, found_from
from engine.hub.task import Cancelled, Progress, Task
from engine.run.launch import ENVIRONMENT

MODULE = "engine.hub.worker"
PATIENCE = 0.1  # seconds between two looks at whether the caller wants to stop


class HubClient:
    """Hub calls in a worker process, started with the first one. Calls block; run them in a worker thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._next = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._tell: dict[int, Callable[[Progress], None]] = {}
        self._changed = threading.Condition()

    def search(
        self, query: str, kind: Kind = "model", limit: int = LIMIT, task: Task | None = None
    ) -> list[Found]:
        """As `engine.hub.search.search`."""
        told = self._call(task, do="search", query=query, kind=kind, limit=limit)
        return [found_from(one) for one in told]

    def look(
        self, repo_id: str, kind: Kind = "model", revision: str = "main", task: Task | None = None
    ) -> RepoFacts:
        """As `engine.hub.facts.look`."""
        return facts_from(self._call(task, do="look", repo_id=repo_id, kind=kind, revision=revision))

    def parts(self, repo_id: str, revision: str | None = None, task: Task | None = None) -> DatasetParts:
        """As `engine.hub.datasets.parts`."""
        return parts_from(self._call(task, do="parts", repo_id=repo_id, revision=revision))

    def download(self, repo_id: str, revision: str = "main", task: Task | None = None) -> Path:
        """As `engine.hub.download.download`."""
        return Path(self._call(task, do="download", repo_id=repo_id, revision=revision))

    def tokenizer_files(self, repo_id: str, revision: str = "main", task: Task | None = None) -> Path:
        """As `engine.hub.download.tokenizer_files`."""
        return Path(self._call(task, do="tokenizer", repo_id=repo_id, revision=revision))

    def files(
        self,
        repo_id: str,
        config: str | None = None,
        split: str | None = None,
        revision: str | None = None,
        task: Task | None = None,
    ) -> list[Path]:
        """As `engine.hub.datasets.files`."""
        told = self._call(task, do="files", repo_id=repo_id, config=config, split=split, revision=revision)
        return [Path(path) for path in told]

    def close(self) -> None:
        """End the worker; calls that still wait end with `Cancelled`."""
        with self._changed:
            process, self._process = self._process, None
            for number in self._tell:
                self._answers.setdefault(number, {"kind": "cancelled"})
            self._changed.notify_all()
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=1)  # its downloads keep what has arrived
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _call(self, task: Task | None, **request: Any) -> Any:
        """Send a request and wait for its result.

        Raises:
            UserError: What the worker reports, or that it ended.
            Cancelled: The caller asked to stop.
        """
        task = task or Task()
        with self._changed:
            self._next += 1
            number = self._next
            self._tell[number] = task.progress
            self._send({"id": number, **request})
        try:
            with self._changed:
                while number not in self._answers:
                    self._changed.wait(PATIENCE)
                    if number not in self._answers and task.cancelled():
                        self._send({"cancel": number})
                        raise Cancelled
                answer = self._answers.pop(number)
        finally:
            with self._changed:
                self._tell.pop(number, None)
        if answer["kind"] == "cancelled":
            raise Cancelled
        if answer["kind"] == "error":
            raise UserError(answer["what"], answer["where"], answer["fix"])
        return answer["result"]

    def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError):
            self._ended()

    def _start(self) -> subprocess.Popen[bytes]:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            with self._changed:
                tell = self._tell.get(message["id"])
                if tell is not None and message["kind"] != "progress":
                    self._answers[message["id"]] = message
                    self._changed.notify_all()
            if tell is not None and message["kind"] == "progress":
                tell(Progress(**message["progress"]))
        process.wait()
        process.stdout.close()
        with self._changed:
            if self._process is process:
                self._ended()

    def _ended(self) -> None:
        """The worker died: nobody will answer what is open."""
        self._process = None
        for number in self._tell:
            self._answers.setdefault(
                number,
                {
                    "kind": "error",
                    "what": "The process that talks to the Hub ended unexpectedly.",
                    "where": MODULE,
                    "fix": "Try again; this machine may have too little memory.",
                },
            )
        self._changed.notify_all()
