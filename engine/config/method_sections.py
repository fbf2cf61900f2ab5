"""Settings about which model is taught, and which parts of it in which way."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from engine.config.section import Section, setting


class Model(Section):
    """Which model is trained, and in which precision it is loaded."""

    model_name_or_path: str = setting(
        ...,
        "The model to start from: a folder on this machine or an id of the Hugging Face Hub, such as Qwen/Qwen3-8B.",
        min_length=1,
    )
    model_revision: str = setting("main", "Branch, tag or commit of a Hub model.")
    dtype: Literal["bfloat16", "float16", "float32"] | None = setting(
        None,
        "Number format of the weights. bfloat16 halves the memory of float32 and is safe from Ampere cards (2020) on; "
        "float16 is for older cards; float32 for CPUs.",
    )
    load_in_4bit: bool | None = setting(
        None,
        "QLoRA: hold the frozen model in 4 bits. About a quarter of the memory, a little slower, nearly the same quality.",
    )
    load_in_8bit: bool = setting(
        False, "Hold the frozen model in 8 bits: half the memory, slower than 4 bits."
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4", "The 4-bit number format; nf4 suits model weights better."
    )
    use_bnb_nested_quant: bool = setting(
        True, "Double quantization: also compress the 4-bit scales; saves about 0.4 bit a weight."
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = setting(
        None,
        "How attention is computed. sdpa is fast everywhere; flash_attention_2 needs an extra package.",
    )


class Method(Section):
    """How the model is taught."""

    objective: Literal["sft", "cpt", "dpo", "kto", "orpo", "reward", "grpo", "rloo"] = setting(
        "sft",
        "What is learnt. sft: imitate answers. cpt: go on reading raw text. dpo: prefer the better of two answers. kto: learn "
        "from answers marked good or bad. orpo: imitate and prefer at once. reward: score answers. grpo, rloo: make up answers "
        "and learn from their rewards.",
    )
    tuning: Literal["full", "freeze", "lora"] = setting(
        "lora",
        "lora trains small added matrices and leaves the model as it is; freeze trains its last layers only (transfer learning); "
        "full changes every weight and needs several times the memory.",
    )
    freeze_trainable_layers: int | None = setting(
        None,
        "With tuning freeze: how many of the last layers are trained. More learns more and needs more memory.",
        "layers",
        "2 to a quarter of the model",
        ge=1,
        le=1000,
    )
    loss_type: str | None = setting(
        None,
        "Which form of the objective's loss. dpo: sigmoid, ipo, hinge, robust, exo_pair, apo_zero, apo_down, sigmoid_norm. kto: "
        "kto, apo_zero_unpaired. grpo: dapo, grpo, dr_grpo, bnpo. sft, cpt: nll, dft. The first of each is the usual one.",
    )
    beta: float | None = setting(
        None,
        "How strongly the model is held to what it was before. Higher keeps it closer and learns less; too low and answers fall "
        "apart. In orpo: how much preferring counts beside imitating. In grpo 0 saves the comparison altogether.",
        usual="0.1 for dpo, kto, orpo; 0 to 0.05 for grpo, rloo",
        ge=0,
        le=100,
    )


class Lora(Section):
    """The added matrices. They only matter when tuning is lora."""

    lora_r: int = setting(
        16,
        "Rank: how much the adapter can learn. Double it when the model does not pick up enough, halve it when it learns by "
        "heart. Adapter, its gradients and optimizer grow with it.",
        usual="8 to 64",
        ge=1,
        le=1024,
    )
    lora_alpha: int = setting(
        32,
        "Strength of the adapter: it counts alpha divided by the rank. Change it along with the rank; costs nothing.",
        usual="the rank, or twice the rank",
        ge=1,
        le=4096,
    )
    lora_dropout: float = setting(
        0.0,
        "Randomly drop part of the adapter while training. Raise it when few rows are learnt by heart; costs a little time and "
        "memory.",
        usual="0 to 0.1",
        ge=0,
        lt=1,
    )
    lora_target_modules: str | list[str] = setting(
        "all-linear",
        "Which layers get an adapter: all-linear learns best; a list such as [q_proj, v_proj] saves memory and learns less.",
    )

    @field_validator("lora_target_modules")
    @classmethod
    def _names(cls, value: str | list[str]) -> str | list[str]:
        """A name, or several with commas, is a list; what holds other signs is a pattern."""
        if isinstance(value, list) or value == "all-linear" or not re.fullmatch(r"[\w\s,]+", value):
            return value
        return [part for part in (part.strip() for part in value.split(",")) if part]

    use_rslora: bool = setting(
        False, "rsLoRA: scale by the square root of the rank. Helps at ranks of 64 and more; costs nothing."
    )
    use_dora: bool = setting(
        False, "DoRA: learn size and direction apart; slightly better at small ranks, slower."
    )
    loraplus_lr_ratio: float | None = setting(
        None,
        "LoRA+: the second matrix of each adapter learns so many times faster than the first. Learns sooner on hard tasks; "
        "then halve the learning rate. Without it both learn at the same rate.",
        usual="2 to 16",
        ge=1,
        le=1000,
    )
    lora_modules_to_save: list[str] = setting(
        [],
        "Layers trained whole beside the adapter, such as [embed_tokens]. They cost the memory of full fine-tuning, each for "
        "itself. Tokens that a chat template adds are learnt without it.",
        max_length=20,
    )
