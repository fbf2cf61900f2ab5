"""How the local Hub misbehaves. Each trouble is used up after so many matching requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Trouble:
    """What happens to a request whose path contains `match`.

    Attributes:
        match: Part of the path, such as ``/api/models/`` or ``model.safetensors``.
        times: To so many requests.
        method: Only to this method; empty is any.
        status: Answer with this error instead.
        headers: Of that answer.
        stall: Send nothing for so long (seconds), then close the connection.
        cut: Close the connection after so many bytes of the body.
        spoil: Flip a byte of the body.
        at: Call this after so many bytes of the body.
        call: What `at` calls.
        plain_ranges: Ignore the Range header.
        unsized: Leave sizes and hashes out of the list of files.
    """

    match: str
    times: int = 1
    method: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    stall: float = 0.0
    cut: int | None = None
    spoil: bool = False
    at: int | None = None
    call: Callable[[], object] | None = None
    plain_ranges: bool = False
    unsized: bool = False
