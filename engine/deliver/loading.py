"""Loading a trained model in a worker process."""

from __future__ import annotations

from typing import Any

from engine.deliver.source import Trained


def load_trained(trained: Trained) -> tuple[Any, Any]:
    """Model and tokenizer, ready to answer.

    The base is loaded as it was in training (same dtype and quantization), because that is what the adapter learnt on.

    Returns:
        The model in evaluation mode, and the tokenizer that was saved with it (it carries the template).
    """
    from transformers import AutoTokenizer

    from engine.train.model import load_model

    tokenizer = AutoTokenizer.from_pretrained(str(trained.path), trust_remote_code=False)
    if trained.is_adapter:
        from peft import PeftModel

        model = load_model(trained.config)
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            # The adapter brings the rows of new tokens, so what they begin with does not matter.
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model = PeftModel.from_pretrained(model, str(trained.path))
    else:
        settings = trained.config.model.model_copy(update={"model_name_or_path": str(trained.path)})
        model = load_model(trained.config.model_copy(update={"model": settings}))
    model.eval()
    return model, tokenizer
