"""Full disks, kills, cancels and crashes: nothing half-written under a final name, no process left, a second try succeeds."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.deliver.export.gguf.quantize import quantize
from engine.deliver.export.gguf.quants import find_quant
from engine.deliver.export.gguf.runner import LlamaRunner
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.export.staging import staged
from engine.deliver.export.targets import find_target
from engine.errors import UserError
from tests.deliver.disks import small_disk_in
from tests.deliver.gguf.jobs import Listener, whole_model_job
from tests.deliver.gguf.tiny import make_model

pytestmark = pytest.mark.gguf


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return whole_model_job(make_model("qwen3", tmp_path / "model ünï"), quants=("Q8_0", "Q4_K_M"))


def export(job: Job, final: Path, told: Listener | None = None) -> list[str]:
    """As the core does it, without looking at the disk first."""
    with staged(final, overwrite=False) as into:
        find_target("gguf").make(job, into, told or Listener())
    return sorted(path.name for path in final.iterdir() if path.suffix == ".gguf")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_in(tmp_path, 8) as disk:
        yield disk


def test_the_disk_is_full_at_every_tenth(job: Job, small_disk: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    find_target("gguf").make(job, whole, Listener())
    # Vocabulary file, 16-bit file and the two results.
    most = (
        sum(path.stat().st_size for path in whole.rglob("*.gguf"))
        + 2 * job.trained.path.joinpath("model.safetensors").stat().st_size // 4
    )
    final = small_disk / "my export ü"
    for tenth in range(10):
        ballast = small_disk / "ballast"
        free = shutil.disk_usage(small_disk).free
        with open(ballast, "wb") as stream, contextlib.suppress(OSError):
            stream.write(bytes(max(0, free - most * tenth // 10)))
        with pytest.raises((UserError, OSError)) as told:
            export(job, final)
        assert "disk" in str(told.value).lower() or "space" in str(told.value).lower(), str(told.value)
        assert [path.name for path in small_disk.iterdir()] == ["ballast"]
        ballast.unlink()
    assert export(job, final) == ["owl-Q4_K_M.gguf", "owl-Q8_0.gguf"]


def children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize("at", ["Checking that", "16-bit", "Writing Q4"])
def test_cancelling_ends_the_converter(job: Job, at: str, tmp_path: Path) -> None:
    before = len(children())
    seen: list[float] = []

    def stop() -> bool:
        if any(at in step for step in told.steps):
            seen.append(time.monotonic())
        return bool(seen) and (at.startswith("Writing") or time.monotonic() - seen[0] > 0.3)

    told = Listener(stop)
    with pytest.raises(Cancelled):
        export(job, tmp_path / "made", told)
    assert not (tmp_path / "made").exists()
    assert not list(tmp_path.glob(".made*"))
    assert len(children()) == before


KILLED = """
import sys
from pathlib import Path
from tests.deliver.gguf.jobs import Listener, whole_model_job
from tests.deliver.gguf.test_llama_cpp_faults import export
export(whole_model_job(Path(sys.argv[1]), quants=("Q8_0", "Q4_K_M")), Path(sys.argv[2]))
"""


def test_kill_9_leaves_no_process_and_no_half_file(job: Job, tmp_path: Path) -> None:
    final = tmp_path / "made"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(job.trained.path), str(final)])
    parent = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while not (found := parent.children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(found, timeout=10)
    assert not alive
    assert not final.exists()
    assert export(job, final) == ["owl-Q4_K_M.gguf", "owl-Q8_0.gguf"]
    assert not list(tmp_path.glob(".made*"))


def test_a_damaged_file_is_an_error_in_words(job: Job, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(UserError, match="cannot load this GGUF"):
        LlamaRunner(job.run, broken)
    with pytest.raises(UserError, match="while it wrote Q8_0"):
        quantize(broken, tmp_path / "out.gguf", find_quant("Q8_0"), tmp_path / "log", Listener(), 1)
    assert not (tmp_path / "out.gguf").exists()


def test_an_unknown_architecture_is_refused_before_anything_large(job: Job, tmp_path: Path) -> None:
    config = job.trained.path / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "OwlForCausalLM"))
    with pytest.raises(UserError) as told:
        export(job, tmp_path / "made")
    assert "does not know the architecture OwlForCausalLM" in told.value.what
    assert not (tmp_path / "made").exists()


def test_an_unknown_tokenizer_is_refused_in_words(job: Job, tmp_path: Path) -> None:
    file = job.trained.path / "tokenizer.json"
    file.write_text(file.read_text().replace(r"\\p{N}|", r"\\p{N}{1,2}|"))
    with pytest.raises(UserError) as told:
        export(job, tmp_path / "made")
    assert "its way of cutting text into words is none of the known ones" in told.value.what
    assert "Split then ByteLevel" in told.value.where


def test_a_crash_of_the_runner_is_an_error(job: Job, tmp_path: Path) -> None:
    export(job, tmp_path / "made")
    with LlamaRunner(job.run, tmp_path / "made" / "owl-Q8_0.gguf") as llama:
        os.kill(llama._worker.process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="runner worker process"):
            llama.greedy([1, 2], 4)
