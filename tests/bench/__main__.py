"""``python -m tests.bench [NAME …]``: every benchmark, one JSON object a line. Compare within one run only."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tests.bench

names = sys.argv[1:] or sorted(
    module.name for module in pkgutil.iter_modules(tests.bench.__path__) if not module.name.startswith("_")
)
for name in names:
    importlib.import_module(f"tests.bench.{name}").main()
