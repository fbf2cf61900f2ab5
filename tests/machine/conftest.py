"""The fake NVIDIA driver, for this folder's tests."""

from __future__ import annotations

from tests.fakes.fixtures import fake_nvml as fake_nvml
