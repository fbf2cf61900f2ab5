"""Try several values of any setting: one run for every combination, one after the other, and a table at the end."""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.advise.objectives import OBJECTIVES
from engine.cli.compare_table import compared, lines, to_json
from engine.cli.main import Parser, Screen
from engine.cli.train import check_fit, fetch_data
from engine.config.draft import Plan, default_name, lay_out, prepare
from engine.config.loading import load
from engine.config.schema import SECTIONS
from engine.display import gib, printable
from engine.errors import UserError
from engine.fit.budget_disk import CHECKPOINTS, DOWNLOAD, MountNeed
from engine.run import sweeps
from engine.run.halving import RULE
from engine.run.layout import RunDir, check_name
from engine.run.state import read_state
from engine.run.sweeps import Entry, Sweep

EXAMPLE = "finetui sweep -c run.yaml --lora_r 8,16,32 --learning_rate 1e-4,2e-4 --stop-losers"
MOST_RUNS = 64
POLL = 0.5  # seconds
# In these a comma is part of the value.
WHOLE = {"train", "eval", "mapping", "sample_prompts", "report_to"}
# With other values of these, the loss on held-out rows is another number, not a better or worse one.
INCOMPARABLE = {
    *("model_name_or_path", "model_revision", "format", "eval_fraction", "seed"),
    *("chat_template", "assistant_only_loss", "max_length", "objective", "loss_type", "beta"),
    *("label_smoothing", "desirable_weight", "undesirable_weight", "center_rewards_coefficient"),
    *("reward_funcs", "reward_weights", "reward_file", "reward_pattern", "reward_tags", "reward_length"),
    *("max_completion_length", "temperature", "top_p", "eval_steps"),
}


def configure(parser: Parser) -> None:
    """Options of the verb, and one for every setting."""
    parser.add_argument("sweep", nargs="?", metavar="SWEEP", help="look at a sweep that was started before")
    parser.add_argument("-c", "--config", metavar="FILE", help="the run.yaml that all runs share")
    parser.add_argument("--name", help="name of the sweep; its runs are called NAME-1, NAME-2, ...")
    parser.add_argument(
        "--gpu", type=int, metavar="N", help="the card to train on; default: the one with most free memory"
    )
    parser.add_argument(
        "--stop-losers", action="store_true", help=f"end runs that fall behind. {RULE}".replace("%", "%%")
    )
    parser.add_argument("--anyway", action="store_true", help="start even what is predicted not to fit")
    parser.add_argument("--dry-run", action="store_true", help="print which runs it would be, start nothing")
    parser.add_argument("--detach", action="store_true", help="start in the background and return at once")
    parser.add_argument("--stop", action="store_true", help="with SWEEP: save a checkpoint and end it")
    parser.add_argument("--resume", action="store_true", help="with SWEEP: go on with what is left or failed")
    parser.add_argument("--json", action="store_true", help="the table at the end as JSON")
    for section, model in SECTIONS.items():
        group = parser.add_argument_group(
            f"{section} settings: one value for all runs, or several with commas between"
        )
        for key in model.model_fields:
            group.add_argument(f"--{key}", metavar="A,B,...", help=f"see finetui train --help, --{key}")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Make the runs, start the queue, watch it; or look at one that was started before."""
    if args.sweep is not None:
        return _existing(args)
    if args.config is None:
        raise UserError(
            "Nothing says what to train.",
            "command line",
            "Give a file: finetui sweep -c run.yaml --lora_r 8,16,32",
        )
    given = {
        key: value
        for model in SECTIONS.values()
        for key in model.model_fields
        if (value := getattr(args, key)) is not None
    }
    combinations, swept = combine(given)
    if args.stop_losers and (mixed := sorted(set(swept) & INCOMPARABLE)):
        raise UserError(
            f"With several values of {mixed[0]}, the evaluations of these runs cannot be compared with each other.",
            "--stop-losers",
            f"Leave --stop-losers out, or choose one value of {mixed[0]}.",
        )
    sweep = make(args, combinations, swept)
    if sweep is None:
        return 0
    sweeps.start(sweep)
    if args.detach:
        print(json.dumps(sweep.to_dict(), indent=1) if args.json else f"{sweep.name}\n{_hint(sweep)}")
        return 0
    return follow(sweep, args.json)


def combine(given: dict[str, str]) -> tuple[list[dict[str, str]], list[str]]:
    """Every combination of the values, and the settings that have several.

    Raises:
        UserError: No setting has several values, one is named twice, or there are too many combinations.
    """
    values = {key: [raw] if key in WHOLE else split(raw) for key, raw in given.items()}
    swept = [key for key, several in values.items() if len(several) > 1]
    if not swept:
        raise UserError(
            "No setting has several values, so there is nothing to compare.",
            "command line",
            "Give some with commas between: --lora_r 8,16,32   (one run alone: finetui train)",
        )
    for key in swept:
        if len(set(values[key])) < len(values[key]):
            raise UserError(
                f"A value of {key} is given twice.", f"--{key} {printable(given[key], 60)}", "Give it once."
            )
    combinations = [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]
    if len(combinations) > MOST_RUNS:
        raise UserError(
            f"These are {len(combinations):,} runs, more than {MOST_RUNS}.",
            ", ".join(f"{key}: {len(values[key])} values" for key in swept),
            "Give fewer values, or try one setting after the other.",
        )
    return combinations, swept


def split(raw: str) -> list[str]:
    """Parts between commas that are not within brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in raw:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += letter
    return [part for part in (part.strip() for part in parts) if part] or [raw]


def make(args: argparse.Namespace, combinations: list[dict[str, str]], swept: list[str]) -> Sweep | None:
    """Complete and check every run before the first is made; None after a dry run.

    Raises:
        UserError: One of the runs could not be started.
    """
    from engine.hub.facts import look_ahead
    from engine.machine.probe import probe

    configs = [load(Path(args.config), one) for one in combinations]
    name = check_name(args.name or f"{default_name(configs[0])[:44]}-sweep")
    if args.name is None:
        taken = {sweep.name for sweep in sweeps.list_sweeps()}
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        name = next(one for one in itertools.chain([name], numbered) if one not in taken)
    check_name(f"{name}-{len(configs)}")
    machine = probe()
    for config in configs if not args.dry_run else ():
        look_ahead(config.model.model_name_or_path, config.model.model_revision)
        fetch_data(config)
    plans = [
        prepare(config, machine, f"{name}-{number}", args.gpu) for number, config in enumerate(configs, 1)
    ]
    said: set[str] = set()
    for plan, one in zip(plans, combinations, strict=True):
        words = "  ".join(f"{key} {one[key]}" for key in swept)
        if args.dry_run:
            print(f"{plan.name}  {printable(words)}")
        else:
            check_fit(plan, args.anyway, said)
            said |= {plan.fit.sentence} if plan.fit is not None else set()
    if args.dry_run:
        print(f"{len(plans)} runs, one after the other.")
        return None
    if not args.anyway:
        require_room(plans)
    folder = sweeps.create(name)
    made: list[RunDir] = []
    try:
        for plan in plans:
            made.append(lay_out(plan))  # one by one, so that a refusal knows those before it
    except UserError:
        for path in (folder, *(run.path for run in made)):
            shutil.rmtree(path, ignore_errors=True)  # nothing is in them yet
        raise
    entries = tuple(
        Entry(
            name=run.name,
            settings={key: one[key] for key in swept},
            num_processes=plan.config.training.num_processes or 1,
            env=plan.env,
        )
        for run, plan, one in zip(made, plans, combinations, strict=True)
    )
    about = OBJECTIVES[plans[0].config.method.objective]
    sweep = Sweep(name, entries, args.stop_losers, about.best_by, about.higher_is_better)
    try:
        sweeps.write(sweep)
    except OSError as error:
        raise sweeps.cannot_write(folder, error) from None
    return sweep


def require_room(plans: Sequence[Plan]) -> None:
    """All runs of a sweep stay on the disk, so they need room together; each alone was looked at before.

    Raises:
        UserError: A disk is sure to be full before the last one is through.
    """
    needs: dict[Path, MountNeed] = {}
    models: set[str] = set()
    for number, plan in enumerate(plans, 1):
        if plan.budget is None:
            return
        model, sizes = plan.config.model.model_name_or_path, plan.budget.sizes
        for need in plan.budget.mounts:
            parts = {
                kind: size for kind, size in need.parts.items() if kind != DOWNLOAD or model not in models
            }
            if CHECKPOINTS in parts and number < len(plans):
                parts[CHECKPOINTS] -= sizes.checkpoint  # the one too many that a run has while it saves
            known = needs.get(need.disk.mount, replace(need, parts={}))
            total = {kind: known.parts.get(kind, 0) + parts.get(kind, 0) for kind in known.parts | parts}
            needs[need.disk.mount] = replace(known, parts=total)
        models.add(model)
    for need in needs.values():
        if need.verdict == "no":
            raise UserError(
                f"The disk is too small: all {len(plans)} runs together need {gib(need.needed)}, and {gib(need.disk.free)} are free.",
                printable(need.disk.mount, 120),
                "Free some space, try fewer values, or keep fewer checkpoints (--save_total_limit 1).   Or start it all the same "
                "with --anyway.",
            )


def follow(sweep: Sweep, as_json: bool) -> int:
    """Tell when a run begins and ends, then print the table. Ctrl-C leaves the sweep running.

    Returns:
        0 all runs ended in order, 1 one of them failed or died, 3 the sweep was ended before its end.
    """
    if not as_json:
        print(
            f"Sweep {sweep.name}: {len(sweep.entries)} runs, one after the other. {_hint(sweep)}", flush=True
        )
        if sweep.stop_losers:
            print(RULE, flush=True)
    told: dict[str, str] = {}
    try:
        while True:
            live = sweep.is_live  # before reading, so that the last outcome is not missed
            sweep = sweeps.find_sweep(sweep.name)
            for entry in sweep.entries if not as_json else ():
                now = entry.outcome or ("running" if read_state(entry.run).live else "")
                if now and told.get(entry.name) != now:
                    told[entry.name] = now
                    settings = "  ".join(f"{key} {value}" for key, value in entry.settings.items())
                    print(
                        f"[{time.strftime('%H:%M:%S')}] {entry.name} ({printable(settings, 200)}): {now}. "
                        f"{printable(entry.words, 300)}".rstrip(),
                        flush=True,
                    )
            if not live:
                return report(sweep, as_json)
            time.sleep(POLL)
    except KeyboardInterrupt:
        print(f"\nThe sweep goes on without you. {_hint(sweep)}", file=sys.stderr)
        return 130


def report(sweep: Sweep, as_json: bool) -> int:
    """The table of all its runs; returns the exit code."""
    results, settings = compared([entry.name for entry in sweep.entries if entry.run.path.is_dir()])
    if as_json:
        print(json.dumps({**sweep.to_dict(), "results": to_json(results, settings)}, indent=1))
    elif results:
        print("\n" + "\n".join(lines(results, settings)))
        print(f"\n{sweep.name}: {sweep.words}")
    if any(entry.outcome in sweeps.FAILED for entry in sweep.entries):
        return 1
    return 0 if sweep.is_complete else 3


def _existing(args: argparse.Namespace) -> int:
    sweep = sweeps.find_sweep(args.sweep)
    if args.stop:
        if not sweep.is_live:
            print(f"{sweep.name} is not running: {sweep.words}")
            return 0
        sweeps.cancel(sweep)
        print(f"Asked {sweep.name} to save a checkpoint and end ...", flush=True)
        while sweep.is_live:
            time.sleep(POLL)
        print(sweeps.find_sweep(sweep.name).words)
        return 0
    if args.resume:
        again = sweep.without_failures()
        if again.is_complete:
            raise UserError(
                "This sweep is complete; there is nothing to go on with.", sweep.name, "Start a new one."
            )
        sweeps.start(again)
    if args.detach:
        print(json.dumps(sweep.to_dict(), indent=1) if args.json else _hint(sweep))
        return 0
    return follow(sweep, args.json)


def _hint(sweep: Sweep) -> str:
    return f"Look again: finetui sweep {sweep.name}   End it: finetui sweep {sweep.name} --stop"
