"""What of another software stack the installed libraries can be made to do."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import UserError
from engine.fit.profiles import Profile
from engine.fit.types import DType, TrainSetup

FUSED = "trl_fused"
LOSSES = (
    FUSED,
    "upcast",
    "float_shift",
    "model_float_shift",
    "model_float",
    "float_inplace",
    "model_float_inplace",
    "liger",
    "eighths",
)
# Facts of a profile that are other code than the installed libraries have, in words.
FOREIGN = {
    "joined_qkv": "its own model code has one matrix for queries, keys and values",
    "quantizes_head": "the output layer is quantized, too",
    "dequantizes_float32": "an older bitsandbytes unpacks weights to float32 first",
    "bnb4_keeps_input": "an older bitsandbytes keeps the inputs of 4-bit layers",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack profile, as far as it changes a simulated step.

    Attributes:
        name: The profile.
        loss: How the loss is computed.
        trained_dtype: Number format of what is trained.
        norms_float32: Normalisations of a quantized model are held in float32.
        embeddings_float32: So are its embedding and head.
        keeps_outputs: The training loop holds the model's outputs during the backward pass.
        keeps_last_outputs: It holds them until the next forward pass is through.
        empties_cache: It empties the allocator's cache between batches.
        loads_at_once: Before loading, one block as large as all weights is allocated and given back.
        reentrant: Gradient checkpointing is of the reentrant kind.
        fused_norm: Norms and rotations run in one kernel each.
        fused_lora: So do adapters on quantized attention linears.
        fused_experts: Experts are 3-D parameters.
        adapts_experts: Such parameters get adapters where all linears are asked for.
        grouped_heads: sdpa takes grouped keys and values as they are.
    """

    name: str
    loss: str
    trained_dtype: DType
    norms_float32: bool
    embeddings_float32: bool
    keeps_outputs: bool
    keeps_last_outputs: bool
    empties_cache: bool
    loads_at_once: bool
    reentrant: bool
    fused_norm: bool
    fused_lora: bool
    fused_experts: bool
    adapts_experts: bool
    grouped_heads: bool

    @classmethod
    def of(cls, profile: Profile, setup: TrainSetup) -> Stack:
        """The stack of a run.

        Raises:
            UserError: Its code differs from the installed libraries in a way that cannot be simulated.
        """
        loss = setup.loss or profile.loss
        foreign = [words for name, words in FOREIGN.items() if getattr(profile, name)]
        if loss not in LOSSES:
            foreign.append(f"the loss is computed as '{loss}'")
        if foreign:
            raise UserError(
                f"The software of this run works differently from what is installed here ({foreign[0]}), so its step cannot "
                "be simulated.",
                profile.title,
                "Use the arithmetic estimate instead.",
            )
        quantized = setup.quantization != "none"
        wide = profile.adapter_float32_quantized if quantized else profile.adapter_float32
        usual: DType = "float32" if setup.tuning == "lora" and wide else setup.dtype
        return cls(
            name=profile.name,
            loss=loss,
            trained_dtype=setup.trained_dtype or usual,
            norms_float32=quantized and profile.norms_float32_quantized,
            embeddings_float32=quantized and profile.embeddings_float32_quantized,
            keeps_outputs=profile.keeps_outputs,
            keeps_last_outputs=profile.keeps_last_outputs,
            empties_cache=profile.empties_cache,
            loads_at_once=profile.loads_at_once,
            reentrant=profile.reentrant,
            fused_norm=profile.fused_norm,
            fused_lora=profile.fused_lora and quantized and setup.tuning == "lora",
            fused_experts=profile.fused_experts,
            adapts_experts=profile.adapts_fused_experts,
            grouped_heads=profile.sdpa_gqa,
        )
