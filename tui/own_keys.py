"""The user's own keys: a small file that is read at the start, and never a reason not to start."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from engine.display import printable
from engine.run.home import finetui_home
from tui.keymap import KEYMAP, SHOWN, TOGETHER, Key, shown_name

FILE = "keys.yaml"
MOST = 64 * 1024  # bytes; a longer file is something else
RESERVED = ("ctrl+c", "ctrl+q")  # always leave, whatever else goes wrong
NAMED = (
    "enter", "escape", "tab", "shift+tab", "space", "backspace", "delete", "insert", "home", "end", "pageup", "pagedown",
    "up", "down", "left", "right",
)  # fmt: skip
MODIFIERS = ("ctrl", "shift", "alt", "super")
# What the characters are called inside, where that is not their Unicode name.
CALLED = {"/": "slash", "\\": "backslash", "@": "at", "-": "minus", "+": "plus", "_": "underscore"}
TITLES = {
    "everywhere": "On every screen", "home": "Home", "curves": "Comparing runs", "wizard": "Every step of the wizard",
    "machine": "Machine", "list": "Lists", "goal": "Goal", "questions": "Questions", "data": "Data",
    "browse": "Looking for a file", "hub-search": "Searching the Hub", "readings": "How rows are read",
    "columns": "Columns by hand", "findings": "Problems of a dataset", "model": "Model", "template": "Template",
    "method": "Method", "method-field": "A setting", "path-field": "A path", "review": "Review", "monitor": "Monitor",
    "pager": "Text to scroll", "done": "Result", "dialog": "Small windows",
}  # fmt: skip


@dataclass(slots=True)
class OwnKeys:
    """What a keys file says.

    Attributes:
        keys: Keys by id, as :func:`tui.keymap.use` and textual take them.
        problems: One sentence for each line that could not be used.
    """

    keys: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def words(self) -> str:
        """What is wrong with the file, for a notice; empty where nothing is."""
        if not self.problems:
            return ""
        more = f" (and {len(self.problems) - 1} more: finetui keys)" if len(self.problems) > 1 else ""
        rest = " Everything else in it is used." if self.keys else ""
        return f"{FILE}: {self.problems[0]}{more}{rest}"


def own_keys_file() -> Path:
    """Where the file is."""
    return finetui_home() / FILE


def read_own_keys(path: Path | None = None) -> OwnKeys:
    """Read the file; whatever is wrong with it becomes a sentence."""
    path = path or own_keys_file()
    found = OwnKeys()
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read(MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return found
    except (OSError, UnicodeDecodeError) as error:
        found.problems.append(f"it cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.")
        return found
    import yaml

    try:
        stored = yaml.safe_load(text) if len(text) <= MOST else "too long"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        found.problems.append(f"it is not YAML{f', line {mark.line + 1}' if mark else ''}.")
        return found
    if stored is None:
        return found
    if not isinstance(stored, dict):
        found.problems.append("it must hold lines such as: home.demo: D")
        return found
    for name, wanted in stored.items():
        _take(found, str(name), wanted)
    _drop_clashes(found)
    return found


def _take(found: OwnKeys, name: str, wanted: object) -> None:
    known = {key.id: key for keys in KEYMAP.values() for key in keys}
    shown = printable(name, 40)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"Did you mean {near[0]}?" if near else "All ids: finetui keys."
        found.problems.append(f"there is no key {shown!r}. {hint}")
        return
    if not known[name].action:
        found.problems.append(f"{shown} belongs to the list or field itself and cannot be changed.")
        return
    names: list[str] = []
    for one in wanted if isinstance(wanted, list) else [wanted]:
        # YAML reads a bare y or n as a truth, and 1 as a number.
        text = {True: "y", False: "n"}[one] if isinstance(one, bool) else str(one)
        key = key_name(text)
        if key is None:
            found.problems.append(
                f"{shown}: {printable(text, 20)!r} is no key. A character, or a name such as f5, ctrl+n, delete."
            )
            return
        if key in RESERVED:
            found.problems.append(f"{shown}: {text} always leaves finetui.")
            return
        names.append(key)
    if not names:
        found.problems.append(f"{shown}: no key is given.")
        return
    found.keys[name] = ",".join(names)
    if name == "app.help":
        found.keys.setdefault("dialog.help", found.keys[name])


def key_name(text: str) -> str | None:
    """The name inside textual of a key as people write it: ``?``, ``D``, ``f5``, ``ctrl+n``; None for no key."""
    if len(text) == 1:
        if text.isalnum():
            return text
        if text in CALLED:
            return CALLED[text]
        if text == " ":
            return "space"
        try:
            return unicodedata.name(text).lower().replace("-", "_").replace(" ", "_")
        except ValueError:
            return None
    *modifiers, last = text.strip().split("+")
    if any(one not in MODIFIERS for one in modifiers):
        return None
    known = {*NAMED, *(f"f{number}" for number in range(1, 25)), *SHOWN, *CALLED.values()}
    if text in known:
        return text
    if last in known or (modifiers and len(last) == 1 and last.isalnum()):
        return text.strip() if modifiers else last
    return None


def _drop_clashes(found: OwnKeys) -> None:
    """Leave out what would give a screen one key for two things; what the table itself has twice stays."""
    while True:
        for groups in (*TOGETHER, *((group,) for group in KEYMAP)):
            also = () if "dialog" in groups else ("everywhere",)
            keys = [key for group in dict.fromkeys((*groups, *also)) for key in KEYMAP[group] if key.action]
            taken: dict[str, Key] = {}
            for key in keys:
                names = found.keys.get(key.id, key.keys).split(",")
                # What the table itself has twice is meant: the widget that has the focus goes first.
                shared = (taken[name] for name in names if name in taken)
                clash = next((one for one in shared if {key.id, one.id} & found.keys.keys()), None)
                if clash is None:
                    taken |= dict.fromkeys(names, key)
                    continue
                guilty, other = (key, clash) if key.id in found.keys else (clash, key)
                wanted = found.keys.pop(guilty.id)
                found.problems.append(
                    f"{guilty.id}: {shown_keys(wanted)} already means {other.label or other.id!r} ({other.id}); give that "
                    "another key too."
                )
                break
            else:
                continue
            break
        else:
            return


def shown_keys(keys: str) -> str:
    """Keys as printed on a keyboard: ``?, F1``."""
    return ", ".join(map(shown_name, keys.split(",")))


def table(own: OwnKeys) -> list[str]:
    """Every key of every screen, for ``finetui keys``."""
    lines = []
    for group, keys in KEYMAP.items():
        if not keys:
            continue
        lines += ["", TITLES.get(group, group)]
        for key in keys:
            mine = own.keys.get(key.id)
            lines.append(
                f"  {shown_keys(mine or key.keys):<12} {key.id:<22} {key.help}"
                + (f" (your own; otherwise {shown_keys(key.keys)})" if mine else "")
            )
    return lines[1:]


def page() -> str:
    """The same as a page of the documentation."""
    out = [INTRODUCTION]
    for group, keys in KEYMAP.items():
        if keys:
            out += [f"## {TITLES.get(group, group)}", "", "| key | id | what it does |", "|---|---|---|"]
            out += [f"| {_cell(shown_keys(key.keys))} | `{key.id}` | {_cell(key.help)} |" for key in keys]
            out.append("")
    return "\n".join(out).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


INTRODUCTION = """\
# Keys

The bottom line of every screen shows its most important keys, and `?` (or F1, also in small windows and text fields) all of them
with a sentence each. Arrow keys, Enter and Esc are enough for everything; nothing needs a mouse. No key fights with tmux or
screen. Ctrl+C leaves from anywhere; training goes on.

`finetui keys` prints this table as it is with your own keys. They are in `keys.yaml` in finetui's folder (`finetui keys` says
where), one line each:

    home.demo: D
    monitor.log: [l, f5]
    app.help: "?"

A key is a character, or a name: enter, escape, tab, space, backspace, delete, insert, home, end, pageup, pagedown, up, down,
left, right, f1 to f24, each also with ctrl+, shift+ or alt+ before it (many terminals cannot send all of those). A line that
cannot be used is left out and said on the first screen: an id that does not exist, a name that is no key, a key that already
means something else on the same screen. Ctrl+C and Ctrl+Q cannot be changed.

This page is written by `finetui keys --markdown`.
"""
