"""The forms a trained model can be exported in: one module each, with a module level ``TARGET``."""

from __future__ import annotations

from importlib import import_module

from engine.deliver.export.job import Target
from engine.display import printable
from engine.errors import UserError

# Name and module. A new target is a module here and a line in this tuple.
_MODULES = (
    ("adapter", "adapter"),
    ("merged", "merged"),
    ("gguf", "gguf"),
    ("lora-gguf", "lora_gguf"),
    ("ollama", "ollama"),
    ("hub", "hub"),
)
NAMES = tuple(name for name, _ in _MODULES)


def find_target(name: str) -> Target:
    """The target of this name; only its own module is loaded.

    Raises:
        UserError: There is none.
    """
    module = dict(_MODULES).get(name)
    if module is None:
        raise UserError(
            f"There is no export called {printable(name, 60)!r}.",
            "--to",
            f"Choose one of: {', '.join(NAMES)}",
        )
    target = import_module(f"engine.deliver.export.targets.{module}").TARGET
    assert isinstance(target, Target)
    return target
