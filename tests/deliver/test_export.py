"""Exports appear whole or not at all, say what went wrong, and never touch what was trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deliver.export import manifest
from engine.deliver.export.core import export
from engine.deliver.export.job import Cancelled, Job
from engine.deliver.export.run_export import Exporting
from engine.deliver.export.staging import staged
from engine.errors import UserError
from tests.deliver.disks import small_disk_in
from tests.deliver.exports_made import Told, base_model, run_yaml, tuned_run


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A merge of a small model."""
    run, trained = tuned_run(base_model(tmp_path / "base", shard="500KB"), target_modules=["q_proj"])
    return Job(run, trained, "merged", options={"proof": "no"})  # tests/deliver/proof has it


def trained_files(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in job.trained.path.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class Filling(Told):
    """Does something at a share of the bytes."""

    def __init__(self, share: float, act: Callable[[], object]) -> None:
        super().__init__()
        self.share, self.act, self.done = share, act, False

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        if not self.done and done_bytes >= self.share * total_bytes:
            self.done = True
            self.act()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    with small_disk_in(tmp_path, 24) as disk:
        yield disk


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return ballast


def test_a_finished_export_is_sealed(job: Job) -> None:
    told = Told()
    made = export(job, told)
    assert made.folder == job.run.exports / "merged"
    assert made.is_whole()
    assert {file.path for file in made.files} == set(names(made.folder)) - {"export.json"}
    for file in made.files:
        assert manifest.sha256(made.folder / file.path) == file.sha256
    assert (made.target, made.trained_from, made.dtype, made.objective) == (
        "merged",
        "result",
        "float32",
        "sft",
    )
    assert manifest.list_exports(job.run) == [made]
    assert manifest.find_export(job, "merged") == made
    config = json.loads((made.folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert json.loads((made.folder / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
    assert (made.folder / "chat_template.jinja").is_file()
    (made.folder / made.files[0].path).unlink()
    assert manifest.find_export(job, "merged") is None, "a damaged export is not built upon"


def test_the_disk_is_full_at_every_tenth_of_a_merge(job: Job, small_disk: Path) -> None:
    before = trained_files(job)
    job = replace(job, out=small_disk / "merged")
    for tenth in range(10):
        with pytest.raises(UserError) as caught:
            export(job, Filling(tenth / 10, lambda: fill(small_disk)))
        assert caught.value.what == "The disk filled up while exporting."
        assert "--out" in caught.value.fix
        assert names(small_disk) == ["ballast"], "nothing half-written stays"
        assert trained_files(job) == before
        (small_disk / "ballast").unlink()
    made = export(job, Told())
    assert made.is_whole()
    assert manifest.list_exports(job.run) == [made], "it is found again, although it lies elsewhere"


def test_too_small_a_disk_is_noticed_before(job: Job, small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(UserError, match="The disk is too small: the merged model takes"):
        export(replace(job, out=small_disk / "merged"), Told())
    assert names(small_disk) == ["ballast"]


def test_too_little_memory_is_noticed_before(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.deliver.export.needs.memory", lambda limits: (1 << 30, 1 << 28, True))
    with pytest.raises(UserError, match="memory \\(RAM\\) is too small") as caught:
        export(job, Told())
    assert "allowed to this container" in caught.value.where
    assert names(job.run.exports) == []


def test_a_read_only_disk(job: Job, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="cannot be written") as caught:
        export(replace(job, out=small_disk / "merged"), Told())
    assert "--out" in caught.value.fix
    assert export(job, Told()).is_whole()


@pytest.mark.parametrize("name", ["my model", "modèle 模型 🦉", "-x", "a'b\"c$(d)", "x" * 200])
def test_any_name(job: Job, tmp_path: Path, name: str) -> None:
    made = export(replace(job, out=tmp_path / "out" / name), Told())
    assert made.folder.name == name
    assert names(tmp_path / "out") == [name]


def test_an_existing_export_is_replaced_only_when_asked_and_only_by_a_whole_one(job: Job) -> None:
    first = export(job, Told())
    with pytest.raises(UserError, match="exists already") as caught:
        export(job, Told())
    assert "--overwrite" in caught.value.fix
    again = replace(job, options={"overwrite": "yes", "dtype": "bfloat16"})
    with pytest.raises(Cancelled):
        export(again, Told(stop_at=0.5))
    assert manifest.read(job.final) == first
    assert export(again, Told()).dtype == "bfloat16"
    assert names(job.run.exports) == ["merged"]


def test_what_is_not_ours_is_never_replaced(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for options in ({}, {"overwrite": "yes"}):
        with pytest.raises(UserError, match="left alone"):
            export(replace(job, out=out, options=options), Told())
    made = export(job, Told())
    (made.folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        export(replace(job, options={"overwrite": "yes"}), Told())
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match="file where"):
        export(replace(job, out=file), Told())
    assert [(out / "thesis.txt").read_text(), file.read_text()] == ["mine", "mine"]


def test_an_empty_folder_and_a_mount_point_are_filled(job: Job, tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert export(replace(job, out=tmp_path / "empty"), Told()).is_whole()
    assert export(replace(job, out=small_disk), Told()).is_whole()
    with pytest.raises(Cancelled):
        export(replace(job, out=small_disk, options={"overwrite": "yes"}), Told(stop_at=0.5))
    assert manifest.read(small_disk) is not None
    assert ".exporting" not in names(small_disk)


def test_replacing_was_interrupted_between_two_renames(job: Job) -> None:
    made = export(job, Told())
    os.rename(made.folder, job.run.exports / ".merged.old")
    with pytest.raises(UserError, match="exists already"):
        export(job, Told())
    assert manifest.read(job.final) == made
    (job.run.exports / ".merged.old").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export(job, Told())
    assert names(job.run.exports) == ["merged"]


def test_two_at_the_same_place(job: Job) -> None:
    with staged(job.final, False) as into:
        (into / "half").write_text("x")
        with pytest.raises(UserError, match="right now"):
            export(job, Told())
        assert names(into) == ["half"]


def test_killed_in_the_middle(job: Job) -> None:
    exporting = Exporting(job.run, "merged", options={"dtype": "bfloat16"})
    try:
        for message in exporting.messages():
            if message["kind"] == "step" and message["words"].startswith("Merging"):
                os.kill(exporting._worker.process.pid, signal.SIGKILL)
                break
        exporting._worker.process.wait()
    finally:
        exporting.close()
    left = [name for name in names(job.run.exports) if not name.startswith(".")]
    assert left == [], "nothing stands under a final name"
    assert manifest.list_exports(job.run) == []
    assert export(job, Told()).is_whole()
    assert names(job.run.exports) == ["merged"], "what was left behind is gone"


def test_the_worker_stops_when_nobody_listens(job: Job) -> None:
    exporting = Exporting(job.run, "merged")
    assert exporting._worker.process.stdin is not None
    exporting._worker.process.stdin.close()
    with pytest.raises(Cancelled):
        list(exporting.messages())
    exporting._worker.process.wait(20)
    assert names(job.run.exports) == []


def test_checkpoints_have_names_of_their_own(job: Job) -> None:
    saved = job.run.checkpoints / "checkpoint-40"
    saved.mkdir()
    for path in job.trained.path.iterdir():
        (saved / path.name).write_bytes(path.read_bytes())
    from engine.deliver.source import find_trained

    made = export(Job(job.run, find_trained(job.run, "40"), "merged"), Told())
    assert (made.folder.name, made.trained_from) == ("merged-checkpoint-40", "checkpoint-40")


def test_a_model_trained_whole_needs_no_room_where_it_lies(tmp_path: Path) -> None:
    from engine.deliver.export.targets.merged import merged_needs
    from engine.deliver.source import find_trained
    from engine.run.layout import create

    run = create("whole")
    base_model(run.model)
    run.config.write_text(run_yaml(tmp_path / "base", tuning="full"))
    job = Job(run, find_trained(run), "merged")
    size = (run.model / "model.safetensors").stat().st_size
    linked, copied = merged_needs(job), merged_needs(replace(job, out=Path("/dev/shm/nowhere")))
    assert copied.disk_bytes - linked.disk_bytes == size
    assert export(job, Told()).is_whole()


def test_the_base_is_not_exported(job: Job) -> None:
    from engine.deliver.source import find_trained

    with pytest.raises(UserError, match="nothing of this run"):
        export(Job(job.run, find_trained(job.run, "base"), "merged"), Told())


def test_unknown_targets_and_formats(job: Job) -> None:
    with pytest.raises(UserError, match="no export called"):
        export(replace(job, target="exe"), Told())
    with pytest.raises(UserError, match="no number format"):
        export(replace(job, options={"dtype": "int3"}), Told())


def test_a_damaged_manifest_is_no_export(job: Job) -> None:
    made = export(job, Told())
    value = json.loads((made.folder / "export.json").read_text())
    for damaged in (
        "{",
        "[]",
        json.dumps({**value, "v": 99}),
        json.dumps({**value, "files": [{"path": "../../x", "bytes": 1, "sha256": ""}]}),
        json.dumps({**value, "files": 3}),
    ):
        (made.folder / "export.json").write_text(damaged)
        assert manifest.list_exports(job.run) == []
