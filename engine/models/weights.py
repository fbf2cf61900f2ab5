"""Weight files read without torch: only the header at the start of each safetensors file."""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.display import gib, printable
from engine.errors import UserError

_MAX_HEADER = 100_000_000  # the limit of the safetensors library
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8", "F8_E5M2": "float8", "I8": "int8", "U8": "uint8",
}  # fmt: skip
# Stored beside the weights but not weights: attention masks and rotation tables of older models.
_BUFFERS = re.compile(r"(?:rotary_emb\.inv_freq|(?:^|\.)(?:attn|attention)\.(?:bias|masked_bias))$")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_NOT_SAFETENSORS = (
    "pytorch_model*.bin", "pytorch_model.bin.index.json", "consolidated*.pth", "*.pt", "*.pth", "*.ckpt",
    "model*.bin", "tf_model.h5", "flax_model.msgpack",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """What the weight files of a folder hold.

    Attributes:
        params: Number of weights that transformers loads.
        dtype: The number format of most of them, such as ``bfloat16``.
        size_bytes: Size of the weight files together.
        files: The files, in the order of their names.
    """

    params: int
    dtype: str
    size_bytes: int
    files: tuple[Path, ...]


def read_weights(folder: Path, config: Mapping[str, Any]) -> Weights:
    """Count the weights of a model folder from its safetensors headers.

    Args:
        folder: The model folder.
        config: Its ``config.json``; tells which stored tensors are copies that are not loaded.

    Raises:
        UserError: No weights, weights in another format, missing or damaged files.
    """
    files = _weight_files(folder)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file in files:
        tensors.update(read_header(file))
    if not tensors:
        raise UserError(
            "The weight file holds no weights.", _show(files[0]), "Download or copy the model again."
        )
    counts: Counter[str] = Counter()
    for name, (dtype, shape) in tensors.items():
        if _is_loaded(name, tensors, config):
            counts[dtype] += math.prod(shape)
    code = counts.most_common(1)[0][0]
    size = sum(file.stat().st_size for file in files)
    return Weights(counts.total(), _DTYPES.get(code, code.lower()), size, files)


def read_header(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, number formats and shapes of the tensors in one safetensors file.

    The format: 8 bytes little-endian length, that many bytes of JSON, then the numbers.

    Raises:
        UserError: The file is damaged, incomplete, or a Git LFS placeholder.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if start.startswith(b"version "):
                raise UserError(
                    "This is a Git LFS placeholder, not the weights: the repository was cloned without its large files.",
                    _show(file),
                    "Run 'git lfs install' and 'git lfs pull' in that folder, or download with 'hf download'.",
                )
            if not 0 < length <= min(_MAX_HEADER, size - 8):
                raise _damaged(file, f"the file has {size:,} bytes and ends inside its header")
            raw = stream.read(length)
    except OSError as error:
        raise UserError(
            f"The weight file cannot be read: {error.strerror or error}.",
            _show(file),
            "Check the file and its permissions.",
        )
    try:
        header = json.loads(raw)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        tensors = {
            name: (str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in entries.items()
        }
        expected = 8 + length + int(end)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError):
        raise _damaged(file, "its header is not readable")
    if size != expected:
        kind = "is incomplete" if size < expected else "is longer than its header says"
        raise _damaged(file, f"it {kind}: {gib(size)} of {gib(expected)} ({size:,} of {expected:,} bytes)")
    return tensors


def _weight_files(folder: Path) -> tuple[Path, ...]:
    single = folder / "model.safetensors"
    if single.is_file():
        return (single,)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _shards(folder, index)
    raise _no_weights(folder)


def _shards(folder: Path, index: Path) -> tuple[Path, ...]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(
            "The list of weight files is not readable.", _show(index), "Download or copy the model again."
        )
    if any(Path(name).name != name for name in names):
        raise UserError(
            "The list of weight files points outside the model folder.",
            _show(index),
            "Do not use this folder; download the model again from a source you trust.",
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        some = ", ".join(printable(name, 80) for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"{len(missing)} of {len(names)} weight files are missing: {some}.",
            _show(folder),
            "Download the model again; 'hf download' continues where it stopped.",
        )
    return tuple(folder / name for name in names)


def _no_weights(folder: Path) -> UserError:
    others = sorted(path.name for pattern in _NOT_SAFETENSORS for path in folder.glob(pattern))
    ggufs = sorted(path.name for path in folder.glob("*.gguf"))
    odd = sorted(path.name for path in folder.glob("*.safetensors"))
    if ggufs:
        return gguf_error(folder, ggufs[0])
    if others:
        return UserError(
            f"The weights are only there in an old format ({printable(others[0], 80)}) that can run hidden code when opened.",
            _show(folder),
            'Take a copy with safetensors weights. If you trust the source, convert it: python -c "from transformers import '
            f"AutoModelForCausalLM as M; M.from_pretrained('{_show(folder)}').save_pretrained('converted')\" and copy the "
            "tokenizer files over.",
        )
    if odd:
        return UserError(
            f"The weights are not under a name that transformers looks for (found {printable(odd[0], 80)}).",
            _show(folder),
            "A single file must be called model.safetensors; several need model.safetensors.index.json beside them.",
        )
    return UserError(
        "The model folder holds no weights: there is no model.safetensors and no model.safetensors.index.json.",
        _show(folder),
        "Download or copy the model again, with its .safetensors files.",
    )


def gguf_error(path: Path, file_name: str) -> UserError:
    """The refusal of a GGUF file or a folder with one."""
    from engine.models.naming import read_name

    names = (read_name(file_name), read_name(path.name))
    twin = next((name.twin for name in names if name.twin), None)
    return UserError(
        "This is a GGUF model. GGUF files are for running a finished model, not for training.",
        _show(path),
        f"Train {twin} instead."
        if twin
        else "Train the model it was made from; its page on the Hub names it.",
    )


def _is_loaded(name: str, tensors: Mapping[str, object], config: Mapping[str, Any]) -> bool:
    """Whether transformers turns this stored tensor into a weight."""
    if _BUFFERS.search(name) or name.startswith(
        "mtp."
    ):  # mtp: heads for faster generation, left out on loading
        return False
    text_config = config.get("text_config")
    facts = {**config, **text_config} if isinstance(text_config, dict) else config
    layers = facts.get("num_hidden_layers")
    layer = _LAYER.search(name)
    if layer and isinstance(layers, int) and "vision" not in name and int(layer[1]) >= layers:
        return False  # an extra prediction layer after the last one, left out on loading
    if name == "lm_head.weight" and facts.get("tie_word_embeddings"):
        shape = tensors[name]
        return not any(other.endswith("embed_tokens.weight") and tensors[other] == shape for other in tensors)
    return True


def _damaged(file: Path, detail: str) -> UserError:
    return UserError(
        f"The weight file is damaged: {detail}.",
        _show(file),
        "Download or copy it again; an interrupted download is the usual cause.",
    )


def _show(path: Path) -> str:
    return printable(path, 300)
