"""``python -m tests.captures [--write] [NAME ...]``: compare pictures of the screens with the kept ones, or keep new ones."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.captures.golden import GOLDEN, difference, keep
from tests.captures.tours import all_tours, taken


def main() -> int:
    """Compare or write; 1 when something is different."""
    parser = argparse.ArgumentParser(prog="python -m tests.captures", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what the screens look like now")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of tours or screens, or how they begin; all without it"
    )
    asked = parser.parse_args()
    tours = all_tours()
    begins = tuple(asked.names)
    chosen = [
        one for one in tours.values()
        if not begins or one.name.startswith(begins) or any(name.startswith(begins) for name in one.screens)
    ]  # fmt: skip
    different = 0
    for one in chosen:
        for glyphs in ("unicode", "ascii"):
            pictures = asyncio.run(taken(one, glyphs))
            missing = one.names(glyphs) ^ pictures.keys()
            assert not missing, f"{one.name} promises other pictures than it takes: {sorted(missing)}"
            for name, text in pictures.items():
                if not (found := difference(name, text)):
                    continue
                different += 1
                if asked.write:
                    keep(name, text)
                else:
                    print(found)
    if not begins:
        promised = {
            f"{name}.txt"
            for one in tours.values()
            for glyphs in ("unicode", "ascii")
            for name in one.names(glyphs)
        }
        for file in sorted(GOLDEN.glob("*.txt")):
            if file.name not in promised:
                different += 1
                print(f"no tour takes this picture any more: {file.name}")
                if asked.write:
                    file.unlink()
    print(f"{different} pictures {'written' if asked.write else 'are different'}")
    return 1 if different and not asked.write else 0


if __name__ == "__main__":
    sys.exit(main())
