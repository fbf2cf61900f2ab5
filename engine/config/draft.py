"""The answers given so far in the wizard, and the run they lead to. Kept on disk, so leaving loses nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from engine.choice import Choice
from engine.config.loading import flag_value, load
from engine.config.loading import validate as validate_tree
from engine.config.resolve import Facts, resolve
from engine.config.schema import RunConfig, keys
from engine.config.writing import command_line, to_yaml
from engine.errors import UserError
from engine.fit.cards import find_card
from engine.fit.decide import Fit, fit
from engine.fit.recommend import Place
from engine.fit.setup import architecture_of, setup_of
from engine.machine.model import Gpu, Machine
from engine.run import atomic
from engine.run.home import ensure_private, finetui_home
from engine.run.launch import launch, require_training_packages
from engine.run.layout import RunDir, check_name, create

DEMO = Path(str(resources.files("presets").joinpath("demo")))
DEMO_DATA = str(DEMO / "train.jsonl")
DEMO_MODEL = str(DEMO)
DEMO_RECIPE = DEMO / "run.yaml"
ABOUT_AS_FREE = 0.9  # share of the chosen card's free memory that another must have to train beside it
NO_CARD = "No GPU is used, so main memory is what counts."
DEMO_FULL_LEARNING_RATE = 5e-4  # the recipe is for LoRA, which takes a higher rate

TUNINGS: dict[str, dict[str, dict[str, Any]]] = {
    "qlora": {"method": {"tuning": "lora"}, "model": {"load_in_4bit": True}},
    "lora8": {"method": {"tuning": "lora"}, "model": {"load_in_8bit": True}},
    "lora": {"method": {"tuning": "lora"}, "model": {"load_in_4bit": False}},
    "full": {"method": {"tuning": "full"}, "model": {"load_in_4bit": False}},
}


@dataclass(slots=True)
class Draft:
    """Everything the wizard has been told.

    Attributes:
        step: The screen the user was on.
        gpu: NVML index of the chosen card.
        price_per_hour: What the machine costs, in the user's currency.
        goal: Id of what the user wants to teach.
        answers: The goal screen's questions and answers.
        tuning: qlora, lora8, lora or full; None takes the recommendation.
        settings: Values set by hand, by RunConfig key.
    """

    step: str = "machine"
    gpu: int | None = None
    price_per_hour: float | None = None
    goal: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    data_path: str = DEMO_DATA
    model: str = DEMO_MODEL
    tuning: str | None = None
    chat_template: str = "model"
    settings: dict[str, Any] = field(default_factory=dict)
    name: str | None = None

    @property
    def is_demo(self) -> bool:
        """Model and data are the embedded ones."""
        return self.data_path == DEMO_DATA and self.model == DEMO_MODEL


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that could start now.

    Attributes:
        config: Complete: nothing in it is left open.
        choices: What finetui chose, by key.
        name: The wished name; a number is added when it is taken.
        yaml: The run.yaml as it will be written.
        command: The command line that does the same.
        env: Variables the trainer needs, such as the card it may see.
        price_per_hour: What the machine costs, to count while it runs.
        fit: Whether it fits on its card, and what would make it fit; None where that cannot be told.
        fit_unknown: Why it cannot be told, in a sentence.
    """

    config: RunConfig
    choices: dict[str, Choice[Any]]
    name: str
    yaml: str
    command: str
    env: dict[str, str]
    price_per_hour: float | None = None
    fit: Fit | None = None
    fit_unknown: str = ""


def load_draft() -> Draft:
    """The draft from last time, or a new one; fields of another version are left out."""
    stored = atomic.read_json(_file()) or {}
    known = {item.name for item in fields(Draft)}
    draft = Draft()
    for key, value in stored.items():
        default = getattr(draft, key, None)
        if key in known and (default is None or isinstance(value, type(default))):
            setattr(draft, key, value)
    if draft.tuning not in (None, *TUNINGS):
        draft.tuning = None
    return draft


def save_draft(draft: Draft) -> None:
    """Keep the draft.

    Raises:
        UserError: The folder cannot be written.
    """
    ensure_private(finetui_home())
    atomic.write_json(_file(), asdict(draft))


def clear_draft() -> None:
    """Forget the draft, once its run has started."""
    _file().unlink(missing_ok=True)


def plan(draft: Draft, machine: Machine | None) -> Plan:
    """Turn the answers into a run.

    Raises:
        UserError: An answer cannot be used; it says which and how to mend it.
    """
    check_name(draft.name or "run")
    if draft.is_demo:
        tree = load(DEMO_RECIPE).model_dump(exclude_none=True)
        tree["data"].pop("eval", None)
    else:
        tree = {"model": {"model_name_or_path": draft.model}, "data": {"train": [{"path": draft.data_path}]}}
    for section, values in TUNINGS[draft.tuning].items() if draft.tuning else ():
        tree.setdefault(section, {}).update(values)
    if draft.is_demo and draft.tuning == "full":
        tree["training"]["learning_rate"] = DEMO_FULL_LEARNING_RATE
    if draft.chat_template != "model":
        tree.setdefault("template", {})["chat_template"] = draft.chat_template
    section_of = keys()
    for key, value in draft.settings.items():
        if key in section_of:
            tree.setdefault(section_of[key], {})[key] = (
                flag_value(key, value) if isinstance(value, str) else value
            )
    config = validate_tree(tree, {}, "the wizard's answers", {})
    name = draft.name or ("demo" if draft.is_demo else default_name(config))
    return replace(prepare(config, machine, name, draft.gpu), price_per_hour=draft.price_per_hour)


def prepare(config: RunConfig, machine: Machine | None, name: str, gpu_index: int | None = None) -> Plan:
    """Complete a configuration for this machine: every open value chosen, with its reason."""
    gpu = choose_gpu(machine, gpu_index)
    cards = [gpu] if gpu_index is not None and gpu else alike(machine, gpu)
    if config.training.num_processes is not None and gpu is not None:
        cards = used_cards(machine, gpu, config.training.num_processes)
    facts, unknown = facts_of(config, cards)
    resolved = resolve(config, facts)
    used = resolved.config.training.num_processes or 1
    env = {}
    answer = None
    if gpu is not None:
        env = {"CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in used_cards(machine, gpu, used))}
    if facts.place is not None:
        place = facts.place
        answer = fit(place.architecture, setup_of(resolved.config, place.longest_row), place.free, place.card)
    return Plan(
        config=resolved.config,
        choices=resolved.choices,
        name=name,
        yaml=to_yaml(resolved.config, resolved.reasons),
        command=command_line(name=name),
        env=env,
        fit=answer,
        fit_unknown=unknown,
    )


def start(plan: Plan, numbered: bool = True) -> RunDir:
    """Make the run directory and start the trainer, detached.

    Raises:
        UserError: The name is taken (unless `numbered`), or the folder cannot be written.
    """
    require_training_packages()
    run = create(plan.name, numbered)
    try:
        atomic.write_text(run.config, plan.yaml)
        atomic.write_json(run.launch, {"price_per_hour": plan.price_per_hour})
        launch(run, plan.config.training.num_processes or 1, plan.env)
    except OSError as error:
        raise UserError(
            f"The run folder cannot be written: {error.strerror}.",
            str(run.path),
            "Free some space, or choose another place: FINETUI_HOME=/path/to/folder finetui ...",
        ) from error
    return run


def default_name(config: RunConfig) -> str:
    """Dataset and model, such as ``support-qwen3-8b``."""
    data = Path(config.data.train[0].path).name.split(".")[0]
    model = Path(config.model.model_name_or_path).name
    name = re.sub(r"[^a-z0-9.]+", "-", f"{data}-{model}".lower()).strip("-.")[:50]
    return name if name and name[0].isalnum() else f"run-{time.strftime('%m%d-%H%M')}"


def choose_gpu(machine: Machine | None, index: int | None) -> Gpu | None:
    """The chosen card, else the usable one with the most free memory."""
    usable = [gpu for gpu in machine.gpus if gpu.usable] if machine else []
    if index is not None:
        return next((gpu for gpu in usable if gpu.index == index), None)
    return max(usable, key=lambda gpu: gpu.memory_free, default=None)


def facts_of(config: RunConfig, cards: Sequence[Gpu]) -> tuple[Facts, str]:
    """What the choices depend on, read from data and model, and why the fit cannot be told (empty when it can).

    Args:
        config: The run; open values stay open.
        cards: The cards it may use, the chosen one first; empty on a machine without.
    """
    from engine.data.dataset import peek
    from engine.models.folder import inspect_model

    num_rows = sum(peek(source.path).num_rows for source in config.data.train)
    params = inspect_model(config.model.model_name_or_path).params
    if not cards:
        return Facts(num_rows=num_rows, params_b=params / 1e9 if params else None), NO_CARD
    first = cards[0]
    place, unknown = None, ""
    try:
        place = Place(
            architecture_of(config.model.model_name_or_path),
            min(card.memory_free for card in cards),
            find_card(first.name),
            len(cards),
        )
    except UserError as error:
        unknown = error.what
    return Facts(
        num_rows=num_rows,
        params_b=params / 1e9 if params else None,
        gpu_name=first.name,
        compute_capability=first.compute_capability,
        place=place,
    ), unknown


def alike(machine: Machine | None, gpu: Gpu | None) -> list[Gpu]:
    """The card and those of the same kind that are about as free, the card first."""
    if gpu is None or machine is None:
        return []
    return [gpu] + [
        other
        for other in machine.gpus
        if other.usable
        and other.uuid != gpu.uuid
        and (other.name, other.memory_total) == (gpu.name, gpu.memory_total)
        and other.mig_index is None
        and gpu.mig_index is None
        and other.memory_free >= ABOUT_AS_FREE * gpu.memory_free
    ]


def used_cards(machine: Machine | None, gpu: Gpu, num_processes: int) -> list[Gpu]:
    """The cards a run of that many processes uses: the chosen one, cards of its kind, then any other with much memory."""
    first = alike(machine, gpu)
    known = {card.uuid for card in first}
    others = [card for card in (machine.gpus if machine else ()) if card.usable and card.uuid not in known]
    others.sort(key=lambda card: card.memory_free, reverse=True)
    return [*(first or [gpu]), *others][:num_processes]


def _file() -> Path:
    return finetui_home() / "draft.json"
