"""``python -m engine.deliver.export.gguf.quantize_main PARENT SOURCE TARGET FTYPE``: fewer bits, by llama.cpp's library."""

from __future__ import annotations

import ctypes
import os
import sys

from engine.deliver.export.gguf.child import die_with_parent


def main(parent: str, source: str, target: str, ftype: str) -> int:
    """Write one GGUF file in another number format.

    Returns:
        0 when it is written.
    """
    die_with_parent(int(parent))
    import llama_cpp

    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = int(ftype)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    params.nthread = int(os.environ.get("OMP_NUM_THREADS") or threads)
    return int(llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
