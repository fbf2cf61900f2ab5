"""What architecture families do differently from Llama, as far as memory is concerned.

From the modeling files of transformers 5.23 (``models/<model_type>/modeling_<model_type>.py``) and, for models that
came with their own code, from that code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Layout = Literal[
    "llama", "phi3", "glm", "gpt2", "bigcode", "neox", "falcon", "bloom", "opt", "phi", "gptj", "gpt_neo",
    "starcoder2", "mpt", "qwen1", "latent", "plain_mlp", "codegen", "fc_mlp", "lfm2",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """Behaviour of one ``model_type``.

    Attributes:
        layout: Names and shapes of the linears.
        norm: Which normalisation, by what it keeps for the backward pass.
        norms: Normalisations over the residual stream's width in a layer.
        post_norm: The results of attention and feed-forward are normalised, not their inputs.
        tied: What ``tie_word_embeddings`` defaults to when config.json leaves it out.
        activation: What ``hidden_act`` defaults to.
        parallel: Attention and feed-forward read the same input and are added together.
        scaled_logits: The logits are multiplied or divided once more.
        softcap: Attention scores are soft-capped, which only eager and flex attention compute.
        sinks: Attention has learned sinks, which sdpa does not compute.
        qk_norm: Queries and keys are normalised.
        dropout: The results of attention and feed-forward go through dropout unless config.json says 0.
        estimated: What of it is only estimated, in words.
        spread: How far the need may lie above an estimate, in per cent, rounded up from the simulated step's.
        biases: Groups of linears that have a bias by default.
    """

    layout: Layout = "llama"
    norm: Literal["rms", "gemma", "layer", "cohere", "olmo"] = "rms"
    norms: int = 2
    post_norm: bool = False
    tied: bool = False
    activation: str = "silu"
    parallel: bool = False
    scaled_logits: bool = False
    softcap: bool = False
    sinks: bool = False
    qk_norm: bool = False
    dropout: bool = False
    estimated: str = ""
    spread: int = 15
    biases: tuple[str, ...] = ()


_MIXERS = "layers without attention are estimated"
_GEMMA = Family(norm="gemma", tied=True, activation="gelu_pytorch_tanh")
_GEMMA3 = Family(norm="gemma", norms=4, tied=True, activation="gelu_pytorch_tanh", qk_norm=True)
_GEMMA3N = replace(
    _GEMMA3, estimated="its per-layer embeddings and shared keys are estimated", scaled_logits=True
)
_EXPERTS = Family(qk_norm=True)
_UNCHECKED = "what its layers keep was not compared with a simulated step"
_LATENT = Family(layout="latent", estimated=_UNCHECKED)
_QWEN35 = Family(norm="gemma", qk_norm=True, estimated=_MIXERS, spread=30)
_GRANITE = Family(scaled_logits=True)
_NEOX = Family("neox", "layer", activation="gelu", parallel=True, biases=("qkv", "o", "mlp"))
_GPT2 = Family("gpt2", "layer", tied=True, activation="gelu_new", dropout=True, biases=("qkv", "o", "mlp"))

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "ministral": Family(),
    "ministral3": Family(),
    "mistral3": Family(),
    "mixtral": Family(),
    "qwen": Family("qwen1", biases=("qkv",)),
    "qwen2": Family(biases=("qkv",)),
    "qwen2_moe": Family(biases=("qkv",)),
    "qwen2_vl": Family(biases=("qkv",)),
    "qwen2_5_vl": Family(biases=("qkv",)),
    "qwen3": Family(qk_norm=True),
    "qwen3_vl": Family(qk_norm=True),
    "qwen3_moe": _EXPERTS,
    "qwen3_vl_moe": _EXPERTS,
    "qwen3_next": _QWEN35,
    "qwen3_5": _QWEN35,
    "qwen3_5_text": _QWEN35,
    "qwen3_5_moe": _QWEN35,
    "qwen3_5_moe_text": _QWEN35,
    "gemma": _GEMMA,
    "gemma2": Family(norm="gemma", norms=4, tied=True, activation="gelu_pytorch_tanh", softcap=True),
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "gemma3n": _GEMMA3N,
    "gemma3n_text": _GEMMA3N,
    "gemma4": _GEMMA3N,
    "gemma4_text": _GEMMA3N,
    "gemma4_unified": _GEMMA3N,
    "paligemma": _GEMMA,
    "phi": Family(
        "phi", "layer", 1, activation="gelu_new", parallel=True, biases=("qkv", "o", "mlp", "lm_head")
    ),
    "phi3": Family("phi3"),
    "phimoe": Family(norm="layer", biases=("qkv", "o", "lm_head"), estimated=_UNCHECKED),
    "glm": Family("glm", biases=("qkv",)),
    "glm4": Family("glm", norms=4, biases=("qkv",)),
    "glm4_moe": Family(biases=("qkv",)),
    "gpt2": _GPT2,
    "gpt_bigcode": Family(
        "bigcode",
        "layer",
        tied=True,
        activation="gelu_pytorch_tanh",
        dropout=True,
        biases=("qkv", "o", "mlp"),
    ),
    "gpt_neo": Family(
        "gpt_neo",
        "layer",
        tied=True,
        activation="gelu_new",
        biases=("o", "mlp"),
        estimated="the float32 copies inside its attention are estimated",
    ),
    "gpt_neox": _NEOX,
    "gptj": Family("gptj", "layer", 1, activation="gelu_new", parallel=True, biases=("mlp", "lm_head")),
    "falcon": Family("falcon", "layer", 1, tied=True, activation="gelu", parallel=True),
    "bloom": Family(
        "bloom",
        "layer",
        tied=True,
        activation="gelu",
        biases=("qkv", "o", "mlp"),
        estimated="the copies inside its attention are estimated",
        spread=30,
    ),
    "opt": Family("opt", "layer", tied=True, activation="relu", dropout=True, biases=("qkv", "o", "mlp")),
    "mpt": Family("mpt", "layer", tied=True, activation="gelu"),
    "stablelm": Family(norm="layer"),
    "starcoder2": Family(
        "starcoder2", "layer", tied=True, activation="gelu_pytorch_tanh", biases=("qkv", "o", "mlp")
    ),
    "cohere": Family(norm="cohere", norms=1, tied=True, parallel=True, scaled_logits=True),
    "cohere2": Family(norm="cohere", norms=1, tied=True, parallel=True, scaled_logits=True),
    "olmo": Family(norm="olmo"),
    "olmo2": Family(norm="gemma", post_norm=True, qk_norm=True),
    "olmo3": Family(norm="gemma", post_norm=True, qk_norm=True),
    "olmoe": _EXPERTS,
    "granite": _GRANITE,
    "granitemoe": _GRANITE,
    "granitemoeshared": _GRANITE,
    "granitemoehybrid": Family(scaled_logits=True, estimated=_MIXERS),
    "smollm3": Family(tied=True),
    "exaone4": Family(post_norm=True, qk_norm=True),
    "seed_oss": Family(dropout=True, biases=("qkv",)),
    "gpt_oss": Family(sinks=True, biases=("qkv", "o")),
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "llama4": Family(qk_norm=True, estimated=_UNCHECKED),
    "llama4_text": Family(qk_norm=True, estimated=_UNCHECKED),
    "mllama": Family(estimated=_UNCHECKED),
    "lfm2": Family("lfm2", tied=True, qk_norm=True, estimated=_MIXERS),
    "apertus": Family(
        "plain_mlp",
        activation="xielu",
        qk_norm=True,
        estimated="what its activation function keeps is estimated",
    ),
    "arcee": Family("plain_mlp", activation="relu2"),
    "nemotron": Family("plain_mlp", "layer", activation="relu2"),
    "internlm3": Family(),
    "ernie4_5": Family(tied=True),
    "jais2": Family("plain_mlp", "layer", activation="relu2", biases=("qkv", "o", "mlp")),
    "persimmon": Family("neox", "layer", activation="relu2", biases=("qkv", "o", "mlp")),
    "codegen": Family("codegen", "layer", 1, activation="gelu_new", parallel=True, biases=("mlp", "lm_head")),
    "nanochat": Family("fc_mlp", activation="relu2", qk_norm=True, scaled_logits=True),
    "minicpm3": Family("latent", tied=True),
    "youtu": Family("latent", tied=True),
    "helium": Family(),
    "cwm": Family(),
    "hunyuan_v1_dense": Family(qk_norm=True),
    "llava": Family(),
    "internvl": Family(biases=("qkv",)),
    "smolvlm": Family(),
    "idefics3": Family(),
}

# Attention that is written out in transformers, whatever is asked for (``_supports_sdpa`` is not set); those in the
# second set have flash attention, too.
EAGER_ONLY = frozenset(["bloom", "mpt", "codegen", "xglm", "gpt_neox_japanese"])
NO_SDPA = frozenset(["gpt_neo", "gptj"])

# Activations that end in a power or an exponential, which autocast computes in float32 (autocast_mode.h).
WIDE_ACTIVATIONS = frozenset(["gelu_new", "relu2", "xielu"])

# Mixers that are no attention, and whole families whose memory this arithmetic does not describe.
UNFAMILIAR = frozenset(
    [
        "mamba",
        "mamba2",
        "falcon_mamba",
        "rwkv",
        "xlstm",
        "recurrent_gemma",
        "reformer",
        "jamba",
        "bamba",
        "zamba",
        "zamba2",
        "falcon_h1",
        "nemotron_h",
        "kimi_linear",
        "olmo_hybrid",
        "minimax",
        "bailing_hybrid",
        "doge",
        "blt",
        "cpmant",
        "xlnet",
        "xlm",
    ]
)

# Last part of a linear's name -> what it does. A name that means two things is told apart by its input width.
ROLES: dict[str, str] = {
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o", "dense": "o", "wo": "o",
    "query_key_value": "qkv", "qkv_proj": "qkv", "c_attn": "qkv", "Wqkv": "qkv", "W_pack": "qkv", "wqkv": "qkv",
    "q_a_proj": "q_a", "q_b_proj": "q", "kv_a_proj_with_mqa": "kv_a", "kv_b_proj": "kv_b",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "gate_up_proj": "gate_up",
    "input_linear": "gate_up", "output_linear": "down", "w1": "gate", "w3": "up", "w2": "down",
    "fc1": "up", "fc2": "down", "fc_in": "up", "fc_out": "down", "c_fc": "up", "c_proj": "o",
    "dense_h_to_4h": "up", "dense_4h_to_h": "down", "up": "up", "down": "down",
    "in_proj": "mixer_in", "in_proj_qkv": "mixer_in", "in_proj_qkvz": "mixer_in", "in_proj_z": "mixer_in",
    "in_proj_ba": "mixer_in", "in_proj_a": "mixer_in", "in_proj_b": "mixer_in",
    "lm_head": "head", "embed_out": "head", "output": "head",
}  # fmt: skip


def role(name: str, in_features: int, hidden: int) -> str:
    """What a linear does: ``q``, ``qkv``, ``o``, ``gate``, ``up``, ``down``, ``head`` or ``other``."""
    found = ROLES.get(name, "other")
    if name == "c_proj" and in_features != hidden:
        return "down"
    return found
