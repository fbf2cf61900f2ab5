"""One and the same fine-tuning through several programs: their commands, and what is measured of each from outside."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from engine.run.events import EventReader, expand
from engine.run.layout import RunDir

DEMO = Path(__file__).resolve().parents[2] / "presets" / "demo"
RUN = "bench"
INTERVAL = 0.2  # seconds between two looks at memory
STEP = re.compile(r"\{'loss': ")


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained; the same for all.

    Attributes:
        model: A folder.
        dtype: Number format of the weights.
        rows: Conversations to learn from; an eighth as many are held out.
        batch: Conversations at once.
        accumulation: Batches of a step.
        epochs: Readings of the data.
        max_length: Tokens.
        learning_rate: Of the adapter.
        seed: Of all of them.
        lora_r: Rank of the adapter; its strength is twice that.
        warmup: Share of the steps in which the learning rate rises.
        cuda: A card trains.
    """

    model: Path = DEMO
    dtype: str = "float32"
    rows: int = 320
    batch: int = 8
    accumulation: int = 1
    epochs: int = 2
    max_length: int = 256
    learning_rate: float = 1e-3
    seed: int = 42
    lora_r: int = 16
    warmup: float = 0.05
    cuda: bool = False

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole job."""
        return -(-self.rows // (self.batch * self.accumulation)) * self.epochs


@dataclass(frozen=True, slots=True)
class Measured:
    """One training, seen from outside.

    Attributes:
        first_step: Seconds from the command to the end of the first step.
        training: Seconds from the end of the first step to the end of the last.
        wall: Seconds until the command has ended.
        peak: Most bytes of main memory of all its processes together.
        result: Folder of the adapter.
        tokens: Tokens seen, as the program itself counts them; None where it does not.
        card: Most bytes of the first card in use beyond what was in use before; 0 without one.
    """

    first_step: float
    training: float
    wall: float
    peak: int
    result: Path
    tokens: int | None
    card: int = 0


def write_chats(folder: Path, rows: int, seed: int = 7) -> None:
    """Short chats: one to five questions and answers of the demo, most of them one or two, in train.jsonl and test.jsonl."""
    lines = (DEMO / "train.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    chance = random.Random(seed)

    def chat() -> str:
        pairs = chance.sample(turns, min(5, int(chance.expovariate(1.0)) + 1))
        return json.dumps({"messages": [message for pair in pairs for message in pair]}) + "\n"

    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(chat() for _ in range(rows)), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(chat() for _ in range(rows // 8)), encoding="utf-8")


def finetui(job: Job, data: Path, place: Path) -> Measured:
    """``finetui train`` with what it chooses itself for everything that is not the job."""
    config = {
        "model": {"model_name_or_path": str(job.model), "dtype": job.dtype},
        "data": {
            "train": [{"path": str(data / "train.jsonl")}],
            "eval": [{"path": str(data / "test.jsonl")}],
        },
        "lora": {"lora_r": job.lora_r, "lora_alpha": 2 * job.lora_r},
        "training": {
            "max_length": job.max_length,
            "per_device_train_batch_size": job.batch,
            "gradient_accumulation_steps": job.accumulation,
            "learning_rate": job.learning_rate,
            "num_train_epochs": job.epochs,
            "warmup_ratio": job.warmup,
            "seed": job.seed,
        },
        "watch": {"eval_steps": job.steps, "save_steps": job.steps},
    }
    place.mkdir(parents=True)
    (place / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    argv = [sys.executable, "-m", "tui", "train", "-c", str(place / "run.yaml"), "--name", RUN, "--plain"]
    started = time.time()
    watched = _run(argv, place, {"FINETUI_HOME": str(place / "home")})
    run = RunDir(place / "home" / "runs" / RUN)
    points = [point for event in EventReader(run.events).read(1 << 26) for point in expand(event)]
    ends = [point["t"] for point in points if point["kind"] == "metric"]
    counts = [point["num_tokens"] for point in points if point.get("num_tokens")]
    tokens = int(counts[-1]) if counts else None
    return Measured(
        ends[0] - started, ends[-1] - ends[0], watched.wall, watched.peak, run.adapter, tokens, watched.card
    )


def trl(job: Job, data: Path, place: Path, *own: str) -> Measured:
    """``trl sft``: its defaults for everything that is not the job, unless ``own`` says otherwise."""
    given = {
        "model_name_or_path": job.model,
        "dtype": job.dtype,
        "dataset_name": data,
        "output_dir": place / "result",
        "assistant_only_loss": "true",
        "lora_r": job.lora_r,
        "lora_alpha": 2 * job.lora_r,
        "lora_target_modules": "all-linear",
        "max_length": job.max_length,
        "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": job.accumulation,
        "learning_rate": job.learning_rate,
        "num_train_epochs": job.epochs,
        "warmup_steps": job.warmup,
        "eval_strategy": "steps",
        "eval_steps": job.steps,
        "save_steps": job.steps,
        "logging_steps": 1,
        "seed": job.seed,
        "report_to": "none",
        "disable_tqdm": "true",
    }
    if not job.cuda:
        given["use_cpu"] = "true"
    place.mkdir(parents=True)
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    argv = [str(Path(sys.executable).with_name("trl")), "sft", "--use_peft", *options, *own]
    return _printed(argv, place)


def plain(job: Job, data: Path, place: Path) -> Measured:
    """transformers' Trainer with PEFT, in its own process."""
    place.mkdir(parents=True)
    given = {name: getattr(job, name) for name in (*Job.__slots__, "steps")} | {
        "model": str(job.model),
        "data": str(data),
        "output": str(place / "result"),
        "lora_alpha": 2 * job.lora_r,
    }
    (place / "job.json").write_text(json.dumps(given), encoding="utf-8")
    return _printed([sys.executable, "-m", "tests.bench.plain_trainer", str(place / "job.json")], place)


@dataclass(slots=True)
class _Watched:
    wall: float = 0.0
    peak: int = 0
    card: int = 0
    lines: list[tuple[float, str]] | None = None


def _printed(argv: list[str], place: Path) -> Measured:
    """A program that prints a line at each step."""
    watched = _run(argv, place, {"HF_DATASETS_CACHE": str(place / "cache"), "PYTHONUNBUFFERED": "1"})
    lines = watched.lines or []
    ends = [at for at, line in lines if STEP.match(line)]
    counted = [found for _, line in lines if (found := re.search(r"'num_tokens': '?([\d.e+]+)", line))]
    tokens = int(float(counted[-1][1])) if counted else None
    return Measured(
        ends[0], ends[-1] - ends[0], watched.wall, watched.peak, place / "result", tokens, watched.card
    )


def _run(argv: list[str], place: Path, env: dict[str, str]) -> _Watched:
    """Run a command to its end; with the time of each line it prints, and the memory of it and of all it started.

    Raises:
        RuntimeError: It failed.
    """
    watched = _Watched(lines=[])
    assert watched.lines is not None
    started = time.perf_counter()
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", **env},
    )
    looking = threading.Thread(target=_look, args=(child.pid, place, watched), daemon=True)
    looking.start()
    assert child.stdout is not None
    for line in child.stdout:
        watched.lines.append((time.perf_counter() - started, line))
    code = child.wait()
    watched.wall = time.perf_counter() - started
    looking.join()
    if code:
        raise RuntimeError(
            f"{' '.join(argv[:4])} failed:\n" + "".join(line for _, line in watched.lines[-30:])
        )
    return watched


def _look(pid: int, place: Path, watched: _Watched) -> None:
    """Add up the memory of a process, its descendants, and a supervisor that left the family, until the first has ended."""
    record = place / "home" / "runs" / RUN / "process.json"
    before = _card_used()
    while True:
        try:
            family = [psutil.Process(pid)]
            if family[0].status() == psutil.STATUS_ZOMBIE:
                return
            if record.exists():
                known = json.loads(record.read_text(encoding="utf-8"))
                family += [psutil.Process(known["supervisor"]["pid"])]
        except (psutil.NoSuchProcess, ValueError, KeyError, TypeError):
            if not psutil.pid_exists(pid):
                return
        watched.peak = max(watched.peak, _memory(family))
        watched.card = max(watched.card, _card_used() - before)
        time.sleep(INTERVAL)


def _card_used() -> int:
    """Bytes of the first card in use by all programs; 0 without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)
    except pynvml.NVMLError:
        return 0


def _memory(family: list[psutil.Process]) -> int:
    found: dict[int, int] = {}
    for process in family:
        try:
            for one in (process, *process.children(recursive=True)):
                found[one.pid] = one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return sum(found.values())


def judge(job: Job, data: Path, results: list[Path]) -> tuple[int, list[float]]:
    """The same measure for all: mean loss over the learnt tokens of the held-out chats.

    Returns:
        Learnt tokens of the training chats, and the loss of each adapter.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.train.tokens import IGNORED, tokenize

    def rows(name: str) -> Any:
        lines = (data / name).read_text(encoding="utf-8").splitlines()
        return tokenize([json.loads(line) for line in lines], tokenizer, job.max_length, True)

    tokenizer = AutoTokenizer.from_pretrained(job.model)
    held_out, found = rows("test.jsonl").rows, []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for result in results:
        base = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, str(result)).to(device).eval()
        total = count = 0.0
        for row in held_out:
            ids, labels = (torch.tensor([row[key]], device=device) for key in ("input_ids", "labels"))
            with torch.inference_mode():
                logits = model(input_ids=ids).logits
            target = labels[:, 1:].flatten()
            total += float(
                torch.nn.functional.cross_entropy(
                    logits[0, :-1].float(), target, ignore_index=IGNORED, reduction="sum"
                )
            )
            count += float((target != IGNORED).sum())
        found.append(total / count)
    return rows("train.jsonl").trained, found
