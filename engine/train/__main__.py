"""``python -m engine.train RUN_DIR``: the trainer process, started by the supervisor."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from engine.errors import UserError
from engine.run.changes import RESTART
from engine.run.layout import RunDir
from engine.train.recorder import Recorder

BEFORE_TRAINING = (
    "starting",
    "loading data",
    "downloading",
    "loading tokenizer",
    "tokenizing",
    "loading model",
    "sampling before",
    "resuming",
)


class _Termination:
    """SIGTERM: before training there is nothing to save, so end at once; later, ask the loop to save and end."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.requested = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        if self.recorder.phase_name in BEFORE_TRAINING:
            # Writing events here could deadlock on the writer's lock; the supervisor writes the obituary.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


def main(run_path: str) -> int:
    """Train the run.

    Returns:
        0 finished or stopped as asked, 2 something the user can put right, 1 a bug, `RESTART` when the supervisor is asked to
        start the trainer again.
    """
    run = RunDir(Path(run_path))
    recorder = Recorder(run)
    termination = _Termination(recorder)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, termination)
    recorder.phase("starting", "Starting.", pid=os.getpid())
    recorder.start()
    from engine.train.heal.recover import Restart, healing

    try:
        from engine.train.job import train

        with healing(run, recorder):
            train(run, recorder, lambda: termination.requested, own_process=True)
    except Restart:
        return RESTART
    except UserError as error:
        print("\n".join(error.lines()), flush=True)
        recorder.emit("failure", what=error.what, where=error.where, fix=error.fix, phase=recorder.phase_name)
        return 2
    except Exception as error:
        traceback.print_exc()
        recorder.emit(
            "failure",
            what=f"{type(error).__name__}: {str(error)[:500]}",
            where=f"while {recorder.phase_name}",
            fix=f"The full traceback is in {run.log}",
            phase=recorder.phase_name,
        )
        return 1
    finally:
        recorder.close()
    return 0


def leave(code: int) -> None:
    """End the process. Where several train together, not by Python's way: what the libraries clean up last may wait for a
    process that is gone, or abort one whose work is done."""
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if code != RESTART and not together:
        sys.exit(code)
    if code != RESTART:
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1]))
