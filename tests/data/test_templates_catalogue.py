"""Every template of the catalogue: exactly the assistant's words and the end of the turn are learnt."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.data.render import Renderer, XRay
from engine.data.templates import catalogue
from engine.data.templates.catalogue import Family
from engine.data.templates.verify import (
    ANSWER,
    FIRST_THOUGHT,
    LAST_THOUGHT,
    SECOND_ANSWER,
    TALK,
    TOOL,
    TOOLS,
    WITH_SYSTEM,
    WITH_THOUGHTS,
    WITH_TOOLS,
    learnt_text,
    verify,
)
from engine.errors import UserError

FAMILIES = [found for found in catalogue.families() if found.available]
all_families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(scope="module")
def base(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a template of its own."""
    folder = tmp_path_factory.mktemp("base") / "model"
    shutil.copytree(tokenizer_folder, folder)
    (folder / "chat_template.jinja").unlink()
    return folder


@cache
def renderer_of(family: Family, base: Path) -> Renderer:
    return Renderer(base, family.name)


def turn(family: Family, words: str) -> str:
    """What is learnt of one answer, as a pattern; some families end the last answer with another token."""
    ends = "|".join(re.escape(end) for end in family.end or ("<|im_end|>",))
    return re.escape(family.opening + words + family.closing) + f"(?:{ends})"


def check_learnt(family: Family, seen: XRay, *answers: str) -> None:
    assert re.fullmatch("".join(turn(family, words) for words in answers), learnt_text(seen)), learnt_text(
        seen
    )
    assert seen.stops
    assert seen.problems == ()


@all_families
def test_one_and_many_turns(family: Family, base: Path) -> None:
    renderer = renderer_of(family, base)
    check_learnt(family, renderer.xray({"messages": TALK[:2]}), ANSWER)
    check_learnt(family, renderer.xray({"messages": TALK}), ANSWER, SECOND_ANSWER)


@all_families
def test_with_a_system_message(family: Family, base: Path) -> None:
    renderer = renderer_of(family, base)
    if not family.system:
        with pytest.raises(UserError):
            renderer.xray({"messages": WITH_SYSTEM})
        return
    check_learnt(family, renderer.xray({"messages": WITH_SYSTEM}), ANSWER, SECOND_ANSWER)
    check_learnt(family, renderer.xray({"messages": WITH_SYSTEM[:3]}), ANSWER)


@all_families
def test_with_tools(family: Family, base: Path) -> None:
    renderer = renderer_of(family, base)
    row = {"messages": WITH_TOOLS, "tools": TOOLS}
    if not family.tools:
        try:
            seen = renderer.xray(row)
        except UserError:
            return
        assert any("tool call" in problem for problem in seen.problems)
        return
    seen = renderer.xray(row)
    learnt = learnt_text(seen)
    assert seen.stops
    assert learnt.index(TOOL) < learnt.index("north") < learnt.index(ANSWER)
    assert re.search(
        f"{re.escape(ANSWER + family.closing)}(?:{'|'.join(map(re.escape, family.end))})$", learnt
    )
    assert "blue sky" not in learnt
    assert "weather" not in learnt
    whole = "".join(text for text, _ in seen.tokens)
    assert "blue sky" in whole
    assert (
        "The side of the house" in whole or family.name == "deepseek-v3"
    )  # which is told of its tools in words


@all_families
def test_what_the_catalogue_says_of_it_is_so(family: Family, base: Path) -> None:
    renderer = renderer_of(family, base)
    found = {check.name: check for check in verify(renderer)}
    assert not [check for check in found.values() if check.level == "bad"]
    assert found["answers"].level == found["stops"].level == found["start"].level == "good"
    assert (found["system"].level == "good") == family.system
    assert (found["tools"].level == "good") == family.tools
    thoughts = learnt_text(renderer.xray({"messages": WITH_THOUGHTS}))
    kept = [thought in thoughts for thought in (FIRST_THOUGHT, LAST_THOUGHT)]
    assert kept == {"kept": [True, True], "last": [False, True], "none": [False, False]}[family.thinking]


@all_families
def test_its_tokens_are_single_and_survive(family: Family, base: Path) -> None:
    renderer = renderer_of(family, base)
    for token in {*family.tokens, *family.end[:1]}:
        ids = renderer.tokenizer.encode(token, add_special_tokens=False).ids
        assert len(ids) == 1
        assert renderer.tokenizer.decode(ids, skip_special_tokens=False) == token
    text = renderer.render(TALK)
    ids = renderer.tokenizer.encode(text, add_special_tokens=False).ids
    assert renderer.tokenizer.decode(ids, skip_special_tokens=False) == text
    assert set(family.end[:1]) <= set(family.tokens)


@all_families
def test_transformers_and_the_trainer_see_the_same(family: Family, base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokens = pytest.importorskip("engine.train.tokens")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokens.prepare_tokenizer(tokenizer, family.name, True)
    renderer = renderer_of(family, base)
    talks: list[list[dict[str, Any]]] = [TALK[:2], TALK, *([WITH_SYSTEM] if family.system else [])]
    for talk in talks:
        made = tokenizer.apply_chat_template(talk, tokenize=True, return_dict=True)["input_ids"]
        assert renderer.tokenizer.encode(renderer.render(talk), add_special_tokens=False).ids == list(made)
        if family.training is not None:
            made = tokenizer.apply_chat_template(
                talk, chat_template=family.training, tokenize=True, return_dict=True
            )["input_ids"]
        seen = renderer.xray({"messages": talk})
        assert list(seen.ids) == list(made)
        trained = tokens.tokenize([{"messages": talk}], tokenizer, 4096, True)
        assert trained.rows[0]["input_ids"] == list(seen.ids)
        assert [label != tokens.IGNORED for label in trained.rows[0]["labels"]] == list(seen.mask)
        assert trained.stops == 1.0
    # What is saved has no generation tags, which other programs may not know; loaded again, it trains alike.
    assert "{% generation" not in tokenizer.chat_template or family.name == "lfm2.5"
    tokenizer.save_pretrained(tmp_path)
    again = Renderer(tmp_path)
    assert again.source.own
    assert learnt_text(again.xray({"messages": TALK})) == learnt_text(renderer.xray({"messages": TALK}))


def test_every_family_that_the_models_name_exists() -> None:
    from engine.models import catalogue as models

    named = {model.template for model in models.load() if model.template}
    assert named
    assert [name for name in sorted(named) if catalogue.family(name) is None] == []


def test_names_and_aliases_are_unique() -> None:
    names = [name for family in catalogue.families() for name in (family.name, *family.aliases)]
    assert len(names) == len(set(names))
    files = {path.name for path in catalogue.FOLDER.glob("*.jinja")}
    assert files == {family.file for family in catalogue.families() if family.file}


def test_all_of_trl_for_text_is_in_the_catalogue() -> None:
    """What TRL ships is offered, except older revisions and those that only read image parts."""
    folder = catalogue._trl_folder()
    if folder is None:
        pytest.skip("trl is not installed")
    shipped = {path.stem for path in folder.glob("*.jinja") if not path.stem.endswith("_training")}
    offered = {family.trl for family in catalogue.families() if family.trl}
    images = {"idefics3", "llava_next", "smolvlm", "lfm2_2_5_vl", "diffusion_gemma"}
    older = {"gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "lfm2", "lfm2_2_5"}
    assert shipped - offered == images | older
