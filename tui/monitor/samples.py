"""The user's questions with the answers before and now."""

from __future__ import annotations

from tui.monitor.lines import Row
from tui.monitor.model import MonitorModel


def sample_rows(model: MonitorModel) -> list[Row]:
    """One paragraph for each question and each answer."""
    if not model.samples:
        return [
            ((
                "No samples yet. A run asks the questions under watch: sample_prompts in run.yaml before, while and after it trains.",
                "$muted",
            ),)
        ]  # fmt: skip
    rows: list[Row] = []
    for sample in model.samples.values():
        rows.append(_labelled("question", sample.prompt, "bold"))
        rows.append(_labelled("before", _answer(sample.before)))
        if sample.now is None:
            rows.append(_labelled("now", "comes while it trains", "$muted"))
        else:
            rows.append(_labelled(sample.when, _answer(sample.now), "$success"))
        rows.append(())
    return rows


def _labelled(label: str, text: str, style: str = "") -> Row:
    return ((f"{label:<12}", "$muted"), (text, style))


def _answer(text: str | None) -> str:
    return "(not asked)" if text is None else text or "(nothing)"
