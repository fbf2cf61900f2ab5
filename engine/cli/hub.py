"""Find, check and download models and datasets of the Hugging Face Hub. Downloads land in the Hub's own cache."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable

from engine.cli.main import Parser, Screen
from engine.display import gib, printable
from engine.errors import UserError
from engine.hub.names import Kind
from engine.hub.task import Progress, Task

EXAMPLE = "finetui hub search qwen3   finetui hub look Qwen/Qwen3-8B   finetui hub download Qwen/Qwen3-8B"
WIDTH = 44  # columns for the name in a list


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "action",
        choices=("search", "look", "download"),
        help="look: what it is and how large, without downloading it",
    )
    parser.add_argument(
        "what", help="words to search for, or owner/name (modelscope:owner/name works for download)"
    )
    parser.add_argument("--dataset", action="store_true", help="a dataset, not a model")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit; default: the newest")
    parser.add_argument("--subset", metavar="NAME", help="download this config of a dataset")
    parser.add_argument("--split", metavar="NAME", help="download this split of a dataset; default: train")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="results of a search; default 20")
    parser.add_argument("--json", action="store_true", help="one JSON object or list")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Ask, print; exit code 2 when it cannot be had."""
    kind: Kind = "dataset" if args.dataset else "model"
    if args.action == "search":
        return _search(args, kind)
    if args.action == "look":
        return _look(args, kind)
    return _download(args, kind)


def _search(args: argparse.Namespace, kind: Kind) -> int:
    from engine.hub.search import search

    found = search(args.what, kind, args.limit)
    if args.json:
        print(json.dumps([one.to_dict() for one in found]))
        return 0
    for one in found:
        size = f"{one.params / 1e9:.3g} B" if one.params else ""
        gate = "gated" if one.gated else ""
        downloads = f"{one.downloads or 0:,} downloads"
        _print(f"{printable(one.repo_id, 100):<{WIDTH}} {size:>7}  {downloads:>22}  {gate}".rstrip())
    if not found:
        print(f"Nothing of that name. Look at https://huggingface.co/{kind}s", file=sys.stderr)
    return 0


def _look(args: argparse.Namespace, kind: Kind) -> int:
    from engine.hub.datasets import parts
    from engine.hub.facts import look
    from engine.hub.names import parse

    if parse(args.what).place == "modelscope":
        raise UserError(
            "Only the Hugging Face Hub can be looked at without downloading.",
            printable(args.what, 140),
            f"finetui hub download {printable(args.what, 140)}",
        )
    facts = look(args.what, kind, args.revision or "main")
    splits = parts(facts.repo_id, args.revision).parts if kind == "dataset" and facts.access else {}
    if args.json:
        shown = {
            config: {split: list(files) for split, files in known.items()} for config, known in splits.items()
        }
        print(json.dumps({**facts.to_dict(), **({"parts": shown} if kind == "dataset" else {})}))
        return 2 if facts.obstacle else 0
    params = f"{facts.params / 1e9:.3g} B weights" if facts.params else ""
    gate = (
        f"gated ({'accept and go' if facts.gated == 'auto' else 'the owner answers'})"
        if facts.gated
        else "open"
    )
    rows = {
        "Name": facts.repo_id,
        "Page": facts.page,
        "From": facts.host,
        "Access": f"{'private, ' if facts.private else ''}{gate}; {'yours' if facts.access else 'not yours yet'}",
        "Licence": facts.licence or "not told",
        "Size": ", ".join(filter(None, (params, _size(facts.download_bytes, facts.missing_bytes)))),
    }
    for config, known in splits.items():
        rows[f"Part {printable(config, 60)}"] = ", ".join(known)
    for name, text in rows.items():
        if not text:
            continue
        _print(f"{name:<8} {printable(text, 300)}")
    for note in facts.notes:
        _print(f"Note     {printable(note)}")
    facts.check()
    return 0


def _download(args: argparse.Namespace, kind: Kind) -> int:
    from engine.hub.datasets import files
    from engine.hub.download import download

    task = Task(progress_printer())
    try:
        if kind == "model":
            paths = [download(args.what, args.revision or "main", task)]
        else:
            paths = files(args.what, args.subset, args.split, args.revision, task=task)
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)
    print(json.dumps([str(path) for path in paths]) if args.json else "\n".join(str(path) for path in paths))
    return 0


def _print(text: str) -> None:
    """Print foreign text also where the terminal's encoding has not all of its characters."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _size(total: int, missing: int) -> str:
    if not total:
        return ""
    if missing == 0:
        return f"{gib(total)}, already on this disk"
    return (
        f"{gib(total)} to download"
        if missing > 0.95 * total
        else f"{gib(total)}, of which {gib(missing)} are still to come"
    )


def progress_printer() -> Callable[[Progress], None]:
    """Prints progress on standard error: one line written over for a person, a few lines for a file."""
    return _Line() if sys.stderr.isatty() else _Lines()


class _Line:
    """Progress in one line that is written over."""

    def __call__(self, progress: Progress) -> None:
        text = progress.line() if progress.total else progress.words
        # A line as wide as the terminal would wrap, and then stay.
        width = min(110, shutil.get_terminal_size().columns - 1)
        print(f"\r{printable(text, width)[:width]:<{width}}", end="", file=sys.stderr, flush=True)


class _Lines:
    """Progress as lines, a few of them, for files and pipes."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.words or time.monotonic() - self._told >= 5 or progress.done >= progress.total:
            self._told = time.monotonic()
            print(
                printable(progress.line() if progress.total else progress.words, 300),
                file=sys.stderr,
                flush=True,
            )
