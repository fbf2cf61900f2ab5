"""What of a conversation is learnt: the assistant's words and the mark that ends them.

Found through generation tags in the template, through a well-known template's copy for training, or by comparing the
text with and without each answer, in that order.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal

from engine.data.templates.sandbox import ChatTemplate, Span
from engine.errors import UserError

MaskSource = Literal["generation tags", "training copy of the template", "prefixes", "whole text"]
MASK_WORDS: dict[MaskSource, str] = {
    "generation tags": "The template itself marks what the assistant says.",
    "training copy of the template": "The template is a well-known one; its copy for training marks what the assistant says.",
    "prefixes": "The template does not mark what the assistant says; it is found by comparing the text with and without "
    "each answer.",
    "whole text": "Every token is learnt.",
}
_MARK = re.compile(r"(?:<[^<>\s]+>|\[[^\[\]\s]+\])$")
_FIRST_WORDS = 200  # characters that a template may put between the question and the answer, such as an empty thinking block


@dataclass(frozen=True, slots=True)
class Learnt:
    """A conversation as text.

    Attributes:
        text: What the model sees.
        spans: Characters that are learnt; None for all of them.
        source: How they were found.
        problems: Sentences on answers that could not be found.
    """

    text: str
    spans: tuple[Span, ...] | None
    source: MaskSource
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes conversations through one template with a model's named tokens.

    Attributes:
        template: The template in use.
        marked: The one with generation tags; None where there is none.
        variables: ``bos_token``, ``eos_token`` and the like.
        ends: Texts of the tokens that end a turn.
        supplied: What some templates mark as learnt although the prompt for an answer ends with it, such as the
            assistant's name.
    """

    template: ChatTemplate
    marked: ChatTemplate | None
    variables: Mapping[str, Any]
    ends: Collection[str]
    supplied: str = ""

    @classmethod
    def of(
        cls,
        template: ChatTemplate,
        marked: ChatTemplate | None,
        variables: Mapping[str, Any],
        ends: Collection[str],
    ) -> Writer:
        """A writer that knows what the prompt supplies, seen on a made-up conversation."""
        made = cls(template, marked, variables, ends)
        if marked is None:
            return made
        question = [{"role": "user", "content": "Question"}]
        try:
            prompt = made.text(question, True)
            text, spans = marked.render([*question, {"role": "assistant", "content": "Answer"}], variables)
        except UserError:  # a template for other conversations than this one
            return made
        start, end = spans[0] if spans else (0, 0)
        pairs = zip(prompt[start:], text[start:end], strict=False)
        num_shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        shared = text[start : start + num_shared] if prompt[:start] == text[:start] else ""
        # What only looks the same for some letters ends in the middle of a mark; thinking is the model's own.
        shared = shared.split("<think>")[0]
        if not prompt.endswith(shared):
            shared = shared[: max(shared.rfind(mark) for mark in (">", "]", "\n")) + 1]
        return replace(made, supplied=shared)

    def text(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The conversation as the model sees it when it answers.

        Raises:
            UserError: The template refuses it.
        """
        return self.template.render(messages, self.variables, add_generation_prompt, tools)[0]

    def learnt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        assistant_only: bool = True,
    ) -> Learnt:
        """The conversation as it is trained on.

        Raises:
            UserError: The template refuses it.
        """
        if not assistant_only:
            return Learnt(self.text(messages, tools=tools), None, "whole text")
        if self.marked is None:
            return self._by_prefixes(messages, tools)
        text, spans = self.marked.render(messages, self.variables, tools=tools)
        source: MaskSource = (
            "generation tags" if self.marked is self.template else "training copy of the template"
        )
        return Learnt(text, tuple(self._own_words(text, spans)), source)

    def last_mark(self) -> str:
        """What looks like a token at the end of a made-up answer, also where no list of end tokens has it."""
        talk = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": "Answer"}]
        try:
            learnt = self.learnt(talk)
        except UserError:
            return ""
        start, end = learnt.spans[-1] if learnt.spans else (0, 0)
        found = _MARK.search(learnt.text[start:end].rstrip())
        return found[0] if found else ""

    def _own_words(self, text: str, spans: Sequence[Span]) -> Iterator[Span]:
        """The marked spans without what the prompt already says before them and what nobody writes after their end."""
        ended_at = -1
        for start, end in spans:
            if start < end and text.startswith(self.supplied, start):
                start += len(self.supplied)
            start, end = self._up_to_the_end(text, (start, end))
            if text[start:end] in self.ends and ended_at >= 0 and not text[ended_at:start].strip():
                continue  # a second end token after the first, which the model never gets to write
            if start < end:
                yield start, end
                ended_at = end if text[start:end].endswith(tuple(self.ends)) else -1

    def _up_to_the_end(self, text: str, span: Span) -> Span:
        """Without line breaks after the end of the turn: the model has stopped before it could write them."""
        start, end = span
        words = text[start:end].rstrip()
        return (start, start + len(words)) if words.endswith(tuple(self.ends)) else span

    def _by_prefixes(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> Learnt:
        """Find the answers without tags: what each one adds to the text that asks for it."""
        full = self.text(messages, tools=tools)
        spans: list[Span] = []
        problems: list[str] = []
        done = 0
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.text(messages[:index], True, tools)
            after = self.text(messages[: index + 1], tools=tools)
            if full.startswith(before) and full.startswith(after) and len(after) > len(before):
                # A line break after the end of the turn belongs to the next turn.
                span = self._up_to_the_end(full, (len(before), len(after)))
                found: Span | None = (span[0], span[0] + len(full[span[0] : span[1]].rstrip("\n")))
            else:
                found = self._by_words(full, before, done, str(message.get("content") or "").strip())
            if found is None:
                problems.append(
                    f"The answer in turn {index + 1} is written differently when the conversation goes on, so it cannot "
                    "be told apart and is not learnt."
                )
            else:
                spans.append(found)
                done = found[1]
        return Learnt(full, tuple(spans), "prefixes", tuple(problems))

    def _by_words(self, full: str, before: str, done: int, words: str) -> Span | None:
        """The answer by its own words, where the template rewrites history: it must end in an end-of-turn token."""
        known = len(before) if full.startswith(before) else None
        start = full.find(words, done if known is None else known) if words else -1
        if start < 0 or (known is not None and start - known > _FIRST_WORDS):
            return None
        rest = full[start + len(words) :]
        gap = len(rest) - len(rest.lstrip())
        end = next((mark for mark in self.ends if rest[gap:].startswith(mark)), None)
        if end is None:
            return None
        return (start if known is None else known), start + len(words) + gap + len(end)


def mask_of(offsets: Sequence[Span], spans: Sequence[Span] | None) -> list[bool]:
    """For each token, whether it is learnt: it shares a character with a span.

    Args:
        offsets: Characters of each token.
        spans: What is learnt, in order; None for everything.
    """
    if spans is None:
        return [True] * len(offsets)
    mask: list[bool] = []
    at = 0
    for left, right in offsets:
        while at < len(spans) and spans[at][1] <= left:
            at += 1
        mask.append(at < len(spans) and spans[at][0] < right and left < spans[at][1])
    return mask
