"""Template: the X-ray."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from engine.config.draft import DEMO_MODEL, Draft
from engine.data.render import Renderer
from engine.data.templates.scan import Scanner
from engine.data.templates.segments import Segment, segments
from tests.tui.pilot import Screens, demo_rows, running, write_draft
from tui.plain_glyphs import PlainGlyphs
from tui.widgets.x_ray import x_ray_content

MUTE = "{% for m in messages %}{{ m.content }}{% generation %}{% endgeneration %}{% endfor %}"
ENDLESS = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"


def a_model(folder: Path, template: str | None = None) -> str:
    """The demo model with another template, or as a base model without one."""
    shutil.copytree(DEMO_MODEL, folder)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return str(folder)


def write_rows(*pairs: tuple[str, str]) -> str:
    Path("rows.jsonl").write_text(
        "".join(json.dumps({"prompt": prompt, "completion": answer}) + "\n" for prompt, answer in pairs)
    )
    return "rows.jsonl"


async def test_what_is_learnt_stands_in_brackets() -> None:
    rows = demo_rows()
    seen = Renderer(DEMO_MODEL).xray(rows[0])
    answer = rows[0]["messages"][1]["content"]
    write_draft(Draft(step="template"))
    async with running() as screens:
        await screens.press("enter")
        assert "Template: the model's own (ChatML style)" in screens.text
        assert "<|im_start|>user⏎" in screens.text
        assert f"[{answer}<|im_end|>]⏎" in screens.text
        assert f"{seen.trained_count} of {seen.total} tokens are learnt" in screens.text
        assert f"✓ The model learns these {seen.trained_count} tokens and how to stop." in screens.text
        assert f"✓ All {len(rows)} rows fit and teach something." in screens.one_line
        longest = max(Renderer(DEMO_MODEL).xray(row).total for row in rows)
        assert f"The longest has {longest} of 256 tokens." in screens.one_line


async def test_paging_the_longest_and_the_worst() -> None:
    rows = demo_rows()
    scanner = Scanner(Renderer(DEMO_MODEL), 256)
    for row in rows:
        scanner.add(row)
    scan = scanner.result
    write_draft(Draft(step="template"))
    async with running() as screens:
        await screens.press("enter", "n", "n")
        assert f"row 3 of {len(rows)} (line 3)" in screens.text
        await screens.press("p", "p", "p")
        assert f"row {len(rows)} of {len(rows)}" in screens.text
        await screens.press("l")
        assert f"row {scan.longest + 1} of {len(rows)}" in screens.text
        assert "the longest" in screens.text
        assert f"of {scan.longest_total} tokens are learnt" in screens.text
        await screens.press("w")
        assert f"row {scan.worst[0] + 1} of" in screens.text
        await screens.press("w")
        assert f"row {scan.worst[1] + 1} of" in screens.text


async def test_rows_that_are_cut_off_are_said_and_found() -> None:
    data = write_rows(("q", "word " * 3), ("q", "word " * 3000), ("word " * 3000, "never seen"))
    write_draft(Draft(step="template", data_path=data))
    async with running(120, 40) as screens:
        await screens.press("enter")
        assert "2 of 3 rows are cut off." in screens.one_line
        assert "1 row teaches nothing and is skipped: line 3." in screens.one_line
        await screens.press("w")
        assert "row 3 of 3" in screens.text
        assert "0 of 4," in screens.one_line or "0 of 3," in screens.one_line
        assert "Nothing is learnt from this row" in screens.one_line
        await screens.press("w")
        assert "row 2 of 3" in screens.text
        assert "are cut off" in screens.one_line
        await screens.press("enter")
        assert screens.at == "method"


@pytest.mark.parametrize(("template", "words"), [(MUTE, "learn nothing"), (ENDLESS, "learn to stop")])
async def test_a_bad_verdict_stops_the_way_unless_overridden(
    template: str, words: str, tmp_path: Path
) -> None:
    write_draft(Draft(step="template", model=a_model(tmp_path / "model", template)))
    async with running() as screens:
        await screens.press("enter")
        assert f"✗ {'Nothing' if template == MUTE else 'The end of an answer'}" in screens.text
        await screens.press("enter")
        assert "This training would be wasted." in screens.text
        assert words in screens.one_line
        await screens.press("enter")  # the careful answer is marked
        assert screens.at == "template"
        assert not screens.app.the_draft().settings
        await screens.press("enter", "down", "enter")
        assert screens.at == "method"
        assert screens.app.the_draft().settings == {"allow_bad_template": True}


async def test_another_template_from_the_list() -> None:
    write_draft(Draft(step="template"))
    async with running() as screens:
        await screens.press("enter", "t")
        assert "The model's own" in screens.text
        assert "recommended" in screens.text
        await screens.press("down", "down", "enter")
        assert "Template: Llama 2" in screens.text
        assert screens.app.the_draft().chat_template == "llama2"
        assert "[INST] What pet" in screens.text
        assert "The model was trained with its own template" in screens.one_line
        await screens.press("t", "home", "enter")
        assert screens.app.the_draft().chat_template == "model"
        assert "Template: the model's own" in screens.text


async def test_a_base_model_is_told_what_it_gets(tmp_path: Path) -> None:
    write_draft(Draft(step="template", model=a_model(tmp_path / "base")))
    async with running() as screens:
        await screens.press("enter")
        assert "Template: ChatML" in screens.text
        assert "This is a base model without a chat template: ChatML is used" in screens.one_line
        await screens.press("t", "end", *["up"] * 3)
        await screens.press("escape")
        screens.app.the_draft().chat_template = "llama3"
        await screens.press("escape", "enter")
        assert "3 tokens are added to the model and learnt: <|end_header_id|>" in screens.one_line


async def test_a_model_that_is_not_here() -> None:
    write_draft(Draft(step="template", model="Qwen/Qwen3-8B"))
    async with running() as screens:
        await screens.press("enter")
        assert "Qwen/Qwen3-8B is not on this disk yet" in screens.one_line
        assert "Press d to download its tokenizer alone" in screens.one_line
        await screens.press("enter")
        assert screens.at == "method"


async def test_its_tokenizer_can_be_fetched_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(model: str, revision: str) -> Path:
        asked.append(f"{model}@{revision}")
        return Path(DEMO_MODEL)

    monkeypatch.setattr("tui.screens.template.fetch_tokenizer", fetch)
    write_draft(Draft(step="template", model="Qwen/Qwen3-8B"))
    async with running() as screens:
        await screens.press("enter", "d")
        assert asked == ["Qwen/Qwen3-8B@main"]
        assert "tokens are learnt" in screens.text


async def test_a_broken_template_is_an_error_in_words(tmp_path: Path) -> None:
    write_draft(Draft(step="template", model=a_model(tmp_path / "broken", "{% for %}")))
    async with running() as screens:
        await screens.press("enter")
        assert "not valid Jinja" in screens.one_line


async def test_the_viewer_stays_awake_and_the_work_ends_with_the_screen(tmp_path: Path) -> None:
    slow = "{% for a in range(99999) %}{% for b in range(9) %}{% endfor %}{% endfor %}" + ENDLESS
    write_draft(Draft(step="template", model=a_model(tmp_path / "slow", slow)))
    async with running() as screens:
        await screens.pilot.press("enter")
        await screens.pilot.pause(0.5)
        began = time.monotonic()
        await screens.pilot.press("escape")
        await screens.pilot.pause()
        assert time.monotonic() - began < 5
        await screens.settle()
        assert screens.at == "model"


def picture(screens: Screens) -> list[str]:
    """The X-ray's box without the lines around it."""
    return [line for line in screens.lines if line.startswith((" │", " |", " ╭", " ╰", " +"))]


async def test_captured_at_80x24_with_hostile_rows() -> None:
    data = write_rows(("\x1b]0;title\x07[bold]\u202eevil", "a [red]b[/red]\x1b[2J"), ("q", "answer"))
    write_draft(Draft(step="template", data_path=data))
    async with running(80, 24) as screens:
        await screens.press("enter")
        assert [line.strip(" │") for line in picture(screens)[1:5]] == [
            "<|im_start|>user⏎",
            r"\x1b]0;title\x07[bold]\u202eevil<|im_end|>⏎",
            "<|im_start|>assistant⏎",
            r"[a [red]b[/red]\x1b[2J<|im_end|>]⏎",
        ]
        assert max(map(len, screens.lines)) <= 80
        assert len(screens.lines) == 24


async def test_captured_without_unicode_and_in_16_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "linux")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("LANG", "C")
    data = write_rows(("Grüße", "word " * 30))
    write_draft(Draft(step="template", data_path=data, settings={"max_length": "32"}))
    async with running(80, 24) as screens:
        await screens.press("enter")
        plain = [PlainGlyphs("ascii").plain(line) for line in screens.lines]
        box = " ".join(PlainGlyphs("ascii").plain(line).strip(" |") for line in picture(screens)[1:-1])
    text = "\n".join(plain)
    assert text.isascii()
    assert "<|im_start|>user$" in text
    assert "[word word" in text
    assert "]| cut off from here:  word" in box
    assert "are cut off." in text
    learnt = [line for line in plain if "tokens are learnt" in line]
    assert learnt
    assert "[ learnt ]" in learnt[0]


@pytest.mark.parametrize("text", ["\x1b[2J", "[bold]", "\u202e", "line\nline", "tab\t", "😀"])
def test_foreign_text_is_shown_not_obeyed(text: str) -> None:
    row = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    content = x_ray_content(segments(Renderer(DEMO_MODEL).xray(row)))
    assert "\x1b" not in content.plain
    assert "\u202e" not in content.plain
    assert content.plain.count("[") >= 1


def test_the_cut_is_marked_and_the_end_is_inside_the_brackets() -> None:
    pieces = [Segment("a", "masked"), Segment("b", "learnt"), Segment("</s>", "end"), Segment("c", "cut")]
    assert x_ray_content(pieces).plain == "a[b</s>]‖ cut off from here: c"
    assert x_ray_content([Segment("ab", "learnt", 9000)]).plain == "[a ... 9,000 characters not shown ... b]"
