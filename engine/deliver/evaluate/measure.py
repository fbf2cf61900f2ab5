"""Measuring two models row by row. For worker processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.config.schema import RunConfig
from engine.deliver.evaluate.answers import MEASURES
from engine.deliver.evaluate.earned import Earned
from engine.deliver.evaluate.judge import Judge, Judged, Pair
from engine.deliver.evaluate.likelihood import Likelihood, likelihoods
from engine.deliver.evaluate.own_function import OwnFunction
from engine.deliver.evaluate.sequences import Masked, of_row
from engine.deliver.generation import Answer, answer_all, window_of
from engine.deliver.loading import Side
from engine.deliver.prompts import Prompt
from engine.deliver.window import fitted
from engine.errors import UserError
from engine.train.tokens import IGNORED

Told = Callable[[str, int, int], None]
Scores = dict[str, list[float | None]]
NO_MOVEMENT = 1e-4  # nats: what rounding makes of the same model


@dataclass(slots=True)
class Measured:
    """Numbers of every row.

    Attributes:
        scores: For each row the name of a metric to its numbers before and after.
        tokens: For each row the tokens behind its loss.
        answers: For each row the answers of the models; None where it was left out.
        kl: Mean divergence of the predictions, in nats a token.
        judged: What the judge said.
        notes: For the user.
    """

    scores: list[Scores]
    tokens: list[int]
    answers: list[list[Answer] | None]
    kl: float | None = None
    judged: Judged | None = None
    notes: list[str] = field(default_factory=list)


class Measuring:
    """Two models and the rows they are measured on.

    Args:
        sides: The model before, where there is one, and the model after.
        tokenizer: With the template of the training.
        config: The run.
        rows: In training form.
        asked: The same rows as questions.
        told: Given what is done at the moment, how much of it, and out of how much.
        cancelled: Asked now and then.
        batch_size: Rows at once.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        tokenizer: Any,
        config: RunConfig,
        rows: Sequence[dict[str, Any]],
        asked: Sequence[Prompt],
        told: Told,
        cancelled: Callable[[], bool],
        batch_size: int = 8,
    ) -> None:
        self._sides, self._tokenizer, self._config = list(sides), tokenizer, config
        self._rows, self._asked = list(rows), list(asked)
        self._told, self._cancelled, self._batch = told, cancelled, batch_size
        self.found = Measured([{} for _ in rows], [0] * len(self._rows), [None] * len(self._rows))

    def read(self) -> None:
        """Loss on the trained tokens, preferences, and how far the predictions are apart."""
        sequences = [of_row(row, self._tokenizer, self._config) for row in self._rows]
        if self._config.method.objective == "reward":
            self._scores([one.scored for one in sequences])
            return
        flat: list[tuple[int, bool, Masked]] = []
        for number, one in enumerate(sequences):
            flat += [(number, True, piece) for piece in one.wanted if piece.counted]
            flat += [(number, False, one.rejected)] if one.rejected is not None else []
        if not flat:
            return
        found = likelihoods(
            self._sides,
            [piece for _, _, piece in flat],
            lambda done: self._told("reading the wanted answers", done, len(flat)),
            self._cancelled,
            self._batch,
        )
        if not found:
            return
        wanted: dict[int, list[Likelihood]] = {}
        rejected: dict[int, Likelihood] = {}
        for (number, is_wanted, _), read in zip(flat, found, strict=True):
            if is_wanted:
                wanted.setdefault(number, []).append(read)
            else:
                rejected[number] = read
        broken = 0
        for number, pieces in wanted.items():
            tokens = sum(one.tokens for one in pieces)
            sums = [sum(one.nll[side] for one in pieces) for side in range(len(self._sides))]
            if not all(map(math.isfinite, sums)):
                broken += 1
                continue
            if sequences[number].good:
                self.found.scores[number]["loss"] = [total / tokens for total in sums]
                self.found.tokens[number] = tokens
            self._preference(number, sums, tokens, rejected.get(number), sequences[number].good)
        if broken:
            self.found.notes.append(
                f"In {broken:,} rows a model computes numbers that are none (nan or infinite), so they have no loss: its training "
                "has probably gone wrong. Try an earlier checkpoint: --checkpoint STEP"
            )
        self.found.kl = _divergence(found)

    def answer(self, max_new_tokens: int) -> None:
        """Let every model answer every question."""
        ids, numbers, most = [], [], max_new_tokens
        refused: list[tuple[int, str]] = []
        window = window_of(self._sides[-1].model)
        for number, prompt in enumerate(self._asked):
            try:
                fit = fitted(self._tokenizer, prompt.content, window, max_new_tokens, None, prompt.tools)
            except UserError as error:
                refused.append((number, error.what))
                continue
            ids.append(fit.ids)
            numbers.append(number)
            most = min(most, fit.max_new_tokens)
        if refused:
            number, why = refused[0]
            self.found.notes.append(
                f"{len(refused):,} rows get no answers; the first is row {number + 1}: {why}"
            )
        if most < max_new_tokens:
            self.found.notes.append(
                f"Answers have at most {most:,} tokens, because a question leaves room for no more."
            )
        made: list[list[Answer]] = []
        for side in self._sides:
            done = 0

            def count(_: int, answer: Answer, name: str = side.trained.name) -> None:
                nonlocal done
                done += 1
                self._told(f"answers of {name}", done, len(ids))

            with side.active() as model:
                made.append(
                    answer_all(model, self._tokenizer, ids, most, self._batch * 2, count, self._cancelled)
                )
        if self._cancelled():
            return
        for number, *answers in zip(numbers, *made, strict=True):
            self.found.answers[number] = list(answers)
        if self.found.kl is None and len(self._sides) == 2:  # there was nothing to read
            said = [_said(prompt, answer.token_ids) for prompt, answer in zip(ids, made[0], strict=True)]
            self.found.kl = _divergence(
                likelihoods(self._sides, said, cancelled=self._cancelled, batch_size=self._batch)
            )

    def compare(self, names: Sequence[str]) -> None:
        """Measure the answers that were made."""
        for scores, prompt, answers in zip(self.found.scores, self._asked, self.found.answers, strict=True):
            if answers is None:
                continue
            for name in names:
                if name == "stops":
                    scores[name] = [float(one.stopped) for one in answers]
                elif name == "length":
                    scores[name] = [float(one.tokens) for one in answers]
                elif name in MEASURES and prompt.expected is not None:
                    expected = prompt.expected.strip()
                    scores[name] = [MEASURES[name](one.text, expected) for one in answers]

    def reward(self) -> None:
        """What the answers earn from the run's own reward functions."""
        earned = Earned(self._config)
        numbers = [number for number, answers in enumerate(self.found.answers) if answers is not None]
        rows = [self._rows[number] for number in numbers]
        for side in range(len(self._sides)):
            texts = [self._texts(number)[side] for number in numbers]
            for number, value in zip(numbers, earned.score(rows, texts), strict=True):
                self.found.scores[number].setdefault("reward", []).append(value)

    def call(self, function: OwnFunction) -> None:
        """The user's own score of every answer."""
        for number, prompt in enumerate(self._asked):
            if self._cancelled():
                return
            if self.found.answers[number] is not None:
                values = [
                    function.score(prompt.question, text, prompt.expected) for text in self._texts(number)
                ]
                self.found.scores[number]["function"] = values
            self._told("your function", number + 1, len(self._asked))

    def judge(self, judge: Judge) -> None:
        """Which answers a judge prefers.

        Raises:
            UserError: It does not answer.
        """
        numbers = [number for number, answers in enumerate(self.found.answers) if answers is not None]
        pairs = []
        for number in numbers:
            prompt, (before, after) = self._asked[number], self._texts(number)
            pairs.append(Pair(_whole(prompt), prompt.expected, before, after))
        told = judge.judge(
            pairs, lambda done: self._told("asking the judge", done, len(pairs)), self._cancelled
        )
        for number, score in zip(numbers, told.scores, strict=True):
            self.found.scores[number]["judge"] = [1 - score, score]
        self.found.judged = told

    def _texts(self, number: int) -> list[str]:
        return [one.text for one in self.found.answers[number] or ()]

    def _preference(
        self, number: int, wanted: Sequence[float], tokens: int, rejected: Likelihood | None, good: bool
    ) -> None:
        """Sums are negative log-probabilities of the better, or the only, answer."""
        objective, scores = self._config.method.objective, self.found.scores[number]
        if objective == "kto":
            gain = wanted[0] - wanted[1]
            scores["moved_right"] = [0.5, _side(gain if good else -gain)]
        elif rejected is not None and rejected.tokens:
            # Per token: of two answers the shorter one would nearly always be the likelier.
            scores["preference"] = [
                _side(rejected.nll[side] / rejected.tokens - wanted[side] / tokens) for side in range(2)
            ]
            gained, lost = wanted[0] - wanted[1], rejected.nll[0] - rejected.nll[1]
            scores["moved_right"] = [0.5, _side(gained - lost)]

    def _scores(self, pairs: Sequence[tuple[list[int], list[int]] | None]) -> None:
        import torch

        for number, pair in enumerate(pairs):
            if self._cancelled():
                return
            if pair is None:
                continue
            accuracy: list[float | None] = []
            margin: list[float | None] = []
            for side in self._sides:
                with side.active() as model, torch.inference_mode():
                    better, worse = (
                        float(model(torch.tensor([ids], device=model.device)).logits[0, 0]) for ids in pair
                    )
                accuracy.append(_side(better - worse))
                margin.append(better - worse)
            if len(self._sides) == 1:  # without a model to compare with: against guessing
                accuracy, margin = [0.5, *accuracy], [0.0, *margin]
            self.found.scores[number] |= {"accuracy": accuracy, "margin": margin}
            self._told("scoring pairs", number + 1, len(pairs))


def _side(difference: float) -> float:
    return 0.5 if abs(difference) < NO_MOVEMENT else float(difference > 0)


def _divergence(found: Sequence[Likelihood]) -> float | None:
    """Mean over all tokens, in nats; None where it was not measured."""
    divergences = [one.kl for one in found if one.kl is not None]
    total = sum(one.tokens for one in found)
    mean = sum(divergences) / total if divergences and total else math.nan
    return mean if math.isfinite(mean) else None


def _said(prompt: Sequence[int], answer: Sequence[int]) -> Masked:
    return Masked([*prompt, *answer], [IGNORED] * len(prompt) + list(answer))


def _whole(prompt: Prompt) -> str:
    """All turns, for a judge; a single question is just that."""
    if isinstance(prompt.content, str) or len(prompt.content) == 1:
        return prompt.question
    return "\n".join(f"{turn.get('role')}: {turn.get('content') or ''}" for turn in prompt.content)
