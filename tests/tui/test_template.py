"""Template: the X-ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.config.draft import DEMO_MODEL, Draft
from engine.data.render import Renderer, XRay
from tests.tui.pilot import demo_rows, running, write_draft
from tui.template_check import check_template
from tui.widgets.x_ray import x_ray_content


async def test_what_is_learnt_stands_in_brackets() -> None:
    rows = demo_rows()
    seen = Renderer(DEMO_MODEL).xray(rows[0])
    check = check_template(Path(DEMO_MODEL), "model", rows, 256)
    answer = rows[0]["messages"][1]["content"]
    write_draft(Draft(step="template"))
    async with running() as screens:
        await screens.press("enter")
        assert "Template: the model's own (chat_template.jinja)" in screens.text
        assert "<|im_start|>user⏎" in screens.text
        assert f"[{answer}<|im_end|>]⏎" in screens.text
        assert f"{seen.trained_count} of {seen.total} tokens are learnt" in screens.text
        assert "✓ The model learns what the assistant says, and how to stop." in screens.text
        assert f"✓ All {len(rows)} rows fit and teach something." in screens.one_line
        assert f"The longest has {check.longest_total} of 256 tokens." in screens.one_line


async def test_paging_and_the_longest() -> None:
    rows = demo_rows()
    check = check_template(Path(DEMO_MODEL), "model", rows, 256)
    write_draft(Draft(step="template"))
    async with running() as screens:
        await screens.press("enter", "n", "n")
        assert f"row 3 of {len(rows)} (line 3)" in screens.text
        await screens.press("p", "p", "p")
        assert f"row {len(rows)} of {len(rows)}" in screens.text
        await screens.press("l")
        assert f"of {check.longest_total} tokens are learnt" in screens.text


async def test_rows_that_are_cut_off_are_said(tmp_path: Path) -> None:
    Path("long.jsonl").write_text("".join(
        json.dumps({"prompt": "q", "completion": "word " * count}) + "\n" for count in (3, 3000)
    ))  # fmt: skip
    write_draft(Draft(step="template", data_path="long.jsonl"))
    async with running() as screens:
        await screens.press("enter")
        assert "1 of 2 rows are cut off." in screens.one_line
        await screens.press("l")
        assert "are cut off" in screens.one_line
        await screens.press("enter")
        assert screens.at == "method"


async def test_a_template_that_teaches_nothing_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    shutil.copytree(DEMO_MODEL, folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% generation %}{% endgeneration %}{% endfor %}"
    )
    write_draft(Draft(step="template", model=str(folder)))
    async with running() as screens:
        await screens.press("enter", "enter")
        assert screens.at == "template"
        assert "The model would learn nothing" in screens.one_line


async def test_another_template() -> None:
    write_draft(Draft(step="template"))
    async with running() as screens:
        await screens.press("enter", "t")
        assert "Template: chatml" in screens.text
        assert screens.app.the_draft().chat_template.endswith("chatml.jinja")
        await screens.press("t")
        assert screens.app.the_draft().chat_template == "model"


async def test_a_broken_template_is_an_error_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(DEMO_MODEL, folder)
    (folder / "chat_template.jinja").write_text("{% for %}")
    write_draft(Draft(step="template", model=str(folder)))
    async with running() as screens:
        await screens.press("enter")
        assert "not valid Jinja" in screens.one_line


@pytest.mark.parametrize("text", ["\x1b[2J", "[bold]", "\u202e", "line\nline", "tab\t", "😀"])
def test_foreign_text_is_shown_not_obeyed(text: str) -> None:
    row = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    content = x_ray_content(Renderer(DEMO_MODEL).xray(row))
    assert "\x1b" not in content.plain
    assert "\u202e" not in content.plain
    assert content.plain.count("[") >= 1


def test_the_cut_is_marked() -> None:
    seen = XRay((("a", False), ("b", True), ("c", True)), (1, 2, 3), 2, 3, "generation tags", True, 2, ())
    assert x_ray_content(seen).plain == "a[b]‖ cut off from here: c"
