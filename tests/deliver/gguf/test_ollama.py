"""The Ollama target, with a stand-in for Ollama and a GGUF export that is there already."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.deliver.export import manifest
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.export.targets import find_target
from engine.deliver.export.targets.ollama import ollama_name
from engine.deliver.proof.go_template import read_modelfile, render
from tests.deliver.gguf.jobs import Listener, whole_model_job

OLLAMA = """#!/bin/sh
echo "$@" > "$OLLAMA_SAW"
cat "$4" >> "$OLLAMA_SAW"
if [ -n "$OLLAMA_SLEEPS" ]; then echo $$ > "$OLLAMA_SAW"; exec sleep 60; fi
if [ -n "$OLLAMA_FAILS" ]; then echo "Error: could not connect to ollama server, run 'ollama serve' to start it" >&2; exit 1; fi
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run with a finished GGUF export of the same weights."""
    job = whole_model_job(shutil.copytree(DEMO_RECIPE.parent, tmp_path / "model"), "ollama", run_name="Owl-1")
    gguf = whole_model_job(tmp_path / "model", "gguf", ("Q4_K_M",), run_name="Owl-1")
    folder = job.run.exports / "gguf"
    folder.mkdir()
    (folder / "Owl-1-Q4_K_M.gguf").write_bytes(b"GGUF and more")
    manifest.write(gguf, folder, manifest.now())
    return job


@pytest.fixture
def saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ollama is installed; the file that holds what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ollama").write_text(OLLAMA)
    (folder / "ollama").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("OLLAMA_SAW", str(tmp_path / "saw"))
    return tmp_path / "saw"


def make(job: Job, into: Path, told: Listener | None = None) -> Listener:
    told = told or Listener()
    into.mkdir()
    find_target("ollama").make(job, into, told)
    return told


def test_ollama_gets_the_model(job: Job, saw: Path, tmp_path: Path) -> None:
    into = tmp_path / "my exports ü"
    told = make(job, into)
    asked, modelfile = saw.read_text().split("\n", 1)
    assert asked == f"create owl-1 -f {into}/Modelfile"
    assert modelfile == (into / "Modelfile").read_text()
    assert modelfile.startswith("FROM ./Owl-1-Q4_K_M.gguf\n")
    assert (into / "Owl-1-Q4_K_M.gguf").read_bytes() == b"GGUF and more"
    said = read_modelfile(modelfile)
    assert render(said.template, [{"role": "user", "content": "Hi"}], said.system) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert told.notes == ["Ollama has it now: ollama run owl-1"]


def test_without_ollama_the_command_is_told(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    told = make(job, tmp_path / "made")
    assert told.notes == [
        "Where Ollama is installed, in this folder: ollama create owl-1 -f Modelfile && ollama run owl-1"
    ]


def test_a_server_that_is_not_running_costs_no_export(
    job: Job, saw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_FAILS", "1")
    told = make(job, tmp_path / "made")
    assert "could not connect to ollama server" in told.notes[0]
    assert told.notes[0].endswith("Later, in this folder: ollama create owl-1 -f Modelfile")
    assert (tmp_path / "made" / "Modelfile").is_file()


def test_cancelling_ends_ollama_too(
    job: Job, saw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_SLEEPS", "1")
    pids: list[int] = []

    def stop() -> bool:
        if saw.is_file() and saw.read_text().strip().isdigit():
            pids.append(int(saw.read_text()))
        return bool(pids)

    with pytest.raises(Cancelled):
        make(job, tmp_path / "made", Listener(stop))
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pids[0]}").exists()


@pytest.mark.parametrize(
    ("asked", "name"), [("", "owl-1"), ("me/Owl Bot:v1", "me/owl-bot:v1"), ("ü", "finetuned")]
)
def test_names_that_ollama_takes(job: Job, asked: str, name: str) -> None:
    job = replace(job, options={"name": asked} if asked else {})
    assert ollama_name(job) == name


def test_a_constant_system_prompt_of_the_data_is_kept(job: Job, tmp_path: Path) -> None:
    from engine.deliver.export.gguf.training_system import training_system

    rows = tmp_path / "rows.jsonl"
    row = '{"messages": [{"role": "system", "content": "%s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    config = job.trained.config
    data = config.data.model_copy(
        update={"train": [config.data.train[0].model_copy(update={"path": str(rows)})]}
    )
    config = config.model_copy(update={"data": data})
    rows.write_text(row % "You are an owl." * 3)
    assert training_system(config) == "You are an owl."
    rows.write_text(row % "You are an owl." + row % "You are a mouse.")
    assert training_system(config) == ""
    rows.unlink()
    assert training_system(config) == ""
