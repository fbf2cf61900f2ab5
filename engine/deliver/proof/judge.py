"""One form beside the reference: every check, and the likely cause of what fails. Numbers only; loads neither torch nor models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.deliver.proof.bounds import Bound, noise
from engine.deliver.proof.causes import causes_of
from engine.deliver.proof.seen import Case, Reference, Seen, Stops
from engine.deliver.proof.types import Cause, Check, Form, Verdict
from engine.display import printable

_SHOWN = 300  # characters of an answer that are kept


@dataclass(frozen=True, slots=True)
class Kind:
    """What a form is.

    Attributes:
        name: For people.
        file: Inside the export.
        bound: What it must keep.
        plain: 16 bits or more, so that rounding explains nothing.
        talks: It has a chat template of its own.
    """

    name: str
    file: str
    bound: Bound
    plain: bool
    talks: bool = True


def judge(kind: Kind, asked: Reference, seen: Sequence[Seen | None], stops: Stops) -> Form:
    """Compare a form with the reference.

    Args:
        kind: The form.
        asked: The reference.
        seen: What it did with each case; None where it cannot take one (tools in a Modelfile).
        stops: How it ends answers.
    """
    pairs = [(case, one) for case, one in zip(asked.cases, seen, strict=True) if one is not None]
    if not pairs:
        nothing = Cause(
            "It could be asked nothing: every prompt has tools, and an Ollama template of ours has no place for them.",
            "Ask it a few questions yourself, or serve the GGUF file with its own template: llama-server --jinja -m FILE",
        )
        return Form(kind.name, kind.file, "not run", (Check("asked", None, "no prompt"),), (nothing,))
    checks: list[Check] = []
    if kind.talks:
        checks.append(_count("prompt text", [same_text(*pair) for pair in pairs]))
    checks.append(_count("token ids", [same_ids(*pair) for pair in pairs]))
    if not asked.scores:
        checks.append(_tokens(kind.bound, asked, pairs))
    checks.append(_logits(kind.bound, asked, pairs))
    if not asked.scores:
        checks += _stopping(kind, asked, pairs, stops)
    passed = all(check.passed is not False for check in checks)
    causes: tuple[Cause, ...] = () if passed else causes_of(kind.plain, asked, pairs, stops, checks)
    verdict: Verdict = "same" if passed else "differs"
    return Form(kind.name, kind.file, verdict, tuple(checks), causes, _example(pairs))


def same_text(case: Case, one: Seen) -> bool:
    """The form's own template writes the prompt as training does."""
    return one.text == (case.text if one.wanted_text is None else one.wanted_text)


def same_ids(case: Case, one: Seen) -> bool:
    """The form's own tokenizer cuts the prompt as training does."""
    return one.ids == (case.ids if one.wanted_ids is None else one.wanted_ids)


def _count(name: str, found: Sequence[bool]) -> Check:
    if not found:
        return Check(name, None, "nothing to compare")
    return Check(name, all(found), f"{sum(found)} of {len(found)} identical", "all")


def _tokens(bound: Bound, asked: Reference, pairs: Sequence[tuple[Case, Seen]]) -> Check:
    """Share of places where both find the same token likeliest, near ties of the reference counted as the same."""
    near = 2 * noise(asked.dtype, asked.layers)
    same = ties = total = 0
    for case, one in pairs:
        for row, theirs in zip(case.logits, one.next, strict=True):
            total += 1
            ours = int(row.argmax())
            if ours == theirs:
                same += 1
            elif theirs < len(row) and float(row[ours] - row[theirs]) <= near * float(row.std()):
                ties += 1
    if not total:
        return Check("greedy tokens", None, "the trained model wrote nothing")
    share = (same + ties) / total
    words = f"{_percent(share)} of {total}" + (f", {ties} near ties" if ties else "")
    return Check("greedy tokens", share >= bound.tokens, words, f"at least {bound.tokens * 100:.0f} %")


def _logits(bound: Bound, asked: Reference, pairs: Sequence[tuple[Case, Seen]]) -> Check:
    """Largest difference: of any number where both are exact, else of a row as a share of its spread."""
    import numpy as np

    name = "scores" if asked.scores else "logits"
    largest = spread = 0.0
    rows = 0
    for case, one in pairs:
        if one.logits is None:
            continue
        width = min(case.logits.shape[1], one.logits.shape[1])
        for ours, theirs in zip(case.logits[:, :width], one.logits[:, :width], strict=True):
            rows += 1
            apart = np.abs(np.subtract(ours, theirs, dtype=np.float64))
            scale = float(ours.std()) if width > 1 else max(1.0, abs(float(ours[0])))
            largest = _worse(largest, float(apart.max()))
            spread = _worse(spread, math.sqrt(float((apart**2).mean())) / max(scale, 1e-12))
    if not rows:
        return Check(name, None, "not compared")
    if bound.exact is not None:
        return Check(name, largest <= bound.exact, f"{largest:.1e} apart", f"at most {bound.exact:g}")
    words = f"{_percent(spread)} of their spread apart"
    if bound.spread is None:
        return Check(name, None if math.isfinite(spread) else False, words, "shown only")
    return Check(name, spread <= bound.spread, words, f"at most {_percent(bound.spread)}")


def _worse(one: float, other: float) -> float:
    """The larger; a number that is none counts as the largest."""
    return math.inf if math.isnan(other) else max(one, other)


def _stopping(kind: Kind, asked: Reference, pairs: Sequence[tuple[Case, Seen]], stops: Stops) -> list[Check]:
    # An answer that went another way after a near tie may end elsewhere; what counts then is the end of the reference's.
    should = [
        one.stopped or bool(one.next and one.next[-1] in stops.ends) for case, one in pairs if case.stopped
    ]
    checks = []
    if should:
        least = math.ceil(kind.bound.tokens * len(should))
        checks.append(
            Check(
                "stops by itself",
                sum(should) >= least,
                f"{sum(should)} of {len(should)}",
                f"{least} of {len(should)}",
            )
        )
        missing = [name for number, name in asked.end_names.items() if number not in stops.ends]
        renamed = [name for number, name in asked.end_names.items() if stops.names.get(number, name) != name]
        bad = sorted({*missing, *renamed})
        found = "present" if not bad else f"{printable(', '.join(bad), 100)} is no end token here"
        checks.append(
            Check("stop tokens", not bad, found, printable(", ".join(asked.end_names.values()), 100))
        )
    pads = stops.pad >= 0 and (stops.pad == stops.end or stops.pad in asked.end_names)
    checks.append(
        Check(
            "pad token",
            not pads,
            "is the end token" if pads else "its own" if stops.pad >= 0 else "none",
            "not the end token",
        )
    )
    return checks


def _example(pairs: Sequence[tuple[Case, Seen]]) -> dict[str, str] | None:
    if not pairs:
        return None
    case, one = next(
        ((case, one) for case, one in pairs if not same_text(case, one) or not same_ids(case, one)),
        next(((case, one) for case, one in pairs if case.said != one.said), pairs[0]),
    )
    return {
        "prompt": printable(case.prompt.question, _SHOWN, newlines=True),
        "trained": printable(case.said, _SHOWN, newlines=True),
        "exported": printable(one.said, _SHOWN, newlines=True),
    }


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "infinitely many %"
    return (
        f"{share * 100:.2g} %"
        if 0 < share < 0.01
        else f"{math.floor(share * 1000) / 10:.1f} %".replace(".0 %", " %")
    )
