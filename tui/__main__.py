"""The console script. Verbs that need no screen never load textual."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``finetui``.

    Args:
        argv: The arguments after the program's name; this process's own by default.

    Returns:
        The exit code.
    """
    from engine.cli.main import main as run_verb

    return run_verb(sys.argv[1:] if argv is None else argv, _open_screen)


def _open_screen(name: str, run_name: str | None) -> int:
    from tui.environment import prepare_environment

    prepare_environment()  # before textual is imported
    from tui.app import run_app

    if name not in ("home", "wizard", "monitor"):
        raise ValueError(name)
    return run_app(name, run_name)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
