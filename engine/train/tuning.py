"""Which parameters are trained, and by which rule: adapters, the last layers, or everything."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from engine.config.schema import RunConfig
from engine.display import printable
from engine.errors import UserError

LAYERS_BY_DEFAULT = 2


def lora(config: RunConfig, new_rows: dict[str, list[int]] | None = None, task: str = "CAUSAL_LM") -> Any:
    """PEFT's LoraConfig, or None when the weights themselves are trained.

    Args:
        config: The run.
        new_rows: Rows of the embeddings that are trained whole, because their tokens are new: layer name to token ids.
        task: PEFT's name of the task.
    """
    if config.method.tuning != "lora":
        return None
    from peft import LoraConfig

    settings = config.lora
    if settings.use_dora and config.model.load_in_8bit:
        _require_card_for_dora()
    return LoraConfig(
        task_type=task,
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=settings.lora_target_modules,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        bias="none",
        modules_to_save=list(settings.lora_modules_to_save) or None,
        trainable_token_indices=new_rows or None,
    )


def _require_card_for_dora() -> None:
    """PEFT looks at the weights for DoRA, after which bitsandbytes cannot compute with 8 bits on a CPU."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "DoRA on a model held in 8 bits does not work without a GPU.",
            "use_dora, load_in_8bit",
            "Choose load_in_4bit true in place of 8 bits, or leave use_dora out.",
        )


def require_modules(model: Any, config: RunConfig) -> None:
    """Refuse layers that are to be trained whole and that the model does not have; PEFT would pass over them in silence.

    Raises:
        UserError: It names one.
    """
    names = [name for name, _ in model.named_modules()]
    for wanted in config.lora.lora_modules_to_save if config.method.tuning == "lora" else ():
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
            last = sorted({name.rpartition(".")[2] for name in names} - {""})
            known = [name for name in last if not name.isdigit()]
            raise UserError(
                f"The model has no layer called {printable(wanted, 60)}.",
                "lora_modules_to_save",
                f"Name layers of this model, such as: {printable(', '.join(known[:20]), 300)}.",
            )


def freeze(model: Any, num_layers: int, new_rows: dict[str, list[int]] | None = None) -> list[str]:
    """Leave only the last layers trainable, with the norm after them, a score head, and embeddings that have new tokens.

    Args:
        model: A transformers model; changed in place.
        num_layers: How many layers, counted from the end.
        new_rows: Embeddings that must learn new tokens: layer name to token ids.

    Returns:
        Names of the trained modules.

    Raises:
        UserError: The model has fewer layers, or none that can be counted.
    """
    name, layers = _layers(model)
    if num_layers > len(layers):
        raise UserError(
            f"The model has {len(layers)} layers, and {num_layers} of them are to be trained.",
            "freeze_trainable_layers",
            f"Choose at most {len(layers)}, or --tuning full.",
        )
    stem = name.rpartition(".")[0]
    trained = [f"{name}.{index}" for index in range(len(layers) - num_layers, len(layers))]
    trained += [
        child
        for child, module in model.named_modules()
        if child.rpartition(".")[0] == stem and "norm" in type(module).__name__.lower()
    ]
    trained += [child for child, _ in model.named_children() if child in ("score", "classifier")]
    trained += list(new_rows or ())
    for parameter_name, parameter in model.named_parameters():
        kept = any(parameter_name.startswith(f"{module}.") for module in trained)
        parameter.requires_grad_(kept and parameter.is_floating_point())
    # Gradient checkpointing lets the embeddings' output want gradients, for adapters in every layer. Here that would have frozen
    # layers below the trained ones keep their inputs, run twice and be gone back through, for nothing.
    model.enable_input_require_grads = _nothing
    return trained


def _nothing() -> None:
    """What is below the trained layers needs no gradients."""


def _layers(model: Any) -> tuple[str, Any]:
    """The longest list of alike modules: the decoder's layers, also inside a model with a vision tower."""
    import torch

    text = model.get_decoder() if hasattr(model, "get_decoder") else model
    lists = [
        (name, module)
        for name, module in text.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) > 1
    ]
    if not lists:
        raise UserError(
            "The layers of this model cannot be counted, so its last ones cannot be told.",
            "tuning freeze",
            "Choose --tuning lora or full.",
        )
    inner, layers = max(lists, key=lambda found: len(found[1]))
    if not any(module is layers for _, module in model.named_modules()):
        return inner, layers
    return next(name for name, module in model.named_modules() if module is layers), layers


class LoraPlus:
    """Mixed into a trainer: with a ratio, the second matrix of each adapter learns faster than the first."""

    loraplus_lr_ratio: float | None = None
    optimizer: Any
    model: Any
    args: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """As transformers does, unless LoRA+ is asked for."""
        if self.loraplus_lr_ratio is None or self.optimizer is not None:
            return super().create_optimizer(model)  # type: ignore[misc]
        from peft.optimizers import create_loraplus_optimizer

        model = self.model if model is None else model
        kind, settings = self.get_optimizer_cls_and_kwargs(self.args, model)  # type: ignore[attr-defined]
        self.optimizer = create_loraplus_optimizer(
            model,
            kind,
            lr=settings.pop("lr"),
            loraplus_lr_ratio=self.loraplus_lr_ratio,
            loraplus_weight_decay=self.args.weight_decay,
            **settings,
        )
        # Groups without parameters would be lost from saved optimizers of some kinds, and then not fit at a resume.
        self.optimizer.param_groups = [group for group in self.optimizer.param_groups if group["params"]]
        return self.optimizer


def require_liger(config: RunConfig) -> None:
    """Refuse Liger's kernels where they cannot run.

    Raises:
        UserError: No CUDA card, or no package.
    """
    if not config.training.use_liger_kernel:
        return
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "Liger's kernels run on CUDA cards only, and this run has none.",
            "use_liger_kernel",
            "Leave use_liger_kernel out.",
        )
    if find_spec("liger_kernel") is None:
        raise UserError(
            "The package with Liger's kernels is not installed.",
            "use_liger_kernel",
            "Install it with: pip install liger-kernel   or leave use_liger_kernel out.",
        )


def cannot_attach(error: Exception, model: Any, config: RunConfig) -> UserError | None:
    """PEFT's complaint about the layers that should get adapters, in words; None when the error is another one."""
    text = str(error)
    if "ParamWrapper" in text:
        return UserError(
            f"No adapter can be attached as asked: {printable(text.strip().splitlines()[0], 250)}",
            "lora_dropout, use_dora",
            "The experts of this model share one weight, of which PEFT can adapt only the plain form: set lora_dropout 0 and leave use_dora "
            "out.",
        )
    if not any(
        mark in text
        for mark in ("arget module", "target_modules", "modules_to_save", "lm_head", "all-linear")
    ):
        return None
    import torch

    names = sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and "lora_" not in name
        }
        - {"default", "base_layer", "score"}
    )
    return UserError(
        f"No adapter can be attached as asked: {printable(text.strip().splitlines()[0], 250)}",
        f"lora_target_modules {printable(config.lora.lora_target_modules, 120)}",
        f"Name layers of this model, such as: {printable(', '.join(names[:12]), 300) or 'none found'}. Or --tuning full.",
    )
