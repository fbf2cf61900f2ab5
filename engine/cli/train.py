"""Start the run that a run.yaml describes. Every setting of the file can be given as an option too."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Collection
from pathlib import Path

from engine.advise.objectives import OBJECTIVES
from engine.advise.reward_examples import example_scores, lines
from engine.cli.main import Parser, Screen
from engine.cli.watch import add_watch_options, watch
from engine.config.draft import DEMO, DEMO_DATA, DEMO_RECIPE, Plan, default_name, prepare, refusals, start
from engine.config.loading import load, rooted, validate
from engine.config.schema import SECTIONS, RunConfig
from engine.data.forms import PromptOnly
from engine.data.sources import is_hub_id
from engine.display import printable
from engine.errors import UserError
from engine.run.layout import check_name

EXAMPLE = "finetui train -c run.yaml --learning_rate 1e-4 --num_train_epochs 2 --detach"


def configure(parser: Parser) -> None:
    """Options of the verb, and one for every setting."""
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="the run.yaml; without it the options say everything"
    )
    parser.add_argument("--name", help="name of the run; default: from dataset and model")
    parser.add_argument(
        "--gpu", type=int, metavar="N", help="the card to train on; default: the one with most free memory"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the complete run.yaml with the reasons, start nothing"
    )
    parser.add_argument(
        "--anyway", action="store_true", help="start even though the prediction says that it does not fit"
    )
    parser.add_argument(
        "--example",
        nargs="?",
        const="demo",
        metavar="RECIPE",
        help="print an example run.yaml: the demo's, or a recipe such as dpo-lora",
    )
    add_watch_options(parser)
    for section, model in SECTIONS.items():
        group = parser.add_argument_group(f"{section} settings")
        for key, field in model.model_fields.items():
            group.add_argument(f"--{key}", metavar="VALUE", help=(field.description or "").replace("%", "%%"))


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Validate, complete, check that it fits, start, watch."""
    if args.example:
        print(example(args.example), end="")
        return 0
    overrides = {
        key: value
        for model in SECTIONS.values()
        for key in model.model_fields
        if (value := getattr(args, key)) is not None
    }
    if args.config is not None:
        config = load(Path(args.config), overrides)
    elif overrides:
        config = rooted(validate({}, overrides, "command line", {}), Path.cwd())
    else:
        raise UserError(
            "Nothing says what to train.",
            "command line",
            "Give a file: finetui train -c run.yaml   (an example: finetui train --example)",
        )
    if args.name is not None:
        check_name(args.name)
    from engine.hub.facts import look_ahead
    from engine.machine.probe import probe

    with contextlib.suppress(UserError) if args.dry_run else contextlib.nullcontext():
        look_ahead(config.model.model_name_or_path, config.model.model_revision)
    fetch_data(config)
    plan = prepare(config, probe(), args.name or default_name(config), args.gpu)
    if args.dry_run:
        print(plan.yaml, end="")
        if OBJECTIVES[plan.config.method.objective].form is PromptOnly:
            print("\n".join(f"# {line}".rstrip() for line in lines(example_scores(plan.config))))
        return 0
    check_fit(plan, args.anyway)
    if OBJECTIVES[plan.config.method.objective].form is PromptOnly and not args.anyway:
        print("\n".join(lines(example_scores(plan.config))), file=sys.stderr)
    return watch(start(plan, numbered=args.name is None, anyway=args.anyway), args, screen)


def fetch_data(config: RunConfig) -> None:
    """Download the Hub datasets, which are read before the run is made; progress goes to standard error.

    Raises:
        UserError: One cannot be had.
    """
    from engine.cli.hub import progress_printer
    from engine.hub.datasets import files

    for spec in (*config.data.train_specs(), *config.data.eval_specs()):
        if is_hub_id(spec.path):
            files(spec.path, spec.config, spec.split, spec.revision, progress=progress_printer())


def example(name: str) -> str:
    """A recipe as text; its model and data are named by where they are, so that it runs wherever it is saved.

    Raises:
        UserError: There is no such recipe.
    """
    if name == "demo":
        text = DEMO_RECIPE.read_text(encoding="utf-8")
        kept = [line for line in text.splitlines(keepends=True) if "relative to this file" not in line]
        return "".join(kept).replace('"."', f'"{DEMO}"').replace('"train.jsonl"', f'"{DEMO_DATA}"')
    folder = DEMO.parent / "recipes"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UserError(
            f"There is no recipe called {printable(name, 40)!r}.",
            "--example",
            f"The recipes: {', '.join(known)}",
        )
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    return text.replace('"../demo', f'"{DEMO}').replace('"data/', f'"{folder}/data/')


def check_fit(plan: Plan, anyway: bool, said: Collection[str] = ()) -> None:
    """Say on standard error what the run needs, unless that is among what was already said.

    Raises:
        UserError: It does not fit on the card, the disk or into main memory, and the user has not said to start it all
            the same.
    """
    for refusal in [] if anyway else refusals(plan):
        raise UserError(
            refusal.what, refusal.where, f"{refusal.fix}   Or start it all the same with --anyway."
        )
    if plan.fit is not None and plan.fit.sentence not in said:
        print(plan.fit.sentence, file=sys.stderr)
