"""The wizard in plain lines: the same draft, the same plan, no screen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli import plain_wizard
from engine.cli.main import main, why_plain
from engine.cli.plain_wizard import run_wizard
from engine.config.draft import DEMO_DATA, Draft, Plan, load_draft
from engine.errors import UserError
from engine.run.home import runs_home
from engine.run.layout import RunDir
from tests.machine.builders import CARD, machine
from tests.tui.made_runs import MadeRun
from tests.tui.pilot import write_draft


class Session:
    """Somebody who types, and what came of it."""

    def __init__(self) -> None:
        self.started: list[tuple[Plan, bool]] = []
        self.followed: list[str] = []
        self.prompts: list[str] = []
        self.answers: list[str] = []

    def type(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    found = Session()

    def start(plan: Plan, numbered: bool = True, anyway: bool = False) -> RunDir:
        found.started.append((plan, anyway))
        return RunDir(runs_home() / plan.name)

    def followed(run: RunDir) -> int:
        found.followed.append(run.name)
        return 0

    monkeypatch.setattr("builtins.input", found.type)
    monkeypatch.setattr(plain_wizard, "start", start)
    monkeypatch.setattr(plain_wizard, "follow", followed)
    monkeypatch.setattr(plain_wizard, "require_training_packages", lambda: None)
    monkeypatch.setattr(plain_wizard, "probe", lambda *args: machine())
    return found


Run = Callable[..., str]


@pytest.fixture
def run(session: Session, capsys: pytest.CaptureFixture[str]) -> Run:
    def typed(*answers: str) -> str:
        session.answers = list(answers)
        assert run_wizard() == 0
        shown = capsys.readouterr()
        assert all(char.isprintable() or char == "\n" for char in shown.out + shown.err)
        return shown.out + shown.err

    return typed


def test_enter_alone_ends_in_the_demo(run: Run, session: Session) -> None:
    shown = run(*[""] * 14)
    [(plan, anyway)] = session.started
    assert plan.name == "demo"
    assert not anyway
    assert session.followed == ["demo"]
    for title in ("Machine", "Goal", "Data", "Model", "Template", "Method", "Review"):
        assert f": {title}" in shown
    assert "Row 1:" in shown
    assert "Talk to it: finetui chat demo" in shown
    assert load_draft() == Draft()


def test_leaving_keeps_the_answers_and_the_screens_go_on_from_there(run: Run) -> None:
    shown = run("", "1.20", "2", "q")
    assert "Your answers are kept." in shown
    draft = load_draft()
    assert (draft.step, draft.goal, draft.price_per_hour) == ("questions", "task", 1.2)
    shown = run("", "q")
    assert "you were at: questions" in shown
    assert "Step 3 of 8" in shown


def test_back_is_one_step(run: Run, session: Session) -> None:
    shown = run("1", "", "b", "", "q")
    assert not session.started
    assert shown.count("Step 1 of 8") == 2
    assert shown.count("Step 2 of 8") == 2
    assert shown.count("What do you want to do?") == 1
    assert load_draft().step == "goal"


def test_what_is_not_an_answer_is_asked_again(run: Run) -> None:
    shown = run("banana", "99", "٣", "?", "1", "free", "", "q")
    assert shown.count("none of the numbers 1 to 2") == 3
    assert "b: one step back" in shown
    assert "This is no price." in shown


def test_a_path_that_is_not_there_is_asked_again(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    data.write_text('{"question": "Who?\\u001b[31m", "answer": "Me."}\n' * 30 + '{"question": "Who?"}\n')
    write_draft(Draft(step="data", goal="task"))
    shown = run("1", "/nowhere.jsonl", str(data), "q")
    assert "/nowhere.jsonl" in shown
    assert "30 of 31 rows usable; 1 skipped: line 31" in shown
    assert "\\x1b[31m" in shown
    assert load_draft().data_path == str(data)


def test_back_also_leads_out_of_an_error(run: Run, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(draft: Draft, computer: object) -> Plan:
        raise UserError("It broke.", "here", "Mend it.")

    monkeypatch.setattr(plain_wizard, "plan", broken)
    write_draft(Draft(step="review", goal="task"))
    shown = run("1", "b", "q")
    assert "It broke." in shown
    assert "Step 7 of 8" in shown


def test_a_setting_is_checked_when_it_is_typed(run: Run, session: Session) -> None:
    write_draft(Draft(step="method", goal="task"))
    shown = run(
        "1", "2", "nonsense 1", "learning_rate fast", "learning_rate 3e-4", "", "2", "3", "a b", "mine", ""
    )
    assert "no setting 'nonsense'" in shown
    assert "learning_rate is 3e-4." in shown
    assert "This run name cannot be used." in shown
    [(plan, _)] = session.started
    assert plan.config.training.learning_rate == 3e-4
    assert plan.config.method.tuning == "lora"
    assert plan.name == "mine"
    assert "learning_rate" in shown.split("run.yaml, with the reasons")[1]


def test_a_card_is_named_and_may_be_chosen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    two = machine(CARD, replace(CARD, index=1, uuid="GPU-2"))
    monkeypatch.setattr(plain_wizard, "probe", lambda *args: two)
    shown = run("1", "3", "", "q")
    assert CARD.name in shown
    assert load_draft().gpu == 1


def test_a_run_is_followed_and_a_stopped_one_resumed(
    run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[str] = []
    monkeypatch.setattr(plain_wizard, "resume", lambda found: resumed.append(found.name))
    made = MadeRun("owl", max_steps=40)
    made.begin()
    made.train()
    made.steps(1, 9)
    made.end("stopped", "Stopped by you.")
    shown = run("3", "1")
    assert "owl: Stopped by you, step 9 of 40" in shown
    assert resumed == ["owl"]
    assert session.followed == ["owl"]
    assert "Try again" not in shown


@pytest.mark.parametrize(
    ("env", "options", "why"),
    [
        ({"TERM": "dumb"}, [], "TERM=dumb"),
        ({"TERM": ""}, [], "TERM is not set"),
        ({"TERM": "xterm"}, ["--plain"], "as asked for"),
        ({"TERM": "xterm"}, ["--screen-reader"], "screen reader"),
        ({"TERM": "xterm", "FINETUI_SCREEN_READER": "1"}, [], "screen reader"),
    ],
)
def test_who_gets_it(
    env: dict[str, str], options: list[str], why: str, session: Session, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "environ", {**os.environ, **env})
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(options, lambda name, run_name: pytest.fail("a screen was opened")) == 0
    assert why in capsys.readouterr().out
    assert why in why_plain()


def test_who_gets_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "TERM": "xterm", "FINETUI_SCREEN_READER": "0"})
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    opened: list[str] = []
    assert main(["--no-mouse"], lambda name, run_name: opened.append(name) or 0) == 0
    assert opened == ["home"]
    assert os.environ["FINETUI_NO_MOUSE"] == "1"


def test_the_demo_data_are_the_default(run: Run) -> None:
    assert load_draft().data_path == DEMO_DATA
