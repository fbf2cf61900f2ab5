"""From the recording of a few layers to that of all: the pattern of an inner layer is repeated. Plain Python."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from engine.fit.simulate.layers import Sketch
from engine.fit.simulate.trace import OUTSIDE, Recording, Trace


class Irregular(Exception):
    """The layers do not follow a pattern that could be repeated; every layer has to be simulated."""


@dataclass(slots=True)
class _Block:
    """Consecutive events of one layer, or of none."""

    label: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where an allocation of the short model was made."""

    sweep: int
    label: int
    ordinal: int


# A release inside a repeated block: of which sweep, how many layers away (or of an end), and the how-manieth allocation.
_Reference = tuple[int, int, bool, int]


class Extender:
    """Extends the recordings of one short model, in the order in which they were made."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self.short = len(sketch.chosen)
        self._candidates: dict[Hashable, list[int]] = {}
        for index, kind in enumerate(sketch.short_kinds):
            self._candidates.setdefault(kind, []).append(index)
        self._repeats = {kind: sketch.kinds.count(kind) for kind in self._candidates}
        self._origin: dict[int, _Origin] = {}
        self._outside: dict[int, int] = {}
        self._bases: dict[int, list[int]] = {}
        self._next_id = 0
        self._sweeps = 0

    def extend(self, recording: Recording) -> Trace:
        """The same recording of the full model.

        Raises:
            Irregular: Inner layers differ in a way that was not expected.
        """
        if self.sketch.complete:
            return Trace(recording.first_id, recording.events, list(recording.marks), recording.allocations)
        out = Trace(self._next_id)
        marks = list(recording.marks)
        identity = recording.first_id
        sweeps = self._sweeps_of(recording)
        for blocks in sweeps:
            while marks and marks[0][0] <= blocks[0].start:
                out.marks.append((len(out.events), marks.pop(0)[1]))
            if blocks[0].label == OUTSIDE:
                identity = self._copy(recording, blocks[0], identity, out)
            else:
                identity = self._repeat(recording, blocks, identity, out)
        out.marks += [(len(out.events), name) for _, name in marks]
        return out

    def _sweeps_of(self, recording: Recording) -> list[list[_Block]]:
        """Blocks in groups: a pass over all layers, or one block outside of any."""
        grouped: list[list[_Block]] = []
        blocks = self._blocks_of(recording)
        index = 0
        while index < len(blocks):
            block = blocks[index]
            if block.label == OUTSIDE:
                grouped.append([block])
                index += 1
                continue
            run = [block]
            direction = 0
            while index + len(run) < len(blocks):
                following = blocks[index + len(run)]
                step = following.label - run[-1].label
                if following.label == OUTSIDE or step not in (1, -1) or (direction and step != direction):
                    break
                direction = step
                run.append(following)
            index += len(run)
            grouped += self._whole(run, direction)
        return grouped

    def _whole(self, run: list[_Block], direction: int) -> list[list[_Block]]:
        """A pass over all layers, completed at its ends: where two passes meet, their common end is one block."""
        last = self.short - 1
        labels = [block.label for block in run]
        if not set(labels) - {0, last}:
            return [[block] for block in run]
        if direction == 0:
            direction = 1
        ends = (0, last) if direction > 0 else (last, 0)
        if labels[0] == ends[0] + direction:
            run.insert(0, _Block(ends[0], run[0].start, run[0].start))
        if labels[-1] == ends[1] - direction:
            run.append(_Block(ends[1], run[-1].end, run[-1].end))
        if len(run) != self.short:
            raise Irregular(f"a pass over layers {labels} only")
        return [run]

    def _blocks_of(self, recording: Recording) -> list[_Block]:
        labels = self._labels_of(recording)
        edges = {at for at, _ in recording.marks}
        blocks: list[_Block] = []
        for index, label in enumerate(labels):
            if blocks and blocks[-1].label == label and index not in edges:
                blocks[-1].end = index + 1
            else:
                blocks.append(_Block(label, index, index + 1))
        # Something outside between two neighbouring layers belongs to the pass, not to what is around it.
        merged: list[_Block] = []
        for index, block in enumerate(blocks):
            if block.label == OUTSIDE and merged and index + 1 < len(blocks):
                before, after = merged[-1].label, blocks[index + 1].label
                if before != OUTSIDE and after != OUTSIDE and abs(before - after) == 1:
                    merged[-1].end = block.end
                    continue
            merged.append(block)
        return merged

    def _labels_of(self, recording: Recording) -> list[int]:
        """Labels of the events; where tensors of all layers are dropped in a row, that is a pass over the layers.

        Python drops the tensors of a list one by one, as when gradients are released at the end of a step.
        """
        labels = list(recording.labels)
        made: dict[int, int] = {}
        identity = recording.first_id
        stretch: list[tuple[int, int]] = []
        for index, event in enumerate(recording.events):
            if event > 0:
                made[identity] = labels[index]
                identity += 1
                self._give(labels, stretch)
                stretch = []
            else:
                origin = self._origin.get(-event - 1)
                stretch.append((index, made.get(-event - 1, origin.label if origin is not None else OUTSIDE)))
        self._give(labels, stretch)
        return labels

    def _give(self, labels: list[int], stretch: list[tuple[int, int]]) -> None:
        if len({label for _, label in stretch} - {OUTSIDE}) == self.short:
            for index, label in stretch:
                labels[index] = label

    def _copy(self, recording: Recording, block: _Block, identity: int, out: Trace) -> int:
        """Events outside of the layers stay as they are."""
        for event in recording.events[block.start : block.end]:
            if event > 0:
                self._outside[identity] = self._next_id
                identity += 1
                self._next_id += 1
                out.allocations += 1
                out.events.append(event)
            else:
                out.events.append(-self._now(-event - 1) - 1)
        return identity

    def _now(self, identity: int) -> int:
        """The identity in the full model of an allocation that is released outside of a pass."""
        origin = self._origin.get(identity)
        if origin is None:
            return self._outside[identity]
        # What the end of a forward pass drops belongs to the last layers, whatever the depth.
        layer = origin.label
        if layer >= self.short / 2:
            layer += self.sketch.depth - self.short
        return self._bases[origin.sweep][layer] + origin.ordinal

    def _repeat(self, recording: Recording, blocks: list[_Block], identity: int, out: Trace) -> int:
        """A pass over the short model's layers becomes a pass over all layers."""
        sweep = self._sweeps
        self._sweeps += 1
        depth, last = self.sketch.depth, self.short - 1
        templates: dict[int, list[int | _Reference]] = {}
        # A tensor can be made and dropped in one pass, so origins come first.
        for block in blocks:
            ordinal = 0
            for event in recording.events[block.start : block.end]:
                if event > 0:
                    self._origin[identity] = _Origin(sweep, block.label, ordinal)
                    identity += 1
                    ordinal += 1
        for block in blocks:
            templates[block.label] = [
                event if event > 0 else self._reference(-event - 1, block.label)
                for event in recording.events[block.start : block.end]
            ]
        if len(blocks) == self.short:
            self._compare(templates)
            order = range(depth) if blocks[0].label == 0 else range(depth - 1, -1, -1)
        else:
            order = range(0, 1) if blocks[0].label == 0 else range(depth - 1, depth)
        bases = self._bases[sweep] = [-1] * depth
        resolved: dict[tuple[Hashable, ...], list[int | _Reference]] = {}
        single = len(blocks) == 1
        for layer in order:
            kinds = self.sketch.kinds
            if single:
                template = templates[0 if layer == 0 else last]
            else:
                around = (*tuple(kinds[max(layer - 1, 0) : layer + 2]), layer == 0)
                found = resolved.get(around)
                template = (
                    found
                    if found is not None
                    else resolved.setdefault(around, self._resolve(templates, layer))
                )
            self._emit(template, layer, bases, out)
        return identity

    def _emit(self, template: list[int | _Reference], layer: int, bases: list[int], out: Trace) -> None:
        bases[layer] = self._next_id
        append, all_bases, depth = out.events.append, self._bases, self.sketch.depth
        count = 0
        for item in template:
            if type(item) is int:
                append(item)
                count += 1
            else:
                sweep, away, absolute, ordinal = item  # type: ignore[misc]
                if sweep < 0:
                    append(-self._outside[ordinal] - 1)
                    continue
                where = (0 if away == 0 else depth - 1) if absolute else layer + away
                append(-(all_bases[sweep][where] + ordinal) - 1)
        self._next_id += count
        out.allocations += count

    def _reference(self, identity: int, label: int) -> _Reference:
        origin = self._origin.get(identity)
        if origin is None:
            return -1, 0, True, identity
        last = self.short - 1
        away = origin.label - label
        # From one end, the other end is the other end however many layers lie between.
        absolute = origin.label in (0, last) and abs(away) > 1
        if absolute:
            away = 0 if origin.label == 0 else last
        return origin.sweep, away, absolute, origin.ordinal

    def _compare(self, templates: dict[int, list[int | _Reference]]) -> None:
        """Layers of one kind must do the same."""
        for kind, candidates in self._candidates.items():
            model = templates[candidates[0]]
            for other in candidates[1:]:
                if len(templates[other]) != len(model):
                    raise Irregular(f"layers {candidates[0]} and {other} differ in length")
                for mine, its in zip(model, templates[other], strict=True):
                    if isinstance(mine, int) != isinstance(its, int):
                        raise Irregular(f"layers {candidates[0]} and {other} differ in order")
                    if isinstance(mine, int) and mine != its:
                        raise Irregular(f"layers {candidates[0]} and {other} differ in size")
            if self._repeats[kind] > 1 and any(not isinstance(item, int) and item[0] < 0 for item in model):
                raise Irregular("an inner layer drops a tensor that is not a layer's")

    def _resolve(self, templates: dict[int, list[int | _Reference]], layer: int) -> list[int | _Reference]:
        """The events of one layer of the full model, from the short layers whose neighbours are like its own."""
        kinds, short_kinds = self.sketch.kinds, self.sketch.short_kinds
        candidates = self._candidates[kinds[layer]]
        result: list[int | _Reference] = []
        for position, item in enumerate(templates[candidates[0]]):
            if isinstance(item, int):
                result.append(item)
                continue
            chosen: _Reference | None = None
            for candidate in candidates:
                reference = templates[candidate][position]
                assert not isinstance(reference, int)
                sweep, away, absolute, _ = reference
                if sweep < 0 or absolute or away == 0:
                    chosen = reference
                    break
                there = layer + away
                if 0 <= there < len(kinds) and kinds[there] == short_kinds[candidate + away]:
                    chosen = reference
                    break
            if chosen is None:
                raise Irregular(f"layer {layer} has neighbours that were not simulated")
            result.append(chosen)
        return result
