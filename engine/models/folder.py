"""What a model is, from its folder, the Hub cache on this disk, or the catalogue. Nothing is downloaded."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.display import printable
from engine.errors import UserError
from engine.hub.names import MODELSCOPE, parse
from engine.models import catalogue
from engine.models.architectures import check_architecture
from engine.models.chat_template import read_chat_template, read_json
from engine.models.naming import ModelName, read_name
from engine.models.weights import Weights, gguf_error, read_weights

_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json",
)  # fmt: skip
_LEGACY_IDS = {"gpt2": "openai-community/gpt2", "distilgpt2": "distilbert/distilgpt2"} | {
    f"gpt2-{size}": f"openai-community/gpt2-{size}" for size in ("medium", "large", "xl")
}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before it is loaded; ``None`` means unknown.

    Attributes:
        path: What to write into run.yaml: the folder as given, or the Hub id.
        folder: Where its files lie on this disk, if they do.
        source: Where the facts come from: ``folder``, ``cache`` (the Hub's download cache), ``catalogue``, or
            ``name`` (only its name is known).
        name: What its name says; corrected by its files where they know better.
        model_type: Architecture name used by transformers, such as ``llama``.
        architecture: Class name, such as ``LlamaForCausalLM``.
        params: Number of weights, exact where the weight files are here or the catalogue has it.
        dtype: Number format of the stored weights, such as ``bfloat16``.
        hidden: Width of the layers.
        layers: Number of layers.
        vocab: Number of different tokens.
        context: Longest text in tokens.
        has_chat_template: It brings the recipe that turns a conversation into text.
        chat_template_source: The file the template is in.
        has_tokenizer: It brings a tokenizer (cuts text into tokens).
        size_bytes: Size of the weight files.
        gated: The Hub asks to accept a licence before the download.
        licence: Licence name as the model card gives it.
        problems: Sentences on what may go wrong.
    """

    path: str
    folder: Path | None
    source: Literal["folder", "cache", "catalogue", "name"]
    name: ModelName
    model_type: str | None = None
    architecture: str | None = None
    params: int | None = None
    dtype: str | None = None
    hidden: int | None = None
    layers: int | None = None
    vocab: int | None = None
    context: int | None = None
    has_chat_template: bool | None = None
    chat_template_source: str | None = None
    has_tokenizer: bool | None = None
    size_bytes: int | None = None
    gated: bool | None = None
    licence: str | None = None
    problems: tuple[str, ...] = ()


def inspect_model(path_or_id: str) -> ModelFacts:
    """Look at a model folder or a Hub id and say what is there, or why it cannot be trained.

    Args:
        path_or_id: A folder, a Hub id such as ``Qwen/Qwen3-8B``, or the address of its page on huggingface.co.

    Raises:
        UserError: Nothing trainable is there; the message says what to use instead.
    """
    text = re.sub(r"^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/", "", path_or_id.strip())
    if text != path_or_id.strip():  # a pasted page address: keep owner/name
        text = "/".join(re.split(r"[?#]", text)[0].split("/")[:2])
    if not text or "\0" in text:
        raise UserError(
            "No model is named.",
            repr(printable(text, 80)),
            "Give a folder or a Hub id, such as Qwen/Qwen3-0.6B.",
        )
    path = Path(os.path.expanduser(text))  # unlike Path.expanduser, leaves an unknown ~user as it is
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:
        is_folder = is_file = False
    if is_folder:
        return _inspect_folder(path, text)
    if is_file:
        raise _refuse_file(path)
    if text.lower().startswith(MODELSCOPE):
        return replace(_inspect_hub_id(parse(text).id, path), path=text, folder=None)
    looks_like_path = text.startswith(("/", ".", "~", "\\")) or text.count("/") > 1 or text.endswith("/")
    if looks_like_path or not _HUB_ID.fullmatch(text) or ".." in text or "--" in text:
        raise _missing_folder(path)
    return _inspect_hub_id(_LEGACY_IDS.get(text.lower(), text), path)


def _inspect_folder(path: Path, given: str) -> ModelFacts:
    where = printable(path, 300)
    config_file = path / "config.json"
    ggufs = sorted(item.name for item in path.glob("*.gguf"))
    if not config_file.is_file():
        if ggufs:
            raise gguf_error(path, ggufs[0])
        adapter = read_json(path / "adapter_config.json")
        if adapter:
            base = printable(adapter.get("base_model_name_or_path") or "the model it was trained on", 120)
            raise UserError(
                "This folder holds a LoRA adapter: small added matrices, not a whole model.",
                where,
                f"Choose its base model ({base}), or merge the adapter into it first.",
            )
        inside = next((item.parent for item in sorted(path.glob("*/config.json"))), None)
        raise UserError(
            "This folder is not a model: it has no config.json.",
            where,
            f"Did you mean {printable(inside, 300)}?"
            if inside
            else "Give the folder that holds config.json, the .safetensors files and the tokenizer.",
        )
    config = read_json(config_file)
    name = read_name(str(path.resolve()))
    _refuse_quantized(config, name, where)
    problems = check_architecture(config, where)
    weights = read_weights(path, config)
    facts = _facts_from_files(path, config, weights, name)
    if not facts.has_tokenizer:
        raise UserError(
            "The model folder has no tokenizer, the part that cuts text into tokens.",
            where,
            "Copy tokenizer.json and tokenizer_config.json from the model's page into the folder.",
        )
    return replace(facts, path=given, source="folder", problems=problems + facts.problems)


def _facts_from_files(
    folder: Path, config: Mapping[str, Any], weights: Weights | None, name: ModelName
) -> ModelFacts:
    """Everything the files of a folder tell; ``path`` and ``source`` are for the caller to correct."""
    template = read_chat_template(folder)
    if "vision_config" in config:
        name = replace(name, variant="vision")
    elif template and name.variant == "base" and not name.family:
        note = "It brings a chat template, so it is read as a model that follows instructions."
        name = replace(name, variant="instruct", tuned=True, notes=(note,))
    problems: tuple[str, ...] = ()
    if template is None and name.tuned:
        problems = ("The name says it follows instructions, but it brings no chat template.",)
    text_config = config.get("text_config")
    facts = {**config, **text_config} if isinstance(text_config, dict) else dict(config)
    architectures = config.get("architectures")
    dtype = facts.get("dtype") or facts.get("torch_dtype")
    return ModelFacts(
        path=str(folder),
        folder=folder,
        source="folder",
        name=name,
        model_type=str(config.get("model_type")),
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        params=weights.params if weights else None,
        dtype=weights.dtype if weights else dtype if isinstance(dtype, str) else None,
        hidden=_number(facts, "hidden_size", "n_embd", "d_model"),
        layers=_number(facts, "num_hidden_layers", "n_layer", "num_layers"),
        vocab=_number(facts, "vocab_size"),
        context=_number(facts, "max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"),
        has_chat_template=template is not None,
        chat_template_source=template[1] if template else None,
        has_tokenizer=any((folder / file).is_file() for file in _TOKENIZER_FILES),
        size_bytes=weights.size_bytes if weights else None,
        problems=problems,
    )


def _inspect_hub_id(model_id: str, path: Path) -> ModelFacts:
    known = catalogue.find(model_id)
    if known is None and "/" not in model_id:
        raise _missing_folder(path)
    name = read_name(model_id)
    if not name.trainable:
        fixes = {
            "adapter": "Choose its base model; its page on the Hub names it.",
            "other": "Choose a model that writes text, such as Qwen/Qwen3-0.6B.",
        }
        fix = f"Train {name.twin} instead." if name.twin else fixes.get(name.variant, name.notes[-1])
        raise UserError(name.notes[0], printable(model_id, 120), fix)
    model_id = known.id if known else model_id
    facts = ModelFacts(path=model_id, folder=None, source="name", name=name)
    if known:
        check_architecture(_catalogue_config(known), model_id)
        facts = replace(
            facts,
            source="catalogue",
            model_type=known.model_type,
            params=known.params,
            hidden=known.hidden,
            layers=known.layers,
            vocab=known.vocab,
            context=known.context,
            has_chat_template=True if known.template else None,
            gated=known.gated,
            licence=known.licence,
        )
    cached = _cached_folder(model_id)
    return _add_cached(facts, cached, model_id) if cached else facts


def _add_cached(facts: ModelFacts, folder: Path, model_id: str) -> ModelFacts:
    """The facts of an earlier download; a half-finished one has no weights yet, which is no obstacle."""
    config = read_json(folder / "config.json")
    _refuse_quantized(config, facts.name, model_id)
    problems = check_architecture(config, model_id)
    complete = (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file()
    try:
        weights = read_weights(folder, config) if complete else None
    except UserError:  # transformers downloads missing files again by itself
        weights = None
    found = _facts_from_files(folder, config, weights, facts.name)
    return replace(
        found,
        path=model_id,
        folder=folder if weights and found.has_tokenizer else None,
        source="cache",
        params=facts.params or found.params,
        context=found.context or facts.context,
        has_chat_template=found.has_chat_template or facts.has_chat_template,
        has_tokenizer=found.has_tokenizer or None,
        gated=facts.gated,
        licence=facts.licence,
        problems=problems + (found.problems if weights else ()),
    )


def _cached_folder(model_id: str) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        config = try_to_load_from_cache(model_id, "config.json")
    except (ValueError, OSError):
        return None
    return Path(config).parent if isinstance(config, str) else None


def _catalogue_config(known: catalogue.CatalogueModel) -> dict[str, Any]:
    config: dict[str, Any] = {"model_type": known.model_type}
    return {**config, "vision_config": {}} if known.variant == "vision" else config


def _refuse_quantized(config: Mapping[str, Any], name: ModelName, where: str) -> None:
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        return
    method = printable(quantization.get("quant_method") or "unknown method", 40)
    raise UserError(
        f"The weights are already compressed ({method}). finetui starts from full weights.",
        where,
        f"Train {name.twin or 'the original with full weights'} instead. finetui compresses it itself where memory "
        "is short (QLoRA).",
    )


def _refuse_file(path: Path) -> UserError:
    if path.suffix.lower() == ".gguf":
        return gguf_error(path, path.name)
    return UserError(
        "This is a file; a model is a folder.",
        printable(path, 300),
        f"Give the folder: {printable(path.parent, 300)}"
        if (path.parent / "config.json").is_file()
        else "Give the folder that holds config.json and the .safetensors files, or a Hub id such as Qwen/Qwen3-0.6B.",
    )


def _missing_folder(path: Path) -> UserError:
    try:
        siblings = [item.name for item in path.parent.iterdir() if item.is_dir()]
    except OSError:
        siblings = []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return UserError(
        "There is no such model folder.",
        printable(path, 300),
        f"Did you mean {printable(path.parent / close[0], 300)}?"
        if close
        else "Check the path. A model on the Hugging Face Hub is named owner/name, such as Qwen/Qwen3-0.6B.",
    )


def _number(config: Mapping[str, Any], *keys: str) -> int | None:
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
