"""Go on with another tool: write a run for TRL, LLaMA-Factory, Axolotl or Unsloth, or read their file into a run.yaml.

What does not translate is listed, here and at the top of the file. Datasets are copied in the shape the tool reads; yours stay as they
are. More about each tool: docs/other-tools.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.main import Parser, Screen
from engine.display import printable
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.config.schema import RunConfig

EXAMPLE = "finetui convert -c run.yaml --to llamafactory\n         finetui convert --from axolotl.yaml --out run.yaml"
TOOLS = ("trl", "llamafactory", "axolotl", "unsloth")
READABLE = TOOLS[:3]


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "name", nargs="?", metavar="RUN", help="a run, finished or going on; default with --to: the newest"
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="a run.yaml in place of a run")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--to", choices=TOOLS, help="write the run for this tool")
    way.add_argument(
        "--from", dest="source", metavar="FILE", help="read this file of another tool into a run.yaml"
    )
    parser.add_argument(
        "--out", metavar="PATH",
        help="with --to: the folder to make, default NAME-TOOL; with --from: the run.yaml, default: print it",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=READABLE, help="with --from: whose file it is; default: told by its keys"
    )
    parser.add_argument(
        "--objective", metavar="NAME", help="with --from: what is taught, where the file does not say"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="with --from: the dataset, in place of the one in the file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with everything")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Convert in one of the two directions."""
    if args.source is not None:
        for option, value in (("RUN", args.name), ("-c", args.config)):
            if value is not None:
                raise UserError(f"{option} does not go with --from.", "command line", "Give the file alone.")
        return _read(args)
    for option in ("format", "objective", "data"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} goes with --from only.", "command line", "Leave it out.")
    return _write(args)


def _write(args: argparse.Namespace) -> int:
    from engine.config.others.writing import convert

    if args.name is not None and args.config is not None:
        raise UserError("Both a run and a run.yaml are named.", "command line", "Give one of the two.")
    changed = ""
    if args.config is not None:
        name, config, reasons = _of_file(args.config)
    else:
        name, config, reasons, changed = _of_run(args.name)
    out = Path(args.out or f"{name}-{args.to}").expanduser().absolute()
    done = convert(config, reasons, args.to, out, changed)
    if args.json:
        print(json.dumps(asdict(done)))
        return 0
    for warning in done.warnings:
        print(printable(warning, 500), file=sys.stderr)
    print(f"Written for {done.title}: {printable(out, 500)}")
    for file in done.files:
        print(f"  {printable(file, 200)}")
    _list("What is not the same as in finetui:", done.notes)
    print(f"\nInstall it: {done.install}   (in an environment of its own)")
    print(f"Start it:   cd {_quoted(out)} && {done.command}")
    return 0


def _of_file(path: str) -> tuple[str, RunConfig, dict[str, str]]:
    """Name, settings with nothing left open, and the reasons for them."""
    from engine.cli.train import fetch_data
    from engine.config.draft import default_name, prepare
    from engine.config.loading import load
    from engine.config.others.writing import reasons_in
    from engine.machine.probe import probe

    config = load(Path(path))
    written = reasons_in(Path(path).read_text(encoding="utf-8-sig"))
    fetch_data(config)
    plan = prepare(config, probe(), default_name(config))
    return plan.name, plan.config, {key: choice.reason for key, choice in plan.choices.items()} | written


def _of_run(name: str | None) -> tuple[str, RunConfig, dict[str, str], str]:
    from engine.config.loading import load
    from engine.config.others.writing import reasons_in
    from engine.run.state import find_run, read_state

    found = find_run(name)
    config = load(found.config)
    return found.name, config, reasons_in(found.config.read_text(encoding="utf-8")), read_state(found).changed


def _read(args: argparse.Namespace) -> int:
    from engine.config.others.back import read_foreign
    from engine.run import atomic

    _check_objective(args.objective)
    taken = read_foreign(Path(args.source).expanduser(), args.format, args.objective, args.data)
    text = taken.yaml()
    if args.out is not None:
        out = Path(args.out).expanduser().absolute()
        if os.path.lexists(out):
            raise UserError(
                "This file is there already, and nothing is overwritten.",
                printable(out, 300),
                "Choose another.",
            )
        try:
            atomic.write_text(out, text)
        except OSError as error:
            raise UserError(
                f"It cannot be written: {error.strerror}.", printable(out, 300), "Choose another."
            ) from error
    if args.json:
        told = {
            "format": taken.format,
            "run_yaml": text,
            "taken_from": dict(taken.origin),
            "notes": list(taken.notes),
        }
        print(json.dumps(told))
        return 0
    if args.out is None:
        print(text, end="")  # what did not come along stands at its top
        return 0
    print(f"Read from a file for {taken.title}: {printable(args.out, 500)}")
    _list("What did not come along:", taken.notes)
    print(f"\nLook at it and start it: finetui train -c {_quoted(out)} --dry-run")
    return 0


def _check_objective(name: str | None) -> None:
    from engine.data.forms import OBJECTIVES

    if name is not None and name not in OBJECTIVES:
        raise UserError(
            f"There is no objective {printable(name, 40)!r}.",
            "--objective",
            f"Choose one of {', '.join(OBJECTIVES)}.",
        )


def _list(title: str, notes: tuple[str, ...]) -> None:
    if notes:
        print(f"\n{title}")
        for note in notes:
            print(f"  - {printable(note, 1000)}")


def _quoted(path: Path) -> str:
    import shlex

    return printable(shlex.quote(str(path)), 500)
