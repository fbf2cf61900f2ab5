"""Prompts without an answer to imitate, perhaps with a reference that tells whether a made-up answer is right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from engine.data.cells import RowProblemError, answer_text
from engine.data.columns import ANSWERS, CONVERSATIONS, PROMPTS, REFERENCES, SYSTEMS, Mapped, Sample
from engine.data.conversation import check_order, is_turns, parsed_prompt, role_in, role_of
from engine.data.forms import Form, PromptOnly
from engine.data.shapes.alpaca import prompt_messages
from engine.data.shapes.base import Candidate, Shape, cell, optional_columns
from engine.display import printable

MARK = "####"
"""What GSM8K writes before the final number of an answer."""
_STRONG = ("ground_truth", "reference_answer", "gold_answer", "expected_answer", "final_answer", "gold")
_NAMES = (
    "prompt", "question", "problem", "query", "instruction", "prompts", "questions", "task", "frage", "pregunta", "вопрос",
    "问题", "質問", "질문", "input", "domanda", "pergunta",
)  # fmt: skip
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")


def final_answer(answer: str) -> str:
    """The part of a worked-out answer that counts: after GSM8K's ``####``, or in the last ``\\boxed{}``."""
    if MARK in answer:
        return answer.rsplit(MARK, 1)[1].strip()
    boxed = _BOXED.findall(answer)
    return str(boxed[-1]).strip() if boxed else answer.strip()


def _detect(sample: Sample) -> Iterator[Candidate]:
    prompt = sample.column(
        _NAMES, lambda name: sample.is_text(name) or sample.holds(name, is_turns)
    ) or sample.column(CONVERSATIONS, lambda name: sample.holds(name, _ends_with_user, 0.9))
    if prompt is None:
        return
    used = {"prompt": prompt} | optional_columns(sample, {"prompt": prompt}, system=SYSTEMS)
    if "reward_model" in sample.columns:
        column = sample.columns["reward_model"]
        yield Candidate(
            used | {"answer": f"{column}.ground_truth"},
            0.97,
            f"{column} holds the right answer to compare with.",
        )
        return
    marked = sample.column(ANSWERS, lambda name: name != prompt and sample.holds(name, _is_marked))
    if marked is not None:
        yield Candidate(
            used | {"answer": marked},
            0.96,
            f"The final answer follows {MARK} in the column {printable(marked, 40)}.",
        )
        return
    turns = sample.holds(prompt, is_turns)
    reference = sample.column(_STRONG, lambda name: name != prompt) or (
        sample.column(REFERENCES[:9], lambda name: name != prompt) if turns else None
    )
    if reference is not None:
        both = sample.column(("completion", "response", "output", "messages", "answer", "solution"))
        yield Candidate(
            used | {"answer": reference}, 0.9 if both and both != reference else 0.975,
            f"The column {printable(reference, 40)} holds the right answer to compare with.",
        )  # fmt: skip
        return
    answered = sample.column(ANSWERS, lambda name: name != prompt)
    yield Candidate(
        used, 0.3 if answered else 0.82, f"The column {printable(prompt, 40)} asks, and nothing answers."
    )


def _ends_with_user(value: Any) -> bool:
    """Turns that wait for an answer, as in OpenAI's reinforcement fine-tuning."""
    if not isinstance(value, list) or not is_turns(value) or not isinstance(value[-1], dict):
        return False
    return role_of(role_in(value[-1]) or "") == "user"


def _is_marked(value: Any) -> bool:
    return isinstance(value, str) and MARK in value


def _normalise(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    prompt = prompt_messages(cell(row, mapping, "prompt"), None, mapping)
    system = cell(row, mapping, "system")
    if system and prompt[0]["role"] != "system":
        prompt.insert(0, {"role": "system", "content": str(parsed_prompt(system))})
    check_order(prompt, complete=False)
    if prompt[-1]["role"] == "assistant":
        raise RowProblemError("the prompt ends with the assistant, so nothing is asked", mapping["prompt"])
    answer = None
    if "answer" in mapping:
        answer = final_answer(answer_text(cell(row, mapping, "answer"), mapping["answer"]))
        if not answer:
            raise RowProblemError(f"empty {printable(mapping['answer'], 40)}", mapping["answer"])
    used = {column.split(".")[0] for column in mapping.values()}
    extra = {name: value for name, value in row.items() if name not in used and value is not None}
    return [PromptOnly(prompt, answer, extra)]


_OPTIONAL = ("answer", "system")
SHAPES = (Shape("prompt_only", "prompts to answer", PromptOnly, ("prompt",), _detect, _normalise, _OPTIONAL),)
assert set(_NAMES) <= set(PROMPTS)
