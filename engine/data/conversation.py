"""Bring the turns of a conversation, however they are written, into messages with role and content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from engine.data.cells import RowProblemError, parsed, text_of
from engine.data.forms import Conversation, Message, assistant, user
from engine.display import printable

_NAMES = {
    "user": "user human prompter customer client patient student questioner user1 usr question prompt instruction input "
    "query human_user end_user visitor 用户 人类 问 frage nutzer kunde usuario utilisateur",
    "assistant": "assistant gpt bot model chatgpt ai chatbot agent claude gemini bard bing llama doctor advisor support "
    "assistant_response gpt4 gpt_4 gpt_3.5 answer output response completion helper operator 助手 机器人 答 antwort "
    "asistente assistent",
    "system": "system developer",
    "tool": "tool function observation ipython tool_response function_response tool_result function_result tool_output "
    "environment tool_results",
    "call": "function_call tool_call tool_calls functioncall call",
}
ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
"""Names of speakers found in datasets, and the role each one stands for."""
SPEAKER_KEYS = ("role", "from", "speaker", "sender", "author")
CONTENT_KEYS = ("content", "value", "text", "message", "utterance", "parts")
PAIR_KEYS = (
    ("input", "output"), ("human", "assistant"), ("user", "assistant"), ("human", "bot"), ("user", "bot"),
    ("question", "answer"), ("prompt", "response"), ("prompt", "completion"), ("instruction", "output"),
    ("instruction", "response"), ("query", "response"), ("q", "a"), ("human", "gpt"), ("human", "ai"),
)  # fmt: skip
"""Keys of turns that hold a question and its answer together."""
_KEPT_KEYS = ("tool_call_id", "name")
_THINKING_KEYS = ("reasoning_content", "thinking", "reasoning")


def conversation(
    turns: Any, system: Any = None, tools: Any = None, images: Any = None, complete: bool = True
) -> Conversation:
    """A conversation from the cells of a row.

    Args:
        turns: A list of turns of any kind, or the same as JSON text.
        system: A system prompt beside them; the one among the turns wins.
        tools: Schemas of functions.
        images: Pictures that belong to it.
        complete: It must hold an answer; otherwise it is a prompt, which ends before one.

    Raises:
        RowProblemError: It cannot be used.
    """
    found, inside = messages_of(turns)
    if (
        system
        and found[0]["role"] != "system"
        and (text := text_of(parsed_prompt(system), "system message")).strip()
    ):
        found.insert(0, {"role": "system", "content": text})
    check_order(found, complete)
    pictures = (*as_list(images), *inside)
    return Conversation(found, tools_of(tools), pictures)


def parsed_prompt(value: Any) -> Any:
    """A system prompt, also where it is a list of texts."""
    return (
        " ".join(map(str, value))
        if isinstance(value, list) and all(isinstance(v, str) for v in value)
        else value
    )


def messages_of(value: Any) -> tuple[list[Message], list[Any]]:
    """The turns as messages, and the pictures in them.

    Raises:
        RowProblemError: Not a list of turns.
    """
    turns = parsed(value)
    if isinstance(turns, dict) and isinstance(turns.get("messages"), list):
        turns = turns["messages"]
    elif isinstance(turns, dict):
        turns = _columns_of_turns(turns) or [turns]
    if not isinstance(turns, list):
        raise RowProblemError("no list of turns" if value is not None else "no conversation", "messages")
    turns = _flat(turns)
    pictures: list[Any] = []
    messages: list[Message] = []
    for number, turn in enumerate(turns, 1):
        message = _message(turn, number, pictures)
        before = messages[-1] if messages else None
        if (
            before
            and message.get("tool_calls")
            and before["role"] == "assistant"
            and not before.get("tool_calls")
        ):
            # Some datasets write the words and the call of one answer as two turns.
            message["content"] = "\n".join(filter(None, (before["content"], message["content"])))
            messages[-1] = message
        else:
            messages.append(message)
    if not messages:
        raise RowProblemError("empty conversation", "messages")
    roles = {message["role"] for message in messages}
    if roles == {"user", "system"} and messages[0]["role"] == "user":
        # Research on dialogues (MultiWOZ, SGD) calls the one who answers the system.
        for message in messages:
            message["role"] = "assistant" if message["role"] == "system" else "user"
    return messages, pictures


def is_turns(value: Any) -> bool:
    """A list of turns, each naming who speaks; or the same as an object of lists."""
    if isinstance(value, dict):
        return _columns_of_turns(value) is not None
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    return role_in(value[0]) is not None and any(key in value[0] for key in (*CONTENT_KEYS, "tool_calls"))


def is_pairs(value: Any) -> bool:
    """A list of exchanges: objects with question and answer, lists of two texts, or texts in turn."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    if isinstance(first, dict):
        return _pair_keys(first) is not None
    if isinstance(first, list):
        return len(first) == 2 and all(isinstance(text, str) for text in first)
    return len(value) >= 2 and all(isinstance(text, str) for text in value)


def role_in(turn: Mapping[str, Any]) -> str | None:
    """Who speaks in a turn, as it is written there."""
    for key in SPEAKER_KEYS:
        speaker = turn.get(key)
        if isinstance(speaker, dict):
            speaker = speaker.get("role") or speaker.get("name")
        if isinstance(speaker, str):
            return speaker
    return None


def role_of(speaker: str) -> str | None:
    """The role a speaker's name stands for."""
    return ROLES.get(speaker) or ROLES.get(speaker.strip().lower().replace("-", "_").replace(" ", "_"))


def tools_of(value: Any) -> list[dict[str, Any]]:
    """Schemas of functions in OpenAI's form, from a list, an object or JSON text.

    Raises:
        RowProblemError: Something else.
    """
    tools = parsed(value)
    if not tools or (isinstance(tools, str) and not tools.strip()):
        return []
    if isinstance(tools, str):
        raise RowProblemError(
            "the tools are not valid JSON", "tools", "Write them as a JSON list of schemas."
        )
    found: list[dict[str, Any]] = []
    for tool in tools if isinstance(tools, list) else [tools]:
        tool = parsed(tool)
        if not isinstance(tool, dict):
            raise RowProblemError("a tool is not an object with name and parameters", "tools")
        tool = _without_none(tool)
        found.append(tool if "function" in tool else {"type": "function", "function": tool})
    return found


def as_list(value: Any) -> list[Any]:
    """A cell that may hold one thing or several."""
    value = parsed(value)
    if value is None or value == "":
        return []
    return [item for item in value if item is not None] if isinstance(value, list) else [value]


def check_order(messages: list[Message], complete: bool = True) -> None:
    """The order of speakers that chat templates accept, and something to learn.

    Raises:
        RowProblemError: Something is out of order.
    """
    first = 1 if messages[0]["role"] == "system" else 0
    roles = [message["role"] for message in messages[first:]]
    if "system" in roles:
        raise RowProblemError(
            "a system message that is not the first turn", f"turn {roles.index('system') + first + 1}"
        )
    if complete and "assistant" not in roles:
        raise RowProblemError("no assistant turn, so nothing to learn", "messages")
    if not roles:
        raise RowProblemError("no user turn, so nothing to answer", "messages")
    if roles[0] != "user":
        raise RowProblemError(f"it starts with the {roles[0]}, not with the user", f"turn {first + 1}")
    for number, (before, after) in enumerate(pairwise(roles), first + 2):
        if before == after != "tool":
            raise RowProblemError(f"two {after} turns in a row", f"turn {number}")
    for number, message in enumerate(messages, 1):
        if (
            message["role"] == "assistant"
            and not message["content"].strip()
            and not message.get("tool_calls")
        ):
            raise RowProblemError("empty answer", f"turn {number}")


def tool_calls(value: Any, what: str) -> list[dict[str, Any]]:
    """Calls of functions in OpenAI's form, with arguments as objects.

    Raises:
        RowProblemError: A call has no name.
    """
    calls = parsed(value)
    made: list[dict[str, Any]] = []
    for call in calls if isinstance(calls, list) else [calls]:
        call = parsed(call)
        function = parsed(call.get("function", call)) if isinstance(call, dict) else None
        if isinstance(function, str):
            function = {**call, "name": function}
        if not isinstance(function, dict) or not function.get("name"):
            raise RowProblemError(f"{what} has a tool call without a name", what)
        arguments = parsed(function.get("arguments", function.get("parameters", function.get("input"))))
        kept = {key: call[key] for key in ("id",) if call.get(key)}
        body = {"name": function["name"], "arguments": {} if arguments in (None, "") else arguments}
        made.append({**kept, "type": "function", "function": body})
    return made


def _message(turn: Any, number: int, pictures: list[Any]) -> Message:
    if not isinstance(turn, dict):
        raise RowProblemError(f"turn {number} is not an object with role and content", f"turn {number}")
    # The usual turn, quickly.
    content = turn.get("content")
    if len(turn) == 2 and type(content) is str and content.isascii():
        plain = turn.get("role")
        if plain in ("user", "assistant", "system") and "<image>" not in content:
            return {"role": plain, "content": content}
    what = f"turn {number}"
    speaker = role_in(turn)
    role = role_of(speaker) if speaker is not None else None
    if role is None:
        other = next((turn[key] for key in SPEAKER_KEYS if turn.get(key) is not None), None)
        shown = "no role" if other is None else f"the unknown role '{printable(speaker or other, 30)}'"
        raise RowProblemError(
            f"{what} has {shown}",
            what,
            "Known are user, assistant, system and tool, and their usual other names.",
        )
    if content is None:
        content = next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None)
    message: Message = {"role": role, "content": ""}
    calls = next((turn[key] for key in ("tool_calls", "function_call") if turn.get(key)), None)
    if role == "call":
        message["role"], calls = "assistant", content
        if not isinstance(parsed(content), dict | list):
            raise RowProblemError(f"{what} is a tool call that is not valid JSON", what)
        content = ""
    elif isinstance(content, list):
        content, calls, thought = _parts(content, calls, what, pictures)
        if thought:
            message["reasoning_content"] = thought
    elif isinstance(content, dict) and role == "tool":
        content = json.dumps(content, ensure_ascii=False)
    if content is None and calls:
        content = ""
    message["content"] = text_of(content, what)
    if "<image>" in message["content"]:
        pictures.append("<image>")
    if calls:
        message["tool_calls"] = tool_calls(calls, what)
    for key in _KEPT_KEYS:
        if (turn.get(key) is not None and key != "name") or (
            key == "name" and role == "tool" and turn.get(key)
        ):
            message[key] = turn[key]
    thinking = next(
        (turn[key] for key in _THINKING_KEYS if isinstance(turn.get(key), str) and turn[key]), None
    )
    if thinking:
        message["reasoning_content"] = text_of(thinking, what)
    return message


def _parts(content: list[Any], calls: Any, what: str, pictures: list[Any]) -> tuple[Any, Any, str]:
    """Text, calls and thoughts of a content that is a list of parts; pictures are put aside."""
    texts: list[Any] = []
    thoughts: list[str] = []
    made = as_list(calls)
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append({"type": "text", "text": part})
        elif kind == "thinking":
            thoughts.append(text_of(part.get("thinking"), what))
        elif kind in ("tool_use", "tool_call"):
            made.append(part)
        elif kind == "tool_result":
            inner = part.get("content")
            texts.append({"type": "text", "text": inner if isinstance(inner, str) else json.dumps(inner)})
        elif kind in ("image", "image_url", "input_image", "video", "audio", "input_audio"):
            pictures.append(part)
        else:
            texts.append(part)
    return (texts or (None if made else "")), made or None, "\n".join(thoughts)


def _flat(turns: list[Any]) -> list[Any]:
    """Exchanges as single turns; turns as they are."""
    if not turns or (is_turns(turns) and not isinstance(turns[0], list)):
        return turns
    if isinstance(turns[0], dict) and (keys := _pair_keys(turns[0])):
        flat: list[Any] = []
        for turn in turns:
            if not isinstance(turn, dict):
                return turns
            flat += [user(turn.get(keys[0]) or ""), assistant(turn.get(keys[1]) or "")]
        return flat
    if is_pairs(turns) and isinstance(turns[0], list):
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in turns):
            return turns
        return [turn for asked, answered in turns for turn in (user(asked), assistant(answered))]
    if is_pairs(turns) and isinstance(turns[0], str):
        return [(user, assistant)[index % 2](text) for index, text in enumerate(turns)]
    return turns


def _pair_keys(turn: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((keys for keys in PAIR_KEYS if keys[0] in turn and keys[1] in turn), None)


def _columns_of_turns(value: Mapping[str, Any]) -> list[Any] | None:
    """Turns written as an object of lists, as the datasets library once did: ``{"role": [...], "content": [...]}``."""
    for speaker in SPEAKER_KEYS:
        for content in CONTENT_KEYS:
            who, what = value.get(speaker), value.get(content)
            if isinstance(who, list) and isinstance(what, list) and len(who) == len(what):
                return [{"role": role, "content": text} for role, text in zip(who, what, strict=True)]
    return None


def _without_none(value: Any) -> Any:
    """Without the empty fields that columnar files add."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
