"""Small model folders written byte by byte, so that tests need neither torch nor the safetensors library."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1}
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "vocab_size": 32,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
Shapes = dict[str, tuple[str, list[int]]]
TENSORS: Shapes = {
    "model.embed_tokens.weight": ("BF16", [32, 16]),
    "model.layers.0.mlp.weight": ("BF16", [16, 16]),
    "model.layers.1.mlp.weight": ("BF16", [16, 16]),
    "model.norm.weight": ("F32", [16]),
    "lm_head.weight": ("BF16", [32, 16]),
}
NUM_PARAMS = 32 * 16 * 2 + 2 * 16 * 16 + 16


def safetensors(path: Path, tensors: Shapes) -> Path:
    """Write a safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(offset))
    return path


def model_folder(path: Path, config: dict[str, Any] | None = None, tensors: Shapes | None = None) -> Path:
    """A whole model folder: config, weights, tokenizer, chat template."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    safetensors(path / "model.safetensors", TENSORS if tensors is None else tensors)
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return path
