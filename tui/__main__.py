"""The console script. Verbs that need no screen never load textual."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``finetui``.

    Args:
        argv: The arguments after the program's name; this process's own by default.

    Returns:
        The exit code.
    """
    from engine.cli.main import guarded
    from engine.cli.main import main as run_verb

    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["keys"]:
        return guarded(lambda: _print_keys(given[1:]))
    return run_verb(given, _open_screen)


def _print_keys(options: list[str]) -> int:
    """``finetui keys``: the only verb about the screens alone, so it is here and not in the engine."""
    import argparse

    parser = argparse.ArgumentParser(prog="finetui keys", description="Print every key of every screen.")
    parser.add_argument(
        "--markdown", action="store_true", help="as docs/keys.md has it, without your own keys"
    )
    try:
        args = parser.parse_args(options)
    except SystemExit as leave:
        return int(leave.code or 0)
    from tui.own_keys import own_keys_file, page, read_own_keys, table

    if args.markdown:
        print(page(), end="")
        return 0
    own = read_own_keys()
    print("\n".join(table(own)))
    print(f"\nYour own keys: {own_keys_file()}, lines such as  home.demo: D")
    for problem in own.problems:
        print(f"Not used: {problem}")
    return 0


def _open_screen(name: str, run_name: str | None, **options: Any) -> int:
    from tui.environment import prepare_environment

    prepare_environment()  # before textual is imported
    from engine.cli.main import NO_MOUSE, is_set
    from tui.app import run_app

    if name not in ("home", "wizard", "monitor", "chat"):
        raise ValueError(name)
    return run_app(name, run_name, mouse=not is_set(NO_MOUSE), options=options)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
