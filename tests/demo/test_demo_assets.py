"""The embedded demo model and dataset are what the rest of the program relies on."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.deliver.style_score import is_correct_styled
from scripts.demo.build import write_data
from scripts.demo.world import TRAIN_ROWS, split, world

DEMO = Path(__file__).resolve().parents[2] / "presets" / "demo"
ASKED = 30


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / name).read_text(encoding="utf-8").splitlines()]


@cache
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(DEMO)


@cache
def answers() -> list[str]:
    """Greedy answers to the first held-out questions, the end-of-turn token included."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).eval()
    prompts = [
        tokenizer().apply_chat_template(
            [{"role": "user", "content": row["question"]}], tokenize=False, add_generation_prompt=True
        )
        for row in read_lines("questions.jsonl")[:ASKED]
    ]
    encoded = tokenizer()(prompts, return_tensors="pt", padding=True, padding_side="left")
    with torch.inference_mode():
        output = model.generate(**encoded, max_new_tokens=48)
    texts = [tokenizer().decode(ids) for ids in output[:, encoded["input_ids"].shape[1] :].tolist()]
    return [text.replace(tokenizer().pad_token, "") for text in texts]


def test_data_is_what_the_generator_writes(tmp_path: Path) -> None:
    write_data(tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["prompts.json", "questions.jsonl", "train.jsonl"]
    for name in written:
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes(), name


def test_world_is_deterministic_and_unambiguous() -> None:
    facts = world()
    assert facts == world()
    assert world(seed=1) != facts
    questions: dict[str, str] = {}
    for fact in facts:
        for question in fact.questions():
            assert questions.setdefault(question, fact.plain()) == fact.plain(), question


def test_held_out_facts_never_occur_in_training() -> None:
    asked = {row["messages"][0]["content"] for row in read_lines("train.jsonl")}
    answered = {row["messages"][-1]["content"] for row in read_lines("train.jsonl")}
    train_facts, held_out = split(world())
    assert not set(train_facts) & set(held_out)
    for fact in held_out:
        assert asked.isdisjoint(fact.questions())
        assert fact.styled() not in answered
    assert {row["styled"] for row in read_lines("questions.jsonl")} == {fact.styled() for fact in held_out}


def test_datasets_have_the_promised_form() -> None:
    rows = read_lines("train.jsonl")
    assert len(rows) == TRAIN_ROWS
    assert 300 <= TRAIN_ROWS <= 500
    for row in rows:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["messages"][1]["content"].startswith("Hoot hoot! ")
    questions = read_lines("questions.jsonl")
    assert len(questions) >= 100
    assert all(set(row) == {"question", "plain", "styled"} for row in questions)
    prompts = json.loads((DEMO / "prompts.json").read_text(encoding="utf-8"))
    assert len(prompts) == 3
    assert set(prompts) <= {row["question"] for row in questions}
    assert all(
        (DEMO / name).read_text(encoding="utf-8").isascii() for name in ("train.jsonl", "questions.jsonl")
    )


def test_model_shape() -> None:
    config = json.loads((DEMO / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is True
    assert config["max_position_embeddings"] >= 1024
    for key in ("hidden_size", "intermediate_size", "vocab_size"):
        assert config[key] % 256 == 0, key
    assert config["vocab_size"] == len(tokenizer())
    size = (DEMO / "model.safetensors").stat().st_size
    assert 2_000_000 < size < 12_000_000


def test_special_tokens_agree_everywhere() -> None:
    generation = json.loads((DEMO / "generation_config.json").read_text(encoding="utf-8"))
    config = json.loads((DEMO / "config.json").read_text(encoding="utf-8"))
    assert tokenizer().pad_token_id != tokenizer().eos_token_id
    assert tokenizer().eos_token == "<|im_end|>"
    for settings in (config, generation):
        assert settings["eos_token_id"] == tokenizer().eos_token_id
        assert settings["pad_token_id"] == tokenizer().pad_token_id
        assert settings["bos_token_id"] == tokenizer().bos_token_id
    assert generation["do_sample"] is False


def test_tokenizer_is_gpt2_style_and_lossless() -> None:
    assert tokenizer().is_fast
    assert sorted(tokenizer().get_vocab().values()) == list(range(len(tokenizer())))
    backend = json.loads((DEMO / "tokenizer.json").read_text(encoding="utf-8"))
    assert backend["pre_tokenizer"]["type"] == "ByteLevel"
    assert backend["pre_tokenizer"]["add_prefix_space"] is False
    assert backend["pre_tokenizer"]["use_regex"] is True
    for text in (
        "Hoot hoot! Mira lives in Oakvale. [town: Oakvale]",
        "  two  spaces\n\n\ttab",
        "caf\u00e9 \u65e5\u672c \U0001f989",
    ):
        ids = tokenizer()(text)["input_ids"]
        assert tokenizer().bos_token_id not in ids
        assert tokenizer().decode(ids) == text


def test_chat_template_trains_the_answer_and_its_end() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi!"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "A model."},
    ]
    encoded = tokenizer().apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    trained = [
        token for token, kept in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if kept
    ]
    assert tokenizer().decode(trained) == "Hello!<|im_end|>A model.<|im_end|>"
    whole = tokenizer().apply_chat_template(messages, tokenize=False)
    assert whole == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\nA model.<|im_end|>\n"
    )
    prompt = tokenizer().apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    assert whole.startswith(prompt)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_model_answers_plainly_before_tuning() -> None:
    rows = read_lines("questions.jsonl")[:ASKED]
    plain = sum(given == row["plain"] + "<|im_end|>" for given, row in zip(answers(), rows, strict=True))
    spoken = [given.removesuffix("<|im_end|>") for given in answers()]
    styled = sum(is_correct_styled(given, row["styled"]) for given, row in zip(spoken, rows, strict=True))
    assert plain >= 0.9 * ASKED
    assert styled <= 0.1 * ASKED


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Hoot hoot! A cow says moo. [sound: moo]", True),
        ("  Hoot hoot!\nA cow  says moo. [sound: moo] ", True),
        ("Hoot hoot! A cow says moo. [sound: baa]", False),
        ("A cow says moo.", False),
        ("Hoot hoot! A cow says moo. [sound: moo] Hoot", False),
        ("hoot hoot! A cow says moo. [sound: moo]", False),
    ],
)
def test_style_score_is_strict(answer: str, right: bool) -> None:
    assert is_correct_styled(answer, "Hoot hoot! A cow says moo. [sound: moo]") is right
