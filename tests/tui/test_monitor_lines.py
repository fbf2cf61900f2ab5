"""The text of the monitor: what it says in which state, and how the screen is divided."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from engine.run.layout import RunDir
from tests.tui.made_runs import CARD, MadeRun
from tests.tui.test_monitor_model import event, fed, metric
from tui.monitor import lines
from tui.monitor.arrangement import SMALLEST, arrange
from tui.monitor.cards import card_line, card_rows
from tui.monitor.charts import loss_chart, memory_chart
from tui.monitor.lines import Row
from tui.monitor.model import MonitorModel
from tui.monitor.picture import Picture
from tui.monitor.result import Steps, result_rows
from tui.monitor.samples import sample_rows
from tui.monitor.situation import STATES
from tui.monitor.view import View
from tui.monitor.watch import Status, Watch

NOON = time.mktime((2026, 3, 2, 12, 0, 0, 0, 0, -1))


def text(rows: list[Row]) -> str:
    return "\n".join("".join(piece for piece, _ in row) for row in rows)


def training(steps: int = 10, of: int = 100) -> MonitorModel:
    """Ten seconds of loading, then a step every second."""
    return fed(
        event("phase", t=NOON, phase="loading model", words="Loading the model owl.", method="SFT, LoRA"),
        event("phase", t=NOON + 10, phase="training", words="Training.", step=0, max_steps=of),
        *(metric_of(of, step, 2.0 - step / 100, t=NOON + 10 + step, tokens_per_second=100.0,
                 learning_rate=2e-4, epoch=step / 50) for step in range(1, steps + 1)),
    )  # fmt: skip


def metric_of(of: int, *args: Any, **fields: Any) -> dict[str, Any]:
    return {**metric(*args, **fields), "max_steps": of}


def picture(
    model: MonitorModel, state: str = "running", words: str = "", after: float = 20, **more: Any
) -> Picture:
    return Picture(model, Status(state, words), NOON + after, **more)


def words(of: Picture, width: int = 78, height: int = 6) -> str:
    return text(lines.words(of, "owl", width, height))


# Numbers


def test_times_say_gone_left_and_when_by_the_clock() -> None:
    assert lines.times(picture(training()), 28) == "20 s gone, 1:30 left → 12:01"


def test_the_remaining_time_runs_down_between_events() -> None:
    assert lines.times(picture(training(), after=50), 28) == "50 s gone, 1:00 left → 12:01"
    assert lines.times(picture(training(), after=5000)).startswith("1:23:20 gone, 0 s left")


def test_another_day_is_named() -> None:
    model = training(10, 100_000)
    assert "→ Tue 15:46" in lines.times(picture(model))


def test_before_the_first_step_there_is_no_guess() -> None:
    model = fed(event("phase", t=NOON, phase="loading model", words="Loading the model owl."))
    assert lines.times(picture(model)) == "20 s gone"
    assert lines.numbers(picture(model), 78) == ""
    assert lines.step_text(model) == ""


def test_the_price_grows_with_time() -> None:
    assert lines.price(picture(training())) == ""
    assert lines.price(picture(training(), price_per_hour=36.0)) == "$0.20 of about $1.10"
    assert lines.price(picture(training(100), "finished", price_per_hour=36.0)) == "$1.10"


def test_numbers_are_as_many_as_fit_and_stay_in_their_columns() -> None:
    model = training()
    narrow, wide = lines.numbers(picture(model), 78), lines.numbers(picture(model), 118)
    assert narrow.split() == ["loss", "1.900", "100", "tokens/s", "lr", "2e-4", "epoch", "0.2"]
    assert "learning rate 2e-4" in wide
    assert "gradient norm" in wide
    assert len(lines.numbers(picture(model), 58)) <= 58
    model.feed(event("evaluation", step=10, eval_loss=12.5))
    for width, without in ((78, narrow), (118, wide)):
        evaluated = lines.numbers(picture(model), width)
        assert "eval 12.5" in evaluated
        assert evaluated.replace("eval 12.500", " " * 11) == without  # everything else stands where it stood
    model.feed({**metric(11, 12345.678), "tokens_per_second": 123_456.0})
    for width, before, labels in (
        (78, narrow, ("loss", "lr", "epoch")),
        (118, wide, ("loss", "learning rate", "epoch", "gradient norm")),
    ):
        large = lines.numbers(picture(model), width)
        assert "loss 12.3k" in large
        assert [large.index(label) for label in labels] == [before.index(label) for label in labels]


def test_the_bar_is_as_wide_as_asked() -> None:
    for fraction in (0.0, 0.37, 0.999, 1.0):
        assert len(text([lines.bar(fraction, 40)])) == 40
    assert text([lines.bar(0.999, 40)]).endswith(" 99 %"), "it is not done before it is done"


# Cards


def test_a_card_in_numbers() -> None:
    model = fed(event("memory", gpus=[CARD]))
    assert text([card_line(model.hardware, "", 78)]) == "GPU 0   97 % busy  71 °C  312 W  12.4 of 22.9 GiB"


def test_no_card_is_said_with_the_reason_where_there_is_room() -> None:
    model = fed(event("memory", gpus=[], process_rss=2 * 2**30, host_used=6 * 2**30, host_total=64 * 2**30))
    assert text([card_line(model.hardware, "No driver.", 78)]) == (
        "No GPU here, so RAM: trainer 2.0 GiB, all 6.0 of 64.0 GiB   No driver."
    )
    assert "No driver." not in text([card_line(model.hardware, "No driver.", 60)])


def test_what_a_card_does_not_tell_is_left_out() -> None:
    silent = {
        "index": 0,
        "utilization": None,
        "temperature": 40,
        "power_watts": None,
        "memory_total": 0,
        "memory_used": 0,
    }
    assert (
        text([card_line(fed(event("memory", gpus=[silent])).hardware, "", 78)])
        == "GPU 0  40 °C  memory cannot be read"
    )


def test_a_broken_card_comes_first_and_many_cards_become_a_summary() -> None:
    gpus = [{**CARD, "index": index, "utilization": 90 + index} for index in range(8)]
    gpus[3] |= {"problem": "It fell off the bus.", "utilization": None}
    row = text([card_line(fed(event("memory", gpus=gpus)).hardware, "", 118)])
    assert row.startswith("GPU 3 ✗ It fell off the bus.")
    assert "8 GPUs  90 to 97 % busy" in row
    assert "fullest 12.4 of 22.9 GiB" in row


# Words


def test_loading_says_what_and_for_how_long() -> None:
    model = fed(event("phase", t=NOON, phase="loading model", words="Loading the model owl."))
    assert words(picture(model)).startswith("→ Loading the model owl ... (20 s so far)")


def test_training_says_that_the_first_step_is_slow() -> None:
    assert "The first step takes longest." in words(picture(training(0)))
    assert "The first step" not in words(picture(training()))


def test_nothing_said_yet() -> None:
    assert "takes a few seconds" in words(picture(MonitorModel(), "starting"))


def test_silence_is_explained_with_the_keys_that_help() -> None:
    shown = words(picture(training(), "silent", "silent since 12:00: it runs, but has said nothing for 61 s"))
    assert shown.startswith("? Silent since 12:00")
    assert "l shows its log, x stops it" in shown


def test_a_dead_run_says_why_and_how_to_go_on() -> None:
    model = training()
    model.feed(event("checkpoint", step=5))
    shown = words(
        picture(
            model, "died", "The trainer was killed (SIGKILL). Most often the machine ran out of memory (RAM)."
        )
    )
    assert shown.startswith("✗ The trainer was killed (SIGKILL). Most often the machine ran out of memory")
    assert "→ r resumes from step 5. l shows the log." in shown


def test_a_failed_run_says_what_where_and_the_fix() -> None:
    model = training()
    model.feed(event("failure", what="No space left on device", where="/runs/owl", fix="Free some space."))
    shown = words(picture(model, "failed", "No space left on device")).split("\n")
    assert shown[0] == "✗ No space left on device."
    assert shown[1].strip() == "/runs/owl"
    assert shown[2] == "→ Free some space."
    assert "from the start: no checkpoint was saved" in shown[3]


def test_a_stopped_run_can_be_resumed() -> None:
    shown = words(picture(training(), "stopped", "Stopped at step 10 as asked, without saving."))
    assert shown.startswith("■ Stopped at step 10 as asked")
    assert "r resumes from the start" in shown


def test_a_finished_run_leads_to_its_result() -> None:
    assert "Training is complete. Enter shows the result." in words(
        picture(training(), "finished", "Training is complete.")
    )


@pytest.mark.parametrize("state", ["gone", "unreadable"])
def test_a_run_that_cannot_be_read_leads_back(state: str) -> None:
    shown = words(picture(MonitorModel(), state, "The folder of this run is gone."))
    assert "✗ The folder of this run is gone." in shown
    assert "Esc goes to the list of runs" in shown


def test_a_request_that_waits_is_said() -> None:
    waiting = replace(picture(training()), status=Status("running", "", ("stop-and-save",)))
    assert words(waiting).startswith("→ Asked to stop: it saves a checkpoint after this step and ends.")


def test_garbage_in_the_file_is_said() -> None:
    assert "! 3 lines of the events file make no sense" in words(picture(training(), bad_lines=3))


def test_a_long_history_is_read_with_a_percentage() -> None:
    assert words(picture(training(), share_read=0.34)).startswith("→ Reading what has happened so far: 34 %")


def test_words_fill_exactly_their_rows_newest_first() -> None:
    model = training()
    for step in range(40):
        model.feed(event("checkpoint", t=NOON + step, step=step))
    for height in range(1, 12):
        rows = lines.words(picture(model), "owl", 78, height)
        assert len(rows) == height
    assert "Checkpoint saved at step 39" in text(rows[2:3])
    assert "Checkpoint saved at step 38" in text(rows[3:4])


def test_the_state_is_a_word_not_only_a_colour() -> None:
    for state, (glyph, _) in STATES.items():
        title = text([lines.title("owl", picture(training(), state))])
        assert glyph in title
        assert (state if state != "unreadable" else "cannot be read") in title


def test_a_second_attempt_and_a_frozen_picture_are_in_the_title() -> None:
    model = training()
    model.feed(event("phase", attempt=2, phase="starting", words="."))
    title = text([lines.title("owl", picture(model, frozen=True))])
    assert title == "owl · SFT, LoRA · ● running, attempt 2 · picture frozen, space goes on"


# Small


@pytest.mark.parametrize("height", range(1, 15))
def test_compact_has_the_most_important_first(height: int) -> None:
    rows = lines.compact("owl", picture(training()), height)
    assert 1 <= len(rows) <= height
    assert text(rows[:1]) == "● running  10 %  loss 1.900  1:30 left  owl"
    assert height == 1 or text(rows[1:2])[0] in "→✓!"  # what the curves mean


def test_every_row_is_given_to_somebody() -> None:
    for width, height in product(range(60, 210, 7), range(16, 60)):
        where = arrange(width, height)
        assert not where.compact
        assert where.charts + where.more_charts + where.cards + where.words == where.body
        assert where.body + where.gap + 5 == height
        assert where.charts >= 7
        assert where.more_charts == 0 or where.more_charts >= 7
        assert where.words >= 2


def test_below_the_smallest_size_there_is_text() -> None:
    width, height = SMALLEST
    assert arrange(width - 1, height).compact
    assert arrange(width, height - 1).compact
    assert arrange(1, 1).compact


# Charts


def test_the_loss_chart_has_both_curves_and_the_marks() -> None:
    model = training()
    model.feed(event("evaluation", step=10, eval_loss=1.0))
    model.feed(event("checkpoint", step=10))
    data = loss_chart(model, View(log=True, zoom=0.25), "nothing")
    assert [line.series.name for line in data.lines] == ["train"]
    assert [one.series.last for one in data.points] == [1.0]
    assert [mark.kind for mark in data.marks] == ["best", "checkpoint"]
    assert (data.x_max, data.log, data.zoom) == (100, True, 0.25)


def test_the_memory_chart_shows_the_limit_and_what_fits_the_width() -> None:
    model = fed(event("memory", gpus=[CARD], torch_allocated=2**30, torch_reserved=2**31))
    assert [line.series.name for line in memory_chart(model, View(), 60).lines] == [
        "used",
        "reserved",
        "allocated",
    ]
    narrow = memory_chart(model, View(), 32)
    assert [line.series.name for line in narrow.lines] == ["used"]
    assert narrow.limits[0].y == pytest.approx(22.9, abs=0.01)
    assert narrow.y_include == (0.0,)


def test_without_a_card_the_memory_chart_is_about_ram() -> None:
    model = fed(event("memory", gpus=[], process_rss=2 * 2**30, host_used=6 * 2**30, host_total=64 * 2**30))
    data = memory_chart(model, View(), 32)
    assert data.title == "RAM"
    assert [line.series.last for line in data.lines] == [2.0, 6.0]
    assert data.limits[0].y == 64


def test_each_of_many_cards_has_a_row_where_there_is_room() -> None:
    model = fed(event("memory", gpus=[{**CARD, "index": index} for index in range(8)]))
    assert arrange(200, 50, 8).cards == 3
    rows = text(card_rows(model.hardware, 198, 3))
    assert all(f"GPU {index}   97 % busy" in rows for index in range(8))
    assert arrange(80, 24, 8).cards == 1
    assert card_rows(model.hardware, 78, 1) == []


# Samples and result


def test_samples_before_they_exist() -> None:
    assert "No samples yet" in text(sample_rows(MonitorModel()))


def test_samples_wait_for_their_second_answer() -> None:
    model = fed(event("sample", when="before", prompt="Who?", text="", stopped=True))
    shown = text(sample_rows(model))
    assert "question    Who?" in shown
    assert "before      (nothing)" in shown
    assert "comes while it trains" in shown


NOTHING_YET = Steps("not yet", "not yet", "not yet", False, "not yet", False)


def result(*events: dict[str, Any], run: RunDir | None = None) -> str:
    found = run or MadeRun().run
    return text(result_rows(found, fed(*events), NOTHING_YET))


def test_the_result_says_how_far_the_loss_fell_and_where_things_are() -> None:
    run = MadeRun("bird").run
    run.adapter.mkdir()
    shown = result(
        metric(1, 3.0), metric(2, 1.0, t=1060.0, epoch=2.0), event("evaluation", step=0, eval_loss=3.0),
        event("evaluation", step=2, eval_loss=1.5), run=run,
    )  # fmt: skip
    assert "loss 3.000 → 1.000" in shown
    assert "loss 3.000 → 1.500 on rows it never learned from" in shown
    assert "2 steps in 1:00, 2.0 passes over the rows" in shown
    assert str(run.adapter) in shown
    assert "finetui chat bird" in shown
    assert "finetui train -c" in shown


def test_the_result_is_honest() -> None:
    worse = result(event("evaluation", step=0, eval_loss=1.0), event("evaluation", step=9, eval_loss=2.0))
    assert "it never fell" in worse
    past = result(*(event("evaluation", step=step, eval_loss=loss) for step, loss in ((0, 3.0), (5, 1.0), (9, 1.3))),
                  run=MadeRun("b").run)  # fmt: skip
    assert "The best was at step 5; later it rose to 1.300." in past
    unknown = result(metric(1, 1.0), run=MadeRun("c").run)
    assert "No rows were held out" in unknown
    assert "It is no longer in" in unknown


def test_the_result_from_the_files_is_the_same() -> None:
    made = MadeRun("dove")
    made.begin()
    made.train()
    made.steps(1, 30)
    made.finish()
    watch = Watch(made.run)
    while watch.read():
        pass
    assert "30 steps in" in text(result_rows(made.run, watch.model, NOTHING_YET, 1.0))
