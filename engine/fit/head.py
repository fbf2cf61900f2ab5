"""From the last layer to the loss and back: where large vocabularies cost most.

Each way to compute the loss is written in the order of its code; the names are those in the stack profiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import UserError
from engine.fit.maker import GRADIENTS, Maker, Tensor
from engine.fit.norms import norm
from engine.fit.tape import Value

LOGITS = "logits and loss"
_TRL_TOKENS = 4096  # trl/kernels/chunked_logprob.py TOKEN_CHUNK_SIZE
_TRL_VOCAB = 32768  # trl/trainer/utils.py _CHUNKED_LOGPROB_CHUNK_SIZE


@dataclass(slots=True)
class Head:
    """Writes the last normalisation, the head and the loss on the layers' tape."""

    maker: Maker

    def forward(self, x: Tensor, loss: str) -> tuple[Value, list[Value]]:
        """Everything behind the last layer; ``x`` is released as soon as it is normalised.

        Returns:
            The loss, and what the training loop still holds when the backward pass starts.
        """
        maker, plan = self.maker, self.maker.plan
        # `engine.train.tuning.freeze` trains the norm after the last layer, too.
        hidden = norm(maker.of_layer(not plan.adapts), x, plan.architecture.hidden, 1)
        maker.tape.release(x.value)
        return LOSSES[loss](self, hidden)

    @property
    def _rows(self) -> int:
        return self.maker.tokens

    @property
    def _shifted(self) -> int:
        return max(1, self.maker.tokens - self.maker.plan.setup.batch)

    @property
    def _vocab(self) -> int:
        return self.maker.plan.architecture.vocab

    @property
    def _trained(self) -> int:
        plan = self.maker.plan
        return plan.gathered if plan.full else plan.adapter

    def _logits(self, hidden: Tensor) -> Tensor:
        """The head: a linear in 16 bits; scaled or capped logits are a copy."""
        maker, plan, tape = self.maker, self.maker.plan, self.maker.tape
        arch, element = plan.architecture, plan.compute if plan.setup.autocast else hidden.element
        source = hidden.value
        if element != hidden.element:
            source = tape.operation([(hidden.value, "new")], self._rows * arch.hidden * element, LOGITS)
        trained = plan.full or "lm_head" in plan.setup.modules_to_save
        weight = self._vocab * arch.hidden
        copy = (
            weight * element if trained and plan.setup.autocast and plan.base == 4 and not plan.sharded else 0
        )
        held = tape.new(copy, "16-bit copies of weights")
        value = tape.operation(
            [(source, "new")],
            self._rows * self._vocab * element,
            LOGITS,
            [*((source.buffer,) if trained else ()), *((held,) if copy else ())],
            weights=((weight * self._trained, GRADIENTS),) if trained and not maker.accumulating else (),
            after=(weight * element,) if trained and maker.accumulating else (),
            trained=trained,
        )
        tape.drop(held)
        if source is not hidden.value:
            tape.release(source)
        for _ in range(self._copies()):
            scaled = tape.operation([(value, "new")], self._rows * self._vocab * element, LOGITS)
            tape.release(value)
            value = scaled
        return Tensor(value, element)

    def _copies(self) -> int:
        return 1 if self.maker.plan.architecture.scaled_logits else 0

    def _float(self, logits: Tensor) -> Value:
        if logits.element == 4:
            self.maker.tape.hold(logits.value.buffer)
            return logits.value
        return self.maker.tape.operation([(logits.value, "new")], 4 * self._rows * self._vocab, LOGITS)

    def _shift(self, logits: Value, element: int = 4) -> Value:
        return self.maker.tape.operation([(logits, "new")], element * self._shifted * self._vocab, LOGITS)

    def _cross_entropy(self, logits: Value, rows: int, element: int = 4) -> Value:
        # log_softmax keeps its result; backward: the gradient of the picked entries, then that of log_softmax.
        tape = self.maker.tape
        size = element * rows * self._vocab
        kept = tape.new(size, LOGITS)
        loss = tape.operation([(logits, "new")], 4, LOGITS, [kept], before=(size,))
        tape.drop(kept)
        return loss

    def _model_float_shift(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        tape = self.maker.tape
        logits = self._logits(hidden)
        wide = self._float(logits)
        tape.release(logits.value)
        shifted = self._shift(wide)
        loss = self._cross_entropy(shifted, self._shifted)
        tape.release(shifted)
        return loss, [wide, hidden.value]

    def _narrow_shift(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        tape = self.maker.tape
        logits = self._logits(hidden)
        shifted = self._shift(logits.value, logits.element)
        wide, element = shifted, logits.element
        if self.maker.plan.setup.autocast and element != 4:  # autocast_mode.h: log_softmax runs in float32
            wide, element = tape.operation([(shifted, "new")], 4 * self._shifted * self._vocab, LOGITS), 4
        loss = self._cross_entropy(wide, self._shifted, element)
        tape.release(shifted)
        if wide is not shifted:
            tape.release(wide)
        return loss, [logits.value, hidden.value]

    def _float_shift(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        tape = self.maker.tape
        logits = self._logits(hidden)
        wide = self._float(logits)
        shifted = self._shift(wide)
        loss = self._cross_entropy(shifted, self._shifted)
        tape.release(shifted, wide)
        return loss, [logits.value, hidden.value]

    def _upcast(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        tape = self.maker.tape
        logits = self._logits(hidden)
        wide = self._float(logits)
        loss = self._cross_entropy(wide, self._rows)
        tape.release(wide)
        return loss, [logits.value, hidden.value]

    def _inplace(self, hidden: Tensor, keeps_narrow: bool) -> tuple[Value, list[Value]]:
        # The kernel writes the gradient over the shifted logits it was given.
        tape = self.maker.tape
        logits = self._logits(hidden)
        wide = self._float(logits)
        if not keeps_narrow:
            tape.release(logits.value)
        shifted = self._shift(wide)
        loss = tape.operation([(shifted, "kept")], 4 * self._rows, LOGITS, [shifted.buffer], grad_size=4)
        tape.release(shifted)
        if keeps_narrow:
            tape.release(wide)
            return loss, [logits.value, hidden.value]
        return loss, [wide, hidden.value]

    def _model_float_inplace(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        return self._inplace(hidden, keeps_narrow=False)

    def _float_inplace(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        return self._inplace(hidden, keeps_narrow=True)

    def _trl_fused(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        # trl add_fused_lm_head: the positions with a label are picked out, then projected tile by tile.
        maker, plan, tape = self.maker, self.maker.plan, self.maker.tape
        rows, width = self._shifted, plan.architecture.hidden
        compute = plan.compute if plan.setup.autocast else hidden.element
        picked = tape.operation([(hidden.value, "new")], rows * width * hidden.element, LOGITS)
        tile = min(rows, _TRL_TOKENS) * _TRL_VOCAB * compute
        statistics = [tape.new(4 * rows, LOGITS) for _ in range(9)]
        cast = min(rows, _TRL_TOKENS) * width * compute if compute != hidden.element else 0
        tape.pulse(tile, cast, kind=LOGITS)
        trained = plan.full or "lm_head" in plan.setup.modules_to_save
        weight = self._vocab * width
        weights: tuple[tuple[int, str], ...] = ()
        if trained and not maker.accumulating:
            weights = ((weight * self._trained, GRADIENTS),)
        loss = tape.operation(
            [(picked, "new")],
            4 * rows,
            LOGITS,
            [picked.buffer, *statistics[:3]],
            grad_size=4 * rows,
            before=(4 * rows * width, 4 * weight if trained else 0, tile, cast),
            after=(weight * self._trained,) if trained and maker.accumulating else (),
            weights=weights,
            trained=trained,
        )
        tape.release(picked)
        for buffer in statistics:
            tape.drop(buffer)
        return loss, [hidden.value]

    def _liger(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        # liger_kernel/ops/fused_linear_cross_entropy.py: gradients are computed in the forward pass, chunk by chunk.
        maker, plan, tape = self.maker, self.maker.plan, self.maker.tape
        width, vocab, rows = plan.architecture.hidden, self._vocab, self._rows
        compute = plan.compute if plan.setup.autocast else hidden.element
        pieces = -(-vocab // width)
        chunk = min(rows, 1 << max(0, -(-rows // pieces) - 1).bit_length())
        trained = plan.full or "lm_head" in plan.setup.modules_to_save
        shifted = tape.operation([(hidden.value, "new")], rows * width * compute, LOGITS)
        grad = tape.new(rows * width * compute, LOGITS)
        weight = tape.new(vocab * width * compute if trained else 0, GRADIENTS)
        tape.pulse(
            chunk * vocab * compute, chunk * vocab * 4, vocab * width * compute if trained else 0, kind=LOGITS
        )
        loss = tape.operation(
            [(shifted, "kept")],
            4 * rows,
            LOGITS,
            [grad, weight],
            weights=((vocab * width * self._trained, GRADIENTS),)
            if trained and not maker.accumulating
            else (),
            trained=trained,
        )
        tape.drop(grad)
        tape.drop(weight)
        tape.release(shifted)
        return loss, [hidden.value]

    def _chunks(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        # LitGPT: the head in chunks of 128 rows; logits and log_softmax results of all chunks stay, in 16 bits, and a
        # quantized head is dequantized for every chunk, forward and backward.
        tape, plan = self.maker.tape, self.maker.plan
        logits = self._logits(hidden)
        head = next(linear for linear in plan.architecture.linears if linear.part == "head")
        if plan.is_quantized(head):
            operation = tape.operations[-1]
            operation.before = (*operation.before, plan.dequantized(head))
        loss = self._cross_entropy(logits.value, self._rows, logits.element)
        operation = tape.operations[-1]
        operation.before = (self._vocab * 128 * plan.setup.batch * logits.element,)
        return loss, [hidden.value, logits.value]

    def _eighths(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        # torchtune CEWithChunkedOutputLoss: 16-bit logits in eight chunks, each in float32 by itself; the gradient of
        # each chunk goes on to the head at once.
        tape = self.maker.tape
        logits = self._logits(hidden)
        logits.value.grad_size //= 8
        piece = -(-4 * self._rows * self._vocab // 8)
        tape.pulse(piece, piece, kind=LOGITS)
        loss = tape.operation(
            [(logits.value, "new")], 4, LOGITS, [logits.value.buffer], before=(piece, piece)
        )
        tape.release(logits.value)
        return loss, [hidden.value]

    def _model_float(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        tape = self.maker.tape
        logits = self._logits(hidden)
        wide = self._float(logits)
        tape.release(logits.value)
        loss = self._cross_entropy(wide, self._rows)
        tape.release(wide)
        return loss, [hidden.value]

    def _orpo(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        # trl/experimental/orpo concatenated_forward: all logits in float32, as accelerate returns them; the better answers'
        # cross entropy from a contiguous copy, then log-probabilities of all (trl/kernels/logprob_entropy.py).
        tape = self.maker.tape
        logits = self._logits(hidden)
        wide = self._float(logits)
        tape.release(logits.value)
        rows, shifted = self._rows // 2, self._shifted // 2
        better = tape.operation(
            [(wide, "new")], 0, LOGITS, shares=wide.buffer, grad_size=4 * rows * self._vocab
        )
        copy = self._shift_of(better, shifted)
        imitation = self._cross_entropy(copy, shifted)
        tape.release(copy, better)
        size = 4 * self._shifted * self._vocab
        every = tape.operation([(wide, "new")], 0, LOGITS, shares=wide.buffer, grad_size=size)
        chances = tape.operation([(every, "new")], 4 * self._shifted, LOGITS, [wide.buffer])
        tape.release(every, wide)
        loss = tape.operation([(imitation, "new"), (chances, "new")], 4, LOGITS)
        tape.release(imitation, chances)
        return loss, [hidden.value]

    def _shift_of(self, logits: Value, rows: int) -> Value:
        return self.maker.tape.operation([(logits, "new")], 4 * rows * self._vocab, LOGITS)

    def _score(self, hidden: Tensor) -> tuple[Value, list[Value]]:
        # transformers modeling_layers.py GenericForSequenceClassification: one number a token, of which the last counts.
        tape = self.maker.tape
        scores = tape.operation(
            [(hidden.value, "new")], self._rows * hidden.element, LOGITS, [hidden.value.buffer]
        )
        loss = tape.operation([(scores, "new")], 4 * self.maker.plan.setup.batch, LOGITS)
        tape.release(scores)
        return loss, [hidden.value]


LOSSES: dict[str, Callable[[Head, Tensor], tuple[Value, list[Value]]]] = {
    "model_float_shift": Head._model_float_shift,
    "float_shift": Head._float_shift,
    "shift": Head._narrow_shift,
    "upcast": Head._upcast,
    "model_float": Head._model_float,
    "eighths": Head._eighths,
    "model_float_inplace": Head._model_float_inplace,
    "float_inplace": Head._float_inplace,
    "trl_fused": Head._trl_fused,
    "liger": Head._liger,
    "chunks": Head._chunks,
    "orpo": Head._orpo,
    "score": Head._score,
}


def check_loss(name: str) -> str:
    """The name itself, if it is one of the ways to compute the loss.

    Raises:
        UserError: It is not.
    """
    if name not in LOSSES:
        raise UserError(
            f"Unknown way to compute the loss: {name}.", "loss", f"Choose from {', '.join(LOSSES)}."
        )
    return name
