"""``python -m engine.run.sweep_queue SWEEP_DIR``: works through the runs of a sweep, outlives every terminal.

Each run has its own supervisor. This process only starts one after the other, and ends those that fall behind if that is asked.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from engine.errors import UserError
from engine.run import atomic, control, identity, lock, sweeps
from engine.run.events import EventReader, number, whole
from engine.run.halving import RUNGS, at_rung, goes_on
from engine.run.launch import launch
from engine.run.layout import RunDir
from engine.run.state import is_live, read_state
from engine.run.sweeps import Entry, Sweep

POLL = 0.5  # seconds
LOSER = "loser"


def main(path: str) -> int:
    """Take the lock, go into the background, work through the sweep.

    Returns:
        To the starter: 0 once the sweep is ours, `LOCKED` when it is not, 1 when its file is damaged. The background process
        never returns there.
    """
    folder = Path(path)
    try:
        lock.acquire(folder / "lock")
    except lock.LockHeldError:
        return sweeps.LOCKED
    sweep = sweeps.read(folder)
    if sweep is None:
        print("sweep.json is damaged.", flush=True)
        return 1
    if os.fork():
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        atomic.write_json(folder / "process.json", {"queue": identity.describe(os.getpid())})
        _Queue(sweep).run_to_end()
    except OSError as error:
        print(f"The sweep ends: {error}.", flush=True)
    os._exit(0)


class _Queue:
    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    def run_to_end(self) -> None:
        for entry in self.sweep.entries:
            if self.sweep.is_cancelled:
                return
            if entry.outcome:
                continue
            state = read_state(entry.run)
            if state.state != "finished" and not state.live:
                try:
                    launch(entry.run, entry.num_processes, entry.env)
                except UserError as error:
                    self._end(entry, "failed", str(error))
                    continue
            loser = self._wait(entry)
            if self.sweep.is_cancelled:
                return
            state = read_state(entry.run)
            self._end(
                entry, LOSER if loser and state.state == "stopped" else state.state, loser or state.words
            )

    def _wait(self, entry: Entry) -> str:
        """Until a run has ended; returns why it was ended early, if it was."""
        watch = _Evaluations(entry.run, self.sweep.measure)
        before = self._runs_before(entry) if self.sweep.stop_losers else []
        judged: set[float] = set()
        loser, asked = "", False
        while is_live(entry.run):
            if self.sweep.is_cancelled and not asked:
                asked = True
                control.request(entry.run, "stop-and-save")
            watch.read()
            for rung in RUNGS if before and not asked else ():
                if rung in judged or (value := at_rung(watch.values, watch.max_steps, rung)) is None:
                    continue
                judged.add(rung)
                others = [
                    other for run in before if (other := at_rung(run.values, run.max_steps, rung)) is not None
                ]
                if not goes_on(value, others, self.sweep.higher_is_better):
                    best = max(others) if self.sweep.higher_is_better else min(others)
                    loser = (
                        f"Ended at {rung:.0%} of its steps: {self.sweep.measure} {value:.4f}, not in the better half of "
                        f"{len(others) + 1} runs (best {best:.4f})."
                    )
                    asked = True
                    control.request(entry.run, "stop-and-save")
            time.sleep(POLL)
        return loser

    def _runs_before(self, entry: Entry) -> list[_Evaluations]:
        runs = []
        for other in self.sweep.entries:
            if other.name == entry.name:
                break
            runs.append(_Evaluations(other.run, self.sweep.measure))
            runs[-1].read()
        return runs

    def _end(self, entry: Entry, outcome: str, words: str) -> None:
        self.sweep = self.sweep.with_outcome(entry.name, outcome, words)
        sweeps.write(self.sweep)
        print(f"[{time.strftime('%H:%M:%S')}] {entry.name}: {outcome}. {words}", flush=True)


class _Evaluations:
    """What a run has measured so far, by step."""

    def __init__(self, run: RunDir, measure: str) -> None:
        self.values: dict[int, float] = {}
        self.max_steps = 0
        self._reader, self._measure = EventReader(run.events), measure

    def read(self) -> None:
        """Take the events that arrived."""
        while self._reader.behind:
            for event in self._reader.read():
                self.max_steps = whole(event.get("max_steps")) or self.max_steps
                step, value = whole(event.get("step")), number(event.get(self._measure))
                if event["kind"] == "evaluation" and step is not None and value is not None:
                    self.values[step] = value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
