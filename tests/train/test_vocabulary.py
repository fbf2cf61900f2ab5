"""New tokens get rows that begin sensibly and are trained, with tied embeddings and with two separate ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_DATA, DEMO_MODEL, DEMO_RECIPE
from engine.config.loading import load
from engine.config.resolve import Facts, resolve
from engine.errors import UserError
from engine.train import model as loading
from engine.train.objectives import core
from engine.train.tokens import prepare_tokenizer, tokenize
from engine.train.vocabulary import fit_vocabulary


def untied(folder: Path) -> str:
    """A tiny model with separate input and output embeddings and the demo's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=1280, tie_word_embeddings=False, eos_token_id=2, bos_token_id=0, pad_token_id=3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    return str(folder)


@pytest.fixture(params=["tied", "untied"])
def model_name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return DEMO_MODEL if request.param == "tied" else untied(tmp_path / "model")


def test_new_rows_begin_sensibly_and_every_one_is_trained(model_name: str, tmp_path: Path) -> None:
    import torch
    from datasets import Dataset
    from safetensors import safe_open

    options = {
        "model_name_or_path": model_name,
        "chat_template": "gemma",
        "max_steps": "3",
        "eval_fraction": "0",
    }
    config = resolve(load(DEMO_RECIPE, options), Facts(num_rows=400)).config
    tokenizer = loading.load_tokenizer(config)
    prepared = prepare_tokenizer(tokenizer, "gemma", True)
    assert prepared.new == ("<end_of_turn>", "<start_of_turn>")
    assert tokenizer.eos_token == "<end_of_turn>"
    assert any("are added" in note for note in prepared.notes)
    model = loading.load_model(config)
    known = model.get_input_embeddings().weight.detach().clone()
    rows_of = fit_vocabulary(model, tokenizer, prepared)
    end, start = tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<start_of_turn>"])
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert torch.equal(layer.weight[end], layer.weight[prepared.previous_end])
    assert torch.allclose(model.get_input_embeddings().weight[start], known.mean(0), atol=1e-6)
    assert torch.equal(model.get_input_embeddings().weight[: len(known)], known)
    assert list(rows_of.values()) == [[end, start]] * (1 if model_name == DEMO_MODEL else 2)

    rows = [json.loads(line) for line in Path(DEMO_DATA).read_text("utf-8").splitlines()[:16]]
    made = tokenize(rows, tokenizer, 256, True)
    arguments = core.arguments(config, str(tmp_path / "out"), False, False)
    arguments.save_strategy = "no"
    trainer = core.build(config, model, tokenizer, Dataset.from_list(made.rows), None, arguments, [], rows_of)
    before = trained_rows(trainer.model)
    trainer.train()
    after = trained_rows(trainer.model)
    assert len(before) == len(rows_of)
    for name, then in before.items():
        assert ((after[name] - then).abs().max(1).values > 0).all(), name
    trainer.save_model(str(tmp_path / "saved"))
    with safe_open(str(tmp_path / "saved" / "adapter_model.safetensors"), "pt") as saved:
        shapes = {name: saved.get_slice(name).get_shape() for name in saved.keys()}  # noqa: SIM118
    assert not [shape for shape in shapes.values() if shape[0] > 1280]
    assert [shape[0] for name, shape in shapes.items() if "token" in name.replace("embed_tokens", "")]


def trained_rows(model: Any) -> dict[str, Any]:
    return {
        name: rows.detach().clone()
        for name, rows in model.named_parameters()
        if "trainable_tokens_delta" in name
    }


def test_a_model_that_has_the_tokens_is_left_as_it_is() -> None:
    config = load(DEMO_RECIPE)
    tokenizer = loading.load_tokenizer(config)
    prepared = prepare_tokenizer(tokenizer, "model", True)
    assert (prepared.notes, prepared.added, prepared.end) == ([], (), None)
    model = loading.load_model(config)
    assert fit_vocabulary(model, tokenizer, prepared) == {}
    assert model.get_input_embeddings().weight.shape[0] == 1280


def test_the_trainer_refuses_what_never_stops(tmp_path: Path) -> None:
    from engine.train.what_is_learnt import report_tokens

    class Silent:
        def emit(self, *args: object, **fields: object) -> None: ...

        def warning(self, *args: object) -> None: ...

    config = load(DEMO_RECIPE)
    tokenizer = loading.load_tokenizer(config)
    rows = [json.loads(line) for line in Path(DEMO_DATA).read_text("utf-8").splitlines()[:4]]
    cut = tokenize(rows, tokenizer, 24, True)
    assert cut.stops == 0
    with pytest.raises(UserError, match="never learn to stop") as caught:
        report_tokens(Silent(), cut, config, True)  # type: ignore[arg-type]
    assert "--allow_bad_template true" in caught.value.fix
    allowed = load(DEMO_RECIPE, {"allow_bad_template": "true"})
    report_tokens(Silent(), cut, allowed, True)  # type: ignore[arg-type]
