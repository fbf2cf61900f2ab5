"""Look at a dataset before it is trained on: check and repair it, see a row as the model does, count its tokens."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, get_args

from engine.cli.main import Parser, Screen
from engine.data.forms import Conversation, Form, Labelled, Objective, Preference, PromptOnly
from engine.display import printable
from engine.errors import UserError

EXAMPLE = "finetui data check train.jsonl --model Qwen/Qwen3-0.6B --max_length 2048"
_COLOURS = {"learnt": "32", "end": "1;7;32", "masked": "2", "cut": "9;31"}


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parts = parser.add_subparsers(
        dest="part", required=True, metavar="check|preview|stats", parser_class=Parser
    )
    check = parts.add_parser(
        "check", help="find what is wrong, with lines; repair into a new file", allow_abbrev=False
    )
    check.add_argument("paths", nargs="+", metavar="PATH", help="files, folders or ids of Hub datasets")
    check.add_argument("--eval", metavar="PATH", help="evaluation data, to find rows that are in both")
    check.add_argument("--fix", metavar="OUT", help="write a repaired copy to this new .jsonl file")
    preview = parts.add_parser(
        "preview", help="one row, token by token, and what is learnt of it", allow_abbrev=False
    )
    preview.add_argument("paths", nargs=1, metavar="PATH", help="a file, folder or id of a Hub dataset")
    preview.add_argument(
        "--row", type=_positive, default=1, metavar="N", help="which of the usable rows (default 1)"
    )
    stats = parts.add_parser(
        "stats", help="lengths in tokens, and settings that suit them", allow_abbrev=False
    )
    stats.add_argument("paths", nargs="+", metavar="PATH", help="files, folders or ids of Hub datasets")
    for part in (check, preview, stats):
        part.add_argument(
            "--model",
            metavar="M",
            required=part is not check,
            help="folder or Hub id of the model whose tokenizer counts",
        )
        part.add_argument("--max_length", type=_positive, metavar="N", help="limit of a row in tokens")
        part.add_argument(
            "--objective",
            choices=get_args(Objective),
            help="what the data are for (default: what suits them)",
        )
        part.add_argument(
            "--mapping", metavar="ROLE=COLUMN,...", help="columns assigned by hand, as in run.yaml"
        )
        part.add_argument("--format", metavar="F", help="how rows are read, as in run.yaml")
        part.add_argument(
            "--chat_template", default="model", metavar="T", help="as in run.yaml (default: the model's own)"
        )
    for part in (check, stats):
        part.add_argument(
            "--exact", action="store_true", help="count the tokens of all rows, not of a sample"
        )
        part.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Do one of the three. Exit code 2 where nothing can be trained on or the run would stop."""
    parts: dict[str, Callable[[argparse.Namespace], int]] = {
        "check": _check,
        "preview": _preview,
        "stats": _stats,
    }
    return parts[args.part](args)


def _request(args: argparse.Namespace) -> Any:
    from engine.data.check.run import CheckRequest

    return CheckRequest(
        tuple(_source(path, args) for path in args.paths),
        args.model,
        getattr(args, "eval", None),
        args.objective,
        args.max_length,
        getattr(args, "fix", None),
        getattr(args, "exact", False),
        args.chat_template,
    )


def _source(path: str, args: argparse.Namespace) -> Any:
    """The path, with what was said by hand about its rows."""
    from engine.data.sources import parse_mapping, spec_of

    if args.mapping is None and args.format is None:
        return path
    return replace(
        spec_of(path), mapping=parse_mapping(args.mapping) if args.mapping else {}, format=args.format
    )


def _check(args: argparse.Namespace) -> int:
    from engine.data.check.run import check

    if args.exact and args.model is None:
        raise UserError(
            "Counting tokens needs a model.", "--exact", "Name the one you want to train with --model."
        )
    try:
        report = check(_request(args), _progress())
    except UserError as error:
        if not args.json:
            raise
        _print(json.dumps(_refused(error), indent=1))
        return 2
    _print(json.dumps(report.as_json(), indent=1) if args.json else "\n".join(report.lines(_width())))
    return 2 if report.stops else 0


def _refused(error: UserError) -> dict[str, Any]:
    """The answer of ``check --json`` for a dataset that cannot be read at all."""
    problem = {"line": None, "field": error.where, "problem": error.what, "fix": error.fix}
    return {
        "format": None,
        "objective": None,
        "rows": 0,
        "usable": 0,
        "problems": [{**problem, "severity": "stops the run"}],
        "tokens": {},
    }


def _stats(args: argparse.Namespace) -> int:
    from engine.data.check.report import choice_lines, token_lines
    from engine.data.check.run import stats

    _, report = stats(_request(args), _progress())
    if args.json:
        _print(json.dumps(report.as_json(), indent=1))
    else:
        lines = [f"Read as {report.title} for {report.objective}.", *token_lines(report.tokens, _width())]
        _print("\n".join([*lines, *choice_lines(report.choices)]))
    return 0 if report.rows else 2


def _preview(args: argparse.Namespace) -> int:
    from engine.data.check.opening import open_dataset
    from engine.data.check.run import model_of
    from engine.data.check.sampling import all_forms
    from engine.data.templates.segments import segments

    request = _request(args)
    opened = open_dataset(request.paths[0], args.objective)
    renderer, _ = model_of(request)
    assert renderer is not None
    found = next(islice(all_forms(opened), args.row - 1, None), None)
    if found is None:
        raise UserError(
            f"There are fewer than {args.row:,} usable rows.",
            printable(args.paths[0], 300),
            "Give a smaller --row.",
        )
    line, form = found
    seen = renderer.xray(_trained(form), args.max_length)
    _print(f"Row {args.row:,} ({opened.source.place(line)}), read as {printable(opened.reading.title, 100)}.")
    _print("What the model learns is in [brackets]; the rest it only reads.\n")
    _print("".join(_pieces(segments(seen), _coloured())) + "\n")
    if isinstance(form, PromptOnly):
        print(f"{seen.total:,} tokens of a question; the model makes up the answers itself.")
        return 0
    if seen.learnt and seen.stops:
        print(f"The model learns {seen.learnt:,} of these {seen.total:,} tokens, and how to stop.")
    for problem in seen.problems:
        _print(printable(problem, 400))
    return 0 if seen.learnt else 2


def _trained(form: Form) -> dict[str, Any]:
    """The row as the X-ray takes it; of a preference pair, the better answer."""
    if isinstance(form, Preference):
        return Conversation(form.prompt + form.chosen, form.tools).row()
    if isinstance(form, Labelled):
        return Conversation(form.prompt + form.completion).row()
    if isinstance(form, PromptOnly):
        return Conversation(form.prompt).row()
    return form.row()


def _pieces(parts: Any, coloured: bool) -> list[str]:
    out: list[str] = []
    learning, cut = False, False
    for part in parts:
        now = part.kind in ("learnt", "end")
        if now != learning:
            out.append("[" if now else "]")
            learning = now
        if part.kind == "cut" and not cut:
            out.append("\n--- cut off from here ---\n")
            cut = True
        text = part.text
        if part.left_out:
            half = len(text) // 2
            text = f"{text[:half]} ... {part.left_out:,} characters not shown ... {text[half:]}"
        shown = printable(text, len(text), newlines=True)
        out.append(f"\x1b[{_COLOURS[part.kind]}m{shown}\x1b[0m" if coloured else shown)
    return [*out, "]" if learning else ""]


def _coloured() -> bool:
    return (
        sys.stdout.isatty()
        and "NO_COLOR" not in os.environ
        and os.environ.get("TERM", "dumb") not in ("", "dumb")
    )


def _progress() -> Callable[[float, str], None]:
    """A line on a terminal's standard error that is written over; nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return lambda share, words: None
    last = ""

    def tell(share: float, words: str) -> None:
        nonlocal last
        line = f"{words} {100 * share:3.0f} %"
        if line != last:
            print(f"\r{line:<50}" if share < 1 else f"\r{'':<50}\r", end="", file=sys.stderr, flush=True)
            last = line

    return tell


def _print(text: str) -> None:
    """Print text of any characters, also where the terminal's encoding has not all of them."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _width() -> int:
    return min(80, max(40, shutil.get_terminal_size((80, 24)).columns))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return value
