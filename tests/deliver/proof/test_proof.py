"""The proof finds what is planted, names it, and lets what is right pass. Through transformers, on the embedded model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from engine.deliver.export import core
from engine.deliver.export.job import Cancelled, Job, Tell
from engine.deliver.export.targets import find_target
from engine.deliver.prompts import Prompt
from engine.deliver.proof import prove
from engine.deliver.proof.bounds import gguf_bound, model_bound, noise, quant_of
from engine.deliver.proof.judge import Kind, judge
from engine.deliver.proof.run_proof import _verdict
from engine.deliver.proof.seen import Case, Reference, Stops
from engine.deliver.proof.table import lines
from engine.deliver.proof.types import of_json
from tests.deliver.exports_made import Told
from tests.deliver.proof import plants

pytestmark = pytest.mark.xdist_group("proof")


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Job, Path]]:
    """A merged model in float32, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUI_HOME", str(tmp_path_factory.mktemp("home")))
        job = plants.demo_job(dtype="float32")
        yield job, plants.made(job, tmp_path_factory.mktemp("exports") / "merged")


@pytest.fixture
def copy(merged: tuple[Job, Path], tmp_path: Path) -> Path:
    """A merged model in which something may be planted."""
    return Path(shutil.copytree(merged[1], tmp_path / "merged"))


def test_what_is_right_passes_and_lies_beside_the_files(merged: tuple[Job, Path], copy: Path) -> None:
    proof, told = plants.proved(merged[0], copy)
    assert proof.verdict == "same", proof
    checks = {check.name: check for check in proof.forms[0].checks}
    assert set(checks) == {
        "prompt text", "token ids", "greedy tokens", "logits", "stops by itself", "stop tokens", "pad token",
    }  # fmt: skip
    assert all(check.passed for check in checks.values())
    assert checks["logits"].wanted == "at most 0.001"
    assert proof.prompts >= 3
    assert proof.positions >= 30
    text = (copy / "PROOF.md").read_text()
    assert "merged, float32: same" in text
    assert "Trained model:" in text
    assert not told.said
    assert not (copy / ".proof-work").exists()
    assert of_json(json.loads(json.dumps(asdict(proof)))) == proof


def test_bfloat16_keeps_its_stated_bound(merged: tuple[Job, Path], tmp_path: Path) -> None:
    job = replace(merged[0], options={"dtype": "bfloat16"})
    proof, _ = plants.proved(job, plants.made(job, tmp_path / "merged"))
    assert proof.verdict == "same", proof
    assert proof.forms[0].name == "merged, bfloat16"
    assert proof.forms[0].checks[3].wanted.endswith("%")


def test_the_adapter_over_its_base(merged: tuple[Job, Path], tmp_path: Path) -> None:
    job = replace(merged[0], target="adapter")
    folder = plants.made(job, tmp_path / "adapter")
    assert plants.proved(job, folder)[0].verdict == "same"
    plants.wrong_template(folder)
    proof, _ = plants.proved(job, folder)
    assert (proof.verdict, "prompt text" in plants.failed(proof)) == ("differs", True)


@pytest.mark.parametrize(
    ("plant", "checks", "words"),
    [
        (
            plants.wrong_template,
            {"prompt text", "token ids"},
            "The chat template differs from that of training",
        ),
        (plants.doubled_bos, {"prompt text", "token ids"}, "The start token <|endoftext|>"),
        (plants.pad_is_eos, {"pad token"}, "The pad token is the end token"),
        (
            plants.other_stop_token,
            {"stop tokens", "stops by itself"},
            "The stop token <|im_end|>, with which",
        ),
        (plants.renamed_stop_token, {"token ids", "stop tokens"}, "The stop token was renamed"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_planted_is_named(
    merged: tuple[Job, Path], copy: Path, plant: plants.Plant, checks: set[str], words: str
) -> None:
    plant(copy)
    proof, told = plants.proved(merged[0], copy)
    assert proof.verdict == "differs"
    assert checks <= plants.failed(proof), proof.forms[0].checks
    assert words in plants.causes(proof), plants.causes(proof)
    assert told.said[0].startswith("CHECK FAILED.")
    assert "How to fix it:" in told.said[0]
    shown = "\n".join(lines(proof, 80))
    assert "✗" in shown
    assert "Likely cause:" in shown
    assert "FAILED" in (copy / "PROOF.md").read_text()


def test_other_weights_are_noticed(merged: tuple[Job, Path], copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = next(copy.glob("*.safetensors"))
    tensors = load_file(path)
    name = next(name for name in tensors if "layers.0" in name and "down_proj" in name)
    tensors[name] = tensors[name].roll(1, 0).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    proof, _ = plants.proved(merged[0], copy)
    assert "logits" in plants.failed(proof)
    assert "The weights differ" in plants.causes(proof)


def test_a_damaged_model_differs_and_a_lost_base_only_leaves_it_unchecked(
    merged: tuple[Job, Path], copy: Path
) -> None:
    job = merged[0]
    model = job.trained.config.model.model_copy(update={"model_name_or_path": "/nowhere/model"})
    config = job.trained.config.model_copy(update={"model": model})
    gone, told = plants.proved(replace(job, trained=replace(job.trained, config=config)), copy)
    assert gone.verdict == "not run"
    assert "no longer where it was" in gone.words
    assert told.said[0].startswith("Not checked:")
    next(copy.glob("*.safetensors")).write_bytes(b"broken")
    proof, _ = plants.proved(job, copy)
    assert proof.verdict == "differs"
    assert plants.failed(proof) == {"loads"}


def test_without_llama_cpp_it_is_said_and_never_passes(
    merged: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    proof, told = plants.proved(replace(merged[0], target="gguf"), tmp_path)
    assert proof.verdict == "not run"
    assert "pip install" in told.said[0]


def test_the_manifest_is_marked(
    merged: tuple[Job, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = find_target("adapter")

    def make(job: Job, into: Path, tell: Tell) -> None:
        target.make(job, into, tell)
        plants.pad_is_eos(into)

    monkeypatch.setattr(core, "find_target", lambda name: replace(target, make=make))
    job = replace(merged[0], target="adapter", options={})
    made = core.export(job, Told())
    assert made.proof is not None
    assert made.proof["verdict"] == "differs"
    assert any("CHECK FAILED" in note for note in made.notes)
    assert "PROOF.md" in {file.path for file in made.files}
    from engine.cli.export_status import status_lines
    from engine.deliver.at_home import standing

    assert "CHECK FAILED: differs" in "\n".join(status_lines(job.run, standing(job.run)))


def test_cancel_ends_it(merged: tuple[Job, Path], copy: Path) -> None:
    class Stop(Told):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        prove(merged[0], copy, Stop())
    assert not (copy / "PROOF.md").exists()


def test_the_stated_bounds() -> None:
    assert model_bound("float32", "float32", 32).exact == 1e-3
    assert model_bound("bfloat16", "bfloat16", 32).spread == 2 * noise("bfloat16", 32)
    assert model_bound("bfloat16", "bfloat16", 32, "4bit").tokens == 0.90
    assert [gguf_bound(name, 4).tokens for name in ("F16", "Q8_0", "Q4_K_M")] == [0.99, 0.99, 0.95]
    assert quant_of("my owl-Q4_K_M.gguf") == "Q4_K_M"
    assert quant_of("owl.gguf") == ""


def test_a_form_that_could_be_asked_nothing_is_not_called_the_same() -> None:
    prompt = Prompt("held out", [{"role": "user", "content": "Weather?"}], tools=[{"name": "weather"}])
    case = Case(prompt, "Weather?", (1, 2), (3,), True, "", np.zeros((1, 4), np.float32))
    asked = Reference([case], "the trained model", "float32", 2, "", False, "", -1, {3: "<end>"}, None)
    form = judge(
        Kind("Ollama, Q8_0", "owl.gguf", gguf_bound("Q8_0", 2), False), asked, [None], Stops(frozenset(), {})
    )
    assert form.verdict == "not run"
    proof = _verdict(asked, [form])
    assert proof.verdict == "not run"
    assert "every prompt has tools" in proof.words
