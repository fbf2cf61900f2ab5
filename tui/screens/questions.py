"""Three questions, and an honest word on whether fine-tuning is the right tool."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static
from textual.widgets.option_list import Option

from engine.advise.goals import QUESTIONS, VERDICT_WORDS, Advice, Answers, Question, triage
from tui.keymap import bindings
from tui.screens.wizard import WizardStep
from tui.text import hanging, stack
from tui.widgets.choice_list import ChoiceList


class QuestionsScreen(WizardStep):
    """One question after the other; the last page is the verdict, which never blocks."""

    STEP = "questions"
    KEY_GROUPS = ("wizard", "list", "questions")
    BINDINGS = bindings("wizard", "questions")
    HELP = """\
A prompt is the instruction you give a model. Retrieval (RAG) looks up documents at the moment of the question and \
puts them into the prompt. Both need no training. Whatever the verdict, you can go on."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def question(self) -> ComposeResult:
        yield Static("", id="answered", markup=False)
        yield Static("", id="asked", classes="asked", markup=False)
        yield ChoiceList()
        yield Static("", id="verdict", markup=False)

    def ready(self) -> None:
        if all(question.id in self.draft.answers for question in QUESTIONS):
            self._at = len(QUESTIONS)
        self._show()

    def on_resize(self) -> None:
        self._tell()

    def _show(self) -> None:
        """The question at hand, or the verdict."""
        choices = self.query_one(ChoiceList)
        asking = self._at < len(QUESTIONS)
        choices.display = choices.can_focus = asking
        if not asking:
            self.set_focus(None)  # a hidden list would still swallow Enter
        self.query_one("#asked").display = asking
        if asking:
            question = QUESTIONS[self._at]
            default = question.options[0][0]
            choices.fill(
                [Option(words, id=value) for value, words in question.options],
                self.draft.answers.get(question.id, default),
            )
            choices.focus()
        self._tell()

    def _tell(self) -> None:
        width = self.size.width - 4
        done = [_answered(question, self.draft.answers, width) for question in QUESTIONS[: self._at]]
        answered = self.query_one("#answered", Static)
        answered.display = bool(done)
        answered.update(stack(*done))
        verdict = self.query_one("#verdict", Static)
        verdict.display = self._at == len(QUESTIONS)
        self.key_line.relabel()
        self.key_line.hide(*(["list.choose"] if verdict.display else []))
        if self._at < len(QUESTIONS):
            number = f"Question {self._at + 1} of {len(QUESTIONS)}"
            asked = Content.assemble((number, "$muted"), "\n", (QUESTIONS[self._at].text, "bold"))
            self.query_one("#asked", Static).update(asked)
            return
        advice = self.advice()
        verdict.update(_verdict(advice, width))
        if advice.verdict != "fine-tune":
            self.key_line.relabel(wizard_next="fine-tune anyway")

    def advice(self) -> Advice:
        """What the answers lead to."""
        values = {
            question.id: self.draft.answers.get(question.id, question.options[0][0]) for question in QUESTIONS
        }
        return triage(Answers(**values), self.draft.goal)  # type: ignore[arg-type]

    def action_next(self) -> None:
        if self._at == len(QUESTIONS):
            self.go(1)
            return
        chosen = self.query_one(ChoiceList).chosen
        if chosen is not None:
            self.draft.answers[QUESTIONS[self._at].id] = chosen
        self._at += 1
        self._show()

    def action_back(self) -> None:
        if self._at == 0:
            self.go(-1)
            return
        self._at -= 1
        self._show()


def _answered(question: Question, answers: dict[str, str], width: int) -> Content:
    words = dict(question.options).get(answers.get(question.id, ""), "")
    return stack(
        hanging("✓", "$success", question.text, width, "$muted"), Content.assemble("  ", (words, "bold"))
    )


def _verdict(advice: Advice, width: int) -> Content:
    good = advice.verdict == "fine-tune"
    head = hanging(
        "✓" if good else "!",
        f"bold {'$success' if good else '$warning'}",
        VERDICT_WORDS[advice.verdict],
        width,
        "bold",
    )
    lines = [head, *(hanging(" ", "", reason, width) for reason in advice.reasons)]
    if not good:
        lines.append(
            hanging(
                "→", "bold $primary", "You can go on and fine-tune anyway; nothing is lost by trying.", width
            )
        )
    return stack(*lines)
