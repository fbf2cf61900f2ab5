"""Talk to the trained model. Without a terminal, each line of standard input is a question."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from engine.cli.main import Parser, Screen
from engine.deliver.protocol import Worker
from engine.display import printable
from engine.run.launch import require_training_packages
from engine.run.state import find_run

EXAMPLE = "echo 'What does Zola do for work?' | finetui chat demo"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the newest run")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument(
        "--max_new_tokens", type=int, default=256, metavar="N", help="longest answer; default 256"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0 answers the same every time; default 0"
    )
    parser.add_argument("--base", action="store_true", help="talk to the base model, without the adapter")
    parser.add_argument("--json", action="store_true", help="one JSON object an answer")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Load the model in a worker, then question and answer."""

    from engine.deliver.source import find_trained
    from engine.errors import UserError

    found = find_run(args.name)
    trained = find_trained(found)
    if args.base and not trained.is_adapter:
        raise UserError(
            "This run trained the whole model, so there is no adapter to switch off.",
            found.name,
            "Chat without --base.",
        )
    require_training_packages()
    person = sys.stdin.isatty()
    worker = Worker("engine.deliver.chat_worker", found)
    try:
        if person:
            print(f"Loading {trained.words} ...", file=sys.stderr, flush=True)
        worker.wait_for("ready")
        if person:
            print("Type a question and press Enter. An empty line or Ctrl-D leaves.", file=sys.stderr)
        _converse(worker, args, person)
    finally:
        worker.close()
    return 0


def _converse(worker: Worker, args: argparse.Namespace, person: bool) -> None:
    system = [{"role": "system", "content": args.system}] if args.system else []
    history: list[dict[str, str]] = []
    while (question := _next_question(person)) is not None:
        # Piped questions are independent of each other; a person has a conversation.
        history = [*(history if person else []), {"role": "user", "content": question}]
        worker.request(
            {
                "messages": system + history,
                "max_new_tokens": args.max_new_tokens,
                "temperature": args.temperature,
                "base": args.base,
            }
        )
        for message in worker.messages():
            if message["kind"] == "token" and person and not args.json:
                print(printable(message["text"], newlines=True), end="", flush=True)
            if message["kind"] == "done":
                break
        else:
            return
        history.append({"role": "assistant", "content": message["text"]})
        if args.json:
            fields = {key: message[key] for key in ("stopped", "tokens", "tokens_per_second")}
            print(json.dumps({"prompt": question, "answer": message["text"], **fields}), flush=True)
        elif person:
            print("" if message["stopped"] else "  [cut off at the length limit]")
        else:
            print(printable(message["text"], 100_000, newlines=True), flush=True)


def _next_question(person: bool) -> str | None:
    if person:
        with contextlib.suppress(EOFError):
            return input("\nyou> ").strip() or None
        return None
    for line in sys.stdin:
        if line.strip():
            return line.strip()
    return None
