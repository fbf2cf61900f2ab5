"""The probe as a whole, the sampler, and the real 4-bit multiplication."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.machine import Sampler, deep, deep_check, diagnose, probe
from engine.machine.probe import process_tree_rss
from tests.fakes.nvml import REPOSITORY, FakeNvml

MIB = 2**20


def test_probe_is_plain_json(tmp_path: Path) -> None:
    machine = probe(tmp_path / "runs")
    plain = json.loads(json.dumps(machine.to_dict()))
    assert plain["disks"][0]["path"] == str(tmp_path / "runs")
    assert plain["disks"][0]["uses"][0] == "runs"
    assert plain["host"]["ram_total"] == machine.host.ram_total
    assert plain["gpu_state"]["state"] == machine.gpu_state.state
    for finding in diagnose(machine):
        assert json.loads(json.dumps(finding.to_dict()))["severity"] in ("ok", "note", "warning", "problem")


PROBE = """
import json, sys
from engine.machine import diagnose, probe
diagnose(probe())
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_probe_is_light(fake_nvml: FakeNvml) -> None:
    def once() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=fake_nvml.env("no_driver"),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        modules: list[str] = json.loads(done.stdout)
        return modules

    modules = once()
    heavy = {"torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "numpy", "textual"}
    assert not heavy & set(modules)


def test_secrets_are_not_in_the_report() -> None:
    secret = "hf_" + "s3cret" * 4
    machine = probe(
        environ={**os.environ, "HF_TOKEN": secret, "RUNPOD_API_KEY": secret, "RUNPOD_POD_ID": secret}
    )
    assert machine.pod is not None
    assert secret not in json.dumps(machine.to_dict())
    assert all(secret not in finding.detail for finding in diagnose(machine))


CHILD = "import sys; block = bytearray(80 * 2**20); print('ready', flush=True); sys.stdin.read()"


def test_sampler_counts_the_whole_process_tree() -> None:
    sampler = Sampler(clock=lambda: 1700000000.5)
    before = sampler.sample()
    assert before.t == 1700000000.5
    assert before.process_rss is not None
    assert 0 < before.host_used < before.host_total
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        during = sampler.sample()
        assert during.process_rss is not None
        assert during.num_processes == before.num_processes + 1
        assert during.process_rss - before.process_rss > 75 * MIB
        alone = Sampler(pid=child.pid).sample()
        assert alone.process_rss is not None
        assert 80 * MIB < alone.process_rss < during.process_rss
    finally:
        child.communicate()
    assert process_tree_rss(child.pid) == (None, 0)
    assert Sampler(pid=child.pid).sample().process_rss is None
    assert json.loads(json.dumps(before.to_dict()))["host_total"] == before.host_total


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("bitsandbytes") is None,
    reason="the training part is not installed",
)
def test_real_4_bit_multiplication() -> None:
    finding = deep_check(timeout=300)
    assert finding.severity == "ok", finding
    assert "4-bit multiplication works on" in finding.detail


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import no_such_package_here", "No module named 'no_such_package_here'"),
        ("import os; os._exit(7)", "it ended with code 7"),
        ("import os; os.kill(os.getpid(), 11)", "it ended with code -11"),
        ("import time; time.sleep(60)", "did not finish within 2 s"),
        ("print('noise')", "failed"),
        (
            'print(\'{"device": "x\\\\u001b", "error": NaN, "seconds": 1, "dtype": "b"}\')',
            "gives wrong numbers",
        ),
        ('print(\'{"device": "x", "error": 0.9, "seconds": 1, "dtype": "b"}\')', "90 % away"),
    ],
)
def test_failed_multiplication_is_a_finding(monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    monkeypatch.setattr(deep, "_SCRIPT", script)
    finding = deep_check(timeout=2 if "sleep" in script else 60)
    assert finding.severity == "problem"
    assert words in finding.detail
    assert "\x1b" not in finding.detail
