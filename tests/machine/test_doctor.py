"""The doctor's judgement of machines that cannot all be had at once."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path

import pytest

from engine.machine import Finding, Gpu, bf16_supported, diagnose
from engine.machine.model import Machine, Pod
from engine.machine.software import Software, parse_torch_version, read_software
from tests.machine.builders import CARD, DISK, GIB, HOST, SOFTWARE, machine, with_packages


def find(machine: Machine, title: str, software: Software = SOFTWARE) -> list[Finding]:
    return [finding for finding in diagnose(machine, software) if finding.title.startswith(title)]


def worst(machine: Machine, software: Software = SOFTWARE) -> set[str]:
    return {finding.severity for finding in diagnose(machine, software)}


def test_healthy_machine_has_nothing_to_complain_about() -> None:
    assert worst(machine(CARD)) == {"ok"}


def test_machine_without_a_gpu_is_healthy_too() -> None:
    assert worst(machine()) == {"ok", "note"}


@pytest.mark.parametrize(
    ("torch_cuda", "driver", "severity", "words"),
    [
        ((12, 6), (12, 6), "ok", "runs up to 12.6"),
        ((12, 4), (13, 0), "ok", "runs up to 13.0"),
        ((12, 8), (12, 4), "note", "Within one major version"),
        ((13, 0), (12, 4), "problem", "12.4 at most"),
        ((12, 6), None, "warning", "does not say"),
    ],
)
def test_driver_against_pytorch(
    torch_cuda: tuple[int, int], driver: tuple[int, int] | None, severity: str, words: str
) -> None:
    found = find(machine(CARD, cuda=driver), "PyTorch", replace(SOFTWARE, torch_cuda=torch_cuda))
    assert [finding.severity for finding in found] == [severity]
    assert words in found[0].detail


def test_cpu_build_of_pytorch_beside_a_gpu() -> None:
    (finding,) = find(machine(CARD), "PyTorch", replace(SOFTWARE, torch_cuda=None))
    assert finding.severity == "problem"
    assert "would ignore the GPU" in finding.detail
    assert not find(machine(), "PyTorch", replace(SOFTWARE, torch_cuda=None))


@pytest.mark.parametrize(
    ("capability", "cuda", "refused"),
    [
        ((7, 0), (13, 0), True),
        ((7, 5), (13, 0), False),
        ((7, 0), (12, 6), False),
        ((12, 0), (12, 6), True),
        ((12, 0), (12, 8), False),
        ((9, 0), (12, 1), False),
    ],
)
def test_card_against_pytorch(capability: tuple[int, int], cuda: tuple[int, int], refused: bool) -> None:
    gpu = replace(CARD, compute_capability=capability)
    found = find(machine(gpu, cuda=(13, 2)), "GPU 0", replace(SOFTWARE, torch_cuda=cuda))
    assert any(finding.severity == "problem" for finding in found) is refused


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((8, 0), True), ((8, 9), True), ((12, 1), True), ((7, 5), False), ((7, 0), False), (None, False)],
)
def test_bf16(capability: tuple[int, int] | None, expected: bool) -> None:
    choice = bf16_supported(capability, "Tesla T4")
    assert choice.value is expected
    assert "Tesla T4" in choice.reason
    notes = [
        f
        for f in find(machine(replace(CARD, compute_capability=capability)), "GPU 0")
        if f.severity == "note"
    ]
    assert bool(notes) is not expected


@pytest.mark.parametrize(
    ("used", "reserved", "severity"),
    [
        (100 * 2**20, 300 * 2**20, None),
        (600 * 2**20, 0, None),
        (600 * 2**20, 300 * 2**20, "note"),
        (11 * GIB // 10, 300 * 2**20, "note"),
        (12 * GIB, 300 * 2**20, "warning"),
    ],
)
def test_memory_of_another_process(used: int, reserved: int, severity: str | None) -> None:
    gpu = replace(CARD, memory_used=used, memory_reserved=reserved, memory_free=24 * GIB - used)
    found = [f for f in find(machine(gpu), "GPU 0") if "Another process" in f.detail]
    assert [finding.severity for finding in found] == ([severity] if severity else [])


def test_hot_card() -> None:
    assert find(machine(replace(CARD, temperature=93)), "GPU 0")[-1].severity == "warning"


def test_different_cards_are_pointed_out() -> None:
    other = replace(CARD, index=1, name="NVIDIA GeForce GTX 1080")
    (finding,) = find(machine(CARD, other), "Different GPUs")
    assert "CUDA_DEVICE_ORDER" in finding.fix
    assert not find(machine(CARD, replace(CARD, index=1)), "Different GPUs")


def test_slices_are_pointed_out() -> None:
    parts = [replace(CARD, mig_index=i, mig_mode=True, uuid=f"MIG-{i}", visible=i == 0) for i in range(2)]
    assert find(machine(*parts), "MIG slices")
    (hidden,) = find(machine(*parts), "GPU 0 slice 1")
    assert hidden.fix.endswith("CUDA_VISIBLE_DEVICES=MIG-1")


def test_bitsandbytes_without_code_for_this_cuda() -> None:
    (finding,) = find(machine(CARD, cuda=(14, 0)), "bitsandbytes", replace(SOFTWARE, torch_cuda=(14, 0)))
    assert finding.severity == "problem"
    assert "11.8, 12.6, 12.8, 13.0" in finding.detail
    assert not find(machine(CARD), "bitsandbytes", replace(SOFTWARE, torch_cuda=(12, 9)))


def test_missing_and_wrong_packages() -> None:
    missing, wrong = find(machine(CARD), "Training packages", with_packages(peft=None, trl="1.20.0"))
    assert "peft" in missing.detail
    assert missing.severity == wrong.severity == "warning"
    assert wrong.detail == "trl 1.20.0 is installed, but this finetui is made for trl>=1.16,<1.17."


def test_little_ram_and_small_shared_memory() -> None:
    small = replace(HOST, ram_total=6 * GIB, ram_available=2 * GIB, ram_limited=True, shm_total=64 * 2**20)
    (ram,) = find(machine(host=small), "RAM")
    assert ram.severity == "warning"
    assert "2.0 GiB of 6.0 GiB free (the container's limit)" in ram.detail
    assert not find(machine(CARD, host=small), "Shared memory")
    (shm,) = find(machine(CARD, replace(CARD, index=1), host=small), "Shared memory")
    assert "64 MiB" in shm.detail


def test_disks() -> None:
    cases = [
        (replace(DISK, free=3 * GIB), "warning", "3.0 GiB of 500.0 GiB free"),
        (replace(DISK, writable=False), "problem", "not writable"),
        (replace(DISK, persistent=False, note="Container disk."), "warning", "Container disk."),
        (replace(DISK, persistent=False, uses=("temporary files",)), "ok", "temporary files"),
        (replace(DISK, free_reliable=False), "note", "used for runs"),
        (replace(DISK, total=0, free=0, note="Does not answer."), "warning", "Does not answer."),
    ]
    for disk, severity, words in cases:
        (finding,) = find(machine(CARD, disks=(disk,)), "Disk /")
        assert (finding.severity, words in finding.detail) == (severity, True), finding
        if severity in ("warning", "problem") and disk.total:
            assert "FINETUI_HOME" in finding.fix


def test_pod_says_when_the_meter_stops() -> None:
    pod = Pod(
        "runpod", "RunPod", "the variable RUNPOD_POD_ID is set", (), False, "Lost.", "Billed until stopped."
    )
    (finding,) = find(replace(machine(CARD), pod=pod), "RunPod")
    assert finding.detail == "Billed until stopped. (Recognised: the variable RUNPOD_POD_ID is set.)"


def test_lost_card_is_named_once() -> None:
    lost = Gpu(3, "", "GPU 3", problem="This card has stopped answering.")
    (finding,) = find(machine(lost), "GPU 3")
    assert (finding.title, finding.severity) == ("GPU 3", "problem")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "__version__ = '2.9.0+cu128'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n",
            ((12, 8), None),
        ),
        ("cuda = '11.8'\n", ((11, 8), None)),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4.4'\n", (None, "ROCm")),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\nxpu: Optional[str] = None\n", (None, None)),
        ("", (None, None)),
    ],
)
def test_torch_version_file(text: str, expected: tuple[tuple[int, int] | None, str | None]) -> None:
    assert parse_torch_version(text) == expected


def test_installed_packages_are_read_without_importing_them() -> None:
    software = read_software()
    for name, version in software.packages.items():
        try:
            assert version == importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            assert version is None
    if software.packages["bitsandbytes"] is not None:
        assert (12, 8) in software.bitsandbytes_cuda


def test_requirements_of_the_installed_program(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "textual<9,>=8.2",
        'trl<1.17,>=1.16; extra == "train"',
        "bitsandbytes (>=0.48) ; extra == 'train'",
        "rich",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    assert read_software().requirements == {
        "textual": "<9,>=8.2",
        "trl": "<1.17,>=1.16",
        "bitsandbytes": ">=0.48",
    }


def test_every_fix_and_detail_is_a_plain_sentence() -> None:
    broken = machine(replace(CARD, memory_used=20 * GIB), disks=(replace(DISK, free=0),))
    for finding in diagnose(broken, with_packages(trl=None)):
        assert finding.detail[0].isupper() or finding.detail[0].isdigit()
        assert "\u2014" not in finding.detail + finding.fix
        assert Path(finding.fix) != Path("/")
