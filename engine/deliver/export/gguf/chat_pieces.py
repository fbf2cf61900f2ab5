"""A chat template taken apart: what it writes before and after each turn, found by rendering probe conversations.

Ollama has templates of its own, in Go's template language, without most of what Jinja can do. Nearly all chat templates
come down to fixed texts around each role's words, and those can be written in both languages. Whether that is so for a
given template is not guessed: the pieces must give the same text as the template on every probe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.errors import UserError

Messages = Sequence[Mapping[str, str]]
Render = Callable[[Messages, bool], str]
SystemIn = Literal["head", "last user turn", "nowhere"]

_S, _U, _A = "Sys-Qx7", "User-{}-Qx7", "Answer-{}-Qx7"


@dataclass(frozen=True, slots=True)
class Pieces:
    """The fixed texts of a chat template.

    Attributes:
        head: Before everything where no system prompt is given.
        system_in: Where the system prompt goes.
        system: What stands around it: in place of `head`, or at the beginning of the last user turn.
        opens_first: The head opens the first user turn, too, as it looks different from the later ones.
        user: Before and after what the user says.
        assistant: Before and after what the assistant says.
        ask: At the end, to make the assistant speak.
    """

    head: str
    system_in: SystemIn
    system: tuple[str, str]
    opens_first: bool
    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str

    @property
    def default_system(self) -> str:
        """The system prompt that the template writes by itself where none is given; empty where it writes none."""
        before, after = self.system
        if self.system_in != "head" or len(self.head) <= len(before) + len(after):
            return ""
        if not before or not self.head.startswith(before) or not self.head.endswith(after):
            return ""
        return self.head[len(before) : len(self.head) - len(after)]

    def render(self, messages: Messages) -> str:
        """The text of a conversation that the assistant is to continue."""
        given = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        turns = [message for message in messages if message["role"] != "system"]
        text = self.head
        if given and self.system_in == "head":
            text = self.system[0] + given + self.system[1]
        for number, message in enumerate(turns):
            if message["role"] == "assistant":
                text += self.assistant[0] + message["content"] + self.assistant[1]
                continue
            text += "" if self.opens_first and number == 0 else self.user[0]
            if given and self.system_in == "last user turn" and number == len(turns) - 1:
                text += self.system[0] + given + self.system[1]
            text += message["content"] + self.user[1]
        return text + self.ask


def take_apart(render: Render, bos: str, add_bos: bool) -> Pieces:
    """Find the pieces of a template.

    Args:
        render: The template: a conversation and whether the assistant is to speak next, to text.
        bos: The start token; empty where there is none.
        add_bos: llama.cpp puts the start token in front by itself, so it must not be in the text, too.

    Raises:
        UserError: The template does more than put fixed texts around turns.
    """
    pieces = _pieces(render)
    for messages in probes(pieces.system_in != "nowhere"):
        if pieces.render(messages) != render(messages, True):
            raise _too_clever("it treats some turns differently from others")
    if not bos or not add_bos:
        return pieces
    before, after = pieces.system
    if pieces.system_in == "head":
        before = before.removeprefix(bos)
    return replace(pieces, head=pieces.head.removeprefix(bos), system=(before, after))


def probes(with_system: bool) -> list[Messages]:
    """Conversations that a template and its pieces must agree on."""
    turns = [_user(1), _answer(1), _user(2), _answer(2), _user(3)]
    found: list[Messages] = [turns[:1], turns[:3], turns]
    if with_system:
        found += [[_SYSTEM, *turns[:1]], [_SYSTEM, *turns[:3]], [_SYSTEM, *turns]]
    return found


def _pieces(render: Render) -> Pieces:
    user, answer, again = _user(1), _answer(1), _user(2)
    head, between, back, after = _cut(render([user, answer, again], True), [user, answer, again])
    # What ends a turn is what stands behind it when nothing follows.
    _, closing = _cut(render([user], False), [user])
    if not after.startswith(closing) or not between.startswith(closing):
        closing = _common_start(after, between)
    _, _, ending = _cut(render([user, answer], False), [user, answer])
    if not back.startswith(ending):
        ending = _common_start(back, ending)
    pieces = Pieces(
        head=head,
        system_in="nowhere",
        system=("", ""),
        opens_first=True,
        user=(back[len(ending) :], closing),
        assistant=(between[len(closing) :], ending),
        ask=after[len(closing) :],
    )
    return _with_plain_head(_with_system(render, pieces))


def _with_system(render: Render, pieces: Pieces) -> Pieces:
    turns = [_SYSTEM, _user(1), _answer(1), _user(2)]
    try:
        short, long = render(turns[:2], True), render(turns, True)
    except UserError:
        return pieces  # the template refuses system prompts
    if _S not in short or _S not in long:
        return pieces
    before, after, _ = _cut(short, turns[:2])
    if long.index(_S) < long.index(_A.format(1)):
        return replace(pieces, system_in="head", system=(before, after))
    if not before.startswith(pieces.head):
        raise _too_clever("it begins a conversation with a system prompt differently")
    return replace(pieces, system_in="last user turn", system=(before[len(pieces.head) :], after))


def _with_plain_head(pieces: Pieces) -> Pieces:
    """Without the first user turn's opening in the head, where it is the same as that of the later ones."""
    opening = pieces.user[0]
    before, after = pieces.system
    in_head = pieces.system_in == "head"
    if not pieces.head.endswith(opening) or (in_head and not after.endswith(opening)):
        return pieces
    if in_head:
        after = after[: len(after) - len(opening)]
    head = pieces.head[: len(pieces.head) - len(opening)]
    return replace(pieces, head=head, system=(before, after), opens_first=False)


def _cut(text: str, messages: Messages) -> list[str]:
    """The texts between the words of the turns."""
    parts = []
    for message in messages:
        head, mark, text = text.partition(message["content"])
        if not mark:
            raise _too_clever(f"it leaves out what the {message['role']} says")
        parts.append(head)
    return [*parts, text]


def _common_start(one: str, other: str) -> str:
    size = 0
    while size < min(len(one), len(other)) and one[size] == other[size]:
        size += 1
    return one[:size]


_SYSTEM = {"role": "system", "content": _S}


def _user(number: int) -> dict[str, str]:
    return {"role": "user", "content": _U.format(number)}


def _answer(number: int) -> dict[str, str]:
    return {"role": "assistant", "content": _A.format(number)}


def _too_clever(why: str) -> UserError:
    return UserError(
        f"The chat template cannot be written in Ollama's template language: {why}.",
        "chat template",
        "Run the GGUF file with llama.cpp's own server, which understands it: llama-server --jinja -m FILE",
    )
