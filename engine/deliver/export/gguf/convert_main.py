"""``python -m engine.deliver.export.gguf.convert_main PARENT FOLDER SCRIPT SETTINGS RESULT ARGUMENTS ...``: llama.cpp's converter.

The fetched source stays as it is. SETTINGS is JSON and changes its answers: ``pre`` is taken for a tokenizer's way of
splitting words where the converter does not know it by its checksum; ``add_bos`` and ``prefix_space`` are written as they
are in training, where the converter reads them from files that say something else. There is no network in this process.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from engine.deliver.export.gguf.child import die_with_parent

UNKNOWN_TOKENIZER = 43  # exit code


def main(parent: str, folder: str, script: str, settings: str, result: str, *arguments: str) -> int:
    """Run one of the converter's scripts.

    Args:
        parent: Id of the process that waits for this one.
        folder: Folder of the converter.
        script: ``convert_hf_to_gguf.py`` or ``convert_lora_to_gguf.py``.
        settings: What the converter shall answer, as JSON; null for what it finds itself.
        result: File that tells what was decided, as JSON.
        arguments: For the script.
    """
    die_with_parent(int(parent))
    sys.addaudithook(_no_network)
    sys.path[:0] = [folder, str(Path(folder, "gguf-py"))]
    told = json.loads(settings)
    _answer_for_unknown(told.get("pre"), Path(result))
    _write_as_trained(told)
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(str(Path(folder, script)), run_name="__main__")
    except _UnknownTokenizer:
        return UNKNOWN_TOKENIZER
    return 0


class _UnknownTokenizer(Exception):
    pass


def _answer_for_unknown(pre: str | None, result: Path) -> None:
    from conversion import base

    model: Any = base.TextModel
    original = model.get_vocab_base_pre

    def get_vocab_base_pre(self: Any, tokenizer: Any) -> str:
        try:
            found, mapped = str(original(self, tokenizer)), False
        except NotImplementedError:
            if not pre:
                raise _UnknownTokenizer from None
            found, mapped = pre, True
        result.write_text(json.dumps({"pre": found, "mapped": mapped}), "utf-8")
        return found

    model.get_vocab_base_pre = get_vocab_base_pre


def _write_as_trained(told: dict[str, Any]) -> None:
    import gguf

    writer: Any = gguf.GGUFWriter
    fixed = []
    for key, name in (("add_bos", "add_add_bos_token"), ("prefix_space", "add_add_space_prefix")):
        if told.get(key) is not None:
            fixed.append((getattr(writer, name), bool(told[key])))
            setattr(writer, name, lambda self, value: None)
    original = writer.write_header_to_file

    def write_header_to_file(self: Any, *arguments: Any, **named: Any) -> None:
        for add, value in fixed:
            add(self, value)
        original(self, *arguments, **named)

    writer.write_header_to_file = write_header_to_file


def _no_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        raise OSError("the converter runs without network")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
