"""Which of llama.cpp's ways of splitting words a tokenizer has, and the older tokenizer files made from the newer one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.data.templates.tags import has_tags
from engine.deliver.export.gguf.model_folder import prepare_model_folder
from engine.deliver.export.gguf.pretokenizers import read_splitting
from engine.deliver.export.gguf.sentencepiece_model import write_sentencepiece_model
from engine.deliver.export.gguf.tokenizer_check import TokenizerCheck, refusal
from engine.errors import UserError
from tests.deliver.gguf.tiny import make_tokenizer

DEMO = DEMO_RECIPE.parent


def changed(folder: Path, **parts: Any) -> Path:
    """The demo's tokenizer with other parts."""
    value = json.loads((DEMO / "tokenizer.json").read_text("utf-8"))
    value["model"] |= parts.pop("model", {})
    (folder / "tokenizer.json").write_text(json.dumps({**value, **parts}), "utf-8")
    return folder


def test_the_demo_splits_words_as_gpt2() -> None:
    found = read_splitting(DEMO)
    assert (found.kind, found.pre) == ("bytes", "gpt-2")


@pytest.mark.parametrize(("family", "pre"), [("llama", "llama-bpe"), ("qwen3", "qwen2")])
def test_families_are_told_by_structure(family: str, pre: str, tmp_path: Path) -> None:
    make_tokenizer(family, tmp_path)
    assert read_splitting(tmp_path).pre == pre


@pytest.mark.parametrize("family", ["mistral", "gemma2", "phi3"])
def test_sentencepiece_needs_no_name(family: str, tmp_path: Path) -> None:
    make_tokenizer(family, tmp_path)
    assert (read_splitting(tmp_path).kind, read_splitting(tmp_path).pre) == ("sentencepiece", None)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase then ByteLevel"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}}, "ByteLevel"),
        ({"model": {"ignore_merges": True}}, "whole words first"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "own\x1b[31m"}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ]}},
            "Split then ByteLevel",
        ),
    ],
)  # fmt: skip
def test_another_rule_is_not_taken_for_a_known_one(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = read_splitting(changed(tmp_path, **parts))
    assert (found.kind, found.pre) == ("bytes", None)
    assert words in found.words


def test_trimming_of_offsets_is_no_matter(tmp_path: Path) -> None:
    pre = {
        "type": "Sequence",
        "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}],
    }
    assert read_splitting(changed(tmp_path, pre_tokenizer=pre)).pre == "gpt-2"


def test_a_word_piece_model_is_neither(tmp_path: Path) -> None:
    assert read_splitting(changed(tmp_path, model={"type": "WordPiece"})).kind == "other"


@pytest.mark.parametrize("family", ["mistral", "gemma2", "phi3"])
def test_the_older_file_joins_pieces_in_the_same_order(family: str, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    from tokenizers import Tokenizer

    make_tokenizer(family, tmp_path)
    write_sentencepiece_model(tmp_path, tmp_path / "tokenizer.model")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert processor.vocab_size() == tokenizer.get_vocab_size()
    for text in ("the lazy dog jumps over", "Grüße 你好 🦉", "a  b   c"):
        spaced = "▁" + text.replace(" ", "▁")
        expected = tokenizer.encode(text, add_special_tokens=False).tokens
        # SentencePiece itself knows spaces only as its own mark, and adds none here.
        found = processor.encode(spaced if family in ("mistral", "phi3") else spaced[1:], out_type=str)
        assert found == expected


def test_the_folder_for_the_converter_is_complete(tmp_path: Path) -> None:
    made = prepare_model_folder(DEMO, DEMO, tmp_path / "folder")
    config = json.loads((made.path / "tokenizer_config.json").read_text())
    assert config["added_tokens_decoder"]["2"] == {
        "content": "<|im_end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True,
    }  # fmt: skip
    assert (made.path / "model.safetensors").resolve() == (DEMO / "model.safetensors").resolve()
    assert not has_tags((made.path / "chat_template.jinja").read_text())
    assert not made.add_bos  # the template writes no start token, so no prompt in training had one


@pytest.mark.parametrize(
    ("family", "prefix"), [("mistral", False), ("gemma2", False), ("phi3", True), ("llama", None)]
)
def test_start_token_and_space_are_as_in_training(family: str, prefix: bool | None, tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    make_tokenizer(family, tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": 10}')
    made = prepare_model_folder(tmp_path, tmp_path, tmp_path / "folder", weights=False)
    assert made.prefix_space is prefix
    assert made.add_bos == (family != "phi3")
    rows = json.loads((made.path / "config.json").read_text())["vocab_size"]
    assert rows > 300  # room for every token


def test_without_a_tokenizer_the_words_say_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        prepare_model_folder(tmp_path, tmp_path, tmp_path / "folder", weights=False)


def test_what_differs_and_matters() -> None:
    odd = TokenizerCheck(11, ("x",), False)
    assert refusal(TokenizerCheck(11, (), False), True, "gpt-2") is None
    assert refusal(odd, False, "llama-bpe") is None
    mapped, talk = refusal(odd, True, "gpt-2"), refusal(TokenizerCheck(11, ("x",), True), False, "")
    assert mapped is not None
    assert "by the rule gpt-2" in mapped.what
    assert talk is not None
    assert "1 of 11" in talk.what
