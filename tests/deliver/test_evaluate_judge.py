"""A judge behind a local server that speaks as OpenAI-compatible endpoints do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engine.deliver.evaluate.judge import Judge, Pair, is_here
from engine.errors import UserError

KEY = "sk-very-secret"


class Court(ThreadingHTTPServer):
    """Prefers the longer answer; `plan` says what it does first: status codes, or words to reply."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Bench)
        self.plan: list[int | str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.always: str | None = None
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Bench(BaseHTTPRequestHandler):
    server: Court

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.keys.append(self.headers["Authorization"])
        now = self.server.plan.pop(0) if self.server.plan else self.server.always or 200
        if isinstance(now, int) and now != 200:
            self.send_response(now)
            self.send_header("Retry-After", "7")
            if now == 307:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(f"temperature is not for me, {self.headers['Authorization']}\x1b".encode())
            return
        asked = body["messages"][1]["content"]
        first, second = (asked.split(f"[Answer {side}]\n")[1].split("\n\n[Answer")[0] for side in "AB")
        word = "T" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
        reply = now if isinstance(now, str) else f"<think>B? A?</think> **{word}**"
        told = json.dumps({"choices": [{"message": {"content": reply}}]})
        if reply == "broken":
            told = "<html>"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(told.encode())

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def court(monkeypatch: pytest.MonkeyPatch) -> Iterator[Court]:
    monkeypatch.setenv("FINETUI_JUDGE_API_KEY", KEY)
    with Court() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def judge(court: Court, waits: list[float] | None = None) -> Judge:
    return Judge(court.url, "wise", (waits if waits is not None else []).append, 5)


PAIRS = [
    Pair("Why?", "Because.", "No.", "Because it is."),
    Pair("Why?", None, "It is so long.", "No."),
    Pair("Why?", None, "Same.", "Same. "),
    Pair("Why?", None, "abc", "xyz"),
]


def test_both_orders_are_asked_and_ties_counted(court: Court) -> None:
    done: list[int] = []
    found = judge(court).judge(PAIRS, done.append)
    assert found.scores == [1.0, 0.0, 0.5, 0.5]
    assert (found.asked, found.flipped, found.first, found.unclear) == (3, 0, 0.5, 0)
    assert sorted(done) == [1, 2, 3]
    assert len(court.bodies) == 6  # equal answers are not sent
    assert set(court.keys) == {f"Bearer {KEY}"}
    assert court.bodies[0]["model"] == "wise"
    assert any("[Reference answer]\nBecause." in body["messages"][1]["content"] for body in court.bodies)
    assert "2 of 4 are ties" in found.words()


def test_a_judge_that_likes_the_first_place_is_told(court: Court) -> None:
    court.always = "A"
    found = judge(court).judge(PAIRS)
    assert found.scores == [0.5] * 4
    assert (found.flipped, found.first) == (3, 1.0)
    assert "stood first in 100% of its decisions" in found.words()
    court.always = "I cannot say"
    assert judge(court).judge(PAIRS).unclear == 6
    for reply in (
        "B",
        "b.",
        "Answer B is a better one",
        "**B** is right, A is not",
        "<think>A</think> B: it is a fact",
    ):
        court.always = reply
        assert judge(court).judge(PAIRS).first == 0.0, reply


def test_what_passes_is_tried_again(court: Court) -> None:
    waits: list[float] = []
    court.plan = [429, 503, "broken"]
    judge(court, waits).check()
    assert waits == [7, 14, 28]  # at least as long as the server asks
    court.plan = [429] * 4
    with pytest.raises(UserError) as error:
        judge(court).check()
    assert "too many requests (429)" in error.value.what


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "does not accept the key"),
        (403, "does not accept the key"),
        (404, "no such address"),
        (422, "refuses"),
    ],
)
def test_what_does_not_pass_is_said_at_once(court: Court, code: int, words: str) -> None:
    court.plan = [code]
    with pytest.raises(UserError) as error:
        judge(court).check()
    assert words in str(error.value)
    assert KEY not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert len(court.bodies) == 1


def test_settings_that_a_model_refuses_are_left_out(court: Court) -> None:
    court.plan = [400]
    judge(court).check()
    assert "temperature" in court.bodies[0]
    assert "temperature" not in court.bodies[1]


def test_key_and_rows_go_nowhere_else(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    court.plan = [307]
    with pytest.raises(UserError) as error:
        judge(court).check()
    assert "307" in str(error.value)
    monkeypatch.delenv("FINETUI_JUDGE_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    court.plan = [401]
    with pytest.raises(UserError, match="none is set"):
        judge(court).check()
    assert court.keys[-1] is None


def test_addresses() -> None:
    assert is_here("http://localhost:8000/v1")
    assert not is_here("https://api.example.com/v1")
    for bad in ("api.example.com/v1", "file:///etc/passwd", "http://[::1", "https://me:secret@host/v1"):
        with pytest.raises(UserError) as error:
            Judge(bad, "m")
        assert "secret" not in str(error.value)
    waits: list[float] = []
    with pytest.raises(UserError, match="after 4 tries"):
        Judge("http://127.0.0.1:9/v1", "m", waits.append).check()
    assert waits == [1, 2, 4]
