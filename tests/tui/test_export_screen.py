"""The Export screen with a worker that has no model, and the Take home screen."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine.config.draft import DEMO
from engine.deliver.export.job import Cancelled
from engine.deliver.export.manifest import Export
from engine.errors import UserError
from engine.run.layout import RunDir
from tests.deliver.chat_runs import made_run
from tests.deliver.exports_sealed import sealed
from tests.tui.pilot import Screens, running
from tui.screens.export import ExportScreen
from tui.screens.take_home import TakeHomeScreen


class Exports:
    """In place of `Exporting`: tells what a worker tells, and leaves a sealed export."""

    verdict = "same"
    error: UserError | None = None
    asked: ClassVar[list[tuple[str, tuple[str, ...], dict[str, str]]]] = []
    hold: threading.Event = threading.Event()

    def __init__(self, run: RunDir, target: str, quants: Any = (), options: Any = None) -> None:
        if Exports.error is not None:
            raise Exports.error
        self.run, self.target = run, target
        self._stop = threading.Event()
        Exports.asked.append((target, tuple(quants), dict(options or {})))

    def messages(self) -> Iterator[dict[str, Any]]:
        yield {"kind": "step", "words": "Writing Q4_K_M"}
        yield {"kind": "progress", "done": 3 << 30, "total": 4 << 30}
        while not Exports.hold.wait(0.01):
            if self._stop.is_set():
                raise Cancelled
        yield {"kind": "say", "words": "A note \x1b[31m."}
        yield {"kind": "step", "words": "Checking"}

    def result(self) -> Export:
        return sealed(self.run, self.target, verdict=Exports.verdict)

    def cancel(self) -> None:
        self._stop.set()

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def exports(monkeypatch: pytest.MonkeyPatch) -> type[Exports]:
    monkeypatch.setattr("tui.screens.export.Exporting", Exports)
    monkeypatch.setattr("engine.run.launch.require_training_packages", lambda: None)
    monkeypatch.setattr("engine.deliver.export.targets.gguf.missing_packages", lambda: None)
    Exports.verdict, Exports.error, Exports.asked, Exports.hold = "same", None, [], threading.Event()
    Exports.hold.set()
    return Exports


@pytest.fixture
def run() -> RunDir:
    made = made_run()
    (made.adapter / "adapter_model.safetensors").write_bytes(b"x" * 4096)
    return made


async def opened(screens: Screens, screen: ExportScreen | TakeHomeScreen) -> None:
    screens.app.push_screen(screen)
    await screens.settle()


async def until(screens: Screens, wanted: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < deadline, screens.text
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (120, 40)])
async def test_forms_sizes_and_disk(run: RunDir, width: int, height: int) -> None:
    async with running(width, height) as screens:
        await opened(screens, ExportScreen(run))
        assert max(map(len, screens.lines)) <= width
        assert "▸ Adapter" in screens.text
        assert "of disk; " in screens.one_line
        assert "Q4_K_M" not in screens.text
        await screens.press("down", "down")
        assert "[x] Q4_K_M" in screens.one_line
        assert "MiB" in screens.one_line
        assert max(map(len, screens.lines)) <= width


async def test_formats_are_ticked_and_asked_for(run: RunDir) -> None:
    async with running(100, 30) as screens:
        await opened(screens, ExportScreen(run))
        await screens.press("down", "down", "tab", "up", "space")
        assert screens.text.count("[x]") == 2
        await screens.press("enter")
        assert [(target, len(quants)) for target, quants, _ in Exports.asked] == [("gguf", 2)]
        for words in (
            "✓ Exported",
            "Checked: It answers like the trained model.",
            "8 of 8 identical",
            "t take home",
        ):
            assert words in screens.one_line, words
        await screens.press("t")
        assert "gguf" in screens.text
        assert screens.at == "TakeHomeScreen"


async def test_a_failed_check_is_loud(run: RunDir) -> None:
    Exports.verdict = "differs"
    async with running(80, 24) as screens:
        await opened(screens, ExportScreen(run))
        await screens.press("enter")
        for words in (
            "CHECK FAILED",
            "✗ token ids",
            "Likely cause: The start token is there twice",
            "Fix: Take one out.",
        ):
            assert words in screens.one_line, words
        await screens.press("escape")
        assert "Adapter           CHECK FAILED" in screens.text


async def test_progress_in_bytes_and_stopping(run: RunDir) -> None:
    Exports.hold.clear()
    async with running(80, 24) as screens:
        await opened(screens, ExportScreen(run))
        await screens.pilot.press("enter")
        await until(screens, lambda: "3.0 GiB of 4.0 GiB" in screens.one_line)
        assert "Esc stop" in screens.lines[-1]
        await screens.press("escape")
        await until(screens, lambda: "Nothing half-written is left" in screens.one_line)
        assert "▸ Adapter" in screens.text


async def test_an_earlier_one_is_replaced_only_when_asked(run: RunDir) -> None:
    sealed(run, "adapter")
    async with running(80, 24) as screens:
        await opened(screens, ExportScreen(run))
        assert "Adapter           checked" in screens.text
        await screens.press("enter", "down", "enter")
        assert Exports.asked == []
        await screens.press("enter", "enter")
        assert Exports.asked == [("adapter", (), {"overwrite": "yes"})]


async def test_what_is_not_possible_says_why(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.adapter / "adapter_model.safetensors").unlink()
    async with running(80, 24) as screens:
        await opened(screens, ExportScreen(run))
        assert "not possible" in screens.text
        assert "The adapter lacks adapter_model.safetensors" in screens.one_line
        await screens.press("enter")
        assert Exports.asked == []
        assert "not possible here; why, and what to do, stands above" in screens.one_line


async def test_ollama_takes_one_number_format(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.deliver.export.targets.ollama.missing_packages", lambda: None)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(DEMO / name, run.adapter / name)
    async with running(80, 24) as screens:
        await opened(screens, ExportScreen(run))
        await screens.press("down", "down", "tab", "up", "space", "tab", "down", "down", "enter")
        assert "Ollama takes one number format" in screens.one_line
        assert Exports.asked == []
        await screens.press("tab", "space", "enter")
        assert [(target, len(quants)) for target, quants, _ in Exports.asked] == [("ollama", 1)]


async def test_a_refusal_of_the_worker_is_shown(run: RunDir) -> None:
    Exports.error = UserError("The disk is too small.", "here", "Free some space.")
    async with running(80, 24) as screens:
        await opened(screens, ExportScreen(run))
        await screens.press("enter")
        assert "The disk is too small." in screens.text
        assert "▸ Adapter" in screens.text


async def test_take_home_leads_and_remembers(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "8.8.8.8 51000 1.1.1.1 2222")
    monkeypatch.setattr("engine.deliver.take_home._of_container", lambda process: {})
    monkeypatch.setattr("shutil.which", lambda program: None)
    sealed(run, "merged")
    sealed(run, "adapter", ("adapter_model.safetensors",))
    async with running(120, 44) as screens:
        await opened(screens, TakeHomeScreen(run, "adapter"))
        text = screens.one_line
        for words in (
            "adapter <1 MiB, 1 file, checked: same answers, only on this machine", "scp -r -P 2222", "@1.1.1.1:",
            "sha256sum -c SHA256SUMS", "Run it there", "! The trained adapter", "Do not end this machine yet",
        ):  # fmt: skip
            assert words in text, words
        assert text.index("Only on this machine") < text.index("Do not end")
        assert (run.exports / "adapter" / "SHA256SUMS").is_file()
        await screens.press("h", "enter")
        assert "Do not end this machine yet" in screens.text
        await screens.press("h", "down", "enter")
        assert "the machine may be stopped" in screens.one_line
        assert "at home since" in screens.one_line
        assert "The export merged" in screens.text
        await screens.press("n")
        assert "vllm serve ./owl-merged" in screens.text
        await screens.press("y")
        assert (screens_home() / "copied.txt").read_text().startswith("scp ")
        await screens.press("y", "y", "y")
        assert "python -c" in (screens_home() / "copied.txt").read_text(), "one line after the other"
        await screens.press("escape")
        assert screens.at == "HomeScreen"


def screens_home() -> Path:
    from engine.run.home import finetui_home

    return finetui_home()


@pytest.mark.parametrize(("width", "height"), [(40, 12), (80, 24)])
async def test_nothing_exported_yet(run: RunDir, width: int, height: int) -> None:
    async with running(width, height) as screens:
        await opened(screens, TakeHomeScreen(run))
        assert max(map(len, screens.lines)) <= width
        assert "Nothing has been exported yet" in screens.one_line
        await screens.press("h", "y", "n")
        assert screens.at == "TakeHomeScreen"
