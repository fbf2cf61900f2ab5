"""Names of columns: the many words people use for the same thing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.data.cells import parsed

Mapped = Mapping[str, str]
"""Role to column, such as ``{"prompt": "Frage", "completion": "Antwort"}``."""

CONVERSATIONS = (
    "messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "chat_messages", "chats",
    "dialogues", "trajectory", "traj",
)  # fmt: skip
"""Columns that hold a list of turns."""
TEXTS = (
    "text", "content", "raw_content", "document", "body", "passage", "texts", "article", "sentence", "paragraph",
    "markdown", "md", "code", "story", "lyrics", "poem", "review", "abstract", "raw_text", "full_text", "page_content",
    "chunk", "texto", "texte", "testo", "tekst", "文本", "内容", "正文", "テキスト",
)  # fmt: skip
SYSTEMS = ("system", "system_prompt", "system_message", "sys", "systemprompt")
INPUTS = ("input", "context", "inputs", "输入", "eingabe")
"""Columns with what an instruction is about."""
HISTORIES = ("history",)
TOOLS = ("tools", "tool", "functions", "available_tools", "function_description", "tool_definitions")
IMAGES = (
    "image", "images", "image_path", "image_paths", "image_url", "pixel_values", "audio", "audios", "video", "videos",
    "img",
)  # fmt: skip
INSTRUCTIONS = ("instruction", "instructions", "指令", "anweisung")
# Earlier ones win where a dataset has several.
PROMPTS = (
    "prompt", "question", "instruction", "query", "input", "inputs", "user", "human", "problem", "request", "source",
    "q", "task", "prompts", "questions", "user_message", "user_input", "user_query", "user_prompt", "human_message",
    "customer", "customer_message", "customer_query", "inputs_pretokenized", "src", "front", "frage", "pregunta",
    "pregunta_usuario", "question_fr", "domanda", "pergunta", "vraag", "pytanie", "soru", "вопрос", "问题", "问",
    "提问", "指令", "输入", "質問", "入力", "질문", "سؤال", "प्रश्न", "anfrage", "eingabe", "article", "dialogue",
    "document", "post", "context", "content", "ticket", "message_1", "statement", "題目", "题目", "utterance",
    "goal", "scenario", "description", "title",
)  # fmt: skip
ANSWERS = (
    "completion", "response", "answer", "output", "outputs", "assistant", "reply", "bot", "gpt", "solution", "target",
    "targets", "a", "answers", "responses", "completions", "assistant_message", "assistant_response",
    "model_response", "model_output", "bot_response", "agent_response", "agent_reply", "human_answers", "summary",
    "highlights", "targets_pretokenized", "tgt", "back", "label_text", "antwort", "respuesta", "réponse", "reponse",
    "risposta", "resposta", "antwoord", "odpowiedź", "odpowiedz", "cevap", "ответ", "回答", "答案", "答", "输出",
    "答え", "出力", "답변", "جواب", "إجابة", "उत्तर", "ausgabe", "chatgpt_answers", "ai", "model", "resolution",
    "message_2", "generated_solution", "generation", "canonical_solution", "sql", "code", "translation", "tldr", "解答", "expected_output",
    "ground_truth", "gold", "reference", "final_answer", "text",
)  # fmt: skip
CHOSENS = (
    "chosen", "preferred", "preferred_output", "better", "winner", "win", "accepted", "accept", "positive", "pos",
    "chosen_response", "chosen_answer", "response_chosen", "better_response", "preferred_response", "good_response",
    "answer_chosen", "chosen_output", "response_j", "y_w", "good", "chosen_messages",
)  # fmt: skip
REJECTEDS = (
    "rejected", "dispreferred", "non_preferred", "non_preferred_output", "nonpreferred", "worse", "loser", "lose",
    "loss", "reject", "negative", "neg", "rejected_response", "rejected_answer", "response_rejected",
    "worse_response", "dispreferred_response", "non_preferred_response", "bad_response", "answer_rejected",
    "rejected_output", "response_k", "y_l", "bad", "rejected_messages",
)  # fmt: skip
LABELS = (
    "label",
    "kto_tag",
    "labels",
    "feedback",
    "thumbs",
    "thumb",
    "vote",
    "liked",
    "is_good",
    "good",
    "verdict",
)
"""Columns that say whether the answer is good."""
WEAK_LABELS = (
    "is_correct",
    "correct",
    "is_helpful",
    "helpful",
    "accepted",
    "approved",
    "rating",
    "quality",
    "desirable",
)
REFERENCES = (
    "ground_truth", "reference_answer", "gold_answer", "expected_answer", "final_answer", "gold", "reference",
    "answer", "solution", "target", "label", "answers", "expected_output", "completion", "response", "output",
)  # fmt: skip
# Words that, somewhere in a longer name, tell the two sides of a pair: "Customer Question", "expected_answer".
_PROMPT_WORDS = {
    "prompt", "question", "instruction", "query", "request", "problem", "customer", "user", "frage", "pregunta",
    "domanda", "pergunta", "вопрос", "inquiry", "message", "ticket", "issue", "input",
}  # fmt: skip
_ANSWER_WORDS = {
    "answer", "response", "completion", "reply", "output", "solution", "resolution", "antwort", "respuesta", "réponse",
    "risposta", "resposta", "ответ", "agent", "assistant", "bot",
}  # fmt: skip
_NOT_TEXT_WORDS = {
    "id", "ids", "url", "link", "time", "date", "count", "num", "number", "len", "length", "score", "scores", "type",
    "start", "end", "idx", "index", "hash", "lang", "language", "name", "tokens", "source", "category", "rating", "by",
}  # fmt: skip
_MOST_OBJECTS = 100  # columns looked into
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATOR = re.compile(r"[\s_\-./]+")


def normal_name(column: object) -> str:
    """A column's name without case, spaces and punctuation: ``User-Question:`` becomes ``user_question``."""
    name = str(column)
    if not name.isupper():
        name = _CAMEL.sub("_", name)
    return _SEPARATOR.sub("_", name.strip().strip(":?*#\"'").lower()).strip("_")


class Sample:
    """Some rows of a dataset, and their columns.

    Attributes:
        rows: The rows.
        columns: Normal name to the column as it is written.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows
        self.columns: dict[str, str] = {}
        for row in rows:
            for column in row:
                name = normal_name(column)
                if name not in self.columns:
                    self.columns[name] = column
        self._values: dict[str, list[Any]] = {}

    def inner(self) -> Sample | None:
        """The same rows by the fields of their objects: ``inputs.question``; None where no column holds objects."""
        rows = [
            {
                f"{column}.{key}": value
                for column, cell in list(row.items())[:_MOST_OBJECTS]
                if isinstance(cell, Mapping) and len(cell) <= _MOST_OBJECTS
                for key, value in cell.items()
            }
            for row in self.rows
        ]
        if not any(rows):
            return None
        made = Sample(rows)
        made.columns = {}
        for row in rows:
            for path in row:
                made.columns.setdefault(normal_name(path.partition(".")[2]), path)
        return made

    def column(self, names: Iterable[str], fits: Callable[[str], bool] | None = None) -> str | None:
        """The first of these columns there is, as it is written; `fits` may refuse one."""
        for name in names:
            column = self.columns.get(name)
            if column is not None and (fits is None or fits(column)):
                return column
        return None

    def values(self, column: str) -> list[Any]:
        """What is in a column, lists written as text read as lists; empty cells left out."""
        if column not in self._values:
            found = (row.get(column) for row in self.rows)
            self._values[column] = [parsed(value) for value in found if value is not None and value != ""]
        return self._values[column]

    def holds(self, column: str, fits: Callable[[Any], bool], least: float = 0.5) -> bool:
        """At least this share of the filled cells of a column fit."""
        values = self.values(column)
        return bool(values) and sum(map(fits, values)) >= least * len(values)

    def is_text(self, column: str) -> bool:
        """The column holds texts, not numbers or lists."""
        return self.holds(column, lambda value: isinstance(value, str) and not _is_number(value))

    def mean_length(self, column: str) -> float:
        """Mean length of the texts of a column, in characters."""
        lengths = [len(value) for value in self.values(column) if isinstance(value, str)]
        return sum(lengths) / len(lengths) if lengths else 0.0

    def prompt_like(self) -> str | None:
        """A text column with a word for questions in its name."""
        return self._worded(_PROMPT_WORDS, _ANSWER_WORDS)

    def answer_like(self) -> str | None:
        """A text column with a word for answers in its name."""
        return self._worded(_ANSWER_WORDS, set())

    def _worded(self, wanted: set[str], unwanted: set[str]) -> str | None:
        for name, column in list(self.columns.items())[:200]:
            words = set(name.split("_"))
            if words & wanted and not words & (unwanted | _NOT_TEXT_WORDS) and self.is_text(column):
                return column
        return None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
