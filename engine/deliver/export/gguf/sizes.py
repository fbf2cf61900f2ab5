"""What the sizes of GGUF files are reckoned from, before anything is converted."""

from __future__ import annotations

from dataclasses import dataclass

from engine.deliver.export.base import base_on_disk
from engine.deliver.source import Trained
from engine.errors import UserError
from engine.models.chat_template import read_json
from engine.models.folder import inspect_model
from engine.models.weights import read_weights


@dataclass(frozen=True, slots=True)
class Size:
    """What sizes are reckoned from; zeros where the model's files are not on this disk and it is not in the catalogue."""

    params: int
    tables: int
    hidden: int
    vocab: int


def size_of(trained: Trained) -> Size:
    """What the sizes of a trained model's GGUF files are reckoned from."""
    folder = base_on_disk(trained) if trained.is_adapter else trained.path
    try:
        if folder is not None:
            config = read_json(folder / "config.json")
            return size_in(read_weights(folder, config).params, config)
        facts = inspect_model(trained.config.model.model_name_or_path)
    except UserError:
        return Size(0, 0, 0, 0)
    hidden, vocab = facts.hidden or 0, facts.vocab or 0
    return Size(facts.params or 0, hidden * vocab, hidden, vocab)


def size_in(params: int, config: dict[str, object]) -> Size:
    """The same from the number of weights and the model's config.json."""
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    hidden, vocab = (_number(part.get(name)) for name in ("hidden_size", "vocab_size"))
    tied = part.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
    return Size(params, min(params, hidden * vocab * (1 if tied else 2)), hidden, vocab)


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
