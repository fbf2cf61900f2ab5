"""Adapter and base as one model in 16 bits: merged on the CPU, a few rows at a time, into the base as its makers published it.

Never into a quantized base: what 4 bits have rounded away would be lost for good. The numbers are added in float32 and rounded once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.deliver.export import model_files
from engine.deliver.export.base import unquantized_base as unquantized_base
from engine.deliver.export.base_map import BaseMap, Unmapped, map_base, meta_model
from engine.deliver.export.changes import Change, Instead, changes_of
from engine.deliver.export.job import Tell
from engine.deliver.export.manifest import note_extra
from engine.deliver.export.merge_write import Recipe, Work, cast, most_common
from engine.deliver.export.tensors import PIECE, Planned, Stored, tensors_in, write_index
from engine.deliver.source import Trained
from engine.display import printable
from engine.errors import UserError
from engine.models.weights import read_weights
from engine.run import atomic


def merge(trained: Trained, into: Path, tell: Tell, dtype: str | None = None) -> None:
    """Write the merged model: weights, config, stop tokens, tokenizer, template.

    Args:
        trained: An adapter with its base, or a whole model.
        into: An empty folder.
        tell: Told of shards and bytes; may cancel.
        dtype: Number format of the result; None keeps that of the base.

    Raises:
        UserError: The base cannot be had unquantized, does not fit the adapter, or memory ran out.
        Cancelled: The user asked to stop.
        OSError: The disk is full.
    """
    base = unquantized_base(trained, tell) if trained.is_adapter else trained.path
    config = atomic.read_json(base / "config.json") or {}
    stored = {
        name: tensor for file in read_weights(base, config).files for name, tensor in tensors_in(file).items()
    }
    tell.check()
    tokenizer = model_files.load_tokenizer(trained.path)
    model_files.copy_tokenizer(trained.path, into)
    model_files.copy_processor(base, into)
    model_files.write_generation_config(base, tokenizer, into)
    if not trained.is_adapter:
        made = model_files.merged_config(config, tokenizer, dtype, None, False)
        work = Work(stored, {}, dtype, tell)
        if dtype is None:
            _take_over(sorted({tensor.file for tensor in stored.values()}), into, work)
            atomic.write_json(into / "config.json", made)
            return
    else:
        tell.step("Reading the adapter")
        bound = _bind(trained, base, stored, len(tokenizer), tell)
        if bound is None:
            from engine.deliver.export.merge_whole import merge_whole

            merge_whole(trained, base, into, tell, dtype, len(tokenizer))
            return
        made = model_files.merged_config(config, tokenizer, dtype, bound.vocabulary, bool(bound.untied))
        if auto_model(trained) == "AutoModelForSequenceClassification":
            made |= {
                "architectures": [type(bound.mapped.model).__name__],
                "id2label": {"0": "LABEL_0"},
                "label2id": {"LABEL_0": 0},
                "pad_token_id": tokenizer.pad_token_id,
            }
            # The head that predicts words is of no use in a model that scores.
            stored = {name: tensor for name, tensor in stored.items() if name in bound.mapped.groups}
        work = Work(stored, _recipes(bound, dtype), dtype, tell, bound)
    work.write(into)
    atomic.write_json(into / "config.json", made)
    note_extra(into, dtype=work.dtype_words())


def _take_over(files: list[Path], into: Path, work: Work) -> None:
    """The weights of a model that was trained whole, as they are: the same file under a second name where that is possible."""
    work.tell.step("Copying the weights")
    total = sum(file.stat().st_size for file in files)
    done = 0
    for file in files:
        try:
            os.link(file, into / file.name)
        except OSError:
            with open(file, "rb") as source, open(into / file.name, "wb") as copy:
                while chunk := source.read(PIECE):
                    copy.write(chunk)
                    done += len(chunk)
                    work.tell.progress(done, total)
        else:
            done += file.stat().st_size
            work.tell.progress(done, total)
    write_index(into, work.plans)
    note_extra(into, dtype=work.dtype_words())


def auto_model(trained: Trained) -> str:
    from engine.train.objectives import load_objective

    return str(load_objective(trained.config.method.objective).auto_model)


@dataclass(frozen=True, slots=True)
class Bound:
    """Base and adapter put together by name.

    Attributes:
        mapped: The base.
        changes: What the adapter does, by live name.
        untied: Weights that were one and become two: live name of the new one to that of the old one.
        vocabulary: New number of rows of the embeddings; None where it stays.
    """

    mapped: BaseMap
    changes: dict[str, list[Change]]
    untied: dict[str, str]
    vocabulary: int | None


def _bind(
    trained: Trained, base: Path, stored: dict[str, Stored], num_tokens: int, tell: Tell
) -> Bound | None:
    """Find out which change belongs to which tensor.

    Returns:
        None where that cannot be told for certain.

    Raises:
        UserError: The adapter is damaged or of another model.
    """
    model = meta_model(base, auto_model(trained))
    rows = model.get_input_embeddings().weight.shape[0]
    if num_tokens > rows:
        model.resize_token_embeddings(num_tokens, mean_resizing=False)
    mapped = map_base(model, stored)
    try:
        changes = changes_of(_with_adapter(model, trained), mapped.modules)
        for name, value in _replaced(mapped).items():
            changes[name] = [Instead(value), *changes.get(name, [])]
        _require_sources(mapped, changes)
    except (LookupError, Unmapped) as error:
        tell.say(
            f"The weight {printable(error, 120)} cannot be merged a piece at a time, so the whole model is loaded."
        )
        return None
    untied = {
        name: owner
        for name, owner in mapped.tied.items()
        if not _same(changes.get(name, []), changes.get(owner, []))
    }
    return Bound(mapped, changes, untied, num_tokens if num_tokens > rows else None)


def _with_adapter(model: Any, trained: Trained) -> Any:
    """The model with its adapter: the adapter's numbers in memory, the model's not."""
    import warnings

    from peft import PeftConfig, get_peft_model

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = PeftConfig.from_pretrained(str(trained.path))
            config.inference_mode = True
            tuned = get_peft_model(model, config, low_cpu_mem_usage=True)
            for module in tuned.modules():
                # It would send the adapter's numbers after the base's, which have none.
                if hasattr(module, "_move_adapter_to_device_of_base_layer"):
                    module._move_adapter_to_device_of_base_layer = lambda *args, **kwargs: None
            tuned.load_adapter(
                str(trained.path), "default", torch_device="cpu", low_cpu_mem_usage=True, is_trainable=False
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"The adapter does not fit the base model, or is damaged: {printable(lines[0], 250)}",
            printable(trained.path, 300),
            "Export another checkpoint: --checkpoint N",
        ) from None
    lost = [name for name, value in tuned.named_parameters() if value.is_meta and _is_adapter(name)]
    if lost:
        raise UserError(
            f"The adapter lacks weights, such as {printable(lost[0], 120)}.",
            printable(trained.path, 300),
            "It was not saved whole. Export another checkpoint: --checkpoint N",
        )
    return tuned


def _is_adapter(name: str) -> bool:
    return any(mark in name for mark in (".lora_", ".modules_to_save.", "trainable_tokens_delta"))


def _replaced(mapped: BaseMap) -> dict[str, Any]:
    """Weights of the base itself that the adapter's file brought along, such as resized embeddings."""
    found: dict[str, Any] = {}
    for module in mapped.model.modules():
        name = mapped.modules.get(id(module))
        if name is None:
            continue
        for own, value in module.named_parameters(recurse=False):
            if not value.is_meta:
                found[f"{name}.{own}"] = value.data
    return found


def _require_sources(mapped: BaseMap, changes: dict[str, list[Change]]) -> None:
    """Every changed weight must have a place in the checkpoint, and there must be a way back to it.

    Raises:
        Unmapped: There is none.
    """
    import torch

    checked: set[int] = set()
    for name, todo in changes.items():
        group = mapped.by_live.get(name)
        if name not in mapped.shapes:
            raise Unmapped(name)
        if group is None:
            if name not in mapped.tied and not isinstance(todo[0], Instead):
                raise Unmapped(name)
        elif group.transform is None:
            if mapped.stored[group.keys[0]].shape[1:] != mapped.shapes[name][1:]:
                raise Unmapped(name)
        elif id(group) not in checked:
            checked.add(id(group))
            live = mapped.convert(group)
            if set(group.live) != set(live):
                raise Unmapped(name)
            if any(tuple(value.shape) != mapped.shapes.get(one) for one, value in live.items()):
                raise Unmapped(name)
            back = mapped.revert(group, live)
            if not all(torch.equal(back[key], mapped.stored[key].tensor()) for key in group.keys):
                raise Unmapped(name)


def _same(one: list[Change], other: list[Change]) -> bool:
    return len(one) == len(other) and all(a.same_as(b) for a, b in zip(one, other, strict=True))


def _recipes(bound: Bound, dtype: str | None) -> dict[str, Recipe]:
    """Every tensor that is not simply copied, by its name in the checkpoint."""
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    mapped, changes, untied = bound.mapped, bound.changes, bound.untied
    longer = {
        name
        for name, group in mapped.by_live.items()
        if group.transform is None and mapped.shapes[name] != mapped.stored[group.keys[0]].shape
    }
    made: dict[str, Recipe] = {}
    for name in [*changes, *(longer - changes.keys()), *(untied.keys() - changes.keys() - longer)]:
        todo, shape, group = changes.get(name, []), mapped.shapes[name], mapped.by_live.get(name)
        if group is not None and group.transform is not None:
            for key in group.keys:
                stored = mapped.stored[key]
                made[key] = Recipe(Planned(cast(stored.dtype, dtype), stored.shape), stored, todo, group)
        elif group is not None:
            stored = mapped.stored[group.keys[0]]
            made[group.keys[0]] = Recipe(Planned(cast(stored.dtype, dtype), shape), stored, todo)
        elif name in untied or name not in mapped.tied:
            owner = mapped.by_live.get(mapped.tied.get(name, ""))
            source = mapped.stored[owner.keys[0]] if owner is not None else None
            (key,) = revert_weight_conversion(mapped.model, {name: torch.empty(shape, device="meta")})
            code = source.dtype if source is not None else most_common(mapped.stored)
            made[key] = Recipe(Planned(cast(code, dtype), shape), source, todo)
    return made
