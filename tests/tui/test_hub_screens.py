"""The Hub on the Data and Model screens: search, parts, facts, gates and copies without one, and no waiting offline."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from engine.config.draft import DEMO_MODEL, Draft
from engine.errors import UserError
from engine.machine import Machine
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo
from tests.machine.builders import CARD, machine
from tests.tui.pilot import Screens, running, write_draft
from tui.hub import count_words, refuse_unavailable
from tui.widgets.path_input import PathInput

GATED, TWIN = "meta-llama/Llama-3.2-1B-Instruct", "unsloth/Llama-3.2-1B-Instruct"
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.hub_search.PAUSE", 0.01)
    monkeypatch.setattr("tui.screens.model.PAUSE", 0.01)


async def shown(screens: Screens, words: str) -> None:
    """Wait until words are on the screen."""
    for _ in range(200):
        await screens.settle()
        if words in screens.one_line:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{words!r} did not appear:\n{screens.text}")


def rows(count: int) -> bytes:
    return b"".join(
        json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}).encode() + b"\n" for n in range(count)
    )


async def test_a_dataset_is_searched_its_parts_asked_for_and_read(hub: FakeHub) -> None:
    card = {
        "configs": [
            {"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}.jsonl"} for split in ("train", "test")]}
            for name in ("main", "socratic")
        ]
    }  # fmt: skip
    files = {
        f"{name}/{split}.jsonl": rows(n)
        for name, n in (("main", 5), ("socratic", 7))
        for split in ("train", "test")
    }
    hub.dataset("ada/sums", files, card=card, extra={"description": "Sums \x1b[31m[bold]in words"})
    hub.dataset("bob/sums-gated", {"train.jsonl": rows(2)}, gated="auto")
    write_draft(Draft(step="data"))
    async with running(100, 40) as screens:
        await screens.press("enter", "h")
        await screens.type("sums")
        await screens.press("enter")
        await shown(screens, "ada/sums")
        assert "7 downloads" in screens.text
        assert "1 likes" in screens.text
        await shown(screens, "names no licence")
        assert "\x1b" not in screens.text
        await screens.press("end")
        await shown(screens, "This dataset is gated")
        await screens.press("enter")
        assert screens.at == "HubSearchScreen"
        await screens.press("home", "enter")
        await shown(screens, "Which part?")
        await screens.press("end", "enter")
        await shown(screens, "Which split?")
        await screens.press("enter")
        await shown(screens, "7 of 7 rows usable")
        assert "▸ ada/sums:socratic" in screens.text
        await screens.press("enter")
        assert screens.app.the_draft().data_path == "ada/sums:socratic"


async def test_a_gated_model_is_explained_before_anything_starts_and_its_copy_offered(hub: FakeHub) -> None:
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": b"0" * 50_000,
    }
    hub.model(GATED, files, gated="manual", card={"license": "llama3.2"})
    hub.model(TWIN, files, card={"license": "llama3.2"})
    write_draft(Draft(step="model"))
    async with running(100, 40) as screens:
        await screens.press("enter", "slash")
        await screens.type(GATED)
        await screens.press("enter")
        await shown(screens, "This model is gated")
        assert "Licence: llama3.2." in screens.one_line
        assert f"takes {TWIN} instead" in screens.one_line
        assert "u ungated copy" in screens.lines[-1]
        await screens.press("enter")
        assert screens.at == "model"
        await screens.press("u")
        await shown(screens, f"▸ {TWIN}")
        await shown(screens, "safetensors, which cannot run code")
        await screens.press("enter")
        assert screens.at == "template"
        assert screens.app.the_draft().model == TWIN
    with pytest.raises(UserError, match="gated"):
        refuse_unavailable(GATED, "main")
    refuse_unavailable(TWIN, "main")
    refuse_unavailable(DEMO_MODEL, "main")


async def test_an_unknown_model_is_known_once_the_hub_has_shown_its_config(
    hub: FakeHub, computer: dict[str, Machine]
) -> None:
    computer["machine"] = machine(CARD)
    demo_repo = demo(hub, "ada/mystery")
    demo_repo.put({"config.json": json.dumps(CONFIG).encode()})
    hub.model("ada/old", {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"0" * 20_000})
    write_draft(Draft(step="model"))
    async with running(100, 40) as screens:
        await screens.press("enter", "s")
        await screens.type("mystery")
        await screens.press("enter")
        await shown(screens, "ada/mystery")
        await screens.press("enter")
        await shown(screens, "It fits here with")
        assert "✓ LoRA" in next(line for line in screens.lines if "▸" in line)
        await screens.press("slash")
        field = screens.app.screen.query_one(PathInput)
        field.value = "ada/old"
        await screens.press("enter")
        await shown(screens, "old format (pickle)")
        await screens.press("enter")
        assert screens.at == "model"
        await screens.press("slash")
        field.value = "ada/mistyped"
        await screens.press("enter")
        await shown(screens, "has no model of this name")
        await screens.press("enter")
        assert screens.at == "model"


async def test_a_silent_hub_never_holds_up_typing_or_going_on(hub: FakeHub) -> None:
    demo(hub, "ada/slow")
    hub.misbehave("ada/slow", times=20, stall=30.0)
    write_draft(Draft(step="model", model="ada/slow"))
    async with running(100, 40) as screens:
        await screens.pilot.press("enter")
        for _ in range(100):
            await screens.pilot.pause(0.05)
            if "Asking the Hub" in screens.one_line:
                break
        assert "Asking the Hub" in screens.one_line
        await screens.pilot.press("slash", *"abc")
        assert screens.app.screen.query_one(PathInput).value == "abc"
        await screens.pilot.press("escape", "enter")
        await screens.pilot.pause()
        assert "Enter again goes on" in screens.one_line
        await screens.pilot.press("enter")
        await screens.pilot.pause(0.2)
        assert screens.at == "template"


async def test_offline_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_draft(Draft(step="model", model="ada/elsewhere"))
    async with running(100, 40) as screens:
        await screens.press("enter")
        assert "Offline (HF_HUB_OFFLINE is set)" in screens.one_line
        await screens.press("s")
        assert "Offline (HF_HUB_OFFLINE is set)" in screens.one_line
        await screens.type("x")
        await screens.press("enter", "escape")
        assert screens.at == "model"


async def test_a_hub_that_cannot_be_reached_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    write_draft(Draft(step="model", model="ada/elsewhere"))
    async with running(100, 40) as screens:
        await screens.press("enter")
        await shown(screens, "127.0.0.1:9 cannot be reached")
        await screens.press("down", "up")
        assert "127.0.0.1:9 cannot be reached" in screens.one_line
        await screens.press("enter")
        assert screens.at == "template"  # the user may go on: the trainer will say what it cannot have


def test_count_words() -> None:
    assert [count_words(number) for number in (None, 7, 31_400, 2_400_000)] == ["", "7", "31 k", "2.4 M"]
    assert Path(DEMO_MODEL).is_dir()
