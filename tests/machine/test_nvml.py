"""Every state of the NVIDIA driver, through the real pynvml and a compiled stand-in for the driver's library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.machine import Finding, Machine, diagnose
from tests.fakes.nvml import GIB, REPOSITORY, SCENARIOS, FakeGpu, FakeNvml, RunningScenario, Scenario
from tests.machine.builders import SOFTWARE


def run(code: str, running: RunningScenario, *args: str) -> Any:
    """The JSON a piece of code prints in a process that sees the fake driver."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env=running.env,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def findings(machine: Machine, severity: str) -> list[Finding]:
    return [finding for finding in diagnose(machine, SOFTWARE) if finding.severity == severity]


@pytest.mark.parametrize(
    ("scenario", "state", "words"),
    [
        ("no_driver", "no_driver", ""),
        ("not_loaded", "no_driver", "not loaded"),
        ("no_permission", "no_permission", "may not talk"),
        ("mismatch", "mismatch", "different versions"),
        ("broken", "broken", "NVML error 999"),
        ("no_devices", "no_devices", "reports no GPU"),
        ("too_old", "too_old", "too old"),
    ],
)
def test_driver_that_does_not_answer_is_a_state(
    fake_nvml: FakeNvml, scenario: str, state: str, words: str
) -> None:
    machine = fake_nvml.machine(scenario)
    assert machine.gpu_state.state == state
    assert words in machine.gpu_state.message
    assert machine.gpus == ()
    assert machine.usable_gpus == ()
    first = diagnose(machine, SOFTWARE)[0]
    assert first.title == "NVIDIA driver"
    assert first.severity in ("note", "problem")
    assert (first.severity == "problem") == machine.gpu_state.card_seen
    # Whatever the driver does, the rest of the machine is still reported.
    assert machine.host.ram_total > GIB // 4
    assert machine.disks


def test_one_card(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("rtx_4090")
    assert machine.gpu_state.state == "ok"
    assert machine.gpu_state.driver_version == "550.54.15"
    assert machine.gpu_state.cuda_driver_version == (12, 4)
    (gpu,) = machine.gpus
    assert gpu.name == "NVIDIA GeForce RTX 4090"
    assert gpu.uuid == gpu.card_uuid == "GPU-11111111-0000-0000-0000-000000000000"
    assert gpu.memory_total == 25_757_220_864
    assert gpu.memory_used == 2**20
    assert gpu.memory_reserved == 369_098_752
    assert gpu.memory_free == 25_757_220_864 - 2**20 - 369_098_752
    assert gpu.memory_reported
    assert not gpu.unified_memory
    assert (gpu.utilization, gpu.temperature, gpu.power_watts, gpu.power_limit_watts) == (7, 41, 62.5, 450.0)
    assert gpu.compute_capability == (8, 9)
    assert gpu.bf16().value
    assert gpu.usable
    assert machine.to_dict()["gpus"][0]["compute_capability"] == "8.9"
    assert not [f for f in findings(machine, "warning") if "GPU" in f.title]


def test_eight_cards(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("h100_x8")
    assert [gpu.index for gpu in machine.gpus] == list(range(8))
    assert len({gpu.uuid for gpu in machine.gpus}) == 8
    assert all(gpu.memory_total == 85_520_809_984 for gpu in machine.gpus)
    assert len(machine.usable_gpus) == 8


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        ("3,1", [1, 3]),
        ("", []),
        ("-1", []),
        ("0,9,1", [0]),
        ("GPU-20000000,GPU-7", [2, 7]),
        ("1,1", []),
    ],
)
def test_cuda_visible_devices(fake_nvml: FakeNvml, value: str, visible: list[int]) -> None:
    machine = fake_nvml.machine("h100_x8", {"CUDA_VISIBLE_DEVICES": value})
    assert len(machine.gpus) == 8
    assert [gpu.index for gpu in machine.usable_gpus] == visible
    (finding,) = [f for f in diagnose(machine, SOFTWARE) if f.title == "CUDA_VISIBLE_DEVICES"]
    assert finding.severity == ("note" if visible else "problem")


def test_card_half_full_of_another_process(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("half_full")
    assert machine.gpus[0].memory_used == 12 * GIB
    (warning,) = [f for f in findings(machine, "warning") if f.title.startswith("GPU 0")]
    assert "Another process uses 12.0 GiB of this card; 11.6 GiB are left" in warning.detail


def test_mig_slices_are_devices_with_their_own_memory(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("mig")
    first, second = machine.gpus
    assert [gpu.label for gpu in machine.gpus] == ["GPU 0 slice 0", "GPU 0 slice 1"]
    assert first.memory_total == second.memory_total == 42_143_383_552
    assert (first.memory_used, second.memory_used) == (19_922_944, 20 * GIB)
    assert first.name == "NVIDIA A100-SXM4-80GB MIG 3g.40gb"
    assert first.uuid.startswith("MIG-1111")
    assert first.card_uuid == second.card_uuid == "GPU-aaaaaaaa-0000-0000-0000-000000000000"
    assert first.compute_capability == (8, 0)
    # A slice has no sensors of its own: temperature and power are those of the card.
    assert (first.utilization, first.temperature, first.power_watts) == (None, 33, 55.0)
    # Driver 535 shows a CUDA program one slice only.
    assert [gpu.visible for gpu in machine.gpus] == [True, False]


def test_mig_slice_is_chosen_by_its_uuid(fake_nvml: FakeNvml) -> None:
    uuid = SCENARIOS["mig"].gpus[0].slices[1].uuid
    machine = fake_nvml.machine("mig", {"CUDA_VISIBLE_DEVICES": uuid})
    assert [gpu.visible for gpu in machine.gpus] == [False, True]


def test_newer_drivers_show_all_slices(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine(replace(SCENARIOS["mig"], driver="570.124.06"))
    assert [gpu.visible for gpu in machine.gpus] == [True, True]


def test_mig_card_without_slices_cannot_be_used(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("mig_empty")
    (gpu,) = machine.gpus
    assert gpu.mig_mode
    assert gpu.problem is not None
    assert "no slice exists" in gpu.problem
    assert machine.usable_gpus == ()


def test_unified_memory_falls_back_to_system_ram(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("gb10")
    (gpu,) = machine.gpus
    assert gpu.unified_memory
    assert not gpu.memory_reported
    assert gpu.memory_total == machine.host.ram_total
    assert 0 < gpu.memory_free <= gpu.memory_total
    assert gpu.note is not None
    assert "system RAM" in gpu.note
    assert gpu.usable
    # RAM in use is not "another process on the card".
    assert not [f for f in findings(machine, "warning") if f.title.startswith("GPU")]


def test_discrete_card_without_memory_numbers_is_not_called_unified(fake_nvml: FakeNvml) -> None:
    card = FakeGpu(name="GRID T4-8Q", capability="7.5", errors=(("memory", 3),))
    (gpu,) = fake_nvml.machine(Scenario((card,))).gpus
    assert not gpu.unified_memory
    assert gpu.memory_total == 0
    assert gpu.note is not None
    assert "not supported" in gpu.note
    assert gpu.usable


def test_unknown_integrated_chip_is_recognised_by_its_addressing(fake_nvml: FakeNvml) -> None:
    chip = FakeGpu(name="NVIDIA Future", capability="13.0", addressing=2, errors=(("memory", 3),))
    (gpu,) = fake_nvml.machine(Scenario((chip,))).gpus
    assert gpu.unified_memory
    assert gpu.memory_total > 0


def test_memory_question_forbidden(fake_nvml: FakeNvml) -> None:
    (gpu,) = fake_nvml.machine("memory_forbidden").gpus
    assert gpu.memory_total == 0
    assert gpu.note is not None
    assert "no permission" in gpu.note
    assert (gpu.utilization, gpu.temperature) == (7, 41)


def test_card_that_answers_nothing_sensible(fake_nvml: FakeNvml) -> None:
    (gpu,) = fake_nvml.machine("all_unknown").gpus
    assert gpu.problem == "This card does not answer properly (NVML error 999)."


def test_missing_sensors_are_none(fake_nvml: FakeNvml) -> None:
    (gpu,) = fake_nvml.machine("sensors_unsupported").gpus
    assert (gpu.utilization, gpu.temperature, gpu.power_watts, gpu.power_limit_watts) == (None,) * 4
    assert gpu.memory_reported
    assert gpu.usable


def test_old_library_without_newer_questions(fake_nvml: FakeNvml) -> None:
    machine = fake_nvml.machine("old")
    assert machine.gpu_state.state == "ok"
    assert machine.gpu_state.cuda_driver_version is None
    (gpu,) = machine.gpus
    # The old memory question counts the driver's reserve as used.
    assert gpu.memory_used == 2**20 + 369_098_752
    assert gpu.memory_reserved == 0
    assert gpu.temperature == 41
    assert not gpu.mig_mode
    assert not gpu.bf16().value
    # That reserve must not be reported as another process.
    assert not [f for f in findings(machine, "warning") if f.title.startswith("GPU")]


def test_hostile_name_is_made_printable(fake_nvml: FakeNvml) -> None:
    (gpu,) = fake_nvml.machine("garbage_name").gpus
    assert gpu.name == "Evil\ufffd\\x1b[31m\\u202eGPU"
    assert gpu.usable


def test_one_lost_card_does_not_hide_the_other(fake_nvml: FakeNvml) -> None:
    lost, healthy = fake_nvml.machine("one_lost").gpus
    assert lost.problem is not None
    assert not lost.usable
    assert healthy.usable
    assert healthy.index == 1


MISMATCH = """
import json, sys
from pathlib import Path
from engine.machine import Nvml
state = Nvml(root=Path(sys.argv[1])).state
print(json.dumps([state.state, state.message, state.driver_version]))
"""


def test_mismatch_names_both_versions(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    file = tmp_path / "proc/driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90.07  Release Build\nGCC version: 13\n"
    )
    state, message, driver = run(MISMATCH, fake_nvml.scenario("mismatch"), str(tmp_path))
    assert state == "mismatch"
    assert "driver 550.90.07" in message
    assert "library 570.124.06" in message
    assert driver == "550.90.07"


def test_missing_library_with_a_loaded_driver_blames_the_container(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    file = tmp_path / "proc/driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 2023\n")
    state, message, driver = run(MISMATCH, fake_nvml.scenario("no_driver"), str(tmp_path))
    assert (state, driver) == ("no_driver", "535.129.03")
    assert "library is missing" in message


@pytest.mark.parametrize(
    ("vendor", "words"),
    [("0x10de", "but no NVIDIA driver"), ("0x1002", "AMD card"), ("0x8086", "No NVIDIA GPU was found")],
)
def test_missing_library_looks_at_the_pci_bus(
    fake_nvml: FakeNvml, tmp_path: Path, vendor: str, words: str
) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "class").write_text("0x030000\n")
    (device / "vendor").write_text(f"{vendor}\n")
    state, message, _ = run(MISMATCH, fake_nvml.scenario("no_driver"), str(tmp_path))
    assert state == "no_driver"
    assert words in message


WATCH = """
import json, sys
from engine.machine import Nvml, Sampler
sampler = Sampler(nvml=Nvml(interval=0.0))
for line in sys.stdin:
    print(json.dumps(sampler.sample().to_dict()["gpus"]), flush=True)
"""


@pytest.mark.parametrize("gone", ["lost", "no_devices"])
def test_card_that_disappears_while_running(fake_nvml: FakeNvml, gone: str) -> None:
    running = fake_nvml.scenario("rtx_4090")
    process = subprocess.Popen(
        [sys.executable, "-c", WATCH],
        env=running.env,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask() -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        (gpu,) = json.loads(process.stdout.readline())
        assert isinstance(gpu, dict)
        return gpu

    assert ask()["problem"] is None
    running.write(replace(SCENARIOS["rtx_4090"], gpus=(FakeGpu(memory_used=5 * GIB, temperature=77),)))
    grown = ask()
    assert (grown["memory_used"], grown["temperature"]) == (5 * GIB, 77)
    running.write(SCENARIOS[gone])
    lost = ask()
    assert "stopped answering" in lost["problem"]
    assert lost["utilization"] is None
    # It stays a state for as long as it lasts, and ends when the card is back.
    assert "stopped answering" in ask()["problem"]
    running.write(SCENARIOS["rtx_4090"])
    assert ask()["problem"] is None
    process.stdin.close()
    assert process.wait(timeout=10) == 0


RATE = """
import json
from engine.machine import Nvml
now = [100.0]
nvml = Nvml(clock=lambda: now[0])
first = nvml.sample()
for _ in range(50):
    now[0] += 0.0199
    assert nvml.sample() is first
now[0] += 0.01
second = nvml.sample()
print(json.dumps([second is first, first == second]))
nvml.close()
"""


def test_driver_is_asked_at_most_once_a_second(fake_nvml: FakeNvml) -> None:
    running = fake_nvml.scenario("rtx_4090")
    assert run(RATE, running) == [False, True]
    assert running.questions().count("utilization") == 2
    assert running.questions().count("memory") == 2
    assert running.questions().count("name") == 1


THREADS = """
import json, threading
from engine.machine import Nvml
nvml = Nvml(interval=0.0)
wrong = []
def look():
    for _ in range(40):
        if [gpu.memory_total for gpu in nvml.sample()] != [85520809984] * 8:
            wrong.append(1)
threads = [threading.Thread(target=look) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
nvml.close()
print(json.dumps([len(wrong), nvml.state.state, len(nvml.sample())]))
"""


def test_one_session_serves_several_threads_and_can_be_opened_again(fake_nvml: FakeNvml) -> None:
    assert run(THREADS, fake_nvml.scenario("h100_x8")) == [0, "ok", 8]


# Each question of each device answers each error, one at a time, and nothing is ever raised.
ANY_ERROR = """
import json, os, sys
from pathlib import Path
from engine.machine import Nvml
from tests.fakes.nvml import SCENARIOS, Scenario
from dataclasses import replace
path = Path(os.environ["FINETUI_FAKE_NVML"])
questions = ["handle", "name", "uuid", "memory", "utilization", "temperature", "power", "power_limit",
             "capability", "mig", "addressing", "all"]
codes = [*range(1, 31), 77, 999]
count = 0
for name in ("rtx_4090", "mig", "gb10"):
    card = SCENARIOS[name].gpus[0]
    for question in questions:
        for code in codes:
            path.write_bytes(Scenario((replace(card, errors=((question, code),)),)).text())
            nvml = Nvml(interval=0.0)
            assert nvml.state.state == "ok"
            gpus = nvml.sample()
            assert gpus, (name, question, code)
            for gpu in gpus:
                assert gpu.problem or gpu.note or gpu.memory_total > 0, (name, question, code)
                assert gpu.label and gpu.name
            nvml.close()
            count += 1
for code in codes:
    path.write_bytes(Scenario(init=code).text())
    state = Nvml().state
    assert state.state != "ok" and state.message, code
    count += 1
print(json.dumps(count))
"""


def test_no_error_of_any_question_is_raised(fake_nvml: FakeNvml) -> None:
    assert run(ANY_ERROR, fake_nvml.scenario("rtx_4090")) == 3 * 12 * 32 + 32


NO_PYNVML = """
import json, sys
sys.modules["pynvml"] = None
from engine.machine import Nvml
state = Nvml().state
print(json.dumps([state.state, state.message, state.fix]))
"""


def test_without_the_python_package(fake_nvml: FakeNvml) -> None:
    state, message, fix = run(NO_PYNVML, fake_nvml.scenario("rtx_4090"))
    assert state == "broken"
    assert "nvidia-ml-py" in message + fix


def test_probe_stays_light_with_eight_cards(fake_nvml: FakeNvml) -> None:
    code = """
import json, sys
from engine.machine import probe
probe()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    modules = run(code, fake_nvml.scenario("h100_x8"))
    assert not {"torch", "transformers", "bitsandbytes", "textual", "numpy"} & set(modules)


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA driver here")
def test_numbers_agree_with_nvidia_smi() -> None:
    from engine.machine import Nvml

    columns = "index,uuid,name,memory.total,compute_cap,driver_version"
    table = subprocess.run(
        ["nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    nvml = Nvml()
    gpus = {gpu.index: gpu for gpu in nvml.sample()}
    for row in table.strip().splitlines():
        index, uuid, name, total, capability, driver = [cell.strip() for cell in row.split(",")]
        gpu = gpus[int(index)]
        assert (gpu.uuid, gpu.name) == (uuid, name)
        assert abs(gpu.memory_total - int(total) * 2**20) < 2 * 2**20
        assert gpu.compute_capability == tuple(map(int, capability.split(".")))
        assert nvml.state.driver_version == driver
