"""Through the real llama.cpp: converted, quantized, loaded, and compared with transformers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_RECIPE
from engine.data.render import Renderer
from engine.deliver.export.gguf.runner import LlamaRunner
from engine.deliver.export.job import Job
from engine.deliver.export.targets import find_target
from engine.deliver.source import find_trained
from engine.run.layout import RunDir
from tests.deliver.exports_made import tuned_run
from tests.deliver.gguf.jobs import Listener, whole_model_job
from tests.deliver.gguf.tiny import FAMILIES, make_model
from tests.e2e.runs import finetui, run_dir

pytestmark = pytest.mark.gguf
_ASKED = [{"role": "user", "content": "What is the capital of France?"}]


def make(job: Job, into: Path) -> Listener:
    """The target's own work, without the core around it."""
    target = find_target(job.target)
    assert target.refuse(job) is None
    assert target.needs(job).disk_bytes > 0
    into.mkdir()
    told = Listener()
    target.make(job, into, told)
    return told


def reference(model: Path, ids: list[int]) -> Any:
    """Logits of transformers, (n, vocabulary)."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        return loaded(torch.tensor([ids])).logits[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_says_the_same_in_llama_cpp(family: str, tmp_path: Path) -> None:
    import numpy as np

    model = make_model(family, tmp_path / "model")
    job = whole_model_job(model, quants=("F16", "Q8_0"))
    made = tmp_path / "made"
    told = make(job, made)
    assert sorted(path.name for path in made.iterdir() if path.suffix == ".gguf") == [
        "owl-F16.gguf",
        "owl-Q8_0.gguf",
    ]
    assert not any("differently" in note for note in told.notes), told.notes
    renderer = Renderer(model)
    prompt = renderer.render(_ASKED, add_generation_prompt=True)
    ids = list(renderer.tokenizer.encode(prompt, add_special_tokens=False).ids)
    expected = reference(model, ids)
    for name, least in (("owl-F16.gguf", 0.9999), ("owl-Q8_0.gguf", 0.995)):
        with LlamaRunner(job.run, made / name) as llama:
            assert llama.tokenize([prompt]) == [ids]
            bos = renderer.named["bos_token"]
            assert llama.info.add_bos == prompt.startswith(bos)
            found = llama.logits(ids, tmp_path / "logits")[:, : expected.shape[1]]
            alike = (
                (found * expected).sum(-1)
                / np.linalg.norm(found, axis=-1)
                / np.linalg.norm(expected, axis=-1)
            )
            assert alike.min() > least, (name, alike.min())
            assert len(llama.greedy(ids, 8).ids) > 0


QUESTIONS = 8
ANSWER_TOKENS = 40


@pytest.fixture(scope="module")
def owl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """The embedded model after the demo's training."""
    before = os.environ.get("FINETUI_HOME")
    os.environ["FINETUI_HOME"] = str(tmp_path_factory.mktemp("home"))
    try:
        done = finetui("train", "-c", str(DEMO_RECIPE), "--name", "owl", timeout=600)
        assert done.returncode == 0, done.stderr
        yield run_dir("owl")
    finally:
        os.environ.pop("FINETUI_HOME")
        if before is not None:
            os.environ["FINETUI_HOME"] = before


def prompts() -> list[str]:
    """Held-out questions as the model sees them."""
    renderer = Renderer(DEMO_RECIPE.parent)
    rows = [json.loads(line) for line in (DEMO_RECIPE.parent / "questions.jsonl").read_text().splitlines()]
    return [
        renderer.render([{"role": "user", "content": row["question"]}], add_generation_prompt=True)
        for row in rows[:QUESTIONS]
    ]


def answers(run: RunDir, gguf: Path, adapter: Path | None = None) -> list[tuple[list[int], list[int], bool]]:
    """Prompt, greedy answer, and whether it stopped by itself."""
    found = []
    with LlamaRunner(run, gguf, adapter) as llama:
        for ids in llama.tokenize(prompts()):
            answer = llama.greedy(ids, ANSWER_TOKENS)
            found.append((ids, list(answer.ids), answer.stopped))
    return found


def agreement(
    run: RunDir, gguf: Path, texts: list[list[int]], expected: list[list[int]], adapter: Path | None = None
) -> float:
    """Share of tokens that both would write next, along the same texts."""
    same = total = 0
    with LlamaRunner(run, gguf, adapter) as llama:
        for ids, wanted in zip(texts, expected, strict=True):
            found = llama.next_tokens(ids)
            same += sum(one == other for one, other in zip(found, wanted, strict=True))
            total += len(ids)
    return same / total


@pytest.mark.xdist_group("owl")
def test_the_embedded_model_after_training(owl: RunDir, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trained = find_trained(owl)
    made, lora = tmp_path / "gguf", tmp_path / "lora"
    told = make(Job(owl, trained, "gguf", ("F16", "Q8_0", "Q4_K_M")), made)
    assert any("by the same rule as gpt-2" in note for note in told.notes)
    make(Job(owl, trained, "lora-gguf", ("F16",)), lora)
    assert not [path for path in (*made.iterdir(), *lora.iterdir()) if path.is_dir()]

    tokenizer = AutoTokenizer.from_pretrained(trained.path)
    model = AutoModelForCausalLM.from_pretrained(DEMO_RECIPE.parent, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, trained.path).merge_and_unload().eval()
    texts, nexts, learnt = [], [], []
    for prompt in prompts():
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.inference_mode():
            out = model.generate(
                ids, max_new_tokens=ANSWER_TOKENS, do_sample=False, eos_token_id=tokenizer.eos_token_id
            )
            texts.append(out[0].tolist())
            nexts.append(model(out).logits[0].argmax(-1).tolist())
        learnt.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert sum("Hoot" in text for text in learnt) >= QUESTIONS - 1

    for name, least in (("F16", 0.99), ("Q8_0", 0.99), ("Q4_K_M", 0.95)):
        gguf = made / f"owl-{name}.gguf"
        share = agreement(owl, gguf, texts, nexts)
        assert share >= least, (name, share)
        said = answers(owl, gguf)
        assert all(stopped for _, _, stopped in said), name
        if name != "Q4_K_M":
            assert [ids for _, ids, _ in said] == [
                text[len(ids) : -1] for text, (ids, _, _) in zip(texts, said, strict=True)
            ]
    adapter = lora / "owl-lora-F32.gguf"
    assert agreement(owl, lora / "owl-base-F16.gguf", texts, nexts, adapter) >= 0.99
    assert agreement(owl, lora / "owl-base-F16.gguf", texts, nexts) < 0.9  # without it, the base


def test_unusual_scaling_of_an_adapter_is_kept(tmp_path: Path) -> None:
    """rsLoRA and an alpha of its own for some matrices: llama.cpp knows alpha over rank only."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run, trained = tuned_run(
        make_model("llama", tmp_path / "base"),
        use_rslora=True,
        alpha_pattern={"q_proj": 32},
        rank_pattern={"v_proj": 8},
    )
    lora = tmp_path / "lora"
    make(Job(run, trained, "lora-gguf", ("F16",)), lora)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, trained.path).eval()
    ids = list(range(20, 60))
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    with LlamaRunner(run, lora / "tuned-base-F16.gguf", lora / "tuned-lora-F32.gguf") as llama:
        found = llama.logits(ids, tmp_path / "logits")[:, : expected.shape[1]]
        assert abs(found - expected).max() < 0.02 * abs(expected).max()


@pytest.mark.xdist_group("owl")
def test_ollama_files_from_the_adapter(owl: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    make(Job(owl, find_trained(owl), "ollama", ("Q8_0",)), tmp_path / "ollama")
    assert sorted(path.name for path in (tmp_path / "ollama").iterdir() if not path.name.startswith(".")) == [
        "Modelfile",
        "owl-Q8_0.gguf",
    ]
    make(Job(owl, find_trained(owl), "ollama", ("F16",), None, {"adapter": "yes"}), tmp_path / "two files")
    lines = (tmp_path / "two files" / "Modelfile").read_text().splitlines()
    assert lines[:2] == ["FROM ./owl-base-F16.gguf", "ADAPTER ./owl-lora-F32.gguf"]
    assert all((tmp_path / "two files" / line.partition("./")[2]).is_file() for line in lines[:2])
