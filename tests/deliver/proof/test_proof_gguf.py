"""The proof through the real llama.cpp: what is right passes, what was planted is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.deliver.export.job import Job
from tests.deliver.gguf.jobs import whole_model_job
from tests.deliver.gguf.tiny import FAMILIES, make_model
from tests.deliver.proof import plants

pytestmark = [pytest.mark.gguf, pytest.mark.xdist_group("proof")]


@pytest.fixture
def job() -> Job:
    return plants.demo_job("gguf", ("F16",))


def test_gguf_lora_and_ollama_answer_like_the_trained_model(job: Job, tmp_path: Path) -> None:
    for target, quants, names in (
        ("gguf", ("Q4_K_M", "F16", "Q8_0"), ["F16", "Q8_0", "Q4_K_M"]),
        ("lora-gguf", ("F16",), ["F16 with the LoRA over it"]),
        ("ollama", ("Q8_0",), ["Ollama, Q8_0"]),
    ):
        asked = replace(job, target=target, quants=quants)
        proof, _ = plants.proved(asked, plants.made(asked, tmp_path / target))
        assert proof.verdict == "same", proof
        assert [form.name for form in proof.forms] == names
        assert proof.forms[0].checks[3].passed is True  # logits of the finest form are bounded


@pytest.mark.parametrize(
    ("plant", "check", "words"),
    [
        (plants.wrong_template, "prompt text", "The chat template differs from that of training"),
        (plants.doubled_bos, "token ids", "The start token <|endoftext|> is put in front of every prompt"),
        (plants.pad_is_eos, "pad token", "The pad token is the end token"),
        (plants.renamed_stop_token, "stop tokens", "The stop token was renamed"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_planted_is_named(
    job: Job, tmp_path: Path, plant: plants.Plant, check: str, words: str
) -> None:
    proof, told = plants.proved(job, plants.made_from(job, plant, tmp_path / "gguf"))
    assert proof.verdict == "differs"
    assert check in plants.failed(proof), proof.forms[0].checks
    assert words in plants.causes(proof), plants.causes(proof)
    assert told.said[0].startswith("CHECK FAILED.")


def test_a_modelfile_that_writes_the_start_token_too_doubles_it(job: Job, tmp_path: Path) -> None:
    """Training with a start token: the file has llama.cpp write it, so the Modelfile must not."""
    plants.doubled_bos(job.trained.path)
    job = replace(job, target="ollama")
    folder = plants.made(job, tmp_path / "ollama")
    proof, _ = plants.proved(job, folder)
    assert not plants.failed(proof) & {"prompt text", "token ids"}, proof
    modelfile = folder / "Modelfile"
    modelfile.write_text(modelfile.read_text().replace('TEMPLATE """', 'TEMPLATE """<|endoftext|>'))
    proof, _ = plants.proved(job, folder)
    assert proof.verdict == "differs"
    assert "is there twice (a doubled BOS)" in plants.causes(proof)


def test_a_lora_alone_is_said_to_be_unchecked(job: Job, tmp_path: Path) -> None:
    job = replace(job, target="lora-gguf", quants=())
    proof, _ = plants.proved(job, plants.made(job, tmp_path / "lora"))
    assert proof.verdict == "not run"
    assert "--quant F16" in proof.fix


def test_a_broken_file_differs(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "owl-F16.gguf").write_bytes(b"GGUF broken")
    proof, _ = plants.proved(job, folder)
    assert proof.verdict == "differs"
    assert plants.failed(proof) == {"loads"}


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_and_tokens_of_each_family(family: str, tmp_path: Path) -> None:
    """Random models answer nonsense; what they are sent must be right all the same, through Ollama too."""
    job = whole_model_job(make_model(family, tmp_path / "model"), "ollama", ("F16",))
    proof, _ = plants.proved(job, plants.made(job, tmp_path / "ollama"))
    assert proof.verdict == "same", proof
    assert proof.forms[0].checks[0].found == f"{proof.prompts} of {proof.prompts} identical"
