"""Processes that check parts of a file side by side, and hand back the results in order.

A process of the crew is ``python -m engine.data.check.crew``. It reads tasks from its standard input and ends with it,
so that none is left behind however its parent ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from engine.errors import UserError

Result = TypeVar("Result")


class Crew:
    """Some processes that run module-level functions."""

    def __init__(self, size: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.data.check.crew"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            for _ in range(size)
        ]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(size)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(
                        OSError
                    ):  # what waits for a process that is gone cannot be delivered
                        pipe.close()
            process.wait()

    def map(self, work: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """Results in the order of the tasks; only a few tasks are under way at a time.

        Raises:
            UserError: A process was ended from outside, such as for lack of memory.
        """
        under_way: deque[Future[Result]] = deque()
        for task in tasks:
            under_way.append(self._threads.submit(self._run, work, task))
            if len(under_way) > 2 * len(self._processes):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _run(self, work: Callable[..., Result], task: tuple[Any, ...]) -> Result:
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((work, task), process.stdin, protocol=5)
            process.stdin.flush()
            ok, result = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise UserError(
                "A process that checks the dataset ended unexpectedly.",
                "this machine",
                "It may have run out of memory. Close other programs and try again.",
            ) from None
        finally:
            self._idle.put(process)
        if not ok:
            raise RuntimeError(result)
        found: Result = result
        return found


def serve() -> None:
    """In a process of the crew: do tasks until there are no more."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            work, task = pickle.load(source)
        except EOFError:
            return
        try:
            answer = (True, work(*task))
        except Exception:
            answer = (False, traceback.format_exc())
        pickle.dump(answer, sink, protocol=5)
        sink.flush()


if __name__ == "__main__":
    serve()
