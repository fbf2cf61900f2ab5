"""Rows of published memory measurements, read as runs that can be predicted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.errors import UserError
from engine.fit.cards import Card, find_card, outside_torch
from engine.fit.families import role
from engine.fit.profiles import Profile
from engine.fit.types import Architecture, Attention, DType, Sharding, TrainSetup
from tests.bench._methods import kind_of, method_of, not_offered, quantization
from tests.bench._models import find_architecture
from tests.bench._stacks import SCRIPTS, profile_for

# Longest row of the Alpaca data in tokens of Llama, as LitGPT's tables give it.
ALPACA_LONGEST = 1304

UNITS = (
    (r"\bgib\b", 1 << 30),
    (r"\bmib\b", 1 << 20),
    (r"gb.*(?:1024|2\*\*30|2\^30)", 1 << 30),
    (r"gb.*1e9|\bgb\b", 10**9),
    (r"\bmb\b", 10**6),
    (r"\bbytes?\b|^b$", 1),
    (r"^g\b", 1 << 30),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement as a run.

    Attributes:
        measured: Bytes; ``None`` for a run that ended for lack of memory.
        fitted: The run had enough memory.
        profile: Stack profile that the row's source and notes call for.
        card: The GPU; ``None`` when neither its name nor its size is known.
    """

    architecture: Architecture
    setup: TrainSetup
    profile: Profile
    card: Card | None
    metric: str
    tier: str
    measured: int | None
    fitted: bool


@dataclass(frozen=True, slots=True)
class Skip:
    """A row that is not scored, and why."""

    reason: str
    metric: str
    tier: str
    fitted: bool


def read(row: Mapping[str, str | None]) -> Case | Skip:
    """One row of the file; a column that is missing counts as empty."""

    def get(key: str) -> str:
        return str(row.get(key) or "").strip()

    metric, tier = metric_name(get("metric")), get("tier").upper() or "?"
    outcome = get("outcome").lower()
    fitted = not re.search(r"oom|fail|out of memory|error|\bno\b|does not fit", outcome)
    source, notes, extras = get("source"), get("notes"), get("extras")
    text = " ".join((source, notes, extras)).lower()
    method = method_of(get("method"), get("lora_r"), text)
    reason = not_offered(method, extras, get("optimizer"), source, notes)
    if reason is None and tier == "C":
        reason = "tier C: never scored"
    measured = measured_bytes(get("peak_gib_or_gb"), get("unit"))
    if reason is None and measured is None and fitted:
        reason = "no measured value"
    batch, length = first_number(get("batch")), sequence_length(get("seq_len"))
    if reason is None and not (batch and length):
        reason = "batch or length unknown"
    if reason is not None or not batch or not length:
        return Skip(reason or "batch or length unknown", metric, tier, fitted)
    try:
        architecture = find_architecture(get("model"), get("params_b"))
    except UserError as error:
        return Skip(f"model unknown: {error.what}", metric, tier, fitted)
    num_gpus = first_number(get("num_gpus")) or gpus_in(get("gpu")) or 1
    held, mixed = dtype(get("dtype"))
    setup = TrainSetup(
        tuning="full" if kind_of(method) == "full" else "lora",
        quantization=quantization(method, text),
        double_quant=not (
            re.search(r"nf4(?!.*(?:dq|double))", text) and "double" not in text and "dq" not in text
        ),
        dtype=held,
        autocast=mixed,
        lora_r=first_number(get("lora_r")) or 16,
        lora_targets=targets(get("target_modules"), architecture),
        dora="dora" in method or "dora" in extras.lower(),
        modules_to_save=saved_modules(extras),
        batch=batch,
        seq_len=length,
        gradient_checkpointing=checkpoints(get("grad_ckpt"), extras),
        optimizer=optimizer(get("optimizer")),
        attention=attention(get("attention")),
        padded="padded" in text and "unpadded" not in text,
        packed="padding-free" in text or "padding free" in text,
        gradient_accumulation=accumulation(extras),
        num_gpus=num_gpus,
        sharding=sharding(f"{extras} {method} {notes} {source}", num_gpus),
        compiled="compile" in extras.lower(),
        optimizer_in_backward="optimizer_in_bwd" in extras.lower(),
        offload_checkpoints=bool(re.search(r"activation offload|act-offload", extras.lower())),
    )
    for pattern, overrides in SCRIPTS:
        if re.search(pattern, source.lower()):
            setup = replace(setup, **overrides)  # type: ignore[arg-type]
    profile = profile_for(source, notes, extras)
    setup = by_scenario(setup, source, extras, text, get("dtype"))
    if metric != "allocated" and fitted and profile.name.endswith("-foak"):
        return Skip("third-party kernels not offered: fused loss without Liger", metric, tier, fitted)
    return Case(architecture, setup, profile, card_of(get("gpu")), metric, tier, measured, fitted)


def checkpoints(text: str, extras: str) -> bool:
    """Whether layers are recomputed; where the column is empty, what the extras say."""
    low = text.lower()
    if re.match(r"^(?:n/a|\?*|-|unknown)$", low):
        low = (
            "yes"
            if re.search(r"grad\w*[ _-]?(?:ckpt|checkpoint)|activation ckpt|act-ckpt", extras.lower())
            else "no"
        )
    return not re.match(r"(?:no?|false|0|off|none|disabled|w/o|without)\b", low)


def accumulation(extras: str) -> int:
    """Batches before an optimizer step."""
    pattern = r"(?:grad\w*[ _-]?accum\w*|accum\w*|\bga)(?:[ _-]steps)?[ =:x]*(\d+)"
    found = re.search(pattern, extras.lower())
    return max(1, int(found[1])) if found else 1


def gpus_in(text: str) -> int | None:
    """How many GPUs a text such as ``8x A100`` or ``4 x H100`` means."""
    found = re.match(r"\s*(\d+)\s*[x*×]\s*\D", text)
    return int(found[1]) if found else None


def by_scenario(setup: TrainSetup, source: str, extras: str, text: str, told: str) -> TrainSetup:
    """Settings that depend on the scenario of a source, or that a row says in words.

    Args:
        told: Number format as the row has it.
    """
    split = setup.sharding in ("fsdp", "zero3")
    pure = bool(re.search(r"pure|true|only", told.lower())) or not setup.autocast
    if (
        re.search(r"llama-?factory", text)
        and setup.tuning == "full"
        and not (split or pure or "badam" in text)
    ):
        # src/llamafactory/model/adapter.py init_adapter: "Upcasting trainable params to float32."
        setup = replace(setup, dtype="float32")
    if setup.dtype == "float16" and setup.tuning == "full" and setup.sharding in ("none", "ddp") and not pure:
        # torch/amp/grad_scaler.py _unscale_grads_: "Attempting to unscale FP16 gradients." ends a run with such weights
        setup = replace(setup, dtype="float32")
    dropout = re.search(r"dropout[ =:]*(\d*\.\d+|0\b)", text)
    if dropout:
        setup = replace(setup, lora_dropout=float(dropout[1]))
    if "QwenLM/Qwen" in source and setup.tuning == "full":
        # finetune/finetune_ds.sh, the only script for it: --deepspeed ds_config_zero3.json, also on one GPU
        setup = replace(setup, sharding="zero3")
    if "chunked ce" in extras.lower() or "chunkedce" in extras.lower():
        setup = replace(setup, loss="eighths")
    if "fms-acceleration" in source:
        # scenarios.yaml runs full and plain LoRA without bf16=True; scenarios-liger.yaml, -granite.yaml and all quantized ones with it.
        amp = setup.quantization != "none" or bool(re.search(r"_(?:liger|granite)\.csv", source))
        setup = replace(setup, autocast=amp)
    return setup


def metric_name(text: str) -> str:
    """``allocated``, ``active``, ``reserved`` or ``nvidia-smi``; of anything else the first word."""
    low = text.lower()
    for word, name in (
        ("smi", "nvidia-smi"),
        ("nvml", "nvidia-smi"),
        ("nvidia", "nvidia-smi"),
        ("process", "nvidia-smi"),
        ("reserv", "reserved"),
        ("alloc", "allocated"),
        ("active", "active"),
        ("torch", "allocated"),
    ):
        if word in low:
            return name
    return low.split()[0] if low else "unspecified"


def measured_bytes(value: str, unit: str) -> int | None:
    """The measured number in bytes; the unit may stand behind the number instead."""
    found = re.match(r"[~<>≈ ]*(\d[\d,]*(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)", value.lower())
    if found is None:
        return None
    number = float(found[1].replace(",", ""))
    if not math.isfinite(number) or number <= 0:
        return None
    words = unit.lower() or found[2]
    scale = next((factor for pattern, factor in UNITS if re.search(pattern, words)), None)
    if scale is None:
        scale = 1 << 30 if number < 4096 else 1 << 20
    return int(number * scale)


def first_number(text: str) -> int | None:
    """The first whole number in a text."""
    found = re.search(r"\d+", text)
    return int(found[0]) if found else None


def card_of(text: str) -> Card | None:
    """The GPU by name, or one of the size that the text gives."""
    text = re.sub(r"^\s*\d+\s*[x*×]\s*(?=\D)", "", text)
    if text.lower().strip() in ("a100", "nvidia a100"):
        text += " 80GB"  # the more common one; whoever means the other says so
    found = find_card(text)
    size = re.search(r"(\d+)[ -]?gi?b", text.lower())
    if found is not None or size is None:
        return found
    memory = int(size[1]) << 30
    return Card(text, memory, memory - (1 << 30), (8, 0), outside_torch(None, 1))


def sequence_length(text: str) -> int | None:
    """A length, the longest of a range, or the one that was inferred for the heaviest batch (``~4x758``)."""
    low = text.lower().replace(",", "")
    if "max" in low and "alpaca" in low:
        return ALPACA_LONGEST
    inferred = re.search(r"\d+\s*x\s*(\d+)", low)
    if inferred:
        return int(inferred[1])
    found = re.findall(r"(\d+(?:\.\d+)?)\s*(k\b)?", low)
    lengths = [int(float(number) * (1024 if thousands else 1)) for number, thousands in found]
    ranged = re.match(r"\s*\d+\s*(?:-|–|to|\.\.)\s*\d+", low)
    return max(lengths) if ranged and lengths else next(iter(lengths), None)


def dtype(text: str) -> tuple[DType, bool]:
    """The number format of the weights, and whether autocast computes in 16 bits."""
    low = text.lower()
    if re.search(r"mixed|amp\b|master", low):
        return "float32", True
    if "bf16" in low or "bfloat16" in low:
        return "bfloat16", True
    if "16" in low or "half" in low:
        return "float16", True
    return ("float32", False) if "32" in low else ("bfloat16", True)


def optimizer(text: str) -> str:
    """The optimizer as TrainingArguments names it."""
    low = re.sub(r"[^a-z0-9]", "", text.lower())
    kind = next((name for name in ("adafactor", "sgd", "lion", "rmsprop", "lomo") if name in low), "adamw")
    if kind in ("adafactor", "sgd", "lomo", "rmsprop"):
        return kind
    paged = "paged_" if "paged" in low else ""
    if "8bit" in low or "int8" in low:
        return f"{paged}{kind}_8bit"
    if "4bit" in low or "int4" in low:
        return f"{kind}_torch_4bit"
    if paged or kind == "lion":
        return f"{paged}{kind}_32bit"
    return "adamw_torch_fused" if "fused" in low else "adamw_torch"


def attention(text: str) -> Attention:
    """The attention implementation."""
    low = text.lower()
    if re.search(r"flash|\bfa[23]?\b", low) and not re.search(r"\b(?:no|without|w/o|not)\b", low):
        return "flash_attention_2"
    return "eager" if re.search(r"eager|vanilla|\bmath\b|^none$", low) else "sdpa"


def sharding(text: str, num_gpus: int) -> Sharding:
    """How several GPUs shared the work."""
    low = text.lower()
    if num_gpus < 2:
        return "none"
    if re.search(r"shard_grad_op", low):  # gradients and states are split, weights are not
        return "zero2"
    if re.search(r"fsdp|full_shard|hybrid_shard", low):
        return "fsdp"
    found = re.search(r"(?:zero|stage)[ _-]*([123])", low)
    return ("zero1", "zero2", "zero3")[int(found[1]) - 1] if found else "ddp"


def saved_modules(extras: str) -> tuple[str, ...]:
    """Modules that were trained whole beside the adapter."""
    found = re.search(r"modules_to_save=([\w,]+)", extras)
    return tuple(found[1].split(",")) if found else ()


def targets(text: str, architecture: Architecture) -> tuple[str, ...]:
    """Names of the linears with an adapter, from names or from words such as ``q v`` and ``attention``."""
    low = re.sub(r"[^\w.*-]+", " ", re.sub(r"\(.*?\)", "", text.lower()))
    words = low.split()
    if not words or "all-linear" in words or "all" in words:
        return ("all-linear",)
    names = {linear.name for linear in architecture.linears}
    wanted: set[str] = set()
    roles = {
        "attention": {"q", "k", "v", "o", "qkv"}, "attn": {"q", "k", "v", "o", "qkv"},
        "mlp": {"gate", "up", "down", "gate_up"}, "q": {"q", "qkv"}, "k": {"k", "qkv"}, "v": {"v", "qkv"},
        "o": {"o"}, "qkv": {"q", "k", "v", "qkv"}, "output_proj": {"o"}, "q_proj": {"q"}, "k_proj": {"k"},
        "v_proj": {"v"}, "o_proj": {"o"},
    }  # fmt: skip
    for word in words:
        if word.rpartition(".")[2] in names:
            wanted.add(word)
        elif word in roles:
            wanted |= {
                linear.name
                for linear in architecture.linears
                if linear.part == "text"
                and role(linear.name, linear.in_features, architecture.hidden) in roles[word]
            }
    return tuple(sorted(wanted)) or ("all-linear",)
