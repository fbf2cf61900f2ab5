"""The base model of an adapter: where it lies, how large it is, and whether anything can be merged into it."""

from __future__ import annotations

from pathlib import Path

from engine.deliver.export.job import Tell
from engine.deliver.source import Trained
from engine.display import printable
from engine.errors import UserError
from engine.models.weights import read_weights
from engine.run import atomic


def is_folder(name: str) -> bool:
    """Whether a model's name is that of a folder, there or gone, and not one on the Hub."""
    return name.startswith(("/", "~", ".")) or Path(name).expanduser().is_dir()


def base_on_disk(trained: Trained) -> Path | None:
    """The folder of the base model if it need not be downloaded."""
    from engine.hub import cache
    from engine.hub.names import parse

    name, revision = trained.config.model.model_name_or_path, trained.config.model.model_revision
    if is_folder(name):
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    repo = parse(name)
    return cache.whole_model(repo.id, revision) if repo.place == "hub" else None


def hub_id(trained: Trained) -> str | None:
    """The base's name on the Hub; None where it came from a folder."""
    from engine.hub.names import parse

    name = trained.config.model.model_name_or_path
    if is_folder(name):
        return None
    repo = parse(name)
    return repo.id if repo.place == "hub" else None


def shown_name(trained: Trained) -> str:
    """The base's name for others: that on the Hub, or of a folder only its last part, as the rest of a path is private."""
    name = trained.config.model.model_name_or_path
    return hub_id(trained) or Path(name).expanduser().absolute().name


def weight_bytes(folder: Path) -> int:
    """Size of the weight files of a model folder.

    Raises:
        UserError: They are missing or damaged.
    """
    return read_weights(folder, atomic.read_json(folder / "config.json") or {}).size_bytes


def unquantized_base(trained: Trained, tell: Tell) -> Path:
    """The folder of the base model in the number format its makers published; downloaded where it is not on this disk.

    Raises:
        UserError: There is no such thing, or it cannot be had.
    """
    from engine.deliver.export.hub_task import hub_task
    from engine.hub.download import download, tokenizer_files
    from engine.hub.names import parse

    name, revision = trained.config.model.model_name_or_path, trained.config.model.model_revision
    here = base_on_disk(trained)
    if here is None:
        if is_folder(name):
            raise UserError(
                "The folder of the base model is gone, and the adapter is of no use without it.",
                printable(name, 300),
                "Put it back where it was, or export the adapter alone: --to adapter",
            )
        repo = parse(name)

        tell.step(f"Downloading the base model {printable(repo.id, 120)}")
        task = hub_task(tell)
        try:
            if repo.place == "hub":  # a quantized base is seen by its config, before its gigabytes come
                check_unquantized(tokenizer_files(repo.id, revision, task), name)
            here = download(name, revision, task)
        finally:
            tell.check()
    check_unquantized(here, name)
    return here


def check_unquantized(folder: Path, name: str) -> None:
    """Refuse a base whose weights exist in a few bits only.

    Raises:
        UserError: It is quantized.
    """
    settings = (atomic.read_json(folder / "config.json") or {}).get("quantization_config")
    if not settings:
        return
    kind = printable(settings.get("quant_method", "unknown") if isinstance(settings, dict) else "unknown", 40)
    plain = next(
        (
            name.removesuffix(end)
            for end in ("-unsloth-bnb-4bit", "-bnb-4bit", "-bnb-8bit")
            if name.endswith(end)
        ),
        None,
    )
    other = (
        f"train on {printable(plain, 120)} with load_in_4bit: true, which needs as little memory"
        if plain
        else "train on the unquantized variant of the model with load_in_4bit: true"
    )
    raise UserError(
        f"The base model exists here only with its numbers rounded to a few bits ({kind}); merging into those would spoil it.",
        printable(name, 200),
        f"Export the adapter and run it beside this base: --to adapter. For a merged model, {other}.",
    )
