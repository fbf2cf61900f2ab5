"""What comes after training, without a model: workers that always answer the same, and finished runs, exports and evaluations."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from engine.config.draft import DEMO_RECIPE, prepare
from engine.config.loading import load
from engine.deliver.evaluate import report
from engine.deliver.export import manifest
from engine.deliver.export.gguf.quants import QUANTS, file_bytes
from engine.deliver.export.targets import NAMES, find_target
from engine.deliver.export_choices import Choice, job_for
from engine.deliver.proof.types import Cause, Check, Form, Proof
from engine.deliver.protocol import Message
from engine.deliver.sampling import Sampling
from engine.deliver.source import find_trained
from engine.errors import UserError
from engine.run.layout import RunDir
from tests.captures.stage import NOW
from tests.captures.told import QUESTIONS, ToldRun

NAME = "support-qwen3-8b"
MADE_AT = "2026-03-14T14:55:00+00:00"
WEIGHTS = "adapter_model.safetensors"


class Scripted:
    """Stands in for `engine.deliver.protocol.Worker`: no process, and always the same answers."""

    def __init__(self, module: str, run: RunDir, *args: str, env: Mapping[str, str] | None = None) -> None:
        self.log = run.path / "worker.log"
        self.alive = True
        self._told: deque[Message] = deque()
        self._sides = json.loads(args[-1])["sides"]
        if module.endswith("chat_worker"):
            sides = [{"name": name or "result", "words": str(name)} for name in self._sides]
            self._tell(
                "ready",
                sides=sides,
                what="chat",
                sampling=Sampling().to_dict(),
                window=40_960,
                device="cuda:0",
            )
        else:
            self._compare()

    def _tell(self, kind: str, **fields: Any) -> None:
        self._told.append({"kind": kind, **fields})

    def _compare(self) -> None:
        before, after = ({"name": name, "words": f"the {name}"} for name in ("base", "result"))
        self._tell("ready", before=before, after=after, total=len(QUESTIONS))
        for number, (question, old, new) in enumerate(QUESTIONS):
            source = "yours" if number == 0 else "held out"
            self._tell(
                "answer", number=number, source=source, question=question, expected=None if number == 0 else new, before=old,
                after=new, before_stopped=number != 1, after_stopped=True, changed=True, row={},
            )  # fmt: skip

    def request(self, message: Message) -> None:
        """Answer every side at once."""
        if "cancel" in message:
            return
        number = message["id"]
        for side, prompt in enumerate(message["prompts"]):
            asked = prompt[-1]["content"]
            answers = next(
                (pair for question, *pair in QUESTIONS if question == asked),
                ["Hello!", "Hello! How can I help?"],
            )
            text = answers[0] if self._sides[side] == "base" else answers[1]
            count = len(text.split()) * 2
            self._tell("token", id=number, side=side, text=text, tokens=count, seconds=count / 40)
            self._tell(
                "answer", id=number, side=side, text=text, stopped=True, cancelled=False, tokens=count, tokens_per_second=40.0,
                dropped=0,
            )  # fmt: skip
        self._tell("done", id=number)

    def messages(self) -> Iterator[Message]:
        """What was told."""
        while self._told:
            yield self._told.popleft()

    def wait_for(self, kind: str) -> Message:
        """The next message of a kind."""
        return next(message for message in self.messages() if message["kind"] == kind)

    def close(self) -> None:
        """Nothing is held."""
        self.alive = False

    def ended(self) -> UserError:
        """It never ends by itself."""
        return UserError("The worker ended.", str(self.log), "This is a mistake in the tests.")


def finished(name: str = NAME) -> ToldRun:
    """A complete run with its result on disk."""
    run = ToldRun(name, 300, 300, 600)
    run.run.config.write_text(prepare(load(DEMO_RECIPE), None, name).yaml, encoding="utf-8")
    run.price()
    run.load()
    run.learn()
    run.complete()
    (run.run.adapter / WEIGHTS).write_bytes(bytes(2 * 2**20))
    return run


def proof(good: bool) -> Proof:
    """What the round trip of an export said."""
    checks = (
        Check("prompt as text", True, "8 of 8", "all"),
        Check("token ids", True, "8 of 8", "all"),
        Check("likeliest word", good, "98.9 %" if good else "61.2 %", "at least 95 %"),
        Check("stops by itself", good, "8 of 8" if good else "1 of 8", "all"),
    )
    if good:
        return Proof(
            "same",
            "Q4_K_M says what the trained model says.",
            "",
            "base and adapter in bfloat16",
            8,
            412,
            (Form("Q4_K_M", f"{NAME}-Q4_K_M.gguf", "same", checks),),
        )
    causes = (
        Cause(
            "The end-of-turn token is missing from the file, so it does not know when to stop.",
            "Export again; if it stays, choose the model's own template.",
        ),
    )
    form = Form(
        "Q4_K_M",
        f"{NAME}-Q4_K_M.gguf",
        "differs",
        checks,
        causes,
        {"prompt": QUESTIONS[1][0], "trained": QUESTIONS[1][2], "exported": QUESTIONS[1][1]},
    )
    return Proof(
        "differs",
        "Q4_K_M does not answer like the trained model.",
        "Do not use this file before you have done what stands below.",
        "base and adapter in bfloat16",
        8,
        412,
        (form,),
    )


def exported(run: RunDir, target: str = "gguf", good: bool = True) -> manifest.Export:
    """A finished export."""
    job = job_for(run, find_trained(run), target, ("Q4_K_M",) if target == "gguf" else ())
    job.final.mkdir(parents=True)
    name = f"{run.name}-Q4_K_M.gguf" if target == "gguf" else WEIGHTS
    (job.final / name).write_bytes(bytes(4 * 2**20))
    return manifest.write(job, job.final, MADE_AT, proof=asdict(proof(good)))


class Exporting:
    """Stands in for `engine.deliver.export.run_export.Exporting`: stops in the middle until it is told to go on."""

    go_on = threading.Event()
    good = True

    def __init__(
        self, run: RunDir, target: str, quants: tuple[str, ...] = (), options: Mapping[str, str] | None = None
    ) -> None:
        self.run = run

    def messages(self) -> Iterator[Message]:
        """Three steps; the last one waits."""
        for words in ("Checking the disk", "Merging base and adapter in bfloat16", "Converting to GGUF, F16"):
            yield {"kind": "step", "words": words}
        yield {"kind": "say", "words": "The base model is read from the cache of the Hugging Face Hub."}
        yield {"kind": "step", "words": "Making Q4_K_M"}
        yield {"kind": "progress", "done": 1_932_735_283, "total": 5_027_783_488}
        self.go_on.wait(60)

    def result(self) -> manifest.Export:
        """The export."""
        return exported(self.run, good=self.good)

    def cancel(self) -> None:
        """Go on, so that it ends."""
        self.go_on.set()

    close = cancel


SIZES = {quant.name: file_bytes(quant, 8_190_735_360, 1_244_659_712, 4096) for quant in QUANTS}


def choices(run: RunDir) -> list[Choice]:
    """Every form there is, one of them not possible, without asking which programs this machine has."""
    made = {export.folder.name: export for export in manifest.list_exports(run)}
    refusal = UserError("The model has no chat template.", run.name, "Give it one: --template chatml")
    targets = [find_target(name) for name in NAMES]
    return [
        Choice(one.name, one.title, one.help, refusal if one.name == "ollama" else None, made.get(one.name))
        for one in targets
    ]


def metric(
    name: str, title: str, unit: str, better: str, before: float, after: float, half: float, verdict: str
) -> report.Metric:
    """A line of the table, with an interval of twice `half`."""
    change = after - before
    return report.Metric(
        before, after, change, change - half, change + half, 57, 49, None,
        name=name, title=title, unit=unit, better=better, verdict=verdict,
    )  # fmt: skip


def evaluation(outcome: report.Outcome, words: list[str]) -> report.Report:
    """A whole evaluation on 57 rows."""
    rows = [
        report.Row(
            number, question, after, before, after if number else before, number != 1, True, bool(number),
            {"loss": [2.31, 0.98 + number], "f1": [0.21, 0.88 - number / 5]},
        )
        for number, (question, before, after) in enumerate(QUESTIONS)
    ]  # fmt: skip
    metrics = [
        metric("loss", "loss", "number", "down", 2.31, 0.979, 0.11, "better"),
        metric("exact_match", "exact match", "share", "up", 0.0, 0.491, 0.13, "better"),
        metric("f1", "token F1", "share", "up", 0.212, 0.774, 0.08, "better"),
        metric("stopped", "stops by itself", "share", "up", 0.947, 0.982, 0.05, "none"),
        metric("length", "tokens of an answer", "tokens", "", 61.0, 24.0, 6.0, ""),
    ]
    if outcome == "identical":
        metrics = [
            replace(one, after=one.before, difference=0.0, low=0.0, high=0.0, verdict="none")
            for one in metrics
        ]
    change = report.Change("different", "49 of 57 answers changed.", 0.031, 0.004, 0.86, 0.42)
    return report.Report(
        NAME, "sft", "base", "result", "57 held-out rows of support.jsonl", rows, metrics, "f1", outcome, words, change,
        {"metric": [2, 1, 0], "loss": [2, 1, 0]}, ["Exact match is strict: one other word counts as wrong."], {}, 74.0, NOW - 60,
    )  # fmt: skip
