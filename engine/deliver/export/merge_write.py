"""Writing the merged tensors: a few rows at a time, in the files and the order of the base."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.deliver.export.base_map import Group
from engine.deliver.export.changes import Change, apply_all
from engine.deliver.export.job import Tell
from engine.deliver.export.tensors import CODES, DTYPES, Planned, ShardWriter, Stored, write_index
from engine.display import gib, printable
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.deliver.export.merge import Bound

AT_ONCE = 1 << 22  # numbers that are merged at once: 16 MiB in float32
FEWEST = 1 << 14  # of which no fewer are tried when memory runs out


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tensor of the result is made.

    Attributes:
        planned: Its number format and shape.
        source: The stored tensor it begins with; None for one that the base does not have.
        changes: What is done to it.
        group: The tensors it is merged together with, where the model joins several; then the changes are theirs.
    """

    planned: Planned
    source: Stored | None
    changes: list[Change]
    group: Group | None = None


def cast(code: str, dtype: str | None) -> str:
    """The number format a tensor gets: as it was, or the one asked for if it holds weights."""
    return code if dtype is None or code not in DTYPES else CODES[dtype]


def most_common(stored: Mapping[str, Stored]) -> str:
    """The number format of most weights."""
    counts = Counter(dict.fromkeys(DTYPES, 0))
    for tensor in stored.values():
        if tensor.is_float:
            counts[tensor.dtype] += tensor.num_bytes
    return counts.most_common(1)[0][0]


class Work:
    """One merge.

    Args:
        stored: Every tensor of the base that the result has, too.
        recipes: Those that are not simply copied, and new ones.
        dtype: Number format of the result; None keeps each as it is.
        tell: Told of shards and bytes; may cancel.
        bound: Base and adapter; None where there is no adapter.
    """

    def __init__(
        self,
        stored: Mapping[str, Stored],
        recipes: Mapping[str, Recipe],
        dtype: str | None,
        tell: Tell,
        bound: Bound | None = None,
    ) -> None:
        self.stored, self.recipes, self.dtype, self.tell, self.bound = stored, recipes, dtype, tell, bound
        self._made: tuple[Group, dict[str, Any]] | None = None
        self._at_once = AT_ONCE
        self.plans = self._plan()

    def _plan(self) -> dict[str, dict[str, Planned]]:
        plans: dict[str, dict[str, Planned]] = {}
        for name, tensor in self.stored.items():
            recipe = self.recipes.get(name)
            planned = recipe.planned if recipe else Planned(self._kept(name, tensor), tensor.shape)
            plans.setdefault(tensor.file.name, {})[name] = planned
        last = plans[max(plans)]
        last |= {name: recipe.planned for name, recipe in self.recipes.items() if name not in self.stored}
        return plans

    def _kept(self, name: str, tensor: Stored) -> str:
        """Number format of a tensor that is not changed; a few kinds are too delicate for 16 bits."""
        if self.bound is not None and tensor.dtype == "F32":
            delicate = set(getattr(self.bound.mapped.model, "_keep_in_fp32_modules_strict", None) or ())
            if any(part in delicate for part in name.split(".")):
                return tensor.dtype
        return cast(tensor.dtype, self.dtype)

    def dtype_words(self) -> str:
        """The number format of most of the result, such as ``bfloat16``."""
        counts: Counter[str] = Counter()
        for plan in self.plans.values():
            for tensor in plan.values():
                counts[tensor.dtype] += tensor.num_bytes
        code = counts.most_common(1)[0][0]
        return DTYPES.get(code, code.lower())

    def write(self, into: Path) -> None:
        """Write every file.

        Raises:
            UserError: Memory ran out, also with the smallest pieces.
            OSError: The disk is full.
        """
        total = sum(tensor.num_bytes for plan in self.plans.values() for tensor in plan.values())
        finished = 0
        for number, (file, plan) in enumerate(sorted(self.plans.items()), 1):
            words = "Copying" if self.bound is None else "Merging"
            what = f"shard {number} of {len(self.plans)}" if len(self.plans) > 1 else "the weights"
            self.tell.step(f"{words} {what}")
            self._write_patiently(into / file, plan, finished, total)
            finished += sum(tensor.num_bytes for tensor in plan.values())
        write_index(into, self.plans)

    def _write_patiently(self, path: Path, plan: dict[str, Planned], before: int, total: int) -> None:
        """Write one file; when memory runs out, once more in smaller pieces."""
        from engine.train.heal.out_of_memory import is_out_of_memory

        while True:
            try:
                self._write_file(path, plan, before, total)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._made = None
            gc.collect()
            if self._at_once <= FEWEST:
                raise UserError(
                    "The main memory (RAM) ran out while merging, also with the smallest pieces.",
                    printable(path.name, 120),
                    "Close other programs, or merge on a machine with more RAM. The adapter is untouched: --to adapter",
                )
            self._at_once = max(FEWEST, self._at_once // 8)
            self.tell.say(
                f"The main memory ran out; trying again with pieces of {gib(self._at_once * 4)} at a time."
            )

    def _write_file(self, path: Path, plan: dict[str, Planned], before: int, total: int) -> None:
        done = before

        def written(num_bytes: int) -> None:
            nonlocal done
            done += num_bytes
            self.tell.progress(done, total)

        with ShardWriter(path, plan, written) as writer:
            for name, planned in plan.items():
                recipe = self.recipes.get(name)
                if recipe is not None and recipe.group is not None:
                    writer.write_tensor(self._merged(recipe.group)[name].to(_torch(planned.dtype)))
                elif recipe is not None:
                    self._write_changed(writer, recipe)
                elif planned.dtype == self.stored[name].dtype:
                    for chunk in self.stored[name].chunks():
                        writer.write(chunk)
                else:
                    self._write_changed(writer, Recipe(planned, self.stored[name], []))

    def _write_changed(self, writer: ShardWriter, recipe: Recipe) -> None:
        planned, source = recipe.planned, recipe.source
        if not planned.shape:
            assert source is not None
            writer.write_tensor(source.tensor().to(_torch(planned.dtype)))
            return
        rows_at = _Padded(source, planned.shape).rows
        for rows in apply_all(recipe.changes, planned.shape, rows_at, self._at_once):
            writer.write_tensor(rows.to(_torch(planned.dtype)))

    def _merged(self, group: Group) -> dict[str, Any]:
        """The checkpoint's tensors of a group that the model joins, merged; the last group is kept for the next tensor."""
        if self._made is not None and self._made[0] is group:
            return self._made[1]
        assert self.bound is not None
        self._made = None
        mapped = self.bound.mapped
        live = mapped.convert(group)
        for name, value in live.items():
            changes = self.bound.changes.get(name)
            if not changes:
                continue
            live[name] = value = value.contiguous()
            start = 0
            for rows in apply_all(changes, tuple(value.shape), _slice_of(value), self._at_once):
                value[start : start + rows.shape[0]] = rows.to(value.dtype)
                start += rows.shape[0]
        self._made = (group, mapped.revert(group, live))
        return self._made[1]


class _Padded:
    """Rows of a stored tensor; those that new tokens need beyond it begin as the mean of the others."""

    def __init__(self, source: Stored | None, shape: tuple[int, ...]) -> None:
        self._source, self._shape = source, shape
        self._mean: Any = None

    def rows(self, start: int, stop: int) -> Any:
        import torch

        known = self._source.shape[0] if self._source is not None else 0
        parts = []
        if self._source is not None and start < known:
            parts.append(self._source.rows(start, min(stop, known)).float())
        if stop > known:
            parts.append(self._beyond().expand(stop - max(start, known), *self._shape[1:]))
        return torch.cat(parts) if len(parts) > 1 else parts[0].clone()

    def _beyond(self) -> Any:
        import torch

        if self._mean is None:
            total = torch.zeros(1, *self._shape[1:])
            source = self._source
            if source is not None and source.shape[0]:
                for start in range(0, source.shape[0], 4096):
                    total += (
                        source.rows(start, min(source.shape[0], start + 4096)).float().sum(0, keepdim=True)
                    )
                total /= source.shape[0]
            self._mean = total
        return self._mean


def _slice_of(value: Any) -> Any:
    def rows(start: int, stop: int) -> Any:
        # A copy: changes may work in place, and float32 weights would be changed under the next piece.
        return value[start:stop].clone()

    return rows


def _torch(code: str) -> Any:
    import torch

    return getattr(torch, DTYPES[code])
