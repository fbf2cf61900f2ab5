"""The conversation with a worker process, and the command that leads it; the worker has no model here."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.deliver.sampling import Sampling
from engine.deliver.talk import Conversation, Piece, Reply, Talk
from engine.errors import UserError
from tests.deliver.chat_runs import made_run
from tests.deliver.worker_double import Double
from tests.pty.terminal import Terminal

PLAIN = Sampling()


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.deliver.talk.Worker", Double)
    monkeypatch.setattr("engine.deliver.compare.Worker", Double)


@pytest.fixture
def talk() -> Iterator[Talk]:
    talk = Talk(made_run(), [None, "base"])
    talk.open()
    yield talk
    talk.close()


def asked(conversation: Conversation, talk: Talk, question: str) -> list[Reply]:
    replies = talk.ask(conversation.prompts(question), PLAIN)
    conversation.add(question, replies)
    return replies


def test_words_come_while_they_are_made_and_then_as_a_whole(talk: Talk) -> None:
    assert talk.opened is not None
    assert talk.opened.names == ("result", "base")
    assert talk.opened.sampling == Sampling(max_new_tokens=99)
    pieces: list[Piece] = []
    replies = talk.ask(Conversation("chat", 2).prompts("good day"), PLAIN, pieces.append)
    assert [piece.text for piece in pieces if piece.side == 0] == ["0: ", "good ", "day "]
    assert [reply.text for reply in replies] == ["0: good day", "1: good day"]
    assert replies[0].words() == "stopped by itself, 3 tokens, 30.0 tokens/s"


def test_each_side_remembers_its_own_answers(talk: Talk) -> None:
    conversation = Conversation("chat", 2, "Be kind.")
    asked(conversation, talk, "hello")
    heard = [json.loads(reply.text) for reply in asked(conversation, talk, "history")]
    for side, turns in enumerate(heard):
        assert [turn["content"] for turn in turns] == ["Be kind.", "hello", f"{side}: hello", "history"]
    conversation.clear()
    assert [turn["role"] for turn in json.loads(asked(conversation, talk, "history")[0].text)] == [
        "system",
        "user",
    ]


def test_an_answer_is_stopped_and_the_models_stay(talk: Talk) -> None:
    began = threading.Event()
    threading.Thread(target=lambda: (began.wait(5), talk.cancel())).start()
    replies = talk.ask(Conversation("chat", 2).prompts("slow"), PLAIN, lambda piece: began.set())
    assert replies[0].cancelled
    assert replies[0].text.startswith("on and on")
    assert replies[0].ending() == "stopped by you"
    assert talk.alive
    assert talk.ask(Conversation("chat", 2).prompts("again"), PLAIN)[1].text == "1: again"


def test_what_is_refused_leaves_the_models_there(talk: Talk) -> None:
    with pytest.raises(UserError, match="too long"):
        talk.ask(Conversation("chat", 2).prompts("refuse"), PLAIN)
    assert talk.alive
    assert talk.ask(Conversation("chat", 2).prompts("again"), PLAIN)[0].text == "0: again"


def test_a_killed_worker_is_told_in_words(talk: Talk) -> None:
    with pytest.raises(UserError, match="killed, most likely by the system because main memory ran out"):
        talk.ask(Conversation("chat", 2).prompts("die"), PLAIN)
    assert not talk.alive
    with pytest.raises(UserError, match="killed"):
        talk.ask(Conversation("chat", 2).prompts("hello"), PLAIN)


def test_closing_does_not_wait_for_an_answer(talk: Talk) -> None:
    began = threading.Event()
    outcome: list[object] = []

    def ask() -> None:
        try:
            outcome.append(
                talk.ask(Conversation("chat", 2).prompts("slow"), PLAIN, lambda piece: began.set())
            )
        except (UserError, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert began.wait(5)
    before = time.monotonic()
    talk.close()
    thread.join(5)
    assert time.monotonic() - before < 3
    assert outcome


def test_a_log_that_cannot_be_written_is_no_obstacle() -> None:
    run = made_run()
    (run.path / "worker_double.log").mkdir()  # permissions mean nothing to root
    talk = Talk(run)
    try:
        assert talk.open().names == ("result",)
    finally:
        talk.close()


# Without a terminal


def chat(monkeypatch: pytest.MonkeyPatch, stdin: str, *options: str, name: str = "owl") -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    return main(["chat", name, *options])


def test_every_line_is_a_question_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run()
    assert chat(monkeypatch, "one\n\nhistory\n{curly\n", "--plain") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first, third) == ("0: one", "0: {curly")
    assert json.loads(second) == [{"role": "user", "content": "history"}]


def test_json_lines_in_and_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made_run()
    lines = [
        {"prompt": "history", "system": "Be brief."},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "history"}]},
        {"prompt": "settings", "temperature": 0.5, "seed": 7, "chat_template_kwargs": {"enable_thinking": False}, "id": "x1"},
        {"prompt": "long"},
    ]  # fmt: skip
    stdin = "\n".join(json.dumps(line) for line in lines)
    assert chat(monkeypatch, stdin, "--top_k", "5") == 0  # nobody looks on: it need not be asked for
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [turn["content"] for turn in json.loads(told[0]["answer"])] == ["Be brief.", "history"]
    assert [turn["content"] for turn in json.loads(told[1]["answer"])] == ["a", "b", "history"]
    sampling, kwargs = json.loads(told[2]["answer"])
    assert (sampling["temperature"], sampling["seed"], sampling["top_k"], sampling["max_new_tokens"]) == (
        0.5,
        7,
        5,
        99,
    )
    assert kwargs == {"enable_thinking": False}
    assert told[2]["id"] == "x1"
    assert told[3] == {
        "prompt": "long", "answer": "0: long", "stopped": True, "tokens": 3, "tokens_per_second": 30.0, "dropped": 2,
    }  # fmt: skip


def test_two_models_answer_each_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run()
    assert chat(monkeypatch, "hi\n", "--against", "base", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["model"], one["answer"]) for one in told["answers"]] == [
        ("result", "0: hi"),
        ("base", "1: hi"),
    ]
    assert chat(monkeypatch, "hi\n", "--checkpoint", "best", "--against", "48", "--plain") == 0
    assert capsys.readouterr().out == "checkpoint-24: 0: hi\ncheckpoint-48: 1: hi\n"


def test_a_wrong_line_does_not_keep_the_others_from_their_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run()
    wrong = ['{"x": 1}', '{"prompt": "a", "temperature": "hot"}', "refuse", '{"messages": [1]}', '{"prompt": "a", "chat_template_kwargs": 3}', '{"prompt": "a"', '{"a":' * 9999, '{"prompt": "a", "tools": 5}']  # fmt: skip
    assert chat(monkeypatch, "\n".join([*wrong, "last"]), "--json") == 2
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all("what" in one["error"] for one in told[:-1])
    assert told[1]["error"]["where"] == "line 2 of standard input"
    assert told[-1]["answer"] == "0: last"


def test_a_dead_worker_ends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made_run()
    assert chat(monkeypatch, "one\ndie\ntwo\n", "--plain") == 2
    told = capsys.readouterr()
    assert told.out == "0: one\n"
    assert "main memory ran out" in told.err


def test_escape_sequences_never_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run()
    assert chat(monkeypatch, "escape\n", "--plain") == 0
    assert capsys.readouterr().out == "red \\x1b[31mhot\\x9b2J\n"


def test_a_reward_model_scores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made_run("judge", recipe="reward-lora")
    monkeypatch.setenv("DOUBLE_KIND", "score")
    line = json.dumps({"prompt": "Is it good?", "answer": "Yes."})
    assert chat(monkeypatch, f"{line}\nalone\n", "--json", name="judge") == 2
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["score"] == 0.5
    assert "scores answers" in second["error"]["what"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--temperature", "hot"], "takes a number"), (["--chat_template_kwargs", "no"], "no JSON object"),
        (["--against", "result"], "same model"), (["--checkpoint", "5"], "no checkpoint of step 5"),
        (["--base", "--checkpoint", "24"], "not allowed with"), (["--device", "cuda"], "no graphics card"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    made_run()
    monkeypatch.setattr(Double, "started", [])
    assert chat(monkeypatch, "hi\n", *options) == 2
    assert words in capsys.readouterr().err
    assert not Double.started


# A person at a terminal

PERSON = """
import sys
import engine.deliver.talk
from tests.deliver.worker_double import Double
engine.deliver.talk.Worker = Double
from engine.cli.main import main
sys.exit(main(["chat", "owl", "--against", "base"]))
"""


def test_a_person_talks_stops_an_answer_and_goes_on(finetui_home: Path) -> None:
    made_run()
    with Terminal(
        (sys.executable, "-c", PERSON), env={"FINETUI_HOME": str(finetui_home)}, rows=40
    ) as terminal:
        terminal.wait_for("you>")
        terminal.type("slow\r")
        terminal.wait_for("on and on on and on")
        terminal.press("ctrl+c")
        terminal.wait_for("stopped by you")
        terminal.type("escape\r")
        terminal.wait_for("red \\x1b[31mhot\\x9b2J")
        terminal.type("/set temperature 0.7\r/set colour 1\r/settings\r/help\r")
        terminal.wait_for("There is no setting 'colour'")
        terminal.wait_for("Ctrl-C stops an answer")
        assert terminal.has("temperature          0.7")
        terminal.type("/system Be kind.\r")
        terminal.type("/clear\rhistory\r")
        terminal.wait_for('"role": "system"')
        terminal.type("/quit\r")
        assert terminal.wait_exit() == 0
        assert b"\x1b[31mhot" not in bytes(terminal.raw)


# Comparing


def test_compare_shows_both_answers_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    made_run()
    assert main(["compare", "owl"]) == 0
    told = capsys.readouterr()
    for wanted in (
        "1 of 4  (held out)  changed", "  base      Mice.  [cut off, it did not stop by itself]", "  result    Mice, hoot!",
        "2 of 4  (held out)  the same", "\\x1b[31mNo", "2 of 3 answers changed.", "base 2 of 3, result 3 of 3.",
    ):  # fmt: skip
        assert wanted in told.out, wanted
    assert "held-out rows cannot be read" in told.err
    assert "Question 4 is left out: The message is too long." in told.err


def test_compare_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    made_run()
    assert main(["compare", "owl", "--json", "--against", "24", "--limit", "9"]) == 0
    *answers, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [one["changed"] for one in answers] == [True, False, True]
    assert {key: last[key] for key in ("kind", "total", "changed", "before_stopped", "after_stopped")} == {
        "kind": "summary", "total": 3, "changed": 2, "before_stopped": 2, "after_stopped": 3,
    }  # fmt: skip
    module, file, limit, options = Double.started[-1]
    assert (module, file, limit) == ("engine.deliver.compare_worker", "-", "9")
    assert json.loads(options)["sides"] == ["checkpoint-24", "result"]


def test_compare_refuses_what_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    made_run("judge", recipe="reward-lora")
    assert main(["compare", "judge", "--against", "24"]) == 2
    assert "no answers to compare" in capsys.readouterr().err
    made_run()
    assert main(["compare", "owl", "--limit", "0"]) == 2
