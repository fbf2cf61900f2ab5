"""How fast the simulated step is; ``tests.bench.vram_accuracy`` says how near it comes to measurements.

``python -m tests.bench.simulate``: one JSON object a line. Times leave out the imports, which have a line of their own;
on a busy machine the processor's seconds say more than the clock's.
"""

from __future__ import annotations

import gc
import json
import random
import time
from typing import Any

from engine.fit.allocator import CachingAllocator
from engine.fit.types import TrainSetup

OPERATIONS = 100_000
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
DATASET = tuple(random.Random(0).sample(range(64, 2049), 200))  # padded lengths of 200 batches
MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "num_local_experts": 8,
}
QWEN_32B: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
}
SPEED: dict[str, tuple[dict[str, Any], TrainSetup]] = {
    "8b_lora": (LLAMA_8B, TrainSetup(batch=1, seq_len=2048)),
    "8b_full": (LLAMA_8B, TrainSetup(tuning="full", batch=1, seq_len=2048)),
    "8b_full_no_checkpointing": (
        LLAMA_8B,
        TrainSetup(tuning="full", batch=1, seq_len=2048, gradient_checkpointing=False),
    ),
    "moe_8x7b": (MIXTRAL, TrainSetup(batch=1, seq_len=2048)),
    "32b_nf4": (QWEN_32B, TrainSetup(quantization="nf4", batch=1, seq_len=2048)),
    "70b_nf4": (LLAMA_70B, TrainSetup(quantization="nf4", batch=1, seq_len=2048)),
    "70b_nf4_no_checkpointing": (
        LLAMA_70B,
        TrainSetup(quantization="nf4", batch=1, seq_len=2048, gradient_checkpointing=False),
    ),
}


def main() -> None:
    """Print one JSON line a figure."""
    report("allocator", seconds=round(allocator(), 3), operations=OPERATIONS, wanted_s=1.0)
    started = time.perf_counter()
    from engine.fit.simulate.predict import Circumstances, run

    run(TrainSetup(batch=1, seq_len=64), LLAMA_8B)
    report("imports_and_first_run", seconds=round(time.perf_counter() - started, 2))
    for name, (config, setup) in SPEED.items():
        for lengths in ((), DATASET):
            busy = time.process_time()
            found = run(setup, config, circumstances=Circumstances(lengths=lengths))
            busy = time.process_time() - busy
            events = {length: len(step.events) for length, step in found.reel.steps.items()}
            report(
                f"{name}.{'dataset' if lengths else 'one_length'}",
                seconds=round(found.seconds, 2),
                processor_seconds=round(busy, 2),
                wanted_s=3.0,
                events_a_step=max(events.values()),
                lengths_recorded=len(events),
                layers=found.layers,
            )


def report(name: str, **figures: object) -> None:
    print(json.dumps({"bench": f"simulate.{name}"} | figures), flush=True)


def allocator() -> float:
    """Seconds for the operations of a busy trace: many sizes, a thousand blocks alive."""
    random_sizes = random.Random(0)
    sizes = [int(2 ** random_sizes.uniform(9, 26)) for _ in range(OPERATIONS // 2)]
    victims = [random_sizes.randrange(1000) for _ in sizes]
    caching = CachingAllocator()
    alive = [caching.malloc(512) for _ in range(1000)]
    gc.collect()
    started = time.perf_counter()
    for size, victim in zip(sizes, victims, strict=True):
        caching.free(alive[victim])
        alive[victim] = caching.malloc(size)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
