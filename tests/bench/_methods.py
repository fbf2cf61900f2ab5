"""Which training method a measurement is about, however it is written, and whether finetui has it."""

from __future__ import annotations

import re

from engine.fit.types import Quantization

_FULL = frozenset("full fft fullft pretrain pretraining cpt".split())
_ADAPTERS = frozenset("lora dora rslora qlora qdora".split())
_FOUR = frozenset("4 4bit int4 nf4 fp4 qlora qdora q".split())
_EIGHT = frozenset("8 8bit int8".split())
_SIXTEEN = frozenset("16 16bit bf16 fp16 bfloat16 float16".split())
# Words that change nothing about the method, or that other columns say, too.
_BESIDE = frozenset(
    "peft sft trl hf with adapter adapters rank r plus all linear layers modules only fine tune tuning tuned finetune "
    "finetuning finetuned ft parameter parameters param continued bit bits bnb bitsandbytes llm dq double quant "
    "quantized fp32 fp16 bf16 bfloat16 float16 float32 amp mixed precision pure single multi device distributed gpu "
    "gpus fsdp fsdp2 ddp deepspeed zero sharded full_shard flash attention attn gradient grad "
    "checkpointing checkpoint ckpt gc packed packing liger sdpa eager and on of the using base model weights".split()
)
_OTHER_WORDS = (
    "galore", "apollo", "muon", "lisa", "badam", "ademamix", "came", "adagrad", "shampoo", "soap", "schedule[ _-]?free",
)  # fmt: skip


def method_of(text: str, rank: str, words: str) -> str:
    """The method; where a row leaves it out, what its other fields say."""
    if text:
        return text.lower()
    if re.search(r"\bq-?lora\b", words):
        return "qlora"
    return "lora" if re.search(r"\d", rank) or re.search(r"\blora\b", words) else "full"


def not_offered(method: str, extras: str, optimizer: str, source: str, notes: str = "") -> str | None:
    """Why a row may be left out: a method or third-party kernels that finetui does not have."""
    text = f"{method} {extras} {optimizer} {source}".lower()
    for word, name in (("gptq", "GPTQ"), ("awq", "AWQ"), ("hqq", "HQQ"), ("aqlm", "AQLM")):
        if word in text:
            return f"method not offered: {name}"
    said = re.sub(
        r"activation[_ ]offload\w*|act-offload\w*|offloaded checkpoints|(?:no|without) (?:cpu )?offload\w*",
        "",
        f"{text} {notes.lower()}",
    )
    if "offload" in said or "cpuadam" in said:
        return "method not offered: offloading to host memory"
    for word in _OTHER_WORDS:
        found = re.search(rf"(?<![a-z]){word}(?![a-rt-z])", text)
        if found:
            return f"method not offered: {found[0]}"
    if re.search(r"cut[ _]cross[ _]entropy", text):
        return "method not offered: cut cross entropy"
    if re.search(r"device_map|pipeline[ -]parallel|tensor[ -]parallel|\btp ?[=x]? ?\d", said):
        return "method not offered: one model's layers on several GPUs without sharding"
    if "lora-fa" in text or "lorafa" in text:
        return "method not offered: LoRA-FA"
    if "unsloth" in text and "unsloth/" not in text.replace("unslothai/", ""):
        return "third-party kernels not offered: Unsloth"
    return None if kind_of(method) else f"method not offered: {method}"


def kind_of(method: str) -> str | None:
    """``full``, ``lora`` or ``qlora``; ``None`` for another method."""
    words = _words(method)
    if not words - _BESIDE:
        alone = words & {"sft", "ft", "finetune", "finetuning", "tuning", "finetuned"}
        return "full" if alone and not words & {"adapter", "adapters", "linear", "layers"} else None
    if words - _BESIDE <= _FULL and words & _FULL:
        return "full"
    if words - _BESIDE <= _FOUR | _EIGHT | _SIXTEEN and words & (_FOUR | _EIGHT):
        return "qlora"  # quantized weights are trained through adapters only
    if not words & _ADAPTERS or not words <= _BESIDE | _ADAPTERS | _FOUR | _EIGHT | _SIXTEEN:
        return None
    return "qlora" if words & (_FOUR | _EIGHT) else "lora"


def quantization(method: str, text: str) -> Quantization:
    """How the frozen weights were held."""
    if kind_of(method) != "qlora":
        return "none"
    if _words(method) & _EIGHT:
        return "int8"
    return "fp4" if "fp4" in text else "nf4"


def _words(method: str) -> set[str]:
    """A method in words: without its rank and ZeRO stage, and with numbers apart (``qlora8``: 8 bits)."""
    low = re.sub(r"\b(?:rank|r|zero|stage)[ =:_-]*\d+\b|\b\d+[ -]rank\b", " ", method.lower())
    low = re.sub(r"(?<=lora)(?=\d)|(?<=full)(?=ft|fine)", " ", re.sub(r"[^a-z0-9]+", " ", low))
    return set(low.split())
