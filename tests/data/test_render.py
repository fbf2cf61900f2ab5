"""The X-ray by itself; :mod:`tests.data.test_render_against_training` compares it with transformers and the trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.render import MASK_WORDS, Renderer
from engine.errors import UserError
from tests.data.conftest import PLAIN, TAGGED

CONVERSATION = [
    {"role": "system", "content": "Be kind ☃"},
    {"role": "user", "content": "Hi é 👩‍🚀"},
    {"role": "assistant", "content": "Hello 日本"},
    {"role": "user", "content": "More?"},
    {"role": "assistant", "content": "Yes.\nNo."},
]


def learnt(xray: Any) -> str:
    return "".join(text for text, trained in xray.tokens if trained)


def test_tokens_join_to_the_text_and_the_answers_are_learnt(model: Path) -> None:
    renderer = Renderer(model)
    xray = renderer.xray({"messages": CONVERSATION})
    assert "".join(text for text, _ in xray.tokens) == renderer.render(CONVERSATION)
    assert learnt(xray) == "Hello 日本<|im_end|>Yes.\nNo.<|im_end|>"
    assert xray.mask_source == "generation tags"
    assert (xray.trained_count, xray.total) == (sum(xray.mask), len(xray.ids))
    assert xray.stops
    assert xray.problems == ()
    assert renderer.template_source == "the model's own (ChatML style)"
    assert xray.mask_source in MASK_WORDS


def test_without_tags_the_answers_are_found_by_prefixes(model: Path) -> None:
    tagged = Renderer(model).xray({"messages": CONVERSATION})
    (model / "chat_template.jinja").write_text(PLAIN)
    xray = Renderer(model).xray({"messages": CONVERSATION})
    assert (xray.mask_source, xray.ids, xray.mask) == ("prefixes", tagged.ids, tagged.mask)


def test_a_well_known_template_is_replaced_by_its_training_copy(model: Path) -> None:
    import importlib.util

    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("trl is not installed")
    templates = Path(spec.origin).parent / "chat_templates"
    (model / "chat_template.jinja").write_text((templates / "qwen2_5.jinja").read_text("utf-8"))
    renderer = Renderer(model)
    xray = renderer.xray({"messages": CONVERSATION})
    assert xray.mask_source == "training copy of the template"
    assert "Hello 日本<|im_end|>" in learnt(xray)
    assert "".join(text for text, _ in xray.tokens) == renderer.render(CONVERSATION)


def test_everything_is_learnt_when_asked_for(model: Path) -> None:
    xray = Renderer(model).xray({"messages": CONVERSATION}, assistant_only_loss=False)
    assert xray.trained_count == xray.total
    assert xray.mask_source == "whole text"


def test_text_rows_end_with_the_end_token(model: Path) -> None:
    renderer = Renderer(model)
    xray = renderer.xray({"text": "hello user"})
    assert learnt(xray) == "hello user<|im_end|>"
    assert xray.stops
    assert renderer.xray({"text": "hello<|im_end|>"}).ids[-2:] != (xray.ids[-1], xray.ids[-1])


def test_a_model_without_template_is_written_in_chatml(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    renderer = Renderer(model)
    assert "ChatML" in renderer.template_source
    assert "Yes.\nNo.<|im_end|>" in learnt(renderer.xray({"messages": CONVERSATION}))


def test_a_template_file_of_ones_own(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("{% for m in messages %}{{ m.content }}|{% endfor %}")
    assert Renderer(model, str(own)).render(CONVERSATION[3:]) == "More?|Yes.\nNo.|"
    with pytest.raises(UserError, match=r"template cannot be read"):
        Renderer(model, str(tmp_path / "missing.jinja"))


def test_cut_rows_say_what_is_lost(model: Path) -> None:
    renderer = Renderer(model)
    whole = renderer.xray({"messages": CONVERSATION})
    cut = renderer.xray({"messages": CONVERSATION}, max_length=whole.total - 3)
    assert (cut.kept, cut.total, cut.stops) == (whole.total - 3, whole.total, False)
    assert "the last 3 are cut off, 2 of them to be learnt" in cut.problems[0]
    assert "may not know when to stop" in cut.problems[1]
    assert "Nothing is learnt" in renderer.xray({"messages": CONVERSATION}, max_length=10).problems[-1]


def test_a_template_that_leaves_the_end_out(model: Path) -> None:
    source = TAGGED.replace(
        "{{ m.content }}<|im_end|>{% endgeneration %}", "{{ m.content }}{% endgeneration %}<|im_end|>"
    )
    (model / "chat_template.jinja").write_text(source)
    xray = Renderer(model).xray({"messages": CONVERSATION})
    assert not xray.stops
    assert xray.problems == ("The end of the answer is not learnt, so the model may not know when to stop.",)


def test_a_doubled_start_token(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ bos_token }}" + TAGGED)
    assert (
        "The start token <|bos|> is there twice." in Renderer(model).xray({"messages": CONVERSATION}).problems
    )


def test_left_out_and_changed_turns(model: Path) -> None:
    source = TAGGED.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    (model / "chat_template.jinja").write_text(source)
    xray = Renderer(model).xray({"messages": CONVERSATION})
    assert xray.problems == ("Turn 1 (system) is changed or left out by the template.",)


def test_answers_that_cannot_be_told_apart(model: Path) -> None:
    # Like templates that strip the thinking of earlier turns.
    source = PLAIN.replace("{{ m.content }}", "{{ m.content if loop.last else m.content | upper }}")
    (model / "chat_template.jinja").write_text(source)
    xray = Renderer(model).xray({"messages": CONVERSATION})
    assert xray.problems[0].startswith("The answer in turn 3 is written differently")


def test_refused_conversations(model: Path) -> None:
    (model / "chat_template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    with pytest.raises(UserError, match="no system"):
        Renderer(model).xray({"messages": CONVERSATION})
    assert "Nothing is learnt" in Renderer(model).xray({"messages": CONVERSATION[1:]}).problems[-1]


def test_broken_folders(model: Path) -> None:
    (model / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="tokenizer is not readable"):
        Renderer(model)
    (model / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Renderer(model)
    (model / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        Renderer(model)


def test_special_tokens_that_only_the_configuration_knows(model: Path) -> None:
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {"900": {"content": "<|new|>", "special": False}}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    xray = Renderer(model).xray({"text": "a<|new|>b"})
    assert "<|new|>" in [text for text, _ in xray.tokens]
