"""How many tokens the rows of a run's dataset have: counted with the model's tokenizer, or guessed from the text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.errors import UserError
from engine.fit.budget_rows import row_tokens

if TYPE_CHECKING:
    from engine.data.render import Renderer

MOST_COUNTED = 10_000  # rows that are tokenized; of larger datasets the longest by characters, and a sample
SAMPLE_SEED = 0


@dataclass(frozen=True, slots=True)
class RowLengths:
    """The rows of a dataset in tokens, not yet cut at max_length.

    Attributes:
        train: Of each training row; empty when the data cannot be read here.
        evaluation: Of each held-out row.
        counted: By the model's tokenizer, not guessed.
        words: One sentence for the user: what is known, and how.
    """

    train: tuple[int, ...]
    evaluation: tuple[int, ...]
    counted: bool
    words: str

    @property
    def longest(self) -> int | None:
        """Tokens of the longest training row."""
        return max(self.train, default=None)


def row_lengths(config: RunConfig) -> RowLengths:
    """Look at the data of a run. Never an error: what cannot be read is said in ``words``."""
    from engine.data.mixing import load_data

    limit = config.training.max_length or ORDINARY_LENGTH
    assumed = f"texts of {limit:,} tokens (max_length) are assumed"
    try:
        data = load_data(
            config.data.train_specs(),
            config.data.eval_specs(),
            config.data.eval_fraction,
            config.method.objective,
            config.training.seed,
        )
        train, held_out = data.train, data.evaluation
    except (UserError, OSError) as error:
        what = error.what if isinstance(error, UserError) else str(error)
        return RowLengths((), (), False, f"The data cannot be read here, so {assumed}. ({what})")
    renderer = _renderer(config)
    if renderer is not None:
        try:
            lengths = _counted(renderer, train), _counted(renderer, held_out)
            words = f"The longest of the {len(train):,} training rows has {max(lengths[0]):,} tokens"
            return RowLengths(*lengths, True, f"{words}, counted with the model's tokenizer.")
        except UserError:
            pass  # the template refuses a row: guess, as without a tokenizer
    guessed = tuple(_guessed(train)), tuple(_guessed(held_out))
    words = f"The longest of the {len(train):,} training rows has about {max(guessed[0]):,} tokens"
    return RowLengths(
        *guessed,
        False,
        f"{words}, guessed from its characters because the model's tokenizer is not on this disk.",
    )


def _guessed(rows: Sequence[dict[str, Any]]) -> list[int]:
    return [max(1, round(row_tokens(row))) for row in rows]


def _renderer(config: RunConfig) -> Renderer | None:
    from engine.data.render import Renderer

    model = config.model.model_name_or_path
    folder = Path(model).expanduser()
    if not folder.is_dir():
        cached = _cached(model)
        if cached is None:
            return None
        folder = cached
    try:
        return Renderer(folder, config.template.chat_template, model)
    except UserError:
        return None


def _cached(model: str) -> Path | None:
    """The folder in the Hub's cache that has the model's tokenizer."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "tokenizer.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _counted(renderer: Renderer, rows: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """Tokens of each row; in a large dataset those that are not tokenized count as many as their characters suggest.

    Raises:
        UserError: The chat template refuses a row.
    """
    lengths = _guessed(rows)
    chosen: Sequence[int] = range(len(rows))
    if len(rows) > MOST_COUNTED:
        longest = sorted(chosen, key=lengths.__getitem__, reverse=True)[: MOST_COUNTED // 2]
        rest = random.Random(SAMPLE_SEED).sample(range(len(rows)), MOST_COUNTED // 2)
        chosen = sorted({*longest, *rest})
    texts = [_text(renderer, rows[index]) for index in chosen]
    talks = [index for index in chosen if "text" not in rows[index]]
    special = len(talks) < len(texts)  # only texts get the tokenizer's own start and end tokens
    encoded = renderer.tokenizer.encode_batch_fast(texts, add_special_tokens=special)
    for index, encoding in zip(chosen, encoded, strict=True):
        # A text ends with the end token, which some tokenizers leave to the trainer.
        lengths[index] = max(1, len(encoding.ids) + special)
    return tuple(lengths)


def _text(renderer: Renderer, row: dict[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    if "messages" in row:
        return renderer.render(row["messages"], tools=row.get("tools"))
    answers: list[list[Any]] = [row[kind] for kind in ("chosen", "rejected", "completion") if kind in row]
    longest = max(answers, key=lambda turns: len(str(turns)), default=[])
    return renderer.render([*row["prompt"], *longest], not answers, row.get("tools"))
