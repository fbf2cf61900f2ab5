"""Rows of published memory measurements, read as runs that can be predicted."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.errors import UserError
from engine.fit.architecture import from_catalogue, from_size, known_ids
from engine.fit.cards import Card, find_card, outside_torch
from engine.fit.families import role
from engine.fit.types import Architecture, Attention, DType, Quantization, Sharding, TrainSetup

# Longest row of the Alpaca data in tokens of Llama, as LitGPT's tables give it.
ALPACA_LONGEST = 1304

UNITS = (
    (r"\bgib\b", 1 << 30),
    (r"\bmib\b", 1 << 20),
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
    profile: str
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


# Settings of the published scripts that their rows do not repeat, by source: (pattern, overrides).
SCRIPTS: tuple[tuple[str, dict[str, object]], ...] = (
    # scripts/benchmarks/scenarios.yaml: lora_dropout 0.1; packed rows without padding
    (r"fms-acceleration", {"lora_dropout": 0.1, "padded": False}),
    # method_comparison/MetaMathQA: no dropout, no mixed precision
    (r"peft method_comparison", {"lora_dropout": 0.0, "autocast": False, "padded": True}),
    # finetune.py: lora_dropout 0.05
    (r"QwenLM/Qwen", {"lora_dropout": 0.05, "padded": False}),
    # finetune/lora.py: lora_dropout 0.05, bf16-true
    (r"litgpt", {"lora_dropout": 0.05, "autocast": False, "padded": False}),
    # recipes: lora_dropout 0.0, bf16 throughout
    (r"torchtune|torchao|pytorch/ao", {"lora_dropout": 0.0, "autocast": False, "padded": False}),
    # bench/runner.py before 0.4: no dropout, no autocast, full-length rows
    (r"can-i-finetune", {"lora_dropout": 0.0, "autocast": False, "padded": False}),
)


def read(row: Mapping[str, str]) -> Case | Skip:
    """One row of the file; a column that is missing counts as empty."""

    def get(key: str) -> str:
        return str(row.get(key) or "").strip()

    metric, tier = metric_name(get("metric")), get("tier") or "?"
    outcome = get("outcome").lower()
    fitted = not ("oom" in outcome or "fail" in outcome)
    source, notes, extras = get("source"), get("notes"), get("extras")
    text = " ".join((source, notes, extras)).lower()
    method = get("method").lower()
    reason = not_offered(method, extras, get("optimizer"), source)
    if reason:
        return Skip(reason, metric, tier, fitted)
    if tier == "C":
        return Skip("tier C: never scored", metric, tier, fitted)
    measured = measured_bytes(get("peak_gib_or_gb"), get("unit"), metric)
    if measured is None and fitted:
        return Skip("no measured value", metric, tier, fitted)
    batch, length = first_number(get("batch")), sequence_length(get("seq_len"))
    if batch is None or length is None:
        return Skip("batch or length unknown", metric, tier, fitted)
    try:
        architecture = find_architecture(get("model"), get("params_b"))
    except UserError as error:
        return Skip(f"model unknown: {error.what}", metric, tier, fitted)
    setup = TrainSetup(
        tuning="full" if kind_of(method) == "full" else "lora",
        quantization=quantization(method, text),
        double_quant=not (
            re.search(r"nf4(?!.*(?:dq|double))", text) and "double" not in text and "dq" not in text
        ),
        dtype=dtype(get("dtype")),
        lora_r=first_number(get("lora_r")) or 16,
        lora_targets=targets(get("target_modules"), architecture),
        dora="dora" in method or "dora" in extras.lower(),
        modules_to_save=saved_modules(extras),
        batch=batch,
        seq_len=length,
        gradient_checkpointing=get("grad_ckpt").lower() in ("yes", "true", "1", "on"),
        optimizer=optimizer(get("optimizer"), extras),
        attention=attention(get("attention")),
        padded="padded" in text and "unpadded" not in text,
        packed="padding-free" in text or "padding free" in text,
        gradient_accumulation=first_number((re.search(r"grad_accum\w*[ =]*(\d+)", extras) or [""])[0]) or 1,
        num_gpus=first_number(get("num_gpus")) or 1,
        sharding=sharding(extras, first_number(get("num_gpus")) or 1),
        compiled="compile" in extras.lower(),
        optimizer_in_backward="optimizer_in_bwd" in extras.lower(),
        offload_checkpoints=bool(re.search(r"activation offload|act-offload", extras.lower())),
    )
    for pattern, overrides in SCRIPTS:
        if re.search(pattern, source):
            setup = replace(setup, **overrides)  # type: ignore[arg-type]
    profile = profile_for(source, notes, extras)
    setup = by_scenario(setup, source, extras, text)
    if metric != "allocated" and fitted and profile.endswith("-foak"):
        return Skip("third-party kernels not offered: fused loss without Liger", metric, tier, fitted)
    return Case(architecture, setup, profile, card_of(get("gpu")), metric, tier, measured, fitted)


def by_scenario(setup: TrainSetup, source: str, extras: str, text: str) -> TrainSetup:
    """Settings that depend on the scenario of a source, or that a row says in words."""
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


def profile_for(source: str, notes: str, extras: str) -> str:
    """The stack profile of a row."""
    version = re.search(r"transformers[ =]*v?(\d+)\.(\d+)", notes + " " + extras)
    major, minor = (int(version[1]), int(version[2])) if version else (0, 0)
    if "fms-acceleration" in source:
        name = "fms-4.45" if (major, minor) <= (4, 45) else "fms-4.48"
        if "liger" in extras.lower():
            return f"{name}-foak-liger"
        if "fused" in extras.lower():
            return f"{name}-foak"
        return f"{name}-kbit" if "kbit" in extras else name
    for pattern, name in (
        (r"peft method_comparison", "peft-5" if major >= 5 else "peft-4.52"),
        (r"litgpt", "litgpt"),
        (r"torchtune|torchao|pytorch/ao", "torchtune"),
        (r"QwenLM/Qwen", "qwen-2023"),
        (r"can-i-finetune", "loop-5"),
        (r"finetui", "finetui"),
    ):
        if re.search(pattern, source):
            return name
    if major >= 5:
        return "hf-5"
    if (major, minor) >= (4, 50):
        return "hf-4.52"
    if (major, minor) >= (4, 46):
        return "hf-4.48"
    return "hf-4.45"


def not_offered(method: str, extras: str, optimizer: str, source: str) -> str | None:
    """Why a row may be left out: a method or third-party kernels that finetui does not have."""
    text = f"{method} {extras} {optimizer} {source}".lower()
    for word, name in (("gptq", "GPTQ"), ("awq", "AWQ"), ("hqq", "HQQ"), ("aqlm", "AQLM")):
        if word in text:
            return f"method not offered: {name}"
    if "lora-fa" in text or "lorafa" in text:
        return "method not offered: LoRA-FA"
    if "unsloth" in text and "unsloth/" not in text.replace("unslothai/", ""):
        return "third-party kernels not offered: Unsloth"
    if kind_of(method) is None:
        return f"method not offered: {method}"
    return None


def kind_of(method: str) -> str | None:
    """``full``, ``lora`` or ``qlora``; ``None`` for another method."""
    low = re.sub(r"[^a-z0-9]+", " ", method.lower()).strip()
    if re.fullmatch(r"(?:full|fft|sft)(?: (?:fine ?tun\w*|finetuning|ft|sft|parameter))*", low):
        return "full"
    if re.fullmatch(r"q ?lora(?: ?(?:4|8|int4|int8|4bit|8bit|nf4|fp4|dq))*", low) or low in (
        "lora8",
        "lora4",
        "lora 8bit",
        "lora 4bit",
        "int8",
        "lora int8",
    ):
        return "qlora"
    return "lora" if re.fullmatch(r"(?:lora|dora|rslora|lora ?16|lora 16bit|lora dora)", low) else None


def metric_name(text: str) -> str:
    """``allocated``, ``reserved`` or ``nvidia-smi``; anything else as it stands."""
    low = text.lower()
    for word, name in (
        ("smi", "nvidia-smi"),
        ("nvml", "nvidia-smi"),
        ("reserv", "reserved"),
        ("alloc", "allocated"),
    ):
        if word in low:
            return name
    return low.split()[0] if low else "unspecified"


def measured_bytes(value: str, unit: str, metric: str) -> int | None:
    """The measured number in bytes."""
    try:
        number = float(value.replace(",", ""))
    except ValueError:
        return None
    if not math.isfinite(number) or number <= 0:
        return None
    scale = next((factor for pattern, factor in UNITS if re.search(pattern, unit.lower())), None)
    if scale is None:
        scale = 1 << 30 if number < 4096 else 1 << 20
    return int(number * scale)


def first_number(text: str) -> int | None:
    """The first whole number in a text."""
    found = re.search(r"\d+", text)
    return int(found[0]) if found else None


def card_of(text: str) -> Card | None:
    """The GPU by name, or one of the size that the text gives."""
    if text.lower().strip() in ("a100", "nvidia a100"):
        text += " 80GB"  # the more common one; whoever means the other says so
    found = find_card(text)
    size = re.search(r"(\d+)[ -]?gi?b", text.lower())
    if found is not None or size is None:
        return found
    memory = int(size[1]) << 30
    return Card(text, memory, memory - (1 << 30), (8, 0), outside_torch(None, 1))


def sequence_length(text: str) -> int | None:
    """A length, or the one that was inferred for the heaviest batch (``~4x758``)."""
    if "max" in text and "alpaca" in text.lower():
        return ALPACA_LONGEST
    inferred = re.search(r"\d+\s*x\s*(\d+)", text)
    if inferred:
        return int(inferred[1])
    thousands = re.match(r"\D*(\d+(?:\.\d+)?)\s*k\b", text.lower())
    if thousands:
        return int(float(thousands[1]) * 1024)
    return first_number(text.replace(",", ""))


def find_architecture(model: str, params_b: str) -> Architecture:
    """The model by name, by a similar name of the same size, or a stand-in of its size."""
    found = from_catalogue(model)
    if found is not None:
        return found
    try:
        size = float(params_b)
    except ValueError:
        size = 0.0
    squeezed = {squeeze(model_id): model_id for model_id in known_ids()}
    for name in difflib.get_close_matches(squeeze(model), squeezed, n=5, cutoff=0.75):
        similar = from_catalogue(squeezed[name])
        if similar is not None and (not size or abs(similar.params / 1e9 / size - 1) < 0.02):
            return similar
    if not size:
        named = re.search(r"(\d+(?:\.\d+)?)\s*b\b", model.lower())
        size = float(named[1]) if named else 0.0
    return from_size(size, model)


def squeeze(model_id: str) -> str:
    """A model's name without its owner and without anything but letters and digits."""
    return re.sub(r"[^a-z0-9]", "", model_id.rpartition("/")[2].lower().removesuffix("-hf"))


def quantization(method: str, text: str) -> Quantization:
    """How the frozen weights were held."""
    if kind_of(method) != "qlora":
        return "none"
    if "8" in method:
        return "int8"
    return "fp4" if "fp4" in text else "nf4"


def dtype(text: str) -> DType:
    """The number format of the weights."""
    low = text.lower()
    if "bf16" in low or "bfloat16" in low:
        return "bfloat16"
    if "fp16" in low or "float16" in low or "16" in low:
        return "float16"
    return "float32" if "32" in low else "bfloat16"


def optimizer(text: str, extras: str) -> str:
    """The optimizer as TrainingArguments names it."""
    low = text.lower()
    if "8bit" in low.replace("-", "").replace("_", ""):
        return "paged_adamw_8bit" if "paged" in low else "adamw_8bit"
    if "adafactor" in low:
        return "adafactor"
    if "sgd" in low:
        return "sgd"
    return "adamw_torch_fused" if "fused" in low else "adamw_torch"


def attention(text: str) -> Attention:
    """The attention implementation."""
    low = text.lower()
    if "flash" in low or "fa2" in low:
        return "flash_attention_2"
    return "eager" if "eager" in low else "sdpa"


def sharding(extras: str, num_gpus: int) -> Sharding:
    """How several GPUs shared the work."""
    low = extras.lower()
    if num_gpus < 2:
        return "none"
    if "fsdp" in low:
        return "fsdp"
    found = re.search(r"zero-?([123])", low)
    return ("zero1", "zero2", "zero3")[int(found[1]) - 1] if found else "ddp"


def saved_modules(extras: str) -> tuple[str, ...]:
    """Modules that were trained whole beside the adapter."""
    found = re.search(r"modules_to_save=([\w,]+)", extras)
    return tuple(found[1].split(",")) if found else ()


def targets(text: str, architecture: Architecture) -> tuple[str, ...]:
    """Names of the linears with an adapter, from names or from words such as ``q v`` and ``attention``."""
    low = re.sub(r"\(.*?\)", "", text.lower().replace(",", " ").replace("+", " "))
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
