"""Pictures of the wizard: from the machine to the review, with a card and without one, and the dialogs on the way."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from engine.config.draft import Draft
from engine.hub.datasets import DatasetParts
from engine.hub.facts import RepoFacts
from engine.hub.names import Kind
from engine.hub.search import Found
from tests.captures.stage import Stage, shown, steady
from tests.captures.tours import tour
from tests.machine.builders import CARD, DISK, GIB, machine
from tests.tui.pilot import Screens, write_draft

SECOND = replace(CARD, index=1, uuid="GPU-2222", card_uuid="GPU-2222", name="NVIDIA L4", memory_free=22 * GIB)
PROBLEMS = (
    (
        "My parcel is late. What can I do?",
        "I am sorry about that. Please tell me your order number, it begins with A-.",
    ),
    ("Can I send the lamp back?", "Yes, within 30 days. The label is in the box; stick it over the old one."),
    (
        "Where do I change my address?",
        "Open Account, then Addresses. Orders that are packed already keep the old one.",
    ),
    ("请问什么时候发货？", "我们会在两个工作日内发货。 📦"),
)


def support_rows(count: int) -> str:
    """A small dataset of a shop's answers, no two rows alike."""
    rows = []
    for number in range(count):
        question, answer = PROBLEMS[number % len(PROBLEMS)]
        talk = [
            {"role": "system", "content": "You are the help desk of a lamp shop. Be brief and kind."},
            {"role": "user", "content": f"{question} (ticket {1000 + number})"},
            {"role": "assistant", "content": answer + " Anything else I can do for you?" * (number % 5)},
        ]
        rows.append(json.dumps({"messages": talk}, ensure_ascii=False) + "\n")
    return "".join(rows)


def table(*columns: str, count: int = 120) -> str:
    """A table whose columns do not tell what they are."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for number in range(count):
        writer.writerow(f"{column} of ticket {1000 + number}" for column in columns)
    return out.getvalue()


def files(stage: Stage) -> None:
    """What lies in the user's folders."""
    stage.write("support.jsonl", support_rows(300))
    stage.write("tickets/2025.csv", table("subject", "reply"))
    stage.write("tickets/2026.csv", table("subject", "reply", "team"))
    stage.write("客户问答 2026.jsonl", support_rows(40))


async def onward(stage: Stage, screens: Screens, *names: str) -> None:
    """Take a picture of each step that Enter leads to."""
    for name in names:
        await screens.press("enter")
        await stage.take(screens, name)


@tour(
    "machine-gpu", "machine-price", "goal", "questions", "questions-verdict", "data", "model", "template-no-tokenizer",
    "method", "method-field", "review", "help-machine",
    main=("machine-gpu", "goal", "data", "model", "method", "review"),
)  # fmt: skip
async def wizard(stage: Stage) -> None:
    stage.machine = machine(CARD, disks=(replace(DISK, path=stage.root / ".finetui"),))
    files(stage)
    async with stage.app() as screens:
        await screens.press("enter")
        await stage.take(screens, "machine-gpu")
        await screens.press("question_mark")
        await stage.take(screens, "help-machine")
        await screens.press("escape", "dollar_sign")
        await screens.type("0.69")
        await stage.take(screens, "machine-price")
        await screens.press("enter", "enter")
        await stage.take(screens, "goal")
        await screens.press("down", "enter")
        await stage.take(screens, "questions")
        await screens.press("enter", "down", "enter", "enter")
        await stage.take(screens, "questions-verdict")
        await screens.press("enter", "down", "down", "down", "down")
        await choose(screens, "support.jsonl")
        await stage.take(screens, "data")
        await onward(stage, screens, "model", "template-no-tokenizer", "method")
        await screens.press("tab", "tab")
        await screens.type("3e-4")
        await stage.take(screens, "method-field")
        await screens.press("enter")
        await stage.take(screens, "review")


@tour(
    "machine-no-gpu",
    "machine-plan",
    "data-demo",
    "model-demo",
    "template",
    "template-worst",
    "method-demo",
    main=("machine-no-gpu", "template"),
    rare=True,
)
async def wizard_demo(stage: Stage) -> None:
    stage.machine = machine(disks=(replace(DISK, path=stage.root / ".finetui"),))
    async with stage.app() as screens:
        await screens.press("enter")
        await stage.take(screens, "machine-no-gpu")
        await screens.press("c", "enter")
        await stage.take(screens, "machine-plan")
        await screens.press(*["enter"] * 6)
        assert screens.at == "data", screens.at
        await stage.take(screens, "data-demo")
        await onward(stage, screens, "model-demo", "template")
        await screens.press("w")
        await stage.take(screens, "template-worst")
        await screens.press("enter")
        await stage.take(screens, "method-demo")


@tour("machine-two-cards", "method-too-large", "review-too-large", "ask-too-large", rare=True)
async def too_large(stage: Stage) -> None:
    disk = replace(
        DISK,
        path=stage.root / ".finetui",
        free=9 * GIB,
        persistent=False,
        note="Deleted together with the container.",
    )
    stage.machine = machine(replace(CARD, memory_used=9 * GIB, memory_free=15 * GIB), SECOND, disks=(disk,))
    files(stage)
    data = str(stage.work / "support.jsonl")
    write_draft(
        Draft(
            step="method",
            model="Qwen/Qwen3-8B",
            data_path=data,
            tuning="full",
            price_per_hour=0.69,
            goal="style",
        )
    )
    async with stage.app() as screens:
        await onward(stage, screens, "method-too-large", "review-too-large", "ask-too-large")
        await screens.press("escape", *["escape"] * 6)
        assert screens.at == "goal", screens.at
        await screens.press("escape")
        await stage.take(screens, "machine-two-cards")


@tour("browse", "data-path", "readings", "columns", main=("browse",))
async def files_and_columns(stage: Stage) -> None:
    files(stage)
    write_draft(Draft(step="data", goal="style"))
    async with stage.app() as screens:
        await screens.press("enter", "b")
        await stage.take(screens, "browse")
        await screens.press("escape", "slash")
        await screens.type("tickets/2025.csv")
        await stage.take(screens, "data-path")
        await screens.press("enter", "enter")
        assert screens.at == "ReadingsScreen", screens.at
        await stage.take(screens, "readings")
        await screens.press("end", "enter")
        if screens.at != "ColumnsScreen":
            await screens.press("r", "end", "enter")
        assert screens.at == "ColumnsScreen", screens.at
        await stage.take(screens, "columns")


@tour("findings", "findings-lengths", "findings-repair", main=("findings",))
async def findings(stage: Stage) -> None:
    rows = support_rows(60).splitlines()
    rows[20] = rows[19]
    rows[30] = json.dumps({"messages": [{"role": "user", "content": "Only a question"}]})
    rows[40] = rows[40].replace('"}]}', '",}]}')
    rows[50] = json.dumps(
        {
            "messages": [
                {"role": "user", "content": "Mail me"},
                {
                    "role": "assistant",
                    "content": "Of course: ada.lovelace@example.com, key sk-proj-Abcd1234Efgh5678Ijkl9012Mnop3456",
                },
            ]
        }
    )
    stage.write("support.jsonl", "\n".join(rows) + "\n")
    write_draft(Draft(step="data", goal="style"))
    async with stage.app() as screens:
        await screens.press("enter", "down")
        await screens.press("c")
        await shown(screens, "rows usable")
        await steady(screens)
        await stage.take(screens, "findings")
        await screens.press("x")
        await stage.take(screens, "findings-repair")
        await screens.press("escape", "l")
        await stage.take(screens, "findings-lengths")


class OneHub:
    """A Hub with a handful of repositories, for `tui.hub`; nothing leaves this process."""

    FOUND = (
        Found(
            "lamps/helpdesk-de",
            "dataset",
            48_210,
            121,
            False,
            updated="2026-02-11",
            about="Questions and answers of a help desk, in German and English, cleaned by hand.",
        ),
        Found(
            "openbench/support-mix",
            "dataset",
            9_120,
            34,
            True,
            updated="2025-11-02",
            about="Tickets of twelve shops.",
        ),
        Found(
            "ada/客服对话",
            "dataset",
            812,
            5,
            False,
            updated="2025-07-30",
            about="多轮客服对话数据集 📦 with orders and returns",
        ),
    )

    def search(self, query: str, kind: Kind, limit: int = 20, task: object = None) -> list[Found]:
        return list(self.FOUND)

    def look(self, repo_id: str, kind: Kind, revision: str | None = None, task: object = None) -> RepoFacts:
        gated = "auto" if repo_id.startswith("openbench") else None
        return RepoFacts(
            repo_id=repo_id, kind=kind, commit="0" * 40, host="huggingface.co", page=f"https://huggingface.co/datasets/{repo_id}",
            private=False, gated=gated, access=gated is None, licence="cc-by-4.0", weights=None, download_bytes=31_457_280,
            missing_bytes=31_457_280, params=None, library=None, pipeline=None, downloads=48_210, likes=121, config={}, obstacle=None,
            notes=(),
        )  # fmt: skip

    def parts(self, repo_id: str, revision: str | None = None, task: object = None) -> DatasetParts:
        files = {"train": {"train.jsonl": 30_000_000}, "test": {"test.jsonl": 1_400_000}}
        return DatasetParts(repo_id, "0" * 40, {"tickets": files, "chats": files}, None)

    def close(self) -> None:
        """Nothing is held."""


@tour("hub-search", "hub-found", "hub-part", main=("hub-found",))
async def hub(stage: Stage) -> None:
    stage.patch.setattr("tui.hub.HubClient", OneHub)
    stage.patch.setenv("HF_HUB_OFFLINE", "0")
    write_draft(Draft(step="data", goal="style"))
    async with stage.app() as screens:
        await screens.press("enter", "h")
        await screens.type("help desk")
        await stage.take(screens, "hub-search")
        await screens.press("enter")
        await shown(screens, "cc-by-4.0")
        await stage.take(screens, "hub-found")
        await screens.press("enter")
        await shown(screens, "Which part?")
        await stage.take(screens, "hub-part")


async def choose(screens: Screens, words: str) -> None:
    """Mark the line of a list that begins with these words."""
    await screens.press("home")
    for _ in range(20):
        if any(f"▸ {words}" in line or f"> {words}" in line for line in screens.lines):
            return
        await screens.press("down")
    pytest.fail(screens.text)
