"""One step of the real trainer on this machine's CPU, as PyTorch's own memory profiler saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from engine.config.schema import RunConfig
from engine.fit.types import TrainSetup
from engine.train import model as loading
from engine.train.objectives import core, load_objective

DEMO = Path(__file__).parents[2] / "presets" / "demo"
MEASURED_STEP = 2  # the third: optimizer states are there, and two steps were alike
# torch.get_rng_state(): gradient checkpointing keeps the host's random state, which is host memory on a card too.
RANDOM_STATE = 5056


class _Profiled(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == MEASURED_STEP:
            self.profile.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == MEASURED_STEP + 1:
            self.profile.__exit__(None, None, None)


def real_step(
    config: Mapping[str, Any], setup: TrainSetup, folder: Path, lengths: Sequence[int] = ()
) -> list[int]:
    """Train three steps with `engine.train`'s trainer, as it packs rows by default.

    Args:
        config: The model's configuration.
        setup: The run.
        folder: Where the model is written.
        lengths: Tokens of the rows of every step; all of ``seq_len`` when left out.

    Returns:
        Sizes of the third step's allocations, negative for releases, in order.
    """
    from datasets import Dataset

    model_folder = folder / "model"
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING[config["model_type"]].from_dict(dict(config)), dtype=getattr(torch, setup.dtype)
    )
    made.save_pretrained(model_folder)
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(model_folder)
    run = RunConfig.model_validate(
        {
            "model": {
                "model_name_or_path": str(model_folder),
                "dtype": setup.dtype,
                "load_in_4bit": setup.quantization == "nf4",
                "load_in_8bit": setup.quantization == "int8",
            },
            "data": {"train": ["unused.jsonl"]},
            "method": {
                "objective": setup.objective,
                "tuning": setup.tuning,
                "freeze_trainable_layers": setup.trained_layers if setup.tuning == "freeze" else None,
            },
            "lora": {"lora_r": setup.lora_r, "lora_dropout": setup.lora_dropout},
            "training": {
                "max_length": setup.seq_len,
                "per_device_train_batch_size": setup.batch // setup.texts,
                "gradient_accumulation_steps": setup.gradient_accumulation,
                "max_steps": MEASURED_STEP + 1,
                "optim": setup.optimizer,
                "gradient_checkpointing": setup.gradient_checkpointing,
                **({"group_by_length": False} if setup.objective == "sft" else {}),
            },
            # Full training without a second model: what it said before was computed before.
            "preference": {"precompute_ref_log_probs": setup.tuning != "lora"}
            if setup.objective in ("dpo", "kto")
            else {},
            "watch": {"save_steps": 100},
        }
    )
    lengths = lengths or [setup.seq_len] * (setup.batch * setup.gradient_accumulation // setup.texts)
    rows = [
        _row(setup.objective, length, number)
        for number, length in enumerate([*lengths] * (MEASURED_STEP + 2))
    ]
    callback = _Profiled()
    trainer = core.build(
        run,
        loading.load_model(run, load_objective(setup.objective).auto_model),
        loading.load_tokenizer(run),
        Dataset.from_list(rows),
        None,
        core.arguments(run, str(folder / "out"), False, False),
        [callback],
    )
    trainer._get_train_sampler = lambda *_: SequentialSampler(
        trainer.train_dataset
    )  # the rows of a step stay together
    trainer.train()
    return _allocations(callback.profile)


def _row(objective: str, length: int, number: int) -> dict[str, Any]:
    """A row of tokens as the objective's preparation makes it; the second half of a text is the answer."""
    prompt, answer = [5] * (length // 2), [5] * (length - length // 2)
    if objective == "dpo":
        return {"prompt_ids": prompt, "chosen_ids": answer, "rejected_ids": answer}
    if objective == "kto":
        return {"prompt_ids": prompt, "completion_ids": answer, "label": number % 2 == 0}
    if objective == "reward":
        return {"chosen_ids": prompt + answer, "rejected_ids": prompt + answer}
    if objective == "orpo":
        made: dict[str, Any] = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for kind in ("chosen", "rejected"):
            made[f"{kind}_input_ids"] = prompt + answer
            made[f"{kind}_attention_mask"] = [1] * length
            made[f"{kind}_labels"] = [-100] * len(prompt) + answer
        return made
    return {"input_ids": [5] * length, "labels": [5] * length}


def _allocations(profiled: Any) -> list[int]:
    found: list[tuple[int, int]] = []
    waiting = list(profiled.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        kind, details = event.typed
        if kind == _EventType.Allocation and abs(details.alloc_size) != RANDOM_STATE:
            found.append((event.start_time_ns, details.alloc_size))
    return [size for _, size in sorted(found, key=lambda pair: pair[0])]
