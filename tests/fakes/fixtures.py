"""Fixture ``fake_nvml``; load it with ``pytest_plugins = ["tests.fakes.fixtures"]`` in the top conftest."""

from __future__ import annotations

import shutil

import pytest

from tests.fakes.nvml import FakeNvml


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """A fake NVIDIA driver for subprocesses: ``fake_nvml.env("rtx_4090")``."""
    if not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")):
        pytest.skip("no C compiler to build the fake NVIDIA library")
    return FakeNvml(tmp_path_factory.mktemp("fake-nvml"))
