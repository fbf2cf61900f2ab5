"""Which files of a Hub dataset hold which part of it, and their download.

A dataset's card can name its parts (``configs`` with ``data_files`` in the README); else the usual layout is read: the words
train, validation or test in the names of files and folders. These are the rules of the ``datasets`` library
(https://huggingface.co/docs/hub/datasets-data-files-configuration).
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.hub import cache, calls, settings
from engine.hub.download import fetch_all
from engine.hub.listing import Listing, RepoFile, list_repo
from engine.hub.names import check_revision, parse
from engine.hub.task import Progress, Task
from engine.hub.trouble import cannot_ask, explain, offline
from engine.run import atomic

FORMATS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow", ".txt", ".md")
"""Endings of files with rows, best first; each may also end in .gz or .zst."""
CONVERTED = "refs/convert/parquet"
"""The branch where the Hub keeps a Parquet copy of datasets in other formats."""
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_NOT_DATA = ("readme", "license", "dataset_infos", "dataset_info", "metadata", "requirements", "croissant")
_MANY = 1000  # files; the list of more is asked for without sizes


@dataclass(frozen=True, slots=True)
class DatasetParts:
    """The parts of a dataset.

    Attributes:
        repo_id: ``owner/name``.
        commit: What the asked branch is now.
        parts: Config to split to files, each with its size in bytes (None where not told).
        default: The config to take when none is named; None when there is no obvious one.
        converted: The files are the Hub's own Parquet copy.
        gated: The Hub asks to accept conditions first.
        licence: As the card names it.
    """

    repo_id: str
    commit: str
    parts: Mapping[str, Mapping[str, Mapping[str, int | None]]]
    default: str | None
    converted: bool = False
    gated: bool = False
    licence: str | None = None

    def choose(self, config: str | None = None, split: str | None = None) -> tuple[str, str, list[str]]:
        """Config, split and files for what was asked, or the obvious ones.

        Raises:
            UserError: There is no such part, or several and none is obvious.
        """
        where = settings.page(self.repo_id, "dataset")
        chosen = config if config is not None else self.default
        if chosen is None or chosen not in self.parts:
            names = _names(self.parts)
            what = (
                "This dataset has several parts, and none is the obvious one."
                if config is None
                else f"This dataset has no part called {printable(config, 80)!r}."
            )
            raise UserError(what, where, f"Name one of its configs: {names}.")
        splits = self.parts[chosen]
        wanted = split or ("train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None)
        if wanted is None or wanted not in splits:
            what = (
                "This dataset has no rows marked for training."
                if split is None
                else f"This dataset has no split called {printable(split, 80)!r}."
            )
            raise UserError(what, where, f"Name one of its splits: {_names(splits)}.")
        return chosen, wanted, list(splits[wanted])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def parts_from(message: Mapping[str, Any]) -> DatasetParts:
    """Parts as JSON brings them."""
    return DatasetParts(**message)


def parts(repo_id: str, revision: str | None = None, task: Task | None = None) -> DatasetParts:
    """Configs, splits and files of a dataset, without downloading its rows.

    Raises:
        UserError: It does not exist, cannot be read here, or the Hub cannot be asked.
    """
    return _look(repo_id, revision or "main", task or Task(repo_id=repo_id))[0]


def files(
    repo_id: str,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    task: Task | None = None,
) -> list[Path]:
    """The files of one split of one config on this disk, downloaded where they are not here; nothing else is.

    Args:
        repo_id: ``owner/name``, or ``modelscope:owner/name``.
        config: Part of the dataset; None takes the default one.
        split: ``train`` when None.
        revision: Branch, tag or commit.
        progress: Told of bytes, speed and time left.
        task: Instead of `progress`, for a caller who may want to stop.

    Returns:
        The files, in the order of their names.

    Raises:
        UserError: No such dataset, config or split, no access, no room, no network.
        Cancelled: The caller asked to stop.
    """
    name = parse(repo_id)
    task = replace(task or (Task(progress) if progress else Task()), repo_id=name.id)
    if name.place == "modelscope":
        from engine.hub import modelscope

        folder = modelscope.download(name.id, revision or "master", task, kind="dataset")
        return _from_folder(name.id, folder, config, split)
    try:
        found, listing = _look(name.id, revision or "main", task)
    except UserError as error:
        commit = cache.commit_of(name.id, "dataset", revision or "main")
        folder = cache.snapshot(name.id, "dataset", commit) if commit else Path()
        if commit is None or not folder.is_dir():
            raise (offline(name.id) if settings.is_offline() else error) from None
        kept = atomic.read_json(_record(name.id, commit))
        here = [folder / path for path in parts_from(kept).choose(config, split)[2]] if kept else []
        if not all(path.exists() for path in here):
            raise (offline(name.id) if settings.is_offline() else error) from None
        return here or _from_folder(name.id, folder, config, split)
    _, _, paths = found.choose(config, split)
    wanted = [file for path in paths if (file := listing.file(path))]
    folder = fetch_all(listing, wanted, task)
    with contextlib.suppress(OSError):  # a cache may be read-only
        atomic.write_json(_record(name.id, listing.commit), found.to_dict())
    return [folder / path for path in paths]


def _record(repo_id: str, commit: str) -> Path:
    """Where the parts of a dataset are remembered, so that without a network a half-downloaded one is not taken for whole."""
    return cache.repo_folder(repo_id, "dataset") / f".finetui-{commit}.json"


def _look(repo_id: str, revision: str, task: Task) -> tuple[DatasetParts, Listing]:
    name = parse(repo_id)
    check_revision(revision)
    if settings.is_offline():
        raise cannot_ask()
    try:
        listing = list_repo(name.id, "dataset", revision, task, sizes=False)
        if len(listing.files) <= _MANY:
            listing = list_repo(name.id, "dataset", revision, task)
        found = _parts(listing)
        if not found.parts and revision == "main":
            converted = _converted(name.id, task)
            if converted is not None:
                return converted
    except Exception as error:
        raise explain(error, name.id, "dataset", revision) from None
    if not found.parts:
        raise UserError(
            "There are no files in this dataset that finetui can read.",
            settings.page(listing.repo_id, "dataset"),
            f"Readable are: {', '.join(FORMATS)}. Choose another dataset, or convert this one to JSONL.",
        )
    return found, listing


def _converted(repo_id: str, task: Task) -> tuple[DatasetParts, Listing] | None:
    """The Hub's Parquet copy: ``CONFIG/SPLIT/0000.parquet``."""
    try:
        listing = list_repo(repo_id, "dataset", CONVERTED, task)
    except Exception as error:
        if calls.status_of(error) in (401, 403, 404):
            return None
        raise
    found: dict[str, dict[str, dict[str, int | None]]] = {}
    for file in listing.files:
        pieces = file.path.split("/")
        if len(pieces) == 3 and pieces[2].endswith(".parquet"):
            split = pieces[1].removeprefix("partial-")
            found.setdefault(pieces[0], {}).setdefault(split, {})[file.path] = file.size
    if not found:
        return None
    made = DatasetParts(
        listing.repo_id,
        listing.commit,
        found,
        _default(found, None),
        True,
        bool(listing.card.get("gated")),
        _licence(listing.card),
    )
    return made, listing


def _from_folder(repo_id: str, folder: Path, config: str | None, split: str | None) -> list[Path]:
    """The same choice among files that are on this disk."""
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = tuple(RepoFile(path.relative_to(folder).as_posix(), path.stat().st_size, "") for path in inside)
    card: dict[str, Any] = {"cardData": _card_data(folder / "README.md")}
    found = _parts(Listing(repo_id, "dataset", "main", folder.name, entries, card))
    if not found.parts:
        raise offline(repo_id)
    return [folder / path for path in found.choose(config, split)[2]]


def _card_data(readme: Path) -> dict[str, Any]:
    """The YAML block at the top of a README."""
    import yaml

    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        found = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _parts(listing: Listing) -> DatasetParts:
    data = listing.card.get("cardData")
    data = data if isinstance(data, dict) else {}
    sizes = {file.path: file.size for file in listing.files if _is_data(file.path)}
    found: dict[str, dict[str, dict[str, int | None]]] = {}
    marked: str | None = None
    configs = data.get("configs")
    for entry in configs if isinstance(configs, list) else []:
        if not isinstance(entry, dict):
            continue
        name = str(entry.get("config_name") or "default")
        splits = _config_splits(entry, sizes)
        if splits:
            found[name] = splits
            if entry.get("default") is True:
                marked = name
    if not found:
        splits = _usual_splits(sizes)
        if splits:
            found["default"] = splits
    return DatasetParts(
        listing.repo_id,
        listing.commit,
        found,
        _default(found, marked),
        False,
        bool(listing.card.get("gated")),
        _licence(listing.card),
    )


def _config_splits(
    entry: Mapping[str, Any], sizes: Mapping[str, int | None]
) -> dict[str, dict[str, int | None]]:
    """Splits of one entry under ``configs``: ``data_files`` as a pattern, a list, or a list with splits; or ``data_dir``."""
    folder = entry.get("data_dir")
    prefix = f"{folder.strip('/')}/" if isinstance(folder, str) and folder.strip("/.") else ""
    given = entry.get("data_files")
    if given is None:
        return _usual_splits({path: size for path, size in sizes.items() if path.startswith(prefix)})
    wanted: dict[str, list[str]] = {}
    for item in given if isinstance(given, list) else [given]:
        split, patterns = (
            (str(item.get("split") or "train"), item.get("path"))
            if isinstance(item, dict)
            else ("train", item)
        )
        wanted.setdefault(split, []).extend(
            str(one) for one in (patterns if isinstance(patterns, list) else [patterns]) if one
        )
    splits: dict[str, dict[str, int | None]] = {}
    for split, patterns in wanted.items():
        matched = {
            path: sizes[path]
            for path in sizes
            if any(_matches(path, prefix + pattern) for pattern in patterns)
        }
        if matched:
            splits[split] = _one_format(matched)
    return splits


def _usual_splits(sizes: Mapping[str, int | None]) -> dict[str, dict[str, int | None]]:
    """Splits by the words in names: of the files first, then of the folders; without any, all is for training."""
    for place in (2, 0):  # the name, the folders
        splits: dict[str, dict[str, int | None]] = {}
        for path, size in sizes.items():
            words = re.split(r"[^a-z]+", path.rpartition("/")[place].lower())
            split = next((name for name, known in _SPLITS.items() if set(known) & set(words)), None)
            if split is not None:
                splits.setdefault(split, {})[path] = size
        if splits:
            return {name: _one_format(splits[name]) for name in _SPLITS if name in splits}
    return {"train": _one_format(sizes)} if sizes else {}


def _one_format(sizes: Mapping[str, int | None]) -> dict[str, int | None]:
    """Files of one format, in order: the same rows are often there in several."""
    endings = {_ending(path) for path in sizes}
    best = min(endings, key=FORMATS.index)
    return {path: sizes[path] for path in sorted(sizes) if _ending(path) == best}


def _is_data(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return (
        _ending(path) in FORMATS
        and not any(part.startswith((".", "__")) for part in path.split("/"))
        and name.split(".")[0] not in _NOT_DATA
    )


def _ending(path: str) -> str:
    name = path.lower().removesuffix(".gz").removesuffix(".zst")
    return f".{name.rpartition('.')[2]}" if "." in name.rpartition("/")[2] else ""


def _matches(path: str, pattern: str) -> bool:
    """``**`` goes through folders, ``*`` stays within one."""
    pattern = pattern.removeprefix("./")
    if "**" in pattern:
        return fnmatch.fnmatchcase(path, pattern.replace("**/", "*").replace("**", "*"))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def _default(found: Mapping[str, object], marked: str | None) -> str | None:
    if marked is not None:
        return marked
    return "default" if "default" in found else next(iter(found)) if len(found) == 1 else None


def _licence(card: Mapping[str, Any]) -> str | None:
    data = card.get("cardData")
    value = data.get("license") if isinstance(data, dict) else None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) if value else None


def _names(found: Sequence[str] | Mapping[str, object]) -> str:
    shown = [printable(name, 60) for name in list(found)[:12]]
    return ", ".join(shown) + (", ..." if len(found) > 12 else "")
