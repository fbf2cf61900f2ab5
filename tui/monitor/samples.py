"""The user's questions with the answers before and now."""

from __future__ import annotations

from tui.monitor.lines import Row
from tui.monitor.model import MonitorModel


def sample_rows(model: MonitorModel) -> list[Row]:
    """One paragraph for each question and each answer."""
    if not model.samples:
        return [
            ((
                "No samples yet. A run asks the questions under watch: sample_prompts in run.yaml before and after training.",
                "$muted",
            ),)
        ]  # fmt: skip
    rows: list[Row] = []
    for sample in model.samples.values():
        rows.append((("Question  ", "$muted"), (sample.prompt, "bold")))
        rows.append((("before    ", "$muted"), (_answer(sample.before), "")))
        when = f"step {sample.now_step:,}"[:9]
        now = "comes when training is done" if sample.now is None else _answer(sample.now)
        rows.append(((f"{'now' if sample.now is None else when:<10}", "$muted"), (now, "$muted" if sample.now is None else "$success")))
        rows.append(())
    return rows


def _answer(text: str | None) -> str:
    return "(not asked)" if text is None else text or "(nothing)"
