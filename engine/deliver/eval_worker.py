"""``python -m engine.deliver.eval_worker RUN_DIR OPTIONS``: measure two models of a run on rows they never learned from.

OPTIONS is JSON: ``sides`` (the one before or null, the one after), ``data`` (a file or null), ``limit``, ``metrics``, ``function``,
``function_seconds``, ``judge`` (``url`` and ``model``), ``tasks`` (whose names are checked), ``max_new_tokens``, ``batch_size``. Messages: ``note``, ``ready``,
``progress``, and at the end ``report``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from engine.deliver.evaluate import auto, kinds, tasks
from engine.deliver.evaluate import rows as choosing
from engine.deliver.evaluate.difference import weights_of
from engine.deliver.evaluate.judge import Judge
from engine.deliver.evaluate.measure import Measuring
from engine.deliver.evaluate.own_function import SECONDS, OwnFunction
from engine.deliver.evaluate.statistics import RESAMPLES, SEED
from engine.deliver.evaluate.summarise import report
from engine.deliver.loading import explained, load_sides
from engine.deliver.protocol import input_ended, run_worker, send
from engine.deliver.source import Trained, find_trained
from engine.errors import UserError
from engine.run.layout import RunDir

SHORTEST, LONGEST, USUAL = 64, 1024, 256  # tokens of an answer
GUESSING = "guessing"


def main(run_path: str, options: str) -> int:
    """Measure, and send the report."""

    def work(channel: IO[str]) -> None:
        function: list[OwnFunction] = []
        try:
            _evaluate(channel, RunDir(Path(run_path)), json.loads(options), function)
        finally:
            for one in function:
                one.close()

    return run_worker(work, explained)


def _evaluate(channel: IO[str], run: RunDir, wanted: dict[str, Any], opened: list[OwnFunction]) -> None:
    began, gone = time.time(), input_ended().is_set
    before, after = (which and find_trained(run, which) for which in wanted["sides"])
    config = after.config
    file = wanted.get("data")
    data = choosing.choose(run, config, Path(file) if file else None, int(wanted["limit"]))
    for note in data.notes:
        send(channel, "note", words=note)
    references = [prompt.expected.strip() for prompt in data.asked if prompt.expected]
    is_text = after.kind == "text" or any(isinstance(prompt.content, str) for prompt in data.asked)
    names = auto.chosen(wanted.get("metrics") or [], config.method.objective, is_text, references)
    judge = None
    # What can go wrong quickly comes before what takes minutes.
    if wanted.get("function"):
        opened.append(OwnFunction(Path(wanted["function"]), float(wanted.get("function_seconds") or SECONDS)))
    if wanted.get("judge"):
        judge = Judge(wanted["judge"]["url"], wanted["judge"]["model"])
        judge.check()
    if wanted.get("tasks"):
        tasks.check_names(wanted["tasks"])
    loaded, tokenizer = load_sides([after] if before is None else [after, before])
    sides = loaded[::-1]
    sides_names = (before.name if before is not None else GUESSING, after.name)
    send(
        channel,
        "ready",
        before={"name": sides_names[0], "words": before.words if before is not None else "guessing"},
        after={"name": after.name, "words": after.words},
        data=data.words,
        rows=len(data.rows),
    )
    measuring = Measuring(
        sides,
        tokenizer,
        config,
        data.rows,
        data.asked,
        _Progress(channel),
        gone,
        int(wanted.get("batch_size") or 8),
    )
    weights = weights_of(sides)
    measuring.read()
    is_online = config.method.objective in ("grpo", "rloo")
    asks = kinds.OF_ANSWERS.intersection(names) or opened or judge is not None or is_online
    most = int(wanted.get("max_new_tokens") or 0) or _longest(after, tokenizer, references)
    if asks and after.kind != "score" and not gone():
        measuring.answer(most)
        measuring.compare(names)
        if is_online and not gone():
            measuring.reward()
        for function in opened:
            _or_note(measuring, "Your function", "function", partial(measuring.call, function))
        if judge is not None and not gone():
            _or_note(measuring, "The judge", "judge", partial(measuring.judge, judge))
    if gone():
        return
    settings = {
        "metrics": names, "chosen_by_user": bool(wanted.get("metrics")) and wanted["metrics"][0] != kinds.AUTO, "limit": wanted["limit"], "max_new_tokens": most, "seed": SEED, "resamples": RESAMPLES,
        "data": file, "function": wanted.get("function"), "judge": wanted.get("judge"),
    }  # fmt: skip
    measuring.found.notes[:0] = data.notes
    made = report(
        run.name,
        config,
        measuring.found,
        data.asked,
        names,
        weights,
        sides_names,
        data.words,
        settings,
        began,
    )
    send(channel, "report", report=made.to_dict())


def _or_note(measuring: Measuring, who: str, metric: str, work: Callable[[], None]) -> None:
    """What breaks in the middle does not take the numbers with it that are there already."""
    try:
        work()
    except UserError as error:
        for scores in measuring.found.scores:
            scores.pop(metric, None)
        measuring.found.notes.insert(0, f"{who} is left out. {error.what} ({error.where}) {error.fix}")


def _longest(trained: Trained, tokenizer: Any, references: Sequence[str]) -> int:
    """Longest answer in tokens: half as long again as the longest wanted one."""
    if trained.config.method.objective in ("grpo", "rloo") or not references:
        return trained.config.generation.max_completion_length or USUAL
    longest = max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in references)
    return min(LONGEST, max(SHORTEST, longest * 3 // 2 + 16))


class _Progress:
    """Tells how far it is, and how long this part still takes; at most five times a second."""

    def __init__(self, channel: IO[str]) -> None:
        self._channel = channel
        self._words, self._began, self._told = "", 0.0, 0.0
        self._lock = threading.Lock()  # the judge is asked from several threads

    def __call__(self, words: str, done: int, total: int) -> None:
        with self._lock:
            now = time.monotonic()
            if words != self._words:
                self._words, self._began, self._told = words, now, 0.0
            if now - self._told < 0.2 and done < total:
                return
            self._told = now
            spent = now - self._began
            left = round(spent / done * (total - done), 1) if done and spent > 1 else None
            send(self._channel, "progress", words=words, done=done, total=total, left=left)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
