"""``python -m engine.deliver.compare_worker RUN_DIR FILE LIMIT [OPTIONS]``: the same questions to two models of a run.

FILE holds the questions, one a line; ``-`` takes those of the run itself. OPTIONS is JSON: ``sides`` (first the one before,
then the one after; the base and the result by default), ``max_new_tokens``, ``batch_size``. One ``answer`` message comes for
each question, with ``before`` and ``after``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from engine.deliver import prompts as questions
from engine.deliver.generation import Answer, answer_all, window_of
from engine.deliver.loading import Side, explained, load_sides
from engine.deliver.protocol import input_ended, run_worker, send
from engine.deliver.source import BASE, find_trained
from engine.deliver.window import fitted
from engine.errors import UserError
from engine.run.layout import RunDir

OWN = "-"
MAX_NEW_TOKENS = 256
BATCH = 16
CHUNK = 4  # questions first, so that something is soon there to read


def main(run_path: str, file: str, limit: str, options: str = "{}") -> int:
    """Ask, and send the answers."""

    def ask(channel: IO[str]) -> None:
        wanted = json.loads(options)
        run = RunDir(Path(run_path))
        before, after = (find_trained(run, which) for which in wanted.get("sides") or (BASE, None))
        if file == OWN:
            asked, notes = questions.of_run(run, after.config, int(limit))
        else:
            asked, notes = questions.of_file(Path(file), int(limit), after.kind == "text"), []
        for note in notes:
            send(channel, "note", words=note)
        (new, old), tokenizer = load_sides([after, before])
        send(
            channel,
            "ready",
            before={"name": before.name, "words": before.words},
            after={"name": after.name, "words": after.words},
            total=len(asked),
        )
        gone = input_ended().is_set
        max_new_tokens = int(wanted.get("max_new_tokens") or MAX_NEW_TOKENS)
        batch = int(wanted.get("batch_size") or BATCH)
        start, size = 0, CHUNK
        while start < len(asked) and not gone():
            part = asked[start : start + size]
            _compare(channel, (old, new), tokenizer, part, start, max_new_tokens, batch, gone)
            start, size = start + len(part), batch

    return run_worker(ask, explained)


def _compare(
    channel: IO[str],
    sides: tuple[Side, Side],
    tokenizer: Any,
    part: Sequence[questions.Prompt],
    start: int,
    max_new_tokens: int,
    batch: int,
    gone: Callable[[], bool],
) -> None:
    ids: list[list[int]] = []
    fitting: list[int] = []
    for number, prompt in enumerate(part):
        try:
            fit = fitted(
                tokenizer, prompt.content, window_of(sides[1].model), max_new_tokens, None, prompt.tools
            )
        except UserError as error:
            send(channel, "skipped", number=start + number, question=prompt.question, words=error.what)
            continue
        ids.append(fit.ids)
        fitting.append(number)
        max_new_tokens = min(max_new_tokens, fit.max_new_tokens)
    made: list[list[Answer]] = []
    for side in sides:
        with side.active() as model:
            made.append(answer_all(model, tokenizer, ids, max_new_tokens, batch, cancelled=gone))
    if gone():
        return
    for number, old, new in zip(fitting, *made, strict=True):
        prompt = part[number]
        send(
            channel,
            "answer",
            number=start + number,
            source=prompt.source,
            question=prompt.question,
            prompt=prompt.content,
            expected=prompt.expected,
            row=prompt.row,
            before=old.text,
            after=new.text,
            before_stopped=old.stopped,
            after_stopped=new.stopped,
            before_tokens=old.tokens,
            after_tokens=new.tokens,
            changed=old.token_ids != new.token_ids,
        )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
