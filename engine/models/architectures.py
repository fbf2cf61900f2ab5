"""Which architectures the installed transformers can train, read from its files without importing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError


@cache
def known_types() -> frozenset[str] | None:
    """Architecture names (``model_type``) this transformers knows; ``None`` where it is not installed."""
    return _names("auto_mappings.py", "CONFIG_MAPPING_NAMES")


@cache
def text_types() -> frozenset[str] | None:
    """Architectures it can load as a model that writes text (``AutoModelForCausalLM``)."""
    return _names("modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


def check_architecture(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Refuse what cannot be trained as a text model.

    Args:
        config: The model's ``config.json``, or at least its ``model_type``.
        where: The folder or Hub id, for the message.

    Returns:
        Sentences about what is odd, but no obstacle.

    Raises:
        UserError: Needs its own Python code, is unknown to this transformers, or does not write text.
    """
    model_type = config.get("model_type")
    shown = printable(model_type, 60)
    known, text = known_types(), text_types()
    own_code = bool(config.get("auto_map"))
    if not isinstance(model_type, str) or not model_type:
        raise UserError(
            "The model's config.json does not say which architecture it is (no model_type).",
            where,
            "Take the config.json from the model's page on the Hub.",
        )
    if known is not None and model_type not in known:
        if own_code:
            raise UserError(
                f"This model ({shown}) brings its own Python code, and finetui never runs code that comes with a model.",
                where,
                "Choose a model whose architecture transformers includes, such as Llama, Qwen, Mistral or Gemma.",
            )
        raise UserError(
            f"The installed transformers does not know the architecture '{shown}'.",
            where,
            "Update transformers if the model is new, or choose another model.",
        )
    if config.get("is_encoder_decoder") or (text is not None and model_type not in text):
        sees = "vision_config" in config
        raise UserError(
            f"This is an image model ('{shown}') that this release cannot train."
            if sees
            else f"This model ('{shown}') is not of the kind that continues text, which is the kind finetui trains.",
            where,
            "Choose a text model of the same family."
            if sees
            else "Choose a model such as Qwen, Llama, Mistral or Gemma.",
        )
    architecture = (config.get("architectures") or [""])[0]
    if re.search(
        r"For(?:SequenceClassification|TokenClassification|MaskedLM|QuestionAnswering)$", str(architecture)
    ):
        raise UserError(
            f"This model was saved for another task ({printable(architecture, 80)}), not for writing text.",
            where,
            "Choose the model it was made from.",
        )
    if own_code:
        return (
            f"The model brings its own Python code. finetui does not run it: transformers has its own '{shown}'.",
        )
    return ()


def _names(file_name: str, table: str) -> frozenset[str] | None:
    # Importing transformers takes a second; its table of names is a plain list in a file.
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    try:
        source = Path(spec.origin).parent.joinpath("models", "auto", file_name).read_text("utf-8")
    except OSError:
        return None
    start = source.find(f"{table} = OrderedDict(")
    if start < 0:
        return None
    end = source.find("\n)", start)
    return frozenset(re.findall(r'^\s+\("([^"]+)",', source[start:end], flags=re.MULTILINE)) or None
