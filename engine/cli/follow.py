"""A run as plain lines: for pipes, logs, screen readers and terminals that cannot show more."""

from __future__ import annotations

import contextlib
import json
import sys
import time

from engine.cli.main import SCREEN_READER, is_set
from engine.display import duration, printable
from engine.run import atomic
from engine.run.events import Event, EventReader, expand, number
from engine.run.layout import RunDir
from engine.run.progress import Progress
from engine.run.state import LAST_TIME, is_live, state_in_list

POLL = 0.5  # seconds
STATE_EVERY = 2.0  # seconds between looks at the state
LINE_INTERVAL = 5.0  # seconds between progress lines
SPOKEN_INTERVAL = 60.0  # the same for a screen reader, which reads every line aloud
DOWNLOAD_INTERVAL = 10.0  # seconds; downloads are long
CODES = {"finished": 0, "stopped": 3, "paused": 3, "died": 1}


def follow(run: RunDir, as_json: bool = False) -> int:
    """Print what happens until the run ends. Ctrl-C leaves it running.

    Returns:
        0 finished, 3 stopped or paused, 2 failed for a reason the user can mend, 1 died or a bug.
    """
    try:
        return _Follower(run, as_json).to_the_end()
    except KeyboardInterrupt:
        if not as_json:
            print(
                f"\nTraining goes on without you. Back: finetui attach {run.name}   Stop: finetui stop {run.name}",
                file=sys.stderr,
            )
        return 130


class _Follower:
    def __init__(self, run: RunDir, as_json: bool) -> None:
        self.run, self.as_json = run, as_json
        self.spoken = is_set(SCREEN_READER)
        self.progress = Progress()
        self.last_step = 0
        self._last_line = self._last_download = self._last_look = -LINE_INTERVAL
        self._tenth = 0
        self._state = "running"

    def to_the_end(self) -> int:
        reader = EventReader(self.run.events)
        while True:
            alive = is_live(self.run)
            events = reader.read()
            for event in events:
                self._event(event)
            self._tell_progress(caught_up=not reader.behind)
            if not alive and not reader.behind and not events:
                return _goodbye(self.run, self.progress, self.last_step, self.as_json)
            if alive and not self.as_json:
                self._tell_state()
            if not reader.behind:
                time.sleep(POLL)

    def _event(self, event: Event) -> None:
        with contextlib.suppress(ArithmeticError, ValueError, TypeError):  # a damaged line may hold anything
            self.progress.feed(event)
        if self.as_json:
            try:
                lines = [json.dumps(point, ensure_ascii=True) for point in expand(event)]
            except TypeError:
                lines = [json.dumps(event, ensure_ascii=True)]
            print("\n".join(lines), flush=True)
        elif (line := describe(event)) is not None:
            print(line, flush=True)
        elif event["kind"] == "progress" and time.monotonic() - self._last_download >= (
            SPOKEN_INTERVAL if self.spoken else DOWNLOAD_INTERVAL
        ):
            self._last_download = time.monotonic()
            print(f"  {printable(event.get('words'), 300)}", flush=True)

    def _tell_progress(self, caught_up: bool) -> None:
        """Now and then how far it is; to a screen reader at every tenth of the way, or once a minute."""
        if self.as_json or self.progress.step == self.last_step or not caught_up:
            return
        since, tenth = time.monotonic() - self._last_line, int(self.progress.fraction * 10)
        due = since >= (SPOKEN_INTERVAL if self.spoken else LINE_INTERVAL)
        if due or (self.spoken and tenth > self._tenth):
            self._last_line, self._tenth, self.last_step = time.monotonic(), tenth, self.progress.step
            with contextlib.suppress(ArithmeticError, ValueError):  # as above
                print(progress_line(self.progress), flush=True)

    def _tell_state(self) -> None:
        """Say once that it has fallen silent, and once that it is back."""
        if time.monotonic() - self._last_look < STATE_EVERY:
            return
        self._last_look = time.monotonic()
        state = state_in_list(self.run)
        if state.state != self._state and "silent" in (state.state, self._state):
            print(f"State: {printable(state.words)}", flush=True)
        self._state = state.state


def progress_line(progress: Progress) -> str:
    """``step 40/120 (33 %)  loss 1.23  eval 1.30  412 tokens/s  about 0:42 left``."""
    loss = progress.latest.get("loss")
    speed = number(progress.latest.get("tokens_per_second"))
    parts = [f"step {progress.step}/{progress.max_steps or '?'} ({progress.fraction:.0%})"]
    parts += [f"loss {_number(loss)}"] if loss is not None else []
    parts += [f"eval {progress.eval_loss:.3f}"] if progress.eval_loss is not None else []
    parts += [f"{speed:,.0f} tokens/s"] if speed is not None else []
    parts += [f"about {duration(progress.eta_seconds)} left"] if progress.eta_seconds is not None else []
    return "  ".join(parts)


def describe(event: Event) -> str | None:
    """One line for an event a person wants to hear of; None for the rest."""
    t = number(event.get("t"))
    clock = (
        time.strftime("%H:%M:%S", time.localtime(t)) if t is not None and 0 < t < LAST_TIME else "--:--:--"
    )
    kind = event["kind"]
    text: str | None = None
    if kind in ("phase", "change", "checkpoint"):
        text = event.get("words")
    elif kind == "warning":
        text = f"Warning: {event.get('words')}"
    elif kind == "evaluation":
        best = "  (best so far)" if event.get("best") else ""
        text = f"Evaluation at step {event.get('step')}: loss {_number(event.get('eval_loss'))}{best}"
    elif kind == "failure":
        text = f"Failed: {event.get('what')} Where: {event.get('where')} Fix: {event.get('fix')}"
    return f"[{clock}] {printable(text)}" if text else None


def _goodbye(run: RunDir, progress: Progress, last_step: int, as_json: bool) -> int:
    if not run.path.is_dir():
        if not as_json:
            print(f"{run.name}: its folder is gone: {run.path}")
        return 1
    state = state_in_list(run)
    if not as_json:
        if progress.step != last_step:
            with contextlib.suppress(ArithmeticError, ValueError):
                print(progress_line(progress))
        print(f"{state.name}: {state.state}. {printable(state.words)}")
        if state.state in ("stopped", "paused", "died"):
            print(f"Continue with: finetui resume {run.name}")
        if state.state in ("failed", "died"):
            print(f"Log: {run.log}")
    if state.state == "failed":
        # The trainer's own code tells a user's error (2) from a bug (1).
        return int((atomic.read_json(run.exit) or {}).get("code") or 2)
    return CODES.get(state.state, 1)


def _number(value: object) -> str:
    found = number(value)
    return f"{found:.3f}" if found is not None else str(value)
