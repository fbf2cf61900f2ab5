"""The losses of objectives that learn from preferences, scores or rewards: TRL's own code, without its trainers' preparations."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Callable
from types import MethodType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from engine.fit.types import TrainSetup

META = torch.device("meta")
# What each trainer asks the fused head for (its ``add_fused_lm_head``).
OUTPUTS: dict[str, tuple[str, ...]] = {
    "sft": ("log_probs", "entropy", "is_top1"),
    "dpo": ("log_probs", "entropy", "mean_logits", "is_top1"),
    "kto": ("log_probs", "entropy", "mean_logits"),
    "grpo": ("log_probs", "entropy"),
    "rloo": ("log_probs", "entropy"),
}


class LogProbabilities(torch.autograd.Function):
    """``_LogProbEntropyFunction`` in trl/kernels/logprob_entropy.py: numbers a row, and a gradient as large as the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor) -> Tensor:
        made = [torch.empty(index.shape, dtype=torch.float32, device=logits.device) for _ in range(4)]
        ctx.save_for_backward(logits, index, *made[2:])
        return made[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0], memory_format=torch.contiguous_format), None


def selective_log_softmax(logits: Tensor, index: Tensor, *_: Any, **__: Any) -> Tensor:
    """What trl/trainer/utils.py does on a card, where Triton is there."""
    result: Tensor = LogProbabilities.apply(logits, index)
    return result


def stand_in(model: Any, setup: TrainSetup, call: Callable[..., Any]) -> Any:
    """TRL's trainer of the run's objective, as far as its loss looks at it.

    Args:
        model: As the trainer gets it; its forward pass becomes ``call``.
        setup: The run.
        call: The model's forward pass as accelerate prepares it.
    """
    from engine.train.objectives import load_objective

    objective = load_objective(setup.objective)
    kind: Any = objective.trainer_class
    with tempfile.TemporaryDirectory() as folder:
        args = objective.config_class(output_dir=folder, use_cpu=True, bf16=False, report_to=[])
    trainer = kind.__new__(kind)
    trainer.__dict__.update({name: value for name, value in vars(args).items() if not hasattr(kind, name)})
    trainer.__dict__.update(
        args=SimpleNamespace(**{**vars(args), "device": META}),
        model=model,
        ref_model=None,
        accelerator=_accelerator(),
        aux_loss_enabled=False,
        current_gradient_accumulation_steps=setup.gradient_accumulation,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _stored_metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        _peft_has_been_casted_to_bf16=False,
        _entropy_bonus_enabled=False,
        is_encoder_decoder=False,
        padding_value=0,
        # Without a second model and without an adapter to switch off, what the model said before comes with the data.
        precompute_ref_logps=setup.tuning != "lora",
        calculate_KL=True,
        use_vllm=False,
        state=SimpleNamespace(global_step=0),
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        epsilon_low=0.2,
        epsilon_high=0.2,
    )
    if setup.objective in ("kto", "grpo"):
        trainer.loss_type = {"kto": "kto", "grpo": "dapo"}[setup.objective]
    model.forward = MethodType(lambda _, *given, **named: call(*given, **named), model)
    return trainer


def _accelerator() -> Any:
    def same(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        return tensor

    return SimpleNamespace(
        device=META,
        num_processes=1,
        is_main_process=True,
        unwrap_model=lambda model: model,
        gather=same,
        gather_for_metrics=same,
        reduce=same,
        autocast=contextlib.nullcontext,
        parallelism_config=None,
    )


def loss_of(trainer: Any, setup: TrainSetup, inputs: dict[str, Tensor]) -> Tensor:
    """The loss of one batch."""
    own: Tensor
    if setup.objective in ("grpo", "rloo"):
        own = trainer._compute_loss(trainer.model, inputs)
    elif setup.objective in ("dpo", "kto"):
        own = trainer._compute_loss(trainer.model, inputs, False)
    else:
        own = trainer.compute_loss(trainer.model, inputs)
    return own


def write_answers(model: Any, recorder: Any, rows: int, prompt: int, length: int) -> None:
    """What transformers' ``generate`` does with the prompts, and then for the last token of answers of the full length."""
    from transformers import DynamicCache

    def score(tokens: int, before: int) -> None:
        ids = torch.zeros((rows, tokens), dtype=torch.long).to(META)
        mask = torch.zeros((rows, before + tokens), dtype=torch.long).to(META)
        result = model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        result.logits[:, -1, :].to(copy=True, dtype=torch.float32)

    cache = DynamicCache(config=model.config)
    score(prompt, 0)
    for index, layer in enumerate(cache.layers):
        recorder.enter_layer(index)
        keys, values = layer.keys, layer.values
        if keys is not None and length - 1 > prompt:
            size = (*keys.shape[:2], length - 1 - prompt)
            more = torch.empty((*size, keys.shape[-1]), dtype=keys.dtype, device=META)
            last = torch.empty((*size, values.shape[-1]), dtype=values.dtype, device=META)
            del keys, values
            cache.update(more, last, index)
            del more, last
    recorder.leave_layers()
    score(1, length - 1)


def inputs_of(setup: TrainSetup, batch: int, length: int) -> dict[str, Tensor]:
    """What the objective's collator makes, moved to the device. The second half of each text is what is judged."""

    def ids(rows: int = batch, tokens: int = length) -> Tensor:
        return torch.zeros((rows, tokens), dtype=torch.long).to(META)

    three = ("input_ids", "attention_mask", "completion_mask")
    before = setup.tuning != "lora"
    if setup.objective == "dpo":
        names = ("ref_chosen_logps", "ref_rejected_logps") if before else ()
        return {name: ids() for name in three} | {name: torch.zeros(batch // 2).to(META) for name in names}
    if setup.objective == "kto":
        made = {f"{prefix}{name}": ids() for prefix in ("", "KL_") for name in three}
        names = ("ref_logps", "ref_KL_logps") if before else ()
        made |= {name: torch.zeros(batch).to(META) for name in names}
        return made | {"label": torch.zeros(batch, dtype=torch.bool).to(META)}
    if setup.objective == "orpo":
        parts = ("input_ids", "attention_mask", "labels")
        return {f"{kind}_{name}": ids(batch // 2) for kind in ("chosen", "rejected") for name in parts}
    if setup.objective == "reward":
        return {name: ids() for name in three[:2]}
    prompt = length // 2
    made = {f"prompt_{name}": ids(tokens=prompt) for name in ("ids", "mask")}
    made |= {f"completion_{name}": ids(tokens=length - prompt) for name in ("ids", "mask")}
    made["advantages"] = torch.zeros(batch).to(META)
    made["num_items_in_batch"] = torch.zeros(()).to(META)
    old = {"grpo": ("old_per_token_logps", (batch, length - prompt)), "rloo": ("old_logps", (batch,))}
    name, shape = old[setup.objective]
    made[name] = torch.zeros(shape).to(META)
    return made
