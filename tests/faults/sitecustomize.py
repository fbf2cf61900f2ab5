"""Breaks the trainer process on purpose. Python imports this by itself when this folder is on PYTHONPATH.

``FAULTS`` holds a JSON list such as ``[{"kind": "oom", "step": 37, "above": 4}]``. Nothing in finetui knows of it: the trainer's
own classes are patched when they are imported.

- ``oom``: memory runs out in training step ``step`` while the batch is larger than ``above`` (0: always).
- ``oom_in_evaluation``: the same in evaluation, by the evaluation batch.
- ``nan``: at step ``step`` the gradients become NaN while the learning rate is larger than ``above``.
- ``killed_at_the_end``: SIGKILL after the last step and its checkpoint, before the result is written.
- ``small_estimate``: checkpoints are thought to need nothing, so that a full disk is only noticed while writing.

``rank`` says in which of several processes; the first without it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
from types import ModuleType
from typing import Any

TARGET = "engine.train.safe_save"
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.6 GiB of which 1.1 GiB is free."
CPU = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."


class _Patcher(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            _patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _patch(module: ModuleType) -> None:
    import torch

    faults = json.loads(os.environ["FAULTS"])
    saves = module.SafeSaves  # first in the method order of every trainer

    def due(self: Any, kind: str, size: float) -> dict[str, Any] | None:
        for fault in faults:
            at = fault.get("step") in (None, self.state.global_step + 1)
            here = fault.get("rank", 0) == self.args.process_index
            if fault["kind"] == kind and at and here and size > fault.get("above", 0):
                return dict(fault)
        return None

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        at_once = getattr(self, "rows_at_once", None) or self.args.per_device_train_batch_size
        if due(self, "oom", at_once):
            raise torch.OutOfMemoryError(CUDA)
        loss = super(saves, self).training_step(*args, **kwargs)
        if due(self, "nan", self.args.learning_rate):
            for weight in self.model.parameters():
                if weight.grad is not None:
                    weight.grad.fill_(float("nan"))
        return loss

    def prediction_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if due(self, "oom_in_evaluation", self.args.per_device_eval_batch_size):
            raise RuntimeError(CPU)
        return super(saves, self).prediction_step(*args, **kwargs)

    def checkpoint_bytes(self: Any) -> int:
        return 0

    result_bytes = saves.result_bytes

    def fatal_result_bytes(self: Any) -> int:
        if due(self, "killed_at_the_end", self.state.global_step):
            os.kill(os.getpid(), signal.SIGKILL)
        return int(result_bytes(self))

    saves.result_bytes = fatal_result_bytes
    if any(fault["kind"] == "small_estimate" for fault in faults):
        saves.checkpoint_bytes = checkpoint_bytes
    saves.training_step = training_step
    saves.prediction_step = prediction_step


if "FAULTS" in os.environ and "engine.train" in sys.orig_argv:
    sys.meta_path.insert(0, _Patcher())
