"""The fallback of a merge: the whole base in main memory, PEFT merges it, transformers saves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.deliver.export import model_files
from engine.deliver.export.job import Tell
from engine.deliver.export.manifest import note_extra
from engine.deliver.export.needs import check_ram
from engine.deliver.source import Trained
from engine.errors import UserError
from engine.models.weights import read_weights
from engine.run import atomic


def merge_whole(
    trained: Trained, base: Path, into: Path, tell: Tell, dtype: str | None, num_tokens: int
) -> None:
    """Merge with the whole model in memory, where a weight cannot be found in the files for certain.

    Args:
        trained: The adapter.
        base: Folder of the unquantized base.
        into: Gets weights and config.json; the tokenizer is there already.
        tell: Told of the steps; may cancel between them.
        dtype: Number format of the result; None keeps that of the base.
        num_tokens: Tokens of the tokenizer.

    Raises:
        UserError: There is too little memory.
    """
    from engine.train.heal.out_of_memory import is_out_of_memory

    weights = read_weights(base, atomic.read_json(base / "config.json") or {})
    check_ram(weights.size_bytes * 5 // 4, f"the whole model ({weights.dtype})")
    try:
        model = _merged(trained, base, tell, dtype, num_tokens)
        tell.step("Writing the merged model")
        model.save_pretrained(str(into))
    except Exception as error:
        if is_out_of_memory(error):
            raise _too_little("the whole model") from None
        raise
    tokenizer = model_files.load_tokenizer(trained.path)
    model_files.write_generation_config(base, tokenizer, into)
    config = atomic.read_json(into / "config.json") or {}
    atomic.write_json(into / "config.json", model_files.merged_config(config, tokenizer, None, None, False))
    note_extra(into, dtype=str(model.dtype).removeprefix("torch."))


def _merged(trained: Trained, base: Path, tell: Tell, dtype: str | None, num_tokens: int) -> Any:
    import torch
    import transformers
    from peft import PeftModel

    from engine.deliver.export.merge import auto_model

    kind = auto_model(trained)
    extra = {"num_labels": 1} if kind == "AutoModelForSequenceClassification" else {}
    tell.step("Loading the whole base model")
    model = getattr(transformers, kind).from_pretrained(
        str(base),
        dtype="auto",
        device_map={"": "cpu"},
        trust_remote_code=False,
        use_safetensors=True,
        **extra,
    )
    if num_tokens > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(num_tokens, mean_resizing=False)
    tell.step("Merging the adapter")
    tuned = PeftModel.from_pretrained(model, str(trained.path), torch_device="cpu")
    merged = tuned.merge_and_unload()
    return merged if dtype is None else merged.to(getattr(torch, dtype))


def _too_little(what: str) -> UserError:
    return UserError(
        f"The main memory (RAM) ran out with {what} in it.",
        "while merging",
        "Close other programs, or merge on a machine with more RAM. The adapter is untouched: --to adapter",
    )
