"""What a repository is, before anything large is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.hub import cache, settings
from engine.hub.listing import Listing, RepoFile, list_repo, probe, with_sizes
from engine.hub.model_files import CONFIG, INDEX, Format, small_files, weight_files, weight_format
from engine.hub.names import Kind, check_revision, parse
from engine.hub.task import Task
from engine.hub.trouble import cannot_ask, explain
from engine.run import atomic


@dataclass(frozen=True, slots=True)
class RepoFacts:
    """A model or dataset as its server describes it; ``None`` means that it does not say.

    Attributes:
        repo_id: ``owner/name``.
        kind: Model or dataset.
        commit: What the asked branch or tag is now.
        host: Who answered: huggingface.co, or the mirror of HF_ENDPOINT.
        page: The address of its page.
        private: Only its owner and those let in see it.
        gated: How its owner lets people in: ``auto`` (accept and go), ``manual`` (the owner answers), or None (open).
        access: This machine may download it now.
        licence: As its card names it.
        weights: Format of a model's weights.
        download_bytes: All that training needs of it; for a dataset, everything in it.
        missing_bytes: That part of it which is not on this disk yet.
        params: Number of weights, as counted by the Hub.
        library: The library it is made for, such as ``transformers``.
        pipeline: What it does, such as ``text-generation``.
        downloads: In the last month.
        likes: Of users of the Hub.
        config: A model's config.json.
        obstacle: Why it cannot be trained here or not be downloaded, as ``what``, ``where``, ``fix``; None when it can.
        notes: Sentences worth knowing.
    """

    repo_id: str
    kind: Kind
    commit: str
    host: str
    page: str
    private: bool
    gated: str | None
    access: bool
    licence: str | None
    weights: Format | None
    download_bytes: int
    missing_bytes: int
    params: int | None
    library: str | None
    pipeline: str | None
    downloads: int | None
    likes: int | None
    config: Mapping[str, Any] = field(default_factory=dict)
    obstacle: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises the obstacle as a `UserError`, if there is one."""
        if self.obstacle is not None:
            raise UserError(**self.obstacle)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def facts_from(message: Mapping[str, Any]) -> RepoFacts:
    """Facts as JSON brings them."""
    return RepoFacts(**{**message, "notes": tuple(message["notes"])})


@dataclass(frozen=True, slots=True)
class Looked:
    """Facts with the files they are about."""

    facts: RepoFacts
    listing: Listing
    files: tuple[RepoFile, ...]


def look(repo_id: str, kind: Kind = "model", revision: str = "main", task: Task | None = None) -> RepoFacts:
    """Look at a repository: is it there, may we have it, how large, can it be trained. Takes one to three requests.

    Of a model, config.json and the list of its weight files (some kilobytes) are put into the cache, so that everything
    that reads the cache (`engine.models.folder.inspect_model`, the memory prediction) knows them from then on.

    Args:
        repo_id: ``owner/name``.
        kind: Model or dataset.
        revision: Branch, tag or commit.
        task: Told of retries; may cancel.

    Raises:
        UserError: It does not exist, or the Hub cannot be asked.
    """
    return look_closely(repo_id, kind, revision, task or Task(repo_id=repo_id)).facts


def look_ahead(name: str, revision: str = "main") -> None:
    """Before a run is made: refuse a model that cannot be had, and let the predictions know its config.json.

    Args:
        name: As in run.yaml; a folder, or a model that is whole on this disk, is not asked about.
        revision: Branch, tag or commit.

    Raises:
        UserError: The run could not get its model.
    """
    try:
        repo = parse(name)
    except UserError:
        return  # a path; what is wrong with it is said where folders are read
    if Path(name).expanduser().is_dir() or "/" not in repo.id or repo.place != "hub":
        return
    if cache.whole_model(repo.id, check_revision(revision)) is None:
        look(repo.id, "model", revision).check()


def look_closely(repo_id: str, kind: Kind, revision: str, task: Task) -> Looked:
    """`look`, with the files that would be downloaded."""
    name = parse(repo_id)
    check_revision(revision)
    if settings.is_offline():
        raise cannot_ask()
    try:
        listing = list_repo(name.id, kind, revision, task)
        if kind == "dataset":
            return _dataset(listing, task)
        return _model(listing, task)
    except Exception as error:
        raise explain(error, name.id, kind, revision) from None


def read_small(listing: Listing, path: str, task: Task) -> dict[str, Any] | None:
    """A small JSON file of the repository, through the cache; None where it has none, or not an object."""
    from engine.hub.download import place

    file = listing.file(path)
    if file is None:
        return None
    (sized,) = with_sizes(listing, [file], task)
    found = place(listing, sized, task)
    return atomic.read_json(found)


def _model(listing: Listing, task: Task) -> Looked:
    form = weight_format(listing.files)
    obstacle = _refusal(listing, form)
    config: dict[str, Any] = {}
    index: dict[str, Any] | None = None
    access = True
    try:
        config = read_small(listing, CONFIG, task) or {}
        if form == "safetensors":
            index = read_small(listing, INDEX, task)
        if config:
            cache.set_commit_if_new(listing.repo_id, listing.kind, listing.revision, listing.commit)
    except Exception as error:
        told = explain(error, listing.repo_id, listing.kind, listing.revision)
        if not listing.card.get("gated") and not listing.card.get("private"):
            raise
        access = False
        obstacle = {"what": told.what, "where": told.where, "fix": told.fix}
    weights = weight_files(listing.files, index)
    files: tuple[RepoFile, ...] = (*small_files(listing.files), *weights)
    notes = _notes(listing, config, form, index, weights)
    return Looked(_facts(listing, files, form, access, config, obstacle, notes), listing, files)


def _dataset(listing: Listing, task: Task) -> Looked:
    obstacle = None
    if listing.card.get("gated") and listing.files:
        try:
            probe(listing, listing.files[0].path, task)
        except Exception as error:
            told = explain(error, listing.repo_id, "dataset", listing.revision)
            obstacle = {"what": told.what, "where": told.where, "fix": told.fix}
    facts = _facts(listing, listing.files, None, obstacle is None, {}, obstacle, _mirror_note())
    return Looked(facts, listing, listing.files)


def _facts(
    listing: Listing,
    files: Sequence[RepoFile],
    form: Format | None,
    access: bool,
    config: Mapping[str, Any],
    obstacle: Mapping[str, str] | None,
    notes: tuple[str, ...],
) -> RepoFacts:
    card = listing.card
    data = card.get("cardData")
    data = data if isinstance(data, dict) else {}
    folder = cache.snapshot(listing.repo_id, listing.kind, listing.commit)
    gated = card.get("gated")
    tensors = card.get("safetensors")
    licence = data.get("license")
    if licence == "other":
        licence = data.get("license_name") or licence
    return RepoFacts(
        repo_id=listing.repo_id,
        kind=listing.kind,
        commit=listing.commit,
        host=settings.host(),
        page=settings.page(listing.repo_id, listing.kind),
        private=bool(card.get("private")),
        gated=str(gated) if gated else None,
        access=access,
        licence=", ".join(map(str, licence)) if isinstance(licence, list) else _text(licence),
        weights=form,
        download_bytes=sum(file.size or 0 for file in files),
        missing_bytes=sum(file.size or 0 for file in files if not (folder / file.path).exists()),
        params=_whole(tensors.get("total")) if isinstance(tensors, dict) else None,
        library=_text(card.get("library_name")),
        pipeline=_text(card.get("pipeline_tag")),
        downloads=_whole(card.get("downloads")),
        likes=_whole(card.get("likes")),
        config=config,
        obstacle=obstacle,
        notes=notes,
    )


def _refusal(listing: Listing, form: Format) -> dict[str, str] | None:
    """Why a model of this format cannot be trained."""
    from engine.hub.twins import known_twins

    page = settings.page(listing.repo_id)
    if form == "safetensors" and listing.file(CONFIG) is not None:
        return None
    if form == "pickle":
        twins = known_twins(listing.repo_id)
        return {
            "what": "The weights are only there in an old format (pickle) that can run hidden code when opened.",
            "where": page,
            "fix": f"Take a copy with safetensors weights{': ' + ' or '.join(twins) if twins else '; many authors offer one'}.",
        }
    if form == "gguf":
        from engine.models.naming import read_name

        twin = read_name(listing.repo_id).twin
        return {
            "what": "This is a GGUF model. GGUF files are for running a finished model, not for training.",
            "where": page,
            "fix": f"Train {twin} instead."
            if twin
            else "Train the model it was made from; its page names it.",
        }
    if form == "adapter":
        data = listing.card.get("cardData")
        base = data.get("base_model") if isinstance(data, dict) else None
        base = base[0] if isinstance(base, list) and base else base
        named = f" ({printable(base, 120)})" if isinstance(base, str) else "; its page names it"
        return {
            "what": "This is a LoRA adapter: small added matrices, not a whole model.",
            "where": page,
            "fix": f"Choose its base model{named}.",
        }
    return {
        "what": "There are no weights that transformers can load: no model.safetensors, or no config.json.",
        "where": page,
        "fix": "Choose another model; its page should say 'Transformers' and 'Safetensors'.",
    }


def _notes(
    listing: Listing,
    config: Mapping[str, Any],
    form: Format,
    index: Mapping[str, Any] | None,
    weights: Sequence[RepoFile],
) -> tuple[str, ...]:
    notes = list(_mirror_note())
    if "auto_map" in config:
        notes.append(
            "It brings program code of its own, which finetui does not run; it works only where transformers knows "
            "the architecture itself."
        )
    weight_map = (index or {}).get("weight_map")
    if form == "safetensors" and isinstance(weight_map, dict) and listing.file("model.safetensors") is None:
        absent = len({str(name) for name in weight_map.values()}) - len(weights)
        if absent > 0:
            notes.append(f"{absent} of its weight files are missing on the Hub.")
    return tuple(notes)


def _mirror_note() -> tuple[str, ...]:
    return (f"From the mirror {settings.host()} (HF_ENDPOINT).",) if settings.is_mirror() else ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
