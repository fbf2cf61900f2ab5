"""``finetui data``: check, preview and stats on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import presets
from engine.cli.main import main

DEMO = str(Path(presets.__path__[0], "demo"))
TURNS = [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Fine, thanks."}]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"messages": TURNS},
        {"messages": TURNS[:1]},
        {"messages": [TURNS[0], {"role": "assistant", "content": "\x1b[2JBad."}]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def shown(capsys: pytest.CaptureFixture[str], *argv: object, code: int = 0) -> str:
    assert main(["data", *map(str, argv)]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_check_as_text(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    text = shown(capsys, "check", dataset, "--model", DEMO, "--max_length", 128)
    assert "2 of 3 rows usable" in text
    assert "line 2: nobody answers, so there is nothing to learn" in text
    assert "max_length" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_check_as_json(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    found = json.loads(shown(capsys, "check", dataset, "--json"))
    assert {"format", "objective", "rows", "usable", "problems", "tokens"} <= found.keys()
    assert (found["format"], found["objective"], found["rows"], found["usable"]) == ("messages", "sft", 3, 2)
    for problem in found["problems"]:
        assert {"line", "field", "problem", "fix", "severity"} <= problem.keys()
    assert [(p["line"], p["severity"]) for p in found["problems"]] == [
        (2, "row is skipped"),
        (3, "worth a look"),
    ]
    assert set(found["choices"]) == {"max_length", "packing", "num_train_epochs"}


def test_check_repairs_into_a_new_file(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    out = dataset.with_name("good.jsonl")
    text = shown(capsys, "check", dataset, "--fix", out)
    assert "1 x escape sequences removed: line 3" in text
    assert "1 rows could not be repaired" in text
    assert json.loads(out.read_text().splitlines()[1])["messages"][1]["content"] == "Bad."
    again = shown(capsys, "check", dataset, "--fix", out, code=2)
    assert [line[:6] for line in again.splitlines()] == ["Error:", "Where:", "Fix:  "]


def test_exit_code_of_data_that_cannot_be_trained_on(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    dataset.write_text(json.dumps({"messages": TURNS}) + "\n{broken\n")
    assert "Stops the run" in shown(capsys, "check", dataset, code=2)
    dataset.write_text(json.dumps({"messages": TURNS[:1]}))
    assert json.loads(shown(capsys, "check", dataset, "--objective", "grpo", "--json"))["usable"] == 1


def test_preview_marks_what_is_learnt(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    text = shown(capsys, "preview", dataset, "--model", DEMO, "--row", 2)
    assert "Row 2 (line 3)" in text
    assert "[\\x1b[2JBad.<|im_end|>]" in text
    assert "and how to stop" in text
    assert "\x1b" not in text
    cut = shown(capsys, "preview", dataset, "--model", DEMO, "--max_length", 8, code=2)
    assert "cut off from here" in cut


def test_stats(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    text = shown(capsys, "stats", dataset, "--model", DEMO)
    assert "counted in all rows" in text
    found = json.loads(shown(capsys, "stats", dataset, "--model", DEMO, "--json", "--max_length", 16))
    assert found["tokens"]["rows"] == 2
    assert 0 < found["tokens"]["truncated_share"] <= 1


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nope",),
        ("check",),
        ("check", "none.jsonl"),
        ("check", "ROWS", "--objective", "dpo"),
        ("check", "ROWS", "--max_length", "0"),
        ("check", "ROWS", "--exact"),
        ("check", "ROWS", "--model", "no/such-model-here"),
        ("check", "ROWS", "--eval", "none.jsonl"),
        ("check", "ROWS", "ROWS", "--fix", "x.jsonl"),
        ("check", "ROWS", "--fix", "no/such/folder/x.jsonl"),
        ("preview", "ROWS"),
        ("preview", "ROWS", "--model", DEMO, "--row", "9"),
        ("stats", "ROWS"),
        ("check", "\x1b]0;x\x07.jsonl"),
    ],
)
def test_mistakes_are_three_lines(
    capsys: pytest.CaptureFixture[str], dataset: Path, argv: tuple[str, ...]
) -> None:
    text = shown(capsys, *[str(dataset) if word == "ROWS" else word for word in argv], code=2)
    assert [line[:6] for line in text.splitlines()] == ["Error:", "Where:", "Fix:  "]
    assert "\x1b" not in text


def test_looking_needs_no_torch(dataset: Path) -> None:
    code = (
        "import sys\nfrom engine.cli.main import main\n"
        f"assert main(['data', 'check', {str(dataset)!r}, '--model', {DEMO!r}]) == 0\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pandas', 'textual') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("part", ["check", "preview", "stats"])
def test_a_terminal_without_the_letters(tmp_path: Path, part: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"Größe": "Wie groß?", "Antwort 日本": "Zwei Meter, 日本."}, ensure_ascii=False)
    )
    done = subprocess.run(
        [sys.executable, "-m", "tui", "data", part, str(path), "--model", DEMO],
        capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Internal error" not in done.stderr


def test_columns_and_format_by_hand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"links": "What is it?", "rechts": "It is this one."}) + "\n")
    asked = ("--mapping", "prompt=rechts,completion=links")
    assert "[What is it?" in shown(capsys, "preview", path, "--model", DEMO, *asked)
    assert json.loads(shown(capsys, "check", path, *asked, "--json"))["usable"] == 1
    assert "no column" in shown(capsys, "check", path, "--mapping", "prompt=middle", code=2).lower()
    path.write_text(json.dumps({"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}) + "\n")
    assert "Or learn only" in shown(capsys, "check", path, "--objective", "sft", code=2)
    found = json.loads(shown(capsys, "check", path, "--objective", "sft", "--format", "chosen", "--json"))
    assert (found["objective"], found["usable"]) == ("sft", 1)


def test_json_is_json_even_for_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "picture.jsonl"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    assert main(["data", "check", str(broken), "--json"], None) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["usable"] == 0
    assert told["problems"][0]["severity"] == "stops the run"
    assert told["problems"][0]["problem"]
