"""What the predictions need to know of a run's dataset: how many rows, and how long they are in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.config.schema import RunConfig
from engine.fit.budget_rows import guess_rows
from engine.fit.row_lengths import row_lengths

READ_WHOLE = 32 << 20  # bytes of dataset files that are read as a whole each time something in them changes


@dataclass(frozen=True, slots=True)
class Rows:
    """A dataset in numbers.

    Attributes:
        total: Rows; None when they could not be counted.
        longest: Tokens of the longest, before anything is cut off; None when not known.
        mean: Tokens of an ordinary one, cut at max_length; None when not known.
        counted: The tokens were counted by the model's tokenizer, not guessed.
        words: One sentence for the user.
    """

    total: int | None
    longest: int | None
    mean: float | None
    counted: bool
    words: str


def rows_of(config: RunConfig) -> Rows:
    """Look at the data of a run, once for each version of its files.

    Raises:
        UserError: A dataset cannot be read at all.
    """
    from engine.data.dataset import peek
    from engine.data.sources import is_hub_id

    specs = config.data.train_specs()
    if any(is_hub_id(spec.path) for spec in specs):
        return Rows(
            None, None, None, False, "The rows of a Hub dataset are counted once they are on this disk."
        )
    seen = [peek(spec, objective=config.method.objective) for spec in specs]
    total = round(sum(look.num_rows * spec.weight for look, spec in zip(seen, specs, strict=True)))
    stamps = tuple(_stamp(Path(spec.path), look.size) for look, spec in zip(seen, specs, strict=True))
    if None in stamps or sum(look.size for look in seen) > READ_WHOLE:
        guess = guess_rows(config)
        return Rows(
            total, None, guess.tokens_per_row if guess else None, False, "The rows' lengths were not counted."
        )
    return _measured(
        config.model_dump_json(
            include={
                "model": {"model_name_or_path"},
                "data": True,
                "template": True,
                "method": {"objective"},
                "training": {"max_length"},
            }
        ),
        stamps,
        total,
    )


@lru_cache(maxsize=16)
def _measured(config_json: str, stamps: tuple[object, ...], total: int) -> Rows:
    config = RunConfig.model_validate_json(config_json)
    found = row_lengths(config)
    limit = config.training.max_length or found.longest or 1
    cut = [min(length, limit) for length in found.train]
    return Rows(total, found.longest, sum(cut) / len(cut) if cut else None, found.counted, found.words)


def _stamp(path: Path, size: int) -> tuple[int, float] | None:
    try:
        return size, path.expanduser().stat().st_mtime
    except OSError:
        return None
