"""What an adapter does to each weight, as a change that can be applied to some rows at a time, in float32.

PEFT merges a whole layer in the number format of the base, which rounds twice and needs the layer several times over. These are
the same formulas, row by row; whatever is not among them is left to PEFT itself, a layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Change(Protocol):
    """What happens to a weight.

    Attributes:
        whole: It needs all rows at once.
    """

    whole: bool

    def apply(self, start: int, rows: Any) -> Any:
        """New rows for the given ones.

        Args:
            start: Number of the first row.
            rows: Shape (rows, ...), float32; may be changed in place.

        Returns:
            The same shape, float32.
        """

    def same_as(self, other: Change) -> bool:
        """Whether the other one does the same to the same weight."""


class LowRank:
    """``W + scaling * B @ A``, of a linear layer or an embedding.

    Args:
        left: Shape (rows of W, rank), float32.
        right: Shape (rank, columns of W), float32.
        scaling: Strength of the adapter.
        magnitude: DoRA's length of each row of W, shape (rows of W); None for plain LoRA.
    """

    whole = False

    def __init__(self, left: Any, right: Any, scaling: float, magnitude: Any = None) -> None:
        self.left, self.right, self.scaling, self.magnitude = left, right, scaling, magnitude

    def apply(self, start: int, rows: Any) -> Any:
        import torch

        stop = start + rows.shape[0]
        rows.addmm_(self.left[start:stop], self.right, alpha=self.scaling)
        if self.magnitude is not None:
            length = torch.linalg.vector_norm(rows, dim=1)
            rows.mul_((self.magnitude[start:stop] / length)[:, None])
        return rows

    def same_as(self, other: Change) -> bool:
        return isinstance(other, LowRank) and other.left is self.left and other.right is self.right


class Experts:
    """As `LowRank`, for a weight that holds one matrix for each expert: shape (experts, ., .).

    Args:
        left: Shape (experts, rows, rank), float32.
        right: Shape (experts, rank, columns), float32.
        scaling: Strength of the adapter.
    """

    whole = False

    def __init__(self, left: Any, right: Any, scaling: float) -> None:
        self.left, self.right, self.scaling = left, right, scaling

    def apply(self, start: int, rows: Any) -> Any:
        stop = start + rows.shape[0]
        return rows.baddbmm_(self.left[start:stop], self.right[start:stop], alpha=self.scaling)

    def same_as(self, other: Change) -> bool:
        return other is self


class Rows:
    """Some rows learnt whole: those of new tokens.

    Args:
        numbers: Which rows.
        values: Shape (numbers, columns), float32.
    """

    whole = False

    def __init__(self, numbers: list[int], values: Any) -> None:
        self.numbers, self.values = numbers, values

    def apply(self, start: int, rows: Any) -> Any:
        for number, value in zip(self.numbers, self.values, strict=True):
            if start <= number < start + rows.shape[0]:
                rows[number - start] = value
        return rows

    def same_as(self, other: Change) -> bool:
        return isinstance(other, Rows) and other.numbers == self.numbers and other.values is self.values


class Instead:
    """The whole weight was learnt beside the adapter; the one of the base does not matter."""

    whole = False

    def __init__(self, value: Any) -> None:
        self.value = value

    def apply(self, start: int, rows: Any) -> Any:
        return self.value[start : start + rows.shape[0]].float()

    def same_as(self, other: Change) -> bool:
        return isinstance(other, Instead) and other.value is self.value


class Added:
    """A learnt bias is added."""

    whole = False

    def __init__(self, value: Any) -> None:
        self.value = value

    def apply(self, start: int, rows: Any) -> Any:
        return rows + self.value[start : start + rows.shape[0]]

    def same_as(self, other: Change) -> bool:
        return other is self


class ByPeft:
    """A kind of adapter that is not spelt out here: PEFT merges the whole layer, in float32."""

    whole = True

    def __init__(self, layer: Any, parameter: str) -> None:
        self._layer, self._parameter = layer, parameter

    def apply(self, start: int, rows: Any) -> Any:
        import torch

        base = self._layer.get_base_layer()
        before = getattr(base, self._parameter)
        bias = getattr(base, "bias", None)
        setattr(base, self._parameter, torch.nn.Parameter(rows, requires_grad=False))
        if bias is not None:
            base.bias = torch.nn.Parameter(torch.zeros(bias.shape), requires_grad=False)
        try:
            self._layer.merge()
            return getattr(base, self._parameter).data.float()
        finally:
            self._layer.merged_adapters.clear()
            setattr(base, self._parameter, before)
            if bias is not None:
                base.bias = bias

    def same_as(self, other: Change) -> bool:
        return other is self


def changes_of(model: Any, names: dict[int, str]) -> dict[str, list[Change]]:
    """What the adapter of a PEFT model does, by the name of the weight in the model without adapter.

    Args:
        model: A PeftModel whose base is on the meta device and whose adapter is loaded.
        names: ``id(module)`` of every module of the base to its name, as they were before the adapter was attached.

    Raises:
        LookupError: A wrapper of PEFT's that is not known here.
    """
    from peft.tuners.lora.layer import LoraLayer
    from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

    found: dict[str, list[Change]] = {}
    for module in model.modules():
        changes: Iterator[tuple[Any, str, Change]] = iter(())
        if isinstance(module, ModulesToSaveWrapper):
            changes = _saved(module)
        elif isinstance(module, TrainableTokensWrapper):
            changes = _tokens(module)
        elif isinstance(module, LoraLayer):
            changes = _lora(module)
        for base, parameter, change in changes:
            if id(base) not in names:
                raise LookupError(type(base).__name__)
            name = ".".join(filter(None, (names[id(base)], parameter)))
            found.setdefault(name, []).append(change)
    return found


def _saved(wrapper: Any) -> Iterator[tuple[Any, str, Change]]:
    learnt = wrapper.modules_to_save[wrapper.active_adapters[0]]
    for name, value in learnt.state_dict().items():
        yield wrapper.original_module, name, Instead(value)


def _tokens(wrapper: Any) -> Iterator[tuple[Any, str, Change]]:
    layer = wrapper.token_adapter
    for adapter in layer.active_adapters:
        # A head that shares the embedding's weight shares the learnt rows, too: `same_as` sees it by the tensor.
        values = layer.trainable_tokens_delta[adapter].data
        yield layer.get_base_layer(), "weight", Rows(list(layer.token_indices[adapter]), values)


def _lora(layer: Any) -> Iterator[tuple[Any, str, Change]]:
    from peft.tuners.lora.layer import Embedding, Linear, ParamWrapper

    base = layer.get_base_layer()
    for adapter in layer.active_adapters:
        if adapter in getattr(layer, "lora_embedding_A", {}):
            if layer.lora_variant.get(adapter) is not None or not isinstance(layer, Embedding):
                yield base, "weight", ByPeft(layer, "weight")
                continue
            left, right = layer.lora_embedding_A[adapter].data.T, layer.lora_embedding_B[adapter].data.T
            yield base, "weight", LowRank(left.float(), right.float(), layer.scaling[adapter])
            continue
        if adapter not in layer.lora_A:
            continue
        scaling = layer.scaling[adapter]
        if isinstance(layer, ParamWrapper):
            yield base, layer.parameter_name, _of_parameter(layer, adapter, scaling)
        else:
            variant = layer.lora_variant.get(adapter) if hasattr(layer, "lora_variant") else None
            dora = variant is not None and type(variant).__name__ == "DoraLinearVariant"
            turned = bool(getattr(layer, "fan_in_fan_out", False))
            if type(layer) is not Linear or (variant is not None and (not dora or turned)):
                yield base, "weight", ByPeft(layer, "weight")
            else:
                a, b = layer.lora_A[adapter].weight.data.float(), layer.lora_B[adapter].weight.data.float()
                magnitude = layer.lora_magnitude_vector[adapter].weight.data.float() if dora else None
                left, right = (a.T, b.T) if turned else (b, a)
                yield base, "weight", LowRank(left, right, scaling, magnitude)
        if layer.lora_bias[adapter]:
            yield base, "bias", Added(layer.lora_B[adapter].bias.data.float() * scaling)


def _of_parameter(layer: Any, adapter: str, scaling: float) -> Change:
    """The change of a weight that is adapted as such, without a layer of its own: as PEFT's `ParamWrapper` has it."""
    a, b = layer.lora_A[adapter].weight.data.float(), layer.lora_B[adapter].weight.data.float()
    if layer.num_experts == 1:
        return LowRank(b, a, scaling)
    a = a.reshape(layer.num_experts, -1, a.shape[-1])  # (experts, rank, in)
    b = b.reshape(b.shape[0], -1, layer.num_experts).permute(2, 0, 1)  # (experts, out, rank)
    if layer._did_swap_in_out_features:
        return Experts(b, a, scaling)
    return Experts(a.transpose(-2, -1), b.transpose(-2, -1), scaling)


Piece = Callable[[int, int], Any]


def apply_all(changes: list[Change], shape: tuple[int, ...], rows_at: Piece, at_once: int) -> Iterator[Any]:
    """The changed weight, some rows at a time, in float32.

    Args:
        changes: In the order in which they apply.
        shape: Of the weight.
        rows_at: Gives the rows from a number up to another, in any number format.
        at_once: About how many numbers a piece may have.
    """
    num_rows = shape[0] if shape else 1
    numbers = 1
    for size in shape[1:]:
        numbers *= size
    step = num_rows if any(change.whole for change in changes) else max(1, at_once // max(1, numbers))
    for start in range(0, num_rows, max(1, step)):
        rows = rows_at(start, min(num_rows, start + step)).float()
        for change in changes:
            rows = change.apply(start, rows)
        yield rows
