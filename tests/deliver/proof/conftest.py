"""The converter of the GGUF tests, for those here that are marked ``gguf``."""

from __future__ import annotations

from tests.deliver.gguf.conftest import _converter, converter

__all__ = ["_converter", "converter"]
