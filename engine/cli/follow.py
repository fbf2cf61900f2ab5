"""A run as plain lines: for pipes, logs, screen readers and terminals that cannot show more."""

from __future__ import annotations

import json
import sys
import time

from engine.display import duration, printable
from engine.run import atomic
from engine.run.events import Event, EventReader, expand, number
from engine.run.layout import RunDir
from engine.run.progress import Progress
from engine.run.state import is_live, read_state

POLL = 0.5  # seconds
LINE_INTERVAL = 5.0  # seconds between progress lines
DOWNLOAD_INTERVAL = 10.0  # seconds; downloads are long
CODES = {"finished": 0, "stopped": 3, "died": 1}


def follow(run: RunDir, as_json: bool = False, from_start: bool = True) -> int:
    """Print what happens until the run ends. Ctrl-C leaves it running.

    Returns:
        0 finished, 3 stopped, 2 failed for a reason the user can mend, 1 died or a bug.
    """
    reader = EventReader(run.events)
    progress = Progress()
    last_line, last_step, last_download = 0.0, 0, 0.0
    try:
        while True:
            alive = is_live(run)
            events = reader.read()
            for event in events:
                progress.feed(event)
                if as_json:
                    for point in expand(event):
                        print(json.dumps(point, ensure_ascii=True), flush=True)
                elif (line := describe(event)) is not None:
                    print(line, flush=True)
                elif event["kind"] == "progress" and time.monotonic() - last_download >= DOWNLOAD_INTERVAL:
                    last_download = time.monotonic()
                    print(f"  {printable(event.get('words'), 300)}", flush=True)
            if not as_json and progress.step != last_step and time.monotonic() - last_line >= LINE_INTERVAL:
                last_line, last_step = time.monotonic(), progress.step
                print(progress_line(progress), flush=True)
            if not alive and not reader.behind and not events:
                return _goodbye(run, progress, last_step, as_json)
            if not reader.behind:
                time.sleep(POLL)
    except KeyboardInterrupt:
        if not as_json:
            print(
                f"\nTraining goes on without you. Back: finetui attach {run.name}   Stop: finetui stop {run.name}",
                file=sys.stderr,
            )
        return 130


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
    clock = time.strftime("%H:%M:%S", time.localtime(number(event.get("t")) or 0))
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
    state = read_state(run)
    if not as_json:
        if progress.step != last_step:
            print(progress_line(progress))
        print(f"{state.name}: {state.state}. {printable(state.words)}")
        if state.state in ("stopped", "died"):
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
