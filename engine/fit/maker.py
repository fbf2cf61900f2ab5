"""What every piece of a layer is written with: tensors on a tape, and the names of the parts they belong to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.fit.plan import Plan
from engine.fit.tape import Tape, Value

KEPT = "activations kept for the backward pass"
CHECKPOINTS = "layer inputs kept for recomputing"
GRADIENTS = "gradients"
ADAPTER = "inputs of the adapters"
NORMS = "normalisations in float32"
ATTENTION = "attention"
FEED_FORWARD = "feed-forward part"
STREAM = "residual stream"
TEMPORARY = "temporary"
DEQUANTIZED = "dequantized weights"
EXPERTS = "experts"


@dataclass(slots=True)
class Tensor:
    """A value with the width of its elements in bytes."""

    value: Value
    element: int


@dataclass(slots=True)
class Maker:
    """Writes operations of one run on a tape.

    Attributes:
        tape: Where they are written.
        plan: The run.
        accumulating: Gradients of weights are there already, and new ones are added to them.
    """

    tape: Tape
    plan: Plan
    accumulating: bool = False

    def of_layer(self, trained: bool) -> Maker:
        """The same for a layer whose weights are trained, or are not."""
        return replace(self, plan=self.plan.of_layer(trained))

    @property
    def tokens(self) -> int:
        """Tokens in flight."""
        return self.plan.setup.tokens

    def add(self, a: Tensor, b: Tensor, elements: int, kind: str) -> Tensor:
        """A sum keeps nothing; its gradient goes on as it is, or cast where the formats differ."""
        element = max(a.element, b.element)
        value = self.tape.operation(
            [
                (a.value, "same" if a.element == element else "new"),
                (b.value, "same" if b.element == element else "new"),
            ],
            elements * element,
            kind,
        )
        return Tensor(value, element)

    def view(self, joined: Tensor, width: int) -> Tensor:
        """A part of a tensor; the whole stays alive with it, and the backward pass puts the parts together again."""
        size = self.tokens * width * joined.element
        value = self.tape.operation(
            [(joined.value, "new")], 0, joined.value.buffer.kind, shares=joined.value.buffer, grad_size=size
        )
        return Tensor(value, joined.element)

    def replaced(self, old: Tensor, new: Tensor) -> Tensor:
        """The new tensor under the old one's name."""
        self.tape.release(old.value)
        return new

    def gradients(self, elements: int) -> tuple[tuple[int, str], ...]:
        """Gradients of this many trained elements, unless they are there already."""
        if self.accumulating:
            return ()
        return ((elements * (self.plan.gathered if self.plan.full else self.plan.adapter), GRADIENTS),)
