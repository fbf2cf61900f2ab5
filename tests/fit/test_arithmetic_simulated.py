"""The arithmetic against the simulated step, which runs the installed libraries' own modules."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from engine.errors import UserError
from engine.fit.architecture import from_catalogue
from engine.fit.predict import predict
from engine.fit.simulate.predict import Circumstances, run
from engine.fit.types import TrainSetup

QUICK = Circumstances(replay_seconds=0.05)
METHODS: dict[str, dict[str, Any]] = {
    "full": {"tuning": "full"},
    "lora": {"lora_r": 16},
    "lora8": {"lora_r": 8},
    "nf4": {"quantization": "nf4"},
    "int8": {"quantization": "int8"},
}
# One model of every architecture that the simulated step can build from the facts in presets/architectures.json.
MODELS = """
HuggingFaceTB/SmolLM2-360M mistralai/Mistral-7B-v0.1 mistralai/Mixtral-8x7B-v0.1 Qwen/Qwen2.5-0.5B Qwen/Qwen3-0.6B
Qwen/Qwen3-30B-A3B Qwen/Qwen3-Next-80B-A3B-Instruct Qwen/Qwen3.5-35B-A3B google/gemma-2b google/gemma-2-2b google/gemma-3-270m
microsoft/phi-1_5 microsoft/Phi-3-mini-4k-instruct tiiuae/falcon-7b tiiuae/falcon-40b HuggingFaceTB/SmolLM3-3B-Base
openai/gpt-oss-20b allenai/OLMo-1B-hf allenai/OLMo-2-0425-1B allenai/Olmo-3-1025-7B allenai/OLMoE-1B-7B-0924
ibm-granite/granite-3.0-2b-base ibm-granite/granite-3.0-1b-a400m-base zai-org/glm-4-9b-hf zai-org/GLM-4-9B-0414
zai-org/GLM-4.5-Air-Base stabilityai/stablelm-2-1_6b openai-community/gpt2 facebook/opt-125m EleutherAI/pythia-1.4b
EleutherAI/gpt-j-6b EleutherAI/gpt-neo-1.3B bigscience/bloom-560m bigcode/gpt_bigcode-santacoder bigcode/starcoder2-3b
CohereLabs/aya-expanse-8b LGAI-EXAONE/EXAONE-4.0-1.2B ByteDance-Seed/Seed-OSS-36B-Base baidu/ERNIE-4.5-0.3B-PT
arcee-ai/AFM-4.5B-Base swiss-ai/Apertus-8B-2509 nvidia/Nemotron-Mini-4B-Instruct
""".split()


def compare(model_id: str, method: str, **more: Any) -> None:
    """Within 2 per cent, or, where smaller blocks or estimated layers make it wider, below the upper end."""
    architecture = from_catalogue(model_id)
    assert architecture is not None
    setup = TrainSetup(**METHODS[method], **more)
    real = run(setup, architecture, circumstances=QUICK).prediction.allocated.p50
    found = predict(architecture, setup).allocated
    difference = 100 * (found.p50 / real - 1)
    shown = f"{model_id} {method} {more}: {difference:+.2f} %"
    if architecture.spread:
        assert real <= found.p95, shown
    else:
        assert abs(difference) <= 2 or (real <= found.p95 and difference < 0), shown


@pytest.mark.parametrize(
    ("model_id", "method", "checkpointing"),
    [
        ("Qwen/Qwen2.5-0.5B", "lora", False),
        ("Qwen/Qwen2.5-0.5B", "int8", True),
        ("allenai/OLMoE-1B-7B-0924", "lora", True),
        ("allenai/OLMoE-1B-7B-0924", "full", False),
        ("microsoft/phi-1_5", "nf4", True),
        ("microsoft/phi-1_5", "int8", False),
        ("tiiuae/falcon-7b", "lora", False),
    ],
)
def test_a_few_architectures(model_id: str, method: str, checkpointing: bool) -> None:
    compare(model_id, method, batch=4, seq_len=1024, gradient_checkpointing=checkpointing)


@pytest.mark.thorough
@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("method", ["full", "lora", "nf4", "int8"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_every_architecture(model_id: str, method: str, checkpointing: bool) -> None:
    try:
        compare(model_id, method, batch=4, seq_len=1024, gradient_checkpointing=checkpointing)
    except UserError as refusal:
        pytest.skip(f"{model_id} cannot be simulated: {refusal.what}")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "model_id", ["mistralai/Mixtral-8x7B-v0.1", "allenai/OLMoE-1B-7B-0924", "Qwen/Qwen3-30B-A3B"]
)
@pytest.mark.parametrize("method", list(METHODS))
def test_mixtures_of_experts(model_id: str, method: str) -> None:
    for checkpointing, batch, length in itertools.product((True, False), (1, 4), (512, 2048)):
        compare(model_id, method, batch=batch, seq_len=length, gradient_checkpointing=checkpointing)
