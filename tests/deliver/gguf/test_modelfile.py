"""Modelfiles: what Ollama makes of a conversation is what the model was trained with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.data.templates import catalogue
from engine.data.templates.sandbox import ChatTemplate
from engine.deliver.export.gguf.chat_pieces import Messages, take_apart
from engine.deliver.export.gguf.modelfile import go_template, make_modelfile, window_of
from engine.deliver.proof.go_template import TemplateError, read_modelfile, render
from engine.errors import UserError
from tests.deliver.gguf.tiny import make_tokenizer

USER = {"role": "user", "content": 'Where is {{ the "owl" }}?'}
ANSWER = {"role": "assistant", "content": "In the tree.\nUp there."}
AGAIN = {"role": "user", "content": "Which one?"}
SYSTEM = {"role": "system", "content": "You are an owl."}
TALKS: list[Messages] = [[USER], [USER, ANSWER, AGAIN], [USER, ANSWER, AGAIN, ANSWER, USER]]
NAMED = {"bos_token": "<BOS>", "eos_token": "<EOS>"}
FAMILIES = [family for family in catalogue.families() if family.available]
# What Go itself makes of templates; go_rendered/main.go writes it.
BY_GO: list[dict[str, Any]] = json.loads((Path(__file__).parent / "go_rendered" / "cases.json").read_text())


def actions(template: str) -> set[str]:
    return set(re.findall(r"\{\{.*?\}\}", template, re.S))


RUN_BY_GO = set().union(*(actions(case["template"]) for case in BY_GO))


def test_templates_are_read_as_go_reads_them() -> None:
    for case in BY_GO:
        messages = [{"role": each["Role"], "content": each["Content"]} for each in case["messages"]]
        if case["refused"]:
            with pytest.raises(TemplateError):
                render(case["template"], messages, case["system"])
        else:
            assert render(case["template"], messages, case["system"]) == case["text"], case["template"]


@pytest.mark.parametrize(
    "template", ["a{{- .System }}", "{{/* c */}}", "{{ range .Messages }}{{ end }}", "{{ .Nothing }}"]
)
def test_what_our_modelfiles_never_use_is_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, [USER])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("add_bos", [False, True])
def test_every_known_template_says_the_same_in_ollama(family: catalogue.Family, add_bos: bool) -> None:
    template = ChatTemplate(family.text, family.name)

    def written(messages: Messages, ask: bool) -> str:
        return template.render(messages, NAMED, add_generation_prompt=ask)[0]

    pieces = take_apart(written, "<BOS>", add_bos)
    go = go_template(pieces)
    assert actions(go) <= RUN_BY_GO, "add a case, and have it run by Go: go_rendered/main.go"
    talks = [*TALKS, *([[SYSTEM, *talk] for talk in TALKS] if pieces.system_in != "nowhere" else [])]
    for talk in talks:
        expected = written(talk, True)
        if add_bos:
            expected = expected.removeprefix("<BOS>")
        for system in {"", pieces.default_system}:
            if system and pieces.system_in == "last user turn":
                continue
            assert render(go, talk, system) == expected


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ loop.index }}:{{ m.content }}\n{% endfor %}", "some turns differently"),
        (
            "{% for m in messages %}[{{ m.role }}]{{ m.content | upper }}{% endfor %}",
            "leaves out what the user says",
        ),
        ("{{ messages[-1].content }}", "leaves out what the user says"),
    ],
)
def test_a_template_that_does_more_is_refused_in_words(template: str, why: str) -> None:
    compiled = ChatTemplate(template, "own")

    def written(messages: Messages, ask: bool) -> str:
        return compiled.render(messages, NAMED, add_generation_prompt=ask)[0]

    with pytest.raises(UserError) as told:
        take_apart(written, "", False)
    assert why in told.value.what
    assert "llama-server" in told.value.fix


def test_the_demo_modelfile(tmp_path: Path) -> None:
    from engine.config.draft import DEMO_RECIPE

    text = make_modelfile(
        DEMO_RECIPE.parent, "owl-Q4_K_M.gguf", trained_length=256, window=1024, system="You are an owl.",
        generation={"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1, "max_length": 20},
    ).text()  # fmt: skip
    assert text.startswith('FROM ./owl-Q4_K_M.gguf\nTEMPLATE """{{ if .System }}<|im_start|>system\n')
    assert 'SYSTEM """You are an owl."""\nPARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 1024\n' in text
    assert text.endswith("PARAMETER temperature 0.7\nPARAMETER top_k 20\nPARAMETER repeat_penalty 1.1\n")
    said = read_modelfile(text)
    assert said.stops == ("<|im_end|>",)
    assert render(said.template, [AGAIN], said.system) == (
        "<|im_start|>system\nYou are an owl.<|im_end|>\n<|im_start|>user\nWhich one?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_start_token_is_not_written_twice(tmp_path: Path) -> None:
    make_tokenizer("llama", tmp_path)
    for add_bos in (True, False):
        made = make_modelfile(tmp_path, "m.gguf", add_bos=add_bos)
        prompt = render(made.template, [USER])
        assert prompt.startswith("<|begin_of_text|>") != add_bos
        assert made.stops == ("<|eot_id|>",)


def test_a_run_without_a_template_passes_text_through(tmp_path: Path) -> None:
    make_tokenizer("llama", tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    made = make_modelfile(tmp_path, "m.gguf", adapter="lora.gguf")
    assert made.template == "{{ .Prompt }}"
    assert "ADAPTER ./lora.gguf\n" in made.text()


def test_greedy_models_stay_greedy() -> None:
    from engine.config.draft import DEMO_RECIPE

    made = make_modelfile(DEMO_RECIPE.parent, "m.gguf", generation={"do_sample": False, "temperature": 0.6})
    assert made.parameters == {"num_ctx": 4096, "temperature": 0}


def test_window() -> None:
    assert window_of({"text_config": {"max_position_embeddings": 8192}}) == 8192
    assert window_of({"n_positions": 1024}) == 1024
    assert window_of({"max_position_embeddings": "many"}) is None
