"""The user's questions with the answers before, and at a moment since."""

from __future__ import annotations

from tui.monitor.lines import Row
from tui.monitor.model import MonitorModel


def sample_rows(model: MonitorModel, back: int = 0) -> list[Row]:
    """One paragraph for each question and each answer.

    Args:
        model: What is known.
        back: How many times before the newest; 0 is the newest.
    """
    if not model.samples:
        return [
            ((
                "No samples yet. A run asks the questions under watch: sample_prompts in run.yaml before, while and after it trains.",
                "$muted",
            ),)
        ]  # fmt: skip
    whens = model.answer_times()
    when = whens[-1 - min(back, len(whens) - 1)] if whens else None
    rows: list[Row] = []
    for sample in model.samples.values():
        rows.append(_labelled("question", sample.prompt, "bold"))
        rows.append(_labelled("before", _answer(sample.before)))
        if when is None:
            rows.append(_labelled("now", "comes while it trains", "$muted"))
        else:
            rows.append(_labelled(when, _answer(sample.answers.get(when)), "$success"))
        rows.append(())
    return rows


def _labelled(label: str, text: str, style: str = "") -> Row:
    return ((f"{label:<12}", "$muted"), (text, style))


def _answer(text: str | None) -> str:
    return "(not asked)" if text is None else text or "(nothing)"
