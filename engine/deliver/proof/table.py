"""A proof as people read it: lines for a terminal, and ``PROOF.md``. Loads nothing."""

from __future__ import annotations

import textwrap

from engine.deliver.proof.types import Check, Form, Proof
from engine.display import printable

MARKS = {True: "✓", False: "✗", None: "-"}
_WORDS = {"same": "same", "differs": "DIFFERS", "not run": "not checked"}


def lines(proof: Proof, width: int = 100) -> list[str]:
    """The table and what follows from it.

    Args:
        proof: What was seen.
        width: Longest line.
    """
    told = [*_wrapped(sentence(proof), width)]
    for form in proof.forms:
        told.append(f"{form.name}: {_WORDS[form.verdict]}")
        label = max((len(check.name) for check in form.checks), default=0)
        told += [
            printable(f"  {MARKS[check.passed]} {check.name:<{label}}  {_found(check)}", width)
            for check in form.checks
        ]
        if form.verdict == "differs":
            for cause in form.causes:
                told += _wrapped(f"Likely cause: {cause.what}", width, "  ")
                told += _wrapped(f"Fix: {cause.fix}", width, "  ")
    for note in proof.notes:
        told += _wrapped(note, width)
    if proof.verdict != "same" and proof.fix and not any(form.causes for form in proof.forms):
        told += _wrapped(f"Fix: {proof.fix}", width)
    return told


def sentence(proof: Proof) -> str:
    """The verdict in one sentence, with what was asked."""
    asked = (
        f" {proof.prompts} prompts, {proof.positions:,} tokens of answers, beside {proof.reference}."
        if proof.forms
        else ""
    )
    start = {"same": "Checked: ", "differs": "CHECK FAILED: ", "not run": "Not checked: "}[proof.verdict]
    return f"{start}{proof.words}{asked}"


def markdown(proof: Proof, run: str) -> str:
    """The file that lies beside the export."""
    told = ["# Round-trip proof", "", _md(sentence(proof)), ""]
    if proof.verdict != "same" and proof.fix:
        told += [f"How to fix it: {_md(proof.fix)}", ""]
    for form in proof.forms:
        told += _form(form)
    told += [f"- {_md(note)}" for note in proof.notes]
    told += [
        "",
        f"The same prompts went through the trained model of the run {_md(run)} and through each exported form, always with the",
        "likeliest next token. Greedy tokens are compared along the trained model's own answers; near ties are places where the",
        "trained model's two likeliest tokens are closer than its own rounding.",
    ]
    return "\n".join(told) + "\n"


def _form(form: Form) -> list[str]:
    told = [
        f"## {_md(form.name)}: {_WORDS[form.verdict]}",
        "",
        "| check | result | found | wanted |",
        "|---|---|---|---|",
    ]
    words = {True: "passed", False: "FAILED", None: "for information"}
    for check in form.checks:
        told.append(
            f"| {_md(check.name)} | {words[check.passed]} | {_md(check.found)} | {_md(check.wanted)} |"
        )
    told.append("")
    for cause in form.causes:
        told += [f"- Likely cause: {_md(cause.what)}", f"  Fix: {_md(cause.fix)}"]
    if form.example is not None:
        title = {"prompt": "Prompt", "trained": "Trained model", "exported": "Exported"}
        told += ["", *(f"- {title.get(key, key)}: {_md(text)}" for key, text in form.example.items())]
    return [*told, ""]


def _found(check: Check) -> str:
    return check.found + (f"  (wanted: {check.wanted})" if check.passed is False and check.wanted else "")


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text, 1000),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
    )


def _md(text: str) -> str:
    """Foreign words as plain text in Markdown."""
    safe = printable(text, 1000).replace("\\", "\\\\")
    for mark in "`*_<>|[]#":
        safe = safe.replace(mark, "\\" + mark)
    return safe
