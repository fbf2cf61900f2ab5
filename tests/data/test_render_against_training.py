"""The X-ray shows exactly what transformers renders and what the trainer learns."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.render import Renderer
from engine.errors import UserError
from tests.data.conftest import PLAIN

transformers = pytest.importorskip("transformers")

DEMO = Path(__file__).parents[2] / "presets" / "demo"
CONVERSATION = [
    {"role": "system", "content": 'Be ☃ kind <b>"&'},
    {"role": "user", "content": "Hi é 👩‍🚀"},
    {"role": "assistant", "content": "Hello, 日本 ✓ ok"},
    {"role": "user", "content": "More?"},
    {"role": "assistant", "content": "Yes.\nNo."},
]


def templates() -> dict[str, Path]:
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        return {}
    return {
        path.stem: path
        for path in sorted(Path(spec.origin).parent.joinpath("chat_templates").glob("*.jinja"))
    }


@pytest.fixture(scope="module")
def own_tokenizer(tokenizer_folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tokenizer_folder)


def by_transformers(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[bool]]:
    made = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return list(made["input_ids"]), [bool(bit) for bit in made["assistant_masks"]]


def test_demo_rows_equal_transformers() -> None:
    if not (DEMO / "tokenizer.json").is_file():
        pytest.skip("the embedded model is not built")
    tokenizer = transformers.AutoTokenizer.from_pretrained(DEMO)
    renderer = Renderer(DEMO)
    rows = [json.loads(line) for line in (DEMO / "train.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        xray = renderer.xray(row)
        assert (list(xray.ids), list(xray.mask)) == by_transformers(tokenizer, row["messages"])
        assert xray.stops
        assert not xray.problems


def test_own_tokenizer_equals_transformers(tokenizer_folder: Path, own_tokenizer: Any) -> None:
    xray = Renderer(tokenizer_folder).xray({"messages": CONVERSATION})
    assert (list(xray.ids), list(xray.mask)) == by_transformers(own_tokenizer, CONVERSATION)


@pytest.mark.parametrize("name", list(templates()))
def test_real_templates_render_as_in_transformers(name: str, model: Path, own_tokenizer: Any) -> None:
    """Templates of published models, from the collection that comes with TRL."""
    source = templates()[name].read_text("utf-8")
    (model / "chat_template.jinja").write_text(source, "utf-8")
    own_tokenizer.chat_template = source
    renderer = Renderer(model)
    for messages in (CONVERSATION, CONVERSATION[1:]):
        try:
            expected = own_tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception:
            with pytest.raises(UserError):
                renderer.render(messages)
            continue
        assert renderer.render(messages) == expected
        prompt = own_tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        assert renderer.render(messages[:-1], add_generation_prompt=True) == prompt
        if renderer.template.has_tags:
            xray = renderer.xray({"messages": messages})
            ids, mask = by_transformers(own_tokenizer, messages)
            assert list(xray.ids) == ids
            # Ours leaves out what the prompt says already, and line breaks after the end of a turn: nothing else.
            assert all(theirs for theirs, ours in zip(mask, xray.mask, strict=True) if ours)
            only_theirs = "".join(
                text for (text, ours), theirs in zip(xray.tokens, mask, strict=True) if theirs and not ours
            )
            words = [word for message in messages for word in message["content"].split()]
            assert not any(word in only_theirs for word in words)


@pytest.mark.parametrize(
    "name", ["own", "plain", "none", "qwen2_5", "qwen3", "llama3", "llama3_2", "gemma3", "phi3"]
)
def test_the_trainer_learns_what_the_xray_shows(name: str, model: Path) -> None:
    tokens = pytest.importorskip("engine.train.tokens")
    pytest.importorskip("trl")
    if name == "plain":
        (model / "chat_template.jinja").write_text(PLAIN)
    elif name == "none":
        (model / "chat_template.jinja").unlink()
    elif name != "own":
        (model / "chat_template.jinja").write_text(templates()[name].read_text("utf-8"), "utf-8")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    tokens.prepare_tokenizer(tokenizer, "model", True)
    renderer = Renderer(model)
    rows: list[dict[str, Any]] = [
        {"messages": CONVERSATION},
        {"messages": CONVERSATION[1:3]},
        {"text": "hello é user"},
    ]
    made = tokens.tokenize(rows, tokenizer, 4096, True).rows
    for row, trained in zip(rows, made, strict=True):
        xray = renderer.xray(row)
        assert list(xray.ids) == trained["input_ids"]
        assert list(xray.mask) == [label != tokens.IGNORED for label in trained["labels"]]
