"""Every key of every screen in one table. Bindings, the line at the bottom and the help are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.binding import BindingType


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        id: Stable name, by which a user's keymap can give it another key.
        keys: Names as textual has them, the one that is shown first, separated by commas.
        action: The ``action_...`` method of the screen, or ``app.`` and one of the app; empty for keys that the
            focused widget handles by itself.
        label: Words at the bottom of the screen; empty leaves it to the help.
        help: One sentence for the help.
    """

    id: str
    keys: str
    action: str
    label: str
    help: str

    @property
    def shown(self) -> str:
        """The first of its keys as printed on a keyboard; both arrows of a list, and digits as a range."""
        if self.keys == "up,down":
            return "↑↓"
        if self.keys == "1,2,3,4,5,6,7,8,9":
            return "1-9"
        return shown_name(self.keys.split(",")[0])


SHOWN = {
    "enter": "Enter", "escape": "Esc", "question_mark": "?", "dollar_sign": "$", "space": "space", "tab": "Tab",
    "slash": "/", "left": "←", "right": "→", "up": "↑", "down": "↓", "delete": "Del", "f1": "F1",
    "left_square_bracket": "[", "right_square_bracket": "]", "ctrl+c": "Ctrl+C", "ctrl+p": "Ctrl+P",
    "ctrl+u": "Ctrl+U", "backspace": "Bksp", "full_stop": ".", "pageup": "PgUp", "pagedown": "PgDn", "shift+tab": "Shift+Tab",
    "less_than_sign": "<", "greater_than_sign": ">", "shift+left": "Shift+←", "shift+right": "Shift+→",
}  # fmt: skip


def shown_name(name: str) -> str:
    """A key as printed on a keyboard: ``?``, ``F5``, ``Ctrl+N``."""
    *modifiers, last = name.split("+") if len(name) > 1 else [name]
    if name not in SHOWN and (modifiers or (last[:1] == "f" and last[1:].isdigit())):
        return "+".join([*(one.capitalize() for one in modifiers), SHOWN.get(last, last.upper())])
    return SHOWN.get(name, name)


EVERYWHERE = (
    Key(
        "app.help", "question_mark,f1", "app.help", "help", "The keys of this screen and what the words mean."
    ),
    Key("app.leave", "q", "app.leave", "leave", "Leave finetui. Answers are kept, and training goes on."),
    Key(
        "app.redraw",
        "ctrl+l",
        "app.redraw",
        "",
        "Paint the screen anew, after another program wrote over it.",
    ),
)

KEYMAP: dict[str, tuple[Key, ...]] = {
    "everywhere": EVERYWHERE,
    "home": (
        Key("home.open", "enter", "open", "open", "Do what the marked line says; on a run, watch it."),
        Key("home.clear", "escape", "clear", "show all", "Show all runs again; take all marks away."),
        Key("home.resume", "r", "resume", "resume", "Go on with a run that was stopped or has died, from its last checkpoint."),
        Key("home.mark", "space", "mark", "mark", "Mark the run, to compare or delete several; again takes the mark away."),
        Key("home.compare", "c", "compare", "compare", "Put the curves and numbers of the marked runs side by side."),
        Key("home.remove", "delete,D", "remove", "delete", "Delete the run, or the marked ones; says how large, and asks first."),
        Key("home.new", "n", "new", "new", "Start a new fine-tune with fresh answers."),
        Key("home.demo", "d", "demo", "demo", "Start the demo now: embedded model, embedded data, about a minute."),
        Key("home.filter", "slash", "filter", "find", "Show only runs in which some words occur."),
        Key("home.sort", "o", "sort", "order", "Newest first, by name, lowest loss first, by state."),
        Key("home.path", "p", "path", "folder", "Say where the run's folder is, and copy that path."),
    ),
    "curves": (
        Key("curves.back", "escape,enter", "back", "back", "Back to the list of runs."),
        Key("curves.what", "e", "what", "train / eval", "Training loss and held-out loss, only the one, only the other."),
        Key("curves.log_scale", "y", "log_scale", "log scale", "Logarithmic loss: small changes at the end show."),
        Key("curves.zoom", "z", "zoom", "zoom", "Show the last quarter of the curves, the last tenth, all of them."),
        Key("curves.front", "tab", "front", "next run", "Draw the next run in front of the others, with a solid line."),
    ),
    "wizard": (
        Key("wizard.next", "enter", "next", "next", "Take what is shown and go to the next step."),
        Key("wizard.back", "escape", "back", "back", "One step back. No answer is lost."),
    ),
    "machine": (
        Key("machine.length", "t", "length", "text length", "Show what fits with longer or shorter texts."),
        Key("machine.plan", "c", "plan", "plan for a card", "Show what would fit on a card this machine does not have."),
        Key("machine.card", "g", "card", "other card", "Train on another graphics card (GPU) of this machine."),
        Key("machine.price", "dollar_sign,p", "price", "price", "Tell what an hour of this machine costs."),
        Key("machine.look", "l", "look", "look again", "Look at the machine again, such as after ending a program."),
    ),
    "list": (Key("list.choose", "up,down", "", "choose", "Move the mark to another line."),),
    "goal": (),
    "questions": (),
    "data": (
        Key("data.check", "c", "check", "check", "Check every row: problems with their lines, lengths, and a repaired copy."),
        Key("data.browse", "b", "browse", "browse", "Look for a file in the folders of this machine."),
        Key("data.hub", "h", "hub", "Hub", "Search the Hugging Face Hub for a dataset."),
        Key("data.path", "slash", "path", "type a path", "Type where the file is; Tab completes it."),
        Key("data.row", "n", "row(1)", "next row", "Show the next conversation of the file."),
        Key("data.previous", "p", "row(-1)", "", "Show the conversation before."),
        Key("data.reading", "r", "reading", "read it as", "Read the rows in another way, or say which column is what."),
    ),
    "browse": (
        Key("browse.open", "enter", "", "open", "Open the marked folder, or take the marked file."),
        Key("browse.back", "escape", "back", "cancel", "Back, and change nothing."),
        Key("browse.up", "backspace,left", "up", "folder above", "Go to the folder that holds this one."),
        Key("browse.take", "t", "take", "take folder", "Take all files of this folder together as one dataset."),
        Key("browse.hidden", "full_stop", "hidden", "hidden files", "Show files and folders whose names begin with a dot, or not."),
        Key("browse.path", "slash", "path", "type a path", "Type where it is; Tab completes it."),
    ),
    "hub-search": (
        Key("hub.take", "enter", "take", "take", "Search for what is typed, or take what is marked."),
        Key("hub.back", "escape", "back", "cancel", "Back, and change nothing."),
        Key("hub.again", "slash", "again", "other words", "Search for something else."),
    ),
    "readings": (
        Key("readings.take", "enter", "", "read so", "Read the rows in the marked way."),
        Key("readings.back", "escape", "back", "cancel", "Back, and change nothing."),
    ),
    "columns": (
        Key("columns.open", "enter", "", "choose", "Choose a column for the marked part, or take it all with the last line."),
        Key("columns.back", "escape", "back", "cancel", "Back, and change nothing."),
        Key("columns.kind", "k", "kind", "other kind", "Say what a row is: a question and an answer, a text, ..."),
    ),
    "findings": (
        Key("findings.back", "escape,enter", "back", "back", "Back to the data; a check that still runs is stopped."),
        Key("findings.repair", "x", "repair", "repair", "Write a repaired copy under another name, and use that one."),
        Key("findings.lengths", "l", "lengths", "lengths", "How long the rows are, or back to the problems."),
        Key("findings.exact", "e", "exact", "count all", "Count the tokens of every row, not of a sample."),
        Key("findings.limit", "m", "limit", "take max_length", "Use the recommended max_length for the training."),
        Key("findings.stop", "s", "stop", "stop", "Stop the check that is running."),
    ),
    "model": (
        Key("model.twin", "u", "twin", "ungated copy", "Take the same weights from a place that asks for no licence."),
        Key("model.search", "s", "search", "search Hub", "Search the Hugging Face Hub for a model."),
        Key("model.other", "slash", "other", "type a name", "Type a folder or a name from the Hugging Face Hub."),
        Key("model.all", "a", "all", "show all", "Show every model finetui knows, not only the fitting ones."),
    ),
    "template": (
        Key("template.next", "n,right", "row(1)", "row", "Show the next conversation as the model will see it."),
        Key("template.previous", "p,left", "row(-1)", "", "Show the conversation before."),
        Key("template.worst", "w", "worst", "worst", "Show the worst row: refused, cut off or least learnt; again: the next worst."),
        Key("template.other", "t", "other", "template", "Choose from the list of chat templates."),
        Key("template.longest", "l", "longest", "", "Show the longest conversation."),
        Key("template.fetch", "d", "fetch", "get tokenizer", "Download the tokenizer of a model that is not here, to look now."),
    ),
    "method": (
        Key("method.fit", "f", "make_fit", "make it fit", "Apply the cheapest change that makes the run fit in memory."),
        Key("method.fields", "tab", "", "settings", "From the list to the settings and from field to field."),
        Key("method.down", "down", "field(1)", "", "From a field to the next one."),
        Key("method.up", "up", "field(-1)", "", "From a field to the one before."),
    ),
    "method-field": (
        Key("method.tab", "tab", "", "next setting", "Go to the next setting."),
        Key("method.empty", "ctrl+u", "", "empty", "Empty the field: finetui chooses the value."),
    ),
    "path-field": (Key("path.complete", "tab", "", "complete", "Complete the path."),),
    "review": (
        Key("review.name", "n", "name", "rename", "Give the run another name."),
        Key("review.save", "s", "save", "save run.yaml", "Save run.yaml in the current folder, for the command line."),
    ),
    "monitor": (
        Key("monitor.result", "enter", "result", "result", "What came out of the run, once it is finished."),
        Key("monitor.back", "escape", "back", "back", "Back to all curves, and from them to the list of runs."),
        Key("monitor.resume", "r", "resume", "resume", "Go on with a run that was paused, stopped or has died; asks first."),
        Key("monitor.panels", "1,2,3,4,5,6,7,8,9", "", "panels", "One panel on the whole screen; they are listed below."),
        Key("monitor.next", "right_square_bracket", "other_panel(1)", "next panel", "The next panel on the whole screen."),
        Key("monitor.previous", "left_square_bracket", "other_panel(-1)", "", "The panel before."),
        Key("monitor.choose_down", "down", "choose(1)", "choose", "Among the objective's numbers: draw the next one."),
        Key("monitor.choose_up", "up", "choose(-1)", "", "Among the objective's numbers: draw the one before."),
        Key("monitor.stop", "x", "stop", "stop", "Stop the run; asks how: pausing, saving first, or at once."),
        Key("monitor.pause", "p", "pause", "pause", "Save a checkpoint and free the GPU, to go on later; asks first."),
        Key("monitor.freeze", "space", "freeze", "freeze", "Hold the picture still; the data keep coming."),
        Key("monitor.earlier", "left", "in_time(-1)", "look back", "Read the values of an earlier moment in all curves; earlier samples."),
        Key("monitor.later", "right", "in_time(1)", "", "The same, later."),
        Key("monitor.zoom", "z", "zoom", "zoom", "Show the last quarter of the curves, the last tenth, all; around the moment that is read."),
        Key("monitor.checkpoint", "c", "checkpoint", "checkpoint", "Save a checkpoint after this step; asks first."),
        Key("monitor.evaluate", "e", "evaluate", "evaluate", "Measure the loss on the held-out rows after this step; asks first."),
        Key("monitor.samples", "s", "samples", "samples", "Your questions and the model's answers, before and now."),
        Key("monitor.log", "l", "log", "log", "The last lines of the trainer's log."),
        Key("monitor.log_scale", "y", "log_scale", "log scale", "Logarithmic loss: small changes at the end show."),
        Key("monitor.smooth", "m", "smooth", "smooth", "Smooth the curves: some, much, not at all."),
        Key("monitor.compare", "o", "compare", "other run", "Draw the loss of another run beside this one, dotted; again takes it away."),
        Key("monitor.window_back", "less_than_sign,shift+left", "window(-1)", "", "When zoomed in: the part before."),
        Key("monitor.window_on", "greater_than_sign,shift+right", "window(1)", "", "When zoomed in: the part after."),
        Key("monitor.reset", "0", "reset", "", "All of the curves again, as they were at first."),
    ),
    "panels": (
        Key("panels.loss", "1", "panel('loss')", "", "Loss: while it learns, on held-out rows, and of another run."),
        Key("panels.objective", "2", "panel('objective')", "", "What this objective watches: rewards, margins, accuracies, lengths."),
        Key("panels.rate", "3", "panel('rate')", "", "Learning rate and gradient norm."),
        Key("panels.memory", "4", "panel('memory')", "", "Memory: what it is made of, predicted and measured."),
        Key("panels.gpu", "5", "panel('gpu')", "", "Each GPU: how busy, how hot, how much power."),
        Key("panels.speed", "6", "panel('speed')", "", "Tokens per second, and how much of the card that is."),
        Key("panels.samples", "7", "panel('samples')", "", "Samples: answers before and now."),
        Key("panels.events", "8", "panel('events')", "", "Everything that has happened."),
        Key("panels.log", "9", "panel('log')", "", "The log of the trainer."),
    ),
    "pager": (
        Key("pager.up", "up,k", "scroll_rows(-1)", "", "Scroll up."),
        Key("pager.down", "down,j", "scroll_rows(1)", "", "Scroll down."),
        Key("pager.page_up", "pageup", "scroll_pages(-1)", "", "One screen up."),
        Key("pager.page_down", "pagedown", "scroll_pages(1)", "", "One screen down."),
        Key("pager.home", "home,g", "scroll_to_end(False)", "", "To the beginning."),
        Key("pager.end", "end,G", "scroll_to_end(True)", "", "To the end."),
    ),
    "done": (
        Key("done.compare", "1", "compare", "compare", "The same questions to the base and to your model."),
        Key("done.evaluate", "2", "evaluate", "evaluate", "Measure both on rows that were held out, with a plain verdict."),
        Key("done.export", "3", "export", "export", "Make files that other programs run; checked against the trained model."),
        Key("done.take_home", "4", "take_home", "take home", "Copy it to your own computer, and see what is only on this machine."),
        Key("done.chat", "c", "chat", "chat", "Talk to the model."),
        Key("done.home", "enter,escape", "home", "home", "To the list of runs."),
        Key("done.new", "n", "new", "new run", "Start another fine-tune."),
    ),
    "export": (
        Key("export.start", "enter", "start", "export", "Make the marked form; asks before an earlier one is replaced."),
        Key("export.back", "escape", "back", "back", "Back; while it works, stop it and leave nothing half-written."),
        Key("export.toggle", "space", "tick", "tick", "Of GGUF files: make the marked number format, or not."),
        Key("export.other", "tab", "other", "formats", "Between the list of forms and the list of number formats."),
        Key("export.take_home", "t", "take_home", "take home", "Copy what was exported to your own computer."),
    ),
    "take-home": (
        Key("take_home.next", "n,right", "turn(1)", "next", "The next export."),
        Key("take_home.previous", "p,left", "turn(-1)", "previous", "The export before."),
        Key("take_home.copy", "y", "copy", "copy", "Put the line that fetches it on the clipboard of your computer; again, the line after it."),
        Key("take_home.have", "h", "have", "I have it", "Note that it is on your computer and its checksums are right."),
        Key("take_home.back", "escape", "back", "back", "Back."),
    ),
    "chat": (
        Key("chat.send", "enter", "", "send", "Send what you typed; where a reward model judges, first the question, then the answer."),
        Key("chat.back", "escape", "back", "back", "Stop the answer that is being written; otherwise go back."),
        Key("chat.keys", "tab", "field", "keys", "From the text field to the other keys, and back."),
        Key("chat.against", "b", "against", "beside", "Put a second model beside it: the base, or another checkpoint."),
        Key("chat.settings", "s", "settings", "settings", "How answers are made: temperature, length, seed, ..."),
        Key("chat.system", "y", "system", "system prompt", "Tell the model beforehand who it is and how to answer."),
        Key("chat.clear", "x", "clear", "clear", "Forget what was said and begin anew."),
        Key("chat.model", "m", "model", "other model", "Talk to another checkpoint of this run, or to the base."),
        Key("chat.up", "pageup", "scroll(-1)", "", "Scroll up."),
        Key("chat.down", "pagedown", "scroll(1)", "", "Scroll down."),
    ),
    "compare": (
        Key("compare.next", "n,right", "row(1)", "next", "The next question."),
        Key("compare.back", "escape", "back", "back", "Back; what is still being asked is left out."),
        Key("compare.previous", "p,left", "row(-1)", "previous", "The question before."),
        Key("compare.changed", "c", "changed", "next changed", "The next question whose answer changed."),
        Key("compare.against", "b", "against", "against", "Compare with another checkpoint instead of the base."),
    ),
    "evaluate": (
        Key("evaluate.next", "n,right", "row(1)", "worst rows", "The worst row; again: the next worst."),
        Key("evaluate.back", "escape", "back", "back", "Stop measuring; otherwise go back."),
        Key("evaluate.previous", "p,left", "row(-1)", "", "The row before; from the first one back to the table."),
        Key("evaluate.order", "w", "order", "order", "Order the worst rows by loss, or by the number that decides."),
        Key("evaluate.against", "b", "against", "against", "Compare with another checkpoint instead of the base."),
        Key("evaluate.again", "r", "again", "again", "Measure anew, such as after more training."),
    ),
    "dialog": (
        Key("dialog.accept", "enter", "accept", "accept", "Take it."),
        Key("dialog.cancel", "escape", "cancel", "cancel", "Close this and change nothing."),
        Key("dialog.help", "question_mark,f1", "app.help", "help", "The keys of this window."),
    ),
}  # fmt: skip

# Groups that work at the same time, so that no key may stand in two of them. A text to scroll is part of some screens.
TOGETHER: tuple[tuple[str, ...], ...] = (
    ("home", "list"), ("wizard", "machine"), ("wizard", "list", "goal"), ("wizard", "list", "questions"),
    ("wizard", "data", "list"), ("browse",), ("hub-search", "list"), ("readings", "list"), ("columns", "list"),
    ("findings", "list"), ("wizard", "model", "list"), ("wizard", "template"), ("wizard", "list", "method"),
    ("wizard", "review"), ("monitor", "panels", "pager"), ("done", "pager"), ("export", "list"), ("take-home", "pager"), ("curves", "pager"), ("evaluate", "pager"), ("dialog", "list"),
)  # fmt: skip

_own: dict[str, str] = {}


def use(own: Mapping[str, str]) -> None:
    """Give keys of the table others, by id; those of the last call no longer count."""
    _own.clear()
    _own.update(own)


def keys_of(*groups: str) -> list[Key]:
    """The keys of these groups, in the order in which the bottom line shows them, those of every screen last."""
    return group_keys(*groups, "everywhere")


def group_keys(*groups: str) -> list[Key]:
    """The keys of exactly these groups, with those the user has given them."""
    found = [key for group in groups for key in KEYMAP[group]]
    return [replace(key, keys=_own[key.id]) if key.id in _own else key for key in found]


def shown_key(id: str) -> str:
    """The key with this id as the user has it, printed as on a keyboard."""
    return next(key.shown for key in group_keys(*KEYMAP) if key.id == id)


def bindings(*groups: str) -> list[BindingType]:
    """The keys of these groups for a screen's ``BINDINGS``; those of every screen are the app's.

    They are the table's own: what the user has changed is laid over them by the app, by id.
    """
    from textual.binding import Binding

    return [
        Binding(key.keys, key.action, key.label, id=key.id)
        for group in groups
        for key in KEYMAP[group]
        if key.action
    ]
