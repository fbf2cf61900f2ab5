"""The shapes datasets come in. Each module here states one or a few in ``SHAPES``; adding a shape is adding a file."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from engine.data.shapes.base import Shape


@cache
def all_shapes() -> tuple[Shape, ...]:
    """Every shape, by name."""
    modules = [
        import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__) if found.name != "base"
    ]
    return tuple(shape for module in modules for shape in getattr(module, "SHAPES", ()))
