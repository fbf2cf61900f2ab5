"""Chat: talk to a trained model, and to another one beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.deliver.room import Device
from engine.deliver.sampling import Sampling, changed
from engine.deliver.source import BASE
from engine.deliver.talk import Conversation, Opened, Piece, Reply, Talk
from engine.display import printable
from engine.errors import UserError
from engine.run.layout import RunDir
from tui.keymap import bindings
from tui.no_room import offer_processor
from tui.screens.base import BaseScreen
from tui.widgets.pager import Pager
from tui.widgets.prompt_input import PromptInput
from tui.widgets.rows import Row

PAINT_EVERY = 0.1  # seconds between pictures of an answer that is being written
LONGEST = 200_000  # characters of an answer that are shown
NOBODY = "nobody"
TO_JUDGE = "the answer to judge"
PLACEHOLDERS = {
    "chat": "write to the model; Enter sends",
    "text": "begin a text; Enter lets the model go on with it",
    "score": "a question; the answer to judge comes next",
}


class ChatScreen(BaseScreen):
    """A conversation with one or two models of a run.

    Args:
        run: The run.
        sides: Which of its models; see `engine.deliver.source.find_trained`.
        device: Where they are held.
        system: System prompt.
        by_hand: Settings of the answers in place of the model's own, by name; None where there is none.
        template_kwargs: Variables of the chat template.
    """

    KEY_GROUPS = ("chat",)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat"), Binding("shift+tab", "field", show=False)]
    AUTO_FOCUS = "Input"
    DEFAULT_CSS = """
    ChatScreen #talk { height: 1fr; margin: 1 0 0 0; }
    ChatScreen Pager { width: 1fr; height: 1fr; padding: 0 1; }
    ChatScreen #second { display: none; border-left: solid $muted; }
    ChatScreen.-two #second { display: block; }
    ChatScreen #state { height: 1; padding: 0 1; color: $muted; text-wrap: nowrap; text-overflow: ellipsis; }
    ChatScreen Input { margin: 0 1 1 1; }
    """
    HELP = """\
Type and press Enter. Tab leaves the text field, so that the letter keys work; Tab again goes back to it.

The model sees the whole conversation each time. When it grows longer than the model can look at, the oldest messages are \
left out, and that is said. A token is a piece of text, about three quarters of a word.

"Stopped by itself" means that the model ended its answer; "cut off" that it would have gone on: raise max_new_tokens, or it \
never learned to stop. With a second model beside it, both get the same words and the same seed, and each remembers its own \
answers."""

    def __init__(
        self,
        run: RunDir,
        sides: Sequence[str | None] = (None,),
        device: Device = "auto",
        system: str = "",
        by_hand: Mapping[str, str | None] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self._sides = list(sides)
        self._device: Device = device
        self._talk: Talk | None = None
        self._opened: Opened | None = None
        self._conversation = Conversation(system=system)
        self._sampling: Sampling | None = None
        self._by_hand = dict(by_hand or {})
        self._template_kwargs = template_kwargs
        self._shown: list[list[Row]] = [[], []]
        self._partial = ["", ""]
        self._speed = ""
        self._answering = False
        self._question: str | None = None  # whose answer is to be scored
        self._timer: Timer | None = None

    def head(self) -> Iterable[Widget]:
        yield Static("", id="head", classes="head", markup=False)

    def body(self) -> ComposeResult:
        with Horizontal(id="talk"):
            yield Pager(id="first")
            yield Pager(id="second")
        yield Static("", id="state", markup=False)
        field = PromptInput(placeholder="the model is being loaded ...", compact=True)
        field.cursor_blink = False
        yield field

    def on_mount(self) -> None:
        for pager in self.query(Pager):
            pager.clear(follow=True)
        self._timer = self.set_interval(PAINT_EVERY, self._paint, pause=True)
        self._load()

    def on_unmount(self) -> None:
        self._close()

    def on_descendant_focus(self) -> None:
        # While typing Enter sends and letters are words; elsewhere it is the other way round.
        typing = isinstance(self.focused, Input)
        self.key_line.hide(*(() if typing else ("chat.send",)))
        self._relabel()

    def _relabel(self) -> None:
        words = {"chat_keys": "keys" if isinstance(self.focused, Input) else "type"}
        self.key_line.relabel(**words, **({"chat_back": "stop"} if self._answering else {}))

    # Models

    def _load(self) -> None:
        """Hold the wanted models in a new worker; what was said is forgotten where there are others now."""
        self._close()
        self.set_class(len(self._sides) > 1, "-two")
        self._tell()
        self._say("loading the model ..." if len(self._sides) == 1 else "loading the models ...")
        self._paint()
        self._talk = talk = Talk(self.run, self._sides, self._device)

        def opened(found: Opened) -> None:
            if talk is self._talk:
                self._ready(found)

        self.in_background(talk.open, opened, "talk", self._not_loaded)

    def _ready(self, opened: Opened) -> None:
        self._opened = opened
        self._sampling = changed(opened.sampling, self._by_hand)
        if (self._conversation.kind, self._conversation.num_sides) != (opened.kind, len(opened.names)):
            self._conversation = Conversation(opened.kind, len(opened.names), self._conversation.system)
        self.query_one(Input).placeholder = PLACEHOLDERS[opened.kind]
        self._tell()

    def _not_loaded(self, error: UserError) -> None:
        self._opened = None
        self._say("not loaded")
        offer_processor(self, error, self._on_processor)

    def _on_processor(self) -> None:
        self._device = "cpu"
        self._load()

    def _close(self) -> None:
        """End the worker without waiting for it."""
        talk, self._talk = self._talk, None
        self._opened = None
        self._answering = False
        if talk is not None:
            threading.Thread(target=talk.close, daemon=True).start()

    # Questions and answers

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        field = self.query_one(PromptInput)
        words, typed = field.words, field.value
        if not words.strip():
            return
        if self._answering:
            self.notice.say("The answer is still being written. Esc stops it.")
            return
        if self._opened is None or self._talk is None or not self._talk.alive:
            self.notice.say("The model is not loaded yet. What you typed stays here.")
            if self._talk is None or not self._talk.alive:
                self._load()
            return
        self.notice.clear()
        field.value = ""
        if self._opened.kind == "score" and self._question is None:
            self._question = words
            field.placeholder = TO_JUDGE
            self._add(("question", words))
            return
        self._ask(self._talk, self._opened, words, typed)

    def _ask(self, talk: Talk, opened: Opened, words: str, typed: str) -> None:
        question, answer = words, None
        if self._question is not None:
            question, answer = self._question, words
        self._question = None
        sampling = self._sampling or opened.sampling
        prompts = self._conversation.prompts(question, answer)
        self._add(("answer" if answer else "text" if opened.kind == "text" else "you", words))
        self._answering, self._partial, self._speed = True, ["", ""], "reading ..."
        self._relabel()

        def tell(piece: Piece) -> None:
            self._partial[piece.side] += piece.text
            speed = piece.tokens / max(piece.seconds, 1e-3)
            self._speed = f"{piece.tokens:,} tokens, {speed:,.1f} tokens/s"

        def done(replies: list[Reply]) -> None:
            if talk is self._talk:
                self._answered(opened, question, replies)

        def failed(error: UserError) -> None:
            if talk is self._talk:
                self._question = question if answer is not None else None
                self._settle()
                self._give_back(typed)
                self.show_error(error)

        if self._timer is not None:
            self._timer.resume()
        self.in_background(
            lambda: talk.ask(prompts, sampling, tell, self._template_kwargs), done, "answer", failed
        )

    def _give_back(self, typed: str) -> None:
        """What was not answered stands in the field again, to be shortened or sent once more."""
        for rows in self._shown:
            del rows[-3:]  # who said it, what, and an empty row
        field = self.query_one(PromptInput)
        if not field.value:
            field.value = typed
            field.cursor_position = len(typed)
        self._paint()

    def _answered(self, opened: Opened, question: str, replies: list[Reply]) -> None:
        self._settle()
        if opened.kind == "chat":
            self._conversation.add(question, replies)
        for reply in replies:
            name = opened.names[reply.side]
            rows = self._shown[reply.side]
            rows += _said(name, reply.text if reply.score is None else f"score {reply.text}")
            rows += [((reply.words(opened.kind), "$muted" if reply.stopped else "$warning"),), ()]
        self._paint()
        self._tell()

    def _settle(self) -> None:
        self._answering, self._partial, self._speed = False, ["", ""], ""
        if self._timer is not None:
            self._timer.pause()
        self._relabel()
        if self._opened is not None:
            words = PLACEHOLDERS[self._opened.kind] if self._question is None else TO_JUDGE
            self.query_one(Input).placeholder = words
        self._paint()
        self._tell()

    # What is shown

    def _add(self, said: tuple[str, str]) -> None:
        for rows in self._shown:
            rows += [*_said(*said), ()]
        self._paint()

    def _paint(self) -> None:
        for pager, rows, partial, side in zip(
            self.query(Pager), self._shown, self._partial, range(2), strict=False
        ):
            more: list[Row] = []
            if partial and self._opened is not None:
                more = _said(self._opened.names[side], partial)
            pager.show([*self._heading(), *rows, *more])
        if self._answering:
            self._say(self._speed)

    def _heading(self) -> list[Row]:
        if not self._conversation.system:
            return []
        return [*_said("system prompt", self._conversation.system, "$muted"), ()]

    def _tell(self) -> None:
        opened = self._opened
        head = [(f"Chat with {self.run.name}", "bold")]
        if opened is not None:
            what = " beside ".join(printable(words, 100) for words in opened.words)
            head.append((f"   {what}, on {opened.device}", "$muted"))
            if self._sampling is not None and opened.kind != "score":
                self._say(self._sampling.words())
            elif opened.kind == "score":
                self._say("it gives an answer a score; only differences between scores mean something")
        self.query_one("#head", Static).update(Content.assemble(*head))

    def _say(self, words: str) -> None:
        self.query_one("#state", Static).update(Content(words))

    # Keys

    def action_back(self) -> None:
        if self._answering and self._talk is not None:
            threading.Thread(target=self._talk.cancel, daemon=True).start()
            self._speed = "stopping ..."
        else:
            self.app.pop_screen()

    def action_field(self) -> None:
        """From the text field to the history, where letters are keys, and back."""
        (self.query_one("#first") if isinstance(self.focused, Input) else self.query_one(Input)).focus()

    def action_scroll(self, pages: int) -> None:
        for pager in self.query(Pager):
            pager.action_scroll_pages(pages)

    def action_clear(self) -> None:
        if self._answering:
            self.notice.say("The answer is still being written. Esc stops it.")
            return
        self._conversation.clear()
        self._question = None
        self._shown = [[], []]
        self.notice.clear()
        self._settle()
        self.query_one(Input).focus()

    def action_system(self) -> None:
        from tui.screens.ask import AskScreen

        if self._opened is not None and self._opened.kind == "text":
            self.notice.say("A model that goes on with texts takes no system prompt.")
            return
        words = "It stands before the conversation, such as: You answer in one sentence. Empty for none."
        self.app.push_screen(AskScreen("System prompt", words, self._conversation.system), self._system_set)

    def _system_set(self, words: str | None) -> None:
        if words is not None:
            self._conversation.system = words
            self._paint()

    def action_settings(self) -> None:
        from tui.answer_settings import ask_setting

        sampling = self._sampling
        if sampling is None:
            self.notice.say("The model is not loaded yet.")
            return

        def done(key: str, value: str) -> None:
            self._by_hand[key] = value
            self._sampling = changed(sampling, {key: value})
            self._tell()

        ask_setting(self, sampling, done)

    def action_against(self) -> None:
        """Choose what stands beside it."""
        first = self._sides[0] or (self._opened.names[0] if self._opened else None)
        more = [(NOBODY, "nobody: one model alone")]

        def sides(name: str) -> list[str | None]:
            return [self._sides[0]] if name == NOBODY else [self._sides[0], name]

        self._pick("Which model beside it?", first, BASE, more, sides)

    def action_model(self) -> None:
        """Choose which model talks."""
        second = self._sides[1] if len(self._sides) > 1 else None
        self._pick("Which model?", second, None, [], lambda name: [name, *self._sides[1:]])

    def _pick(
        self,
        title: str,
        without: str | None,
        marked: str | None,
        more: Sequence[tuple[str, str]],
        sides_with: Callable[[str], list[str | None]],
    ) -> None:
        from tui.pick_model import pick_model

        if self._answering:
            self.notice.say("The answer is still being written. Esc stops it.")
            return

        def done(name: str) -> None:
            if (sides := sides_with(name)) != self._sides:
                self._sides, self._question = sides, None
                self._conversation.clear()
                self._shown = [[], []]
                self._load()

        words = "It is loaded now, which may take a while. The conversation begins anew."
        pick_model(self, self.run, title, words, without, marked, done, more)

    def leaving(self) -> Iterable[str]:
        return (f"Talk on: finetui chat {self.run.name}",)


def _said(who: str, words: str, style: str = "") -> list[Row]:
    """A turn: who says it, and below it what."""
    text = printable(words, LONGEST, newlines=True).expandtabs(4).strip("\n")
    return [((printable(who, 60), "bold $primary"),), ((text, style),)]
