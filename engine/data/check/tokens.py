"""How long rows are in tokens: measured on a sample with its error, on all rows, or estimated from their bytes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from engine.data.check.findings import Findings
from engine.data.check.histogram import Histogram
from engine.data.check.sampling import Sampled
from engine.data.forms import Conversation, Form, Labelled, Message, Preference, PromptOnly, Text
from engine.display import printable
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.data.render import Renderer

ROUGH_BYTES_PER_TOKEN = 4.0
"""English text and most others; only a rule of thumb."""
PERCENTILES = (50, 90, 95, 99)
_RESAMPLES = 200
_AT_ONCE = 500  # rows given to the tokenizer together

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Lengths of rows in tokens.

    Attributes:
        how: ``all rows``, ``sample``, ``first rows``, or ``rough estimate`` (from bytes, without a tokenizer).
        rows: Rows that were measured.
        lengths: Their lengths.
        intervals: The range that holds the true value with 95 % probability, for ``mean``, ``p50`` and so on, and
            ``truncated``; empty where all rows were measured or nothing is known about the error.
        bytes_per_token: Mean bytes of text in a token.
        max_length: The limit rows were compared with.
        refused: Rows that the chat template refuses, with the reason of the first.
        refusal: That reason.
    """

    how: str
    rows: int
    lengths: Histogram
    intervals: dict[str, Interval] = field(default_factory=dict)
    bytes_per_token: float = ROUGH_BYTES_PER_TOKEN
    max_length: int | None = None
    refused: int = 0
    refusal: str = ""

    @property
    def mean(self) -> float:
        """Mean length; 0 without rows."""
        return self.lengths.total / max(1, self.lengths.rows)

    def as_json(self, usable: int) -> dict[str, Any]:
        """The numbers under documented names.

        Args:
            usable: Usable rows in the dataset, for the estimate of all its tokens.
        """
        found = self.lengths.percentiles([share / 100 for share in PERCENTILES])
        out: dict[str, Any] = {
            "how": self.how,
            "rows": self.rows,
            "mean": round(self.mean, 1),
            "total": round(self.mean * usable),
            "percentiles": dict(zip(map(str, PERCENTILES), found, strict=True)),
            "longest": max(self.lengths.bins, default=0),
            "bytes_per_token": round(self.bytes_per_token, 2),
            "histogram": [
                {"from": low, "to": high, "rows": count} for low, high, count in histogram(self.lengths)
            ],
        }
        if self.intervals:
            out["intervals_95"] = {
                name: [round(low, 4), round(high, 4)] for name, (low, high) in self.intervals.items()
            }
        if self.max_length is not None:
            out["max_length"] = self.max_length
            out["truncated_share"] = round(self.lengths.share_over(self.max_length), 4)
        if self.refused:
            out["refused_by_template"] = self.refused
        return out


class TokenCounter:
    """Counts the tokens of examples as training sees them."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._tokenizer = renderer.tokenizer

    def lengths(self, forms: Sequence[Form]) -> list[int | UserError]:
        """Tokens of each example, the longer of two answers counting; or why the chat template refuses it."""
        texts: list[str] = []
        owners: list[int] = []
        found: list[int | UserError] = [0] * len(forms)
        for number, form in enumerate(forms):
            try:
                written = self._written(form)
            except UserError as error:
                found[number] = error
                continue
            texts += written
            owners += [number] * len(written)
        special = bool(forms) and isinstance(forms[0], Text)
        for owner, encoding in zip(
            owners, self._tokenizer.encode_batch_fast(texts, add_special_tokens=special), strict=True
        ):
            before = found[owner]
            assert isinstance(before, int)
            found[owner] = max(before, len(encoding.ids) + special)  # the end token is added to texts
        return found

    def prompt_length(self, form: Form) -> int:
        """Tokens before the last answer, which is what is left to learn when the row is cut."""
        if isinstance(form, Text | PromptOnly):
            return 0
        if isinstance(form, Conversation):
            last = max((i for i, turn in enumerate(form.messages) if turn["role"] == "assistant"), default=0)
            first = next((i for i, turn in enumerate(form.messages) if turn["role"] == "assistant"), last)
            prompt: list[Message] = form.messages[:first]
        else:
            prompt = form.prompt
        try:
            text = self._renderer.render(prompt, add_generation_prompt=True)
        except UserError:
            return 0
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _written(self, form: Form) -> list[str]:
        render = self._renderer.render
        if isinstance(form, Text):
            return [form.text]
        if isinstance(form, Conversation):
            return [render(form.messages, tools=form.tools or None)]
        if isinstance(form, Preference):
            tools = form.tools or None
            return [render(form.prompt + answer, tools=tools) for answer in (form.chosen, form.rejected)]
        if isinstance(form, Labelled):
            return [render(form.prompt + form.completion)]
        return [render(form.prompt, add_generation_prompt=True)]


def measure_sample(counter: TokenCounter, sampled: Sampled, max_length: int | None) -> TokenStats:
    """Token lengths of a sample, and how far off they may be.

    The error comes from drawing the places of the file again and again out of those that were sampled (bootstrap), so
    it is honest also where neighbouring rows are alike.
    """
    forms = [form for block in sampled.blocks for _, form in block]
    counted = _in_batches(counter, forms)
    lengths, refused, refusal = Histogram(), 0, ""
    blocks: list[list[int]] = []
    num_bytes = num_tokens = 0
    results = iter(counted)
    for block in sampled.blocks:
        kept: list[int] = []
        for _, form in block:
            length = next(results)
            if isinstance(length, UserError):
                refused, refusal = refused + 1, refusal or printable(length.what, 200)
                continue
            kept.append(length)
            lengths.add(length)
            num_tokens += length
            num_bytes += sum(len(text.encode("utf-8", "replace")) + 1 for _, text in form.spoken())
        blocks.append(kept)
    intervals = _intervals(blocks, max_length) if sampled.how == "sample" and lengths.rows > 1 else {}
    rate = num_bytes / num_tokens if num_tokens else ROUGH_BYTES_PER_TOKEN
    return TokenStats(sampled.how, lengths.rows, lengths, intervals, rate, max_length, refused, refusal)


def measure_all(
    counter: TokenCounter, forms: Iterable[tuple[int, Form]], max_length: int | None, findings: Findings
) -> TokenStats:
    """Token lengths of all rows; those over `max_length` are named with their lines."""
    lengths, refused, refusal = Histogram(), 0, ""
    num_bytes = num_tokens = 0
    rows = iter(forms)
    while batch := list(islice(rows, _AT_ONCE)):
        for (line, form), length in zip(batch, counter.lengths([form for _, form in batch]), strict=True):
            if isinstance(length, UserError):
                refused, refusal = refused + 1, refusal or printable(length.what, 200)
                findings.add("refused", line, "", refusal)
                continue
            lengths.add(length)
            num_tokens += length
            num_bytes += sum(len(text.encode("utf-8", "replace")) + 1 for _, text in form.spoken())
            if max_length is not None and length > max_length:
                asked = counter.prompt_length(form)
                if asked >= max_length:
                    what = f"the question alone has {asked:,} tokens, max_length is {max_length:,}"
                    findings.add("no room", line, "", what)
                else:
                    findings.add("over-long", line, "", f"{length:,} tokens, max_length is {max_length:,}")
    rate = num_bytes / num_tokens if num_tokens else ROUGH_BYTES_PER_TOKEN
    return TokenStats("all rows", lengths.rows, lengths, {}, rate, max_length, refused, refusal)


def rough(lengths_in_bytes: Histogram, max_length: int | None) -> TokenStats:
    """An estimate without a tokenizer: four bytes a token."""
    lengths = Histogram()
    for size, count in lengths_in_bytes.bins.items():
        tokens = max(1, round(size / ROUGH_BYTES_PER_TOKEN))
        lengths.bins[tokens] = lengths.bins.get(tokens, 0) + count
    return TokenStats("rough estimate", lengths.rows, lengths, {}, ROUGH_BYTES_PER_TOKEN, max_length)


def histogram(lengths: Histogram) -> list[tuple[int, int, int]]:
    """Rows by length: from, to (inclusive), number of rows; each range twice as wide as the one before."""
    counts: dict[int, int] = {}
    for length, count in lengths.bins.items():
        step = max(4, length.bit_length() - 1)
        counts[step] = counts.get(step, 0) + count
    if not counts:
        return []
    steps = range(min(counts), max(counts) + 1)
    return [(0 if step == 4 else 1 << step, (2 << step) - 1, counts.get(step, 0)) for step in steps]


def _in_batches(counter: TokenCounter, forms: Sequence[Form]) -> Iterator[int | UserError]:
    for start in range(0, len(forms), _AT_ONCE):
        yield from counter.lengths(forms[start : start + _AT_ONCE])


def _intervals(blocks: Sequence[Sequence[int]], max_length: int | None) -> dict[str, Interval]:
    draw = random.Random(0)
    values: dict[str, list[float]] = {}
    for _ in range(_RESAMPLES):
        pooled = sorted(length for block in draw.choices(blocks, k=len(blocks)) for length in block)
        if not pooled:
            continue
        values.setdefault("mean", []).append(sum(pooled) / len(pooled))
        for share in PERCENTILES:
            values.setdefault(f"p{share}", []).append(
                pooled[min(len(pooled) - 1, len(pooled) * share // 100)]
            )
        if max_length is not None:
            values.setdefault("truncated", []).append(sum(x > max_length for x in pooled) / len(pooled))
    out: dict[str, Interval] = {}
    for name, drawn in values.items():
        drawn.sort()
        out[name] = drawn[int(0.025 * len(drawn))], drawn[int(0.975 * len(drawn))]
    return out
