"""A template's verdict on the rows of a dataset: what is learnt, what is cut off, which rows are worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.data.render import Renderer
from engine.data.templates.verify import Check
from engine.display import printable
from engine.errors import UserError

WORST = 20  # rows to jump to


@dataclass(frozen=True, slots=True)
class Scan:
    """What a template makes of rows. Rows are named by their place among those looked at, from 0.

    Attributes:
        checked: How many were looked at.
        longest: The longest.
        longest_total: Its tokens.
        learnt: Tokens learnt in all of them, within the length limit.
        num_cut: Rows longer than the limit.
        nothing: Rows from which nothing is learnt.
        refused: Rows the template refuses.
        refusal: Why it refuses the first of them.
        endless: Rows that teach something, but not how to stop.
        worst: Rows worth a look, the worst first: refused, without anything to learn, cut, least learnt.
    """

    checked: int = 0
    longest: int = 0
    longest_total: int = 0
    learnt: int = 0
    num_cut: int = 0
    nothing: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    refusal: str = ""
    endless: tuple[int, ...] = ()
    worst: tuple[int, ...] = ()

    @property
    def useful(self) -> int:
        """Rows that teach something."""
        return self.checked - len(self.nothing) - len(self.refused)


@dataclass(slots=True)
class Scanner:
    """Looks at rows one after the other."""

    renderer: Renderer
    max_length: int | None
    assistant_only_loss: bool = True
    _scan: Scan = field(default_factory=Scan)
    _ranks: list[tuple[int, float, int]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Look at the next row."""
        before = self._scan
        index = before.checked
        refused, nothing, endless = before.refused, before.nothing, before.endless
        longest, longest_total, cut, refusal = before.longest, before.longest_total, 0, before.refusal
        learnt = 0
        try:
            seen = self.renderer.xray(row, self.max_length, self.assistant_only_loss)
        except UserError as error:
            refused, refusal = (*refused, index), refusal or error.what
            rank = (0, 0.0, index)
        else:
            cut, learnt = int(seen.kept < seen.total), seen.learnt
            if seen.total > longest_total:
                longest, longest_total = index, seen.total
            if not learnt:
                nothing, rank = (*nothing, index), (1, -float(seen.total), index)
            elif cut:
                rank = (2, float(learnt - seen.trained_count), index)
            else:
                rank = (4, learnt / seen.total, index)
            if learnt and not seen.stops:
                endless = (*endless, index)
                rank = min(rank, (3, 0.0, index))
        self._ranks = sorted([*self._ranks, rank])[:WORST]
        self._scan = Scan(
            checked=index + 1,
            longest=longest,
            longest_total=longest_total,
            learnt=before.learnt + learnt,
            num_cut=before.num_cut + cut,
            nothing=nothing,
            refused=refused,
            refusal=refusal,
            endless=endless,
            worst=tuple(place for _, _, place in self._ranks),
        )

    @property
    def result(self) -> Scan:
        """What was found so far."""
        return self._scan


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run may start.

    Attributes:
        bad: It would learn nothing useful, or never learn to stop.
        words: One plain sentence.
        reasons: Why it is bad, a sentence each.
    """

    bad: bool
    words: str
    reasons: tuple[str, ...] = ()


def judge(checks: Sequence[Check], scan: Scan) -> Verdict:
    """The verdict on a template and the rows seen through it.

    Args:
        checks: Of `verify`; empty for texts, which need no template.
        scan: Of the rows, or some of them.
    """
    reasons = [check.words for check in checks if check.level == "bad"]
    if scan.checked and len(scan.refused) == scan.checked:
        reasons.append(f"The template refuses every row. {printable(scan.refusal, 300)}")
    elif scan.checked and not scan.useful:
        reasons.append("The model would learn nothing: no row has a token to train on.")
    elif checks and scan.checked and len(scan.endless) == scan.useful:
        reasons.append("The model would never learn to stop: in no row is the end of the answer learnt.")
    if reasons:
        return Verdict(True, reasons[0], tuple(dict.fromkeys(reasons)))
    return Verdict(False, f"The model learns these {scan.learnt:,} tokens and how to stop.")


def refuse(verdict: Verdict, title: str) -> UserError:
    """The error for a run whose verdict is bad; it names the way around it."""
    return UserError(
        " ".join(verdict.reasons),
        f"template: {printable(title, 200)}",
        "Choose another template or raise max_length; finetui data preview shows the rows. To start all the same: "
        "--allow_bad_template true",
    )
