"""Simulated predictions from a process of their own, so that whoever asks never loads torch.

The two speak JSON lines. A request is ``{"id": 1, "setup": {…}, "config": {…}, "profile": "finetui",
"circumstances": {…}}`` (with ``"architecture"`` where only facts of the model are known), an answer
``{"kind": "prediction", "id": 1, "prediction": {…}, "seconds": 1.2}`` or ``{"kind": "error", "id": 1, "what": …, "where": …, "fix": …}`` or ``{"kind": "cancelled", "id": 1}``;
``{"cancel": 1}`` stops a request. Meanwhile ``{"kind": "progress", "id": 1, "words": …}`` says what is done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from engine.errors import UserError
from engine.fit.types import Architecture, Part, Phase, Prediction, Range, TrainSetup

MODULE = "engine.fit.simulate_worker"


def prediction_from(message: Mapping[str, Any]) -> Prediction:
    """A prediction as JSON brings it."""
    return Prediction(
        allocated=Range(**message["allocated"]),
        reserved=Range(**message["reserved"]),
        smi=Range(**message["smi"]),
        phases=tuple(
            Phase(phase["name"], tuple(Part(**part) for part in phase["parts"]), phase["words"])
            for phase in message["phases"]
        ),
        steady=message["steady"],
        predictor=message["predictor"],
        profile=message["profile"],
        notes=tuple(message["notes"]),
    )


class Simulator:
    """A worker process that simulates one request after the other. Safe to use from several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self._waiting: set[int] = set()
        self._progress: dict[int, Callable[[str], None]] = {}
        self._next = 0
        self._changed = threading.Condition()

    def submit(
        self,
        setup: TrainSetup,
        model: Mapping[str, Any] | Architecture,
        profile: str = "finetui",
        circumstances: Mapping[str, Any] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> int:
        """Ask for a prediction.

        Args:
            setup: The run.
            model: The model's ``config.json``, or architecture facts.
            profile: Name of the software stack.
            circumstances: Fields of `engine.fit.simulate.predict.Circumstances`: ``capability``, ``context``,
                ``capacity``, ``rows``, ``seed``, ``lengths``, ``scored``, ``seeds``, ``replay_seconds``, and
                ``allocator`` as ``PYTORCH_CUDA_ALLOC_CONF`` writes it.
            progress: Called from another thread with what is being done, in words.

        Returns:
            The number of the request.
        """
        with self._changed:
            self._next += 1
            number = self._next
            self._waiting.add(number)
            if progress is not None:
                self._progress[number] = progress
        self._send(
            {
                "id": number,
                "setup": dataclasses.asdict(setup),
                "config": {} if isinstance(model, Architecture) else dict(model),
                "architecture": dataclasses.asdict(model) if isinstance(model, Architecture) else None,
                "profile": profile,
                "circumstances": dict(circumstances or {}),
            }
        )
        return number

    def cancel(self, number: int) -> None:
        """Stop a request; its `result` is then None."""
        with self._changed:
            if number not in self._waiting:
                return
        self._send({"cancel": number})

    def result(self, number: int, timeout: float | None = None) -> Prediction | None:
        """Wait for an answer.

        Returns:
            The prediction, or None when the request was cancelled.

        Raises:
            TimeoutError: No answer yet.
            UserError: It cannot be simulated, or the worker ended.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers, timeout):
                raise TimeoutError(f"no answer to request {number} yet")
            answer = self._answers.pop(number)
        if answer["kind"] == "cancelled":
            return None
        if answer["kind"] == "error":
            raise UserError(answer["what"], answer["where"], answer["fix"])
        return prediction_from(answer["prediction"])

    def close(self) -> None:
        """End the worker."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError):
            self._fail()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._changed:
            if self._process is not None and self._process.poll() is None:
                return self._process
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                # The simulation needs no card, and must not take memory on one.
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
                start_new_session=True,
            )
            threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
            return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if message.get("kind") == "progress":
                tell = self._progress.get(message["id"])
                if tell is not None:
                    tell(message["words"])
            elif "id" in message:
                self._progress.pop(message["id"], None)
                with self._changed:
                    self._waiting.discard(message["id"])
                    self._answers[message["id"]] = message
                    self._changed.notify_all()
        process.wait()
        process.stdout.close()
        self._fail()

    def _fail(self) -> None:
        """The worker is gone: nobody will answer what is open."""
        with self._changed:
            for number in self._waiting:
                self._answers[number] = {
                    "kind": "error",
                    "what": f"The process that simulates the step ended unexpectedly.{self._last_words()}",
                    "where": MODULE,
                    "fix": "Use the arithmetic estimate; this machine may have too little memory for the libraries.",
                }
            self._waiting.clear()
            self._changed.notify_all()

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        try:
            self._log.seek(0)
            lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        except (OSError, ValueError):
            return ""
        return f" It said: {lines[-1][:200]}" if lines else ""
