"""Datasets as they are found in the wild: tiny imitations of the layouts of public sets, exports and spreadsheets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.dataset import Dataset, Example
from engine.errors import UserError

U, A = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
H, G = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
TALK = [("user", "Hi"), ("assistant", "Hello")]
CALL = '{"name": "add", "arguments": {"a": 1}}'
TOOL = '[{"name": "add", "description": "", "parameters": {"type": "object", "properties": {}}}]'
LONG = "It was a bright cold day in April, and the clocks were striking thirteen."


def node(name: str, parent: str | None, role: str | None, text: str, **more: Any) -> dict[str, Any]:
    message = role and {
        "author": {"role": role, "name": None, "metadata": {}},
        "content": {"content_type": "text", "parts": [text]},
        "metadata": more,
    }
    return {"id": name, "message": message, "parent": parent, "children": []}


CHATGPT = {
    "title": "t",
    "create_time": 1.0,
    "current_node": "d",
    "mapping": {
        "a": node("a", None, None, ""),
        "s": node("s", "a", "system", "", is_visually_hidden_from_conversation=True),
        "b": node("b", "s", "user", "Hi"),
        "c": node("c", "b", "assistant", "an answer that was thrown away"),
        "d": node("d", "b", "assistant", "Hello"),
    },
}
CLAUDE = {
    "uuid": "1",
    "name": "t",
    "account": {"uuid": "2"},
    "chat_messages": [
        {
            "uuid": "3",
            "text": "Hi",
            "content": [{"type": "text", "text": "Hi"}],
            "sender": "human",
            "attachments": [],
        },
        {
            "uuid": "4",
            "text": "",
            "content": [{"type": "text", "text": "Hello"}],
            "sender": "assistant",
            "files": [],
        },
    ],
}
SLACK = [
    {"type": "message", "user": "U1", "text": "Hi", "ts": "1700000000.000100"},
    {
        "type": "message",
        "subtype": "bot_message",
        "bot_id": "B1",
        "user": "UB",
        "text": "Hello",
        "ts": "1700000003.0001",
    },
    {"type": "message", "user": "U1", "text": "Hi", "ts": "1700900000.000100"},
    {"type": "message", "user": "UB", "bot_id": "B1", "text": "Hello", "ts": "1700900003.0001"},
]
DISCORD = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "2", "name": "help"},
    "dateRange": {"after": None, "before": None},
    "messages": [
        {"id": str(n), "type": "Default", "timestamp": f"2023-01-15T10:3{n}:00+00:00", "content": text,
         "author": {"id": str(bot), "name": "helper" if bot else "ann", "isBot": bool(bot)}, "attachments": []}
        for n, (bot, text) in enumerate([(0, "Hi"), (1, "Hello"), (0, "Hi"), (1, "Hello")])
    ],
    "messageCount": 4,
}  # fmt: skip
OASST = [
    {"message_id": "a", "parent_id": None, "text": "Hi", "role": "prompter", "lang": "en", "rank": None},
    {"message_id": "b", "parent_id": "a", "text": "worse", "role": "assistant", "lang": "en", "rank": 1.0},
    {"message_id": "c", "parent_id": "a", "text": "Hello", "role": "assistant", "lang": "en", "rank": 0.0},
    {"message_id": "d", "parent_id": None, "text": "Hi", "role": "prompter", "lang": "en", "rank": None},
    {"message_id": "e", "parent_id": "d", "text": "Hello", "role": "assistant", "lang": "en", "rank": 0.0},
]
HH = "\n\nHuman: Hi\n\nAssistant: Hey\n\nHuman: Question: why?\n\nAssistant:"
ULTRA = {
    "source": "s",
    "instruction": "Hi",
    "models": ["a", "b"],
    "completions": [
        {"model": "a", "response": "worse", "overall_score": 4.0, "annotations": {}},
        {"model": "b", "response": "Hello", "overall_score": 8.5, "annotations": {}},
    ],
}
PREFERRED = [("user", "Hi"), ("chosen", "Hello"), ("rejected", "worse")]
GOOD = [("user", "Hi"), ("good", "Hello")]
ASKED = [("user", "Hi")]

JSON_CASES: dict[str, tuple[Any, str, str, list[tuple[str, str]]]] = {
    # LLaMA-Factory's demos
    "identity": ({"instruction": "Hi", "input": "", "output": "Hello"}, "alpaca", "sft", TALK),
    "alpaca history": (
        {"instruction": "Hi", "input": "", "output": "Hello", "system": "S", "history": [["q", "a"]]},
        "alpaca", "sft", [("system", "S"), ("user", "q"), ("assistant", "a"), *TALK],
    ),
    "glaive_toolcall": (
        {"conversations": [H, {"from": "function_call", "value": CALL}, {"from": "observation", "value": '{"sum": 1}'}, G],
         "tools": TOOL},
        "sharegpt", "sft",
        [("user", "Hi"), ("call", "add({'a': 1})"), ("tool", '{"sum": 1}'), ("assistant", "Hello")],
    ),
    "dpo_demo": (
        {"conversations": [H], "chosen": G, "rejected": {"from": "gpt", "value": "worse"}}, "preference", "dpo", PREFERRED
    ),
    "dpo old": ({"instruction": "Hi", "input": "", "output": ["Hello", "worse"]}, "ranked_answers", "dpo", PREFERRED),
    "dpo alpaca": ({"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "worse"}, "preference", "dpo", PREFERRED),
    "kto_demo": ({"messages": [U, A], "label": True}, "labelled", "kto", GOOD),
    "kto alpaca": ({"instruction": "Hi", "input": "", "output": "Hello", "kto_tag": True}, "labelled", "kto", GOOD),
    "c4_demo": ({"text": LONG, "timestamp": "2019", "url": "http://x"}, "text", "cpt", [("text", LONG)]),
    # Other trainers' sets
    "openai chat": ({"messages": [{"role": "system", "content": "S"}, U, A]}, "messages", "sft", [("system", "S"), *TALK]),
    "openai tools": (
        {"messages": [U, {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
         "function": {"name": "add", "arguments": '{"a": 1}'}}]}, {"role": "tool", "tool_call_id": "1", "content": "1"}, A],
         "parallel_tool_calls": False, "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}]},
        "messages", "sft", [("user", "Hi"), ("call", "add({'a': 1})"), ("tool", "1"), ("assistant", "Hello")],
    ),
    "openai preference": (
        {"input": {"messages": [U], "tools": []}, "preferred_output": [A],
         "non_preferred_output": [{"role": "assistant", "content": "worse"}]},
        "preference", "dpo", PREFERRED,
    ),
    "openai legacy": ({"prompt": "Hi", "completion": "Hello"}, "prompt_completion", "sft", TALK),
    "trl ultrafeedback": (
        {"chosen": [U, A], "rejected": [U, {"role": "assistant", "content": "worse"}], "score_chosen": 8.0,
         "score_rejected": 2.0},
        "preference", "dpo", PREFERRED,
    ),
    "zephyr ultrafeedback": (
        {"prompt": "Hi", "prompt_id": "1", "chosen": [U, A], "rejected": [U, {"role": "assistant", "content": "worse"}],
         "messages": [U, A], "score_chosen": 8.0, "score_rejected": 2.0},
        "preference", "dpo", PREFERRED,
    ),
    "ultrafeedback": (ULTRA, "ranked_answers", "dpo", PREFERRED),
    "trl kto-mix": ({"prompt": [U], "completion": [A], "label": True}, "labelled", "kto", GOOD),
    "argilla kto-mix": ({"prompt": "Hi", "completion": [U, A], "label": True, "rating": 5}, "labelled", "kto", GOOD),
    "trl ultrafeedback-prompt": ({"prompt": [U]}, "prompt_only", "grpo", ASKED),
    "deepmath": ({"prompt": [U], "solution": "$4$"}, "prompt_only", "grpo", [*ASKED, ("answer", "$4$")]),
    "dapo": (
        {"data_source": "math", "prompt": [U], "ability": "MATH", "reward_model": {"ground_truth": "34", "style": "rule"},
         "extra_info": {"index": "1"}},
        "prompt_only", "grpo", [*ASKED, ("answer", "34")],
    ),
    "gsm8k": ({"question": "Hi", "answer": "Half of 8 is <<8/2=4>>4.\n#### 4"}, "prompt_only", "grpo", [*ASKED, ("answer", "4")]),
    "orca pairs": ({"system": "", "question": "Hi", "chosen": "Hello", "rejected": "worse"}, "preference", "dpo", PREFERRED),
    "anthropic hh": (
        {"chosen": f"{HH} Hello", "rejected": f"{HH} worse"}, "preference", "dpo",
        [("user", "Hi"), ("assistant", "Hey"), ("user", "Question: why?"), ("chosen", "Hello"), ("rejected", "worse")],
    ),
    "hh with prompt": ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello", "rejected": " worse"}, "preference",
                       "dpo", [("user", "Hi"), ("chosen", " Hello"), ("rejected", " worse")]),
    "lmsys arena": (
        {"question_id": "1", "model_a": "x", "model_b": "y", "winner": "model_b",
         "conversation_a": [U, {"role": "assistant", "content": "worse"}], "conversation_b": [U, A], "turn": 1},
        "two_answers", "dpo", PREFERRED,
    ),
    "safe rlhf": (
        {"prompt": "Hi", "response_0": "worse", "response_1": "Hello", "better_response_id": 1, "is_response_0_safe": False},
        "two_answers", "dpo", PREFERRED,
    ),
    "alpaca farm": (
        {"instruction": "Hi", "input": "", "output_1": "worse", "output_2": "Hello", "preference": 2},
        "two_answers", "dpo", PREFERRED,
    ),
    "openai summaries": (
        {"info": {"id": "1", "post": "Hi"}, "summaries": [{"text": "worse"}, {"text": "Hello"}], "choice": 1},
        "ranked_answers", "dpo", PREFERRED,
    ),
    "dolly": ({"instruction": "Hi", "context": "", "response": "Hello", "category": "qa"}, "alpaca", "sft", TALK),
    "orca": ({"id": "1", "system_prompt": "S", "question": "Hi", "response": "Hello"}, "question_answer", "sft",
             [("system", "S"), *TALK]),
    "metamath": ({"query": "Hi", "response": "Hello", "type": "GSM", "original_question": "Hm"}, "question_answer", "sft", TALK),
    "flan": ({"inputs": "Hi", "targets": "Hello", "task": "t"}, "question_answer", "sft", TALK),
    "firefly": ({"kind": "x", "input": "Hi", "target": "Hello"}, "question_answer", "sft", TALK),
    "no_robots": ({"prompt": "Hi", "prompt_id": "1", "messages": [U, A], "category": "x"}, "messages", "sft", TALK),
    "capybara": ({"source": "x", "conversation": [{"input": "Hi", "output": "Hello"}]}, "messages", "sft", TALK),
    "ultrachat": ({"id": "1", "data": ["Hi", "Hello"]}, "messages", "sft", TALK),
    "wildchat": (
        {"conversation_hash": "1", "model": "m", "timestamp": "2023", "conversation": [U | {"toxic": False}, A | {"toxic": False}],
         "turn": 1}, "messages", "sft", TALK,
    ),
    "sharegpt dump": ({"id": "1", "conversations": [H, G]}, "sharegpt", "sft", TALK),
    "stringified": ({"messages": json.dumps([U, A])}, "messages", "sft", TALK),
    "python repr": ({"conversations": str([H, G])}, "sharegpt", "sft", TALK),
    "guanaco": ({"text": "### Human: Hi### Assistant: Hello".replace("###", "\n###")}, "transcript", "sft", TALK),
    "guanaco llama2": ({"text": "<s>[INST] Hi [/INST] Hello </s>"}, "transcript", "sft", TALK),
    "chatml text": ({"text": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"}, "transcript", "sft", TALK),
    "alpaca text": (
        {"text": "Below is an instruction.\n\n### Instruction:\nHi\n\n### Response:\nHello"}, "transcript", "sft", TALK
    ),
    "glaive": (
        {"system": "SYSTEM: S", "chat": "USER: Hi\n\n\nASSISTANT: Hello <|endoftext|>\n\n\n"}, "transcript", "sft",
        [("system", "S"), *TALK],
    ),
    "xlam": ({"query": "Hi", "tools": TOOL, "answers": f"[{CALL}]", "id": 1}, "question_answer", "sft",
             [("user", "Hi"), ("call", "add({'a': 1})")]),
    "squad": (
        {"id": "1", "title": "t", "context": LONG, "question": "Hi", "answers": {"text": ["Hello"], "answer_start": [1]}},
        "question_answer", "sft", [("user", f"Hi\n\n{LONG}"), ("assistant", "Hello")],
    ),
    "arc": (
        {"id": "1", "question": "Hi", "choices": {"text": ["no", "yes"], "label": ["A", "B"]}, "answerKey": "B"},
        "multiple_choice", "sft", [("user", "Hi\nA. no\nB. yes"), ("assistant", "B. yes")],
    ),
    "mmlu": ({"question": "Hi", "subject": "s", "choices": ["no", "yes"], "answer": 1}, "multiple_choice", "sft",
             [("user", "Hi\nA. no\nB. yes"), ("assistant", "B. yes")]),
    "opus": ({"id": "1", "translation": {"en": "Hi", "de": "Hallo"}}, "translation", "sft", [("user", "Hi"), ("assistant", "Hallo")]),
    "samsum": ({"id": "1", "dialogue": "A: Hi\r\nB: Hello", "summary": "They greet."}, "question_answer", "sft",
               [("user", "A: Hi\r\nB: Hello"), ("assistant", "They greet.")]),
    "wikipedia": ({"id": "1", "url": "u", "title": "April", "text": LONG}, "text", "cpt", [("text", LONG)]),
    "sentiment": ({"text": LONG, "sentiment": "positive"}, "text_label", "sft", [("user", LONG), ("assistant", "positive")]),
    "label studio": (
        {"id": 1, "data": {"text": LONG}, "annotations": [{"result": [{"type": "choices", "value": {"choices": ["calm"]}}]}]},
        "label_studio", "sft", [("user", LONG), ("assistant", "calm")],
    ),
    "openai reinforcement": ({"messages": [U], "reference_answer": "4"}, "prompt_only", "grpo", [*ASKED, ("answer", "4")]),
    "openmath": (
        {"expected_answer": "4", "problem": "Hi", "generated_solution": "It is 4.", "pass_rate": "n/a"},
        "prompt_only", "grpo", [*ASKED, ("answer", "4")],
    ),
    "shp": (
        {"post_id": "1", "history": "Hi", "human_ref_A": "worse", "human_ref_B": "Hello", "labels": 0, "score_A": 3, "score_B": 9},
        "two_answers", "dpo", PREFERRED,
    ),
    "orpo mix": (
        {"source": "s", "chosen": [U, A], "rejected": [U, {"role": "assistant", "content": "worse"}], "prompt": "Hi", "question": "Hi"},
        "preference", "dpo", PREFERRED,
    ),
    "magpie": ({"uuid": "1", "instruction": "Hi", "response": "Hello", "conversations": [H, G]}, "sharegpt", "sft", TALK),
    "sql": (
        {"question": "Hi", "context": "CREATE TABLE t", "answer": "SELECT 1"}, "question_answer", "sft",
        [("user", "Hi\n\nCREATE TABLE t"), ("assistant", "SELECT 1")],
    ),
    "intents": ({"utterance": "Hi there", "intent": "greet"}, "text_label", "sft", [("user", "Hi there"), ("assistant", "greet")]),
    "helpsteer3": (
        {"domain": "code", "language": "c", "context": [U], "response1": "worse", "response2": "Hello", "overall_preference": 2},
        "two_answers", "dpo", PREFERRED,
    ),
    "mbpp": ({"task_id": 1, "text": "Hi", "code": "def hello():\n    return 1", "test_list": ["assert hello()"]},
             "question_answer", "sft", [("user", "Hi"), ("assistant", "def hello():\n    return 1")]),
    "doccano": ({"id": 1, "text": LONG, "label": ["calm"]}, "text_label", "sft", [("user", LONG), ("assistant", "calm")]),
    "tickets": ({"Ticket ID": 1, "Subject": "s", "Description": "Hi", "Resolution": "Hello"}, "question_answer", "sft", TALK),
    "multiwoz": (
        {"dialogue_id": "x", "turns": [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Hello"}]},
        "messages", "sft", TALK,
    ),
    "traces": ({"inputs": {"question": "Hi"}, "outputs": {"answer": "Hello"}, "metadata": {}}, "question_answer", "sft", TALK),
    "batch requests": ({"custom_id": "1", "body": {"model": "m", "messages": [U, A]}}, "messages", "sft", TALK),
    "argilla records": ({"id": "1", "fields": {"prompt": "Hi", "response": "Hello"}, "responses": {}}, "question_answer", "sft", TALK),
    # Chat products
    "open webui": ({"id": "1", "title": "t", "chat": {"title": "t", "messages": [U, A], "history": {}}}, "messages", "sft", TALK),
    "chatgpt": (CHATGPT, "chatgpt_export", "sft", TALK),
    "claude": (CLAUDE, "claude_export", "sft", TALK),
    "anthropic api": (
        {"messages": [U, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}]}]},
        "messages", "sft", [("user", "Hi"), ("thinking", "hm"), ("assistant", "Hello")],
    ),
    "gemini": ({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}]},
               "messages", "sft", TALK),
    "bare turns": ([U, A], "messages", "sft", TALK),
    "spaced names": ({"User Question": "Hi", "Expected_Answer": "Hello", "Response Time": "3 s"}, "question_answer", "sft", TALK),
    "chinese": ({"问题": "Hi", "回答": "Hello"}, "question_answer", "sft", TALK),
}  # fmt: skip


def only(path: Path, **more: Any) -> tuple[Dataset, list[Any]]:
    data = Dataset(path, **more)
    return data, list(data.items())


@pytest.mark.parametrize("name", JSON_CASES)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_public_layouts(tmp_path: Path, name: str, form: str) -> None:
    row, shape, objective, spoken = JSON_CASES[name]
    rows = [row] * 3
    file = tmp_path / f"x.{form}"
    file.write_text(
        json.dumps(rows, indent=2) if form == "json" else "".join(json.dumps(row) + "\n" for row in rows)
    )
    data, items = only(file)
    assert (data.reading.shape, data.reading.objective) == (shape, objective), data.reading
    assert [type(item) for item in items] == [Example] * 3, items
    assert items[0].form.spoken() == spoken
    assert data.reading.example([row for _, row in data.first]) == spoken
    assert data.reading.reason.endswith(".")


@pytest.mark.parametrize(
    ("name", "content", "spoken", "numbers"),
    [
        ("slack.json", json.dumps(SLACK, indent=1), TALK, [2, 16]),
        ("discord.json", json.dumps(DISCORD), [*TALK, *TALK], [1]),
        ("oasst.jsonl", "\n".join(map(json.dumps, OASST)), TALK, [1, 4]),
        (
            "log.csv",
            "conversation_id,role,content\n1,user,Hi\n1,assistant,Hello\n2,user,Hi\n2,assistant,Hello\n",
            TALK,
            [2, 4],
        ),
        (
            "whatsapp.txt",
            "12/31/23, 10:15 PM - Messages are end-to-end encrypted.\n12/31/23, 10:15 PM - Ann: Hi\n"
            "12/31/23, 10:16 PM - Support: Hello\n1/2/24, 10:15 AM - Ann: Hi\n1/2/24, 10:16 AM - Support: Hello\n",
            TALK,
            [2, 4],
        ),
        (
            "telegram.json",
            json.dumps({"name": "c", "type": "personal_chat", "messages": [
                {"id": n, "type": "message", "date": f"2023-01-0{1 + n // 2}T10:00:0{n}", "from": who, "text": text}
                for n, (who, text) in enumerate([("Ann", "Hi"), ("My Bot", ["Hel", {"type": "bold", "text": "lo"}]),
                                                 ("Ann", "Hi"), ("My Bot", "Hello")])
            ]}),
            TALK,
            [1, 3],
        ),
        ("dialogue.txt", "User: Hi\nAssistant: Hello\n\nUser: Hi\nAssistant: Hello\n", TALK, [1, 4]),
        ("faq.md", "**Q:** Hi\n**A:** Hello\n\n**Q:** Hi\n**A:** Hello\n", TALK, [1, 4]),
    ],
)  # fmt: skip
def test_one_message_a_row(
    tmp_path: Path, name: str, content: str, spoken: list[tuple[str, str]], numbers: list[int]
) -> None:
    (tmp_path / name).write_text(content)
    data, items = only(tmp_path / name)
    assert data.reading.objective == "sft", data.reading
    assert [item.number for item in items] == numbers, items
    assert items[0].form.spoken() == spoken


def test_preferences_of_which_some_are_below_zero(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Hi", "response1": "one", "response2": "two", "overall_preference": strength}
        for strength in (-3, 1, 0)
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data, items = only(tmp_path / "x.jsonl")
    assert data.reading.shape == "two_answers"
    assert [item.form.spoken()[1:] for item in items[:2]] == [
        [("chosen", "one"), ("rejected", "two")], [("chosen", "two"), ("rejected", "one")]
    ]  # fmt: skip
    assert "a tie" in items[2].problem


def test_telegrams_export_of_a_whole_account(tmp_path: Path) -> None:
    chats = [
        {"id": chat, "type": "personal_chat", "messages": [
            {"id": n, "date": f"2023-01-01T10:00:0{n}", "from": who, "text": text}
            for n, (who, text) in enumerate([("Ann", "Hi"), ("My Bot", "Hello")])
        ]}
        for chat in (1, 2)
    ]  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps({"about": "x", "chats": {"about": "y", "list": chats}}))
    data, items = only(tmp_path / "result.json")
    assert data.reading.shape == "chat_log"
    assert [item.form.spoken() for item in items] == [TALK, TALK]


def test_a_spreadsheet_saved_as_unicode_text(tmp_path: Path) -> None:
    text = "Question\tAnswer\r\nHi\tHello\r\nHi\tHello\r\n"
    (tmp_path / "faq.txt").write_bytes(text.encode("utf-16"))
    data, items = only(tmp_path / "faq.txt")
    assert data.reading.shape == "question_answer"
    assert [item.form.spoken() for item in items] == [TALK, TALK]
    (tmp_path / "prose.txt").write_text("One.\n\tTwo begins with a tab.\nThree.\n")
    assert only(tmp_path / "prose.txt")[0].reading.shape == "text"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
        ("<!DOCTYPE html><html>404</html>", "web page"),
    ],
)
def test_what_came_instead_of_the_dataset(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(UserError, match=what):
        Dataset(tmp_path / "x.jsonl")


def test_squad_as_it_is_published(tmp_path: Path) -> None:
    answered = {
        "question": "Hi",
        "id": "1",
        "answers": [{"text": "Hello", "answer_start": 3}],
        "is_impossible": False,
    }
    impossible = {"question": "Hi", "id": "2", "answers": [], "is_impossible": True}
    article = {"title": "t", "paragraphs": [{"context": LONG, "qas": [answered, impossible, answered]}]}
    (tmp_path / "train-v2.0.json").write_text(json.dumps({"version": "v2.0", "data": [article]}))
    data, items = only(tmp_path / "train-v2.0.json")
    assert data.reading.shape == "articles"
    assert [item.form.spoken() for item in items] == [[("user", f"Hi\n\n{LONG}"), ("assistant", "Hello")]] * 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_a_spreadsheet_with_questions(tmp_path: Path, encoding: str) -> None:
    text = 'Kategorie;Frage;Antwort;\r\nGröße;"Wie groß; genau?";"Zwei\r\nMeter";\r\nFarbe;Welche Farbe?;Grün;\r\n'
    (tmp_path / "faq.csv").write_bytes(text.encode(encoding))
    data, items = only(tmp_path / "faq.csv")
    assert (data.reading.shape, data.reading.title) == ("question_answer", "pairs of Frage and Antwort")
    assert [(item.number, item.form.spoken()[1][1]) for item in items] == [(2, "Zwei\r\nMeter"), (4, "Grün")]
    assert bool(data.notes) == (encoding != "utf-8-sig")


def test_images_are_recognised_and_said_to_be_for_later(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "<image>Who?"}, A], "images": ["mllm_demo_data/1.jpg"]}
    (tmp_path / "mllm_demo.json").write_text(json.dumps([row, row]))
    data, items = only(tmp_path / "mllm_demo.json")
    assert (data.reading.shape, data.reading.objectives, data.reading.images) == ("messages", (), True)
    assert "cannot be trained on yet" in data.reading.note
    assert [item.problem for item in items] == [
        "it has images, sound or film, which cannot be trained on yet"
    ] * 2
    assert data.reading.example([row]) == [("user", "<image>Who?"), ("assistant", "Hello")]


def test_labels_of_single_steps_are_not_taken_for_something_else(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "completions": ["one", "two"], "labels": [True, False]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="solutions with a label for each step"):
        Dataset(tmp_path / "x.jsonl", "sft")


def test_a_folder_exported_from_slack(tmp_path: Path) -> None:
    (tmp_path / "help").mkdir()
    for name in ("users.json", "channels.json", "integration_logs.json"):
        (tmp_path / name).write_text('[{"id": "1", "name": "x"}]')
    for day, said in (("2023-11-14", SLACK[:2]), ("2023-11-24", SLACK[2:])):
        (tmp_path / "help" / f"{day}.json").write_text(json.dumps(said))
    data, items = only(tmp_path)
    assert [item.form.spoken() for item in items] == [TALK, TALK]
    assert [data.source.place(item.number) for item in items] == [
        "help/2023-11-14.json, line 1", "help/2023-11-24.json, line 1"
    ]  # fmt: skip
