"""A real 4-bit multiplication through bitsandbytes, in a process of its own."""

from __future__ import annotations

import json
import sys
from typing import Any

from engine.display import printable
from engine.machine.finding import Finding

# Text and not a module, so that nothing of this program can load torch by importing it. It does what QLoRA
# does in each layer: multiply by a 4-bit weight, forward and backward, on one row and on several.
_SCRIPT = """
import json, time
started = time.perf_counter()
import torch, bitsandbytes
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
cuda = torch.cuda.is_available()
device = "cuda" if cuda else "cpu"
half = torch.float16 if cuda and torch.cuda.get_device_capability() < (8, 0) else torch.bfloat16
torch.manual_seed(0)
weight = torch.randn(256, 256, device=device, dtype=half)
packed, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
exact = dequantize_4bit(packed, state).float()
errors = []
for rows in (1, 8):
    x = torch.randn(rows, 256, device=device, dtype=half, requires_grad=True)
    y = bitsandbytes.matmul_4bit(x, packed.t(), quant_state=state)
    y.sum().backward()
    expected = x.detach().float() @ exact.t()
    slope = exact.sum(dim=0).expand_as(x)
    for got, want in ((y.detach(), expected), (x.grad, slope)):
        errors.append(((got.float() - want).norm() / want.norm()).item())
name = torch.cuda.get_device_name() if cuda else "the processor"
error, seconds = torch.tensor(errors).max().item(), time.perf_counter() - started
print(json.dumps({"device": name, "error": error, "seconds": seconds, "dtype": str(half).removeprefix("torch.")}))
"""
# 16-bit rounding gives about 0.005; a wrong kernel or layout gives about 1.
_LARGEST_ERROR = 0.05


def deep_check(timeout: float = 120.0) -> Finding:
    """Multiply by a 4-bit matrix with the installed torch and bitsandbytes and compare with plain arithmetic.

    Runs in a child process, so its GPU memory (a few hundred MiB for the CUDA context) is given back.

    Args:
        timeout: Seconds before the child is stopped; the first start of CUDA can take half a minute.
    """
    import subprocess

    title = "4-bit arithmetic"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "problem",
            title,
            f"A small 4-bit multiplication did not finish within {timeout:.0f} s.",
            "Another program may block the GPU; look at nvidia-smi, or reboot.",
        )
    except OSError as error:
        return Finding("problem", title, f"Python could not be started again: {printable(error, 200)}.")
    result = _last_json(done.stdout)
    if done.returncode != 0 or result is None:
        lines = done.stderr.strip().splitlines()
        reason = printable(lines[-1], 300) if lines else f"it ended with code {done.returncode}"
        return Finding(
            "problem",
            title,
            f"A small 4-bit multiplication failed: {reason}",
            "Install torch and bitsandbytes builds that match the NVIDIA driver; until then choose "
            "16-bit LoRA.",
        )
    device, error_size = printable(result["device"], 80), float(result["error"])
    measured = f"{error_size * 100:.2g} % away from plain arithmetic ({printable(result['dtype'], 20)})"
    # Written so that a NaN is a failure too.
    if not error_size <= _LARGEST_ERROR:
        return Finding(
            "problem",
            title,
            f"4-bit multiplication on {device} gives wrong numbers: {measured}.",
            "Install another bitsandbytes version, and do not train in 4 bits before this passes.",
        )
    return Finding(
        "ok",
        title,
        f"4-bit multiplication works on {device}: {measured}, in {float(result['seconds']):.1f} s.",
    )


def _last_json(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and {"device", "error", "seconds", "dtype"} <= value.keys():
            return value
    return None
