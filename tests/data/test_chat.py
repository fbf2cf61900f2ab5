"""The sandbox for chat templates, and its helpers."""

from __future__ import annotations

import pytest

from engine.data.templates.sandbox import ChatTemplate
from engine.errors import UserError

MESSAGES = [{"role": "user", "content": "Hi <b>"}, {"role": "assistant", "content": "Ho"}]


def render(source: str, **variables: object) -> str:
    return ChatTemplate(source, "test.jinja").render(MESSAGES, variables)[0]


def test_helpers_of_transformers() -> None:
    assert render("{{ messages[0] | tojson }}") == '{"role": "user", "content": "Hi <b>"}'
    assert (
        render("{{ {'b': 1, 'a': 'é'} | tojson(indent=1, sort_keys=true) }}") == '{\n "a": "é",\n "b": 1\n}'
    )
    assert render("{{ strftime_now('%Y') }}").isdigit()
    assert (
        render("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}")
        == "Hi <b>"
    )
    assert render("{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 2 %}{{ ns.n }}") == "2"
    assert render("{{ dict(a=1).a }}{{ bos_token }}{{ missing }}", bos_token="<s>") == "1<s>"
    assert render("{% if true %}\n  x\n{% endif %}\n") == "  x\n"


def test_spans_between_tags() -> None:
    source = "{% for m in messages %}[{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration %}{% else %}{{ m.content }}{% endif %}]{% endfor %}"
    template = ChatTemplate(source, "t")
    assert template.has_tags
    text, spans = template.render(MESSAGES, {})
    assert text == "[Hi <b>][Ho!]"
    assert [text[start:end] for start, end in spans] == ["Ho!"]
    assert template.render(MESSAGES, {}) == (text, spans)  # nothing is left over from the first time
    assert not ChatTemplate("{{ 'generation' }}", "t").has_tags


def test_thinking_is_given_under_each_name_and_empty_keys_are_left_out() -> None:
    template = ChatTemplate(
        "{{ messages[0].thinking }}{{ messages[0].reasoning_content }}{{ messages[0].x is defined }}", "t"
    )
    message = {"role": "assistant", "content": "", "reasoning_content": "hm", "x": None}
    assert template.render([message], {})[0] == "hmhmFalse"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{% set x = namespace(__class__=1) %}",
        "{% set x = namespace() %}{% set x._y = 1 %}",
        "{{ dict.__class__ }}{{ dict.mro() }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ messages[0].content | attr('__class__') }}{{ undefined.x }}",
    ],
)
def test_a_template_cannot_reach_into_python(source: str) -> None:
    with pytest.raises(UserError) as caught:
        render(source)
    assert "refuses this conversation" in caught.value.what


def test_forbidden_attributes_print_nothing() -> None:
    assert render("{{ messages.__class__ }}{{ raise_exception.__globals__ }}") == ""


def test_refusals_are_shown_in_the_templates_own_words() -> None:
    with pytest.raises(UserError) as caught:
        render("{{ raise_exception('No \x1b[31msystem role') }}")
    assert caught.value.what == "The chat template refuses this conversation: No \\x1b[31msystem role."
    assert caught.value.where == "test.jinja"
    with pytest.raises(UserError, match="refuses"):
        render("{{ 1 / 0 }}")


@pytest.mark.parametrize(
    ("source", "line"), [("{% for %}", 1), ("a\n{% endif %}", 2), ("{% generation %}x", 1), ("{{", 1)]
)
def test_invalid_templates_name_the_line(source: str, line: int) -> None:
    with pytest.raises(UserError) as caught:
        ChatTemplate(source, "x.jinja")
    assert caught.value.where == f"x.jinja, line {line}"
