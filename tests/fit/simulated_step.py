"""The same step, simulated: recorded on meta tensors, with the kernels of a CPU or of a CUDA card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.fit.profiles import load
from engine.fit.simulate.device import Device
from engine.fit.simulate.kernels import cuda_kernels
from engine.fit.simulate.layers import Sketch
from engine.fit.simulate.model import build
from engine.fit.simulate.recorder import Recorder
from engine.fit.simulate.semantics import device_semantics
from engine.fit.simulate.stack import Stack
from engine.fit.simulate.step import Stepper
from engine.fit.simulate.trace import Recording
from engine.fit.types import TrainSetup
from tests.fit.cpu_kernels import cpu_kernels


def record(
    config: Mapping[str, Any],
    setup: TrainSetup,
    lengths: Sequence[int],
    device: Device | None = None,
    full: bool = False,
) -> tuple[list[Recording], Sketch]:
    """Loading, a step at each length, and an evaluation batch where the setup has one."""
    device = device or Device()
    stack = Stack.of(load(), setup)
    recorder = Recorder(cpu_kernels() if device.kind == "cpu" else cuda_kernels(1.0))
    padded, shared = setup.padded and setup.batch > 1, setup.lines and setup.masked
    with device_semantics(device, padded, shared=shared) as autocast:
        built = build(config, setup, stack, recorder, device, full)
        stepper = Stepper(built, setup, stack, recorder, autocast, device)
        recordings = [recorder.take(), *[stepper.train(length) for length in lengths]]
        if setup.eval_batch:
            recordings.append(stepper.evaluate(lengths[0], setup.eval_batch))
    return recordings, built.sketch


def signed_sizes(recordings: Sequence[Recording], index: int) -> list[int]:
    """One recording's allocations as sizes, negative for releases."""
    sizes: dict[int, int] = {}
    for recording in recordings[: index + 1]:
        identity = recording.first_id
        for event in recording.events:
            if event > 0:
                sizes[identity] = event
                identity += 1
    return [event if event > 0 else -sizes[-event - 1] for event in recordings[index].events]
