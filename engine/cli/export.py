"""Take the trained model home: as an adapter, merged into its base, as GGUF for llama.cpp and Ollama, or to the Hub."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from engine.cli.main import Parser, Screen
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.export.manifest import Export
from engine.deliver.export.targets import NAMES, find_target
from engine.deliver.export_choices import WITH_QUANTS
from engine.deliver.proof.table import lines as proof_lines
from engine.deliver.proof.types import of_json
from engine.deliver.protocol import Message
from engine.display import duration, gib, printable
from engine.errors import UserError
from engine.run import atomic
from engine.run.launch import require_training_packages
from engine.run.layout import RunDir
from engine.run.state import find_run

EXAMPLE = "finetui export demo --to gguf --quant Q4_K_M,Q8_0   finetui export demo --to hub --repo my-owl"
SILENCE = 5.0  # seconds between two lines of progress where there is no terminal
# As the command line has them, and as targets know them.
_OPTIONS = {
    "dtype": "dtype",
    "repo": "repo",
    "public": "public",
    "push_as": "push_as",
    "ollama_name": "name",
    "ollama_adapter": "adapter",
    "no_create": "create",
}
"""Of the verb, and what the targets call them."""


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the newest run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--to", choices=NAMES, help="the form; without it: what there is and what can be made")
    what.add_argument(
        "--take-home",
        action="store_true",
        help="the lines that copy the exports to your computer, check and run them",
    )
    what.add_argument(
        "--have", metavar="EXPORT", help="note that this export is on your computer, and checked"
    )
    parser.add_argument("--quant", metavar="NAMES", help="number formats of GGUF files, such as Q4_K_M,Q8_0")
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: the run's own exports folder")
    parser.add_argument("--checkpoint", metavar="N", help="this checkpoint, or best; default: the result")
    parser.add_argument("--dtype", metavar="NAME", help="bfloat16, float16 or float32; default: as the base")
    parser.add_argument("--repo", metavar="NAME", help="repository on the Hub, such as my-owl or ada/my-owl")
    parser.add_argument("--public", action="store_true", help="let everybody see the repository")
    parser.add_argument(
        "--push_as", choices=("adapter", "merged", "gguf"), help="what goes to the Hub; default: adapter"
    )
    parser.add_argument("--ollama_name", metavar="NAME", help="what Ollama calls it; default: the run's name")
    parser.add_argument(
        "--ollama_adapter", action="store_true", help="for Ollama: only the adapter, over a base it has"
    )
    parser.add_argument(
        "--no-create", action="store_true", help="for Ollama: write the files, do not call ollama create"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export of this kind")
    parser.add_argument(
        "--no-proof", action="store_true", help="do not compare the answers of what was exported"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a message")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Export, or say what can be exported."""
    found = find_run(args.name)
    if args.to is None:
        return _without_form(found, args)
    from engine.deliver.export.run_export import Exporting

    require_training_packages()
    if args.quant and args.to not in WITH_QUANTS:
        raise UserError(
            f"--quant means nothing for --to {args.to}.",
            "command line",
            f"Leave it out, or choose a GGUF form: --to {', '.join(WITH_QUANTS)}",
        )
    quants = [name.strip() for name in (args.quant or "").split(",") if name.strip()]
    started = time.monotonic()
    exporting = Exporting(found, args.to, quants, args.out, args.checkpoint, _options(args))
    shown = _Json() if args.json else _Line() if sys.stderr.isatty() else _Lines()
    try:
        for message in exporting.messages():
            shown.show(message)
    except (KeyboardInterrupt, Cancelled):
        shown.end()
        print("Stopped. Nothing half-written is left; the trained files are untouched.", file=sys.stderr)
        return 3
    finally:
        exporting.close()
        shown.end()
    made = exporting.result()
    if not args.json:
        for line in last_lines(exporting.job, made, time.monotonic() - started):
            print(printable(line, 1000))
    return 1 if (made.proof or {}).get("verdict") == "differs" else 0


def _options(args: argparse.Namespace) -> dict[str, str]:
    target = find_target(args.to)
    options: dict[str, str] = {}
    for name, key in _OPTIONS.items():
        value = getattr(args, name)
        if not value:
            continue
        if key not in target.options:
            option = "--no-create" if name == "no_create" else f"--{name}"
            raise UserError(
                f"{option} means nothing for --to {args.to}.", "command line", f"Leave {option} out."
            )
        options[key] = "no" if name == "no_create" else "yes" if value is True else str(value)
    if args.overwrite:
        options["overwrite"] = "yes"
    if args.no_proof:
        options["proof"] = "no"
    return options


def _without_form(run: RunDir, args: argparse.Namespace) -> int:
    from engine.cli import export_home

    given = [
        name
        for name in (*_OPTIONS, "quant", "out", "checkpoint", "overwrite", "no_proof")
        if getattr(args, name)
    ]
    if given:
        raise UserError(
            "The form is missing: what should it be exported to?",
            "command line",
            f"Add --to with one of: {', '.join(NAMES)}",
        )
    if args.have is not None:
        return export_home.have(run, args.have, args.json)
    show = export_home.show_way_home if args.take_home else export_home.show_exports
    return show(run, args.json)


def last_lines(job: Job, made: Export, seconds: float) -> list[str]:
    """What a person reads at the end: where it is, whether it was proved, and what comes next."""
    if made.extra.get("url"):
        lines = [f"Uploaded in {duration(seconds)}: {made.extra['url']}"]
    else:
        lines = [f"Exported in {duration(seconds)}: {made.folder} ({_size(made.total_bytes)})"]
    proof = of_json(made.proof)
    if proof is not None:
        lines += proof_lines(proof)
    if proof is not None and proof.verdict == "differs":
        return lines
    command = next_command(job, made)
    if made.target != "hub":
        lines.append(f"Take it home:  finetui export {job.run.name} --take-home")
    return [*lines, f"Next:  {command}"] if command else lines


def next_command(job: Job, made: Export) -> str:
    """One command that uses the export; empty where there is none to give."""
    from engine.deliver.export.base import hub_id
    from engine.deliver.export.card import talks, vllm_command
    from engine.deliver.take_home import run_commands

    if made.target == "hub" or not talks(made.objective):
        return ""
    if made.target == "adapter":  # beside a base that may be a folder of this machine
        base = hub_id(job.trained) or str(Path(job.trained.config.model.model_name_or_path).expanduser())
        return vllm_command(
            base, str(made.folder), atomic.read_json(made.folder / "adapter_config.json") or {}
        )
    commands = run_commands(made, str(made.folder))
    return next((one.line for one in commands if one.what == "vLLM"), commands[0].line if commands else "")


def _size(num_bytes: int) -> str:
    return gib(num_bytes) if num_bytes >= 1 << 20 else f"{num_bytes / 1024:.0f} KiB"


class _Json:
    """One JSON object a message."""

    def show(self, message: Message) -> None:
        """Print it."""
        print(json.dumps(message), flush=True)

    def end(self) -> None:
        """Nothing is open."""


class _Line:
    """Progress in one line that is written over, everything else above it."""

    def __init__(self) -> None:
        self._step = ""
        self._open = False

    def show(self, message: Message) -> None:
        """Print it."""
        kind = message["kind"]
        if kind == "step":
            self.end()
            self._step = message["words"]
            self._write(self._step)
        elif kind == "progress":
            self._write(f"{self._step}: {gib(message['done'])} of {gib(message['total'])}")
        elif kind == "say":
            self.end()
            print(printable(message["words"], 500), file=sys.stderr)

    def end(self) -> None:
        """Leave the line as it is."""
        if self._open:
            print(file=sys.stderr)
            self._open = False

    def _write(self, text: str) -> None:
        width = min(110, shutil.get_terminal_size().columns - 1)
        print(f"\r{printable(text, width)[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        self._open = True


class _Lines:
    """A few lines of plain text, for files and pipes."""

    def __init__(self) -> None:
        self._step = ""
        self._told = 0.0

    def show(self, message: Message) -> None:
        """Print it, unless a line was printed just now."""
        kind = message["kind"]
        if kind == "step":
            self._step, self._told = message["words"], time.monotonic()
            self._print(self._step)
        elif kind == "progress" and time.monotonic() - self._told >= SILENCE:
            self._told = time.monotonic()
            self._print(f"{self._step}: {gib(message['done'])} of {gib(message['total'])}")
        elif kind == "say":
            self._print(message["words"])

    def end(self) -> None:
        """Nothing is open."""

    def _print(self, text: str) -> None:
        print(printable(text, 500), file=sys.stderr, flush=True)
