"""Token lengths: exact ones are those of the X-ray, sampled ones state an error that holds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.data.check.advice import recommend_max_length, recommend_packing
from engine.data.check.histogram import Histogram
from engine.data.check.run import CheckRequest, check, stats
from engine.data.check.tokens import TokenStats
from engine.data.render import Renderer


def write(path: Path, count: int, draw: random.Random) -> list[dict[str, list[dict[str, str]]]]:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "word " * draw.randint(1, 20)},
                {"role": "assistant", "content": "answer " * draw.choice((1, 5, 40))},
            ]
        }
        for _ in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return rows


def test_exact_lengths_are_those_of_the_x_ray(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = write(path, 50, random.Random(1))
    report = check(CheckRequest((str(path),), str(tokenizer_folder), max_length=100, exact=True, processes=1))
    renderer = Renderer(tokenizer_folder)
    lengths = [renderer.xray(row).total for row in rows]
    assert report.tokens["longest"] == max(lengths)
    assert report.tokens["mean"] == pytest.approx(sum(lengths) / len(lengths), abs=0.06)
    over = [number for number, length in enumerate(lengths, 1) if length > 100]
    named = {problem.line for problem in report.problems if problem.kind in ("over-long", "no room")}
    assert named == set(over[:50])
    assert report.tokens["truncated_share"] == pytest.approx(len(over) / 50)


def test_a_question_without_room_for_an_answer_is_not_usable(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(
                {"messages": [{"role": "user", "content": "a " * n}, {"role": "assistant", "content": "b"}]}
            )
            for n in (3, 500)
        )
    )
    for exact in (True, False):
        report = check(
            CheckRequest((str(path),), str(tokenizer_folder), max_length=64, exact=exact, processes=1)
        )
        assert report.usable == 1
        assert report.counts["no room"] == 1


def test_the_stated_error_holds(
    tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.data.check import sampling

    monkeypatch.setattr(sampling, "SAMPLE_BYTES", 64 * 1024)
    inside = 0
    for seed in range(3):
        path = tmp_path / f"{seed}.jsonl"
        write(path, 3000, random.Random(seed))
        request = CheckRequest((str(path),), str(tokenizer_folder), max_length=200)
        sampled, _ = stats(request)
        exact, _ = stats(CheckRequest((str(path),), str(tokenizer_folder), exact=True))
        assert sampled.how == "sample"
        assert 100 < sampled.rows < 1500
        low, high = sampled.intervals["mean"]
        assert high - low < 0.3 * exact.mean
        inside += low <= exact.mean <= high
    assert inside >= 2  # each holds with 95 % probability; the seeds are fixed


def test_without_a_model_it_says_that_it_is_rough(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, 20, random.Random(1))
    report = check(CheckRequest((str(path),), processes=1))
    assert report.tokens["how"] == "rough estimate"
    assert "rough estimate" in "\n".join(report.lines())
    assert max(map(len, report.lines())) <= 80


def lengths_of(*pairs: tuple[int, int]) -> TokenStats:
    return TokenStats("all rows", sum(count for _, count in pairs), Histogram(dict(pairs)))


def test_recommendations_have_numbers_in_their_reasons() -> None:
    few_long = lengths_of((300, 995), (5000, 5))
    choice = recommend_max_length(few_long, 32768)
    assert choice.value == 512
    assert "99.5 %" in choice.reason
    assert "5,000" in choice.reason
    assert recommend_max_length(few_long, 256).value == 256
    assert recommend_max_length(lengths_of((16, 30), (250_000, 1))).value == 128  # one row decides nothing
    assert recommend_packing(lengths_of((100, 10)), 1024, "sft").value is True
    assert recommend_packing(lengths_of((900, 10)), 1024, "sft").value is False
    assert recommend_packing(lengths_of((100, 10)), 1024, "dpo").value is False


def test_percentiles() -> None:
    histogram = Histogram()
    for length in range(1, 101):
        histogram.add(length)
    assert histogram.percentiles([0.5, 0.95, 0.99, 1.0]) == [50, 95, 99, 100]
    assert Histogram().percentiles([0.5]) == [0]
    histogram.add(1_000_003)
    assert max(histogram.bins) == pytest.approx(1_000_003, rel=0.005)
