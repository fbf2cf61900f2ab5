"""Is the trained model better? Measured against the base on rows that the training held out.

Without --metrics those are taken that fit the data; the first one decides. All models always take the likeliest word, so the same
command gives the same numbers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.chat import add_model_options
from engine.cli.main import Parser, Screen
from engine.deliver.evaluate.kinds import ASKABLE, LIMIT
from engine.display import printable
from engine.errors import UserError
from engine.run.state import find_run

if TYPE_CHECKING:
    from engine.deliver.evaluate.report import Report
    from engine.deliver.evaluate.run_evaluate import Progress, Wanted

EXAMPLE = "finetui eval demo --metrics exact_match,token_f1"
WORST = 5


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the newest run")
    parser.add_argument("--metrics", metavar="LIST", help=f"auto, or of: {', '.join(ASKABLE)}; default auto")
    parser.add_argument("--data", metavar="FILE", help="a dataset to measure on instead of the held-out rows")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, metavar="N", help=f"most rows; default {LIMIT}, 0 for all"
    )
    parser.add_argument(
        "--max_new_tokens", type=int, metavar="N", help="longest answer; default: as the data call for"
    )
    parser.add_argument(
        "--function",
        metavar="FILE",
        help="your own metric: a Python file with score(prompt, answer, reference)",
    )
    parser.add_argument(
        "--function_seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="longest time for one answer; default 10",
    )
    parser.add_argument(
        "--judge", metavar="URL", help="an OpenAI-compatible endpoint; key in FINETUI_JUDGE_API_KEY"
    )
    parser.add_argument("--judge_model", metavar="NAME", help="the model that judges there")
    parser.add_argument("--tasks", metavar="LIST", help="benchmarks of lm-eval, such as hellaswag,arc_easy")
    parser.add_argument(
        "--task_limit", type=int, default=0, metavar="N", help="most documents of each benchmark"
    )
    add_model_options(parser)
    parser.add_argument(
        "--worst", type=int, default=WORST, metavar="N", help=f"worst rows shown; default {WORST}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with everything")
    parser.add_argument("--out", metavar="FILE", help="write that JSON to a file, too")
    parser.add_argument("--yes", action="store_true", help="do not ask before rows are sent to a judge")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Measure, and print the table, the verdict and the worst rows."""
    from engine.deliver.evaluate.run_evaluate import Evaluate, Finished, Note, Started
    from engine.run import atomic

    for key, least in (("limit", 0), ("max_new_tokens", 1), ("task_limit", 0), ("worst", 0)):
        if getattr(args, key) is not None and getattr(args, key) < least:
            raise UserError(f"--{key} has to be at least {least}.", "command line", "Such as 100.")
    found = find_run(args.name)
    out = None if args.out is None else Path(args.out).expanduser().absolute()
    if out is not None and not out.parent.is_dir():
        raise UserError(
            "There is no such folder.", str(out.parent), "Make it first, or choose another --out."
        )
    evaluate = Evaluate(found, _wanted(args))
    evaluate.check()
    if args.judge is not None and not args.yes:
        _ask(args.judge, args.limit)
    say = _Lines(args.json)
    say.line("Loading the models ...")
    report: Report | None = None
    path: Path | None = None
    try:
        for came in evaluate.results():
            if isinstance(came, Finished):
                report, path = came.report, came.path
            elif isinstance(came, Started):
                say.line(printable(f"Before: {came.words[0]}. After: {came.words[1]}. On {came.data}."))
            elif isinstance(came, Note):
                say.line(printable(came.words))
            else:
                say.progress(came)
    finally:
        say.end()
        evaluate.close()
    assert report is not None
    if out is not None:
        try:
            atomic.write_json(out, report.to_dict())
        except OSError as error:
            raise UserError(
                f"The result cannot be written there: {error.strerror}.",
                str(out),
                f"It is saved in {path}." if path else "Choose another file.",
            ) from error
    if args.json:
        print(json.dumps(report.to_dict()))
    else:
        _print(report, args.worst, out or path)
    return 0


def _wanted(args: argparse.Namespace) -> Wanted:
    from engine.deliver.evaluate.run_evaluate import Wanted
    from engine.deliver.source import BASE

    return Wanted(
        which=BASE if args.base else args.checkpoint,
        against=args.against,
        metrics=_listed(args.metrics),
        data=None if args.data is None else Path(args.data),
        limit=args.limit,
        function=None if args.function is None else Path(args.function),
        function_seconds=args.function_seconds,
        judge=args.judge,
        judge_model=args.judge_model,
        tasks=_listed(args.tasks),
        task_limit=args.task_limit,
        max_new_tokens=args.max_new_tokens,
        device=args.device,
    )


def _listed(text: str | None) -> list[str]:
    return [] if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _ask(url: str, limit: int) -> None:
    """Nothing leaves the machine unasked.

    Raises:
        UserError: There is nobody to ask, or the answer is no.
    """
    from engine.deliver.evaluate.judge import is_here

    rows = f"up to {limit:,} rows" if limit else "all rows"
    words = f"The judge gets the questions, the wanted answers and both models' answers of {rows}; they are sent to {printable(url, 200)}."
    if is_here(url):
        print(words, file=sys.stderr)  # it stays on this machine
        return
    if not sys.stdin.isatty():
        raise UserError(words, "--judge", "If that is right, add --yes.")
    print(words, file=sys.stderr)
    print("Send them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("Nothing was sent.", "--judge", "Leave --judge out to measure without a judge.")


def _print(report: Report, worst: int, path: Path | None) -> None:
    from engine.deliver.evaluate.show import table, worst_lines, worst_rows

    print()
    for text, words, _ in table(report, shutil.get_terminal_size((100, 24)).columns):
        print(f"{text}  {words}".rstrip())
    print()
    for sentence in report.words:
        print(printable(sentence))
    if report.change.words and report.change.words not in " ".join(report.words):
        print(printable(report.change.words))
    for note in report.notes:
        print(printable(note))
    main = report.main
    shown: set[int] = set()
    for order, name in (("metric", main.title if main is not None else ""), ("loss", "loss")):
        rows = [row for row in worst_rows(report, order)[:worst] if row.number not in shown]
        if rows and (order == "metric" or report.primary != "loss"):
            print(f"\nWorst rows by {printable(name, 60)}:\n")
            print("\n".join(worst_lines(report, rows)).rstrip())
            shown |= {row.number for row in rows}
    if path is not None:
        print(f"\nEverything is saved in {printable(path, 500)}")


class _Lines:
    """Progress for people, on standard error: one line that changes where that is a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._changes = quiet, sys.stderr.isatty()
        self._words, self._open = "", False

    def line(self, text: str) -> None:
        if not self._quiet:
            self.end()
            print(text, file=sys.stderr, flush=True)

    def progress(self, progress: Progress) -> None:
        if self._quiet:
            return
        if self._changes:
            print(f"\r\x1b[K{printable(progress.line(), 100)}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif progress.words != self._words:
            count = f" ({progress.total:,})" if progress.total else ""
            print(
                printable(f"{progress.words[:1].upper()}{progress.words[1:]}{count} ..."),
                file=sys.stderr,
                flush=True,
            )
        self._words = progress.words

    def end(self) -> None:
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = False
