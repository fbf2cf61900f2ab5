"""The X-ray: what a row looks like to the model, token by token, and which tokens it learns. Needs no torch.

It reads ``tokenizer.json`` and the chat template of a model folder and does what the trainer does, so that what the
screen shows is what is trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import presets
from engine.data.chat import ChatTemplate, Span
from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_chat_template, read_json

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MaskSource = Literal["generation tags", "training copy of the template", "prefixes", "whole text"]
MASK_WORDS: dict[MaskSource, str] = {
    "generation tags": "The template itself marks what the assistant says.",
    "training copy of the template": "The template is a well-known one; its copy for training marks what the assistant says.",
    "prefixes": "The template does not mark what the assistant says; it is found by comparing the text with and without "
    "each answer.",
    "whole text": "Every token is learnt.",
}
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


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
    """

    tokens: tuple[tuple[str, bool], ...]
    ids: tuple[int, ...]
    trained_count: int
    total: int
    mask_source: MaskSource
    stops: bool
    kept: int
    problems: tuple[str, ...]

    @property
    def mask(self) -> tuple[bool, ...]:
        """For each token, whether it is learnt."""
        return tuple(trained for _, trained in self.tokens)


class Renderer:
    """The tokenizer and chat template of one model.

    Attributes:
        template: The template conversations are written with; ``None`` where the model has none and texts are trained.
        template_source: Where it comes from, in words.
    """

    def __init__(self, folder: str | Path, chat_template: str = "model") -> None:
        """Read a model folder.

        Args:
            folder: The folder with ``tokenizer.json`` and ``tokenizer_config.json``.
            chat_template: ``model`` for the model's own (ChatML where it has none), or the path of a Jinja file.

        Raises:
            UserError: A file is missing or damaged.
        """
        self._folder = Path(folder)
        config = read_json(self._folder / "tokenizer_config.json")
        if "added_tokens_decoder" not in config:  # older models keep the names in a file of their own
            config |= read_json(self._folder / "special_tokens_map.json")
        self._named = {name: text for name in _NAMED_TOKENS if (text := _content(config.get(name)))}
        self._tokenizer = _load_tokenizer(self._folder, config, self._named)
        source, self.template_source = _template(self._folder, chat_template)
        self.template = ChatTemplate(source, self.template_source)
        self._training = self.template if self.template.has_tags else _training_copy(self.template)
        decoder = self._tokenizer.get_added_tokens_decoder()
        self._special_ids = {number for number, token in decoder.items() if token.special}

    def render(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False) -> str:
        """Write a conversation as the text the model sees.

        Raises:
            UserError: The template refuses it.
        """
        return self.template.render(messages, self._named, add_generation_prompt)[0]

    def xray(
        self, row: Mapping[str, Any], max_length: int | None = None, assistant_only_loss: bool = True
    ) -> XRay:
        """Look at one row.

        Args:
            row: ``{"messages": [...]}`` or ``{"text": ...}``.
            max_length: Length limit of the training in tokens.
            assistant_only_loss: Only what the assistant says is learnt; texts are always learnt whole.

        Raises:
            UserError: The template refuses the conversation.
        """
        if "messages" not in row:
            return self._xray_text(str(row["text"]), max_length)
        messages: Sequence[Mapping[str, Any]] = row["messages"]
        problems: list[str] = []
        source: MaskSource
        if not assistant_only_loss:
            text, spans, source = self.render(messages), None, "whole text"
        elif self._training is not None:
            text, spans = self._training.render(messages, self._named)
            source = "generation tags" if self._training is self.template else "training copy of the template"
        else:
            text, spans, source = *self._prefix_spans(messages, problems), "prefixes"
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if spans is None:
            mask = [True] * len(encoding.ids)
        elif source == "prefixes":
            mask = [
                any(start < right and left < end for start, end in spans) for left, right in encoding.offsets
            ]
        else:
            mask = _mask_like_transformers(encoding, spans)
        problems += _dropped_turns(messages, text)
        return self._finish(list(encoding.ids), _pieces(encoding, text), mask, source, max_length, problems)

    def _xray_text(self, text: str, max_length: int | None) -> XRay:
        encoding = self._tokenizer.encode(text)
        ids, pieces = list(encoding.ids), _pieces(encoding, text)
        end = self._named.get("eos_token")
        end_id = self._tokenizer.token_to_id(end) if end else None
        if end is not None and end_id is not None and (not ids or ids[-1] != end_id):
            ids.append(end_id)
            pieces.append(end)
        return self._finish(ids, pieces, [True] * len(ids), "whole text", max_length, [])

    def _prefix_spans(
        self, messages: Sequence[Mapping[str, Any]], problems: list[str]
    ) -> tuple[str, list[Span]]:
        """Find the answers without tags: what each one adds to the text that asks for it."""
        full = self.render(messages)
        spans: list[Span] = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:index], add_generation_prompt=True)
            after = self.render(messages[: index + 1])
            if full.startswith(before) and full.startswith(after) and len(after) > len(before):
                # A line break after the end of the turn belongs to the next turn.
                spans.append((len(before), len(before) + len(after[len(before) :].rstrip("\n"))))
            else:
                problems.append(
                    f"The answer in turn {index + 1} is written differently when the conversation goes on, so it cannot be "
                    "told apart and is not learnt."
                )
        return full, spans

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
        stops = self._ends(learnt)
        bos = self._named.get("bos_token")
        if bos and len(ids) > 1 and ids[0] == ids[1] == self._tokenizer.token_to_id(bos):
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
        return XRay(tokens, tuple(ids), trained, len(ids), source, stops, kept, tuple(problems))

    def _ends(self, learnt: Sequence[int]) -> bool:
        """The last learnt token, spaces aside, is one that ends a turn."""
        for number in reversed(learnt):
            if number in self._special_ids:
                return True
            if self._tokenizer.decode([number]).strip():
                return False
        return False


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
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True) for text in named.values() if text not in known]
    )
    return tokenizer


def _template(folder: Path, chat_template: str) -> tuple[str, str]:
    """The template's text, and where it comes from."""
    if chat_template != "model":
        try:
            return Path(chat_template).read_text("utf-8"), chat_template
        except (OSError, ValueError):
            raise UserError(
                "The chat template cannot be read.",
                printable(chat_template, 300),
                "Give a .jinja file, or 'model' for the model's own.",
            )
    found = read_chat_template(folder)
    if found is not None:
        return found
    return (
        Path(presets.__path__[0], "templates", "chatml.jinja").read_text("utf-8"),
        "ChatML (the model has no template of its own)",
    )


def _training_copy(template: ChatTemplate) -> ChatTemplate | None:
    """TRL's copy of a well-known template with generation tags, which the trainer uses in its place."""
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "chat_templates"
    for copy in sorted(folder.glob("*_training.jinja")):
        original = copy.with_name(copy.name.replace("_training.jinja", ".jinja"))
        if original.is_file() and original.read_text("utf-8") == template.source:
            found = ChatTemplate(copy.read_text("utf-8"), template.name)
            return found if found.has_tags else None
    return None


def _mask_like_transformers(encoding: Encoding, spans: Sequence[Span]) -> list[bool]:
    """The mask that ``apply_chat_template(..., return_assistant_tokens_mask=True)`` makes, its edge cases included."""
    mask = [False] * len(encoding.ids)
    for start, end in spans:
        first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1) if end else None
        if first is None:
            break
        for index in range(first, last + 1 if last else len(mask)):
            mask[index] = True
    return mask


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


def _dropped_turns(messages: Sequence[Mapping[str, Any]], text: str) -> list[str]:
    """Turns whose words do not appear in the text: the template changed or left them out."""
    squeezed = re.sub(r"\s+", " ", text)
    dropped = [
        number
        for number, message in enumerate(messages, 1)
        if re.sub(r"\s+", " ", str(message.get("content") or "")).strip() not in squeezed
    ]
    return [
        f"Turn {number} ({messages[number - 1]['role']}) is changed or left out by the template."
        for number in dropped
    ]


def _content(value: object) -> str | None:
    """The text of a token that a configuration names plainly or with its flags."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
