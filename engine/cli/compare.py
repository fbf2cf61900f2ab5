"""The same questions to the base and the trained model: what changed, and whether the answers end by themselves.

Without --prompts the run's own questions are asked (sample_prompts), and rows of the dataset that it never learned from.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.chat import add_model_options
from engine.cli.main import Parser, Screen
from engine.display import printable
from engine.errors import UserError
from engine.run.state import find_run

if TYPE_CHECKING:
    from engine.deliver.compare import Compared, Started

EXAMPLE = "finetui compare demo --limit 5"
LONGEST = 20_000  # characters of an answer that are printed


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the newest run")
    parser.add_argument(
        "--prompts", metavar="FILE", help='questions: plain lines, or JSON lines with "prompt" or "messages"'
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="most questions; default 20")
    parser.add_argument(
        "--max_new_tokens", type=int, default=256, metavar="N", help="longest answer in tokens; default 256"
    )
    add_model_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="one JSON object for each question, then a summary"
    )


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Ask both, and print the answers side by side."""
    from engine.deliver.compare import Compare, Note, Started, summary
    from engine.deliver.source import BASE, RESULT

    for key in ("limit", "max_new_tokens"):
        if getattr(args, key) < 1:
            raise UserError(f"--{key} has to be at least 1.", "command line", "Such as 20.")
    found = find_run(args.name)
    prompts = None if args.prompts is None else Path(args.prompts)
    against = args.against or (RESULT if args.base else BASE)
    which = BASE if args.base else args.checkpoint
    compare = Compare(found, which, against, prompts, args.limit, args.max_new_tokens, args.device)
    if not args.json:
        print("Loading the models ...", file=sys.stderr, flush=True)
    answers: list[Compared] = []
    started: Started | None = None
    try:
        for result in compare.results():
            if isinstance(result, Started):
                started = result
                if not args.json:
                    print(f"Before: {printable(result.words[0])}. After: {printable(result.words[1])}.\n")
            elif isinstance(result, Note):
                number = "" if result.number is None else f"Question {result.number + 1} is left out: "
                print(printable(number + result.words), file=sys.stderr, flush=True)
            else:
                answers.append(result)
                assert started is not None
                if args.json:
                    print(json.dumps({"kind": "answer", **result.to_dict()}), flush=True)
                else:
                    print("\n".join(_lines(result, started)) + "\n", flush=True)
    finally:
        compare.close()
    assert started is not None
    if args.json:
        told = {
            "total": len(answers),
            "changed": sum(one.changed for one in answers),
            "before_stopped": sum(one.before_stopped for one in answers),
            "after_stopped": sum(one.after_stopped for one in answers),
            "words": summary(answers, started.before, started.after),
        }
        print(json.dumps({"kind": "summary", "before": started.before, "after": started.after, **told}))
    else:
        print(summary(answers, started.before, started.after))
        print(f"Ask your own questions: finetui chat {found.name} --against {started.before}")
    return 0


def _lines(one: Compared, started: Started) -> list[str]:
    mark = "changed" if one.changed else "the same"
    rows = [("question", one.question, True), (started.before, one.before, one.before_stopped)]
    rows.append((started.after, one.after, one.after_stopped))
    if one.expected is not None:
        rows.append(("expected", one.expected, True))
    wide = max(len(label) for label, _, _ in rows)
    lines = [f"{one.number + 1} of {started.total}  ({one.source})  {mark}"]
    for label, text, stopped in rows:
        shown = printable(text, LONGEST, newlines=True).replace("\n", "\n" + " " * (wide + 4))
        end = "" if stopped else "  [cut off, it did not stop by itself]"
        lines.append(f"  {label:<{wide}}  {shown}{end}")
    return lines
