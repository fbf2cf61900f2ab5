"""What the name of a model says about it. Names follow no standard, so the result is a reading, not a fact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from engine.models import catalogue, families

Variant = Literal["base", "instruct", "vision", "gguf", "quantized", "adapter", "other"]

_QUANT_WORD = re.compile(
    r"(?:gguf|ggml|awq|gptq(?:model)?(?:-\d+b)?|autoround|exl[23]|mlx|bnb|nf4|fp4|nvfp4a?\d*|mxfp4|hqq|aqlm|eetq|marlin|quip|"
    r"fp8(?:-dynamic)?|int[48](?:-sym)?|w\d+a\d+|[2-8]-?bits?|i?q\d(?:-[0-9ksmlx]+)*|imat(?:rix)?|i1)"
)
_QUANT_EXTRA = re.compile(
    r"(?:\d+g|g\d+|qat|ud|unsloth|dynamic|quantized|quant|sym|asym|f16|bf16|fp16|hf|safetensors)"
)
_FORMATS = (
    ("gguf", "GGUF"), ("ggml", "GGML"), ("awq", "AWQ"), ("gptq", "GPTQ"), ("autoround", "AutoRound"), ("exl", "EXL"),
    ("mlx", "MLX"), ("bnb", "bitsandbytes"), ("nf4", "bitsandbytes"), ("fp8", "FP8"), ("nvfp4", "NVFP4"),
    ("mxfp4", "MXFP4"), ("fp4", "FP4"), ("hqq", "HQQ"), ("aqlm", "AQLM"), ("eetq", "EETQ"), ("quip", "QuIP"),
)  # fmt: skip
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(?:x(\d+(?:\.\d+)?))?([bm])(\d?)(?![a-z0-9])")
_ACTIVE = re.compile(r"(?<![a-z0-9])a(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a name says.

    Attributes:
        name: The name that was read, without folders: ``Qwen/Qwen3-8B`` or ``Qwen3-8B``.
        family: Such as ``Llama 3.1``; empty when unknown.
        params_b: Weights in billions, as the name (or its family) tells.
        active_params_b: Weights used for each token in a mixture of experts, in billions.
        variant: ``base`` continues text, ``instruct`` answers, ``vision`` also reads images; ``gguf``, ``quantized``,
            ``adapter`` and ``other`` (embeddings and the like) cannot be trained here.
        tuned: Trained to follow instructions.
        reasoning: Writes down its thinking before it answers.
        trainable: finetui can train it.
        twin: The model to train instead, where this one cannot be trained and the name tells the origin.
        quant_format: The compressed format, such as ``GGUF`` or ``AWQ``.
        notes: Sentences for the user.
    """

    name: str
    family: str
    params_b: float | None
    active_params_b: float | None
    variant: Variant
    tuned: bool
    reasoning: bool
    trainable: bool
    twin: str | None = None
    quant_format: str | None = None
    notes: tuple[str, ...] = ()


def read_name(repo_or_path: str) -> ModelName:
    """Read a Hub id or a path.

    Args:
        repo_or_path: ``owner/name``, a bare name, a folder, or a ``.gguf`` file.
    """
    owner, name = _split(repo_or_path)
    text = re.sub(r"(?<=\d)_(?=\d+[bm])", ".", name.lower()).replace("_", "-")  # stablelm-2-1_6b is 1.6 B
    stem, quant_format = _strip_quant(text, owner)
    for pattern, shipped in families.SHIPPED_QUANTIZED:
        if re.search(pattern, text):
            quant_format = quant_format or shipped
    known = catalogue.find_by_name(stem)
    family = known.family if known else _family(stem)
    params_b, active_b, notes = _size(stem, known)
    vision = bool(re.search(families.VISION, stem)) and not re.search(families.TEXT_ONLY, stem)
    tuned, tuned_note = _is_tuned(stem, family, vision)
    full_name = f"{owner}/{name}" if owner else name

    variant: Variant
    twin: str | None = None
    if quant_format:
        variant = "gguf" if quant_format in ("GGUF", "GGML") else "quantized"
        twin = _twin(owner, name, stem, text)
        notes += _quant_notes(variant, quant_format, twin, is_copy=stem != text)
    elif re.search(r"(?:^|-)(?:q?lora|adapters?|peft)$", stem):
        variant = "adapter"
        notes += (
            "The name says this is a LoRA adapter: small added matrices, not a whole model. Train its base model.",
        )
    elif re.search(families.NOT_GENERATIVE, stem):
        variant = "other"
        notes += ("The name says this model does not write text (embeddings, speech, ranking and the like).",)
    elif vision:
        variant = "vision"
        notes += ("Reads images as well as text; finetui trains it on text only.",)
    else:
        variant = "instruct" if tuned else "base"
        notes += tuned_note
    return ModelName(
        name=full_name,
        family=family,
        params_b=params_b,
        active_params_b=active_b,
        variant=variant,
        tuned=tuned,
        reasoning=bool(re.search(families.REASONING, stem)),
        trainable=variant in ("base", "instruct", "vision"),
        twin=twin,
        quant_format=quant_format,
        notes=notes,
    )


def _split(repo_or_path: str) -> tuple[str, str]:
    """Owner ('' for paths and bare names) and name, also for folders of the Hub cache."""
    text = repo_or_path.strip().rstrip("/\\")
    cached = re.search(r"models--([^/\\]+?)--([^/\\]+)", text)
    if cached:
        return cached[1], cached[2]
    parts = [part for part in re.split(r"[/\\]", text) if part]
    if not parts:
        return "", ""
    name = re.sub(r"\.gguf$", "-gguf", parts[-1], flags=re.IGNORECASE)
    is_hub_id = len(parts) == 2 and not re.match(r"[/\\.~]|[A-Za-z]:", text) and name == parts[-1]
    return (parts[0] if is_hub_id else ""), name


def _strip_quant(text: str, owner: str) -> tuple[str, str | None]:
    """Take the words of a compressed format off the end: ('llama-3.1-8b-instruct', 'GGUF')."""
    words = text.replace(".", "-.").split(
        "-"
    )  # split at dots too, and keep them: 'v0.2.q4-k-m' ends in a format
    taken: list[str] = []
    end = len(words)
    while end > 1:
        for width in (4, 3, 2, 1):  # 'q4-k-m' is one word of the format
            start = end - width
            joined = "-".join(word.lstrip(".") for word in words[max(start, 0) : end])
            if start >= 1 and (_QUANT_WORD.fullmatch(joined) or _QUANT_EXTRA.fullmatch(joined)):
                taken.append(joined)
                end = start
                break
        else:
            break
    stem = "-".join(words[:end]).replace("-.", ".")
    if owner.lower() == "mlx-community":  # every model there is in the format of Apple's MLX
        return stem, "MLX"
    if not any(_QUANT_WORD.fullmatch(word) for word in taken) or "unquantized" in text:
        return text, None
    joined = "-".join(taken)
    named = next((label for key, label in _FORMATS if key in joined), None)
    return stem, named or ("GGUF" if re.search(r"(?:^|-)i?q\d", joined) else "compressed")


def _family(stem: str) -> str:
    for pattern, label in families.FAMILIES:
        match = re.search(pattern, stem)
        if match:
            return _capitals(match.expand(label))
    return ""


def _capitals(label: str) -> str:
    """The makers' spelling of the part that came from a lower-case name: -vl -> -VL, -coder -> -Coder."""
    head, dash, tail = label.rpartition("-")
    if not dash or not tail.isascii() or not tail.islower():
        return label
    if re.match(r"vl$|llm$|[vr]\d", tail):
        return f"{head}-{tail.upper()}"
    return f"{head}-{'MoE' if tail == 'moe' else tail if tail in ('mini', 'oss') else tail.title()}"


def _size(
    stem: str, known: catalogue.CatalogueModel | None
) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Total and active weights in billions, with a note where the name misleads."""
    if known:
        active = known.active_params / 1e9 if known.active_params else None
        return round(known.params_b, 3), round(active, 1) if active else None, ()
    active_b: float | None = None
    active_match = _ACTIVE.search(stem)
    if active_match:
        active_b = float(active_match[1]) / (1000 if active_match[2] == "m" else 1)
    named = next((size for pattern, size in families.NAMED_SIZES if re.search(pattern, stem)), None)
    found: list[float] = []
    experts: float | None = None
    for match in _SIZE.finditer(stem):
        number, times, unit, tail = match.groups()
        value = float(f"{number}.{tail}" if tail and "." not in number else number)  # '1b7' means 1.7 B
        if times:
            experts = float(number) * float(times)
        found.append(value / (1000 if unit == "m" else 1))
    if named is not None:
        return named, active_b or _expert_active(stem), ()
    if experts is not None:
        return (
            experts,
            None,
            ("Total size read as experts times size; parts are shared, so it is less in truth.",),
        )
    if not found:
        return None, active_b, ()
    if len(found) > 1 and "moe" in stem:  # OLMoE-1B-7B: active and total
        return max(found), min(found), ()
    in_billions = [value for value in found if f"{value:g}b" in stem]
    return (in_billions or found)[0], active_b, ()


def _expert_active(text: str) -> float | None:
    """Llama 4 names its active size: 17B-16E."""
    match = re.search(r"(\d+)b-\d+e(?![a-z0-9])", text)
    return float(match[1]) if match else None


def _is_tuned(stem: str, family: str, vision: bool) -> tuple[bool, tuple[str, ...]]:
    """Whether the model follows instructions, with the sentence that says how the name tells."""
    if re.search(families.TUNED_WORDS, stem):
        return True, ()
    pytorch_not_pretrained = stem.startswith("ernie")  # its '-PT' stands for PyTorch
    if re.search(families.BASE_WORDS, stem) and not pytorch_not_pretrained:
        return False, ()
    if re.search(families.TUNED_WITHOUT_SUFFIX, stem):
        return True, (
            f"No suffix in the name, but {family or 'this family'} models follow instructions as they are.",
        )
    if family:
        return False, (
            "No suffix such as Instruct in the name, which mostly means a base model: it continues text.",
        )
    return False, (
        "The name says little about this model. Without a suffix such as Instruct it is read as a base model, "
        "which continues text; its page says what it is.",
    )


def _twin(owner: str, name: str, stem: str, text: str) -> str | None:
    """The model with full weights that a compressed one was made from."""
    plain = name[: len(stem)]
    low_owner = owner.lower()
    prefixed = re.match(r"([A-Za-z][\w-]*?)_(.+)", plain)  # bartowski writes google_gemma-3-4b-it-GGUF
    if prefixed and low_owner in families.REUPLOADERS:
        known = catalogue.find_by_name(prefixed[2].lower())
        return known.id if known else f"{prefixed[1]}/{prefixed[2]}"
    if low_owner == "unsloth" and stem != text:
        return f"unsloth/{plain}"  # unsloth also publishes the full weights under the same name
    known = catalogue.find_by_name(stem)
    if known:
        return known.id if stem != text else None
    if owner and low_owner not in families.REUPLOADERS and stem != text:
        return f"{owner}/{plain}"
    return None


def _quant_notes(variant: Variant, quant_format: str, twin: str | None, is_copy: bool) -> tuple[str, ...]:
    use = (
        f"{quant_format} files are for running a finished model, not for training."
        if variant == "gguf"
        else "The weights are already compressed"
        f"{'' if quant_format == 'compressed' else f' ({quant_format})'}; finetui starts from full weights and "
        "compresses them itself where memory is short (QLoRA)."
    )
    if twin is None:
        original = "Its page on the Hub names the base model: train that one."
        return (
            use,
            original if is_copy else "Choose another model, or a copy of it with full (bf16) weights.",
        )
    certain = catalogue.find(twin) is not None
    return (use, f"Train {twin} instead." if certain else f"Train the original instead, probably {twin}.")
