"""The converter is fetched once for all tests that need it, and lies in the virtual environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.deliver.gguf.jobs import Listener

_KEPT = Path(sys.prefix) / "finetui-test-cache"


@pytest.fixture(scope="session")
def _converter() -> Path:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: make test-gguf")
    from engine.deliver.export.gguf import source

    before = os.environ.get("FINETUI_HOME")
    os.environ["FINETUI_HOME"] = str(_KEPT)
    try:
        source.find_converter(Listener())
        return source.cache_folder()
    finally:
        if before is None:
            del os.environ["FINETUI_HOME"]
        else:
            os.environ["FINETUI_HOME"] = before


@pytest.fixture(autouse=True)
def converter(request: pytest.FixtureRequest, finetui_home: Path) -> None:
    """Put the converter into the test's own home where the test is marked ``gguf``."""
    if request.node.get_closest_marker("gguf") is None:
        return
    kept: Path = request.getfixturevalue("_converter")
    (finetui_home / "cache").mkdir(parents=True)
    (finetui_home / "cache" / kept.name).symlink_to(kept)
