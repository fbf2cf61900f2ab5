"""Take it home: the lines that copy an export to the user's computer, and what is still only on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.deliver.at_home import Kept, Standing, mark_home, standing, verdict_words
from engine.deliver.take_home import (
    Command,
    Remote,
    check_commands,
    copy_commands,
    run_commands,
    run_notes,
    this_machine,
    write_checksums,
)
from engine.display import gib, printable
from engine.errors import UserError
from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.screens.base import BaseScreen
from tui.widgets.pager import Pager
from tui.widgets.rows import Row


class TakeHomeScreen(BaseScreen):
    """One export at a time, and what would be lost with this machine.

    Args:
        run: The run.
        name: Folder name of the export that is shown first; the newest one without it.
    """

    KEY_GROUPS = ("take-home",)
    BINDINGS = bindings("take-home")
    CSS_PATH = "done.tcss"
    AUTO_FOCUS = "Pager"
    HELP = """\
The lines under "Copy" and "Check" are for a terminal on your own computer, not for this one. The check compares every byte \
with what was made here: each line must end in OK. Then press h, so that finetui knows.

A rented machine forgets its disk when it is ended. What is listed under "Only on this machine" would be gone; lines marked \
with ! hold what was learned."""

    def __init__(self, run: RunDir, name: str | None = None) -> None:
        super().__init__()
        self.run = run
        self._name = name
        self._at = -1
        self._standing: Standing | None = None
        self._remote: Remote | None = None
        self._sums = False
        self._copied = 0

    def head(self) -> Iterable[Widget]:
        yield Static("", id="head", classes="head", markup=False)

    def body(self) -> ComposeResult:
        yield Pager()

    def on_mount(self) -> None:
        self.query_one(Pager).show([(("Looking at what there is ...", "$muted"),)])
        self._look()

    def _look(self) -> None:
        def work() -> tuple[Standing, Remote]:
            found = standing(self.run)
            # Every export gets its list, so that the lines shown always work.
            written = [write_checksums(one.export) for one in found.exports]
            self._sums = all(written)
            return found, this_machine()

        self.in_background(work, self._looked, "look")

    def _looked(self, found: tuple[Standing, Remote]) -> None:
        self._standing, self._remote = found
        names = [one.export.folder.name for one in self._standing.exports]
        if not 0 <= self._at < len(names):
            self._at = names.index(self._name) if self._name in names else len(names) - 1
        self._tell()

    @property
    def _kept(self) -> Kept | None:
        exports = self._standing.exports if self._standing is not None else ()
        return exports[self._at] if exports else None

    def _tell(self) -> None:
        found, remote, kept = self._standing, self._remote, self._kept
        if found is None or remote is None:
            return
        head = [("Take home: ", "bold"), (printable(self.run.name, 64), "bold")]
        if kept is not None:
            head.append((f"   export {self._at + 1} of {len(found.exports)}", "$muted"))
        self.query_one("#head", Static).update(Content.assemble(*head))
        rows = _nothing(self.run) if kept is None else _export_rows(kept, remote, self._sums)
        self.query_one(Pager).show([*rows, (), *only_here_rows(found)])
        hidden = ["take_home.copy", "take_home.have"] if kept is None else []
        if len(found.exports) < 2:
            hidden += ["take_home.next", "take_home.previous"]
        if kept is not None and kept.safe:
            hidden.append("take_home.have")
        self.key_line.hide(*hidden)

    # Keys

    def action_turn(self, by: int) -> None:
        if self._standing is not None and self._standing.exports:
            self._at = (self._at + by) % len(self._standing.exports)
            self._copied = 0
            self.notice.clear()
            self.query_one(Pager).clear()
            self._tell()

    def action_copy(self) -> None:
        from tui.clipboard import copy

        kept, remote = self._kept, self._remote
        if kept is None or remote is None:
            return
        # The next line each time: wrapped lines cannot be marked with the mouse.
        commands = [*copy_commands(kept.export, remote), *(check_commands(kept.export) if self._sums else [])]
        commands += run_commands(kept.export)
        command = commands[self._copied % len(commands)]
        try:
            path = copy(self.app, command.line)
        except OSError as error:
            self.notice.say(f"It cannot be copied: {error.strerror}.")
        except UserError as error:
            self.show_error(error)
        else:
            self._copied += 1
            line = printable(command.line.partition(" ")[0], 40)
            self.notice.say(
                f"Sent to the terminal's clipboard, and written into {path}: {line} ... y again: the next line"
            )

    def action_have(self) -> None:
        from tui.screens.confirm import ConfirmScreen

        kept = self._kept
        if kept is None or kept.safe:
            return

        def answered(answer: str | None) -> None:
            if answer != "yes":
                return
            try:
                mark_home(self.run, kept.export)
            except UserError as error:
                self.show_error(error)
            self._look()

        title = "Did the check on your computer end in OK for every file?"
        words = ['Only then it is safe to lose this machine. The lines for it stand under "Check".']
        options = [("no", "Not yet"), ("yes", "Yes, I have it and every line said OK")]
        self.app.push_screen(ConfirmScreen(title, words, options, False), answered)

    def action_back(self) -> None:
        self.app.pop_screen()

    def leaving(self) -> Iterable[str]:
        return ("What is only on this machine: finetui runs --export-status",)


def _nothing(run: RunDir) -> list[Row]:
    return [
        (("Nothing has been exported yet, so there is nothing to copy.", "bold"),),
        ((f"Go back and export first, or: finetui export {run.name} --to adapter", ""),),
    ]


def _export_rows(kept: Kept, remote: Remote, sums: bool) -> list[Row]:
    export = kept.export
    failed = (export.proof or {}).get("verdict") == "differs"
    count = len(export.files)
    files = "1 file" if count == 1 else f"{count} files"
    state = f"{gib(export.total_bytes)}, {files}, {verdict_words(export)}, {kept.words}"
    rows: list[Row] = [
        ((f"{export.folder.name}  ", "bold"), (state, "bold $error" if failed else "")),
        ((printable(export.folder, 300), "$muted"),),
    ]
    if not kept.whole:
        rows.append((("Files of it are missing: export it again.", "bold $error"),))
    if not kept.current:
        rows.append((("It was not made from the result as it is now.", "$warning"),))
    rows += [(), _heading("Copy: type on your own computer"), *_commands(copy_commands(export, remote))]
    rows += [(("! ", "bold $warning"), (printable(note, 300), "")) for note in remote.notes]
    rows += [(), _heading("Check: every line must end in OK, then press h")]
    if sums:
        rows += _commands(check_commands(export))
    else:
        rows.append(
            (("The folder cannot be written, so compare with the checksums in export.json.", "$warning"),)
        )
    rows += [(), _heading("Run it there"), *_commands(run_commands(export))]
    return [*rows, *((("! ", "bold $warning"), (printable(note, 600), "")) for note in run_notes(export))]


def only_here_rows(found: Standing) -> list[Row]:
    """What would be lost with this machine, before anything is called safe."""
    rows: list[Row] = [_heading("Only on this machine")]
    for only in found.only_here:
        mark = ("! ", "bold $warning") if only.matters else ("- ", "$muted")
        rows.append(
            (mark, (f"{printable(only.what, 200)} ({gib(only.bytes)})", "bold" if only.matters else ""))
        )
    rows += [
        (("- ", "$muted"), (f"Gone: the export that was written to {printable(path, 300)}", "$warning"))
        for path in found.gone
    ]
    if found.safe:
        rows.append(
            (
                ("✓ ", "bold $success"),
                (
                    "What was learned is elsewhere, too: as far as this run goes, the machine may be stopped.",
                    "",
                ),
            )
        )
    else:
        rows.append(
            (
                ("! ", "bold $warning"),
                ("Do not end this machine yet: what was learned would be lost.", "bold $warning"),
            )
        )
    return rows


def _commands(commands: Iterable[Command]) -> list[Row]:
    # The command alone in its row, so that it can be marked with the mouse and pasted.
    rows: list[Row] = []
    for command in commands:
        rows += [((command.what, "$muted"),), ((printable(command.line, 1000), "bold"),)]
    return rows


def _heading(text: str) -> Row:
    return ((text, "bold $primary"),)
