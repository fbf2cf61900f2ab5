"""Checking a dataset while the screen stays responsive: two worker processes, and what they said so far."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from engine.config.draft import DEMO_MODEL, Draft
from engine.config.schema import ORDINARY_LENGTH
from engine.data.check.client import CheckProcess
from engine.data.check.histogram import Histogram
from engine.data.check.run import CheckRequest
from engine.data.check.tokens import rough
from engine.data.sources import is_hub_id
from engine.errors import UserError
from engine.models.folder import inspect_model
from tui.dataset import DatasetReport, Wanted, spoken

SEVERITIES = ("stops the run", "row is skipped", "worth a look")
MARKS = {
    "stops the run": ("✗", "$error"),
    "row is skipped": ("!", "$warning"),
    "worth a look": ("·", "$primary"),
}


@dataclass(frozen=True, slots=True)
class CheckState:
    """What is known so far.

    Attributes:
        share: Of the work under way, from 0 to 1; None when nothing runs.
        words: What goes on.
        report: The whole check's report in JSON form; None until it is done.
        tokens: Lengths, the best known so far.
        choices: Recommended settings.
        error: Why it cannot be checked.
        stopped: The user stopped it.
    """

    share: float | None = 0.0
    words: str = "starting"
    report: Mapping[str, Any] | None = None
    tokens: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, Any] = field(default_factory=dict)
    error: UserError | None = None
    stopped: bool = False


class DatasetCheck:
    """One check. `run` blocks and belongs into a worker thread; `cancel` may be called from any.

    Args:
        wanted: The dataset.
        model: Folder or id of a model whose tokenizer is on this machine; None for a rough estimate.
        max_length: Limit the rows are compared with, in tokens.
        exact: Count the tokens of all rows.
        fix: Where to write a repaired copy.
    """

    def __init__(
        self, wanted: Wanted, model: str | None, max_length: int, exact: bool = False, fix: str | None = None
    ) -> None:
        self._request = CheckRequest(
            (wanted.spec,), model, objective=wanted.objective, max_length=max_length, fix=fix, exact=exact
        )
        self._running: list[CheckProcess] = []
        self._cancelled = False

    def lengths(self) -> CheckState | None:
        """Lengths of a sample of the rows, within two seconds; None without a tokenizer, or after `cancel`.

        Raises:
            UserError: The dataset cannot be read.
        """
        if self._request.model is None:
            return None
        return self._last(
            replace(self._request, exact=False, fix=None), "stats", lambda state: None, CheckState()
        )

    def run(self, tell: Callable[[CheckState], None]) -> CheckState | None:
        """Everything.

        Args:
            tell: Told of progress.

        Returns:
            The state at the end; None after `cancel`.

        Raises:
            UserError: The dataset cannot be checked, or the repaired copy not be written.
        """
        return self._last(self._request, "check", tell, CheckState())

    def cancel(self) -> None:
        """Stop what runs; it leaves no unfinished file behind."""
        self._cancelled = True
        for process in self._running:
            process.cancel()

    def _last(
        self,
        request: CheckRequest,
        kind: Literal["check", "stats"],
        tell: Callable[[CheckState], None],
        state: CheckState,
    ) -> CheckState | None:
        if self._cancelled:
            return None
        process = CheckProcess(request, kind)
        self._running.append(process)
        for message in process.messages():
            if self._cancelled:
                continue
            if message["kind"] == "progress":
                tell(replace(state, share=message["share"], words=message["words"]))
            elif message["kind"] == "report":
                report = message["report"]
                state = replace(
                    state,
                    share=None,
                    words="",
                    report=report,
                    tokens=report["tokens"],
                    choices=report["choices"],
                )
        return None if self._cancelled else state


def rough_lengths(report: DatasetReport, max_length: int) -> dict[str, Any]:
    """What can be said of the lengths at once: from the letters of the rows that are in memory."""
    sizes = Histogram()
    for row in report.rows[:2000]:
        sizes.add(sum(len(text.encode("utf-8", "replace")) for _, text in spoken(row)))
    return rough(sizes, max_length).as_json(report.num_rows)


def counting_model(draft: Draft, path: str) -> str | None:
    """The model whose tokenizer counts: the chosen one, where its tokenizer is on this machine."""
    if draft.model == DEMO_MODEL and path != draft.data_path:
        return None
    if draft.model == DEMO_MODEL and not draft.is_demo:
        return None  # nobody trains the demo model on data of their own, and its few tokens would mislead
    try:
        folder = inspect_model(draft.model).folder
    except UserError:
        return None
    return draft.model if folder is not None and (folder / "tokenizer.json").is_file() else None


def length_limit(draft: Draft) -> int:
    """The max_length of the training as far as the user has said it, else the ordinary one."""
    value = draft.settings.get("max_length")
    try:
        return max(1, int(value)) if value not in (None, "") else ORDINARY_LENGTH
    except (TypeError, ValueError):
        return ORDINARY_LENGTH


def repaired_name(path: str) -> str:
    """A free name for a repaired copy, next to the old file; of a Hub dataset in the current folder."""
    file = Path.cwd() / path.rpartition("/")[2] if is_hub_id(path) else Path(path).expanduser().absolute()
    stem = file.name.split(".")[0] or "dataset"
    for number in itertools.count(1):
        new = file.with_name(f"{stem}.fixed{'' if number == 1 else f'-{number}'}.jsonl")
        if not new.exists() and not new.is_symlink():
            return str(new)
    raise AssertionError
