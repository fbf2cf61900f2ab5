"""The values that both predictors share. Every size is in bytes, every count is exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DType = Literal["float32", "bfloat16", "float16"]
Tuning = Literal["full", "freeze", "lora"]
Quantization = Literal["none", "nf4", "fp4", "int8"]
Attention = Literal["sdpa", "eager", "flash_attention_2"]
Sharding = Literal["none", "ddp", "fsdp", "zero1", "zero2", "zero3"]
PhaseName = Literal["load", "generation", "forward", "loss", "backward", "optimizer", "evaluation", "save"]
Objective = Literal["sft", "dpo", "kto", "orpo", "reward", "grpo", "rloo"]

DTYPE_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix multiplication that occurs ``count`` times in the model.

    Attributes:
        name: Last part of the module's name, such as ``q_proj``.
        in_features: Width of its input.
        out_features: Width of its output.
        count: How often it occurs in the whole model.
        bias: It adds a vector.
        part: Where it sits: a text layer, an expert that is its own module, the vision tower, or the head.
        conv1d: A transformers ``Conv1D`` (GPT-2), which bitsandbytes quantizes too and PEFT handles as a linear.
    """

    name: str
    in_features: int
    out_features: int
    count: int
    bias: bool = False
    part: Literal["text", "expert", "vision", "head"] = "text"
    conv1d: bool = False

    @property
    def weights(self) -> int:
        """Elements of one weight matrix, without the bias."""
        return self.in_features * self.out_features


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of a mixture-of-experts model.

    Attributes:
        count: Experts in a layer.
        top_k: Experts that see a token.
        intermediate: Width inside one expert.
        layers: Layers that have experts.
        fused_params: Elements held in 3-D parameters (transformers 5), which LoRA on linears and 4-bit loading miss;
            0 where each expert is a module of linears.
        shared_intermediate: Width inside the shared experts together; 0 without.
    """

    count: int
    top_k: int
    intermediate: int
    layers: int
    fused_params: int
    shared_intermediate: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a model is made of.

    Attributes:
        name: Folder or Hub id, for messages.
        model_type: transformers' name of the architecture.
        params: Elements that transformers loads, everything included, tied matrices once.
        hidden: Width of the residual stream.
        layers: Decoder layers.
        heads: Query heads of a layer.
        kv_heads: Key and value heads of a layer.
        head_dim: Width of a head.
        value_dim: Width of a value head; differs from ``head_dim`` in latent attention only.
        intermediate: Width inside the (dense) feed-forward part.
        vocab: Rows of the embedding, padding included.
        tied: Input and output embedding are one matrix.
        linears: Every linear of the model, the head included.
        norm_params: Elements in normalisation layers.
        embedding_params: Elements of the token embedding.
        gated_mlp: Gate and up projections, multiplied.
        parallel_layer: Attention and feed-forward read the same norm (Falcon, Phi-2, GPT-NeoX, Cohere).
        norm: Which normalisation: RMS as in Llama, as in Gemma (all in float32), a fused layer norm, Cohere's, or OLMo's.
        post_norm: The results of attention and feed-forward are normalised, not their inputs.
        norms_per_layer: Over the width of the residual stream.
        qk_norm: Queries and keys are normalised per head (or whole).
        sliding_window: Tokens a local layer looks back; None for full attention everywhere.
        full_attention_layers: Layers that attend to everything.
        linear_attention_layers: Layers with a state-space, short-convolution or linear-attention mixer instead.
        learned_positions: Longest text the position table holds; 0 without a table.
        max_length: Longest text the model was made for; None when it does not say.
        softcap: Attention scores or logits are soft-capped.
        attention_sinks: Attention keeps learned sinks (gpt-oss).
        scaled_logits: The logits are multiplied, divided or capped once more.
        dropout: The results of attention and feed-forward go through dropout.
        vision_params: Frozen elements of a vision tower and its projector.
        prequantized: Format the repository is stored in, such as ``mxfp4`` or ``fp8``.
        checkpoint_dtype: Number format of the stored weights.
        unsure: What had to be assumed, in words.
        spread: How far the need may lie above the prediction because of that, in per cent.
    """

    name: str
    model_type: str
    params: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    linears: tuple[Linear, ...]
    norm_params: int
    embedding_params: int
    value_dim: int = 0
    gated_mlp: bool = True
    activation: str = "silu"
    parallel_layer: bool = False
    norm: Literal["rms", "gemma", "layer", "cohere", "olmo"] = "rms"
    post_norm: bool = False
    norms_per_layer: int = 2
    qk_norm: bool = False
    experts: Experts | None = None
    sliding_window: int | None = None
    full_attention_layers: int = 0
    linear_attention_layers: int = 0
    learned_positions: int = 0
    max_length: int | None = None
    softcap: bool = False
    attention_sinks: bool = False
    scaled_logits: bool = False
    dropout: bool = False
    vision_params: int = 0
    prequantized: str | None = None
    checkpoint_dtype: str = "bfloat16"
    unsure: tuple[str, ...] = ()
    spread: int = 0


@dataclass(frozen=True, slots=True)
class TrainSetup:
    """Everything about a run that costs memory.

    Attributes:
        tuning: Every weight, the last layers only, or added matrices only.
        trained_layers: How many layers ``freeze`` trains, counted from the end, with the norm after them.
        quantization: How the frozen weights are held.
        double_quant: bitsandbytes' nested quantization of the 4-bit scales.
        dtype: Number format the model is loaded in and computed in.
        trained_dtype: Number format of what is trained; None: as the stack does it.
        autocast: Mixed precision (``bf16=True`` or ``fp16=True`` of the Trainer).
        lora_r: Rank of the added matrices.
        lora_targets: Names of the linears that get one; ``("all-linear",)`` for every linear but the head.
        lora_dropout: Above 0 costs memory: masks and dropped inputs are kept.
        dora: Magnitude vectors beside the matrices.
        modules_to_save: Whole modules that are trained beside an adapter.
        objective: What is learnt; raw text counts as ``sft``.
        answer_length: Most tokens of an answer that the model makes up itself, of the ``seq_len`` that count prompt and answer;
            0 where it makes up none.
        batch: Texts a GPU handles at once.
        texts: Texts that one row of the dataset is: 2 for a better and a worse answer.
        reference: A second, frozen copy of the model is there to compare with.
        seq_len: Length all rows of the heaviest batch are padded to.
        eval_batch: Rows at once in evaluation; 0 when nothing is evaluated.
        eval_seq_len: Longest evaluation row; 0 means ``seq_len``.
        eval_keeps_logits: The Trainer gathers logits (``prediction_loss_only=False``).
        max_eval_rows: Rows whose logits pile up in that case.
        gradient_checkpointing: Recompute each layer in the backward pass.
        optimizer: Name as in TrainingArguments (``adamw_torch``, ``adamw_torch_fused``, ``paged_adamw_8bit`` ...).
        attention: What was asked for; what is really used follows from the architecture.
        loss: How the loss is computed; None: as the stack does it.
        padded: Rows of one batch differ in length, so an attention mask is materialised.
        packed: Rows are concatenated without padding (``seq_len`` is then the length of the concatenation).
        lines: Rows share lines as in `engine.train.packing`: each line has positions of its own, and where rows differ in
            length a mask keeps them apart, also on a single line.
        gradient_accumulation: Batches before an optimizer step; above 1 gradients stay during the forward pass.
        num_gpus: Processes that train together.
        sharding: How they share the states.
        compiled: ``torch.compile`` fuses elementwise work.
        optimizer_in_backward: Every weight is updated as soon as its gradient is there.
        offload_checkpoints: What gradient checkpointing keeps lies in host memory.
    """

    tuning: Tuning = "lora"
    trained_layers: int = 0
    quantization: Quantization = "none"
    double_quant: bool = True
    dtype: DType = "bfloat16"
    trained_dtype: DType | None = None
    autocast: bool = True
    lora_r: int = 16
    lora_targets: tuple[str, ...] = ("all-linear",)
    lora_dropout: float = 0.0
    dora: bool = False
    modules_to_save: tuple[str, ...] = ()
    objective: Objective = "sft"
    answer_length: int = 0
    batch: int = 1
    texts: int = 1
    reference: bool = False
    seq_len: int = 1024
    eval_batch: int = 0
    eval_seq_len: int = 0
    eval_keeps_logits: bool = False
    max_eval_rows: int = 0
    gradient_checkpointing: bool = True
    optimizer: str = "adamw_torch_fused"
    attention: Attention = "sdpa"
    loss: str | None = None
    padded: bool = True
    packed: bool = False
    lines: bool = False
    gradient_accumulation: int = 1
    num_gpus: int = 1
    sharding: Sharding = "none"
    compiled: bool = False
    optimizer_in_backward: bool = False
    offload_checkpoints: bool = False

    @property
    def tokens(self) -> int:
        """Tokens in flight on one GPU."""
        return self.batch * self.seq_len

    @property
    def answers(self) -> int:
        """Answers that are made up at once: those of all batches of a step (trl grpo_config.py ``steps_per_generation``)."""
        return self.batch * self.gradient_accumulation if self.answer_length else 0

    @property
    def masked(self) -> bool:
        """An attention mask is materialised: rows differ in length, and several lie in a batch or on a line."""
        together = self.batch * (self.gradient_accumulation if self.lines else 1)
        return self.padded and not self.packed and together > 1


@dataclass(frozen=True, slots=True)
class Part:
    """One named piece of the memory in use at a moment."""

    name: str
    bytes: int
    words: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """The heaviest moment of one phase of a step, and what is in memory then."""

    name: PhaseName
    parts: tuple[Part, ...]
    words: str = ""

    @property
    def bytes(self) -> int:
        """Bytes allocated at that moment."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Range:
    """A prediction as an interval: half of the runs need less than ``p50``, 19 of 20 less than ``p95``."""

    p50: int
    p95: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one GPU of a run will need.

    Attributes:
        allocated: Highest ``torch.cuda.max_memory_allocated()``.
        reserved: Highest ``torch.cuda.max_memory_reserved()``: allocated, and what the allocator keeps or cannot reuse.
        smi: Highest ``nvidia-smi`` use of the process: reserved, the CUDA context and the libraries' own memory.
        phases: Every phase at its heaviest moment.
        steady: Allocated between two steps.
        predictor: Which of the two predictors said so.
        profile: Name of the stack profile used.
        notes: What makes the interval wide, in words.
    """

    allocated: Range
    reserved: Range
    smi: Range
    phases: tuple[Phase, ...]
    steady: int
    predictor: Literal["arithmetic", "simulate"]
    profile: str
    notes: tuple[str, ...] = field(default=())

    @property
    def binding(self) -> Phase:
        """The phase that decides how much memory is needed."""
        return max(self.phases, key=lambda phase: phase.bytes)
