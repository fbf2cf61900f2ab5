"""What all screens have in common: a key line, a place for messages, and work in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import UserError
from tui.keymap import keys_of
from tui.widgets.key_line import KeyLine
from tui.widgets.notice import Notice

if TYPE_CHECKING:
    from tui.app import FinetuiApp

T = TypeVar("T")


class BaseScreen(Screen[Any]):
    """A full screen: a head, a body, messages, and the key line.

    Attributes:
        KEY_GROUPS: Groups of the keymap that work here, most important first.
        HELP: What the help shows above the keys: what this screen is for and what its words mean.
    """

    KEY_GROUPS: ClassVar[tuple[str, ...]] = ()
    HELP: ClassVar[str] = ""
    AUTO_FOCUS = "*"

    def compose(self) -> ComposeResult:
        yield from self.head()
        yield Static("", classes="rule", markup=False)
        yield KeyLine(keys_of(*self.KEY_GROUPS))
        yield Notice()
        yield from self.body()

    def head(self) -> Iterable[Widget]:
        """The top line."""
        return ()

    def body(self) -> ComposeResult:
        """Everything between the top line and the bottom line."""
        return ()

    @property
    def the_app(self) -> FinetuiApp:
        """The app with its own type."""
        return cast("FinetuiApp", self.app)

    @property
    def key_line(self) -> KeyLine:
        return self.query_one(KeyLine)

    @property
    def notice(self) -> Notice:
        return self.query_one(Notice)

    def help_text(self) -> str:
        """What the help says about this screen."""
        return self.HELP

    def leaving(self) -> Iterable[str]:
        """Lines to print on the normal screen when the user leaves from here."""
        return ()

    def in_background(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        group: str,
        failed: Callable[[UserError], None] | None = None,
    ) -> None:
        """Run slow work in a thread and hand its result to `done` on this screen; the newest of a group wins.

        A `UserError` goes to `failed`, or is shown; anything else is a mistake in finetui, is written to the crash log
        and said in one line.
        """

        def run() -> None:
            from textual.worker import get_current_worker

            worker = get_current_worker()
            try:
                result = work()
            except UserError as error:
                self._deliver(worker.is_cancelled, failed or self.show_error, error)
            except Exception as error:
                from tui.app import write_crash_log

                log = write_crash_log(error)
                broken = UserError(
                    f"Something in finetui broke: {type(error).__name__}.",
                    str(log),
                    "Try again, or go on without it.",
                )
                self._deliver(worker.is_cancelled, failed or self.show_error, broken)
            else:
                self._deliver(worker.is_cancelled, done, result)

        self.run_worker(run, group=group, exclusive=True, thread=True, exit_on_error=False)

    def _deliver(self, cancelled: bool, to: Callable[[T], None], what: T) -> None:
        if not cancelled and self.app.is_running:
            self.app.call_from_thread(self._if_here, to, what)

    def _if_here(self, to: Callable[[T], None], what: T) -> None:
        # A screen that was left is still attached for a moment, when its widgets are already gone.
        if self.is_attached and self in self.app.screen_stack:
            try:
                to(what)
            except Exception as error:  # the thread that waits for this would swallow it
                self.app._handle_exception(error)

    def show_error(self, error: UserError) -> None:
        """Show a user's error on the screen."""
        self.notice.error(error)
