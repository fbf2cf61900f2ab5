"""What somebody wants from a model, in plain words, and whether fine-tuning is the right tool for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.advise.objectives import OBJECTIVES
from engine.data.forms import Objective


@dataclass(frozen=True, slots=True)
class Goal:
    """Something people want a model to learn.

    Attributes:
        id: Short name: ``style``, ``task``, ``knowledge``, ``preferences``, ``reasoning``.
        title: What the user would say.
        explanation: One line.
        objective: The training objective that serves it best: ``sft`` imitates answers, ``cpt`` reads raw text,
            ``dpo`` prefers one answer over another (``kto`` where there are only thumbs), ``grpo`` earns rewards. What the
            data allow decides in the end (`engine.advise.choose_objective`).
        data: What the dataset should look like.
        now: How it is taught.
    """

    id: str
    title: str
    explanation: str
    objective: Objective
    data: str
    now: str

    @property
    def trainable_now(self) -> bool:
        """This release can train its best objective."""
        return self.objective in OBJECTIVES


GOALS: tuple[Goal, ...] = (
    Goal(
        "style",
        "A style or a persona",
        "The model should always sound a certain way: a brand's tone, a character, a fixed answer format.",
        "sft",
        "100 to 1,000 conversations whose answers are written exactly as you want them.",
        "Taught by supervised fine-tuning: the model imitates your answers.",
    ),
    Goal(
        "task",
        "A task",
        "The model should do one job well: sort, extract, summarise, translate, write a certain kind of text.",
        "sft",
        "200 to 5,000 pairs of an input and the answer you want, including the difficult cases.",
        "Taught by supervised fine-tuning: the model imitates your answers.",
    ),
    Goal(
        "knowledge",
        "Knowledge of a field",
        "The model should know a subject: medicine, law, a product, a company's documents.",
        "cpt",
        "Whole documents as plain text; or questions with answers about the subject.",
        "Taught by continued pre-training (the model reads your documents), or by imitation if the data are questions and "
        "answers. Facts that must be exact are safer with retrieval (RAG), which looks them up.",
    ),
    Goal(
        "preferences",
        "Better answers by preference",
        "The model answers already; you can say which of two answers is better.",
        "dpo",
        "Questions with a chosen and a rejected answer, or answers with thumbs up and down.",
        "Taught by preference training: DPO for pairs, KTO for thumbs. Begin with a model that already answers well.",
    ),
    Goal(
        "reasoning",
        "Reasoning",
        "The model should solve problems step by step: maths, code, science.",
        "grpo",
        "Problems whose answers can be checked by a program.",
        "Taught by rewards (GRPO): the model tries several answers, and those that check out are reinforced. It must "
        "already be right now and then; otherwise begin with worked solutions to imitate.",
    ),
)


def find_goal(goal_id: str) -> Goal | None:
    """The goal with this id."""
    return next((goal for goal in GOALS if goal.id == goal_id), None)


@dataclass(frozen=True, slots=True)
class Question:
    """One of the three questions.

    Attributes:
        id: Field of :class:`Answers`.
        text: The question.
        options: Value and words of each answer; the first is the default.
    """

    id: str
    text: str
    options: tuple[tuple[str, str], ...]


QUESTIONS: tuple[Question, ...] = (
    Question(
        "changes",
        "Does the knowledge in the answers change often (prices, stock, news, documents)?",
        (
            ("no", "No, it stays as it is"),
            ("sometimes", "Sometimes, every few months"),
            ("often", "Yes, every week or more often"),
        ),
    ),
    Question(
        "prompt",
        "Does a good model already do it, if you give it a clear instruction with a few examples?",
        (("no", "No, I tried"), ("untried", "I have not tried"), ("yes", "Yes, more or less")),
    ),
    Question(
        "examples",
        "How many good examples do you have, each with an answer you would be proud of?",
        (("many", "500 or more"), ("some", "50 to 500"), ("few", "Fewer than 50"), ("none", "None yet")),
    ),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to :data:`QUESTIONS`."""

    changes: Literal["no", "sometimes", "often"] = "no"
    prompt: Literal["no", "untried", "yes"] = "no"
    examples: Literal["many", "some", "few", "none"] = "many"


VerdictName = Literal["fine-tune", "prompting first", "RAG", "RAG plus fine-tuning"]
VERDICT_WORDS: dict[VerdictName, str] = {
    "fine-tune": "Fine-tuning is the right tool.",
    "prompting first": "A good prompt would serve you better for now.",
    "RAG": "Looking things up (retrieval, RAG) would serve you better.",
    "RAG plus fine-tuning": "Best together: look facts up (RAG), and fine-tune how it answers.",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """What serves best. It never blocks: whoever wants to train may.

    Attributes:
        verdict: The answer in a few words.
        reasons: Why, one sentence each.
    """

    verdict: VerdictName
    reasons: tuple[str, ...]


def triage(answers: Answers, goal_id: str | None = None) -> Advice:
    """Say honestly whether fine-tuning, prompting or retrieval serves best.

    Args:
        answers: The answers to the three questions.
        goal_id: The goal, if already chosen; knowledge leans towards retrieval.
    """
    enough = answers.examples in ("many", "some")
    looks_up = answers.changes == "often" or (answers.changes == "sometimes" and goal_id == "knowledge")
    reasons: list[str] = []
    if looks_up:
        often = "changes often" if answers.changes == "often" else "changes every few months"
        reasons.append(
            f"Knowledge that {often} is out of date the day after training. Retrieval (RAG) looks it up at the moment of "
            "the question, with no training at all."
        )
        if answers.prompt != "no" or not enough or goal_id == "knowledge":
            if enough and answers.prompt == "no":
                reasons.append(
                    "With your examples, fine-tuning on top teaches the terms, the tone and when to refuse."
                )
                return Advice("RAG plus fine-tuning", tuple(reasons))
            if not enough:
                reasons.append("There are too few examples for fine-tuning to add much on top.")
            return Advice("RAG", tuple(reasons))
        reasons.append(
            "The behaviour itself (tone, format, task) does not change, prompting was not enough and there are examples: "
            "that part fine-tuning does better."
        )
        return Advice("RAG plus fine-tuning", tuple(reasons))
    if answers.prompt == "yes":
        reasons.append(
            "A prompt that works costs nothing to change and nothing to train. Fine-tune later if the prompt gets too long, "
            "too slow, or must move to a smaller and cheaper model."
        )
        return Advice("prompting first", tuple(reasons))
    if answers.examples == "none":
        reasons.append(
            "Without examples there is nothing to learn from. Try a clear instruction first, and collect its best answers: "
            "they become the dataset."
        )
        return Advice("prompting first", tuple(reasons))
    if answers.examples == "few":
        reasons.append(
            "Fewer than 50 examples are mostly learnt by heart. Put the best of them into the prompt now, and fine-tune "
            "from about 100 on."
        )
        return Advice("prompting first", tuple(reasons))
    if answers.prompt == "untried" and answers.examples == "some":
        reasons.append(
            "Half an hour of prompting tells whether you need training at all, and gives the baseline to beat. The examples "
            "are enough to fine-tune afterwards."
        )
        return Advice("prompting first", tuple(reasons))
    reasons.append(
        "Hundreds of good examples say more than any instruction can, and the model needs no long prompt afterwards."
        if answers.examples == "many"
        else "The examples show what an instruction could not say, and there are enough of them to start."
    )
    if answers.prompt == "untried":
        reasons.append("Still, try one good prompt before: it gives the baseline that training has to beat.")
    if answers.changes == "sometimes":
        reasons.append(
            "What changes every few months can be retrained then, or looked up with retrieval (RAG)."
        )
    if goal_id == "knowledge":
        reasons.append(
            "Facts that must be exact are safer looked up (RAG); training teaches the terms and the way to answer."
        )
    return Advice("fine-tune", tuple(reasons))
