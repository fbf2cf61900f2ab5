"""The model folder as llama.cpp's converter wants it: the same files, with what transformers no longer writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.render import Renderer
from engine.data.templates.tags import without_tags
from engine.deliver.export.gguf.pretokenizers import Splitting, read_splitting
from engine.deliver.export.gguf.sentencepiece_model import write_sentencepiece_model
from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_chat_template, read_json

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
_WEIGHTS = (".safetensors", ".safetensors.index.json")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that is ready for the converter.

    Attributes:
        path: The folder; all in it are links and small files.
        splitting: How the tokenizer cuts text.
        add_bos: llama.cpp shall put a start token in front of every prompt, as the prompts in training had one.
        prefix_space: It shall put a space in front of words at the start; None where there is no such question.
    """

    path: Path
    splitting: Splitting
    add_bos: bool
    prefix_space: bool | None


def prepare_model_folder(tokenizer: Path, model: Path, into: Path, weights: bool = True) -> ModelFolder:
    """Make a folder of links to a model, with the tokenizer files that the converter reads.

    Args:
        tokenizer: Folder with the tokenizer and template the model was trained with.
        model: Folder with ``config.json`` and weights; may be the same.
        into: Folder to make; nothing outside it is written.
        weights: Link the weights; without them the vocabulary alone can be converted.

    Raises:
        UserError: The tokenizer is of a kind that llama.cpp cannot have, or a file is damaged.
        OSError: The disk is full.
    """
    into.mkdir(parents=True)
    if weights:
        for file in sorted(model.iterdir()):
            if file.name.endswith(_WEIGHTS):
                os.symlink(file.resolve(), into / file.name)
    for name in _TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            os.symlink((tokenizer / name).resolve(), into / name)
    read = read_json(tokenizer / "tokenizer.json")
    if not read:
        raise UserError(
            "The model has no tokenizer.json, from which the GGUF file gets its vocabulary.",
            printable(tokenizer, 200),
            "Train with a model that has one; its page on the Hub lists the files.",
        )
    config = read_json(model / "config.json")
    (into / "config.json").write_text(json.dumps(config if weights else _with_room(config, read)), "utf-8")
    splitting = read_splitting(tokenizer)
    if splitting.kind == "sentencepiece":
        # Never a file that is there: it may be the base's, without the tokens that training added.
        write_sentencepiece_model(tokenizer, into / "tokenizer.model")
    else:
        for folder in (tokenizer, model):
            if (folder / "tokenizer.model").is_file() and splitting.kind == "other":
                os.symlink((folder / "tokenizer.model").resolve(), into / "tokenizer.model")
                break
    template = read_chat_template(tokenizer)
    settings = _tokenizer_config(tokenizer, read)
    if template is not None:
        # Programs other than transformers do not know the tags that mark what is learnt.
        (into / "chat_template.jinja").write_text(without_tags(template[0]), "utf-8")
        settings.pop("chat_template", None)
    if splitting.kind == "bytes" and "Phi3ForCausalLM" in (config.get("architectures") or ()):
        # By this name the converter tells Phi-4's byte-level tokenizer from Phi-3's.
        settings["tokenizer_class"] = "GPT2Tokenizer"
    prefix = (
        _prefix_space(read, read_chat_template(tokenizer) is not None)
        if splitting.kind == "sentencepiece"
        else None
    )
    if prefix is not None:
        settings["add_prefix_space"] = prefix
    (into / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    return ModelFolder(into, splitting, starts_with_bos(tokenizer), prefix)


def _tokenizer_config(folder: Path, tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json with the added tokens in it, where older programs look for them."""
    named = read_json(folder / "special_tokens_map.json")
    settings = {name: value for name, value in named.items() if name.endswith("_token")}
    settings |= read_json(folder / "tokenizer_config.json")
    settings["added_tokens_decoder"] = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"}
        for token in tokenizer.get("added_tokens") or ()
        if isinstance(token, dict)
    }
    return settings


def starts_with_bos(tokenizer: Path) -> bool:
    """Whether the texts in training began with the start token: written by the template, or put there by the tokenizer.

    Args:
        tokenizer: Folder with the tokenizer and template the model was trained with.

    Raises:
        UserError: They are damaged.
    """
    renderer = Renderer(tokenizer)
    bos = renderer.named.get("bos_token")
    if not bos:
        return False
    if read_chat_template(tokenizer) is None:
        return bool(renderer.tokenizer.encode("a").tokens[:1] == [bos])
    return renderer.render([{"role": "user", "content": "a"}], add_generation_prompt=True).startswith(bos)


def _prefix_space(tokenizer: Mapping[str, Any], talks: bool) -> bool:
    """Whether words at the start get a space in front.

    llama.cpp does so after every special token or never. "first" means at the start of the whole text only; where a
    conversation begins with a special token that comes to never.
    """
    for step in _flat(tokenizer.get("normalizer"), "normalizers"):
        if step.get("type") == "Prepend":
            return True
    for step in _flat(tokenizer.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Metaspace":
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            return bool(scheme == "always" or (scheme == "first" and not talks))
    return False


def _flat(value: Any, key: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, dict):
        return []
    inner = value.get(key)
    if value.get("type") == "Sequence" and isinstance(inner, list):
        return [step for one in inner for step in _flat(one, key)]
    return [value]


def _with_room(config: dict[str, Any], tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """The base's configuration with room for tokens that training added."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    numbers = [int(token["id"]) for token in tokenizer.get("added_tokens") or ()]
    if isinstance(vocabulary, dict):
        numbers += [int(number) for number in vocabulary.values()]
    needed = max(numbers, default=-1) + 1
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        if isinstance(part.get("vocab_size"), int) and part["vocab_size"] < needed:
            part["vocab_size"] = needed
    return config
