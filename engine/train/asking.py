"""The user's own questions to the model: before, while and after it trains, with the untrained model's answer beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engine.config.schema import RunConfig
from engine.run.events import EventReader
from engine.train.recorder import Recorder

LONGEST = 2000  # characters of an answer that are kept


class Asking:
    """Asks, and tells the answers; the random state and the mode of the model are as before afterwards."""

    def __init__(
        self,
        recorder: Recorder,
        config: RunConfig,
        trainer: Any,
        tokenizer: Any,
        rows: list[dict[str, Any]],
        is_ending: Callable[[], bool] = lambda: False,
        spent: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """
        Args:
            recorder: Told the answers.
            config: The run.
            trainer: Holds the model.
            tokenizer: With its chat template.
            rows: What a reward model scores some of, instead of answering.
            is_ending: Whether the run is about to end, so that nothing is asked any more.
            spent: Told how many seconds asking took while it trained.
        """
        from engine.train.model import is_split
        from engine.train.objectives import load_objective

        self._recorder, self._config = recorder, config
        self._trainer, self._tokenizer, self._rows = trainer, tokenizer, rows
        self._is_ending, self._spent = is_ending, spent
        self._objective = load_objective(config.method.objective)
        self._split = is_split(config)
        self._base: dict[str, str] = {}
        self._asked: set[int] = set()
        self._gave_up = False
        if recorder.attempt > 1:
            self._remember()

    def ask(self, when: str) -> None:
        """Ask before or after training; `when` is ``before`` or ``after``."""
        # A model that is split answers only when every process asks it; before training only the first one has it whole.
        if self._wanted and not (self._split and when == "before"):
            self._recorder.phase(f"sampling {when}", f"Asking your questions {when} training.")
            self._ask(when, self._trainer.state.global_step)

    def ask_now(self, step: int, max_steps: int) -> None:
        """Ask if this step is one of those at which the user wants to hear."""
        every = self._config.watch.sample_steps
        if (
            not every
            or not self._config.watch.sample_prompts
            or step == 0
            or step % every
            or step >= max_steps
        ):
            return
        # The answers of a step that is resumed from stand already; asking shows nothing new.
        if self._gave_up or step in self._asked or not self._wanted or self._ends():
            return
        self._asked.add(step)
        began = time.monotonic()
        self._ask("during", step)
        self._spent(time.monotonic() - began)

    @property
    def _wanted(self) -> bool:
        asks = bool(self._config.watch.sample_prompts) or not self._objective.about.talks
        return asks and (self._split or not self._recorder.silent)

    def _ends(self) -> bool:
        if not self._split:
            return self._is_ending()
        from engine.train.heal.agree import strongest

        return bool(strongest(int(self._is_ending())))

    def _ask(self, when: str, step: int) -> None:
        from engine.train.heal.out_of_memory import is_out_of_memory

        try:
            answers = self._answers()
            if when != "before" and self._objective.about.talks:
                self._find_base([prompt for prompt, _, _ in answers])
        except Exception as error:
            if not is_out_of_memory(error) or self._split:
                raise
            # Answers are for looking at; training needs less memory than they do, or finds out for itself.
            self._gave_up = True
            self._recorder.warning(
                f"Out of memory while asking your questions {when} training, so they are left out."
            )
            return
        for prompt, text, stopped in answers:
            text = text[:LONGEST]
            base = self._base.get(prompt)
            if when == "before":
                self._base[prompt] = text
            self._recorder.emit(
                "sample",
                when=when,
                step=step,
                prompt=prompt,
                text=text,
                stopped=stopped,
                **({} if when == "before" or base is None else {"base_text": base}),
            )

    def _answers(self) -> list[tuple[str, str, bool]]:
        from engine.train.safe_save import preserved_random_state

        with preserved_random_state():
            return self._objective.ask(self._trainer.model, self._tokenizer, self._config, self._rows)

    def _find_base(self, prompts: list[str]) -> None:
        """Where nobody asked before training, an adapter can be switched off; other weights are gone."""
        untrained = getattr(self._trainer.model, "disable_adapter", None)
        if untrained is None or all(prompt in self._base for prompt in prompts):
            return
        with untrained():
            found = self._answers()
        self._base.update({prompt: text[:LONGEST] for prompt, text, _ in found})

    def _remember(self) -> None:
        """What attempts before this one were answered."""
        reader = EventReader(self._recorder.run.events)
        while reader.behind:
            for event in reader.read():
                if event["kind"] != "sample":
                    continue
                if event.get("when") == "before":
                    self._base[str(event.get("prompt"))] = str(event.get("text"))
                elif event.get("when") == "during" and isinstance(event.get("step"), int):
                    self._asked.add(event["step"])
