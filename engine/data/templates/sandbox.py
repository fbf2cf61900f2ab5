"""Render conversations through a chat template, in the sandbox and with the helpers that transformers offers.

A chat template is a Jinja program that comes with a model, so it is foreign code: it runs without access to Python, and
within limits. ``{% generation %} ... {% endgeneration %}`` marks what the assistant says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.data.templates.limits import COUNTED, JOINED, MOST_CHARACTERS, Limits, with_limits
from engine.data.templates.tags import has_tags
from engine.display import printable
from engine.errors import UserError

Span = tuple[int, int]
_REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTemplate:
    """A compiled chat template.

    Attributes:
        source: The template text.
        name: Where it comes from, for messages.
        has_tags: It marks the assistant's words with generation tags.
    """

    def __init__(self, source: str, name: str) -> None:
        """Compile a template.

        Raises:
            UserError: It is not valid Jinja.
        """
        self.source, self.name = source, name
        self.has_tags = has_tags(source)
        self._lock = Lock()
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        environment.filters |= {COUNTED: environment.limits.counted, JOINED: environment.limits.joined}
        for wide in ("center", "indent", "wordwrap", "batch", "slice", "format"):
            environment.filters[wide] = environment.limits.filter(environment.filters[wide])
        environment.filters["tojson"] = _tojson
        environment.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": lambda form: datetime.now().strftime(form),
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
            "namespace": _Namespace,
        }
        self._environment = environment
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                f"The chat template is not valid Jinja: {printable(error.message, 200)}.",
                f"{printable(name, 300)}, line {error.lineno}",
                "Use the model's own template, or repair this one.",
            )
        except (jinja2.TemplateError, RecursionError, ValueError) as error:
            raise UserError(
                f"The chat template cannot be used: {printable(error, 200)}.",
                printable(name, 300),
                "Use another one.",
            )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[str, list[Span]]:
        """Write a conversation as text.

        Args:
            messages: The turns.
            variables: What the template may use beside them: ``bos_token``, ``eos_token`` and the like.
            add_generation_prompt: End with the words that ask the assistant to speak.
            tools: What the assistant may call, as JSON schemas.

        Returns:
            The text, and the spans (in characters) between generation tags.

        Raises:
            UserError: The template refuses the conversation or fails on it.
        """
        with self._lock:
            blocks, spans = self._environment.start()
            length = 0
            try:
                # Joined piece by piece: a generation tag needs to know how much text comes before it.
                for block in self._template.generate(
                    messages=[_as_template_sees(message) for message in messages],
                    tools=list(tools) if tools else None,
                    documents=None,
                    add_generation_prompt=add_generation_prompt,
                    **variables,
                ):
                    blocks.append(block)
                    length += len(block)
                    if length > MOST_CHARACTERS:
                        raise jinja2.TemplateRuntimeError(
                            f"it writes more than {MOST_CHARACTERS:,} characters"
                        )
            except (
                Exception
            ) as error:  # whatever a foreign template does wrong is for the user to know, not a bug
                raise UserError(
                    f"The chat template refuses this conversation: {printable(error, 300)}.",
                    printable(self.name, 300),
                    "Many templates want user and assistant to take turns, some no system message. Change the rows, or "
                    "use another template.",
                )
            return "".join(blocks), spans


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with the text so far, the marked spans and the spending of the rendering in progress."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def __init__(self, **options: Any) -> None:
        self.limits = Limits()
        super().__init__(**options)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return with_limits(super()._parse(source, name, filename), self)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.limits.operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.limits.step()
        if isinstance(getattr(obj, "__self__", None), str):
            self.limits.arguments(args)
        return self.limits.length(super().call(context, obj, *args, **kwargs))

    def start(self) -> tuple[list[str], list[Span]]:
        self.limits.restart()
        self.blocks: list[str] = []
        self.spans: list[Span] = []
        return self.blocks, self.spans


class _GenerationTag(Extension):
    """``{% generation %}``: remembers where the enclosed text lands."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 wants a plain set here

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        environment = self.environment
        assert isinstance(environment, _Environment)
        text = caller()
        start = sum(map(len, environment.blocks))
        environment.spans.append((start, start + len(text)))
        return text


class _Namespace(jinja2.utils.Namespace):
    """A namespace without names that reach into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        names = dict(*args[1:], **kwargs)
        _Namespace._check(names)
        jinja2.utils.Namespace.__init__(args[0], names)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._check({name: value})
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(names: Mapping[str, Any]) -> None:
        if any(str(name).startswith("_") for name in names):
            raise jinja2.exceptions.SecurityError(
                "a namespace may not hold names that start with an underscore"
            )


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(str(message))


def _as_template_sees(message: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty keys, and with the thinking under each name that templates read."""
    seen = {key: value for key, value in message.items() if value is not None}
    thinking = next((seen[key] for key in _REASONING if key in seen), None)
    return seen if thinking is None else {"thinking": thinking, **seen, "reasoning_content": thinking}
