"""A call to the Hub inside an export: its progress is told like any other, and the user may stop it."""

from __future__ import annotations

from engine.deliver.export.job import Tell, wants_to_stop
from engine.hub.task import Progress, Task


def hub_task(tell: Tell, repo_id: str = "", files_are_steps: bool = False) -> Task:
    """The export's side of a call to the Hub.

    Args:
        tell: Told of bytes and of anything unusual; may cancel.
        repo_id: What the call's words are about.
        files_are_steps: The call names each file with its bytes, as an upload does.
    """

    def progress(told: Progress) -> None:
        if told.words and told.total and files_are_steps:
            tell.step(told.words)
        elif told.words:
            tell.say(told.words)
        if told.total:
            tell.progress(told.done, told.total)

    return Task(progress, lambda: wants_to_stop(tell), repo_id)
