"""Disk space of a run: what is downloaded and written, on which file system, and what export will need later."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine.config.schema import RunConfig
from engine.display import GIB, gib, printable
from engine.errors import UserError
from engine.fit.plan import make_plan
from engine.fit.profiles import DEFAULT, load
from engine.fit.static import adapter_elements, measure
from engine.fit.types import DTYPE_BYTES, Architecture, TrainSetup
from engine.machine.disks import find_disks
from engine.machine.model import Disk, Machine
from engine.machine.mounts import read_mounts
from engine.models import catalogue

Verdict = Literal["fits", "tight", "no", "unknown"]

DOWNLOAD, CHECKPOINTS, RESULT, EXPORT = "download", "checkpoints", "result", "export"
# tokenizer.json of 128,000 to 262,000 tokens has 75 to 135 bytes a token; saved with every checkpoint.
_TOKENIZER_BYTES = 130
# Below this a file system that was large enough is soon full of logs and caches.
_TIGHT = 2 * GIB
# llama.cpp src/llama-quant.cpp, Q4_K_M: most matrices in Q4_K (4.5 bits), half of attn_v and ffn_down in Q6_K; the output
# matrix in Q6_K. Rows that are no multiple of 256 fall back to Q5_0 and Q8_0.
_Q4_BITS, _Q4_EMBEDDING_BITS, _Q4_HEAD_BITS = 4.83, 4.5, 6.5625
_Q4_ODD_BITS, _Q4_ODD_HEAD_BITS = 5.5, 8.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that a run puts on disks.

    Attributes:
        download: What is still to be fetched from the Hub.
        checkpoint: One checkpoint: adapter or model, optimizer states, tokenizer.
        checkpoints: At the fullest moment: a new one is whole before the oldest goes.
        writes: Checkpoints written over the whole run.
        result: The final adapter or model, with its tokenizer.
        merged: Later: adapter and model as one, in 16 bits; 0 where the result is a whole model already.
        gguf: Later: the 16-bit GGUF file and the 4-bit one made from it.
    """

    download: int
    checkpoint: int
    checkpoints: int
    writes: int
    result: int
    merged: int
    gguf: int


@dataclass(frozen=True, slots=True)
class MountNeed:
    """One file system and everything this run puts on it.

    Attributes:
        disk: The file system as it is now.
        parts: Bytes for the run itself, by name.
        later: Bytes that only exporting the result will need.
    """

    disk: Disk
    parts: dict[str, int]
    later: int

    @property
    def needed(self) -> int:
        """Bytes the run itself needs."""
        return sum(self.parts.values())

    @property
    def verdict(self) -> Verdict:
        """For the run itself, without export."""
        return self._verdict(self.needed)

    @property
    def later_verdict(self) -> Verdict:
        """With export."""
        return self._verdict(self.needed + self.later)

    def _verdict(self, need: int) -> Verdict:
        if not need:
            return "fits"
        if not self.disk.total or not self.disk.free_reliable:
            return "unknown"
        if need > self.disk.free:
            return "no"
        return "tight" if self.disk.free - need < min(_TIGHT, self.disk.total // 10) else "fits"


def sizes_of(
    config: RunConfig, architecture: Architecture, setup: TrainSetup, steps: int | None, hub: Path
) -> Sizes:
    """How much a run writes.

    Args:
        config: The run.
        architecture: Its model.
        setup: The run as the predictors see it.
        steps: Optimizer steps; None when the dataset was not counted.
        hub: The Hub's download cache.
    """
    # Files hold what all GPUs have together, however they share it.
    plan = make_plan(architecture, replace(setup, num_gpus=1, sharding="none"), load(DEFAULT))
    element = DTYPE_BYTES[setup.trained_dtype or setup.dtype]
    tokenizer = architecture.vocab * _TOKENIZER_BYTES
    learnt = adapter_elements(plan) * element if plan.adapts else architecture.params * plan.base
    static = measure(plan)
    # optimizer.pt holds the states as they are in memory.
    checkpoint = learnt + static.states + static.paged + tokenizer
    every = config.watch.save_steps or (max(1, round(steps / 10)) if steps else None)
    # transformers saves at the last step, too, whatever save_steps says.
    writes = math.ceil(steps / every) if steps and every else config.watch.save_total_limit + 1
    evaluates = setup.eval_batch > 0
    # trainer_utils.rotate_checkpoints keeps the newest and the best, whatever the limit.
    kept = max(config.watch.save_total_limit, 2 if evaluates else 1)
    weights = architecture.params - architecture.vision_params
    return Sizes(
        download=download_bytes(config, architecture, hub),
        checkpoint=checkpoint,
        checkpoints=checkpoint * min(kept + 1, writes),
        writes=writes,
        result=learnt + tokenizer,
        merged=0 if not plan.adapts else 2 * architecture.params + tokenizer,
        gguf=2 * weights + q4_bytes(architecture),
    )


def q4_bytes(architecture: Architecture) -> int:
    """Size of the model as a Q4_K_M file, without a vision tower."""
    odd = architecture.hidden % 256 != 0
    bits, head_bits = (_Q4_ODD_BITS, _Q4_ODD_HEAD_BITS) if odd else (_Q4_BITS, _Q4_HEAD_BITS)
    embedding = architecture.embedding_params
    head = 0 if architecture.tied else architecture.vocab * architecture.hidden
    rest = max(0, architecture.params - architecture.vision_params - embedding - head)
    tables = embedding * (head_bits if architecture.tied else _Q4_EMBEDDING_BITS) + head * head_bits
    return int((rest * bits + tables) / 8)


def stored_bytes(model: str, architecture: Architecture) -> int:
    """Size of the model's safetensors files on the Hub."""
    params, experts = architecture.params, architecture.experts
    if architecture.prequantized and "mxfp4" in architecture.prequantized.lower():
        packed = experts.fused_params if experts is not None else 0
        return int(packed * 4.25 / 8) + 2 * (params - packed)  # one scale of 8 bits for 32 numbers of 4
    if architecture.prequantized and "fp8" in architecture.prequantized.lower():
        return params
    known = catalogue.find(model)
    dtype = (known.stored if known is not None else None) or architecture.checkpoint_dtype
    return params * DTYPE_BYTES.get(dtype, 2)


def download_bytes(config: RunConfig, architecture: Architecture, hub: Path) -> int:
    """What the Hub still has to send: nothing for a folder, the rest where a part is in the cache."""
    model = config.model.model_name_or_path
    if Path(model).expanduser().is_dir():
        return 0
    total = stored_bytes(model, architecture) + architecture.vocab * _TOKENIZER_BYTES
    folder = hub / ("models--" + model.replace("/", "--"))
    try:
        revision = config.model.model_revision
        reference = folder / "refs" / revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        snapshot = folder / "snapshots" / commit
        present = sum(file.stat().st_size for file in snapshot.glob("*.safetensors"))
        if (snapshot / "config.json").is_file() and _complete(snapshot):
            return 0
        # A broken-off download leaves what it had under a name of its own and goes on from there.
        present += sum(file.stat().st_size for file in (folder / "blobs").glob("*.incomplete"))
    except (OSError, ValueError):
        return total
    return max(0, total - present)


def _complete(snapshot: Path) -> bool:
    from engine.models.weights import read_weights
    from engine.run.atomic import read_json

    try:
        read_weights(snapshot, read_json(snapshot / "config.json") or {})
    except UserError:
        return False
    return True


def mounts_of(sizes: Sizes, machine: Machine | None, run_home: Path, hub: Path) -> tuple[MountNeed, ...]:
    """Everything against the file system it lands on; what shares one is added up."""
    disks = {use: _disk(use, folder, machine) for use, folder in (("runs", run_home), ("model cache", hub))}
    found: list[MountNeed] = []
    for use, disk in disks.items():
        parts = (
            {CHECKPOINTS: sizes.checkpoints, RESULT: sizes.result}
            if use == "runs"
            else {DOWNLOAD: sizes.download}
        )
        later = sizes.merged + sizes.gguf if use == "runs" else 0
        if disk is None:
            continue
        same = next((index for index, need in enumerate(found) if need.disk.mount == disk.mount), None)
        if same is None:
            found.append(MountNeed(disk, parts, later))
        else:
            old = found[same]
            found[same] = MountNeed(old.disk, {**parts, **old.parts}, old.later + later)
    return tuple(found)


def _disk(use: str, folder: Path, machine: Machine | None) -> Disk | None:
    known = next((disk for disk in (machine.disks if machine else ()) if use in disk.uses), None)
    return known or next(iter(find_disks([(use, folder)], read_mounts())), None)


def problem_of(need: MountNeed, others: Sequence[Disk]) -> UserError | None:
    """Why a run is sure to fill up a disk, and what to do; None when it is not."""
    if need.verdict != "no":
        return None
    roomy = [
        disk
        for disk in others
        if disk.mount != need.disk.mount and disk.writable and disk.free_reliable and disk.free > need.needed
    ]
    fixes = ["Free some space"]
    if need.parts.get(CHECKPOINTS, 0) > need.needed // 2:
        fixes.append("keep fewer checkpoints (--save_total_limit 1)")
    variable = "HF_HOME" if need.parts.get(DOWNLOAD, 0) > need.needed // 2 else "FINETUI_HOME"
    place = max(roomy, key=lambda disk: disk.free).path if roomy else "/path/on/a/larger/disk"
    fixes.append(f"or use another disk: {variable}={printable(place, 80)} finetui ...")
    return UserError(
        f"The disk is too small: this run needs {gib(need.needed)}, and {gib(need.disk.free)} are free.",
        printable(need.disk.mount, 120),
        ", ".join(fixes),
    )


def hub_cache() -> Path:
    """Where models are downloaded to, by the Hub library's own rules."""
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home or Path(cache, "huggingface"), "hub"))
