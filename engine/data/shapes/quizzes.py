"""Questions with their answer inside something larger: SQuAD's articles, multiple choice, translations, Label Studio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import ascii_uppercase
from typing import Any

from engine.data.cells import RowProblemError, answer_text, parsed, text_of
from engine.data.columns import Mapped, Sample
from engine.data.conversation import as_list
from engine.data.forms import Conversation, Form, assistant, user
from engine.data.shapes.base import Candidate, Shape, cell
from engine.display import printable

_CHOICES = ("choices", "options", "answer_choices", "endings", "alternatives")
_KEYS = (
    "answer",
    "answer_key",
    "label",
    "correct_answer",
    "correct",
    "answer_index",
    "answer_idx",
    "correct_option",
    "gold",
    "cop",
)


def _detect_articles(sample: Sample) -> Iterator[Candidate]:
    column = sample.columns.get("paragraphs")
    if column is not None and sample.holds(column, _has_questions):
        yield Candidate(
            {"paragraphs": column}, 0.99, "The paragraphs hold questions with answers, as in SQuAD."
        )


def _has_questions(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "qas" in value[0]


def _articles(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    made: list[Form] = []
    for paragraph in as_list(cell(row, mapping, "paragraphs")):
        if not isinstance(paragraph, dict):
            continue
        context = text_of(paragraph.get("context") or "", "context")
        for question in as_list(paragraph.get("qas")):
            if not isinstance(question, dict) or not question.get("answers"):
                continue  # SQuAD 2 has questions that cannot be answered
            asked = text_of(question.get("question"), "question")
            answer = answer_text(question["answers"], "answers")
            if asked.strip() and answer.strip():
                made.append(Conversation([user(f"{asked}\n\n{context}".strip()), assistant(answer)]))
    if not made:
        raise RowProblemError("no question with an answer", mapping["paragraphs"])
    return made


def _detect_choices(sample: Sample) -> Iterator[Candidate]:
    question = sample.column(
        ("question", "prompt", "query", "problem", "ctx", "input", "stem", "question_stem"), sample.is_text
    )
    choices = sample.column(_CHOICES, lambda name: sample.holds(name, lambda value: bool(_options(value))))
    key = sample.column(_KEYS, lambda name: name not in (question, choices))
    if question and choices and key:
        yield Candidate(
            {"prompt": question, "choices": choices, "completion": key}, 0.97,
            f"{printable(choices, 40)} holds what to choose from, {printable(key, 40)} the right choice.",
        )  # fmt: skip


def _options(value: Any) -> tuple[list[str], list[str]] | None:
    """Letters and texts of what there is to choose from."""
    value = parsed(value)
    if isinstance(value, dict):
        if isinstance(value.get("text"), list):
            texts, letters = value["text"], value.get("label")
            letters = (
                letters if isinstance(letters, list) and len(letters) >= len(texts) else list(ascii_uppercase)
            )
            return [str(letter) for letter in letters], [str(text) for text in texts]
        if value and all(isinstance(text, str) for text in value.values()):
            return [str(key) for key in value], list(value.values())
    if isinstance(value, list) and len(value) > 1:
        if all(isinstance(text, str) for text in value):
            return list(ascii_uppercase), value
        if all(isinstance(item, dict) and "text" in item and "label" in item for item in value):
            return [str(item["label"]) for item in value], [str(item["text"]) for item in value]
    return None


def _choices(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    asked = text_of(cell(row, mapping, "prompt"), mapping["prompt"])
    options = _options(cell(row, mapping, "choices"))
    if options is None:
        raise RowProblemError("nothing to choose from", mapping["choices"])
    letters, texts = options
    right = _right(cell(row, mapping, "completion"), letters, texts)
    if right is None:
        raise RowProblemError("the right choice is none of the options", mapping["completion"])
    if len(letters) < len(texts):
        raise RowProblemError("too many options to choose from", mapping["choices"])
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=False))
    return [Conversation([user(f"{asked}\n{listed}"), assistant(f"{letters[right]}. {texts[right]}")])]


def _right(key: Any, letters: list[str], texts: list[str]) -> int | None:
    if isinstance(key, list):
        key = key[0] if key else None
    if isinstance(key, str):
        key = key.strip()
        for known in (letters[: len(texts)], texts):
            if key in known:
                return known.index(key)
        key = int(key) if key.isdigit() else key
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(texts):
        return key
    return None


def _detect_translation(sample: Sample) -> Iterator[Candidate]:
    column = sample.columns.get("translation")
    if column is None or not sample.holds(column, _is_translation):
        return
    first, second = list(sample.values(column)[0])[:2]
    for rank, (source, target) in enumerate(((first, second), (second, first))):
        yield Candidate(
            {"prompt": f"{column}.{source}", "completion": f"{column}.{target}"}, 0.9 - 0.05 * rank,
            "Each row holds a text in two languages.", f"translations from {source} to {target}",
            "The model learns to translate without being asked to; give a system prompt when you use it.",
        )  # fmt: skip


def _is_translation(value: Any) -> bool:
    return (
        isinstance(value, dict) and len(value) == 2 and all(isinstance(text, str) for text in value.values())
    )


def _detect_label_studio(sample: Sample) -> Iterator[Candidate]:
    data = sample.column(("data",), lambda name: sample.holds(name, lambda value: isinstance(value, dict)))
    marks = sample.column(
        ("annotations", "completions"), lambda name: sample.holds(name, lambda value: isinstance(value, list))
    )
    if data and marks:
        yield Candidate(
            {"data": data, "annotations": marks}, 0.96, "The annotations of Label Studio say what to answer."
        )


def _label_studio(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    data = cell(row, mapping, "data")
    texts = (
        {key: value for key, value in data.items() if isinstance(value, str)}
        if isinstance(data, dict)
        else {}
    )
    asked = next((texts[key] for key in ("prompt", "question", "text", "instruction") if key in texts), None)
    asked = asked if asked is not None else max(texts.values(), key=len, default="")
    answers: list[str] = []
    for annotation in as_list(cell(row, mapping, "annotations"))[:1]:
        for result in as_list(annotation.get("result")) if isinstance(annotation, dict) else []:
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict):
                for key in ("text", "choices", "rating"):
                    if key in value and "start" not in value:
                        answers += [str(item) for item in as_list(value[key])]
    if not asked.strip():
        raise RowProblemError("no text to answer", mapping["data"])
    if not answers:
        raise RowProblemError(
            "no annotation with a choice or a text", mapping["annotations"], "Annotate it first."
        )
    return [Conversation([user(asked), assistant(", ".join(answers))])]


def _plain_pair(row: Mapping[str, Any], mapping: Mapped) -> list[Form]:
    asked, answer = (text_of(cell(row, mapping, role), mapping[role]) for role in ("prompt", "completion"))
    if not asked.strip() or not answer.strip():
        raise RowProblemError("empty translation", mapping["completion"])
    return [Conversation([user(asked), assistant(answer)])]


_PAIR = ("prompt", "completion")
SHAPES = (
    Shape("articles", "articles with questions", Conversation, ("paragraphs",), _detect_articles, _articles),
    Shape("multiple_choice", "multiple-choice questions", Conversation, (*_PAIR, "choices"), _detect_choices, _choices),
    Shape("translation", "translations", Conversation, _PAIR, _detect_translation, _plain_pair),
    Shape(
        "label_studio", "texts annotated in Label Studio", Conversation, ("data", "annotations"), _detect_label_studio,
        _label_studio,
    ),
)  # fmt: skip
