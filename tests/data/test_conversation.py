"""Rows of every shape in the one training form, and the reasons of those that cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.data.cells import RowProblemError
from engine.data.recognise import recognise


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


F = {"function": {"name": "f", "arguments": '{"x": 1}'}}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
U, A, S = turn("user", "Hi"), turn("assistant", "Hello"), turn("system", "Be kind")


def convert(row: dict[str, Any], shape_of: dict[str, Any] | None = None) -> dict[str, Any]:
    [form] = recognise([shape_of or row], "x").forms(row)
    return form.row()


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"messages": [S, U, A]}, [S, U, A]),
        ({"messages": [U, A, U, A]}, [U, A, U, A]),
        ({"messages": json.dumps([U, A])}, [U, A]),
        ({"messages": [U, A | {"weight": 0}]}, [U, A]),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, [U, A]),
        ({"conversations": [{"from": " Human", "value": "Hi"}, {"from": "GPT", "value": "Hello"}]}, [U, A]),
        ({"system": "Be kind", "messages": [U, A]}, [S, U, A]),
        ({"system": "", "messages": [U, A]}, [U, A]),
        ({"system": "other", "messages": [S, U, A]}, [S, U, A]),
        ({"prompt": "Hi", "completion": "Hello"}, [U, A]),
        ({"question": "Hi", "answer": "Hello", "system_prompt": "Be kind"}, [S, U, A]),
        ({"question": "Hi", "answer": 42}, [U, turn("assistant", "42")]),
        ({"question": "Hi", "answer": False}, [U, turn("assistant", "false")]),
        ({"instruction": "Hi", "input": "", "output": "Hello"}, [U, A]),
        ({"instruction": "Hi", "input": "there", "output": "Hello"}, [turn("user", "Hi\n\nthere"), A]),
        ({"prompt": [U], "completion": [A]}, [U, A]),
        ({"prompt": [S, U], "completion": "Hello"}, [S, U, A]),
        (
            {"messages": [turn("user", [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]), A]},
            [U, A],
        ),
        (
            {"messages": [U, turn("assistant", None, tool_calls=[F]), turn("tool", "4", name="f"), A]},
            [U, turn("assistant", "", tool_calls=[CALL]), turn("tool", "4", name="f"), A],
        ),
        ({"messages": [U, A | {"reasoning_content": "hm"}]}, [U, A | {"reasoning_content": "hm"}]),
        ({"messages": [U, A, U]}, [U, A, U]),
        ({"messages": [turn("user", "  Hi\n"), A]}, [turn("user", "  Hi\n"), A]),
    ],
)
def test_rows_become_messages(row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert convert(row) == {"messages": messages}


def test_text_stays_text() -> None:
    assert convert({"text": " a\n"}) == {"text": " a\n"}


M = {"messages": [U, A]}
QA = {"question": "a", "answer": "b"}


@pytest.mark.parametrize(
    ("row", "shape_of", "reason"),
    [
        ({"messages": []}, M, "empty conversation"),
        ({"messages": None}, M, "no conversation"),
        ({}, M, "no conversation"),
        ({"messages": "hello"}, M, "no list of turns"),
        ({"messages": [U]}, M, "no assistant turn, so nothing to learn"),
        ({"messages": [S]}, M, "no assistant turn, so nothing to learn"),
        ({"messages": [U, turn("assistant", "  ")]}, M, "empty answer"),
        ({"messages": [U, turn("assistant", None)]}, M, "turn 2 has no content"),
        ({"messages": [U, turn("assistant", {"a": 1})]}, M, "turn 2 is not text"),
        ({"messages": [A, U, A]}, M, "it starts with the assistant, not with the user"),
        ({"messages": [S, A]}, M, "it starts with the assistant, not with the user"),
        ({"messages": [U, U, A]}, M, "two user turns in a row"),
        ({"messages": [U, A, A]}, M, "two assistant turns in a row"),
        ({"messages": [U, S, A]}, M, "a system message that is not the first turn"),
        ({"messages": [turn("narrator", "x"), A]}, M, "turn 1 has the unknown role 'narrator'"),
        ({"messages": [turn("\x1b[2J", "x"), A]}, M, "turn 1 has the unknown role '\\x1b[2J'"),
        ({"messages": [{"content": "x"}, A]}, M, "turn 1 has no role"),
        ({"messages": [{"role": 3, "content": "x"}, A]}, M, "turn 1 has the unknown role '3'"),
        ({"messages": [U, "x"]}, M, "turn 2 is not an object with role and content"),
        ({"messages": [turn("user", "\ud800"), A]}, M, "turn 1 contains half a character (a lone surrogate)"),
        (
            {"messages": [turn("user", [{"type": "image"}, {"type": "text", "text": "x"}]), A]},
            M,
            "it has images, sound or film, which cannot be trained on yet",
        ),
        ({"question": "", "answer": "b"}, QA, "empty question"),
        ({"question": "a", "answer": " "}, QA, "empty answer"),
        ({"question": "a"}, QA, "no answer"),
        ({"question": None, "answer": "b"}, QA, "no question"),
        ({"question": ["a"], "answer": "b"}, QA, "the question is not text"),
        ({"text": "  "}, {"text": "x"}, "empty text"),
        ({"text": None}, {"text": "x"}, "no text"),
    ],
)
def test_reasons_of_rows_that_cannot_be_used(
    row: dict[str, Any], shape_of: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RowProblemError) as caught:
        convert(row, shape_of)
    assert str(caught.value) == reason


SG = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


@pytest.mark.parametrize(
    ("turns", "messages"),
    [
        ([{"from": "human", "value": "Hi"}, {"from": "function-call", "value": '{"name": "f", "arguments": {"x": 1}}'},
          {"from": "function-response", "value": "4"}, SG[1]],
         [U, turn("assistant", "", tool_calls=[CALL]), turn("tool", "4"), A]),
        ([U, turn("assistant", "Wait."), turn("function_call", '{"name": "f", "arguments": "{\\"x\\": 1}"}'), turn("tool", "4"), A],
         [U, turn("assistant", "Wait.", tool_calls=[CALL]), turn("tool", "4"), A]),
        ([U, turn("assistant", None, function_call={"name": "f", "arguments": '{"x": 1}'}), turn("function", "4", name="f"), A],
         [U, turn("assistant", "", tool_calls=[CALL]), turn("tool", "4", name="f"), A]),
        ([U, turn("assistant", [{"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]), turn("tool", {"a": 1}), A],
         [U, turn("assistant", "", tool_calls=[{"id": "1", **CALL}]), turn("tool", '{"a": 1}'), A]),
        ([["Hi", "Hello"]], [U, A]),
        ([{"user": "Hi", "assistant": "Hello"}], [U, A]),
        ([{"speaker": "Customer", "text": "Hi"}, {"speaker": "Agent", "text": "Hello"}], [U, A]),
        ([{"role": "user", "content": "Hi", "name": None, "tool_calls": None}, A | {"tool_calls": None}], [U, A]),
        ([U, turn("assistant", "Hello", thinking="hm")], [U, A | {"reasoning_content": "hm"}]),
        ({"role": ["user", "assistant"], "content": ["Hi", "Hello"]}, [U, A]),
    ],
)  # fmt: skip
def test_turns_of_many_kinds(turns: Any, messages: list[dict[str, Any]]) -> None:
    assert convert({"messages": turns})["messages"] == messages
    assert convert({"messages": json.dumps(turns)})["messages"] == messages
    assert convert({"messages": str(turns)})["messages"] == messages


@pytest.mark.parametrize(
    "tools",
    [
        {"name": "f", "parameters": {"type": "object", "properties": {"x": None}}},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
    ],
)
def test_tools_take_one_form(tools: Any) -> None:
    schema = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    }
    for written in ([tools], json.dumps([tools]), [json.dumps(tools)], tools):
        assert convert({"messages": [U, A], "tools": written})["tools"] == [schema]
    assert "tools" not in convert({"messages": [U, A], "tools": ""})


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"messages": [U, A], "tools": "[{oops"}, "tools", "the tools are not valid JSON"),
        ({"messages": [U, turn("function_call", "f(1)"), A]}, "turn 2", "turn 2 is a tool call that is not valid JSON"),
        ({"messages": [U, turn("assistant", "", tool_calls=[{"x": 1}])]}, "turn 2", "turn 2 has a tool call without a name"),
        ({"messages": [U, A, A]}, "turn 3", "two assistant turns in a row"),
        ({"messages": [U, turn("assistant", "caf\udce9")]}, "turn 2", "turn 2 contains bytes that are not UTF-8"),
    ],
)  # fmt: skip
def test_problems_name_the_field(row: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(RowProblemError) as caught:
        recognise([{"messages": [U, A], "tools": "[]"}], "x").forms(row)
    assert (caught.value.field, str(caught.value)) == (field, reason)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "both answers are the same"),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, "empty chosen answer"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "no rejected"),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "empty prompt"),
        ({"prompt": "a", "chosen": [U, A], "rejected": [turn("user", "other"), A]},
         "the two conversations do not begin alike, so there is no common prompt"),
        ({"prompt": [U, A], "chosen": "b", "rejected": "c"}, "the prompt ends with the assistant, so nothing is asked"),
    ],
)  # fmt: skip
def test_problems_of_preference_pairs(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowProblemError) as caught:
        convert(row, {"prompt": "a", "chosen": "b", "rejected": "c"})
    assert str(caught.value) == reason
