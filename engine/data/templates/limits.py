"""Limits on what a chat template may spend: steps, time and text.

Jinja's sandbox keeps a template away from Python, but not from looping forever or doubling a string forty times. So
every turn of a loop and every call is counted, and operations that make long text are checked.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

MOST_STEPS = 1_000_000
"""Turns of loops and calls of one rendering; the longest published template takes some hundred a conversation."""
MOST_SECONDS = 20.0
MOST_CHARACTERS = 64 * 2**20
"""Longest text made in one piece, and longest result."""
MOST_MADE = 8 * MOST_CHARACTERS
"""Length of all texts made by one rendering, together."""
_TOO_LONG = f"it made a text of more than {MOST_CHARACTERS:,} characters"
_LARGEST_NUMBER = 10_000_000
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{6,}|\*)|\{[^{}]*\d{6,}[^{}]*\}")  # a width in a format such as %9000000d
COUNTED, JOINED = "finetui_counted", "finetui_joined"
"""Names of the filters that `with_limits` puts around loops and around ``~``."""


class Limits:
    """What one rendering has spent so far."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new rendering."""
        self._steps = self._made = 0
        self._until = time.monotonic() + MOST_SECONDS

    def step(self) -> None:
        """Count one turn or call.

        Raises:
            TemplateRuntimeError: It is one too many.
        """
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise jinja2.TemplateRuntimeError(f"it took more than {MOST_STEPS:,} steps")
        if time.monotonic() > self._until:
            raise jinja2.TemplateRuntimeError(f"it took longer than {MOST_SECONDS:.0f} seconds")

    def length(self, value: Any) -> Any:
        """The value, unless it is a longer text or list than allowed."""
        if isinstance(value, str | list | tuple):
            self.make(len(value))
        return value

    def make(self, length: int) -> None:
        """Count a text or list of that length that is about to be made.

        Raises:
            TemplateRuntimeError: It is too long, or all of them together are.
        """
        self._made += length
        if length > MOST_CHARACTERS or self._made > MOST_MADE:
            raise jinja2.TemplateRuntimeError(_TOO_LONG)

    def arguments(self, args: Iterable[Any]) -> None:
        """Refuse numbers that only widths and counts far too large would need."""
        if any(isinstance(arg, int) and abs(arg) > _LARGEST_NUMBER for arg in args):
            raise jinja2.TemplateRuntimeError("it asked for a text that is far too wide")

    def operands(self, operator: str, left: Any, right: Any) -> None:
        """Refuse an operation whose result would be too large, before it is made."""
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, Sequence) and isinstance(count, int):
                    self.make(len(text) * count)
        elif operator == "**":
            self.arguments([left])
            if isinstance(right, int | float) and abs(right) > 1000:
                raise jinja2.TemplateRuntimeError("it raised a number to a power that is far too high")
        elif operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise jinja2.TemplateRuntimeError("it asked for a text that is far too wide")
        elif operator == "+" and isinstance(left, str) and isinstance(right, str):
            self.make(len(left) + len(right))

    def filter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter of Jinja that takes widths or formats, its arguments checked."""

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            self.arguments([*args, *kwargs.values()])
            if function.__name__ == "do_format" and _WIDE.search(str(args[0])):
                raise jinja2.TemplateRuntimeError("it asked for a text that is far too wide")
            return self.length(function(*args, **kwargs))

        return checked

    def counted(self, items: Any) -> Any:
        """What a loop goes over, each turn counted."""
        return _Counted(self, items)

    def joined(self, parts: Sequence[Any]) -> str:
        """``a ~ b``: the parts as one text."""
        texts = [str(part) for part in parts]
        self.make(sum(map(len, texts)))
        return "".join(texts)


class _Counted:
    """An iterable whose turns are counted; as long as what it wraps, where that has a length."""

    def __init__(self, limits: Limits, items: Any) -> None:
        self._limits, self._items = limits, items

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._limits.step()
            yield item

    def __len__(self) -> int:
        return len(self._items)


class _Limiter(NodeTransformer):
    """Puts the filters around every loop and every ``~`` of a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, COUNTED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, JOINED, [], [], None, None, lineno=node.lineno)


def with_limits(tree: nodes.Template, environment: jinja2.Environment) -> nodes.Template:
    """The parsed template with its loops and joins limited."""
    limited = _Limiter().visit(tree)
    limited.set_environment(environment)
    assert isinstance(limited, nodes.Template)
    return limited
