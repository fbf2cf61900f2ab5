"""Real models answer: the embedded one after a short training, its checkpoints, and its base."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.config.draft import DEMO
from engine.deliver import prompts
from engine.deliver.chat_worker import defaults
from engine.deliver.generation import answer_all, ends_of, prompt_ids, score, stream, window_of
from engine.deliver.loading import Side, load_sides, load_trained
from engine.deliver.sampling import Sampling
from engine.deliver.source import find_trained
from engine.deliver.talk import Conversation, Reply, Talk, chosen
from engine.deliver.window import fitted
from engine.errors import UserError
from engine.run.layout import RunDir
from tests.e2e.in_process import train
from tests.e2e.runs import events, finetui

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chat")]  # they share one trained run

QUESTIONS = [
    "What sound does a mouse make?",
    "Where is Gilda's house?",
    "How much is 5 plus 6?",
    "Who are you and why?",
]
SHORT = {"max_steps": 48, "save_steps": 24, "eval_steps": 48, "sample_prompts": f"[{QUESTIONS[0]!r}]"}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run that was trained for a few seconds."""
    home = tmp_path_factory.mktemp("chat-home")
    before = os.environ.get("FINETUI_HOME")
    os.environ["FINETUI_HOME"] = str(home)
    try:
        train("sft-lora", SHORT, "owl")
    finally:
        if before is None:
            del os.environ["FINETUI_HOME"]
        else:
            os.environ["FINETUI_HOME"] = before
    return home


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("FINETUI_HOME", str(home))
    return RunDir(home / "runs" / "owl")


@pytest.fixture(scope="session")
def loaded(home: Path) -> tuple[list[Side], Any]:
    run = RunDir(home / "runs" / "owl")
    return load_sides([find_trained(run, which) for which in ("result", "base", "24")])


def asked(tokenizer: Any, questions: Sequence[str] = QUESTIONS) -> list[list[int]]:
    return [prompt_ids(tokenizer, [{"role": "user", "content": question}]) for question in questions]


def test_one_base_serves_every_side_and_each_is_itself(
    loaded: tuple[list[Side], Any], run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides, tokenizer = loaded
    assert len({id(side.model) for side in sides}) == 1
    answers = {}
    for _ in range(2):  # whoever answered before has no influence
        for side in sides:
            with side.active() as model:
                made = answer_all(model, tokenizer, asked(tokenizer), 48)
            assert answers.setdefault(side.trained.name, made) == made
    assert all("Hoot" in answer.text for answer in answers["result"][:3])
    assert not any("Hoot" in answer.text for answer in answers["base"])
    for name in ("result", "base", "24"):  # alone in memory, each says the same
        model, tokenizer = load_trained(find_trained(run, name))
        name = "checkpoint-24" if name == "24" else name
        assert answer_all(model, tokenizer, asked(tokenizer), 48) == answers[name]


def test_a_batch_answers_as_one_by_one(loaded: tuple[list[Side], Any]) -> None:
    sides, tokenizer = loaded
    with sides[0].active() as model:
        # What a model's makers prefer has no influence.
        model.generation_config.repetition_penalty = 5.0
        model.generation_config.do_sample = True
        try:
            together = answer_all(model, tokenizer, asked(tokenizer), 48, batch_size=4)
            alone = answer_all(model, tokenizer, asked(tokenizer), 48, batch_size=1)
        finally:
            model.generation_config.repetition_penalty = None
            model.generation_config.do_sample = False
        short = answer_all(model, tokenizer, asked(tokenizer), 5)
        streamed = [
            stream(
                model, tokenizer, ids, Sampling(max_new_tokens=48), lambda *told: None, lambda: False
            ).answer
            for ids in asked(tokenizer)
        ]
    assert together == alone == streamed
    assert all(answer.stopped and answer.token_ids[-1] in ends_of(model, tokenizer) for answer in together)
    assert all(not answer.stopped and answer.tokens == 5 for answer in short)
    assert [answer.token_ids[:5] for answer in together] == [answer.token_ids for answer in short]


def test_a_batch_too_large_for_memory_is_cut(
    loaded: tuple[list[Side], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sides, tokenizer = loaded
    told: list[int] = []
    with sides[0].active() as model:
        wanted = answer_all(model, tokenizer, asked(tokenizer), 8)
        generate = model.generate

        def narrow(**given: Any) -> Any:
            if given["input_ids"].shape[0] > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return generate(**given)

        monkeypatch.setattr(model, "generate", narrow)
        assert (
            answer_all(model, tokenizer, asked(tokenizer), 8, told=lambda n, answer: told.append(n)) == wanted
        )
    assert sorted(told) == [0, 1, 2, 3]


def test_pieces_make_the_answer_and_the_seed_decides(loaded: tuple[list[Side], Any]) -> None:
    sides, tokenizer = loaded
    wild = Sampling(temperature=1.5, max_new_tokens=30, seed=3)

    def made(sampling: Sampling, pieces: list[str]) -> str:
        with sides[0].active() as model:
            ids = asked(tokenizer)[1]
            return stream(
                model, tokenizer, ids, sampling, lambda text, *_: pieces.append(text), lambda: False
            ).answer.text

    pieces: list[str] = []
    first = made(wild, pieces)
    assert "".join(pieces).strip() == first
    assert made(wild, []) == first
    assert len({made(Sampling(temperature=1.5, max_new_tokens=30, seed=seed), []) for seed in range(4)}) > 1


def test_an_answer_ends_where_the_user_says(loaded: tuple[list[Side], Any]) -> None:
    sides, tokenizer = loaded
    heard: list[int] = []
    endless = Sampling(temperature=10, max_new_tokens=700)  # nonsense has no end of its own
    with sides[0].active() as model:
        made = stream(
            model,
            tokenizer,
            asked(tokenizer)[0],
            endless,
            lambda text, tokens, seconds: heard.append(tokens),
            lambda: len(heard) >= 5,
        )
    assert made.cancelled
    assert not made.answer.stopped
    assert 5 <= made.answer.tokens < 60


def test_what_the_model_prefers_is_the_default() -> None:
    from transformers import GenerationConfig

    assert defaults(GenerationConfig()) == Sampling()
    assert defaults(None) == Sampling()
    qwen = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.95, top_k=20)
    assert defaults(qwen) == Sampling(temperature=0.6, top_p=0.95, top_k=20)


# Longer than the window


def turns(number: int) -> list[dict[str, str]]:
    talk = [{"role": "system", "content": "You are an owl."}]
    for count in range(number):
        talk += [
            {"role": "user", "content": f"Question {count}?"},
            {"role": "assistant", "content": "Hoot. " * 20},
        ]
    return [*talk, {"role": "user", "content": "And now?"}]


def test_the_oldest_turns_go_first(loaded: tuple[list[Side], Any]) -> None:
    _, tokenizer = loaded
    whole = fitted(tokenizer, turns(2), 1024, 100)
    assert (whole.dropped, whole.max_new_tokens) == (0, 100)
    cut = fitted(tokenizer, turns(30), 1024, 512)
    assert cut.dropped > 0
    assert cut.dropped % 2 == 0
    assert len(cut.ids) + cut.max_new_tokens <= 1024
    assert cut.max_new_tokens >= 256
    text = tokenizer.decode(cut.ids)
    assert "You are an owl." in text
    assert "Question 0?" not in text
    assert "And now?" in text
    with pytest.raises(UserError, match="too long"):
        fitted(tokenizer, [{"role": "user", "content": "long " * 2000}], 1024, 100)
    beginning = fitted(tokenizer, "once upon a time " * 500, 1024, 100)
    assert beginning.dropped > 0
    assert len(beginning.ids) == 924
    with pytest.raises(UserError, match="empty"):
        fitted(tokenizer, "", 1024, 100)
    for broken in ("a \udcff b", [{"role": "user", "content": "a \udcff b"}]):
        with pytest.raises(UserError, match="no UTF-8"):
            fitted(tokenizer, broken, 1024, 100)


def test_a_template_that_refuses_is_told(loaded: tuple[list[Side], Any]) -> None:
    _, tokenizer = loaded
    kept = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('No system role.') }}"
    try:
        with pytest.raises(UserError, match="No system role"):
            prompt_ids(tokenizer, turns(0))
        tokenizer.chat_template = "{% if enable_thinking %}think{% else %}do not{% endif %}"
        assert tokenizer.decode(prompt_ids(tokenizer, turns(0), {"enable_thinking": True})) == "think"
    finally:
        tokenizer.chat_template = kept


# Damage


@pytest.mark.parametrize("damage", ["cut", "empty", "fewer"])
def test_a_damaged_adapter_is_told(run: RunDir, tmp_path: Path, damage: str) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = RunDir(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    file = copy.adapter / "adapter_model.safetensors"
    if damage == "fewer":
        tensors = load_file(file)
        tensors.pop(sorted(tensors)[0])
        save_file(tensors, file)
    else:
        file.write_bytes(file.read_bytes()[: 5000 if damage == "cut" else 0])
    for sides in (["result"], ["24", "result"]):
        with pytest.raises(UserError, match="cannot be loaded; its files may be damaged") as caught:
            load_sides([find_trained(copy, which) for which in sides])
        assert str(copy.adapter) in caught.value.where


def test_a_base_that_is_gone_is_told(run: RunDir, tmp_path: Path) -> None:
    import shutil

    copy = RunDir(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    copy.config.write_text(copy.config.read_text().replace(str(DEMO), "/nowhere/model"))
    for look in (
        lambda: load_sides([find_trained(copy)]),
        lambda: chosen(copy, [None]),
        lambda: chosen(copy, ["base"]),
    ):
        with pytest.raises(UserError, match="base model of this run is no longer") as caught:
            look()
        assert caught.value.where == "/nowhere/model"


# What is asked


def test_held_out_rows_are_those_of_the_training(run: RunDir) -> None:
    config = find_trained(run).config
    asked, notes = prompts.of_run(run, config, 6)
    assert not notes
    assert [one.source for one in asked] == ["yours"] + ["held out"] * 5
    learned = {
        json.loads(line)["messages"][0]["content"] for line in (DEMO / "train.jsonl").read_text().splitlines()
    }
    assert {one.question for one in asked[1:]} <= learned  # the dataset's own rows
    told = [event for event in events(run) if event.get("phase") == "data loaded"]
    assert len(prompts.held_out(run, config)) == told[0]["eval_rows"]
    assert all(one.expected and one.expected.startswith("Hoot") for one in asked[1:])


def test_questions_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        'plain words\n\n{"question": "a", "styled": "b"}\n{"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}\n'
        '{"prompt": "e", "system": "s"}\n'
    )
    found = prompts.of_file(file, 10)
    assert [(one.question, one.expected) for one in found] == [
        ("plain words", None),
        ("a", "b"),
        ("c", "d"),
        ("e", None),
    ]
    assert found[3].content[0] == {"role": "system", "content": "s"}
    assert len(prompts.of_file(file, 2)) == 2
    for wrong, words in (("{no", "not valid JSON"), ('{"x": 1}', "neither a prompt"), ("\n", "no questions")):
        file.write_text(wrong)
        with pytest.raises(UserError, match=words):
            prompts.of_file(file, 10)
    with pytest.raises(UserError, match="cannot be read"):
        prompts.of_file(tmp_path / "none", 10)


# Whole, through the real worker


@pytest.mark.thorough  # by default the demo's test talks to one
def test_the_real_worker_answers_stops_and_answers_again(run: RunDir) -> None:
    talk = Talk(run, [None, "base"], "cpu")
    try:
        opened = talk.open()
        assert (opened.kind, opened.window, opened.device) == ("chat", 1024, "cpu")
        conversation = Conversation("chat", 2)
        replies = talk.ask(conversation.prompts(QUESTIONS[0]), Sampling())
        assert "Hoot" in replies[0].text
        assert "squeak" in replies[1].text
        assert all(reply.stopped and reply.tokens_per_second > 0 for reply in replies)
        # Nonsense has no end of its own.
        endless = Sampling(temperature=10, max_new_tokens=700)
        stopped = talk.ask(conversation.prompts(QUESTIONS[0]), endless, lambda piece: talk.cancel())
        assert stopped[0].cancelled
        assert stopped[0].tokens < 700
        again: list[Reply] = talk.ask(conversation.prompts(QUESTIONS[0]), Sampling())
        assert [one.text for one in again] == [one.text for one in replies]
        with pytest.raises(UserError, match="too long"):
            talk.ask(conversation.prompts("long " * 2000), Sampling())
        assert talk.alive
    finally:
        talk.close()


@pytest.mark.thorough  # the demo's own comparison goes the same way
def test_compare_with_the_real_worker(run: RunDir) -> None:
    done = finetui("compare", run.name, "--limit", "6", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    *answers, last = (json.loads(line) for line in done.stdout.splitlines())
    assert [one["number"] for one in answers] == list(range(6))
    assert all(one["changed"] and one["after_stopped"] for one in answers)
    assert last["changed"] == 6


@pytest.mark.thorough
@pytest.mark.parametrize(
    "recipe", ["sft-full", "sft-freeze", "cpt-lora", "cpt-full", "sft-qlora", "dpo-lora"]
)
def test_every_way_to_train(recipe: str) -> None:
    done = train(recipe, {"max_steps": 4, "save_steps": 2, "eval_steps": 2}, "made")
    talk = Talk(done.run, [None, "2"], "cpu")
    try:
        opened = talk.open()
        assert opened.kind == ("text" if recipe.startswith("cpt") else "chat")
        replies = talk.ask(Conversation(opened.kind, 2).prompts("What is"), Sampling(max_new_tokens=8))
        assert [reply.side for reply in replies] == [0, 1]
        assert all(reply.tokens for reply in replies)
    finally:
        talk.close()
    compared = finetui(
        "compare", done.run.name, "--limit", "3", "--max_new_tokens", "8", "--json", "--device", "cpu"
    )
    assert compared.returncode == 0, compared.stderr
    assert len(compared.stdout.splitlines()) == 4


@pytest.mark.thorough
def test_a_reward_model_scores_as_in_training() -> None:
    done = train("reward-lora", {"max_steps": 12, "save_steps": 6}, "judge")
    [side], tokenizer = load_sides([find_trained(done.run)])
    pair = [{"role": "user", "content": "What is 4 plus 5?"}, {"role": "assistant", "content": "9."}]
    with side.active() as model:
        points = score(model, tokenizer, pair, 256)
        assert window_of(model) == 1024
    talk = Talk(done.run, device="cpu")
    try:
        assert talk.open().kind == "score"
        assert talk.ask([pair], Sampling())[0].score == pytest.approx(points, abs=1e-4)
    finally:
        talk.close()
