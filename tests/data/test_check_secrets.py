"""Keys and personal data are found; what only looks like them is not."""

from __future__ import annotations

import pytest

from engine.data.check.text_problems import text_problems

A = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3kL5mN7pQ9rS1tU3vW5xY7"


def kinds(text: str) -> list[str]:
    return [
        words for kind, words in text_problems(text, text.encode()) if kind in ("secret", "personal data")
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"OPENAI_API_KEY=sk-proj-{A}", "an OpenAI key"),
        (f"use sk-ant-api03-{A}-{A}", "an Anthropic key"),
        ("id AKIAQ3EGXKJ7WYZV2MPN", "an AWS access key"),
        (f"https://x:ghp_{A[:36]}@github.com/a/b", "a GitHub token"),
        (f"hf_{A[:34]}", "a Hugging Face token"),
        (f"AIza{A[:35]}", "a Google API key"),
        (f"xoxb-123456789012-{A[:24]}", "a Slack token"),
        (f"sk_live_{A[:24]}", "a Stripe live key"),
        (f"glpat-{A[:20]}", "a GitLab token"),
        (f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{A[:43]}", "a signed token (JWT)"),
        (f"-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA{A}", "a private key"),
        (f"SG.{A[:22]}.{A[:43]}", "a SendGrid key"),
        ("write to anna.meyer+x@post-kontor.de.", "an e-mail address"),
        ("Konto DE02 1203 0000 0000 2020 51", "a bank account number (IBAN)"),
        ("card 4539 1488 0343 6467, thanks", "a payment card number"),
        ("call +49 30 9018 20 now", "a phone number"),
        ("call (212) 736-5000 now", "a phone number"),
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "Some words before, and {} after them.", "\u4f60\u597d {} \u2019", "x " * 3000 + "{}"]
)
def test_found(text: str, name: str, around: str) -> None:
    assert any(name in words for words in kinds(around.replace("{}", text))), kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "export OPENAI_API_KEY=sk-your-key-here",
        "you@example.com, git@github.com:a/b, @app.route('/'), icon@2x.png, pandas@2.0.1",
        "the DOI 10.1038/s41586-020-2649-2 and the year 2024",
        "IBAN DE89 3704 0044 0532 0130 01",  # wrong checksum
        "card 4539 1488 0343 6468",  # wrong checksum
        "card 4242 4242 4242 4242",  # everybody's test card
        "3.14159265358979323846264338327950288",
        "call 555-123-4567 or (212) 555-0123",
        "12 +3456789012 = ?",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "2024-01-02 12:00:00.123456 id=1234567890123",
        "https://www.python.org/downloads/release/python-3117/?utm_source=newsletter&utm_campaign=long_name_here",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
        "def some_very_long_function_name_with_many_words(argument_number_one): return None",
    ],
)
def test_not_found(text: str) -> None:
    assert kinds(text) == []
