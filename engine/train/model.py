"""Loading the model, in the precision that run.yaml says."""

from __future__ import annotations

import os
from typing import Any

from engine.config.schema import RunConfig
from engine.errors import UserError
from engine.hub.download import local_model


def load_tokenizer(config: RunConfig) -> Any:
    """The model's tokenizer.

    Raises:
        UserError: It is missing or broken.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(_folder(config), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _cannot_load("tokenizer", config, error) from error


def load_model(config: RunConfig, auto_model: str = "AutoModelForCausalLM") -> Any:
    """The model, loaded explicitly with its dtype and quantization, on this process's device.

    Args:
        config: The run.
        auto_model: The transformers class that loads it; a model that scores gets one score, which begins at random numbers.

    Raises:
        UserError: Weights are missing, not safetensors, or of an unknown architecture.
    """
    import torch
    import transformers
    from transformers import BitsAndBytesConfig

    settings = config.model
    scores = {"num_labels": 1} if auto_model == "AutoModelForSequenceClassification" else {}
    if scores:
        transformers.set_seed(config.training.seed)
    dtype = getattr(torch, settings.dtype or "float32")
    quantization = None
    if settings.load_in_4bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=settings.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=settings.use_bnb_nested_quant,
            bnb_4bit_compute_dtype=dtype,
        )
    elif settings.load_in_8bit:
        quantization = BitsAndBytesConfig(load_in_8bit=True)
    folder = _folder(config)
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    split = is_split(config)
    if split:
        # from_pretrained reads these: only the first process loads the weights, into main memory; FSDP deals them out.
        os.environ.update(ACCELERATE_USE_FSDP="true", FSDP_VERSION="2", FSDP_CPU_RAM_EFFICIENT_LOADING="true")
        _join_processes()

    def load(attention: str) -> Any:
        return getattr(transformers, auto_model).from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            quantization_config=quantization,
            device_map=None if split else {"": local_rank if torch.cuda.is_available() else "cpu"},
            trust_remote_code=False,
            use_safetensors=True,
            **scores,
        )

    try:
        try:
            model = load(settings.attn_implementation or "sdpa")
        except ValueError as error:
            # Some architectures (Gemma 2, gpt-oss) have no sdpa; the plain computation is slower but the same.
            if settings.attn_implementation not in (
                None,
                "sdpa",
            ) or "scaled_dot_product_attention" not in str(error):
                raise
            model = load("eager")
    except (OSError, ValueError, ImportError) as error:
        raise _cannot_load("model", config, error) from error
    # On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights at the first evaluation and has no backward pass for them.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.config.use_cache = False
    return model


def is_split(config: RunConfig) -> bool:
    """The model is split between several processes."""
    return config.training.sharding == "fsdp" and (config.training.num_processes or 1) > 1


def _join_processes() -> None:
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def _folder(config: RunConfig) -> str:
    """Where the model lies; from here on nothing depends on the network."""
    return str(local_model(config.model.model_name_or_path, config.model.model_revision))


def cast_trainable(model: Any, dtype: str) -> None:
    """Give every trainable parameter the number format it is trained in."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(getattr(torch, dtype))


def trained_dtype(config: RunConfig) -> str:
    """The number format of the trained parameters: float16 alone is too coarse to learn in, so it trains in float32."""
    return "bfloat16" if config.model.dtype == "bfloat16" else "float32"


def describe_dtypes(model: Any) -> dict[str, dict[str, int]]:
    """How many parameters have which number format, trained and frozen, from the live model."""
    found: dict[str, dict[str, int]] = {"trained": {}, "frozen": {}}
    for parameter in model.parameters():
        group = found["trained" if parameter.requires_grad else "frozen"]
        name = str(parameter.dtype).removeprefix("torch.")
        packed = getattr(parameter, "quant_state", None)  # of bitsandbytes: two weights in each byte
        group[name] = group.get(name, 0) + (parameter.numel() if packed is None else packed.shape.numel())
    return found


def require_stated(dtypes: dict[str, dict[str, int]], config: RunConfig) -> None:
    """Hold the live model against run.yaml.

    Raises:
        RuntimeError: A parameter is in another number format than run.yaml says: a bug of ours or of a library.
    """
    trained, base = trained_dtype(config), config.model.dtype or "float32"
    # Quantized layers are whole numbers; what bitsandbytes leaves alone stays in the format of the base.
    quantized = {"uint8", "int8"} if config.model.load_in_4bit or config.model.load_in_8bit else set()
    wrong = [name for name in dtypes["trained"] if name != trained]
    wrong += [name for name in dtypes["frozen"] if name != base and name not in quantized]
    if wrong:
        raise RuntimeError(
            f"run.yaml says {base} for the model and so {trained} for what is trained, and the live model has {dtypes}"
        )


def optimizer_words(config: RunConfig) -> str:
    """Which number format the optimizer keeps its notes in."""
    kind = config.training.optim or "adamw_torch_fused"
    return f"The optimizer ({kind}) keeps its notes in {stated_optimizer_dtype(config) or '8 bits'}."


def stated_optimizer_dtype(config: RunConfig) -> str | None:
    """The number format of the optimizer's notes; None for the 8-bit ones, which keep small ones in float32."""
    kind = config.training.optim or ""
    return None if "8bit" in kind else "float32" if kind == "adafactor" else trained_dtype(config)


def optimizer_dtypes(optimizer: Any) -> set[str]:
    """Number formats of an optimizer's state after its first step; counters and scalars do not count."""
    import torch

    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    return {
        str(value.dtype).removeprefix("torch.")
        for state in inner.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim() > 0
    }


def _cannot_load(what: str, config: RunConfig, error: Exception) -> UserError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "flash" in first.lower() and config.model.attn_implementation == "flash_attention_2":
        return UserError(
            f"This way to compute attention does not work here: {first}",
            "attn_implementation flash_attention_2",
            "Install its package (flash-attn), or leave attn_implementation out: sdpa is fast everywhere.",
        )
    return UserError(
        f"The {what} cannot be loaded: {first}",
        config.model.model_name_or_path,
        "Check the name, your access to it, and that the folder holds config.json, tokenizer files and .safetensors weights.",
    )
