"""Loading trained models in a worker process, one or several of a run side by side."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config.schema import RunConfig
from engine.deliver.source import Trained, require_base
from engine.errors import UserError


@dataclass(frozen=True, slots=True)
class Side:
    """One of the models that answer.

    Attributes:
        trained: What it is.
        model: The loaded model; sides of a LoRA run share it.
        adapter: Name of its adapter in there; None where it answers without one.
    """

    trained: Trained
    model: Any
    adapter: str | None

    @contextlib.contextmanager
    def active(self) -> Iterator[Any]:
        """The model as this side is: with its own adapter, or with none."""
        if self.adapter is not None:
            self.model.set_adapter(self.adapter)
            yield self.model
        elif hasattr(self.model, "disable_adapter"):
            with self.model.disable_adapter():
                yield self.model
        else:
            yield self.model


def load_sides(trained: Sequence[Trained]) -> tuple[list[Side], Any]:
    """Models of one run, ready to answer.

    The base is loaded as it was in training (same dtype and quantization), because that is what an adapter learnt on. All
    adapters of a run, and its base, need one loaded base together; other models are loaded one by one.

    Returns:
        The sides in the given order, and the tokenizer of the first one (it carries the template).

    Raises:
        UserError: A model is missing or damaged.
    """
    tokenizer = load_tokenizer(trained[0])
    if not any(one.is_adapter for one in trained):
        models = [_whole(one, tokenizer) for one in trained]
        return [Side(one, model, None) for one, model in zip(trained, models, strict=True)], tokenizer
    model: Any = None
    sides = []
    for number, one in enumerate(trained):
        # PEFT refuses the names of its own prefixes, so they are numbered.
        sides.append((one, f"side{number}" if one.is_adapter else None))
        if one.is_adapter:
            model = _with_adapter(model, one, f"side{number}", tokenizer)
    model.eval()
    return [Side(one, model, adapter) for one, adapter in sides], tokenizer


def load_trained(trained: Trained) -> tuple[Any, Any]:
    """Model and tokenizer, ready to answer.

    Returns:
        The model in evaluation mode, and the tokenizer that was saved with it (it carries the template).

    Raises:
        UserError: It is missing or damaged.
    """
    sides, tokenizer = load_sides([trained])
    return sides[0].model, tokenizer


def load_tokenizer(trained: Trained) -> Any:
    """The tokenizer with its template as it was in training.

    Raises:
        UserError: It is missing or broken.
    """
    from transformers import AutoTokenizer

    if not trained.is_base:
        try:
            return AutoTokenizer.from_pretrained(str(trained.path), trust_remote_code=False)
        except Exception as error:  # every kind of broken file raises something else
            raise _damaged("tokenizer", trained, error) from error
    from engine.train.model import load_tokenizer as load_base_tokenizer
    from engine.train.tokens import prepare_tokenizer

    config = trained.config
    tokenizer = load_base_tokenizer(config)
    prepare_tokenizer(
        tokenizer, config.template.chat_template, trained.kind != "text", config.model.model_name_or_path
    )
    return tokenizer


def explained(error: Exception) -> UserError | None:
    """Words for what goes wrong with a model for outside reasons; None for anything else."""
    from engine.train.heal.out_of_memory import is_out_of_memory

    if is_out_of_memory(error):
        return UserError(
            "Memory ran out: the model, or what was said so far, does not fit.",
            "graphics card or main memory",
            "Clear the history, take a smaller max_new_tokens or one model at a time, or use the processor: --device cpu",
        )
    if "probability tensor contains" in str(error):
        return UserError(
            "The model computes numbers that are none (nan or infinite), so there is no next word to draw.",
            "the trained weights, or a number format that is too coarse",
            "Take an earlier checkpoint (--checkpoint STEP): the training has probably gone wrong after it.",
        )
    return None


def _with_adapter(model: Any, trained: Trained, name: str, tokenizer: Any) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            if model is None:
                base = _base(trained, tokenizer)
                model = PeftModel.from_pretrained(base, str(trained.path), adapter_name=name)
            else:
                missing = model.load_adapter(str(trained.path), name).missing_keys
                if missing:
                    raise ValueError(f"{len(missing)} of its matrices are missing")
        except UserError:
            raise
        except Exception as error:
            if explained(error) is not None:
                raise
            raise _damaged("adapter", trained, error) from error
    # PEFT only warns, and would answer with what the adapter began with.
    if any("missing adapter keys" in str(warning.message) for warning in told):
        raise _damaged("adapter", trained, ValueError("some of its matrices are missing"))
    return model


def _whole(trained: Trained, tokenizer: Any) -> Any:
    if trained.is_base:
        return _base(trained, tokenizer).eval()
    from engine.train.model import load_model

    settings = trained.config.model.model_copy(update={"model_name_or_path": str(trained.path)})
    config = trained.config.model_copy(update={"model": settings})
    try:
        return load_model(_here(config), _auto_model(trained)).eval()
    except UserError as error:
        raise _damaged("model", trained, error) from error
    except Exception as error:
        if explained(error) is not None:
            raise
        raise _damaged("model", trained, error) from error


def _base(trained: Trained, tokenizer: Any) -> Any:
    from engine.train.model import load_model

    require_base(trained)
    model = load_model(_here(trained.config), _auto_model(trained))
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        # The adapter brings the rows of new tokens, so what they begin with does not matter.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return model


def _auto_model(trained: Trained) -> str:
    return "AutoModelForSequenceClassification" if trained.kind == "score" else "AutoModelForCausalLM"


def _here(config: RunConfig) -> RunConfig:
    """The same run on this device: the flash attention package works on cards only."""
    import torch

    if config.model.attn_implementation != "flash_attention_2" or torch.cuda.is_available():
        return config
    return config.model_copy(
        update={"model": config.model.model_copy(update={"attn_implementation": "sdpa"})}
    )


def _damaged(what: str, trained: Trained, error: Exception) -> UserError:
    told = error.what if isinstance(error, UserError) else str(error).strip() or type(error).__name__
    return UserError(
        f"The {what} of {trained.words} cannot be loaded; its files may be damaged: {told.splitlines()[0][:300]}",
        str(trained.path),
        "Take another checkpoint (finetui chat RUN --checkpoint STEP), or train again.",
    )
