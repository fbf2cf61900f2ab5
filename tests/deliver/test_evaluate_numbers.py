"""The numbers of an evaluation against values worked out by hand."""

from __future__ import annotations

import fnmatch
import json
import math
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.deliver.evaluate import auto, kinds, show
from engine.deliver.evaluate.answers import MEASURES, is_number, words
from engine.deliver.evaluate.kinds import KINDS
from engine.deliver.evaluate.own_function import OwnFunction
from engine.deliver.evaluate.report import Change, Metric, Report, Row, newest, save
from engine.deliver.evaluate.rows import evenly
from engine.deliver.evaluate.statistics import paired, rows_needed
from engine.deliver.evaluate.tasks import check_names, metrics_of, require
from engine.deliver.evaluate.verdict import decide, metric_of, shift
from engine.errors import UserError
from engine.run.layout import RunDir

DIFFERENT = Change("different", "They differ.")


@pytest.mark.parametrize(
    ("name", "answer", "reference", "wanted"),
    [
        ("exact_match", "Hoot  hoot!\n", "Hoot hoot!", 1),
        ("exact_match", "hoot hoot!", "Hoot hoot!", 0),
        ("token_f1", "The cat sat", "a cat sat down!", 0.8),  # 2 of 2 and of 3 words
        ("token_f1", "", "", 1),
        ("token_f1", "dog", "cat", 0),
        ("token_f1", "It's 1,000.", "its 1000", 1),  # as SQuAD's own script counts
        ("rouge1", "the cat the mat", "the cat sat on the mat", 0.8),  # 4 of 4 and of 6
        ("rouge2", "the cat the mat", "the cat sat on the mat", 0.5),  # 2 of 3 and of 5
        ("rouge2", "dog", "cat", 0),
        ("rouge2", "cat", "cat", 1),
        ("rougeL", "the cat the mat", "the cat sat on the mat", 0.8),
        ("rougeL", "a b c d", "b a d c", 0.5),
        ("rougeL", "кот сидит", "кот сидит дома", 0.8),  # what keeps only a to z says 0
        ("rouge1", "猫坐着", "猫睡着", 2 / 3),
        ("json", '{"a": 1}', "", 1),
        ("json", 'Here: {"a": 1}', "", 0),
        ("json", "7", "", 0),
        ("json_keys", '{"a": {"b": 1}}', '{"a": {"c": 1}}', 0.5),  # a of a and a.b, a and a.c
        ("json_keys", '[{"a": 1}, {"a": 2}]', '[{"a": 9}]', 1),
        ("json_keys", "no", '{"a": 1}', 0),
        ("numeric", "That makes 1,000 in all.", "#### 1000", 1),
        ("numeric", "7 or 8", "7", 0),
    ],
)
def test_answers_are_compared_as_by_hand(name: str, answer: str, reference: str, wanted: float) -> None:
    assert MEASURES[name](answer, reference) == pytest.approx(wanted)


def test_words_of_any_script() -> None:
    assert words("It's  “fine” – ÄRGER!") == ["it", "s", "fine", "ärger"]
    assert [is_number(text) for text in ("7", "1,000 €", "So it is 7.", "So: #### 7", "")] == [
        True, True, False, True, False,
    ]  # fmt: skip


def test_differences_are_paired_and_weighted() -> None:
    found = paired([0, 0, 0, 0], [1, 1, 0, 0])
    assert (found.before, found.after, found.difference, found.rows, found.differing) == (0, 0.5, 0.5, 4, 2)
    assert not found.is_shown  # two rows that differ are chance
    weighted = paired([1, 3], [1, 1], weights=[3, 1])
    assert (weighted.before, weighted.after) == (1.5, 1)
    perplexity = paired([1.0, 1.0], [0.0, 0.0], transform=math.exp)
    assert perplexity.difference == pytest.approx(1 - math.e)
    assert paired([0.0] * 6, [1.0] * 6).is_shown
    assert not paired([0.0] * 5, [1.0] * 5).is_shown
    for sign in (1, -1):  # ten of ten do not mean all: Clopper and Pearson's table says 69.2 %
        every = paired([0.0] * 10, [sign * 1.0] * 10)
        assert sorted((abs(every.low), abs(every.high))) == pytest.approx([0.692, 1], abs=1e-3)
        assert every.low <= every.difference <= every.high
    assert (paired([1.0] * 9, [1.0] * 9).low, paired([1.0], [1.0]).high) == (0, 0)
    with pytest.raises(ValueError, match="the same rows"):
        paired([1.0], [])


def test_the_interval_is_that_of_the_normal_distribution_and_the_same_twice() -> None:
    draw = random.Random(1)
    apart = [draw.gauss(0.2, 1) for _ in range(400)]
    found = paired([0.0] * 400, apart)
    mean = sum(apart) / 400
    half = 1.96 * math.sqrt(sum((one - mean) ** 2 for one in apart) / 399 / 400)
    assert found.difference == pytest.approx(mean)
    assert found.low == pytest.approx(mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(mean + half, abs=0.1 * half)
    assert paired([0.0] * 400, apart) == found
    assert paired([0.0] * 400, apart, seed=1).low != found.low


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["normal", "share"])
def test_the_interval_covers_the_truth_in_95_of_100_cases(kind: str) -> None:
    draw = random.Random(7)
    covered = 0
    for _ in range(400):
        before = [float(draw.random() < 0.4) if kind == "share" else draw.gauss(0, 1) for _ in range(60)]
        after = [float(draw.random() < 0.6) if kind == "share" else draw.gauss(0.3, 2) for _ in range(60)]
        found = paired(before, after, resamples=2000)
        covered += found.low <= (0.2 if kind == "share" else 0.3) <= found.high
    assert 0.91 <= covered / 400 <= 0.98


def test_rows_needed() -> None:
    assert rows_needed(0.1, 0.5) == 200  # (2.8 * 5) ** 2 = 196
    assert rows_needed(-0.1, 0.5) == 200
    assert rows_needed(5, 0.1) == 6
    assert rows_needed(0, 0.5) is None


def test_what_fits_the_data_is_measured() -> None:
    def first(objective: str, references: list[str], is_text: bool = False) -> list[str]:
        return auto.chosen([], objective, is_text, references)

    assert first("sft", ["A cow says moo."])[0] == "exact_match"
    assert first("sft", ["word " * 40])[0] == "token_f1"
    assert first("sft", ["7", "12"])[0] == "numeric"
    assert first("sft", ['{"a": "' + "word " * 20 + '"}'])[:2] == ["json_keys", "json"]
    assert first("sft", ["A text."], True) == ["loss", "perplexity"]
    assert first("reward", ["Good."]) == []
    assert "exact_match" not in first("dpo", ["Good."])
    assert auto.chosen(["rouge2", "auto"], "sft", False, ["Moo."])[:2] == ["rouge2", "exact_match"]
    with pytest.raises(UserError) as error:
        kinds.check(["exact"])
    assert "exact_match?" in error.value.fix


def lines(before: list[float], after: list[float], name: str = "exact_match") -> Metric:
    return metric_of(KINDS[name], paired(before, after))


def test_the_verdict_in_plain_words() -> None:
    better = lines([0.0] * 40, [1.0] * 38 + [0.0] * 2)
    worse = lines([1.0] * 40, [2.0] * 40, "loss")
    outcome, told = decide([better, worse], "exact_match", DIFFERENT)
    assert outcome == "better"
    assert told[0].startswith(
        "Better: exact match (answers that are right word for word) went from 0.0 % to 95.0 %"
    )
    assert told[1] == "But worse: loss."
    assert decide([better, worse], "loss", DIFFERENT)[0] == "worse"
    # mean 0.1, variance 0.49 * 20 / 19: 7.84 * 51.6 = 404
    noise = lines([1.0] * 10 + [0.0] * 10, [0.0] * 4 + [1.0] * 6 + [1.0] * 6 + [0.0] * 4)
    outcome, told = decide([noise], "exact_match", DIFFERENT)
    assert outcome == "none"
    assert "may be chance" in told[0]
    assert "To be sure about a change of this size takes roughly 410 rows." in told[0]
    assert "only 20 rows" in told[1]
    few = lines([0.0] * 40, [1.0] * 3 + [0.0] * 37)
    assert "Only 3 rows differ" in decide([few], "exact_match", DIFFERENT)[1][0]
    outcome, told = decide([better], "exact_match", Change("identical", "The learning rate was 0."))
    assert outcome == "identical"
    assert "the two models are identical. The learning rate" in told[0]
    assert decide([], "", DIFFERENT)[0] == "none"
    assert shift(better, -0.00001) == "+0.0"


def made_report() -> Report:
    rows = [
        Row(0, "What?\x1b[31m", "Moo.", "No.", "Moo.", True, True, True, {"exact_match": [0.0, 1.0]}),
        Row(1, "Who?", None, "I", "I", True, False, False, {"loss": [1.0, 2.0], "exact_match": [None, None]}),
    ]
    metrics = [lines([0.0] * 8, [1.0] * 8), lines([1.0] * 8, [2.0] * 8, "loss")]
    return Report(
        "owl", "sft", "base", "result", "2 held-out rows", rows, metrics, "exact_match", "better", ["Better."], DIFFERENT,
        {"metric": [1], "loss": [1, 7]}, [], {}, 1.0, 1_700_000_000.0,
    )  # fmt: skip


def test_a_report_is_saved_and_found_again(tmp_path: Path) -> None:
    run, told = RunDir(tmp_path), made_report()
    assert newest(run) is None
    path = save(run, told)
    assert path.stat().st_mode & 0o077 == 0
    (path.parent / "99990101-damaged.json").write_text('{"rows": 3}')
    assert newest(run) == told
    later = {**json.loads(path.read_text()), "of_a_later_version": 1}
    assert Report.from_dict(later) == told


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_table_fits(width: int) -> None:
    told = show.table(made_report(), width)
    assert told[1][1:] == ("better", "better")
    assert max(len(text) + 2 + len(verdict) for text, verdict, _ in told) <= max(width, 66)


def test_rows_are_harmless_on_a_terminal() -> None:
    report = made_report()
    told = "\n".join(show.worst_lines(report, report.rows))
    assert "\x1b" not in told
    assert "exact match 0.0 % → 100.0 %" in told
    assert "[cut off" in told
    assert [row.number for row in show.worst_rows(report, "loss")] == [1]  # 7 is of another version


def test_rows_are_taken_evenly() -> None:
    rows = [{"n": number} for number in range(10)]
    assert [row["n"] for row in evenly(rows, 3)] == [0, 3, 6]
    assert evenly(rows, 0) == evenly(rows, 99) == rows


def test_benchmarks_are_paired_document_by_document() -> None:
    def samples(right: int) -> dict[str, list[dict[str, object]]]:
        docs = [
            {
                "doc_id": n,
                "filter": "none",
                "metrics": ["acc", "bleu"],
                "acc": float(n < right),
                "bleu": (n, n),
            }
            for n in range(20)
        ]
        return {"hellaswag": docs[::-1] if right > 5 else docs}

    (found,) = metrics_of(samples(5), samples(15), {"hellaswag": {"acc": True}})
    assert (found.name, found.before, found.after, found.verdict) == ("hellaswag/acc", 0.25, 0.75, "better")
    with pytest.raises(UserError) as error:
        require()
    assert "lm-eval[hf]" in error.value.fix


def test_a_benchmark_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class TaskManager:  # of lm-eval, as far as it is asked
        all_tasks = ("hellaswag", "arc_easy", "arc_challenge")

        def match_tasks(self, names: list[str]) -> list[str]:
            return fnmatch.filter(self.all_tasks, names[0])

    monkeypatch.setitem(sys.modules, "lm_eval.tasks", SimpleNamespace(TaskManager=TaskManager))
    (tmp_path / "mine.yaml").write_text("task: mine")
    check_names(["hellaswag", "arc_*", str(tmp_path / "mine.yaml")])
    for wrong in ("helaswag", str(tmp_path / "none.yaml")):
        with pytest.raises(UserError, match="knows no task") as error:
            check_names(["arc_easy", wrong])
        assert ("Did you mean hellaswag?" in error.value.fix) == (wrong == "helaswag")


# The user's own function


def own(tmp_path: Path, text: str, seconds: float = 5) -> OwnFunction:
    path = tmp_path / "metric ä.py"
    path.write_text(text, encoding="utf-8")
    return OwnFunction(path, seconds)


def test_a_function_of_the_user_scores(tmp_path: Path) -> None:
    code = "def score(prompt, answer, reference):\n    print('noise')\n    return None if reference is None else answer == reference"
    function = own(tmp_path, code)
    try:
        assert function.score("?", "a", "a") == 1.0
        assert function.score("?", "a\n\u2028b", "a") == 0.0
        assert function.score("?", "a", None) is None
    finally:
        function.close()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("    return 1 / 0", "ZeroDivisionError"),
        ("    return 'good'", "could not convert"),
        ("    return float('nan')", "no number"),
        ("    while True: pass", "took longer than 0.3 s"),
        ("    import os; os._exit(3)", "ended its process"),
    ],
)
def test_what_goes_wrong_in_a_function_is_said(tmp_path: Path, body: str, what: str) -> None:
    function = own(tmp_path, f"def score(prompt, answer, reference):\n{body}\n", 0.3)
    try:
        with pytest.raises(UserError) as error:
            function.score("?", "the answer\x1b", "a")
    finally:
        function.close()
    assert what in error.value.what
    assert "the answer\\x1b" in error.value.what.replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("text", "what"),
    [("x = (", "SyntaxError"), ("x = 1", "no function score"), ("raise SystemExit", "SystemExit")],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(UserError) as error:
        own(tmp_path, text)
    assert what in error.value.what
