"""Train the embedded tiny model on the embedded dataset: about a minute on two CPU cores, no network needed.

It learns to answer like an owl; before and after are shown, measured on questions that are not in the training file.
"""

from __future__ import annotations

import argparse

from engine.cli.main import Parser, Screen
from engine.cli.watch import add_watch_options, watch
from engine.config.draft import DEMO, Draft, plan, start
from engine.deliver.protocol import Worker
from engine.deliver.style_score import is_correct_styled
from engine.display import printable
from engine.run.launch import require_training_packages
from engine.run.layout import RunDir

EXAMPLE = "finetui demo --detach"
NUM_QUESTIONS = 60


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--max_steps", type=int, metavar="N", help="stop after N steps instead of the whole demo"
    )
    parser.add_argument(
        "--tuning", choices=("lora", "qlora", "lora8", "full"), help="how to train; default lora"
    )
    parser.add_argument("--name", default="demo", help="name of the run; default demo, demo-2, ...")
    add_watch_options(parser)


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Start, watch, and show before and after."""
    require_training_packages()
    from engine.machine.probe import probe

    settings = {} if args.max_steps is None else {"max_steps": args.max_steps}
    draft = Draft(tuning=args.tuning or "lora", name=args.name, settings=settings)
    found = start(plan(draft, probe()))
    code = watch(found, args, screen)
    if screen is None and not args.detach and not args.json and code == 0:
        show_difference(found)
    return code


def show_difference(found: RunDir) -> None:
    """Print some answers before and after, and the share of right ones in the new style."""
    worker = Worker("engine.deliver.compare_worker", found, str(DEMO / "questions.jsonl"), str(NUM_QUESTIONS))
    try:
        answers = [message for message in worker.messages() if message["kind"] == "answer"]
    finally:
        worker.close()
    print("\nBefore and after, on questions that were not in the training file:")
    for message in answers[:4]:
        print(f"  Question: {printable(message['row']['question'])}")
        print(f"    before: {printable(message['before'])}")
        print(f"    after:  {printable(message['after'])}")
    before, after = (
        sum(is_correct_styled(message[when], message["row"]["styled"]) for message in answers)
        for when in ("before", "after")
    )
    print(
        f"\nRight answer in the new style: {before} of {len(answers)} before, {after} of {len(answers)} after."
    )
    print(f"Talk to it: finetui chat {found.name}")
