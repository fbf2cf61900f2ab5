"""Reading run.yaml, with errors that name file, line, key and the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from engine.config.schema import SECTIONS, RunConfig, keys
from engine.data.sources import is_hub_id
from engine.data.templates.catalogue import family
from engine.display import printable
from engine.errors import UserError

Lines = dict[tuple[str | int, ...], int]


def load(path: Path, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Read and validate a run.yaml.

    Relative paths of datasets, templates and model folders are taken relative to the file.

    Args:
        path: The YAML file.
        overrides: Values from the command line by key, parsed as YAML; they win over the file.

    Raises:
        UserError: The file is missing or not YAML, or a key or value is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            "There is no such configuration file.", str(path), "Check the path after -c."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The configuration cannot be read: {error}.", str(path), "It must be a UTF-8 text file."
        ) from None
    tree, lines = parse(text, str(path))
    config = validate(tree, overrides or {}, str(path), lines)
    return rooted(config, path.absolute().parent)


def parse(text: str, where: str) -> tuple[dict[str, Any], Lines]:
    """YAML text as a dictionary, with the line of every key."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "nested too deeply or not text"
        raise UserError(
            f"This is not valid YAML: {printable(problem, 200)}.",
            f"{where}{line}",
            "Indent with spaces, put one 'key: value' on a line, and quote text that contains ': ' or '#'.",
        ) from None
    if not isinstance(tree, dict) or node is None:
        raise UserError(
            "The configuration is empty or not a list of sections.",
            where,
            f"Start with the sections: {', '.join(SECTIONS)}. finetui prints an example with: finetui train --example",
        )
    lines: Lines = {}
    _mark_lines(node, (), lines)
    return tree, lines


def validate(tree: dict[str, Any], overrides: Mapping[str, str], where: str, lines: Lines) -> RunConfig:
    """Check a configuration tree.

    Raises:
        UserError: The first thing that is wrong, with its line and the nearest valid key.
    """
    section_of = keys()
    tree = {name: dict(value) if isinstance(value, dict) else value for name, value in tree.items()}
    from_flags: set[str] = set()
    for key, raw in overrides.items():
        if key not in section_of:
            raise UserError(
                f"There is no setting --{printable(key, 60)}.", "command line", nearest(key, section_of)
            )
        section = tree.setdefault(section_of[key], {})
        if isinstance(section, dict):
            section[key] = flag_value(key, raw)
            from_flags.add(key)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise _explain(problem, where, lines, section_of, from_flags) from None


def flag_value(key: str, raw: str) -> Any:
    """A command-line value: plain text for paths and names, YAML for the rest."""
    if key in ("train", "eval"):
        return [part for part in raw.split(",") if part]
    if key in ("model_name_or_path", "model_revision", "chat_template", "reward_file", "reward_pattern"):
        return raw
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError:
        return raw


def nearest(key: str, valid: Mapping[str, str]) -> str:
    """A sentence that names the closest valid key."""
    near = difflib.get_close_matches(key, list(valid), 1, 0.5)
    if near:
        return f"Did you mean {near[0]} (section {valid[near[0]]})?"
    return "List every setting with: finetui train --help"


def rooted(config: RunConfig, folder: Path) -> RunConfig:
    """The same configuration with relative paths resolved against a folder; Hub ids stay as they are."""

    def root(value: str) -> str:
        path = Path(value).expanduser()
        return str(path if path.is_absolute() else (folder / path).resolve())

    def sources(items: list[Any] | None) -> list[Any] | None:
        return items and [
            item if is_hub_id(item.path) else item.model_copy(update={"path": root(item.path)})
            for item in items
        ]

    name = config.model.model_name_or_path
    looks_local = name.startswith((".", "~", "/")) or (folder / name).exists()
    template = config.template.chat_template
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"model_name_or_path": root(name)})
            if looks_local
            else config.model,
            "data": config.data.model_copy(
                update={"train": sources(config.data.train), "eval": sources(config.data.eval)}
            ),
            "rewards": config.rewards
            if config.rewards.reward_file is None
            else config.rewards.model_copy(update={"reward_file": root(config.rewards.reward_file)}),
            "template": config.template
            if template == "model" or (family(template) is not None and not (folder / template).is_file())
            else config.template.model_copy(update={"chat_template": root(template)}),
        }
    )


def _mark_lines(node: yaml.Node, path: tuple[str | int, ...], lines: Lines) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            lines[here] = key.start_mark.line + 1
            _mark_lines(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _mark_lines(value, (*path, index), lines)


NEEDED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
}
"""What pydantic's names of a wrong kind of value mean."""


def _explain(
    problem: Any, where: str, lines: Lines, section_of: Mapping[str, str], from_flags: set[str]
) -> UserError:
    loc = tuple(problem["loc"])
    kind = str(problem["type"])
    if kind == "combination":
        key = str((problem.get("ctx") or {}).get("key", ""))
        loc = (section_of.get(key, ""), key)
    key = str(loc[1] if len(loc) > 1 else loc[0]) if loc else ""
    line = next((lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in lines), None)
    place = (
        f"command line, --{key}"
        if key in from_flags
        else f"{where}{f', line {line}' if line else ''}, key {_dotted(loc)}"
    )
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        fix = _unknown_key(loc, section_of)
        return UserError(
            f"There is no setting called {printable(key if len(loc) > 1 else loc[0], 60)!r}.", place, fix
        )
    if kind == "missing":
        return UserError(f"The setting {_dotted(loc)} is missing.", place, f"Add it: {_help_of(loc)}")
    if kind == "combination":
        return UserError(f"These settings exclude each other: {message}.", place, "Change one of the two.")
    needed = NEEDED.get(kind)
    message = _lower(message).replace("input should be", "it should be", 1)
    if needed is not None:
        message = f"it should be {needed}, not {printable(problem.get('input'), 40)!r}"
    return UserError(f"The value of {_dotted(loc)} is not possible: {message}.", place, _help_of(loc))


def _unknown_key(loc: tuple[str | int, ...], section_of: Mapping[str, str]) -> str:
    name = str(loc[-1])
    if len(loc) == 1:
        if name in section_of:
            return f"It belongs into the section {section_of[name]}."
        near = difflib.get_close_matches(name, list(SECTIONS), 1, 0.5)
        return f"Did you mean {near[0]}?" if near else f"The sections are: {', '.join(SECTIONS)}."
    if name in section_of:
        return f"It belongs into the section {section_of[name]}, not {loc[0]}."
    return nearest(name, section_of)


def _help_of(loc: tuple[str | int, ...]) -> str:
    if len(loc) < 2 or str(loc[0]) not in SECTIONS or str(loc[1]) not in SECTIONS[str(loc[0])].model_fields:
        return "See docs/settings.md for the sections and their settings."
    field = SECTIONS[str(loc[0])].model_fields[str(loc[1])]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    usual = f" Usual: {extra['usual']}." if extra.get("usual") else ""
    return f"{field.description}{usual}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    return printable(
        ".".join(str(part) for part in loc if not str(part).startswith(("literal[", "list["))), 120
    )


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
