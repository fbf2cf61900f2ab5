"""Random models of a few thousand weights, with tokenizers built the way the family's own are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.data.templates import catalogue
from engine.deliver.export.gguf import pretokenizers

FAMILIES = ("llama", "qwen3", "mistral", "gemma2", "gemma3", "phi3")
_TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog says: what is the capital of France?",
    "Hello there! Hi. How can I help? Count: 1, 22, 333. Thanks for the answer, it was good.",
    "def f(x):\n    return x != y and z[0] == {'a': 1}  # code with  spaces\n\n",
    "Grüße aus Köln, façade, naïve, Łódź. Привет, мир! 你好世界。 CamelCaseWords snake_case_words",
    "I'm sure we'll see it: they've done it, he'd said, it's late. 3.14 1,000 2026-05-17",
] * 4


def make_model(family: str, folder: Path) -> Path:
    """Write a whole model folder; the same every time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    make_tokenizer(family, folder)
    vocab = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]) + 16
    shape: dict[str, Any] = {
        "vocab_size": vocab, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    if family in ("qwen3", "gemma2", "gemma3"):
        shape["head_dim"] = 16
    if family in ("gemma2", "gemma3"):
        shape |= {"sliding_window": 128, "query_pre_attn_scalar": 16}
    torch.manual_seed(0)
    name = "gemma3_text" if family == "gemma3" else family
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **shape), dtype=torch.float32)
    model.save_pretrained(folder)
    return folder


def make_tokenizer(family: str, folder: Path) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and the family's chat template."""
    byte_level = {"llama": (pretokenizers._LLAMA3, None, True), "qwen3": (pretokenizers._QWEN2, "NFC", False)}
    template = {"llama": "llama3", "mistral": "mistral-v3", "gemma2": "gemma", "phi3": "phi3"}.get(
        family, family
    )
    found = catalogue.family(template)
    assert found is not None
    names = {
        "llama": ("<|begin_of_text|>", "<|eot_id|>"), "qwen3": ("<|endoftext|>", "<|im_end|>"), "mistral": ("<s>", "</s>"),
        "gemma2": ("<bos>", "<end_of_turn>"), "gemma3": ("<bos>", "<end_of_turn>"), "phi3": ("<s>", "<|end|>"),
    }[family]  # fmt: skip
    special = tuple(dict.fromkeys(("<pad>", *names, *found.tokens)))
    if family in byte_level:
        tokenizer = _byte_level(*byte_level[family], special)
    else:
        tokenizer = _sentencepiece(family, special)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": names[0], "eos_token": names[1],
        "pad_token": "<pad>", "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "chat_template.jinja").write_text(found.text, "utf-8")


def _byte_level(
    pattern: str, normalizer: str | None, ignore_merges: bool, special: Sequence[str]
) -> dict[str, Any]:
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(_TEXTS, trainer)
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    return value


def _sentencepiece(family: str, special: Sequence[str]) -> dict[str, Any]:
    """As SentencePiece models look after conversion: no words, unknown characters as bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    learnt.train_from_iterator(_TEXTS, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    model = json.loads(learnt.to_str())["model"]
    pieces = [*special, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [
        piece for piece, _ in sorted(model["vocab"].items(), key=lambda item: item[1]) if piece not in pieces
    ]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    added = [
        {"id": vocabulary[text], "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for text in (*special, "<unk>")
    ]  # fmt: skip
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizer: Any = None if family == "mistral" else space
    if family == "phi3":
        normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]}
    first = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": first if family == "mistral" else None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        ]},
        "model": {**model, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary},
    }  # fmt: skip
