"""Find the chat template of a model folder: the recipe that turns a conversation into text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object from a file of a model folder; ``{}`` where the file does not exist.

    Raises:
        UserError: The file is not readable, or is not a JSON object.
    """
    where = printable(path, 300)
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path.name} is not valid JSON: {error.msg}.",
            f"{where}, line {error.lineno}, column {error.colno}",
            "Download or copy this file again.",
        )
    except (ValueError, RecursionError):
        raise UserError(f"{path.name} is not valid JSON text.", where, "Download or copy this file again.")
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be read: {error.strerror or error}.",
            where,
            "Check the file and its permissions.",
        )
    if not isinstance(value, dict):
        raise UserError(
            f"{path.name} does not hold a JSON object.", where, "Download or copy this file again."
        )
    return value


def read_chat_template(folder: Path) -> tuple[str, str] | None:
    """The template that transformers would use, and the file it comes from.

    Looks where transformers looks, in its order: ``chat_template.jinja``, then ``tokenizer_config.json``.

    Returns:
        ``(template, file name)``, or ``None`` where the folder has none.

    Raises:
        UserError: A file of the folder is not readable.
    """
    own_file = folder / "chat_template.jinja"
    if own_file.is_file():
        try:
            return own_file.read_text("utf-8"), own_file.name
        except (OSError, ValueError):
            raise UserError(
                "The chat template cannot be read as UTF-8 text.",
                printable(own_file, 300),
                "Download or copy this file again.",
            )
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # named variants; the one for plain chat is called 'default'
        named = {str(item.get("name")): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return (template, "tokenizer_config.json") if isinstance(template, str) and template else None
