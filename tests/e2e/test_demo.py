"""The main job on a fresh machine: finetui demo, without a terminal."""

from __future__ import annotations

import re

import pytest

from tests.e2e.runs import events, finetui, run_dir

pytestmark = pytest.mark.slow


def test_demo_trains_and_shows_the_difference() -> None:
    done = finetui("demo", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) of (\d+) before, (\d+) of \2 after", done.stdout)
    assert found, done.stdout
    before, total, after = int(found[1]), int(found[2]), int(found[3])
    assert before <= 0.1 * total
    assert after >= 0.9 * total
    told = events(run_dir("demo"))
    assert {"phase", "metric", "memory", "sample", "evaluation", "checkpoint", "finished", "heartbeat"} <= {
        event["kind"] for event in told
    }
    memory = [event for event in told if event["kind"] == "memory"]
    assert memory[-1]["process_rss"] > 100_000_000
    assert memory[-1]["host_total"] > memory[-1]["host_used"] > 0
    chat = finetui("chat", "demo", stdin="What does Zola do for work?\nWhich sound does a cow make?\n")
    assert chat.returncode == 0, chat.stderr
    assert len(chat.stdout.splitlines()) == 2
