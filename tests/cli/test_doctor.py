"""``finetui doctor`` on every kind of machine: through the real pynvml and a library compiled from C."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.fakes.nvml import SCENARIOS, FakeNvml


def doctor(fake: FakeNvml, scenario: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", "doctor", *options],
        env=fake.env(scenario),
        capture_output=True,
        text=True,
        check=False,
    )


def report(fake: FakeNvml, scenario: str) -> dict[str, Any]:
    done = doctor(fake, scenario, "--json")
    assert done.returncode in (0, 2), done.stderr
    return json.loads(done.stdout)


def test_one_24_gb_card(fake_nvml: FakeNvml) -> None:
    shown = doctor(fake_nvml, "rtx_4090").stdout
    assert "RTX 4090" in shown
    assert "24.0 GiB" in shown
    assert report(fake_nvml, "rtx_4090")["machine"]["gpus"][0]["compute_capability"] == "8.9"


def test_eight_cards(fake_nvml: FakeNvml) -> None:
    assert len(report(fake_nvml, "h100_x8")["machine"]["gpus"]) == 8


def test_a_card_half_full_of_another_process(fake_nvml: FakeNvml) -> None:
    found = report(fake_nvml, "half_full")
    assert any("other" in (finding["title"] + finding["detail"]).lower() for finding in found["findings"])
    gpu = found["machine"]["gpus"][0]
    assert 0 < gpu["memory_free"] < 0.55 * gpu["memory_total"]


def test_mig(fake_nvml: FakeNvml) -> None:
    assert all(gpu["mig_index"] is not None for gpu in report(fake_nvml, "mig")["machine"]["gpus"])


def test_memory_query_not_supported(fake_nvml: FakeNvml) -> None:
    assert report(fake_nvml, "gb10")["machine"]["gpus"][0]["unified_memory"] is True


@pytest.mark.parametrize(
    ("scenario", "state"), [("no_driver", "no_driver"), ("mismatch", "mismatch"), ("too_old", "too_old")]
)
def test_driver_trouble_is_a_state_with_a_fix(fake_nvml: FakeNvml, scenario: str, state: str) -> None:
    found = report(fake_nvml, scenario)["machine"]["gpu_state"]
    assert found["state"] == state
    assert found["message"]
    assert found["fix"]


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_no_machine_makes_doctor_fail(fake_nvml: FakeNvml, scenario: str) -> None:
    done = doctor(fake_nvml, scenario)
    assert done.returncode in (0, 2)
    assert done.stderr == ""
    assert "Traceback" not in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
