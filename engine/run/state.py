"""What a run is doing, in words, from its directory alone."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.run import atomic, changes, identity, lock
from engine.run.events import Event, number, parse_line, tail_events, whole
from engine.run.home import runs_home
from engine.run.layout import RunDir, check_name

SILENT_AFTER = 45.0  # seconds without an event; the trainer sends a heartbeat every ten
FIRST_EVENTS = 8  # model, method and dataset are told in the second or third
LAST_TIME = 4e10  # seconds since 1970; beyond it `time.localtime` fails on some systems
LIVE = ("starting", "running", "silent")
ENDED = ("finished", "stopped", "paused", "failed", "died")


@dataclass(frozen=True, slots=True)
class RunState:
    """One line of the list of runs.

    Attributes:
        state: new, starting, running, silent, finished, stopped, paused, failed or died.
        words: The state in a sentence, with the cause where there is one.
        started: Unix time of the first event, or of the folder.
        updated: Unix time of the last event.
        changed: What differs from run.yaml because the run had to be healed, such as ``batch 8 → 4``.
    """

    name: str
    path: str
    state: str
    words: str
    phase: str
    step: int
    max_steps: int
    epoch: float | None
    loss: float | None
    eval_loss: float | None
    started: float
    updated: float
    attempt: int
    model: str
    method: str
    dataset: str
    changed: str = ""

    @property
    def live(self) -> bool:
        return self.state in LIVE

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def read_state(run: RunDir, now: float | None = None) -> RunState:
    """Tell a run's state from its lock, its last events and its obituary."""
    now = time.time() if now is None else now
    events = tail_events(run.events)
    first = _first_events(run)
    obituary = atomic.read_json(run.exit)
    updated = next((t for e in reversed(events) if (t := _when(e)) is not None), 0.0) or _mtime(run.path)
    state, words = _state(run, events, obituary, updated, now)
    return RunState(
        name=run.name,
        path=str(run.path),
        state=state,
        words=words,
        phase=str(_latest(events, "phase") or ""),
        step=whole(_latest(events, "step")) or 0,
        max_steps=whole(_latest(events, "max_steps")) or 0,
        epoch=number(_latest(events, "epoch")),
        loss=number(_latest(events, "loss")),
        eval_loss=number(_latest(events, "eval_loss")),
        started=_when(first) or _mtime(run.path),
        updated=updated,
        attempt=whole(_latest(events, "attempt")) or 0,
        model=str(first.get("model") or ""),
        method=str(first.get("method") or ""),
        dataset=str(first.get("dataset") or ""),
        changed=changes.summary(run),
    )


def list_runs() -> list[RunState]:
    """Every run, newest first; `engine.run.listing` is for those who ask again and again."""
    return sorted((state_in_list(run) for run in run_dirs()), key=lambda state: state.started, reverse=True)


def state_in_list(run: RunDir, now: float | None = None) -> RunState:
    """As `read_state`; a run whose files make no sense is ``unreadable``, so that it cannot hide the others."""
    try:
        return read_state(run, now)
    except (ArithmeticError, ValueError, TypeError, OSError):
        when = _mtime(run.path)
        words = "The newest events of this run make no sense."
        return RunState(
            run.name,
            str(run.path),
            "unreadable",
            words,
            "",
            0,
            0,
            None,
            None,
            None,
            when,
            when,
            0,
            "",
            "",
            "",
        )


def live_runs() -> list[str]:
    """Names of the runs that are going on; only locks are looked at, so it is quick."""
    return [run.name for run in run_dirs() if is_live(run)]


def find_run(name: str | None, only_live: bool = False) -> RunDir:
    """The run of that name; without a name the live one, else the newest.

    Raises:
        UserError: There is none, or several are live and none was named.
    """
    if name is not None:
        run = RunDir(runs_home() / check_name(name))
        if not run.path.is_dir():
            near = difflib.get_close_matches(name, [other.name for other in run_dirs()], 1, 0.5)
            raise UserError(
                "There is no run of this name.",
                str(run.path),
                f"Did you mean {near[0]}? List all with: finetui runs"
                if near
                else "List all with: finetui runs",
            )
        return run
    runs = list_runs()
    live = [state for state in runs if state.live]
    if len(live) > 1:
        raise UserError(
            f"{len(live)} runs are going on.",
            ", ".join(state.name for state in live),
            "Say which one you mean.",
        )
    chosen = live or ([] if only_live else runs)
    if not chosen:
        raise UserError(
            "No run is going on." if only_live else "There are no runs yet.",
            str(runs_home()),
            "Start one with: finetui demo",
        )
    return RunDir(Path(chosen[0].path))


def run_dirs() -> Iterator[RunDir]:
    """The folder of every run, by name."""
    try:
        entries = sorted(runs_home().iterdir())
    except OSError:
        return
    for path in entries:
        if path.name.startswith("."):  # being removed
            continue
        if path.is_dir() and ((path / "run.yaml").exists() or (path / "events.jsonl").exists()):
            yield RunDir(path)


def is_live(run: RunDir) -> bool:
    """Whether a supervisor or trainer works on the run now."""
    held = lock.is_held(run.lock)
    if held is None:
        return identity.is_alive(identity.read(run.process, "trainer"))
    return held


def _state(
    run: RunDir, events: list[Event], obituary: dict[str, Any] | None, updated: float, now: float
) -> tuple[str, str]:
    if is_live(run):
        if not events:
            return "starting", "starting"
        if now - updated > SILENT_AFTER:
            since = time.strftime("%H:%M", time.localtime(updated))
            return "silent", f"silent since {since}: it runs, but has said nothing for {int(now - updated)} s"
        return "running", "running"
    if obituary is not None and obituary.get("state") == "paused":
        return "paused", _paused_words(obituary, now)
    if obituary is not None and obituary.get("state") in ENDED:
        return str(obituary["state"]), str(obituary.get("cause") or obituary["state"])
    attempt = _latest(events, "attempt")
    told = next(
        (e for e in reversed(events) if e["kind"] in ("finished", "failure") and e.get("attempt") == attempt),
        None,
    )
    if told is not None and told["kind"] == "finished":
        outcome = told.get("outcome")
        return (str(outcome) if outcome in ("stopped", "paused") else "finished"), str(
            told.get("words") or "finished"
        )
    if told is not None:
        return "failed", str(told.get("what") or "failed")
    if not run.lock.exists():
        return "new", "not started yet"
    return (
        "died",
        "Supervisor and trainer ended without a word: the machine or the container was probably restarted.",
    )


def _paused_words(obituary: dict[str, Any], now: float) -> str:
    """With since when, because a machine that is paid for stands still meanwhile."""
    cause, ended = str(obituary.get("cause") or "Paused."), number(obituary.get("ended"))
    try:
        then = time.localtime(math.nan if ended is None else ended)
    except (ArithmeticError, ValueError, OSError):
        return cause
    clock = "%H:%M" if then[:3] == time.localtime(now)[:3] else "%a %d %b %H:%M"
    return f"Since {time.strftime(clock, then)}: {cause[:1].lower()}{cause[1:]}"


def _first_events(run: RunDir) -> Event:
    """What the first events say together: when the run began, and what it is about."""
    found: Event = {}
    try:
        with open(run.events, "rb") as handle:
            for line in islice(handle, FIRST_EVENTS):
                found = {**(parse_line(line[:65536]) or {}), **found}
    except OSError:
        return found
    return found


def _when(event: Event) -> float | None:
    """The time of an event, if it can be one: a damaged line may hold any number."""
    t = number(event.get("t"))
    return t if t is not None and 0 < t < LAST_TIME else None


def _latest(events: list[Event], key: str) -> Any:
    return next((event[key] for event in reversed(events) if event.get(key) is not None), None)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
