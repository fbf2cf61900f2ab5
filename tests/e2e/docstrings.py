"""``python -m tests.e2e.docstrings OUT.jsonl``: question/answer rows from the docstrings of Python's standard library.

A dataset nobody tuned anything for. The modules are parsed, never imported.
"""

from __future__ import annotations

import ast
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def rows() -> Iterator[dict[str, str]]:
    """One row for each documented module, class and function, in a fixed order."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        inner = path.relative_to(library)
        if (
            inner.parts[0] in ("site-packages", "test", "idlelib", "lib2to3", "turtledemo")
            or "tests" in inner.parts
        ):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        module = ".".join(inner.with_suffix("").parts).removesuffix(".__init__")
        yield from _walk(tree, module)


def write(target: Path) -> int:
    """Write the rows as JSONL; returns how many."""
    count = 0
    with open(target, "w", encoding="utf-8") as handle:
        for row in rows():
            handle.write(json.dumps(row) + "\n")
            count += 1
    return count


def _walk(node: Definition, name: str) -> Iterator[dict[str, str]]:
    text = (ast.get_docstring(node) or "").split("\n\n")[0].strip()
    if 20 <= len(text) <= 600:
        kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
        yield {"question": f"What is the Python {kind} {name} for?", "answer": text}
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")


if __name__ == "__main__":
    print(write(Path(sys.argv[1])), "rows")
