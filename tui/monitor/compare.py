"""Reading another run to compare with."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.display import printable
from engine.run.layout import RunDir
from tui.monitor.view import Other
from tui.monitor.watch import Watch

SLICE = 0.02  # seconds of work at a time, so that the thread of the screen gets its turn
BREATH = 0.002  # seconds between slices


def read_other(run: RunDir, is_cancelled: Callable[[], bool] = lambda: False) -> Watch:
    """Read all of a run in slices; for a thread of its own, because it may be long.

    Args:
        run: Its directory.
        is_cancelled: Whether nobody waits for it any more.
    """
    watch = Watch(run)
    while (watch.read(seconds=SLICE) or watch.behind) and not is_cancelled():
        time.sleep(BREATH)
    watch.look()
    watch.model.loss.name = printable(run.name, 40)
    return watch


def curves_of(watch: Watch) -> Other:
    """What is drawn of another run."""
    watch.model.loss.name = name = printable(
        watch.run.name, 40
    )  # the model is a new one when the file was replaced
    return Other(name, watch.model.loss, watch.model.eval_loss)
