"""Predict the GPU memory of a run before it starts, and say what makes it fit. Needs no GPU and no torch."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine.cli.main import Parser, Screen
from engine.config.loading import load
from engine.display import GIB, gib, printable
from engine.errors import UserError
from engine.fit.cards import Card, find_card, known_cards
from engine.fit.decide import METHODS, explain, longest_that_fits, make_fit, verdict
from engine.fit.predict import predict
from engine.fit.setup import architecture_of, setup_of
from engine.fit.types import Architecture, Prediction, TrainSetup

EXAMPLE = 'finetui fit Qwen/Qwen3-8B --gpu "RTX 4090" --max_length 2048 4096'
DEFAULT_MODELS = (
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2.5-14B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
)
MARKS = {"fits": "fits ", "tight": "tight", "no": "no   "}


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="Hub ids or folders; default: one of each usual size"
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="explain the run of this run.yaml instead")
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="plan for this card, such as 'RTX 4090'; default: the one in this machine",
    )
    parser.add_argument("--vram", metavar="SIZE", help="plan for this much free memory, such as 24GiB")
    parser.add_argument(
        "--max_length", type=int, nargs="+", default=[2048], metavar="N", help="tokens; default 2048"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="texts at once; default 1")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Predict and print."""
    card, free, where = target(args.gpu, args.vram)
    if args.config:
        return explain_run(Path(args.config), card, free, where, args.json)
    rows = [
        row(architecture_of(model), model, method, length, args.batch, card, free)
        for model in (args.models or DEFAULT_MODELS)
        for length in args.max_length
        for method in METHODS
    ]
    if args.json:
        print(json.dumps({"card": where, "free_bytes": free, "rows": rows}, indent=1))
        return 0
    print(f"{where}: {gib(free)} free. Batch {args.batch}. The number is what 19 of 20 runs stay below.\n")
    width = max(len(str(found["model"])) for found in rows)
    print(
        f"{'MODEL':<{width}}  {'METHOD':<11}  {'LENGTH':>6}  {'VERDICT':<7}  {'NEEDS':>9}  LONGEST TEXT THAT FITS"
    )
    for found in rows:
        longest = f"{found['longest_length']:,} tokens" if found["longest_length"] else "none"
        print(
            f"{printable(found['model']):<{width}}  {found['method']:<11}  {found['max_length']:>6,}  "
            f"{MARKS[str(found['verdict'])]:<7}  {gib(float(found['p95_bytes'])):>9}  {longest}"
        )
    return 0


def row(
    architecture: Architecture, model: str, method: str, length: int, batch: int, card: Card | None, free: int
) -> dict[str, Any]:
    """One line of the answer."""
    setup = TrainSetup(batch=batch, seq_len=length, eval_batch=batch, **METHODS[method])
    prediction = predict(architecture, setup, card=card)
    return {
        "model": model,
        "method": method,
        "max_length": length,
        "batch": batch,
        "verdict": verdict(prediction, free),
        "p50_bytes": prediction.smi.p50,
        "p95_bytes": prediction.smi.p95,
        "allocated_bytes": prediction.allocated.p50,
        "binding_phase": prediction.binding.name,
        "longest_length": longest_that_fits(architecture, setup, free, card),
        "notes": list(prediction.notes),
    }


def explain_run(path: Path, card: Card | None, free: int, where: str, as_json: bool) -> int:
    """Say what a run.yaml needs, part by part, and what would make it fit. Exit code 2 when it does not fit."""
    config = load(path)
    architecture = architecture_of(config.model.model_name_or_path)
    setup = setup_of(config)
    if config.model.dtype is None and card is not None and card.compute_capability < (8, 0):
        setup = replace(setup, dtype="float16", trained_dtype="float32")
    prediction = predict(architecture, setup, card=card)
    answer = verdict(prediction, free)
    advice = make_fit(architecture, setup, free, card) if answer != "fits" else None
    if as_json:
        print(json.dumps(_report(prediction, answer, free, where, advice), indent=1))
        return 0 if answer != "no" else 2
    print(f"{printable(config.model.model_name_or_path)} on {where}")
    print(explain(prediction, free))
    print("\nAt the heaviest moment:")
    for part in sorted(prediction.binding.parts, key=lambda part: part.bytes, reverse=True):
        if part.bytes:
            print(f"  {gib(part.bytes):>9}  {part.name}")
    for note in prediction.notes:
        print(f"Less sure, because {note}.")
    if advice is not None and advice.prediction is not None:
        print("\nThis makes it fit, cheapest first:")
        for change in advice.changes:
            print(f"  --{change.key} {str(change.value).lower()}   {change.words}; costs {change.cost}")
        print(f"Then it needs at most {gib(advice.prediction.smi.p95)}.")
    elif advice is not None:
        print("\nNo setting makes it fit; choose a smaller model or a larger card.")
    return 0 if answer != "no" else 2


def target(gpu: str | None, vram: str | None) -> tuple[Card | None, int, str]:
    """The card, its free bytes, and what to call it.

    Raises:
        UserError: The card or the size is not understood, or nothing is given and this machine has no GPU.
    """
    card = find_card(gpu) if gpu else None
    if gpu and card is None:
        names = ", ".join(known.name for known in known_cards())
        raise UserError(
            f"The card {printable(gpu, 60)!r} is not in the table.",
            "--gpu",
            f"Known: {names}. Or say --vram 24GiB.",
        )
    if vram:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(GiB|GB|G|MiB|MB)?\s*", vram, re.I)
        unit = {"gb": 10**9, "mib": 2**20, "mb": 10**6}.get((found[2] or "").lower() if found else "", GIB)
        if not found or not 0 < float(found[1]) * unit < 2**50:
            raise UserError(
                f"The size {printable(vram, 40)!r} is not understood.",
                "--vram",
                "Write it like 24GiB or 16000MiB.",
            )
        return card, int(float(found[1]) * unit), (card.name if card else f"a card with {vram.strip()}")
    if card is not None:
        return card, card.usable, card.name
    from engine.config.draft import choose_gpu
    from engine.machine.probe import probe

    here = choose_gpu(probe(), None)
    if here is None:
        raise UserError(
            "This machine has no GPU to plan for.",
            "this machine",
            'Name one: finetui fit --gpu "RTX 4090"   or: --vram 24GiB',
        )
    return find_card(here.name), here.memory_free, here.name


def _report(prediction: Prediction, answer: str, free: int, where: str, advice: Any) -> dict[str, Any]:
    fitted = advice.prediction if advice is not None else None
    return {
        "card": where,
        "free_bytes": free,
        "verdict": answer,
        "smi": asdict(prediction.smi),
        "reserved": asdict(prediction.reserved),
        "allocated": asdict(prediction.allocated),
        "binding_phase": prediction.binding.name,
        "phases": {
            phase.name: {part.name: part.bytes for part in phase.parts if part.bytes}
            for phase in prediction.phases
        },
        "changes": [asdict(change) for change in advice.changes] if fitted is not None else [],
        "fits_with_changes": fitted is not None if advice is not None else None,
        "notes": list(prediction.notes),
        "profile": prediction.profile,
    }
