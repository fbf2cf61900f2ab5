"""What the wizard knows of a dataset, read once in the background and kept while the wizard is open."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from engine.advise.choose_objective import choose_objective, look
from engine.config.draft import Draft
from engine.data.dataset import SHAPE_ROWS, LoadedData, Peek, load_rows, peek
from engine.data.files import COLUMN_SUFFIXES, JSON_SUFFIXES, TABLE_SUFFIXES, plain_suffix
from engine.data.forms import OBJECTIVES, Objective
from engine.data.recognise import Reading, recognise, serving
from engine.data.sources import Spec, open_source, parse_mapping, spec_of
from engine.display import printable
from engine.errors import UserError

WHOLE_BELOW = 16 * 2**20  # bytes; a larger file is read to its end by the trainer only
ROWS_SHOWN = 200  # rows to page through in a file that is not read whole
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES, *COLUMN_SUFFIXES)  # text files are seldom meant as data
NOT_DATA = (
    "package",
    "package-lock",
    "tsconfig",
    "config",
    "tokenizer",
    "tokenizer_config",
    "composer",
    "manifest",
)
MOST_FOLDERS, MOST_FILES = 40, 40
ENOUGH = 0.8  # share of usable rows below which a file deserves a second look


@dataclass(frozen=True, slots=True)
class Wanted:
    """A dataset and how it is to be read.

    Attributes:
        path: A file, a folder, or a Hub dataset such as ``org/name:config@split``.
        mapping: Role and column, given by hand.
        format: How rows are read, given by hand; None recognises it.
        objective: What they are for; None lets goal and data decide.
        goal: Id of what the user wants to teach.
    """

    path: str
    mapping: tuple[tuple[str, str], ...] = ()
    format: str | None = None
    objective: Objective | None = None
    goal: str | None = None

    @property
    def spec(self) -> Spec:
        """The dataset as the engine takes it."""
        return replace(spec_of(self.path), mapping=dict(self.mapping), format=self.format)

    @property
    def settings(self) -> dict[str, Any]:
        """What was given by hand, by key of run.yaml."""
        given: dict[str, Any] = {"mapping": dict(self.mapping)} if self.mapping else {}
        return given | ({"format": self.format} if self.format else {})


def wanted_of(draft: Draft, path: str | None = None) -> Wanted:
    """The dataset of the draft; of another path only the goal is taken over, because the rest is about that file."""
    if path is not None and path != draft.data_path:
        return Wanted(path, goal=draft.goal)
    mapping, format = draft.settings.get("mapping") or {}, draft.settings.get("format")
    if isinstance(mapping, str):
        try:
            mapping = parse_mapping(mapping)
        except ValueError:
            mapping = {}
    objective = next((one for one in OBJECTIVES if one == draft.settings.get("objective")), None)
    return Wanted(
        draft.data_path,
        tuple((str(role), str(column)) for role, column in mapping.items()),
        None if format in (None, "", "auto") else str(format),
        objective,
        draft.goal,
    )


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """A dataset that can be trained on.

    Attributes:
        wanted: What was read, and how.
        first: A look at its beginning.
        loaded: All of it; None for a file too large to read here.
        objective: What it will be used for.
        why: Why for that, in a sentence; empty where the user said it.
    """

    wanted: Wanted
    first: Peek
    loaded: LoadedData | None
    objective: Objective
    why: str = ""

    @property
    def path(self) -> str:
        """The file, folder or Hub dataset."""
        return self.wanted.path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Usable rows to look at, in training form."""
        return self.loaded.rows if self.loaded else [row for _, row in self.first.examples]

    @property
    def numbers(self) -> list[int]:
        """The line (or row number) of each of `rows` in the file."""
        return self.loaded.numbers if self.loaded else [number for number, _ in self.first.examples]

    @property
    def num_rows(self) -> int:
        """Usable rows; estimated for a large file."""
        return self.loaded.usable if self.loaded else self.first.num_rows

    @property
    def asks(self) -> bool:
        """It can be read in two ways about as well, and the user has not said which is meant."""
        return self.first.reading.ambiguous and not self.wanted.settings

    @property
    def loses_much(self) -> bool:
        """So many rows cannot be used that the file is probably not what the user thinks it is."""
        return self.loaded is not None and self.loaded.usable < ENOUGH * self.loaded.total

    def words(self) -> str:
        """Shape and number of rows in one sentence."""
        title = _capital(self.first.reading.title)
        if self.loaded:
            words = f"{title}: {self.loaded.summary()}"
            return words if words.endswith("...") else f"{words}."
        about = "" if self.first.exact else "about "
        return f"{title}: {about}{self.first.num_rows:,} rows."


def read_dataset(wanted: Wanted | str) -> DatasetReport:
    """Read a dataset, all of it unless it is large.

    Raises:
        UserError: It cannot be read, or cannot be trained on.
    """
    wanted = Wanted(wanted) if isinstance(wanted, str) else wanted
    spec = wanted.spec
    objective, why = wanted.objective, ""
    if objective is None:
        choice = choose_objective(wanted.goal, look(spec))
        objective, why = choice.value, choice.reason
    first = peek(spec, ROWS_SHOWN, objective)
    serving((first.reading,), objective, printable(wanted.path, 300))
    loaded = load_rows(spec, objective) if first.size <= WHOLE_BELOW else None
    return DatasetReport(wanted, first, loaded, objective, why)


@dataclass(frozen=True, slots=True)
class Head:
    """The first rows of a dataset as they are in the file.

    Attributes:
        wanted: What was read.
        rows: The rows.
        reading: How they are read now; None when finetui could not tell.
    """

    wanted: Wanted
    rows: tuple[dict[str, Any], ...]
    reading: Reading | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(dict.fromkeys(str(column) for row in self.rows for column in row))


def head_of(wanted: Wanted) -> Head:
    """The first rows of a dataset, also of one that finetui cannot make sense of.

    Raises:
        UserError: It cannot be read.
    """
    first = islice(open_source(wanted.spec).items, SHAPE_ROWS)
    rows = tuple(row for _, row in first if isinstance(row, dict))
    if not rows:
        where = printable(wanted.path, 300)
        raise UserError(
            "No row of the file can be read.", where, "Press c to see what is wrong with its lines."
        )
    return Head(wanted, rows)


def readings_of(report: DatasetReport) -> list[Reading]:
    """The ways the rows can be read, the present one first, and what else their examples can be made into."""
    first = report.first.reading
    made = [
        replace(first, use=use.name, objectives=objectives, reason=_capital(use.words) + ".", alternatives=())
        for use, objectives in first.uses()
    ]
    return [first, *first.alternatives, *made]


def asking_for(reading: Reading, report: DatasetReport) -> Wanted:
    """The dataset, to be read in this way; the columns are only named where the name of the way is not enough."""
    plain = Wanted(report.path, (), reading.format, None, report.wanted.goal)
    rows = [row for _, row in report.first.rows]
    try:
        same = recognise(rows, report.path, None, None, reading.format).mapping == reading.mapping
    except UserError:
        same = False
    return plain if same else replace(plain, mapping=tuple(reading.mapping.items()))


def spoken(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who says what in a row in training form; foreign text."""
    if "messages" in row:
        return _turns(row["messages"])
    if not isinstance(row.get("prompt"), list):
        return [("text", str(row.get("text", "")))]
    lines = _turns(row["prompt"])
    verdict = "good" if row.get("label") else "bad"
    for column, who in (("chosen", "chosen"), ("rejected", "rejected"), ("completion", verdict)):
        lines += [(who, text) for _, text in _turns(row.get(column))]
    if row.get("answer") is not None:
        lines.append(("answer", str(row["answer"])))
    return lines


def _turns(messages: Any) -> list[tuple[str, str]]:
    # A row with a prompt alone carries other columns along, which may have any name and content.
    turns = messages if isinstance(messages, list) else ()
    return [(str(turn.get("role")), _text(turn)) for turn in turns if isinstance(turn, Mapping)]


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    calls = [call.get("function", call) for call in turn.get("tool_calls") or ()]
    words = [f"{call.get('name')}({call.get('arguments')})" for call in calls]
    return " ".join([str(content or ""), *words]).strip()


def find_datasets(folder: Path) -> list[Path]:
    """Files that look like datasets, in a folder and the folders directly below it."""
    found: list[Path] = []
    folders = [folder]
    for place in folders:
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or len(found) >= MOST_FILES:
                continue
            path = Path(entry.path)
            if plain_suffix(path) in SUFFIXES and path.stem.lower() not in NOT_DATA and _is_file(entry):
                found.append(path)
            elif place == folder and len(folders) < MOST_FOLDERS and _is_folder(entry):
                folders.append(path)
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and entry.stat().st_size > 0
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
