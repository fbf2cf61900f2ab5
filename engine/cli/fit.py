"""Predict the GPU memory of a run before it starts, and say what makes it fit. Needs no GPU; torch only to simulate."""

from __future__ import annotations

import argparse
import contextlib
import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine.cli.main import Parser, Screen
from engine.config.draft import seen_in
from engine.config.loading import load
from engine.config.resolve import Facts, Resolved, resolve
from engine.config.schema import RunConfig
from engine.display import gib, printable
from engine.fit.budget import Budget, budget_of
from engine.fit.cards import Card
from engine.fit.decide import METHODS, Advice, explain, longest_that_fits, make_fit, need, verdict
from engine.fit.grid import SIZES
from engine.fit.recommend import Place
from engine.fit.row_lengths import RowLengths, row_lengths
from engine.fit.setup import architecture_of, setup_of
from engine.fit.simulated_fit import Answer, Simulation
from engine.fit.targets import Target, find_targets
from engine.fit.types import Architecture, Prediction, TrainSetup
from engine.machine.model import Gpu

EXAMPLE = 'finetui fit Qwen/Qwen3-8B --gpu "RTX 4090" --max_length 2048 4096'
MOST_NOTES = 6
SMALLEST_SHOWN = 1 << 20  # bytes of a part that has a line of its own


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="Hub ids or folders; default: one of each usual size"
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="explain the run of this run.yaml instead")
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="plan for this card, such as 'RTX 4090'; default: detected, the one in this machine",
    )
    parser.add_argument("--vram", metavar="SIZE", help="plan for this much free memory, such as 24GiB")
    parser.add_argument(
        "--max_length",
        type=int,
        nargs="+",
        default=[2048],
        metavar="N",
        help="tokens, named after the models; default 2048",
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="texts at once; default 1")
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="also run the real training step on simulated tensors: exacter, takes seconds",
    )
    parser.add_argument(
        "--price", type=float, metavar="DOLLARS", help="with --config: what an hour costs, for the total"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Predict and print."""
    if args.config:
        config = load(Path(args.config))
        targets = find_targets(args.gpu, args.vram, config.training.num_processes or 1)
        with _simulation(args.simulate) as simulation:
            return explain_run(config, targets, args.json, simulation, args.price)
    target = find_targets(args.gpu, args.vram, 1)[0]
    with _simulation(args.simulate) as simulation:
        rows = [
            row(architecture_of(model), model, method, length, args.batch, target, simulation)
            for model in (args.models or [size.model for size in SIZES])
            for length in args.max_length
            for method in METHODS
        ]
    if args.json:
        print(json.dumps({"card": target.name, "free_bytes": target.free, "rows": rows}, indent=1))
        return 0
    _print_rows(rows, target, args.batch, args.simulate)
    return 0


@contextlib.contextmanager
def _simulation(wanted: bool) -> Iterator[Simulation | None]:
    if not wanted:
        yield None
        return
    with Simulation() as simulation:
        yield simulation


def row(
    architecture: Architecture,
    model: str,
    method: str,
    length: int,
    batch: int,
    target: Target,
    simulation: Simulation | None,
) -> dict[str, Any]:
    """One line of the answer."""
    setup = TrainSetup(batch=batch, seq_len=length, eval_batch=batch, **METHODS[method])
    card, free = target.card, target.free
    if card is not None:
        setup = _for_card(setup, card)
    arithmetic = need(architecture, setup, free, card)
    answer = Answer(arithmetic, None, "")
    if simulation is not None:
        answer = simulation.ask(model, architecture, setup, target, arithmetic, f"{model}, {method}")
    prediction = answer.best
    return {
        "model": model,
        "method": method,
        "max_length": length,
        "batch": batch,
        "predictor": prediction.predictor,
        "verdict": verdict(prediction, free),
        "p50_bytes": prediction.smi.p50,
        "p95_bytes": prediction.smi.p95,
        "allocated_bytes": prediction.allocated.p50,
        "binding_phase": prediction.binding.name,
        "longest_length": longest_that_fits(architecture, setup, free, card),
        "arithmetic": asdict(arithmetic.smi),
        "notes": _notes(answer),
    }


def _for_card(setup: TrainSetup, card: Card) -> TrainSetup:
    """Cards before compute capability 8.0 do not compute bfloat16."""
    if card.compute_capability >= (8, 0):
        return setup
    return replace(setup, dtype="float16", trained_dtype="float32")


def _notes(answer: Answer) -> list[str]:
    """What makes the answer less sure; those of the arithmetic are said in half sentences."""
    notes = [f"Less sure, because {note}." for note in answer.arithmetic.notes]
    if answer.simulated is not None:
        notes += [note for note in answer.simulated.notes if note not in answer.arithmetic.notes]
    return [*notes, *([answer.refusal] if answer.refusal else [])]


def _print_rows(rows: list[dict[str, Any]], target: Target, batch: int, simulated: bool) -> None:
    print(f"{target.name}: {gib(target.free)} free. Batch {batch}.")
    print("Each number is what 19 of 20 runs stay below.")
    heading = f"  {'METHOD':<11}  {'LENGTH':>9}  {'VERDICT':<7}  {'NEEDS':>10}"
    heading += f"  {'SIMULATED':>10}" if simulated else ""
    model = None
    notes: dict[str, None] = {}
    for found in rows:
        if found["model"] != model:
            model = found["model"]
            print(f"\n{printable(model, 78)}\n{heading}  LONGEST TEXT")
        longest = f"{found['longest_length']:,} tokens" if found["longest_length"] else "none"
        line = f"  {found['method']:<11}  {found['max_length']:>9,}  {found['verdict']:<7}"
        line += f"  {gib(float(found['arithmetic']['p95'])):>10}"
        if simulated:
            exact = found["predictor"] == "simulate"
            line += f"  {gib(float(found['p95_bytes'])) if exact else 'not':>10}"
        print(f"{line}  {longest}")
        notes |= dict.fromkeys(found["notes"])
    if notes:
        print()
    for note in list(notes)[:MOST_NOTES]:
        _say(note)
    if len(notes) > MOST_NOTES:
        print(f"And {len(notes) - MOST_NOTES} more remarks: --json shows all.")


def explain_run(
    config: RunConfig,
    targets: list[Target],
    as_json: bool,
    simulation: Simulation | None = None,
    price: float | None = None,
) -> int:
    """Say what a run.yaml needs, part by part, and what would make it fit. Exit code 2 when it does not fit."""
    model = config.model.model_name_or_path
    architecture = architecture_of(model)
    rows = row_lengths(config)
    chosen = _complete(config, architecture, rows, targets)
    config = chosen.config
    setup = _setup(config, rows)
    budget = _budget(config, architecture, setup, rows, targets, price)
    answers: list[tuple[Target, Answer]] = []
    for target in targets:
        known = next((answer for other, answer in answers if _alike(other, target)), None)
        if known is None:
            arithmetic = need(architecture, setup, target.free, target.card)
            known = Answer(arithmetic, None, "")
            if simulation is not None:
                known = simulation.ask(
                    model, architecture, setup, target, arithmetic, model, rows.train, config.training.seed
                )
        answers.append((target, known))
    # The card with the least room decides.
    target, answer = min(answers, key=lambda item: item[0].free - item[1].best.smi.p95)
    prediction, free, card = answer.best, target.free, target.card
    word = verdict(prediction, free)
    advice = make_fit(architecture, setup, free, card) if word != "fits" else None
    longest = longest_that_fits(architecture, setup, free, card)
    if as_json:
        report = _report(prediction, word, target, advice)
        report["arithmetic"] = asdict(answer.arithmetic.smi)
        report["cards"] = [
            {"card": other.name, "free_bytes": other.free, "verdict": verdict(given.best, other.free)}
            for other, given in answers
        ]
        report["longest_length"] = longest
        report["data"] = {"rows": len(rows.train), "longest_row": rows.longest, "counted": rows.counted}
        report["notes"] = _notes(answer)
        report["choices"] = {
            key: {"value": choice.value, "reason": choice.reason} for key, choice in chosen.choices.items()
        }
        report["budget"] = budget.as_json()
        print(json.dumps(report, indent=1))
        return 0 if word != "no" else 2
    _say(f"{model} on {_where(targets)}")
    _say(rows.words)
    if len(targets) > 1 and not all(_alike(targets[0], other) for other in targets):
        for other, given in answers:
            _say(f"{other.name}: {gib(other.free)} free: {verdict(given.best, other.free)}", "  ")
    _say(explain(prediction, free))
    if answer.simulated is not None:
        _say(
            f"Simulated step: {gib(answer.simulated.smi.p50)} expected, at most {gib(answer.simulated.smi.p95)}. "
            f"Arithmetic: {gib(answer.arithmetic.smi.p50)}, at most {gib(answer.arithmetic.smi.p95)}."
        )
    print("\nAt the heaviest moment:")
    parts = sorted(prediction.binding.parts, key=lambda part: part.bytes, reverse=True)
    for part in parts:
        if part.bytes >= SMALLEST_SHOWN:
            print(f"  {gib(part.bytes):>9}  {part.name}")
    if any(0 < part.bytes < SMALLEST_SHOWN for part in parts):
        print(f"  {'< 1 MiB':>9}  each of everything else")
    _say(
        f"The longest text that fits: {longest:,} tokens." if longest else "No length of text is sure to fit."
    )
    for note in _notes(answer):
        _say(note)
    _print_advice(advice, simulation is not None)
    print()
    for line in budget.lines():
        print(line)
    if chosen.choices:
        print("\nWhat run.yaml leaves open, as finetui would choose it for this card:")
    for key, choice in chosen.choices.items():
        _say(f"{key} {choice.value}: {choice.reason}", "  ")
    return 0 if word != "no" else 2


def _alike(one: Target, other: Target) -> bool:
    return (one.card, one.free) == (other.card, other.free)


def _where(targets: list[Target]) -> str:
    if len(targets) == 1:
        return targets[0].name
    if all(_alike(targets[0], other) for other in targets):
        return f"{len(targets)} cards, each like {targets[0].name}"
    return f"{len(targets)} cards"


def _complete(
    config: RunConfig, architecture: Architecture, rows: RowLengths, targets: list[Target]
) -> Resolved:
    """The run as it would start on these cards: open values are chosen as ``finetui train`` chooses them."""
    least = min(targets, key=lambda target: target.free)
    facts = Facts(
        num_rows=_total(config, rows),
        params_b=architecture.params / 1e9,
        gpu_name=least.name,
        compute_capability=least.card.compute_capability if least.card else None,
        place=Place(architecture, least.free, least.card, len(targets), rows.longest, rows.counted),
        layers=architecture.layers,
        tokens_per_row=_mean(config, rows),
        seen=seen_in(config) if rows.train else None,
    )
    return resolve(config, facts)


def _setup(config: RunConfig, rows: RowLengths) -> TrainSetup:
    setup = setup_of(config, rows.longest if rows.counted else None)
    if setup.eval_batch and rows.evaluation and rows.counted:
        limit = setup_of(config).seq_len
        setup = replace(setup, eval_seq_len=min(limit, max(rows.evaluation)))
    return setup


def _budget(
    config: RunConfig,
    architecture: Architecture,
    setup: TrainSetup,
    rows: RowLengths,
    targets: list[Target],
    price: float | None,
) -> Budget:
    card = targets[0].card
    name = card.name if card else targets[0].name
    gpu = Gpu(0, "", name, compute_capability=card.compute_capability if card else None)
    return budget_of(
        config,
        architecture,
        setup,
        None,
        gpu,
        rows=_total(config, rows),
        tokens_per_row=_mean(config, rows),
        price_per_hour=price,
    )


def _total(config: RunConfig, rows: RowLengths) -> int | None:
    """Usable rows before any are held out; None where they are not known."""
    held_out = 0 if config.data.eval_specs() else len(rows.evaluation)
    return len(rows.train) + held_out or None


def _mean(config: RunConfig, rows: RowLengths) -> float | None:
    """Tokens of an ordinary row as it is cut; None where the rows are not known."""
    limit = config.training.max_length or rows.longest or 1
    cut = [min(length, limit) for length in rows.train]
    return sum(cut) / len(cut) if cut else None


def _print_advice(advice: Advice | None, simulated: bool) -> None:
    if advice is None:
        return
    if advice.prediction is None:
        print("\nNo setting makes it fit; choose a smaller model or a larger card.")
        return
    if not advice.changes:
        print()
        _say("By arithmetic alone it would fit; the simulated step needs more and is nearer to the truth.")
        return
    print(f"\nThis makes it fit, cheapest first{' (by arithmetic)' if simulated else ''}:")
    for change in advice.changes:
        print(f"  --{change.key} {str(change.value).lower()}")
        _say(f"{change.words}; costs {change.cost}", "      ")
    print(f"Then it needs at most {gib(advice.prediction.smi.p95)}.")


def _say(words: str, indent: str = "") -> None:
    print(textwrap.fill(printable(words, 600), 80, initial_indent=indent, subsequent_indent=indent))


def _report(prediction: Prediction, answer: str, target: Target, advice: Advice | None) -> dict[str, Any]:
    fitted = advice.prediction if advice is not None else None
    return {
        "card": target.name,
        "free_bytes": target.free,
        "predictor": prediction.predictor,
        "verdict": answer,
        "smi": asdict(prediction.smi),
        "reserved": asdict(prediction.reserved),
        "allocated": asdict(prediction.allocated),
        "binding_phase": prediction.binding.name,
        "phases": {
            phase.name: {part.name: part.bytes for part in phase.parts if part.bytes}
            for phase in prediction.phases
        },
        "changes": [asdict(change) for change in advice.changes] if advice is not None and fitted else [],
        "fits_with_changes": fitted is not None if advice is not None else None,
        "profile": prediction.profile,
    }
