"""The user's model on meta tensors: transformers' modules, bitsandbytes' linears, PEFT's adapters, TRL's loss head."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from engine.errors import UserError
from engine.fit.simulate.device import Device
from engine.fit.simulate.fused import fuse_adapters, fuse_norms_and_rotations
from engine.fit.simulate.layers import Sketch, sketch
from engine.fit.simulate.objectives import OUTPUTS
from engine.fit.simulate.recorder import Recorder
from engine.fit.simulate.semantics import replaced
from engine.fit.simulate.stack import FUSED, Stack
from engine.fit.simulate.trace import OUTSIDE
from engine.fit.types import TrainSetup

META = torch.device("meta")
QUANTIZED_BYTES = {
    "nf4": 0.5,
    "fp4": 0.5,
    "int8": 1.0,
}  # `quantized_element_size` of transformers' quantizers


@dataclass(slots=True)
class Built:
    """A model that is ready to train.

    Attributes:
        model: As the trainer gets it.
        layers: Its decoder layers.
        layer_of: Finds the number of the layer in a parameter's name.
        sketch: Which layers of the full model they are.
        params: Elements of the full model, tied matrices once.
        warmup: Bytes transformers takes at once before loading (``caching_allocator_warmup``).
        replaced: What else is another function in this stack: ``(owner, name, value)``.
    """

    model: Any
    layers: list[Any]
    layer_of: re.Pattern[str]
    sketch: Sketch
    params: int
    warmup: int
    replaced: list[tuple[Any, str, Any]] = field(default_factory=list)

    def layer(self, name: str) -> int:
        """The layer a parameter belongs to, or ``OUTSIDE``."""
        found = self.layer_of.search(name)
        return int(found.group(1)) if found else OUTSIDE


def build(
    config: Mapping[str, Any],
    setup: TrainSetup,
    stack: Stack,
    recorder: Recorder,
    device: Device,
    full: bool,
) -> Built:
    """Build, load and prepare the model as the trainer does, and record what loading allocates.

    Args:
        config: The model's ``config.json``.
        setup: The run.
        stack: Its software.
        recorder: Gets the loading.
        device: What is simulated.
        full: Keep every layer instead of a few that stand for all.

    Raises:
        UserError: transformers cannot build this model.
    """
    model = _bare(config, setup)
    # SFTTrainer switches the cache of keys and values off; loops that call the model as it is get one.
    model.config.use_cache = stack.loss != FUSED
    if not stack.fused_experts and any(parameter.dim() == 3 for parameter in model.parameters()):
        raise UserError(
            "The software of this run works differently from what is installed here (each expert is a module of its own), "
            "so its step cannot be simulated.",
            str(model.config.model_type),
            "Use the arithmetic estimate instead.",
        )
    built = _shorten(model, setup, full)
    if setup.quantization != "none":
        _replace_linears(built.model, setup)
    with recorder:
        recorder.mark("load")
        if device.kind == "cuda" and stack.loads_at_once:
            warmup = torch.empty(built.warmup // 2, dtype=torch.float16, device=META)
            del warmup
        _load(built, setup, recorder)
    if setup.quantization != "none":
        _finish_quantized(built.model, setup)
    if setup.tuning == "lora":
        built.model = _attach_adapter(built.model, setup, stack)
        if stack.fused_lora:
            fuse_adapters(built.model)
        if setup.gradient_checkpointing:
            built.model.enable_input_require_grads()
    if setup.tuning == "freeze":
        from engine.train import tuning

        first = built.sketch.depth - setup.trained_layers
        tuning.freeze(built.model, sum(index >= first for index in built.sketch.chosen))
    _cast(built, setup, stack, recorder)
    from trl.trainer.utils import add_fused_lm_head

    if stack.loss == FUSED and setup.objective in OUTPUTS:
        # As SFTTrainer.__init__ does after wrapping the model.
        base = built.model.get_base_model() if setup.tuning == "lora" else built.model
        add_fused_lm_head(base, outputs=OUTPUTS[setup.objective])
    if setup.gradient_checkpointing:
        with _quiet():
            built.model.gradient_checkpointing_enable({"use_reentrant": stack.reentrant})
    if stack.fused_norm:
        built.replaced = fuse_norms_and_rotations(built.model)
    built.model.train()
    return built


def _bare(config: Mapping[str, Any], setup: TrainSetup) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    fields = {key: value for key, value in config.items() if key not in ("quantization_config", "auto_map")}
    model_type = str(fields.get("model_type", ""))
    if model_type in CONFIG_MAPPING and CONFIG_MAPPING[model_type] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            "transformers has no form of this model that only writes text (it may read pictures or sounds), so its step "
            "cannot be simulated.",
            model_type,
            "Use the arithmetic estimate instead.",
        )
    try:
        made = CONFIG_MAPPING[model_type].from_dict(fields)
        with META, _quiet():
            # flash_attention_2 needs its package to be installed; the kernel is the one that sdpa chooses.
            attention = "eager" if setup.attention == "eager" or not _has_sdpa(made) else "sdpa"
            kind: Any = AutoModelForCausalLM
            if setup.objective == "reward":
                kind, made.num_labels, made.pad_token_id = AutoModelForSequenceClassification, 1, 0
            model = kind.from_config(made, dtype=getattr(torch, setup.dtype), attn_implementation=attention)
    except Exception as error:  # transformers raises whatever its configuration code runs into
        raise UserError(
            f"transformers cannot build this model, so its step cannot be simulated: {str(error)[:200]}",
            model_type,
            "Use the arithmetic estimate instead.",
        ) from None
    return model


def _has_sdpa(config: Any) -> bool:
    """Whether transformers has this architecture with fused attention; soft-capped scores and sinks have none."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return bool(getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], "_supports_sdpa", True))


def _shorten(model: Any, setup: TrainSetup, full: bool) -> Built:
    """Keep a few layers."""
    config = model.config.get_text_config()
    depth = int(config.num_hidden_layers)
    name, layers = _decoder_layers(model, depth)
    params = sum(parameter.numel() for parameter in model.parameters())
    warmup = _warmup_bytes(model, setup)
    trained = depth - setup.trained_layers if setup.tuning == "freeze" else 0
    plan = sketch(
        [(index >= trained, *_signature(layer, config, index)) for index, layer in enumerate(layers)]
    )
    if full:
        plan = Sketch(tuple(range(depth)), plan.kinds, plan.kinds)
    if not plan.complete:
        kept = [layers[index] for index in plan.chosen]
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, nn.ModuleList(kept))
        config.num_hidden_layers = len(kept)
        for key in ("layer_types", "mlp_layer_types", "no_rope_layers"):
            values = getattr(config, key, None)
            if isinstance(values, list) and len(values) == depth:
                setattr(config, key, [values[index] for index in plan.chosen])
        for index, layer in enumerate(kept):
            for module in layer.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = index
    layers = list(model.get_submodule(name))
    pattern = re.compile(rf"(?:^|\.){re.escape(name)}\.(\d+)\.")
    return Built(model, layers, pattern, plan, params, warmup)


def _decoder_layers(model: Any, depth: int) -> tuple[str, list[Any]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth and "vision" not in name:
            return name, list(module)
    raise UserError(
        "The layers of this model cannot be told apart, so its step cannot be simulated.",
        str(model.config.model_type),
        "Use the arithmetic estimate instead.",
    )


def _signature(layer: Any, config: Any, index: int) -> tuple[Any, ...]:
    kinds = tuple(
        values[index]
        for key in ("layer_types", "mlp_layer_types", "no_rope_layers")
        if isinstance(values := getattr(config, key, None), list) and len(values) > index
    )
    window = tuple(
        (name, module.sliding_window)
        for name, module in layer.named_modules()
        if getattr(module, "sliding_window", None)
    )
    shapes = tuple((name, tuple(parameter.shape)) for name, parameter in layer.named_parameters())
    return kinds, window, shapes


def _bnb_config(setup: TrainSetup) -> Any:
    from transformers import BitsAndBytesConfig

    if setup.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=setup.quantization,
        bnb_4bit_use_double_quant=setup.double_quant,
        bnb_4bit_compute_dtype=getattr(torch, setup.dtype),
    )


def _skipped(model: Any) -> list[str]:
    from transformers.quantizers.base import HfQuantizer

    return HfQuantizer.get_modules_to_not_convert(model, None, getattr(model, "_keep_in_fp32_modules", None))


def _replace_linears(model: Any, setup: TrainSetup) -> None:
    from transformers.integrations import replace_with_bnb_linear

    with _quiet():
        replace_with_bnb_linear(
            model, modules_to_not_convert=_skipped(model), quantization_config=_bnb_config(setup)
        )


def _finish_quantized(model: Any, setup: TrainSetup) -> None:
    """What ``HfQuantizer.postprocess_model`` leaves on the model."""
    four = setup.quantization != "int8"
    model.is_quantized = True
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = four, not four
    model.config.quantization_config = _bnb_config(setup)
    model.quantization_method = model.config.quantization_config.quant_method


def _warmup_bytes(model: Any, setup: TrainSetup) -> int:
    """``get_total_byte_count`` in transformers' modeling_utils.py, over the full model."""
    from transformers.quantizers.quantizers_utils import should_convert_module

    itemsize = getattr(torch, setup.dtype).itemsize
    skipped = _skipped(model) if setup.quantization != "none" else []
    total = 0.0
    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    for module_name, module in model.named_modules():
        quantized = (
            setup.quantization != "none"
            and type(module) is nn.Linear
            and should_convert_module(module_name, skipped)
        )
        for name, parameter in module.named_parameters(recurse=False):
            if f"{module_name}.{name}" in tied:
                continue
            small = quantized and name == "weight"
            total += parameter.numel() * (QUANTIZED_BYTES[setup.quantization] if small else itemsize)
    return int(total)


def _load(built: Built, setup: TrainSetup, recorder: Recorder) -> None:
    """``convert_and_load_state_dict_in_model``: one tensor after the other, in the order of their names."""
    model = built.model
    dtype = getattr(torch, setup.dtype)
    done: set[int] = set()
    for name, parameter in sorted(model.named_parameters(), key=lambda item: _natural(item[0])):
        if id(parameter) in done:
            continue
        done.add(id(parameter))
        recorder.layer = built.layer(name)
        module = model.get_submodule(name.rpartition(".")[0])
        kind = type(parameter).__name__
        if kind == "Params4bit":
            _load_4bit(module, parameter, dtype)
        elif kind == "Int8Params":
            _load_8bit(module, parameter, dtype)
        else:
            parameter.data = torch.empty(parameter.shape, dtype=parameter.dtype, device=META)
    for name, module in model.named_modules():
        recorder.layer = built.layer(f"{name}.")
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = torch.empty(buffer.shape, dtype=buffer.dtype, device=META)
    recorder.layer = OUTSIDE


def _load_4bit(module: Any, parameter: Any, dtype: torch.dtype) -> None:
    """``Bnb4bitQuantize.convert`` in transformers/integrations/bitsandbytes.py."""
    import bitsandbytes as bnb

    value = torch.empty(parameter.shape, dtype=dtype, device=META)
    module.weight = bnb.nn.Params4bit(value, requires_grad=False, **parameter.__dict__)._quantize(META)


def _load_8bit(module: Any, parameter: Any, dtype: torch.dtype) -> None:
    """``Bnb8bitQuantize.convert``: to the host and back, so the loaded tensor and a float16 copy are there at once."""
    import bitsandbytes as bnb

    value = torch.empty(parameter.shape, dtype=dtype, device=META)
    half = torch.empty(parameter.shape, dtype=torch.float16, device=META)
    fields = {key: item for key, item in parameter.__dict__.items() if key not in ("SCB", "CB")}
    weight = bnb.nn.Int8Params(half, requires_grad=False, **fields)
    del half
    weight.CB, weight.SCB, _ = bnb.functional.int8_vectorwise_quant(weight.data)
    weight.data = weight.CB
    del value
    module.weight = weight
    # Linear8bitLt.init_8bit_state, at the first forward pass: the state takes the weight's tensors over.


def _attach_adapter(model: Any, setup: TrainSetup, stack: Stack) -> Any:
    from peft import LoraConfig, get_peft_model
    from peft.utils import transformers_weight_conversion as conversion

    def unchanged(*_: Any) -> None:
        """Older versions look for linears only."""

    targets = "all-linear" if setup.lora_targets == ("all-linear",) else list(setup.lora_targets)
    config = LoraConfig(
        task_type="SEQ_CLS" if setup.objective == "reward" else "CAUSAL_LM",
        r=setup.lora_r,
        lora_alpha=2 * setup.lora_r,
        lora_dropout=setup.lora_dropout,
        target_modules=targets,
        use_dora=setup.dora,
        modules_to_save=list(setup.modules_to_save) or None,
        bias="none",
    )
    experts: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if not stack.adapts_experts:
        experts = replaced((conversion, "_convert_peft_config_moe", unchanged))
    with META, _quiet(), experts:
        return get_peft_model(model, config)


def _cast(built: Built, setup: TrainSetup, stack: Stack, recorder: Recorder) -> None:
    """The number formats that training needs: ``engine.train.model.cast_trainable``, PEFT's k-bit preparation."""
    dtype = getattr(torch, stack.trained_dtype)
    with recorder:
        recorder.mark("adapter")
        for name, parameter in built.model.named_parameters():
            recorder.layer = built.layer(name)
            if parameter.requires_grad and setup.tuning == "lora":
                # PEFT made the adapters outside of the recording.
                parameter.data = torch.empty(parameter.shape, dtype=dtype, device=META)
            elif parameter.requires_grad and parameter.dtype != dtype:
                parameter.data = parameter.data.to(dtype)
            elif _is_widened(name, parameter, stack):
                parameter.data = parameter.data.to(torch.float32)
        recorder.layer = OUTSIDE


def _is_widened(name: str, parameter: Any, stack: Stack) -> bool:
    """``prepare_model_for_kbit_training`` casts 16-bit parameters that are not quantized to float32."""
    if parameter.requires_grad or parameter.dtype not in (torch.float16, torch.bfloat16):
        return False
    return stack.norms_float32 if parameter.dim() == 1 else stack.embeddings_float32


def _natural(name: str) -> list[tuple[int, int | str]]:
    """``dot_natural_key`` in transformers: numbers by value."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in name.split(".")]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries from printing advice that concerns a real run."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    before, level = transformers_logging.get_verbosity(), logging.root.manager.disable
    transformers_logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before)
        logging.disable(level)
