"""A LoRA adapter as llama.cpp's converter can take it: what it cannot hold is refused, unusual scaling is written into it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_json
from engine.models.weights import read_header

_WEIGHTS = "adapter_model.safetensors"
_MERGE = "Export the whole model instead: --to gguf"


def adapter_refusal(adapter: Path) -> UserError | None:
    """Why llama.cpp's ``--lora`` cannot hold this adapter; None where it can.

    Args:
        adapter: Folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
    """
    where = printable(adapter, 200)
    config = read_json(adapter / "adapter_config.json")
    kind = str(config.get("peft_type", "nothing")).upper()
    if kind != "LORA":
        return UserError(f"The trained files are no LoRA adapter but {printable(kind, 40)}.", where, _MERGE)
    for key, words in (
        ("use_dora", "DoRA, which scales whole rows"),
        ("lora_bias", "biases inside the adapter"),
        ("fan_in_fan_out", "matrices stored the other way round (as in GPT-2)"),
        ("target_parameters", "adapters on bare parameters (experts)"),
    ):
        if config.get(key):
            return UserError(f"llama.cpp's LoRA files cannot hold {words}.", where, _MERGE)
    try:
        names = list(read_header(adapter / _WEIGHTS))
    except UserError as error:
        return error
    for name in names:
        if ".lora_A." in name or ".lora_B." in name or ".lora_embedding_" in name:
            continue
        if any(part in name for part in ("embed_tokens", "lm_head", "token_adapter", "trainable_tokens")):
            return UserError(
                "The run trained embeddings (for new tokens of the template), and llama.cpp's LoRA files cannot hold them.",
                f"{where}: {printable(name, 120)}",
                _MERGE,
            )
        return UserError(
            "The run trained weights beside the LoRA matrices, which llama.cpp's LoRA files cannot hold.",
            f"{where}: {printable(name, 120)}",
            _MERGE,
        )
    return None


def prepare_adapter(adapter: Path, into: Path) -> Path:
    """The adapter with plain scaling, alpha over rank: the only one that llama.cpp computes.

    Args:
        adapter: Folder of the adapter.
        into: Folder to make where something has to change.

    Returns:
        The adapter's own folder where nothing has to change, else `into`.

    Raises:
        OSError: The disk is full.
    """
    config = read_json(adapter / "adapter_config.json")
    if not config.get("use_rslora") and not config.get("alpha_pattern"):
        return adapter
    from peft.utils.other import get_pattern_key
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Any] = load_file(str(adapter / _WEIGHTS))
    alpha = float(config["lora_alpha"])
    alphas = {key: float(value) for key, value in (config.get("alpha_pattern") or {}).items()}
    for name in list(tensors):
        if ".lora_B." not in name:
            continue
        rank = tensors[name].shape[1]
        module = name.split(".lora_B.")[0].removeprefix("base_model.model.")
        own = alphas.get(get_pattern_key(alphas.keys(), module), alpha)
        wanted = own / (math.sqrt(rank) if config.get("use_rslora") else rank)
        tensors[name] = (tensors[name].float() * (wanted / (alpha / rank))).contiguous()
    into.mkdir(parents=True)
    save_file(tensors, str(into / _WEIGHTS), metadata={"format": "pt"})
    plain = {**config, "use_rslora": False, "alpha_pattern": {}}
    (into / "adapter_config.json").write_text(json.dumps(plain), "utf-8")
    return into
