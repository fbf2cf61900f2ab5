"""What a proof says. Values only, so that verbs and screens may read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["same", "differs", "not run"]
FILE = "PROOF.md"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared.

    Attributes:
        name: Such as ``token ids``.
        passed: None where it is shown for information only, or could not be looked at.
        found: What was seen, such as ``8 of 8`` or ``99.4 %``.
        wanted: What passes.
    """

    name: str
    passed: bool | None
    found: str
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something failed, most likely.

    Attributes:
        what: One sentence.
        fix: What to do about it.
    """

    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Form:
    """One exported form beside the trained model.

    Attributes:
        name: Such as ``merged, bfloat16`` or ``Q4_K_M``.
        file: The file or folder inside the export.
        verdict: Of all its checks.
        checks: What was compared.
        causes: Likely reasons of failures.
        example: A prompt with both answers where they differ, else the first one.
    """

    name: str
    file: str
    verdict: Verdict
    checks: tuple[Check, ...]
    causes: tuple[Cause, ...] = ()
    example: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """The outcome for an export.

    Attributes:
        verdict: ``differs`` where any form does.
        words: The verdict in a sentence.
        fix: What to do where it is not ``same``.
        reference: What the forms were compared with, such as ``base and adapter in bfloat16``.
        prompts: How many were asked.
        positions: Tokens of the reference answers, each of which was predicted by each form.
        forms: What was compared.
        notes: What else was seen.
    """

    verdict: Verdict
    words: str
    fix: str = ""
    reference: str = ""
    prompts: int = 0
    positions: int = 0
    forms: tuple[Form, ...] = ()
    notes: tuple[str, ...] = ()


def of_json(value: Mapping[str, Any] | None) -> Proof | None:
    """A proof as export.json has it; None where there is none or it cannot be read."""
    if not value or value.get("verdict") not in ("same", "differs", "not run"):
        return None
    try:
        forms = tuple(_form(one) for one in value.get("forms") or ())
        return Proof(
            value["verdict"],
            str(value.get("words") or ""),
            str(value.get("fix") or ""),
            str(value.get("reference") or ""),
            int(value.get("prompts") or 0),
            int(value.get("positions") or 0),
            forms,
            tuple(map(str, value.get("notes") or ())),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _form(value: Mapping[str, Any]) -> Form:
    checks = tuple(
        Check(
            str(one["name"]),
            one["passed"] if one["passed"] is None else bool(one["passed"]),
            str(one["found"]),
            str(one.get("wanted") or ""),
        )
        for one in value["checks"]
    )
    causes = tuple(Cause(str(one["what"]), str(one["fix"])) for one in value.get("causes") or ())
    example = value.get("example")
    shown = {str(key): str(text) for key, text in example.items()} if isinstance(example, Mapping) else None
    verdict: Verdict = value["verdict"] if value["verdict"] in ("same", "differs") else "not run"
    return Form(str(value["name"]), str(value["file"]), verdict, checks, causes, shown)
