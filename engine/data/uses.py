"""Using examples of one form for an objective that wants another: always possible by an explicit choice, never silently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.data.cells import RowProblemError
from engine.data.forms import Conversation, Form, Labelled, Objective, Preference, PromptOnly, Text
from engine.data.shapes.prompts import final_answer


@dataclass(frozen=True, slots=True)
class Use:
    """A way to make examples of another form.

    Attributes:
        name: Its name in run.yaml (``format``).
        sources: Forms it starts from.
        form: The form it makes.
        words: What it does, to follow "or".
        convert: Makes the examples of one; raises `RowProblemError` for one that is left out.
    """

    name: str
    sources: tuple[type[Form], ...]
    form: type[Form]
    words: str
    convert: Callable[[Form], list[Form]]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the made examples can be used for."""
        return self.form.objectives if self.form is not Text else ("cpt",)


def _chosen(form: Form) -> list[Form]:
    assert isinstance(form, Preference)
    return [Conversation(form.prompt + form.chosen, form.tools)]


def _good(form: Form) -> list[Form]:
    assert isinstance(form, Labelled)
    if not form.label:
        raise RowProblemError("marked as bad, and only good answers are learnt", "label")
    return [Conversation(form.prompt + form.completion)]


def _unpaired(form: Form) -> list[Form]:
    assert isinstance(form, Preference)
    return [Labelled(form.prompt, form.chosen, True), Labelled(form.prompt, form.rejected, False)]


def _prompts(form: Form) -> list[Form]:
    if isinstance(form, Preference | Labelled):
        return [PromptOnly(form.prompt)]
    assert isinstance(form, Conversation)
    last = max(index for index, message in enumerate(form.messages) if message["role"] == "assistant")
    answer = final_answer(form.messages[last]["content"])
    return [PromptOnly(form.messages[:last], answer or None)]


def _as_text(form: Form) -> list[Form]:
    return [Text("\n\n".join(text for _, text in form.spoken()))]


USES = (
    Use("chosen", (Preference,), Conversation, "learn only the chosen answers", _chosen),
    Use("good", (Labelled,), Conversation, "learn only the good answers", _good),
    Use(
        "unpaired",
        (Preference,),
        Labelled,
        "take each chosen answer as good and each rejected one as bad",
        _unpaired,
    ),
    Use("prompts", (Preference, Labelled, Conversation), PromptOnly, "take only the prompts", _prompts),
    Use("as_text", (Conversation,), Text, "read the conversations as plain text, without roles", _as_text),
)
IMPLICIT: dict[type[Form], str] = {Conversation: "prompts"}
"""Forms whose conversion loses nothing the objective could use, so it needs no explicit choice."""
