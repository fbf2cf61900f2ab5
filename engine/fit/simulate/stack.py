"""What of another software stack the installed libraries can be made to do."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import UserError
from engine.fit.profiles import Profile
from engine.fit.types import DType, TrainSetup

FUSED = "trl_fused"
LOSSES = (FUSED, "upcast", "float_shift", "model_float_shift", "model_float")
# Facts of a profile that are other code than the installed libraries have.
FOREIGN = (
    "fused_norm",
    "fused_lora",
    "joined_qkv",
    "quantizes_head",
    "dequantizes_float32",
    "bnb4_keeps_input",
)


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack profile, as far as it changes a simulated step.

    Attributes:
        name: The profile.
        loss: How the loss is computed.
        trained_dtype: Number format of what is trained.
        norms_float32: Normalisations of a quantized model are held in float32.
        embeddings_float32: So are its embedding and head.
        keeps_outputs: The training loop holds the model's outputs until the next forward pass is through.
        reentrant: Gradient checkpointing is of the reentrant kind.
        grouped_heads: sdpa takes grouped keys and values as they are.
    """

    name: str
    loss: str
    trained_dtype: DType
    norms_float32: bool
    embeddings_float32: bool
    keeps_outputs: bool
    reentrant: bool
    grouped_heads: bool

    @classmethod
    def of(cls, profile: Profile, setup: TrainSetup) -> Stack:
        """The stack of a run.

        Raises:
            UserError: Its code differs from the installed libraries in a way that cannot be simulated.
        """
        loss = setup.loss or profile.loss
        foreign = [name for name in FOREIGN if getattr(profile, name)]
        if foreign or loss not in LOSSES:
            raise UserError(
                f"The software of this run works differently from what is installed here ({(foreign or [loss])[0]}), so its "
                "step cannot be simulated.",
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
            reentrant=profile.reentrant,
            grouped_heads=profile.sdpa_gqa,
        )
