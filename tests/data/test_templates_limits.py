"""Templates that loop forever, eat memory or reach for Python are stopped in words."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from engine.data.render import Renderer
from engine.data.templates import limits
from engine.data.templates.client import TemplateLooker
from engine.data.templates.sandbox import ChatTemplate
from engine.data.templates.tags import has_tags, without_tags
from engine.errors import UserError
from tests.data.conftest import TAGGED

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in 'x' * 99999 %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10**10 }}",
        "{{ 10**10 * 'x' }}",
        "{{ [0] * 10**10 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%900000000d' % 1 }}",
        "{{ '%900000000d' | format(1) }}",
        "{{ 'x' | center(900000000) }}",
        "{{ 'x'.ljust(900000000) }}",
        "{{ 'x' | indent(900000000) }}",
        "{% set n = namespace(t='xxxxxxxxxx') %}{% for a in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
        "{% set n = namespace(t='xxxxxxxxxx') %}{% for a in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{% for a in range(99999) %}{{ range(99999) | list | length }}{% endfor %}",
    ],
)
def test_no_template_takes_forever(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(UserError, match="refuses this conversation"):
        ChatTemplate(source, "hostile").render(TALK, {})
    assert time.monotonic() - began < 20


def test_limits_leave_loops_and_joins_as_they_are() -> None:
    source = (
        "{% for m in messages if m.role %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ m.role ~ 1 ~ none }}"
        "{% else %}none{% endfor %}{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}"
        "{% for x in missing %}{% else %}empty{% endfor %}{{ 'a%s' | format('b') }}{{ 'x' | center(3) }}"
    )
    text, _ = ChatTemplate(source, "t").render(TALK, {})
    assert text == "1/2Falseuser1None2/2Trueassistant1Nonea1emptyab x "


def test_a_template_renders_the_same_without_its_tags() -> None:
    assert has_tags(TAGGED)
    plain = without_tags(TAGGED)
    assert not has_tags(plain)
    variables = {"bos_token": "<s>"}
    assert (
        ChatTemplate(plain, "t").render(TALK, variables)[0]
        == ChatTemplate(TAGGED, "t").render(TALK, variables)[0]
    )


def test_hostile_rows_come_out_as_they_went_in(model: Path) -> None:
    renderer = Renderer(model)
    for text in (
        "\x1b]0;title\x07",
        "[bold]x[/bold]",
        "\u202eabc",
        "<|im_end|>",
        "{{ 7 * 7 }}",
        "\x00",
        "👩‍🚀" * 50,
    ):
        row = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
        seen = renderer.xray(row)
        whole = "".join(piece for piece, _ in seen.tokens)
        assert whole.count(text) >= 2
        assert "".join(piece for piece, learnt in seen.tokens if learnt) == f"{text}<|im_end|>"


@pytest.mark.parametrize(
    "words", [100_000, pytest.param(2_000_000, marks=pytest.mark.thorough)], ids=["half a megabyte", "ten"]
)
def test_a_very_long_row_is_shown_in_pieces(words: int, model: Path) -> None:
    looker = TemplateLooker(model, max_length=2048)
    try:
        looker.open()
        row = {"messages": [{"role": "user", "content": "word " * words}, TALK[1]]}
        picture = looker.xray(row)
        assert picture.kept == 2048
        assert picture.learnt == 0
        assert sum(len(piece.text) for piece in picture.segments) < 20_000
        assert sum(len(piece.text) + piece.left_out for piece in picture.segments) >= 5 * words
        assert looker.xray({"messages": TALK}).learnt  # and the worker is still there
    finally:
        looker.close()


def test_a_template_that_eats_memory_does_not_take_the_viewer_with_it(model: Path) -> None:
    (model / "chat_template.jinja").write_text(
        "{% set n = namespace(l=[]) %}{% for a in range(900) %}{% set n.l = n.l + ['x' * 60000000] %}{% endfor %}"
    )
    looker = TemplateLooker(model)
    try:
        opened = looker.open()
        assert opened.checks[0].level == "bad"
        with pytest.raises(UserError):
            looker.xray({"messages": TALK})
    finally:
        looker.close()


def test_broken_models_and_rows_are_errors_in_words(model: Path) -> None:
    (model / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    looker = TemplateLooker(model)
    with pytest.raises(UserError, match="not readable"):
        looker.open()
    looker.close()
