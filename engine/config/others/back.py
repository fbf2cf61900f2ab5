"""Reading a TRL, LLaMA-Factory or Axolotl file into a run.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.config.loading import parse, validate
from engine.config.others import axolotl, llamafactory, read_axolotl, read_llamafactory, read_trl, trl
from engine.config.others.reading import DEFAULT, Reading
from engine.config.schema import RunConfig
from engine.config.writing import to_yaml
from engine.display import printable
from engine.errors import UserError

FORMATS: dict[str, tuple[ModuleType, Callable[[Reading], None]]] = {
    "trl": (trl, read_trl.read),
    "llamafactory": (llamafactory, read_llamafactory.read),
    "axolotl": (axolotl, read_axolotl.read),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """Another tool's file as a run.

    Attributes:
        format: Which tool's.
        config: The run; what the file leaves open is None, for finetui to choose.
        origin: Our key to what it was taken from.
        notes: What did not come along, in sentences.
    """

    format: str
    title: str
    config: RunConfig
    origin: Mapping[str, str]
    notes: tuple[str, ...]

    def yaml(self) -> str:
        """The run.yaml, with what it was taken from, and what did not come along."""
        text = to_yaml(self.config, {key: f"from {words}" if not words.startswith(DEFAULT) else words
                                     for key, words in self.origin.items()})  # fmt: skip
        first, _, rest = text.partition("\n")
        left = [f"# - {printable(note, 1000)}" for note in self.notes]
        head = [first, f"# It was read from a file for {self.title}."]
        return "\n".join([*head, *(["#", "# What did not come along:", *left] if left else []), rest])


def read_foreign(
    path: Path, format: str | None = None, objective: str | None = None, data: str | None = None
) -> Taken:
    """Read another tool's configuration.

    Args:
        path: The YAML file.
        format: Whose it is; None tells it by the keys.
        objective: What the file does not say, such as which of TRL's commands it is for.
        data: The dataset to take in place of the file's.

    Raises:
        UserError: The file cannot be read, is nobody's, or misses what a run needs.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(
            f"The file cannot be read: {words}.", printable(path, 300), "Check the path after --from."
        ) from None
    where = printable(path, 300)
    tree, _ = parse(text, where)
    found = recognised(tree, where) if format is None else format
    module, read = FORMATS[found]
    reading = Reading(dict(tree), path.absolute().parent, objective)
    try:
        read(reading)
    except (
        TypeError,
        ValueError,
        AttributeError,
        LookupError,
    ) as error:  # a list where a number belongs, and the like
        raise UserError(
            f"A value of this file is of a kind that {module.TITLE} does not take there: {printable(error, 200)}.",
            where,
            f"Try the file with {module.TITLE} first, or leave the setting out.",
        ) from error
    if data is not None:
        reading.taken.pop("eval", None)
        reading.take("train", [data], "--data")
    if "train" not in reading.taken:
        raise UserError(
            "The file does not say where the data are.",
            where,
            "Name them: finetui convert --from FILE --data train.jsonl",
        )
    config = validate(reading.config(), {}, where, {})
    return Taken(found, module.TITLE, config, reading.origin, tuple(reading.notes))


def recognised(tree: Mapping[str, Any], where: str) -> str:
    """Whose file it is, by the keys that only one tool has.

    Raises:
        UserError: Nobody's, or run.yaml's own.
    """
    if isinstance(tree.get("model"), dict) and isinstance(tree.get("data"), dict):
        raise UserError(
            "This is a run.yaml already.", where, "Train it: finetui train -c FILE   or convert it: --to TOOL"
        )
    counts = {name: sum(mark in tree for mark in module.MARKS) for name, (module, _) in FORMATS.items()}
    best = max(counts, key=lambda name: counts[name])
    if counts[best] and sum(count == counts[best] for count in counts.values()) == 1:
        return best
    if "model_name_or_path" in tree and not counts[best]:
        return "trl"
    raise UserError(
        "The keys of this file do not tell which tool it is for.",
        where,
        f"Say it: --format {' or '.join(FORMATS)}",
    )
