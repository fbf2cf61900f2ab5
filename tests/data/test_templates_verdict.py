"""The verdict on a template and its rows, and what it stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO_MODEL
from engine.config.loading import validate
from engine.config.template_gate import require_good_template
from engine.data.render import Renderer
from engine.data.templates.scan import Scanner, judge
from engine.data.templates.segments import segments
from engine.data.templates.source import find_template, recommend
from engine.data.templates.verify import TALK, verify
from engine.errors import UserError
from tests.data.conftest import PLAIN, TAGGED
from tests.e2e.runs import finetui

ENDLESS = TAGGED.replace(
    "{{ m.content }}<|im_end|>{% endgeneration %}", "{{ m.content }}{% endgeneration %}<|im_end|>"
)
MUTE = TAGGED.replace(
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}", "{% generation %}{% endgeneration %}"
)


def checks(model: Path, template: str) -> dict[str, tuple[str, str]]:
    (model / "chat_template.jinja").write_text(template)
    return {check.name: (check.level, check.words) for check in verify(Renderer(model))}


def test_a_good_template(model: Path) -> None:
    found = checks(model, TAGGED)
    assert {level for level, _ in found.values()} <= {"good", "note"}
    assert found["start"] == ("good", "Start token once.")
    assert found["stops"][0] == found["answers"][0] == found["marks"][0] == found["system"][0] == "good"
    assert found == checks(model, PLAIN)


@pytest.mark.parametrize(
    ("template", "name", "words"),
    [
        (ENDLESS, "stops", "never learn to stop"),
        (MUTE, "answers", "Nothing the assistant says is learnt"),
        (TAGGED.replace("{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"), "start", "written twice"),
        ("{% generation %}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% endgeneration %}",
         "answers", "Questions are learnt"),
        ("{{ raise_exception('no') }}", "answers", "refused"),
        (TAGGED.replace("<|im_end|>", "<|stop|>"), "stops", "as one token"),
    ],
)  # fmt: skip
def test_what_spoils_a_training(template: str, name: str, words: str, model: Path) -> None:
    level, told = checks(model, template)[name]
    assert level == "bad"
    assert words in told


def test_what_is_only_said(model: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TAGGED
    assert checks(model, refusing)["system"] == (
        "note",
        "No system message allowed: rows with one are refused.",
    )
    silent = TAGGED.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    assert checks(model, silent)["system"][0] == "note"
    marked = TAGGED.replace("<|im_start|>", "<|turn_start|>")
    assert "cut into pieces: <|turn_start|>" in checks(model, marked)["marks"][1]


def test_a_prompt_that_begins_otherwise_is_said(model: Path) -> None:
    thinking = TAGGED.replace(
        "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}"
    )
    assert "prompt" not in checks(model, TAGGED)
    level, words = checks(model, thinking)["prompt"]
    assert level == "note"
    assert "begins with <think>" in words


def test_rows_for_other_objectives_are_refused_in_words(model: Path) -> None:
    with pytest.raises(UserError, match="neither a conversation nor a text"):
        Renderer(model).xray({"prompt": "q", "chosen": "a", "rejected": "b"})


def test_an_end_token_of_its_own_counts(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 900, "content": "<|my_end|>"})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert checks(model, TAGGED.replace("<|im_end|>", "<|my_end|>"))["stops"][0] == "good"


def scanned(model: Path, rows: list[dict[str, Any]], max_length: int = 100) -> Scanner:
    scanner = Scanner(Renderer(model), max_length)
    for row in rows:
        scanner.add(row)
    return scanner


def talk(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_rows_are_ranked_worst_first(model: Path) -> None:
    (model / "chat_template.jinja").write_text(
        "{% if 'forbidden' in messages[0].content %}{{ raise_exception('no ' ~ messages[0].content) }}{% endif %}"
        + TAGGED
    )
    rows = [
        talk("q", "a good long answer"), talk("q", "word " * 200), talk("word " * 200, "a"),
        talk("forbidden", "a"), talk("a somewhat longer question", "a"),
    ]  # fmt: skip
    scan = scanned(model, rows).result
    assert scan.worst == (3, 2, 1, 4, 0)
    assert (scan.checked, scan.num_cut, scan.nothing, scan.refused, scan.endless) == (5, 2, (2,), (3,), (1,))
    assert scan.useful == 3
    assert "no forbidden" in scan.refusal
    verdict = judge(verify(Renderer(model)), scan)
    assert not verdict.bad
    assert verdict.words == f"The model learns these {scan.learnt:,} tokens and how to stop."


def test_bad_verdicts(model: Path) -> None:
    good = verify(Renderer(model))
    cut = scanned(model, [talk("q", "word " * 200)] * 3).result
    assert judge(good, cut).reasons == (
        "The model would never learn to stop: in no row is the end of the answer learnt.",
    )
    assert "learn nothing" in judge(good, scanned(model, [talk("word " * 200, "a")] * 3).result).words
    assert not judge((), scanned(model, [{"text": "word " * 200}]).result).bad  # texts may go on for ever
    (model / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    assert "refuses every row" in judge((), scanned(model, [talk("q", "a")]).result).words


def test_segments_join_to_the_row(model: Path) -> None:
    seen = Renderer(model).xray({"messages": TALK}, 30)
    pieces = segments(seen)
    assert "".join(piece.text for piece in pieces) == "".join(text for text, _ in seen.tokens)
    assert [piece.kind for piece in segments(Renderer(model).xray({"messages": TALK}))] == [
        "masked", "learnt", "end", "masked", "learnt", "end", "masked",
    ]  # fmt: skip
    assert pieces[-1].kind == "cut"


def test_which_template_and_why() -> None:
    own = find_template("model", (TAGGED, "chat_template.jinja"))
    assert own.own
    assert own.title == "the model's own (ChatML style)"
    assert "trained with it" in own.choice.reason
    base = find_template("model", None, "somebody/some-base")
    assert (base.title, base.choice.value) == ("ChatML", "chatml")
    assert "<|im_start|> and <|im_end|>" in base.choice.reason
    known = recommend(None, "mistralai/Mistral-7B-Instruct-v0.3")
    assert known.value == "mistral-v3"
    assert "Mistral-7B-Instruct-v0.3" in known.reason
    downloaded = "/home/me/.cache/hub/models--mistralai--Mistral-7B-Instruct-v0.3/snapshots/0123abcd"
    assert recommend(None, downloaded) == known
    assert find_template("LLAMA3.3", None).title == "Llama 3.1 and 3.3"
    with pytest.raises(UserError) as caught:
        find_template("chatlm", None)
    assert caught.value.fix == "Did you mean chatml?"


def test_without_the_training_packages_trls_templates_are_not_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.data.templates import catalogue

    monkeypatch.setattr(catalogue, "_trl_folder", lambda: None)
    family = catalogue.family("qwen3")
    assert family is not None
    assert not family.available
    with pytest.raises(UserError, match="training packages"):
        find_template("qwen3", None)
    assert find_template("chatml", None).text


def run_of(tmp_path: Path, template: str, **settings: Any) -> dict[str, Any]:
    (tmp_path / "t.jinja").write_text(template)
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(talk("Hi", "Ho")) * 1 + "\n" + json.dumps(talk("Who", "Me")) + "\n"
    )
    return {
        "model": {"model_name_or_path": DEMO_MODEL},
        "data": {"train": [{"path": str(tmp_path / "rows.jsonl")}]},
        "template": {"chat_template": str(tmp_path / "t.jinja"), **settings},
    }


def test_a_run_with_a_bad_verdict_does_not_start(tmp_path: Path) -> None:
    require_good_template(validate(run_of(tmp_path, TAGGED), {}, "test", {}))
    with pytest.raises(UserError) as caught:
        require_good_template(validate(run_of(tmp_path, ENDLESS), {}, "test", {}))
    assert "--allow_bad_template true" in caught.value.fix
    require_good_template(validate(run_of(tmp_path, ENDLESS, allow_bad_template=True), {}, "test", {}))


def test_the_command_line_refuses_it_too(tmp_path: Path, finetui_home: Path) -> None:
    run_of(tmp_path, MUTE)
    told = finetui(
        "train", "--model_name_or_path", DEMO_MODEL, "--train", str(tmp_path / "rows.jsonl"), "--chat_template",
        str(tmp_path / "t.jinja"), "--detach",
    )  # fmt: skip
    assert told.returncode == 2
    assert "Nothing the assistant says is learnt" in told.stderr
    assert "--allow_bad_template true" in told.stderr
    assert not list(finetui_home.glob("runs/*"))
