"""Real models are measured: the embedded one against adapters that were trained, never trained, or are noise."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.config.loading import load
from engine.deliver import eval_worker
from engine.deliver.evaluate.report import Report, newest
from engine.deliver.evaluate.run_evaluate import Evaluate, Finished, Progress, Started, Wanted
from engine.errors import UserError
from engine.run.layout import RunDir
from tests.deliver.chat_runs import made_run
from tests.deliver.test_evaluate_judge import Court
from tests.e2e.in_process import train
from tests.e2e.runs import finetui

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chat")]  # they load the same libraries


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    before = os.environ.get("FINETUI_HOME")
    os.environ["FINETUI_HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.pop("FINETUI_HOME")
        if before is not None:
            os.environ["FINETUI_HOME"] = before


def with_adapter(name: str, recipe: str, noise: bool) -> RunDir:
    """A run whose adapter is noise, or as it was before the first step."""
    import torch
    from peft import LoraConfig, get_peft_model

    from engine.train.model import load_model, load_tokenizer
    from engine.train.tokens import prepare_tokenizer

    run = made_run(name, (), recipe)
    config = load(run.config)
    scores = config.method.objective == "reward"
    model = load_model(config, "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM")
    torch.manual_seed(1)
    task = "SEQ_CLS" if scores else "CAUSAL_LM"
    adapter = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=not noise, task_type=task)
    trained = get_peft_model(model, adapter)
    with torch.no_grad():
        for key, weight in trained.named_parameters():
            if "lora_B" in key:
                weight *= 10
    trained.save_pretrained(str(run.adapter))
    tokenizer = load_tokenizer(config)
    prepare_tokenizer(
        tokenizer,
        config.template.chat_template,
        config.method.objective != "cpt",
        config.model.model_name_or_path,
    )
    tokenizer.save_pretrained(str(run.adapter))
    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run that was trained for a moment."""
    home = tmp_path_factory.mktemp("eval-home")
    with at_home(home):
        train("sft-lora", {"max_steps": 8, "save_steps": 4, "eval_steps": 8, "sample_prompts": "[]"}, "owl")
    return home


@pytest.fixture
def owl(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("FINETUI_HOME", str(home))
    return RunDir(home / "runs" / "owl")


@pytest.fixture
def court() -> Iterator[Court]:
    with Court() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval_worker, "input_ended", threading.Event)


def measured(run: RunDir, **wanted: Any) -> Report:
    """The worker's own code, in this process."""
    evaluate = Evaluate(run, Wanted(**wanted))
    channel = io.StringIO()
    opened: list[Any] = []
    try:
        eval_worker._evaluate(channel, run, evaluate._options(evaluate.check()), opened)
    finally:
        for one in opened:
            one.close()
    messages = [json.loads(line) for line in channel.getvalue().splitlines()]
    assert messages[-1]["kind"] == "report"
    return Report.from_dict(messages[-1]["report"])


def test_a_trained_model_is_better_and_the_numbers_are_the_same_twice(
    owl: RunDir,
    alone: None,
    court: Court,
    tmp_path: Path,
) -> None:
    code = tmp_path / "mine.py"
    code.write_text("def score(prompt, answer, reference):\n    return len(answer) > 5\n")
    first = measured(
        owl,
        limit=12,
        metrics=["loss", "auto"],
        function=code,
        judge=court.url,
        judge_model="wise",
        max_new_tokens=24,
    )
    by_name = {metric.name: metric for metric in first.metrics}
    assert first.change.kind == "different"
    assert by_name["loss"].verdict == "better"
    assert by_name["loss"].before > 6 > 5 > by_name["loss"].after
    assert by_name["perplexity"].before == pytest.approx(2.71828 ** by_name["loss"].before, rel=1e-4)
    assert set(by_name) >= {"function", "judge", "exact_match", "token_f1", "rougeL", "stops", "length"}
    assert first.primary == "function"
    assert "The judge compared" in first.notes[-1]
    assert first.data == "12 of 40 held-out rows"
    again = measured(owl, limit=12, metrics=["loss", "auto"], max_new_tokens=24)
    assert again.primary == "loss"
    assert again.outcome == "better"
    same = {metric.name: metric for metric in again.metrics}
    assert all(same[name] == metric for name, metric in by_name.items() if name in same)
    assert [(row.before, row.after) for row in again.rows] == [(row.before, row.after) for row in first.rows]
    losses = [again.rows[number].scores["loss"][1] for number in again.worst["loss"]]
    assert losses == sorted(losses, key=lambda loss: -(loss or 0))


def test_the_loss_is_that_of_the_trainer(owl: RunDir, alone: None) -> None:
    told = [json.loads(line) for line in owl.events.read_text().splitlines()]
    last = [event["eval_loss"] for event in told if event["kind"] == "evaluation"][-1]
    (loss,) = measured(owl, metrics=["loss"], limit=0).metrics
    assert loss.rows == 40
    assert loss.after == pytest.approx(last, rel=0.02)  # the trainer takes the mean of means of batches


def test_a_checkpoint_against_the_result(owl: RunDir, alone: None) -> None:
    found = measured(owl, which="result", against="4", metrics=["loss"], limit=12)
    assert (found.before, found.after, found.outcome) == ("checkpoint-4", "result", "better")


def test_rows_that_were_learnt_are_never_measured(owl: RunDir, alone: None, tmp_path: Path) -> None:
    from engine.config.draft import DEMO

    lines = (DEMO / "train.jsonl").read_text().splitlines()
    learnt = tmp_path / "learnt.jsonl"
    held_out = {row.question for row in measured(owl, metrics=["loss"], limit=0).rows}
    rows = [line for line in lines if json.loads(line)["messages"][0]["content"] not in held_out]
    learnt.write_text("\n".join(rows[:20]))
    with pytest.raises(UserError) as error:
        measured(owl, metrics=["loss"], data=learnt)
    assert "are in the training data" in error.value.what
    mixed = tmp_path / "mixed.jsonl"
    fresh = {
        "messages": [{"role": "user", "content": "New?"}, {"role": "assistant", "content": "Hoot hoot! New."}]
    }
    mixed.write_text("\n".join([*rows[:5], json.dumps(fresh)]))
    found = measured(owl, metrics=["loss"], data=mixed)
    assert [row.question for row in found.rows] == ["New?"]
    assert "5 of the 6 rows" in found.notes[0]


def test_an_adapter_that_learnt_nothing_is_identical(owl: RunDir, alone: None) -> None:
    found = measured(with_adapter("still", "sft-lora", noise=False), limit=8)
    assert found.outcome == "identical"
    assert found.change.kind == "identical"
    assert found.change.lora_b == 0
    assert "nothing but zeros" in found.words[0]
    assert not any(row.changed for row in found.rows)


def test_a_broken_adapter_is_worse_and_a_broken_function_leaves_the_rest(
    owl: RunDir, alone: None, tmp_path: Path
) -> None:
    code = tmp_path / "mine.py"
    code.write_text("def score(prompt, answer, reference):\n    return 1 / 0\n")
    found = measured(
        with_adapter("noise", "sft-lora", noise=True),
        limit=8,
        function=code,
        max_new_tokens=16,
        metrics=["token_f1"],
    )
    assert found.outcome == "worse"
    assert found.notes[0].startswith("Your function is left out.")
    assert "function" not in {metric.name for metric in found.metrics}


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("dpo-lora", {"moved_right", "preference", "loss"}),
        ("kto-lora", {"moved_right", "loss"}),
        ("reward-lora", {"accuracy", "margin"}),
        ("grpo-lora", {"reward", "numeric"}),
        ("cpt-lora", {"loss", "perplexity"}),
    ],
)
def test_every_objective_has_its_own_numbers(owl: RunDir, alone: None, recipe: str, names: set[str]) -> None:
    run = with_adapter(recipe, recipe, noise=True)
    found = measured(run, limit=6, max_new_tokens=8)
    assert names <= {metric.name for metric in found.metrics}
    assert found.change.kind == "different"
    moved = next((metric for metric in found.metrics if metric.name == "moved_right"), None)
    assert moved is None or moved.before == 0.5


@pytest.mark.thorough
def test_a_training_without_effect_is_told_on_the_command_line(tmp_path: Path) -> None:
    train("sft-lora", {"max_steps": 2, "save_steps": 2, "eval_steps": 2, "learning_rate": 1e-9}, "still")
    out = tmp_path / "found.json"
    done = finetui("eval", "still", "--limit", "6", "--metrics", "exact_match,loss", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "No difference: the two models are identical." in done.stdout
    assert "The learning rate was 1e-09" in done.stdout
    assert "Answers of result (6) ..." in done.stderr
    found = Report.from_dict(json.loads(out.read_text()))
    assert newest(RunDir(Path(os.environ["FINETUI_HOME"]) / "runs" / "still")) == found


@pytest.mark.thorough
def test_the_whole_demo_is_better() -> None:
    train("sft-lora", {}, "demo")
    done = finetui("eval", "demo", "--json")
    found = Report.from_dict(json.loads(done.stdout))
    assert found.outcome == "better"
    assert found.main is not None
    assert (found.main.name, found.main.before) == ("exact_match", 0)
    assert found.main.after >= 0.9


@pytest.mark.thorough
def test_it_can_be_cancelled(owl: RunDir) -> None:
    evaluate = Evaluate(owl)
    came = []
    for one in evaluate.results():
        came.append(one)
        if isinstance(one, Progress):
            evaluate.close()
    assert isinstance(came[0], Started)
    assert not any(isinstance(one, Finished) for one in came)
    assert evaluate._worker is not None
    assert not evaluate._worker.alive


def test_batches_that_are_too_large_are_cut_and_give_the_same(
    owl: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.deliver.evaluate.likelihood import likelihoods
    from engine.deliver.evaluate.sequences import Masked
    from engine.deliver.loading import load_sides
    from engine.deliver.source import find_trained

    sides, _ = load_sides([find_trained(owl, "base"), find_trained(owl)])
    sequences = [Masked([5, 6, 7, 8 + n], [-100, 6, -100, 8 + n]) for n in range(5)]
    sequences.append(Masked(list(range(3, 60)), list(range(3, 60))))
    together = likelihoods(sides, sequences)
    sizes: list[int] = []
    model = sides[0].model
    forward = model.forward

    def narrow(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(**given)

    monkeypatch.setattr(model, "forward", narrow)
    cut = likelihoods(sides, sequences)
    assert max(sizes) > 2
    assert [one.tokens for one in cut] == [2, 2, 2, 2, 2, 56]
    for one, other in zip(cut, together, strict=True):
        assert one.nll == pytest.approx(other.nll, rel=1e-4)
        assert one.kl == pytest.approx(other.kl, rel=1e-3)
    assert likelihoods(sides, sequences, cancelled=lambda: True) == []
