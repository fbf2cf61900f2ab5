"""Whole runs put together from recorded steps, for any order of batch lengths. Plain Python."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.fit.simulate.batches import around_longest
from engine.fit.simulate.extend import Irregular
from engine.fit.simulate.trace import Trace

_EARLIER = 1 << 40  # releases of what was allocated before the step: loading, or nothing


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step at one length, with identities counted from its own first allocation.

    Attributes:
        length: Tokens each row is padded to.
        events: As in `Trace`, but relative.
        marks: As in `Trace`.
        tail: Index of the event where the optimizer begins.
        before_tail: Allocations before that.
        allocations: Allocations in all.
        left: What it leaves for the next step to release.
        takes_over: Index of the event where the step releases what the one before it left; None where it does not.
    """

    length: int
    events: array[int]
    marks: tuple[tuple[int, str], ...]
    tail: int
    before_tail: int
    allocations: int
    left: tuple[int, ...]
    takes_over: int | None = None


def relative(trace: Trace, length: int, loaded: int, following: Trace | None = None) -> Step:
    """A recorded step, freed from its place in the recording.

    Args:
        trace: The step.
        length: Tokens each row was padded to.
        loaded: Allocations of loading; those of other steps are not this step's to release.
        following: The trace after it, where part of what the step leaves stays for good, as the optimizer's states do.
    """
    events = array("q")
    allocations = 0
    live: set[int] = set()
    marks: list[tuple[int, str]] = []
    waiting = list(trace.marks)
    before_tail, tail = -1, -1
    takes_over: int | None = None
    for index, event in enumerate(trace.events):
        while waiting and waiting[0][0] <= index:
            name = waiting.pop(0)[1]
            marks.append((len(events), name))
            if name == "optimizer":
                before_tail, tail = allocations, len(events)
        if event > 0:
            events.append(event)
            live.add(allocations)
            allocations += 1
        else:
            local = -event - 1 - trace.first_id
            if local >= 0:
                events.append(-local - 1)
                live.discard(local)
            elif trace.first_id + local < loaded:
                events.append(-(_EARLIER + trace.first_id + local) - 1)
            elif takes_over is None:
                takes_over = len(events)
    if tail < 0:
        before_tail, tail = allocations, len(events)
    if following is not None:
        live &= {-event - 1 - trace.first_id for event in following.events if event <= 0}
    return Step(length, events, tuple(marks), tail, before_tail, allocations, tuple(sorted(live)), takes_over)


@dataclass(slots=True)
class Film:
    """A run being put together.

    Attributes:
        events: Everything so far, as `engine.fit.allocator_replay.replay` takes it.
        cuts: Where phases begin.
        names: Which phase each stretch between cuts is; the first before any cut.
        allocated: Allocations so far.
        empties: Where the training loop empties the allocator's cache.
    """

    events: array[int] = field(default_factory=lambda: array("q"))
    cuts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: ["load"])
    allocated: int = 0
    empties: set[int] = field(default_factory=set)

    def start(self, trace: Trace) -> None:
        """Loading, with the identities it was recorded with."""
        self.events.extend(trace.events)
        self.allocated = trace.allocations
        for at, name in trace.marks:
            if at:
                self.cuts.append(at)
                self.names.append(name)

    def hold(self, sizes: Sequence[int]) -> None:
        """Allocations that stay for the whole run."""
        self.cuts.append(len(self.events))
        self.names.append("held")
        self.events.extend(array("q", [size for size in sizes if size > 0]))
        self.allocated += sum(size > 0 for size in sizes)

    def play(self, step: Step, start: int = 0, end: int | None = None, base: int | None = None) -> int:
        """Add a step or a part of it.

        Args:
            step: The step.
            start: First event.
            end: Last event, exclusive.
            base: Identity of the step's first allocation, where an earlier part of it was played already.

        Returns:
            That identity.
        """
        base = self.allocated if base is None else base
        end = len(step.events) if end is None else end
        for at, name in step.marks:
            if start <= at < end:
                self.cuts.append(len(self.events) + at - start)
                self.names.append(name)
        add = self.events.append
        made = 0
        for event in step.events[start:end]:
            if event > 0:
                add(event)
                made += 1
            elif event < -_EARLIER:
                add(event + _EARLIER)
            else:
                add(event - base)
        self.allocated += made
        return base

    def sections(self) -> Iterator[tuple[str, int, int]]:
        """Each phase with its first event and the one after its last."""
        bounds = [0, *self.cuts, len(self.events)]
        yield from zip(self.names, bounds, bounds[1:], strict=False)

    def drop(self, base: int, left: Sequence[int]) -> None:
        """Release what a step leaves behind but no later step releases."""
        self.events.extend(array("q", [-(base + local) - 1 for local in left]))


@dataclass(slots=True)
class Reel:
    """The recorded steps of one run.

    Attributes:
        load: Loading and everything before the first step.
        first: The first step, which makes the optimizer's states, at the longest length.
        steps: Later steps by length.
        evaluation: One evaluation batch, if there is one.
        held: Sizes of buffers beside the model, such as those of several GPUs.
        empties_cache: The training loop empties the allocator's cache between batches.
        generation: Writing the answers that a step learns from, if there are any.
    """

    load: Trace
    first: Step
    steps: dict[int, Step]
    evaluation: Step | None = None
    held: tuple[int, ...] = ()
    empties_cache: bool = False
    generation: Step | None = None
    _made: dict[int, Step] = field(default_factory=dict)

    def at(self, length: int) -> Step:
        """A step at this length, between the recorded ones where it was not recorded itself."""
        known = self.steps.get(length) or self._made.get(length)
        if known is not None:
            return known
        lengths = sorted(self.steps)
        index = bisect_left(lengths, length)
        if index == len(lengths):
            return self.steps[lengths[-1]]
        above = self.steps[lengths[index]]
        if index == 0:
            return above
        below = self.steps[lengths[index - 1]]
        made = self._made[length] = _between(below, above, length)
        return made

    def check(self) -> None:
        """Every tensor is released once at most, in every recorded step.

        Raises:
            Irregular: The few layers did not stand for all of them.
        """
        for step in (self.first, *self.steps.values()):
            gone = [event for event in step.events if event <= 0]
            made = 0
            for event in step.events:
                made += event > 0
                if event <= 0 and event >= -_EARLIER and -event - 1 >= made:
                    raise Irregular("a tensor is released before it is made")
            if len(gone) != len(set(gone)):
                raise Irregular("a tensor is released twice")

    def run(self, lengths: Sequence[int]) -> Film:
        """A run whose batches have these lengths, in this order."""
        film = Film()
        film.start(self.load)
        if self.held:
            film.hold(self.held)
        if self.evaluation is not None:
            film.drop(film.play(self.evaluation), self.evaluation.left)
        opening = self.at(lengths[0])
        if opening.before_tail == self.first.before_tail and opening.tail == self.first.tail:
            base = film.play(opening, end=opening.tail)
            film.play(self.first, start=self.first.tail, base=base)
        else:
            base = film.play(self.first)
        left = self.first.left
        for length in lengths[1:]:
            step = self.at(length)
            if self.generation is not None:
                film.drop(film.play(self.generation), self.generation.left)
            if self.empties_cache:
                film.empties.add(len(film.events))
            before, old = base, left
            base = film.play(step, end=step.takes_over or 0)
            film.drop(before, old)
            film.play(step, start=step.takes_over or 0, base=base)
            left = step.left
        film.drop(base, left)
        if self.evaluation is not None:
            film.drop(film.play(self.evaluation), self.evaluation.left)
        return film


def _between(below: Step, above: Step, length: int) -> Step:
    """Sizes grow in a straight line between two recorded lengths that do the same things in the same order."""
    if len(below.events) != len(above.events):
        return above
    share = (length - below.length) / (above.length - below.length)
    events = array("q")
    for small, large in zip(below.events, above.events, strict=True):
        if (small > 0) != (large > 0) or (small <= 0 and small != large):
            return above
        events.append(round(small + share * (large - small)) if small > 0 else large)
    return Step(
        length,
        events,
        above.marks,
        above.tail,
        above.before_tail,
        above.allocations,
        above.left,
        above.takes_over if above.takes_over == below.takes_over else None,
    )


def anchors(lengths: Sequence[int], longest: int, batch: int, most: int = 4) -> tuple[int, ...]:
    """Which lengths to record, so that the others lie between them.

    Args:
        lengths: Every length that occurs.
        longest: The heaviest one; always recorded.
        batch: Rows of a batch; TRL's loss works in tiles of 4096 tokens, so sizes bend there.
        most: How many at most.
    """
    occurring = sorted({min(length, longest) for length in lengths} - {longest})
    if len(occurring) < most:
        return (longest, *reversed(occurring))
    bend = 4096 // batch + 1
    wanted = {longest, occurring[0]}
    if occurring[0] < bend < longest:
        wanted.add(bend)
    for share in (0.5, 0.8, 0.25):
        if len(wanted) >= most:
            break
        wanted.add(occurring[int(share * (len(occurring) - 1))])
    return tuple(sorted(wanted, reverse=True))


def orders(
    lengths: Sequence[int],
    longest: int,
    steps: int,
    seeds: Sequence[int],
    epochs: Sequence[Sequence[int]] = (),
) -> list[tuple[int, ...]]:
    """Orders of batches to replay: the longest first, and as the data come, with the longest somewhere among them.

    Args:
        lengths: Lengths of the batches of the dataset, in any order; empty when all are alike.
        longest: The heaviest length.
        steps: Batches to replay in each order.
        seeds: One shuffled order a seed, where the real ones are not known.
        epochs: The real orders.
    """
    if not lengths or set(lengths) == {longest}:
        return [(longest,) * max(2, min(steps, 3))]
    result: list[tuple[int, ...]] = [(longest, *sorted(lengths, reverse=True)[: steps - 1])]
    if epochs:
        return [*result, *(around_longest(epoch, steps) for epoch in epochs)]
    for seed in seeds:
        source = random.Random(seed)
        drawn = source.choices(list(lengths), k=steps - 1)
        drawn.insert(source.randrange(steps), longest)
        result.append(tuple(drawn))
    return result
