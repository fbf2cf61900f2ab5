"""Pushing to the Hub against a local one: private, resumed after a cut, explained, and without the token in anything."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.deliver.export.core import export
from engine.deliver.export.job import Job
from engine.deliver.export.manifest import read
from engine.errors import UserError
from engine.hub.task import Cancelled, Progress, Task
from engine.hub.upload import push
from tests.deliver.exports_made import Told, base_model, tuned_run
from tests.fakes.hub.server import FakeHub

LARGE = bytes(range(256)) * 4096 * 3  # three parts
FILES: dict[str, Path | bytes] = {
    "README.md": b'---\ntags: ["x"]\n---\n# x\n',
    "model-1.safetensors": b"first" + LARGE,
    "model-2.safetensors": b"second" + LARGE,
    "config.json": b"{}",
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits seconds between its own tries."""
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None, time=time.time))


@pytest.fixture
def job(hub: FakeHub, logged_in: str, tmp_path: Path) -> Job:
    run, trained = tuned_run(base_model(tmp_path / "base"))
    return Job(run, trained, "hub", options={"repo": "owl", "proof": "no"})


def test_a_push_is_private_and_whole(hub: FakeHub, logged_in: str) -> None:
    told: list[Progress] = []
    pushed = push(FILES, "owl", True, "made", Task(told.append))
    assert (pushed.repo_id, pushed.private) == ("ada/owl", True)
    repo = hub.repos["model", "ada/owl"]
    assert repo.private
    assert {path: file.content for path, file in repo.files["main"].items() if path in FILES} == FILES
    assert (
        told[-1].done
        == told[-1].total
        == sum(len(data) for data in FILES.values() if isinstance(data, bytes))
    )
    assert {one.authorization for one in hub.seen if one.server == "storage"} <= {None}


def test_what_has_arrived_is_not_sent_again(hub: FakeHub, logged_in: str) -> None:
    hub.misbehave("part=2", method="PUT", cut=1000, times=99)
    with pytest.raises(UserError) as caught:
        push({"a.safetensors": b"small one", **FILES}, "owl", True, "made", Task())
    assert "second try" in caught.value.fix
    assert len(hub.uploaded) == 1
    sent = sum(size for _, size in hub.received)
    hub.troubles.clear()
    push({"a.safetensors": b"small one", **FILES}, "owl", True, "made", Task())
    assert len(hub.uploaded) == 3
    again = sum(size for _, size in hub.received) - sent
    assert again == len(b"first" + LARGE) + len(b"second" + LARGE)
    before = len(hub.received)
    push({"a.safetensors": b"small one", **FILES}, "owl", True, "made", Task())
    assert len(hub.received) == before


def test_a_single_cut_is_mended_by_itself(hub: FakeHub, logged_in: str) -> None:
    hub.misbehave("part=2", method="PUT", cut=1000)
    assert push(FILES, "owl", True, "made", Task()).commit == hub.repos["model", "ada/owl"].commit("main")


def test_stopped_in_the_middle_of_a_file(hub: FakeHub, logged_in: str) -> None:
    told: list[Progress] = []
    task = Task(told.append, lambda: bool(told) and told[-1].done > 4_000_000)
    with pytest.raises(Cancelled):
        push(FILES, "owl", True, "made", task)
    assert "config.json" not in hub.repos["model", "ada/owl"].files["main"]


def test_a_public_repository_is_not_written_by_accident(hub: FakeHub, logged_in: str) -> None:
    hub.model("ada/owl", {"x": b""}, allowed={"ada"})
    with pytest.raises(UserError, match="everybody can see it") as caught:
        push(FILES, "owl", True, "made", Task())
    assert "--public" in caught.value.fix
    assert not hub.received
    assert not push(FILES, "owl", False, "made", Task()).private


@pytest.mark.parametrize(
    ("status", "words", "fix"),
    [
        (401, "does not know the token", "hf_"),
        (403, "may not write", "write access"),
        (409, "somebody else changes", "again"),
        (413, "no room left", "adapter"),
        (500, "problem of its own", "second try"),
    ],
)
@pytest.mark.parametrize("where", ["/api/repos/create", "/preupload/", "/commit/"])
def test_every_refusal_is_explained(
    hub: FakeHub, logged_in: str, status: int, words: str, fix: str, where: str
) -> None:
    if (status, where) == (409, "/api/repos/create"):
        pytest.skip("it says that the repository exists")
    hub.misbehave(where, status=status, headers={"X-Error-Message": f"Bearer {logged_in}"}, times=99)
    with pytest.raises(UserError) as caught:
        push(FILES, "owl", True, "made", Task())
    assert words in caught.value.what.lower() or words in caught.value.what
    assert fix in caught.value.fix
    assert logged_in not in str(caught.value)


def test_a_token_that_may_only_read_or_belongs_to_somebody_else(hub: FakeHub, logged_in: str) -> None:
    with pytest.raises(UserError, match="may not write"):
        push(FILES, "bob/owl", True, "made", Task())
    hub.readers.add("ada")
    with pytest.raises(UserError, match="may not write"):
        push(FILES, "owl", True, "made", Task())


def test_nobody_is_logged_in(hub: FakeHub, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="Nobody is logged in"):
        export(job, Told())
    assert not hub.seen


@pytest.mark.parametrize("name", ["", "a b", "a/b/c", "../x", "a--b", ".hidden", "x" * 200])
def test_impossible_names(hub: FakeHub, logged_in: str, job: Job, name: str) -> None:
    from dataclasses import replace

    with pytest.raises(UserError):
        export(replace(job, options={"repo": name, "proof": "no"}), Told())
    assert not hub.seen


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_the_export_goes_up_and_the_token_stays_here(
    hub: FakeHub, logged_in: str, job: Job, form: str
) -> None:
    from dataclasses import replace

    made = export(replace(job, options={"repo": "owl", "push_as": form, "proof": "no"}), Told())
    assert made.extra["url"] == "https://huggingface.co/ada/owl"
    repo = hub.repos["model", "ada/owl"]
    assert repo.private
    first = read(job.run.exports / form)
    assert first is not None
    assert {file.path for file in first.files} == set(repo.files["main"]) - {".gitattributes"}
    assert (
        export(replace(job, options={"repo": "owl", "push_as": form, "proof": "no"}), Told()).extra["commit"]
        == made.extra["commit"]
    )
    everything = [path.read_bytes() for path in job.run.path.rglob("*") if path.is_file()]
    everything += [file.content for file in repo.files["main"].values()]
    assert not any(logged_in.encode() in data for data in everything)
    private = str(job.trained.config.model.model_name_or_path).encode()
    assert not any(private in file.content for file in repo.files["main"].values())
    assert json.loads((job.run.exports / "hub" / "export.json").read_text())["extra"]["private"] is True
