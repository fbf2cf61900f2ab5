"""Builds the fake NVIDIA library and describes machines for it.

The program under test runs as a subprocess and loads the library through the real ``pynvml``::

    def test_my_verb(fake_nvml):
        done = subprocess.run([sys.executable, "-m", "tui", "doctor"], env=fake_nvml.env("rtx_4090"))

A test that wants the card to vanish rewrites the scenario while the subprocess runs::

    machine = fake_nvml.scenario("rtx_4090")
    process = subprocess.Popen(command, env=machine.env)
    machine.write(SCENARIOS["lost"])
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engine.machine import Machine

GIB = 2**30
REPOSITORY = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("nvml.c")
VARIABLE = "FINETUI_FAKE_NVML"

Flavour = Literal["current", "old", "ancient", "missing"]


@dataclass(frozen=True, slots=True)
class FakeGpu:
    """One card of a scenario; sizes in bytes, power in milliwatts. ``errors`` maps a question to a code."""

    name: str = "NVIDIA GeForce RTX 4090"
    uuid: str = "GPU-11111111-0000-0000-0000-000000000000"
    memory_total: int = 25_757_220_864
    memory_used: int = 1_048_576
    memory_reserved: int = 369_098_752
    utilization: int = 7
    temperature: int = 41
    power: int = 62_500
    power_limit: int = 450_000
    capability: str = "8.9"
    mig: int = 0
    addressing: int = 0
    errors: tuple[tuple[str, int], ...] = ()
    slices: tuple[FakeGpu, ...] = ()
    name_bytes: bytes | None = None

    def text(self, word: str = "gpu") -> bytes:
        """The lines of this card, and of its slices, in the scenario file."""
        lines = [
            word.encode(),
            b"name " + (self.name_bytes if self.name_bytes is not None else self.name.encode()),
        ]
        for key in (
            "uuid", "memory_total", "memory_used", "memory_reserved", "utilization", "temperature",
            "power", "power_limit", "capability", "mig", "addressing",
        ):  # fmt: skip
            lines.append(f"{key} {getattr(self, key)}".encode())
        lines += [f"error {what} {code}".encode() for what, code in self.errors]
        lines += [part.text("slice").rstrip(b"\n") for part in self.slices]
        return b"\n".join(lines) + b"\n"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One machine as the fake library shows it."""

    gpus: tuple[FakeGpu, ...] = ()
    init: int = 0
    driver: str = "550.54.15"
    nvml: str = "12.550.54.15"
    cuda: int = 12040
    flavour: Flavour = "current"
    environ: Mapping[str, str] = field(default_factory=dict)

    def text(self, calls: Path | None = None) -> bytes:
        """The scenario file."""
        head = f"init {self.init}\ndriver {self.driver}\nnvml {self.nvml}\ncuda {self.cuda}\n"
        if calls is not None:
            head += f"calls {calls}\n"
        return head.encode() + b"".join(gpu.text() for gpu in self.gpus)


_RTX_4090 = FakeGpu()
_H100 = FakeGpu(
    name="NVIDIA H100 80GB HBM3",
    memory_total=85_520_809_984,
    memory_used=4_194_304,
    memory_reserved=659_554_304,
    utilization=0,
    power=71_000,
    power_limit=700_000,
    capability="9.0",
)
_A100_SLICE = FakeGpu(
    name="NVIDIA A100-SXM4-80GB MIG 3g.40gb",
    memory_total=42_143_383_552,
    memory_used=19_922_944,
    memory_reserved=67_108_864,
    capability="8.0",
)
_A100_MIG = FakeGpu(
    name="NVIDIA A100-SXM4-80GB",
    uuid="GPU-aaaaaaaa-0000-0000-0000-000000000000",
    memory_total=85_899_345_920,
    memory_used=91_226_112,
    power=55_000,
    power_limit=400_000,
    temperature=33,
    capability="8.0",
    mig=1,
    errors=(("utilization", 3),),
    slices=(
        replace(_A100_SLICE, uuid="MIG-11111111-aaaa-0000-0000-000000000000"),
        replace(_A100_SLICE, uuid="MIG-22222222-aaaa-0000-0000-000000000000", memory_used=20 * GIB),
    ),
)
_GB10 = FakeGpu(
    name="NVIDIA GB10",
    memory_total=0,
    memory_used=0,
    memory_reserved=0,
    power=11_170,
    temperature=35,
    capability="12.1",
    addressing=2,
    errors=(("memory", 3), ("power_limit", 3)),
)

SCENARIOS: dict[str, Scenario] = {
    "rtx_4090": Scenario((_RTX_4090,)),
    "h100_x8": Scenario(
        tuple(replace(_H100, uuid=f"GPU-{i}0000000-0000-0000-0000-00000000000{i}") for i in range(8)),
        driver="570.124.06",
        cuda=12080,
    ),
    "half_full": Scenario((replace(_RTX_4090, memory_used=12 * GIB, utilization=98, temperature=71),)),
    "mig": Scenario((_A100_MIG,), driver="535.129.03", cuda=12020),
    "mig_empty": Scenario((replace(_A100_MIG, slices=()),)),
    "no_driver": Scenario(flavour="missing"),
    "not_loaded": Scenario(init=9),
    "no_permission": Scenario((_RTX_4090,), init=4),
    "mismatch": Scenario((_RTX_4090,), init=18, nvml="12.570.124.06"),
    "broken": Scenario((_RTX_4090,), init=999),
    "no_devices": Scenario(),
    "gb10": Scenario((_GB10,), driver="580.173.02", cuda=13000),
    "lost": Scenario((replace(_RTX_4090, errors=(("all", 15),)),)),
    "one_lost": Scenario(
        (
            replace(_RTX_4090, errors=(("handle", 15),)),
            replace(_RTX_4090, uuid="GPU-22222222-0000-0000-0000-000000000000"),
        )
    ),
    "old": Scenario((replace(_RTX_4090, name="Tesla V100-SXM2-16GB", capability="7.0"),), flavour="old"),
    "too_old": Scenario((_RTX_4090,), flavour="ancient"),
    "sensors_unsupported": Scenario(
        (
            replace(
                _RTX_4090, errors=(("utilization", 3), ("temperature", 3), ("power", 3), ("power_limit", 3))
            ),
        )
    ),
    "t4": Scenario(
        (
            replace(
                _RTX_4090,
                name="Tesla T4",
                memory_total=15 * GIB,
                capability="7.5",
                power=9_800,
                power_limit=70_000,
            ),
        )
    ),
    "garbage_name": Scenario((replace(_RTX_4090, name_bytes=b"Evil\xff\x1b[31m\xe2\x80\xaeGPU"),)),
    "memory_forbidden": Scenario((replace(_RTX_4090, errors=(("memory", 4),)),)),
    "all_unknown": Scenario((replace(_RTX_4090, errors=(("memory", 999), ("utilization", 999))),)),
}


@dataclass(frozen=True, slots=True)
class RunningScenario:
    """A scenario file on disk, the environment that selects it, and the file that counts questions."""

    path: Path
    env: dict[str, str]
    calls: Path

    def write(self, scenario: Scenario) -> None:
        """Change the machine under a running program, in one step."""
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(scenario.text(self.calls))
        os.replace(fresh, self.path)

    def questions(self) -> list[str]:
        """What the driver was asked so far, in order."""
        return self.calls.read_text().split() if self.calls.exists() else []


class FakeNvml:
    """The built libraries of one test session; ``env`` is all most tests need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def scenario(self, scenario: str | Scenario, environ: Mapping[str, str] | None = None) -> RunningScenario:
        """Write a scenario file and the environment of a subprocess that sees it.

        Args:
            scenario: A name from ``SCENARIOS``, or one of your own.
            environ: Extra variables, such as ``{"CUDA_VISIBLE_DEVICES": "0"}``.
        """
        chosen = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
        self._count += 1
        path = self._folder / f"scenario-{self._count}.txt"
        library = build_fake_nvml(self._folder, chosen.flavour)
        running = RunningScenario(
            path,
            scenario_env(library, path, {**chosen.environ, **(environ or {})}),
            path.with_suffix(".calls"),
        )
        running.write(chosen)
        return running

    def env(self, scenario: str | Scenario, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a subprocess that sees this machine."""
        return self.scenario(scenario, environ).env

    def machine(self, scenario: str | Scenario, environ: Mapping[str, str] | None = None) -> Machine:
        """What ``probe`` finds there, for tests that hand a ``Machine`` to a screen in their own process."""
        code = (
            "import pickle, sys; from engine.machine import probe; "
            "sys.stdout.buffer.write(pickle.dumps(probe()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.env(scenario, environ),
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
        )
        found = pickle.loads(done.stdout)
        assert isinstance(found, Machine)
        return found


def scenario_env(library_folder: Path, scenario: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with the fake library first and no device hidden."""
    env = {
        key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "LD_PRELOAD")
    }
    paths = [str(library_folder), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    return {**env, "LD_LIBRARY_PATH": os.pathsep.join(paths), VARIABLE: str(scenario), **environ}


def build_fake_nvml(folder: Path, flavour: Flavour = "current") -> Path:
    """Compile ``libnvidia-ml.so.1`` once per folder and flavour; the folder to put in LD_LIBRARY_PATH.

    The ``missing`` flavour is a file the loader refuses, which also hides a real driver of the machine.
    """
    target = folder / f"nvml-{flavour}"
    library = target / "libnvidia-ml.so.1"
    if library.exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    if flavour == "missing":
        library.write_bytes(b"not a library")
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "a C compiler (cc) is needed to build the fake NVIDIA library"
    defines = [] if flavour == "current" else [f"-D{flavour.upper()}"]
    building = target / f"building-{os.getpid()}.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wl,-soname,libnvidia-ml.so.1", *defines,
         "-o", str(building), str(SOURCE)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    os.replace(building, library)
    return target
