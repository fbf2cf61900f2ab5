"""Which software made a measurement: the stack profile that the words of a row call for."""

from __future__ import annotations

import re
from dataclasses import replace

from engine.fit.profiles import Profile, load

# Settings of published scripts that their rows do not repeat: (pattern for the source, settings).
SCRIPTS: tuple[tuple[str, dict[str, object]], ...] = (
    # scripts/benchmarks/scenarios.yaml: lora_dropout 0.1; packed rows without padding
    (r"fms-(?:acceleration|hf-tuning)", {"lora_dropout": 0.1, "padded": False}),
    # method_comparison/MetaMathQA: no dropout, no mixed precision
    (r"peft method_comparison|huggingface/peft.*method", {"lora_dropout": 0.0, "autocast": False, "padded": True}),
    # finetune.py: lora_dropout 0.05
    (r"qwenlm/qwen", {"lora_dropout": 0.05, "padded": False}),
    # finetune/lora.py: lora_dropout 0.05, bf16-true
    (r"lit-?gpt|lit-llama|lit_gpt", {"lora_dropout": 0.05, "autocast": False, "padded": False}),
    # recipes: lora_dropout 0.0, bf16 throughout
    (r"torchtune|torchao|pytorch/ao", {"lora_dropout": 0.0, "autocast": False, "padded": False}),
    # bench/runner.py before 0.4: no dropout, no autocast
    (r"can-i-finetune", {"lora_dropout": 0.0, "autocast": False, "padded": False}),
)  # fmt: skip

# transformers changed what is kept in 4.46, 4.50 and 5.0: since which month, and with which torch of that month.
_RELEASES = ((202410, (2, 5), (4, 46)), (202503, (2, 7), (4, 50)), (202601, (2, 10), (5, 0)))
_UNDATED = (4, 50)
# What was current with a version of TRL (its setup.cfg asks for it or newer).
_TRL = (((0, 12), (4, 46)), ((0, 16), (4, 50)), ((1, 0), (5, 0)))


def profile_for(source: str, notes: str, extras: str) -> Profile:
    """The stack profile of a row, with the loss and kernels that its extras switch on."""
    text = f"{source} {notes} {extras}".lower()
    found = load(_name(source.lower(), notes, extras, text))
    if "liger" in extras.lower() and not found.name.endswith("-liger"):
        # liger_kernel apply_liger_kernel_to_*: fused linear cross entropy and fused RMS norm
        found = replace(found, loss="liger", narrow_loss=(), fused_norm=True)
    if re.search(r"\btrl\b", source.lower()) and _transformers(text) < (5, 0):
        # trl/models/utils.py prepare_peft_model: prepare_model_for_kbit_training, then embeddings and head back to 16 bits
        found = replace(found, norms_float32_quantized=True)
    elif re.search(r"prepare_model_for_kbit|\bkbit\b", text) and not found.name.startswith("fms"):
        # peft/utils/other.py prepare_model_for_kbit_training: everything that is not quantized becomes float32
        found = replace(found, norms_float32_quantized=True, embeddings_float32_quantized=True)
    if re.search(r"chunked[_ -]?nll|fused[_ -]lm[_ -]head", text) or _chunks_by_default(text, extras):
        found = replace(found, loss="trl_fused", narrow_loss=())
    return found


def _name(source: str, notes: str, extras: str, text: str) -> str:
    version = _transformers(text)
    if "fms-acceleration" in source or "fms-hf-tuning" in source:
        name = "fms-4.45" if version <= (4, 45) else "fms-4.48"
        if "liger" in extras.lower():
            return f"{name}-foak-liger"
        if "fused" in extras.lower() or "foak" in text:
            return f"{name}-foak"
        return f"{name}-kbit" if "kbit" in extras else name
    for pattern, name in (
        (r"peft method_comparison|huggingface/peft.*method", "peft-5" if version >= (5, 0) else "peft-4.52"),
        (r"lit-?gpt|lit-llama|lit_gpt", "litgpt"),
        (r"torchtune|torchao|pytorch/ao", "torchtune"),
        (r"qwenlm/qwen", "qwen-2023"),
        (r"can-i-finetune", "loop-5"),
        (r"finetui", "finetui"),
    ):
        if re.search(pattern, source):
            return name
    if version >= (5, 0):
        return "hf-5"
    if version >= (4, 50):
        return "hf-4.52"
    return "hf-4.48" if version >= (4, 46) else "hf-4.45"


def _transformers(text: str) -> tuple[int, int]:
    """The version of transformers that a row names, or that was current with the torch or at the date it names."""
    named = re.search(r"transformers[ =@:v-]*(\d+)\.(\d+)", text)
    if named:
        return int(named[1]), int(named[2])
    dated = re.search(r"\b(20[23]\d)[-./](\d{1,2})\b", text)
    torch = re.search(r"(?:torch|pytorch)[ =@:v-]*(\d)\.(\d+)", text)
    if torch:
        current = (int(torch[1]), int(torch[2]))
        return max(((4, 45), *(version for _, since, version in _RELEASES if current >= since)))
    trl = re.search(r"\btrl[ =@:v-]*(\d+)\.(\d+)", text)
    if trl:
        version = (int(trl[1]), int(trl[2]))
        return max(((4, 45), *(current for since, current in _TRL if version >= since)))
    if not dated:
        return _UNDATED
    month = int(dated[1]) * 100 + int(dated[2])
    return max(((4, 45), *(version for since, _, version in _RELEASES if month >= since)))


def _chunks_by_default(text: str, extras: str) -> bool:
    """TRL from 1.7 on computes the loss chunk by chunk unless told otherwise (SFTConfig.loss_type)."""
    version = re.search(r"\btrl[ =@:v-]*(\d+)\.(\d+)", text)
    other = re.search(r"loss_type[ =:]*nll|liger", extras.lower())
    return bool(version) and (int(version[1]), int(version[2])) >= (1, 7) and not other  # type: ignore[index]
