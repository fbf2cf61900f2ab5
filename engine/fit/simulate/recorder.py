"""Writes down every allocation and release of a step that runs on meta tensors, in order and with sizes."""

from __future__ import annotations

import functools
import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._C._autograd import _get_sequence_nr
from torch.utils._python_dispatch import TorchDispatchMode

from engine.fit.simulate.trace import OUTSIDE, Recording

aten = torch.ops.aten
Kernel = Callable[..., Any]

# Device values that the host reads: a simulated step has none, so the kernels of `numbers` answer.
_READ = aten._local_scalar_dense.default
_COPY = aten._to_copy.default
_ADD = aten.add.Tensor


class Recorder(TorchDispatchMode):
    """Sees every operator below autograd and notes the storages it makes and, through weak references, drops.

    Args:
        kernels: For operators whose real kernel makes more than its result: a function with the same arguments
            that makes the same tensors in the same order.
        device: Tensors of this device count; the others are host memory.
    """

    def __init__(self, kernels: Mapping[Any, Kernel] | None = None, device: str = "meta") -> None:
        super().__init__()
        self.kernels = dict(kernels or {})
        self.device = device
        self.unknown: Counter[str] = Counter()
        self.operators = 0
        self.layer = OUTSIDE
        self.by_owner = False
        self._recording = Recording()
        self._live: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._owners: dict[int, int] = {}
        self._starts: list[int] = []
        self._layers: list[int] = []
        self._watching_backward = False
        self._after_layers = False
        self._forward_end = 0
        self._alone = (0, 0)
        self._alone = self._calibrate()

    def take(self) -> Recording:
        """What was recorded since the last call; identities go on counting."""
        done = self._recording
        self._recording = Recording(first_id=done.first_id + done.allocations)
        return done

    def mark(self, name: str) -> None:
        """Begin a phase."""
        self._recording.mark(name)

    def enter_layer(self, layer: int) -> None:
        """What follows belongs to this layer, in the forward pass and, by autograd's numbers, in the backward pass."""
        self.layer = layer
        if torch.is_grad_enabled():
            self._starts.append(_get_sequence_nr())
            self._layers.append(layer)

    def leave_layers(self) -> None:
        """The layers are through; what follows, the loss above all, goes with the last of them."""
        self._after_layers = True
        self.mark("loss")

    def forward_begins(self) -> None:
        """Forget which autograd nodes belong to which layer."""
        self._starts.clear()
        self._layers.clear()
        self._watching_backward = self._after_layers = False
        self.layer = OUTSIDE

    def backward_begins(self) -> None:
        """From now on the running autograd node says which layer it is."""
        self._watching_backward, self._after_layers = True, False
        self._forward_end = _get_sequence_nr()

    def backward_ends(self) -> None:
        """The layer is no longer known from autograd."""
        self._watching_backward = False
        self.layer = OUTSIDE

    def own(self, tensor: torch.Tensor, layer: int) -> None:
        """Work on this tensor outside the passes (optimizer, clipping) belongs to the layer."""
        self._owners[tensor.untyped_storage()._cdata] = layer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.operators += 1
        kwargs = kwargs or {}
        if self._watching_backward:
            self._follow_backward()
            if func is _ADD and not torch.is_grad_enabled() and self._accumulates(args):
                return args[0].add_(args[1])
        elif self._after_layers:
            self._follow_owner(args)
        return self._run(func, args, kwargs)

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        kernel = self.kernels.get(func)
        if kernel is not None:
            with self:
                made = kernel(*args, **kwargs)
            if made is not NotImplemented:
                return made
        if func is _READ and args[0].device.type == self.device:
            return _number(args[0])
        if func is _COPY and _leaves_device(args, kwargs):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        try:
            result = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as error:
            # torch.library reports a custom operator without a fake kernel as a RuntimeError.
            if not isinstance(error, NotImplementedError) and "no fake impl" not in str(error):
                raise
            self.unknown[str(func)] += 1
            result = _guess(func, args)
        self._note(result, args)
        return result

    def _follow_owner(self, args: Sequence[Any]) -> None:
        """After the layers: work on what a layer made belongs to it, such as its router scores in an auxiliary loss."""
        if not args or not isinstance(args[0], torch.Tensor):
            return
        owner = self._owners.get(args[0].untyped_storage()._cdata, OUTSIDE)
        if owner in (OUTSIDE, self.layer):
            return
        if torch.is_grad_enabled():
            # The autograd node of this operator has just been made.
            self._starts.append(_get_sequence_nr() - 1)
            self._layers.append(owner)
        self.layer = owner

    def _accumulates(self, args: Sequence[Any]) -> bool:
        """Whether autograd's engine would add this gradient in place.

        ``can_accumulate_inplace`` in accumulate_grad.h refuses while a dispatch mode is on, so that a recorded step would
        need a tensor more than a real one wherever two gradients meet. The rule is applied here instead: same layout, and
        nobody else holds the first gradient.
        """
        first, second = args[0], args[1]
        if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
            return False
        if len(args) > 2 or first.shape != second.shape or first.dtype != second.dtype:
            return False
        return self._holders(first) == self._alone

    def _holders(self, tensor: torch.Tensor) -> tuple[int, int]:
        storage = tensor.untyped_storage()
        return tensor._use_count(), torch._C._storage_Use_Count(storage._cdata)

    def _calibrate(self) -> tuple[int, int]:
        """How many holders a gradient has that only the engine holds, seen from a dispatch mode."""
        holders = self._holders
        seen: list[tuple[int, int]] = []

        class Probe(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if func is _ADD and not torch.is_grad_enabled():
                    seen.append(holders(args[0]))
                return func(*args, **(kwargs or {}))

        leaf = torch.empty(1, device=self.device, requires_grad=True)
        middle = leaf * 2
        result = middle.exp() * middle.sin()
        with Probe():
            result.backward()
        return seen[-1] if seen else (0, 0)

    def _follow_backward(self) -> None:
        node = torch._C._current_autograd_node()
        if node is None:
            return
        number = node._sequence_nr()
        # AccumulateGrad runs right after the node that made the gradient, and reentrant checkpointing makes new nodes
        # while it computes a layer again: both belong to the layer at work.
        if number >= self._forward_end or not self._starts:
            return
        at = bisect_right(self._starts, number) - 1
        self.layer = self._layers[at] if at >= 0 else OUTSIDE

    def _note(self, result: Any, args: Sequence[Any]) -> None:
        if isinstance(result, torch.Tensor):
            self._see(result, args)
        elif isinstance(result, tuple | list):
            # A foreach operator makes one result for each of its inputs.
            first = args[0] if args and isinstance(args[0], tuple | list) else ()
            aligned = self.by_owner and len(first) == len(result)
            for index, item in enumerate(result):
                self._note(item, (first[index],) if aligned else args)

    def _owner(self, args: Sequence[Any]) -> int:
        for argument in args:
            if isinstance(argument, torch.Tensor):
                owner = self._owners.get(argument.untyped_storage()._cdata)
                if owner is not None:
                    self.layer = owner
                    return owner
        # A tensor made from nothing, such as a step counter, comes with the one before it.
        return self.layer

    def _see(self, tensor: torch.Tensor, args: Sequence[Any]) -> None:
        if tensor.device.type != self.device:
            return
        layer = self._owner(args) if self.by_owner else self.layer
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._live or size <= 0 or _shares(key, args):
            return
        identity = self._recording.allocate(size, layer)
        in_layers = layer != OUTSIDE and not self._watching_backward and not self._after_layers
        if self.by_owner or in_layers:
            self._owners[key] = layer
        self._live[key] = (identity, weakref.ref(storage, functools.partial(self._dropped, key)))

    def _dropped(self, key: int, _: object) -> None:
        identity, _ = self._live.pop(key)
        self._owners.pop(key, None)
        self._recording.release(identity, self.layer)


def _shares(key: int, args: Sequence[Any]) -> bool:
    """Whether a result is a view of an argument that was there before the recording."""
    return any(isinstance(item, torch.Tensor) and item.untyped_storage()._cdata == key for item in args)


def _number(tensor: torch.Tensor) -> bool | int | float:
    if tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.is_floating_point() else 1


def _leaves_device(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == "cpu" and args[0].device.type == "meta"


def _guess(func: Any, args: Sequence[Any]) -> Any:
    """A stand-in for an unknown operator's results, each as large as its largest input."""
    tensors = [argument for argument in args if isinstance(argument, torch.Tensor)]
    if not tensors:
        raise NotImplementedError("an operator without tensors")
    largest = max(tensors, key=lambda tensor: tensor.numel() * tensor.element_size())
    made = [
        torch.empty_like(largest) if "Tensor" in str(result.type) else 1 for result in func._schema.returns
    ]
    return made[0] if len(made) == 1 else tuple(made) or None
