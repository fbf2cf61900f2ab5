"""Ollama's Modelfile: which file to load, how to write conversations, when to stop. Made from what the model was trained with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.render import Renderer
from engine.deliver.export.gguf.chat_pieces import Messages, Pieces, take_apart
from engine.errors import UserError
from engine.models.chat_template import read_chat_template, read_json

# A model that was trained on short rows still holds longer conversations; 4,096 tokens cost little memory.
_LEAST_CONTEXT = 4096
_SAMPLING = (
    ("temperature", "temperature"), ("top_k", "top_k"), ("top_p", "top_p"), ("min_p", "min_p"),
    ("repetition_penalty", "repeat_penalty"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What a Modelfile says.

    Attributes:
        source: The GGUF file, beside the Modelfile.
        adapter: A LoRA adapter as GGUF, beside it; empty for none.
        template: In Ollama's template language.
        stops: Texts that end an answer.
        parameters: Further parameters with their values.
        system: The system prompt that is used where none is given; empty for none.
        notes: What the user should know.
    """

    source: str
    adapter: str
    template: str
    stops: tuple[str, ...]
    parameters: Mapping[str, float | int]
    system: str
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """The file.

        Raises:
            UserError: A text cannot be written in it.
        """
        lines = [f"FROM ./{self.source}"]
        if self.adapter:
            lines.append(f"ADAPTER ./{self.adapter}")
        lines.append(f"TEMPLATE {_quoted(self.template)}")
        if self.system:
            lines.append(f"SYSTEM {_quoted(self.system)}")
        lines += [f"PARAMETER stop {_quoted(stop, short=True)}" for stop in self.stops]
        lines += [f"PARAMETER {name} {value:g}" if isinstance(value, float) else f"PARAMETER {name} {value}"
                  for name, value in self.parameters.items()]  # fmt: skip
        return "\n".join(lines) + "\n"


def make_modelfile(
    tokenizer: Path,
    source: str,
    adapter: str = "",
    add_bos: bool = False,
    trained_length: int | None = None,
    window: int | None = None,
    system: str = "",
    generation: Mapping[str, Any] | None = None,
) -> Modelfile:
    """Derive a Modelfile.

    Args:
        tokenizer: Folder with the tokenizer and chat template the model was trained with.
        source: Name of the GGUF file.
        adapter: Name of a LoRA adapter to put over it; empty for none.
        add_bos: The GGUF file has llama.cpp put the start token in front by itself.
        trained_length: Longest row in training, in tokens.
        window: Most tokens the model can hold.
        system: The system prompt of the training data where it was the same in all rows.
        generation: The model's ``generation_config.json``.

    Raises:
        UserError: The chat template cannot be written in Ollama's language.
    """
    context = max(trained_length or 0, _LEAST_CONTEXT)
    parameters: dict[str, float | int] = {"num_ctx": min(context, window) if window else context}
    parameters |= _sampling(generation or {})
    if read_chat_template(tokenizer) is None:
        return Modelfile(source, adapter, "{{ .Prompt }}", (), parameters, "")
    renderer = Renderer(tokenizer)

    def render(messages: Messages, ask: bool) -> str:
        return renderer.render(messages, add_generation_prompt=ask)

    pieces = take_apart(render, renderer.named.get("bos_token", ""), add_bos)
    notes = []
    if pieces.system_in == "nowhere":
        notes.append("The chat template has no place for a system prompt, so Ollama leaves it out.")
    if "strftime_now" in renderer.template.source:
        notes.append(
            "The chat template writes today's date; in the Modelfile it stays the day of this export."
        )
    default = "" if pieces.system_in == "nowhere" else system or pieces.default_system
    return Modelfile(
        source, adapter, go_template(pieces), _stops(renderer, pieces), parameters, default, tuple(notes)
    )


def go_template(pieces: Pieces) -> str:
    """The pieces in Ollama's template language.

    Only these are used: ``range $i, $_ := .Messages``, ``if``, ``else if``, ``else``, ``eq``, ``and``, ``or``, ``not``, ``len``,
    ``slice``, and the fields Role, Content and System. Ollama joins system messages into ``.System`` and neighbouring messages
    of one role into one, so the first user turn is number 0, or 1 after a system message.
    """
    before, after = (_literal(text) for text in pieces.system)
    out = _literal(pieces.head)
    if pieces.system_in == "head":
        out = "{{ if .System }}" + before + "{{ .System }}" + after + "{{ else }}" + out + "{{ end }}"
    user = _literal(pieces.user[0])
    if pieces.opens_first and user:
        user = "{{ if not (or (eq $i 0) (and $.System (eq $i 1))) }}" + user + "{{ end }}"
    if pieces.system_in == "last user turn":
        last = "(eq (len (slice $.Messages $i)) 1)"
        user += "{{ if and $.System " + last + " }}" + before + "{{ $.System }}" + after + "{{ end }}"
    user += "{{ .Content }}" + _literal(pieces.user[1])
    answer = _literal(pieces.assistant[0]) + "{{ .Content }}" + _literal(pieces.assistant[1])
    turns = '{{ if eq .Role "user" }}' + user + '{{ else if eq .Role "assistant" }}' + answer + "{{ end }}"
    return out + "{{ range $i, $_ := .Messages }}" + turns + "{{ end }}" + _literal(pieces.ask)


def _literal(text: str) -> str:
    """Plain text inside a Go template."""
    return re.sub(r"\{\{", '{{ "{{" }}', text)


def _quoted(text: str, short: bool = False) -> str:
    """A value in a Modelfile, taken as it is: there are no escapes."""
    if '"""' in text or text.endswith('"') or "\0" in text:
        raise UserError(
            "The chat template holds a text that cannot be written into a Modelfile (three quotes, or one at the end).",
            "chat template",
            "Run the GGUF file with llama.cpp's own server: llama-server --jinja -m FILE",
        )
    if short and '"' not in text and "\n" not in text:
        return f'"{text}"'
    return f'"""{text}"""'


def _stops(renderer: Renderer, pieces: Pieces) -> tuple[str, ...]:
    """What ends an answer: the end tokens the template writes behind it, and the model's own."""
    found = []
    ending = pieces.assistant[1]
    tokens = {token.content for token in renderer.tokenizer.get_added_tokens_decoder().values()}
    inside = sorted(
        (token for token in tokens if token in ending), key=lambda token: (ending.find(token), -len(token))
    )
    found += inside[:1]
    found += [
        token for token in (*renderer.source.ends, renderer.named.get("eos_token", "")) if token in tokens
    ]
    if not inside and ending.strip():
        found.insert(0, ending.strip())  # a template whose mark is plain text
    return tuple(dict.fromkeys(found))


def _sampling(generation: Mapping[str, Any]) -> dict[str, float | int]:
    if generation.get("do_sample") is False:
        return {"temperature": 0}
    found: dict[str, float | int] = {}
    for name, ours in _SAMPLING:
        value = generation.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[ours] = value
    return found


def window_of(config: Mapping[str, Any]) -> int | None:
    """Most tokens a model can hold, from its config.json; None where it does not say."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
            value = part.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def generation_of(folders: Sequence[Path]) -> dict[str, Any]:
    """The first ``generation_config.json`` among some folders."""
    return next((found for folder in folders if (found := read_json(folder / "generation_config.json"))), {})
