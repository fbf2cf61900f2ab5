"""Which objective serves what somebody wants with the data they have, and what those data can be rewarded for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.advise.goals import find_goal
from engine.advise.objectives import OBJECTIVES
from engine.choice import Choice
from engine.data.dataset import Dataset, Example
from engine.data.forms import Conversation, Labelled, Objective, Preference, PromptOnly, Text
from engine.data.sources import Spec
from engine.data.uses import USES

LOOKED_AT = 100  # examples
SHORT = 60  # characters: an answer that can be compared word by word
_NUMBER = re.compile(r"[-+]?[\d.,]*\d(?:\s*/\s*\d+)?\s*\S{0,3}")

Answers = Literal["numbers", "short", "long", "none"]


@dataclass(frozen=True, slots=True)
class Seen:
    """The first examples of a dataset, as far as the choice of objective and rewards goes.

    Attributes:
        objectives: What the data can be used for as they are, the most natural first.
        title: What they are, in words.
        answers: What could be compared with a made-up answer.
        good_share: Share of answers marked good; None where none are marked.
    """

    objectives: tuple[Objective, ...]
    title: str
    answers: Answers
    good_share: float | None


def look(spec: Spec) -> Seen:
    """Look at the beginning of a dataset.

    Raises:
        UserError: It cannot be read.
    """
    data = Dataset(spec, None, check=False)
    prompts = next(use for use in USES if use.name == "prompts")
    answers: list[str | None] = []
    labels: list[bool] = []
    for count, item in enumerate(data.items()):
        if count == LOOKED_AT:
            break
        if not isinstance(item, Example):
            continue
        form = item.form
        if isinstance(form, Labelled):
            labels.append(form.label)
        if isinstance(form, Conversation) and any(turn["role"] == "assistant" for turn in form.messages):
            form = prompts.convert(form)[0]
        if isinstance(form, PromptOnly):
            answers.append(form.answer)
    share = sum(labels) / len(labels) if labels else None
    return Seen(data.reading.objectives, data.reading.title, _kind(answers), share)


def choose_objective(goal_id: str | None, seen: Seen) -> Choice[Objective]:
    """The objective for a goal, where the data allow it; otherwise the one nearest to it that they do.

    Args:
        goal_id: What the user wants to teach; None takes what the data are made for.
        seen: From `look`.
    """
    possible = seen.objectives or ("sft",)
    goal = find_goal(goal_id or "")
    others = tuple(name for name in possible)
    if goal is None:
        return Choice(possible[0], f"The data are {seen.title}.", others[1:])
    wanted = goal.objective
    if wanted == "grpo" and "sft" in possible and seen.answers in ("long", "none"):
        why = "their answers are too long to compare with, so worked solutions are imitated"
        return Choice(
            "sft",
            f"The data are {seen.title}; {why}. With a reward function of your own choose grpo.",
            tuple(name for name in others if name != "sft"),
        )
    if wanted in possible:
        reason = f"You want {goal.title[0].lower() + goal.title[1:]}, and the data are {seen.title}."
        if wanted == "sft" and possible[0] == "cpt":
            reason += " So all of it is learnt, not only answers; documents belong to the goal Knowledge of a field."
        return Choice(wanted, reason, tuple(name for name in others if name != wanted))
    chosen = possible[0]
    does = OBJECTIVES[chosen].words.rstrip(".")
    return Choice(
        chosen,
        f"The data are {seen.title}: {does[0].lower() + does[1:]}. {_missing(wanted, chosen)}",
        others[1:],
    )


def choose_rewards(seen: Seen | None) -> Choice[list[str]] | None:
    """What to reward where the user has not said; None where only the user can know."""
    if seen is None or seen.answers not in ("numbers", "short"):
        return None
    if seen.answers == "numbers":
        return Choice(
            ["numeric"],
            "The right answers in the data are numbers, so an answer is right or wrong.",
            (["exact"],),
        )
    return Choice(["exact"], "The right answers in the data are short enough to compare word by word.")


def choose_weight(good_share: float | None, good: bool) -> Choice[float]:
    """How much a good (or bad) answer counts, so that both kinds weigh about the same."""
    kind = "good" if good else "bad"
    share = good_share if good_share is None or good else 1 - good_share
    if share is None or share >= 0.4 or share <= 0:
        return Choice(1.0, f"There are enough {kind} answers to count each once.")
    weight = round((1 - share) / share, 2)
    return Choice(
        weight, f"Only {share:.0%} of the answers are {kind}, so each counts {weight:g} times.", (1.0,)
    )


def _missing(wanted: Objective, chosen: Objective) -> str:
    """Why the goal's own objective is not taken, and what to do about that."""
    form = OBJECTIVES[wanted].form
    needs = {
        Conversation: "an answer to each prompt",
        Text: "plain texts",
        Preference: "a better and a worse answer to each prompt",
        PromptOnly: "prompts",
        Labelled: "answers marked good or bad",
    }[form]
    made = OBJECTIVES[chosen].form
    use = next((use for use in USES if made in use.sources and use.form is form), None)
    way = (
        f" To get that from these data ({use.words}): format {use.name} (r in the wizard, or --format {use.name})."
        if use
        else ""
    )
    return f"For {wanted} they would need {needs}.{way}"


def _kind(answers: Sequence[Any]) -> Answers:
    found = [str(answer).strip() for answer in answers if answer is not None and str(answer).strip()]
    if not found:
        return "none"
    if sum(_NUMBER.fullmatch(text) is not None for text in found) >= 0.8 * len(found):
        return "numbers"
    return "short" if sum(len(text) <= SHORT for text in found) >= 0.8 * len(found) else "long"
