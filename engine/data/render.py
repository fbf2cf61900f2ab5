"""The X-ray: what a row looks like to the model, token by token, and which tokens it learns. Needs no torch.

It reads ``tokenizer.json`` and the chat template of a model folder and writes rows with the code the trainer uses, so
that what the screen shows is what is trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.data.templates.learnt import MASK_WORDS, Learnt, MaskSource, Writer, mask_of
from engine.data.templates.marks import end_ids
from engine.data.templates.source import TemplateSource, find_template
from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_chat_template, read_json

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["MASK_WORDS", "MaskSource", "Renderer", "XRay"]

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Tokens a tokenizer gives names to; templates read them by these names."""


MOST_SHOWN = 1_000_000
"""Characters of a row that are looked at; a token takes some 500 bytes of memory here, and no limit is as long."""


@dataclass(frozen=True, slots=True)
class XRay:
    """One row as the model sees it.

    Attributes:
        tokens: Text of each token and whether it is learnt; the texts joined are the whole text. Foreign text: pass it
            through ``printable`` before it is shown.
        ids: Number of each token.
        trained_count: How many are learnt.
        total: How many there are.
        mask_source: How the learnt ones were found; `MASK_WORDS` has a sentence for each.
        stops: The model learns to end its answer.
        kept: How many tokens fit into the length limit; the rest is cut off in training.
        problems: Sentences on what is wrong with the row.
        ends: Numbers of the tokens that end a turn.
    """

    tokens: tuple[tuple[str, bool], ...]
    ids: tuple[int, ...]
    trained_count: int
    total: int
    mask_source: MaskSource
    stops: bool
    kept: int
    problems: tuple[str, ...]
    ends: frozenset[int] = frozenset()

    @property
    def mask(self) -> tuple[bool, ...]:
        """For each token, whether it is learnt."""
        return tuple(trained for _, trained in self.tokens)

    @property
    def learnt(self) -> int:
        """How many tokens are learnt within the length limit."""
        return sum(trained for _, trained in self.tokens[: self.kept])


class Renderer:
    """The tokenizer and chat template of one model.

    Attributes:
        source: Which template is used, and why.
        template_source: Its name for people.
        added: Tokens the template needs that the model did not have; the trainer adds them too.
        template: The compiled template.
        tokenizer: The model's tokenizer, with those tokens.
        named: The tokens with names, such as ``eos_token``.
    """

    def __init__(self, folder: str | Path, chat_template: str = "model", model: str = "") -> None:
        """Read a model folder.

        Args:
            folder: The folder with ``tokenizer.json`` and ``tokenizer_config.json``.
            chat_template: ``model`` for the model's own (a fitting one where it has none), a name of the catalogue, or
                the path of a Jinja file.
            model: The model's id, where that is not its folder.

        Raises:
            UserError: A file is missing or damaged, or there is no such template.
        """
        self._folder = Path(folder)
        config = read_json(self._folder / "tokenizer_config.json")
        if "added_tokens_decoder" not in config:  # older models keep the names in a file of their own
            config |= read_json(self._folder / "special_tokens_map.json")
        self.named = {name: text for name in NAMED_TOKENS if (text := _content(config.get(name)))}
        self.tokenizer = _load_tokenizer(self._folder, config, self.named)
        self.source = find_template(chat_template, read_chat_template(self._folder), model or str(folder))
        self.template_source = self.source.title
        self.added = self.source.missing(self._whole_tokens())
        if self.added:
            _add_special(self.tokenizer, self.added)
        if self.source.ends and not self.source.own:
            self.named["eos_token"] = self.source.ends[0]
        self.writer, self._ends = writer_for(self.source, self.named, self._whole_tokens())
        self.template = self.writer.template

    def _whole_tokens(self) -> dict[str, int]:
        """Tokens that are never cut into pieces, with their ids."""
        return {token.content: number for number, token in self.tokenizer.get_added_tokens_decoder().items()}

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """Write a conversation as the text the model sees.

        Raises:
            UserError: The template refuses it.
        """
        return self.writer.text(messages, add_generation_prompt, tools)

    def xray(
        self, row: Mapping[str, Any], max_length: int | None = None, assistant_only_loss: bool = True
    ) -> XRay:
        """Look at one row.

        Args:
            row: ``{"messages": [...]}``, perhaps with ``tools``, or ``{"text": ...}``.
            max_length: Length limit of the training in tokens.
            assistant_only_loss: Only what the assistant says is learnt; texts are always learnt whole.

        Raises:
            UserError: The template refuses the conversation.
        """
        if "text" in row and "messages" not in row:
            return self._xray_text(str(row["text"]), max_length)
        if "messages" not in row:
            raise UserError(
                "This row is neither a conversation nor a text, so there is no one text to show.",
                printable(", ".join(map(str, row)), 200),
                "Rows with several answers are checked when the training starts.",
            )
        messages: Sequence[Mapping[str, Any]] = row["messages"]
        learnt = self.writer.learnt(messages, row.get("tools"), assistant_only_loss)
        if len(learnt.text) > MOST_SHOWN:
            return self._beginning(learnt, max_length)
        encoding = self.tokenizer.encode(learnt.text, add_special_tokens=False)
        mask = mask_of(encoding.offsets, learnt.spans)
        problems = [*learnt.problems, *left_out(messages, learnt)]
        return self._finish(
            list(encoding.ids), _pieces(encoding, learnt.text), mask, learnt.source, max_length, problems
        )

    def _beginning(self, learnt: Learnt, max_length: int | None) -> XRay:
        text = learnt.text[:MOST_SHOWN]
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        mask = mask_of(encoding.offsets, learnt.spans)
        return self._finish(
            list(encoding.ids),
            _pieces(encoding, text),
            mask,
            learnt.source,
            max_length,
            [_too_long(learnt.text)],
        )

    def _xray_text(self, text: str, max_length: int | None) -> XRay:
        if len(text) > MOST_SHOWN:
            return self._beginning(Learnt(text, None, "whole text"), max_length)
        encoding = self.tokenizer.encode(text)
        ids, pieces = list(encoding.ids), _pieces(encoding, text)
        end = self.named.get("eos_token")
        end_id = self.tokenizer.token_to_id(end) if end else None
        if end is not None and end_id is not None and (not ids or ids[-1] != end_id):
            ids.append(end_id)
            pieces.append(end)
        return self._finish(ids, pieces, [True] * len(ids), "whole text", max_length, [])

    def _finish(
        self,
        ids: list[int],
        pieces: list[str],
        mask: list[bool],
        source: MaskSource,
        max_length: int | None,
        problems: list[str],
    ) -> XRay:
        kept = len(ids) if max_length is None else min(len(ids), max_length)
        trained = sum(mask)
        learnt = [number for number, bit in zip(ids[:kept], mask[:kept], strict=True) if bit]
        stops = self._stops(learnt)
        bos = self.named.get("bos_token")
        if bos and len(ids) > 1 and ids[0] == ids[1] == self.tokenizer.token_to_id(bos):
            problems.append(f"The start token {bos} is there twice.")
        if kept < len(ids):
            problems.append(
                f"The row has {len(ids):,} tokens; the last {len(ids) - kept:,} are cut off, {trained - len(learnt):,} of "
                "them to be learnt."
            )
        if not learnt:
            problems.append(
                "Nothing is learnt from this row: none of its tokens belongs to the assistant's words."
            )
        elif not stops:
            problems.append("The end of the answer is not learnt, so the model may not know when to stop.")
        tokens = tuple(zip(pieces, mask, strict=True))
        ends = frozenset(self._ends)
        return XRay(tokens, tuple(ids), trained, len(ids), source, stops, kept, tuple(problems), ends)

    def _stops(self, learnt: Sequence[int]) -> bool:
        """The last learnt token, spaces aside, is one that ends a turn."""
        for number in reversed(learnt):
            if number in self._ends:
                return True
            if self.tokenizer.decode([number]).strip():
                return False
        return False


def writer_for(
    source: TemplateSource, named: Mapping[str, str], vocabulary: Mapping[str, int]
) -> tuple[Writer, dict[int, str]]:
    """What writes conversations for a model, and the tokens that end a turn.

    Args:
        source: The template in use.
        named: The model's named tokens.
        vocabulary: Its added tokens with their ids.

    Raises:
        UserError: The template is not valid Jinja.
    """
    template, marked = source.compiled()
    last = Writer(template, marked, named, ()).last_mark()
    others = {text for name, text in named.items() if name != "eos_token"}
    more = [*source.ends, *([last] if last not in others else [])]
    ends = end_ids(vocabulary, named.get("eos_token"), named.get("pad_token"), more)
    return Writer.of(template, marked, named, tuple(ends.values())), ends


def _too_long(text: str) -> str:
    return f"The row has {len(text):,} characters; only the first {MOST_SHOWN:,} are looked at. Split it into several rows."


def left_out(messages: Sequence[Mapping[str, Any]], learnt: Learnt) -> list[str]:
    """Turns whose words or tool calls are not in the text: the template changed them or left them out."""
    squeezed = re.sub(r"\s+", " ", learnt.text)
    problems = []
    for number, message in enumerate(messages, 1):
        if re.sub(r"\s+", " ", str(message.get("content") or "")).strip() not in squeezed:
            problems.append(f"Turn {number} ({message['role']}) is changed or left out by the template.")
        elif any(name not in squeezed for name in _called(message)):
            problems.append(
                f"The tool call in turn {number} is left out: the template has no place for tool calls."
            )
    return problems


def _called(message: Mapping[str, Any]) -> list[str]:
    calls = message.get("tool_calls")
    names = [
        (call.get("function") or call).get("name")
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, Mapping) and isinstance(call.get("function") or call, Mapping)
    ]
    return [str(name) for name in names if name]


def _load_tokenizer(folder: Path, config: Mapping[str, Any], named: Mapping[str, str]) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer

    file = folder / "tokenizer.json"
    where = printable(file, 300)
    if not file.is_file():
        raise UserError(
            "The model has no tokenizer.json, so its tokens cannot be shown.",
            where,
            "Training may still work: transformers can build it from the older files that are there.",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise UserError(
            f"The tokenizer is not readable: {printable(error, 200)}.",
            where,
            "Download or copy this file again.",
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    listed = config.get("added_tokens_decoder")
    for _, token in sorted(listed.items(), key=lambda item: int(item[0])) if isinstance(listed, dict) else ():
        if isinstance(token, dict) and token.get("content") and token["content"] not in known:
            flags = {
                key: bool(token.get(key, False))
                for key in ("single_word", "lstrip", "rstrip", "normalized", "special")
            }
            tokenizer.add_tokens([AddedToken(str(token["content"]), **flags)])
            known.add(token["content"])
    _add_special(tokenizer, [text for text in named.values() if text not in known])
    return tokenizer


def _add_special(tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts])


def _pieces(encoding: Encoding, text: str) -> list[str]:
    """The text of each token. A character that spans several tokens goes to the first of them."""
    pieces: list[str] = []
    done = 0
    for (_, end), special, token in zip(
        encoding.offsets, encoding.special_tokens_mask, encoding.tokens, strict=True
    ):
        if special and end == 0:  # added by the tokenizer itself, such as a start token
            pieces.append(token)
            continue
        pieces.append(text[done:end])
        done = max(done, end)
    if pieces and done < len(text):
        pieces[-1] += text[done:]
    return pieces


def _content(value: object) -> str | None:
    """The text of a token that a configuration names plainly or with its flags."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
