"""Runs that tell a whole story, for pictures: the same numbers every time, at times before the clock of the stage."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

from engine.run import atomic
from tests.captures.stage import NOW
from tests.machine.builders import CARD, GIB
from tests.tui.made_runs import MadeRun

CONFIG = """\
model: {{model_name_or_path: {model}, load_in_4bit: true, dtype: bfloat16}}
data: {{train: [{{path: /home/you/data/support.jsonl}}]}}
training: {{max_length: 2048, per_device_train_batch_size: 4, learning_rate: {rate}}}
"""
QUESTIONS = (
    ("My parcel is late. What can I do?", "You should contact the seller of the item or the carrier to find out where your parcel is.",
     "I am sorry about that. Please tell me your order number, it begins with A-."),
    ("Can I send the lamp back?", "It depends on the return policy of the store where you bought the lamp.",
     "Yes, within 30 days. The label is in the box; stick it over the old one."),
    ("请问什么时候发货？", "您好，请提供订单号。", "我们会在两个工作日内发货。 📦"),
)  # fmt: skip


class ToldRun(MadeRun):
    """A run whose clock goes on with its steps.

    Args:
        name: Its name.
        max_steps: How many steps it plans.
        ended: Seconds before now at which the last of `steps` is done.
        steps: How many it has done.
        seconds: That a step takes.
        method: As the header of its events says it.
        model: Of the Hub.
        rate: Its learning rate, in run.yaml.
    """

    def __init__(
        self, name: str, max_steps: int, steps: int, ended: float = 0.0, seconds: float = 6.0,
        method: str = "SFT, QLoRA 4-bit", model: str = "Qwen/Qwen3-8B",
        rate: str = "2e-4",
    ) -> None:  # fmt: skip
        self.t = NOW - ended - steps * seconds - 90
        super().__init__(name, max_steps, lambda: self.t)
        self.run.config.write_text(CONFIG.format(model=model, rate=rate))
        self.seconds, self.done, self.method, self.model = seconds, steps, method, model
        self.noise = random.Random(name)
        self.say = self.writer.emit

    def load(self, eval_rows: int = 57) -> None:
        """Everything before the first step."""
        self.say("phase", phase="starting", words="Starting.")
        self.t += 4
        header = {"model": self.model, "method": self.method, "dataset": "support.jsonl"}
        self.say("phase", phase="loading data", words="Reading the dataset.", **header)
        self.t += 6
        self.say(
            "phase",
            phase="data loaded",
            words="1,143 rows to learn from, 57 held out.",
            train_rows=1143,
            eval_rows=eval_rows,
        )
        self.say("phase", phase="loading model", words=f"Loading the model {self.model}.")

    def learn(
        self,
        first: int = 1,
        last: int | None = None,
        fall: float = 90.0,
        heal: int | None = None,
        extra: Mapping[str, Callable[[float, random.Random], float]] | None = None,
    ) -> None:
        """Train from one step to another, with evaluations, checkpoints and memory on the way."""
        last = self.done if last is None else last
        if first == 1:
            self.t += 80
            self.train()
            self.evaluate(0, 2.31)
            for prompt, before, _ in QUESTIONS:
                self.say("sample", when="before", step=0, prompt=prompt, text=before, stopped=True)
        best = 9.0
        for step in range(first, last + 1):
            self.t += self.seconds
            loss = 0.78 + 1.45 * math.exp(-step / fall) + self.noise.gauss(0, 0.05)
            warm = min(1.0, step / (0.05 * self.max_steps))
            rate = 2e-4 * warm * (0.5 + 0.5 * math.cos(math.pi * step / self.max_steps))
            more = {key: value(step / self.max_steps, self.noise) for key, value in (extra or {}).items()}
            self.step(
                step, loss=round(loss, 4), grad_norm=round(0.9 + abs(self.noise.gauss(0, 0.25)), 3), learning_rate=rate,
                epoch=round(3 * step / self.max_steps, 3), tokens_per_second=1240.0 + self.noise.randrange(-60, 60), **more,
            )  # fmt: skip
            if step % 5 == 0:
                self.hold(step, 10.6 if heal is None or step > heal else 12.1)
            if step == heal:
                words = "Out of memory on a batch of 2,048-token rows: batch size 4 → 2, accumulation 4 → 8, so a step sees as many rows."
                self.say(
                    "change",
                    why="out of memory",
                    step=step,
                    before={"per_device_train_batch_size": 4},
                    after={"per_device_train_batch_size": 2},
                    words=words,
                )
            if step % 100 == 0:
                held_out = 0.86 + 1.4 * math.exp(-step / fall) + (0.0004 * step)
                self.evaluate(step, round(held_out, 4), held_out < best)
                best = min(best, held_out)
                self.say("checkpoint", step=step, path=f"checkpoints/checkpoint-{step}")
                for prompt, _, after in QUESTIONS:
                    self.say("sample", when="during", step=step, prompt=prompt, text=after, stopped=True)

    def hold(self, step: int, gigabytes: float) -> None:
        """A memory sample."""
        card = {
            "index": 0, "mig_index": None, "memory_used": int(gigabytes * GIB), "memory_total": 24 * GIB,
            "utilization": 93 + self.noise.randrange(6), "temperature": 66 + min(6, step // 10), "power_watts": 300.0 + self.noise.randrange(24),
            "problem": None,
        }  # fmt: skip
        held = {
            "torch_allocated": int((gigabytes - 2.1) * GIB),
            "torch_reserved": int((gigabytes - 1.0) * GIB),
        }
        self.memory(card, **held, torch_peak_allocated=int((gigabytes - 1.6) * GIB))

    def price(self, per_hour: float = 0.69) -> None:
        """What an hour of its machine costs, and the card it trains on."""
        atomic.write_json(
            self.run.launch, {"price_per_hour": per_hour, "env": {"CUDA_VISIBLE_DEVICES": CARD.uuid}}
        )

    def over(self, state: str, cause: str) -> None:
        """It ended like this, now."""
        if state == "stopped" or state == "paused":
            self.say("finished", outcome=state, step=self.done, words=cause)
        atomic.write_json(
            self.run.exit, {"state": state, "cause": cause, "started": self.t - 60, "ended": self.t}
        )
        self.die()

    def complete(self) -> None:
        """It has come to its end, with a result."""
        for prompt, _, after in QUESTIONS:
            self.say("sample", when="after", step=self.max_steps, prompt=prompt, text=after, stopped=True)
        self.run.adapter.mkdir(exist_ok=True)
        (self.run.adapter / "adapter_config.json").write_text("{}")
        words = "Training is complete."
        self.say(
            "finished",
            outcome="completed",
            step=self.max_steps,
            eval_loss=0.979,
            path="adapter",
            seconds=self.max_steps * self.seconds,
            words=words,
        )
        self.over("finished", words)
