"""What a run is made of beside its settings: rows, chat template and reward functions, as files for another tool."""

from __future__ import annotations

import ast
import json
import keyword
import random
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.config.objective_sections import REWARDS
from engine.config.schema import RunConfig
from engine.data.forms import Message
from engine.data.mixing import load_data
from engine.data.templates import catalogue
from engine.data.templates.source import find_template
from engine.data.templates.tags import has_tags
from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_chat_template
from engine.models.folder import inspect_model

Row = dict[str, Any]
TEMPLATE_FILE, REWARDS_FILE, OWN_REWARDS_FILE = "chat_template.jinja", "rewards.py", "user_rewards.py"
COLUMNS = (
    "columns"  # the one column that holds all others as JSON, so that columns of any kind reach the rewards
)


@dataclass(frozen=True, slots=True)
class Template:
    """The chat template of a run.

    Attributes:
        own: The model brings it, so a tool need not be given it.
        text: The template; empty where the model is not on this disk.
        marked: The same with ``{% generation %}`` marks around answers; empty where there is none.
        family: Its name in finetui's catalogue; empty for a foreign one.
        end: The end-of-turn token, where it is not the model's own business.
        missing: Tokens it writes that the model does not have.
    """

    own: bool
    text: str = ""
    marked: str = ""
    family: str = ""
    end: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """Rows as finetui would train on them, and what belongs to them.

    Attributes:
        train: Rows to learn from, in the mix that was asked for.
        evaluation: Rows held out; the same ones that finetui holds out.
        conversational: They are conversations, not texts.
        template: The chat template.
        folder: The model on this disk; None where it is not.
        warnings: What reading the data said.
    """

    train: list[Row]
    evaluation: list[Row]
    conversational: bool
    template: Template
    folder: Path | None
    warnings: tuple[str, ...]


def gather(config: RunConfig) -> Material:
    """Read the data, hold rows out as the trainer would, and find the template.

    Raises:
        UserError: The data cannot be read or do not suit the objective, or there is no such template.
    """
    objective, seed = config.method.objective, config.training.seed
    data = load_data(
        config.data.train_specs(), config.data.eval_specs(), config.data.eval_fraction, objective, seed
    )
    train = list(data.train)
    if objective == "kto":
        random.Random(seed).shuffle(
            train
        )  # trainers read KTO's rows in order, and a file may hold all good answers first
    folder = _folder(config.model.model_name_or_path)
    template = _template(config, folder) if data.conversational else Template(own=True)
    return Material(train, data.evaluation, data.conversational, template, folder, data.warnings)


def jsonl(rows: Iterable[Row]) -> str:
    """Rows as JSON Lines; half of a surrogate pair, which no library reads back, is replaced."""
    text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    return text.encode("utf-8", "replace").decode("utf-8")


def one_answer(rows: Iterable[Row]) -> bool:
    """Every conversation has a single answer, at its end."""
    return all(
        row["messages"][-1]["role"] == "assistant"
        and sum(message["role"] == "assistant" for message in row["messages"]) == 1
        for row in rows
    )


def flat(messages: Iterable[Message]) -> list[Message]:
    """Turns with all words in ``content``: tools that know no thinking or calls find them there."""
    made = []
    for message in messages:
        words = str(message.get("content") or "")
        if thinking := message.get("reasoning_content"):
            words = f"<think>\n{thinking}\n</think>\n\n{words}"
        made.append({"role": message["role"], "content": words})
    return made


def has_calls(rows: Iterable[Row]) -> bool:
    """Some row has tools, or calls of them; their fields differ from row to row, which a column of a table may not."""
    return any(
        row.get("tools") or any(message.get("tool_calls") for message in row.get("messages", ()))
        for row in rows
    )


def tools_as_text(rows: Iterable[Row]) -> list[Row]:
    """``tools`` as JSON text, which TRL and Axolotl read as well as a list."""
    return [
        row | {"tools": json.dumps(row["tools"], ensure_ascii=False)} if row.get("tools") else row
        for row in rows
    ]


def packed_prompts(rows: Iterable[Row]) -> list[Row]:
    """Prompts with all other columns packed into one."""
    return [
        {
            "prompt": row["prompt"],
            COLUMNS: json.dumps(
                {**{k: v for k, v in row.items() if k != "prompt"}, "messages": row["prompt"]},
                ensure_ascii=False,
                default=str,
            ),
        }
        for row in rows
    ]


def reward_names(config: RunConfig) -> list[str]:
    """The functions of ``rewards.py``, in the order of ``reward_funcs``."""
    return [f"reward_{name}" for name in config.rewards.reward_funcs or ["reward"]]


def reward_files(config: RunConfig) -> dict[str, str]:
    """``rewards.py`` with the run's reward functions as TRL calls them, and a copy of the user's own file.

    Raises:
        UserError: The file cannot be read, or a name is none that Python allows.
    """
    rewards = config.rewards
    names = rewards.reward_funcs or ["reward"]
    makers = {
        "exact": "exact", "numeric": "numeric", "json": "valid_json",
        "regex": f"regex({rewards.reward_pattern or ''!r})",
        "tags": f"tags({list(rewards.reward_tags)!r})",
        "length": f"length({rewards.reward_length!r})",
    }  # fmt: skip
    builtin = {"exact", "numeric", "valid_json", "regex", "tags", "length"}
    wanted = [makers[name].partition("(")[0] for name in names if name in REWARDS]
    files: dict[str, str] = {}
    lines = ['"""The reward functions of a finetui run, as TRL calls them."""', "", _source(wanted)]
    assert {*wanted} <= builtin
    if any(name not in REWARDS for name in names):
        files[OWN_REWARDS_FILE] = _own_file(rewards.reward_file)
        lines += ["import sys", "", f"sys.path.append({str(Path(str(rewards.reward_file)).parent)!r})"]
        lines += ["import user_rewards  # a copy of your reward_file", ""]
    lines.append(_ADAPTER)
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UserError(
                f"{printable(name, 60)!r} cannot be the name of a Python function.",
                "reward_funcs",
                "Rename it.",
            )
        function = makers[name] if name in REWARDS else f"user_rewards.{name}"
        lines += [
            "",
            f"_function_{name} = {function}",
            "",
            "",
            f"def reward_{name}(prompts, completions, **given):",
            f"    return _score(_function_{name}, completions, given)",
            "",
        ]
    return files | {REWARDS_FILE: "\n".join(lines)}


_ADAPTER = '''
def _score(function, completions, given):
    """Answers as texts, and the columns of the dataset by name."""
    texts = [answer if isinstance(answer, str) else answer[-1]["content"] for answer in completions]
    rows = [json.loads(row) for row in given.pop("columns")]
    names = {name for row in rows for name in row}
    return function(completions=texts, **{name: [row.get(name) for row in rows] for name in names})
'''


def _source(wanted: list[str]) -> str:
    """The definitions of finetui's own functions and of everything they call, copied from where they are."""
    known: dict[str, str] = {}
    uses: dict[str, set[str]] = {}
    for module in ("engine.data.shapes.prompts", "engine.train.rewards.builtin"):
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text("utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                name = node.name
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
            else:
                continue
            known[name] = ast.get_source_segment(text, node) or ""
            uses[name] = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - {name}
    needed, open_names = set(wanted), list(wanted)
    while open_names:
        more = (uses[open_names.pop()] & known.keys()) - needed
        needed |= more
        open_names += more
    head = "from __future__ import annotations\n\nimport json\nimport re\n"
    head += "from collections.abc import Callable, Sequence\nfrom typing import Any\n"
    constants = [known[name] for name in known if name in needed and not known[name].startswith("def ")]
    functions = [known[name] for name in known if name in needed and known[name].startswith("def ")]
    return "\n".join([head, *constants, "", *(f"\n{text}\n" for text in functions)])


def _own_file(path: str | None) -> str:
    try:
        return Path(str(path)).read_text("utf-8")
    except (OSError, ValueError):
        raise UserError(
            "The reward file cannot be read.", printable(path, 300), "Check the path of reward_file."
        ) from None


def _folder(model: str) -> Path | None:
    try:
        return inspect_model(model).folder
    except UserError:
        return None  # the tool fetches it


def _template(config: RunConfig, folder: Path | None) -> Template:
    asked, model = config.template.chat_template, config.model.model_name_or_path
    if folder is None and asked == "model":
        return Template(own=True)
    source = find_template(asked, read_chat_template(folder) if folder else None, model)
    missing = source.missing(_vocabulary(folder)) if folder else ()
    marked = source.text if has_tags(source.text) else catalogue.training_copy(source.text) or ""
    name = source.family.name if source.family else ""
    return Template(source.own, source.text, marked, name, source.ends[0] if source.ends else "", missing)


def _vocabulary(folder: Path) -> set[str]:
    try:
        told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        return {str(token["content"]) for token in told.get("added_tokens", ())}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()
