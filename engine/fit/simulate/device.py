"""Which device a step is simulated for. Plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Device:
    """The device that a step is simulated for.

    Attributes:
        kind: ``cuda``, or ``cpu`` to compare with a real step on this machine.
        capability: CUDA compute capability, such as ``(8, 0)``.
    """

    kind: Literal["cuda", "cpu"] = "cuda"
    capability: tuple[int, int] = (8, 0)

    @property
    def cublas_workspace(self) -> int:
        """Bytes of workspace a cuBLAS handle gets (``getChosenWorkspaceSize`` in CublasHandlePool.cpp)."""
        if self.kind == "cpu":
            return 0
        mib = 1 << 20
        return 32 * mib if self.capability[0] >= 9 else 2 * 4 * mib + 16 * 8 * 1024
