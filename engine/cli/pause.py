"""Pause a run: a checkpoint is saved and the GPU is free until finetui resume."""

from __future__ import annotations

import argparse

from engine.cli.main import Parser, Screen
from engine.cli.stop import add_run_options, end
from engine.run.state import find_run

EXAMPLE = "finetui pause demo"


def configure(parser: Parser) -> None:
    """Options of the verb."""
    add_run_options(parser)


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Ask the trainer and wait until it has saved and ended."""
    found = find_run(args.name, only_live=True)
    return end(found, "pause", "save a checkpoint and let go of the GPU", args.timeout)
