"""What is learnt: labels, pad token, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.draft import DEMO_MODEL
from engine.errors import UserError
from engine.train.tokens import IGNORED, end_ids, prepare_tokenizer, tokenize

TALK = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is one plus one?"},
        {"role": "assistant", "content": "It is two."},
        {"role": "user", "content": "And again?"},
        {"role": "assistant", "content": "Still two."},
    ]
}


@pytest.fixture
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(DEMO_MODEL)


def learnt(tokenizer: Any, made: Any) -> str:
    row = made.rows[0]
    return str(tokenizer.decode([label for label in row["labels"] if label != IGNORED]))


def test_only_the_assistant_and_the_end_of_its_turns_are_learnt(tokenizer: Any) -> None:
    made = tokenize([TALK], tokenizer, 512, assistant_only_loss=True)
    assert learnt(tokenizer, made) == "It is two.<|im_end|>Still two.<|im_end|>"
    assert made.stops == 1.0


def test_without_generation_tags_the_same_is_found_by_prefixes(tokenizer: Any) -> None:
    tagged = tokenize([TALK], tokenizer, 512, assistant_only_loss=True)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    plain = tokenize([TALK], tokenizer, 512, assistant_only_loss=True)
    assert learnt(tokenizer, plain) == learnt(tokenizer, tagged)


def test_everything_is_learnt_when_asked(tokenizer: Any) -> None:
    made = tokenize([TALK], tokenizer, 512, assistant_only_loss=False)
    assert made.trained == made.tokens


def test_an_answer_beyond_max_length_leaves_nothing_to_learn(tokenizer: Any) -> None:
    made = tokenize([TALK], tokenizer, 8, assistant_only_loss=True)
    assert (made.rows, made.without_target, made.truncated, made.trained) == ([], 1, 1, 0)


def test_a_cut_answer_is_counted_as_not_stopping(tokenizer: Any) -> None:
    whole = tokenize([TALK], tokenizer, 512, assistant_only_loss=True)
    first_label = next(i for i, label in enumerate(whole.rows[0]["labels"]) if label != IGNORED)
    made = tokenize([TALK], tokenizer, first_label + 2, assistant_only_loss=True)
    assert made.stops == 0.0
    assert made.trained == 2


def test_text_rows_are_learnt_whole_and_end(tokenizer: Any) -> None:
    made = tokenize([{"text": "Mira lives in Oakvale."}], tokenizer, 512, assistant_only_loss=False)
    assert made.rows[0]["labels"][-1] == tokenizer.eos_token_id
    assert made.rows[0]["labels"] == made.rows[0]["input_ids"]


def test_pad_is_never_the_end_token(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    notes = prepare_tokenizer(tokenizer, "model", True).notes
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert any("pad token" in note for note in notes)
    assert tokenizer.pad_token_id not in end_ids(tokenizer)


def test_a_base_model_without_template_gets_one_and_says_so(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    notes = prepare_tokenizer(tokenizer, "model", True).notes
    assert any("ChatML" in note for note in notes)
    made = tokenize([TALK], tokenizer, 512, assistant_only_loss=True)
    assert learnt(tokenizer, made) == "It is two.<|im_end|>Still two.<|im_end|>"


def test_no_end_token_is_refused(tokenizer: Any) -> None:
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="stop"):
        prepare_tokenizer(tokenizer, "model", True)


def test_a_template_file_that_is_not_there(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="template"):
        prepare_tokenizer(tokenizer, "/nowhere.jinja", True)
