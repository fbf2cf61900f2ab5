"""From a name on the Hub to a trained adapter, through the command line."""

from __future__ import annotations

import json

import pytest

from engine.config.draft import DEMO
from engine.hub.task import Progress
from engine.run import progress as run_progress
from tests.e2e.runs import events, finetui, run_dir, wait_for_end
from tests.fakes.hub.fixtures import TOKEN
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo

SMALL = ("--max_steps", "2", "--eval_fraction", "0.05", "--sample_prompts", "[]", "--dtype", "float32")


def train(*args: str) -> None:
    done = finetui("train", "--name", "hubrun", "--detach", *args)
    assert done.returncode == 0, done.stderr


def test_whoever_watches_sees_bytes_and_time_left() -> None:
    progress = run_progress.Progress()
    progress.feed({"kind": "phase", "t": 1.0, "phase": "downloading", "words": "Getting it."})
    line = Progress("ada/tiny", 3 * 2**30, 15 * 2**30, 84 * 2**20, 146.3).line()
    progress.feed({"kind": "progress", "t": 2.0, "words": line})
    assert progress.phase == "downloading"
    assert progress.words == "Downloading ada/tiny: 3.0 GiB of 15.0 GiB, 84 MiB/s, about 2:26 left"


def test_tokens_are_counted_with_a_tokenizer_of_the_hub_without_its_weights(hub: FakeHub) -> None:
    from engine.data.check.run import CheckRequest, check

    demo(hub, "ada/tiny")
    report = check(
        CheckRequest(paths=(str(DEMO / "train.jsonl"),), model="ada/tiny"), lambda share, words: None
    )
    assert report.as_json()["tokens"]["total"] == 15_520
    assert not hub.requests("model.safetensors")


@pytest.mark.slow
def test_a_hub_model_learns_from_a_hub_dataset(fake_hub: FakeHub, logged_in: str) -> None:
    model = demo(fake_hub, "ada/gated-tiny", gated="manual", allowed={"ada"})
    rows = (DEMO / "train.jsonl").read_bytes().splitlines(keepends=True)
    files = {
        "data/train-0.jsonl": b"".join(rows[:40]),
        "data/train-1.jsonl": b"".join(rows[40:60]),
        "pictures.zip": b"z",
    }
    dataset = fake_hub.dataset("ada/rows", files)
    fake_hub.misbehave("name=model", cut=100_000)
    train("--model_name_or_path", "ada/gated-tiny", "--train", "ada/rows#30", *SMALL)
    run = run_dir("hubrun")
    assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-2000:]
    told = events(run)
    phases = [event["phase"] for event in told if event["kind"] == "phase"]
    assert phases.index("downloading") < phases.index("downloaded") < phases.index("loading model")
    last = [event for event in told if event["kind"] == "progress"][-1]
    assert last["done_bytes"] == last["total_bytes"] > 0
    loaded = next(event for event in told if event.get("phase") == "data loaded")
    assert loaded["train_rows"] + loaded["eval_rows"] == 30
    assert json.loads((run.path / "hub.json").read_text()) == {
        "ada/gated-tiny": model.commit("main"),
        "datasets/ada/rows": dataset.commit("main"),
    }
    adapter = json.loads((run.adapter / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "ada/gated-tiny"
    assert not fake_hub.requests("pictures.zip")
    for path in run.path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_gated_model_is_refused_before_a_run_is_made(fake_hub: FakeHub) -> None:
    demo(fake_hub, "ada/gated-tiny", gated="auto")
    done = finetui(
        "train", "--model_name_or_path", "ada/gated-tiny", "--train", str(DEMO / "train.jsonl"), *SMALL
    )
    assert done.returncode == 2
    assert "nobody is logged in here" in done.stderr
    assert "https://huggingface.co/ada/gated-tiny" in done.stderr
    assert "hf auth login" in done.stderr
    assert not (run_dir("x").path.parent).exists()
