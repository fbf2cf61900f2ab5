"""Recognise how a dataset is to be read, and what it can be used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.data.cells import RowProblemError
from engine.data.columns import Mapped, Sample
from engine.data.conversation import as_list
from engine.data.forms import OBJECTIVE_WORDS, Conversation, Form, Labelled, Objective, Preference, PromptOnly
from engine.data.mapping import mapped
from engine.data.reading import Item
from engine.data.shapes import all_shapes
from engine.data.shapes.base import Candidate, Shape, cell
from engine.data.uses import IMPLICIT, USES, Use
from engine.display import printable
from engine.errors import UserError

CLOSE = 0.015
"""Two readings whose confidence differs by no more are put to the user."""
GUESS = 0.5
"""A reading with this confidence or less is a guess, and is put to the user if there is another."""
_SURE_ENOUGH = 0.75
ACCEPTED = (
    "a list of turns: messages (role, content) or conversations (from, value)",
    "instruction, output and perhaps input",
    "prompt, completion",
    "question, answer (or query, response; input, output; problem, solution; ...)",
    "text",
    "prompt, chosen, rejected",
)
_IMAGES = "it has images, sound or film, which cannot be trained on yet"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a dataset are read.

    Attributes:
        shape: Name of the layout, such as ``messages``, ``alpaca`` or ``preference``.
        title: The shape in words, for the screen.
        mapping: Role to column.
        objectives: What it can be trained on with, the most natural first; empty where with nothing yet.
        confidence: From 0 to 1; `GUESS` and less is a guess.
        reason: Why it is read so, one sentence.
        note: What the user should know, such as columns that are not used; may be empty.
        usable: Share of the looked-at rows that can be used.
        alternatives: Other ways to read the same rows, most likely first.
        use: Name of the conversion applied, such as ``chosen``; None for none.
        images: All looked-at rows have pictures, sound or film.
    """

    shape: str
    title: str
    mapping: Mapped
    objectives: tuple[Objective, ...]
    confidence: float
    reason: str
    note: str
    usable: float
    alternatives: tuple[Reading, ...] = ()
    use: str | None = None
    images: bool = False

    @property
    def objective(self) -> Objective | None:
        """What it is most naturally used for."""
        return self.objectives[0] if self.objectives else None

    @property
    def format(self) -> str:
        """The name that asks for this reading in run.yaml."""
        return self.use or self.shape

    @property
    def ambiguous(self) -> bool:
        """Another reading is about as likely, so the user should be asked."""
        if not self.alternatives:
            return False
        return self.confidence <= GUESS or self.confidence - self.alternatives[0].confidence <= CLOSE

    def forms(self, row: Mapping[str, Any]) -> list[Form]:
        """The training examples of a row, usually one.

        Raises:
            RowProblemError: The row cannot be used.
        """
        forms = self._normalised(row)
        for form in forms:
            if isinstance(form, Conversation) and form.images:
                raise RowProblemError(_IMAGES, self.mapping.get("images", ""))
        if "images" in self.mapping and as_list(cell(row, self.mapping, "images")):
            raise RowProblemError(_IMAGES, self.mapping["images"])
        if self.use is None:
            return forms
        convert = _use(self.use).convert
        made = [new for form in forms for new in convert(form)]
        if self.use == "prompts":
            extra = {
                name: value
                for name, value in row.items()
                if name not in self.mapping.values() and value is not None
            }
            made = [replace(form, extra=extra) if isinstance(form, PromptOnly) else form for form in made]
        return made

    def _normalised(self, row: Mapping[str, Any]) -> list[Form]:
        try:
            return _shape(self.shape).normalise(row, self.mapping)
        except RecursionError:
            raise RowProblemError("lists nested too deeply", "", "Write it flatter.") from None

    def example(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Who says what in the first row that can be read, also where it cannot be trained on; foreign text."""
        for row in self.gathered([(number, dict(row)) for number, row in enumerate(rows, 1)]):
            try:
                forms = self._normalised(row)
                if self.use is not None:
                    forms = _use(self.use).convert(forms[0])
                return forms[0].spoken()
            except RowProblemError:
                continue
        return []

    def gather(self, items: Iterator[Item]) -> Iterator[Item]:
        """Rows that belong together as one, for shapes whose examples are spread over several rows."""
        joined = _shape(self.shape).gather
        return items if joined is None else joined(items, self.mapping)

    def gathered(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
        """As `gather`, for rows at hand."""
        return [row for _, row in self.gather(iter(list(rows))) if isinstance(row, dict)]

    def for_objective(self, objective: Objective) -> Reading | None:
        """This reading, or one that makes the examples the objective wants; None where only the user can decide that."""
        if objective not in self.objectives:
            return None
        form = _use(self.use).form if self.use else _shape(self.shape).form
        wanted = IMPLICIT.get(form)
        if wanted and objective in _use(wanted).form.objectives:
            return replace(self, use=wanted, objectives=_use(wanted).objectives)
        return replace(
            self, objectives=(objective, *(other for other in self.objectives if other != objective))
        )

    def uses(self) -> list[tuple[Use, tuple[Objective, ...]]]:
        """What else the examples can be made into, and what for."""
        if self.use or self.images:
            return []
        form = _shape(self.shape).form
        return [
            (use, use.objectives)
            for use in USES
            if form in use.sources and not {*use.objectives} <= {*self.objectives}
        ]


def recognise(
    rows: Sequence[Mapping[str, Any]],
    where: str,
    objective: Objective | None = None,
    mapping: Mapping[str, str] | None = None,
    format: str | None = None,
) -> Reading:
    """Tell how a dataset is to be read from its first rows.

    Args:
        rows: Some rows, at least one; their columns are taken together.
        where: The file, for messages.
        objective: What it is wanted for; a reading that serves it is preferred.
        mapping: Role to column, given by hand; it wins over what is recognised.
        format: Name of a shape or of a conversion (``chosen``, ``good``, ``unpaired``, ``prompts``, ``as_text``).

    Returns:
        The most likely reading that serves the objective, with the other possible ones in `Reading.alternatives`.

    Raises:
        UserError: No column can be trained on, or what is there is for other objectives; it names the possible uses.
    """
    readings = all_readings(rows, where, mapping)
    if format is not None:
        readings = _only(readings, format, where)
    if not readings:
        sample = Sample(rows)
        seen = printable(", ".join(str(name) for name in list(sample.columns.values())[:50]), 300) or "none"
        raise UserError(
            f"No column of the dataset can be trained on. Columns seen: {seen}.",
            where,
            "Rename the columns to one of: " + "; ".join(ACCEPTED) + ". Or say which is which: mapping "
            "prompt=COLUMN,completion=COLUMN.",
        )
    chosen = readings[0] if objective is None else serving(readings, objective, where)
    shown = chosen.example(rows)
    others = [other for other in readings if (other.shape, other.mapping) != (chosen.shape, chosen.mapping)]
    # Another name for the same words is nothing to ask about.
    return replace(chosen, alternatives=tuple(other for other in others if other.example(rows) != shown))


def all_readings(
    rows: Sequence[Mapping[str, Any]], where: str = "", mapping: Mapping[str, str] | None = None
) -> list[Reading]:
    """Every way the rows can be read, most likely first; those that fit no row at all only if none fits any.

    Raises:
        UserError: The mapping names a column that does not exist, or does not say enough.
    """
    sample = Sample(rows)
    if mapping:
        found = mapped(sample, mapping, where)
    else:
        found = [(shape, candidate) for shape in all_shapes() for candidate in shape.detect(sample)]
        if not found and (inner := sample.inner()):
            # Records of requests wrap the row into an object: {"inputs": {...}, "outputs": {...}}, {"body": {...}}.
            gathering = [shape for shape in all_shapes() if shape.gather is None]
            found = [(shape, candidate) for shape in gathering for candidate in shape.detect(inner)]
    readings = [_tried(shape, candidate, sample) for shape, candidate in found]
    readings.sort(key=lambda reading: reading.confidence, reverse=True)
    fitting = [reading for reading in readings if reading.usable > 0 or not reading.objectives]
    if any(reading.confidence > GUESS for reading in fitting):
        return fitting
    # Columns with telling names and nothing usable in them: better to say so than to guess something else.
    telling = [
        reading
        for reading in readings
        if reading not in fitting and reading.confidence > GUESS * _SURE_ENOUGH
    ]
    return telling + fitting or readings


def serving(readings: Sequence[Reading], objective: Objective, where: str) -> Reading:
    """The most likely reading that serves an objective.

    Raises:
        UserError: None does; it explains what the data are and names what they can be used for.
    """
    top = readings[0]
    if top.objectives:
        judged = _judged(top)
        for reading in readings:
            likely = reading is top or reading.confidence >= min(_SURE_ENOUGH, top.confidence - 0.1)
            hidden = reading is not top and judged & _answers(reading)
            if likely and not hidden and (fitting := reading.for_objective(objective)):
                return fitting
    raise _unsuited(top, objective, where)


def _judged(top: Reading) -> set[str]:
    """Columns with answers that are known to be good or bad; they must not be learnt without looking at that."""
    return _answers(top) if top.use is None and _shape(top.shape).form in (Preference, Labelled) else set()


def _answers(reading: Reading) -> set[str]:
    return {
        column
        for role, column in reading.mapping.items()
        if role not in ("prompt", "system", "input", "tools")
    }


def _unsuited(reading: Reading, objective: Objective, where: str) -> UserError:
    wanted = OBJECTIVE_WORDS[objective]
    if reading.images:
        return UserError(
            f"These are {reading.title} with images, sound or film, which cannot be trained on yet.",
            where,
            "Use a model and a dataset of text, or remove the rows that have them.",
        )
    if reading.shape == "tokenized":
        return UserError(
            "These rows are already tokens of one particular model (input_ids), not text.",
            where,
            "Give the dataset as text; finetui cuts it into tokens for the model you choose.",
        )
    direct = _listed(reading.objectives, "or")
    fixes = [f"Use them for {direct}."] if direct else []
    fixes += [
        f"Or {use.words}: --format {use.name}."
        for use, objectives in reading.uses()
        if objective in objectives
    ]
    if not fixes[1:]:
        needs = {
            "dpo": "a chosen and a rejected answer to each prompt", "orpo": "a chosen and a rejected answer to each prompt",
            "reward": "a chosen and a rejected answer to each prompt", "kto": "answers with a label good or bad",
            "sft": "an answer to each prompt", "cpt": "a column text", "grpo": "prompts", "rloo": "prompts",
        }  # fmt: skip
        fixes.append(f"For {objective} the rows need {needs[objective]}.")
    return UserError(f"These are {reading.title}, which do not suit {wanted}.", where, " ".join(fixes))


def _tried(shape: Shape, candidate: Candidate, sample: Sample) -> Reading:
    """The reading of a candidate, after trying it on the sample."""
    title = candidate.title or shape.title
    objectives = shape.objectives if shape.objectives is not None else shape.form.objectives
    reading = Reading(
        shape.name,
        title,
        candidate.mapping,
        objectives,
        candidate.confidence,
        candidate.reason,
        candidate.note,
        0.0,
    )
    rows = reading.gathered([(number, dict(row)) for number, row in enumerate(sample.rows, 1)])
    good = pictures = 0
    for row in rows:
        try:
            reading.forms(row)
            good += 1
        except RowProblemError as problem:
            pictures += str(problem) == _IMAGES
    usable = good / len(rows) if rows else 0.0
    images = not good and pictures > len(rows) / 2
    # A reading that most rows contradict is unlikely, whatever the columns are called.
    readable = usable + pictures / max(1, len(rows))
    contradicted = objectives and readable < 0.5
    confidence = candidate.confidence * (0.5 + readable if contradicted else 1.0)
    note = _note(candidate, sample, pictures, len(rows))
    return replace(
        reading,
        usable=usable,
        images=images,
        confidence=confidence,
        note=note,
        objectives=() if images else objectives,
    )


def _note(candidate: Candidate, sample: Sample, pictures: int, num_rows: int) -> str:
    notes = [candidate.note] if candidate.note else []
    if pictures:
        share = "The rows have" if pictures == num_rows else "Some rows have"
        notes.append(f"{share} images, sound or film, which cannot be trained on yet.")
    used = {column.split(".")[0] for column in candidate.mapping.values()} | {*candidate.mapping.values()}
    left = [column for column in sample.columns.values() if column not in used]
    if left:
        shown = ", ".join(printable(column, 40) for column in left[:5]) + (", ..." if len(left) > 5 else "")
        notes.append(f"Columns not used: {shown}.")
    return " ".join(notes)


def _only(readings: list[Reading], format: str, where: str) -> list[Reading]:
    fitting = [reading for reading in readings if reading.shape == format]
    use = next((use for use in USES if use.name == format), None)
    if use is not None:
        fitting = [
            replace(reading, use=use.name, objectives=use.objectives)
            for reading in readings
            if _shape(reading.shape).form in use.sources
        ]
    if fitting:
        return fitting
    names = {shape.name for shape in all_shapes()} | {use.name for use in USES}
    possible = [reading.shape for reading in readings]
    possible += [use.name for use in USES if any(_shape(r.shape).form in use.sources for r in readings)]
    what = (
        f"The rows cannot be read as {format}."
        if format in names
        else f"There is no format called '{printable(format, 40)}'."
    )
    listed = _listed(list(dict.fromkeys(possible)), "or") or "none"
    raise UserError(what, where, f"These rows can be read as: {listed}.")


def _shape(name: str) -> Shape:
    return _BY_NAME.get(name) or _BY_NAME.setdefault(name, next(s for s in all_shapes() if s.name == name))


_BY_NAME: dict[str, Shape] = {}


def _use(name: str) -> Use:
    return next(use for use in USES if use.name == name)


def _listed(names: Sequence[str], word: str) -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) if names else ""
