"""The answers given so far in the wizard, and the run they lead to. Kept on disk, so leaving loses nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from engine.advise.choose_objective import Seen, choose_objective, look
from engine.advise.goals import find_goal
from engine.advise.objectives import OBJECTIVES, OWN_SETTINGS, users_of
from engine.choice import Choice
from engine.config.loading import flag_value, load
from engine.config.loading import validate as validate_tree
from engine.config.reporting import require_reporting
from engine.config.resolve import Facts, resolve
from engine.config.schema import RunConfig, keys
from engine.config.template_gate import require_good_template, template_choice
from engine.config.writing import command_line, to_yaml
from engine.data.dataset import Dataset
from engine.data.forms import Labelled, Objective, PromptOnly
from engine.data.sources import is_hub_id, parse_mapping, spec_of
from engine.display import printable
from engine.errors import UserError
from engine.fit.budget import Budget, budget_of
from engine.fit.cards import find_card
from engine.fit.decide import Fit, fit
from engine.fit.recommend import Place
from engine.fit.rows import Rows, rows_of
from engine.fit.setup import architecture_of, setup_of
from engine.fit.types import Architecture
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
NO_NUMBER = "The card does not say how much of its memory is free."
LOOKS = (Labelled, PromptOnly)  # forms whose settings depend on what the data say
NO_CARD = "No GPU is used, so main memory is what counts."
DEMO_FULL_LEARNING_RATE = 5e-4  # the recipe is for LoRA, which takes a higher rate

TUNINGS: dict[str, dict[str, dict[str, Any]]] = {
    "qlora": {"method": {"tuning": "lora"}, "model": {"load_in_4bit": True}},
    "lora8": {"method": {"tuning": "lora"}, "model": {"load_in_8bit": True}},
    "lora": {"method": {"tuning": "lora"}, "model": {"load_in_4bit": False}},
    "full": {"method": {"tuning": "full"}, "model": {"load_in_4bit": False}},
    "freeze": {"method": {"tuning": "freeze"}, "model": {"load_in_4bit": False}},
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
        tuning: qlora, lora8, lora, full or freeze; None takes the recommendation.
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
        budget: What it needs beside the card's memory: disk, main memory, time and money; None where that cannot be told.
        lengths: What is known of the dataset's rows in tokens, in a sentence.
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
    budget: Budget | None = None
    lengths: str = ""


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
    if draft.is_demo and draft.tuning in ("full", "freeze"):
        tree["training"]["learning_rate"] = DEMO_FULL_LEARNING_RATE
    if draft.chat_template != "model":
        tree.setdefault("template", {})["chat_template"] = draft.chat_template
    section_of = keys()
    chosen = {} if "objective" in draft.settings else {"objective": objective_of(draft)}
    objective = chosen["objective"].value if chosen else str(draft.settings["objective"])
    tree.setdefault("method", {})["objective"] = objective
    for key, value in draft.settings.items():
        # Settings of another objective stay in the draft, for the day the user goes back to it.
        if key in section_of and (key not in OWN_SETTINGS or objective in users_of(key)):
            tree.setdefault(section_of[key], {})[key] = (
                flag_value(key, value) if isinstance(value, str) else value
            )
    config = validate_tree(tree, {}, "the wizard's answers", {})
    name = draft.name or ("demo" if draft.is_demo else default_name(config))
    return prepare(config, machine, name, draft.gpu, draft.price_per_hour, chosen)


def prepare(
    config: RunConfig,
    machine: Machine | None,
    name: str,
    gpu_index: int | None = None,
    price_per_hour: float | None = None,
    chosen: Mapping[str, Choice[Any]] | None = None,
) -> Plan:
    """Complete a configuration for this machine: every open value chosen, with its reason.

    Args:
        config: What the user asked for.
        machine: Where it runs; None when unknown.
        name: The wished name.
        gpu_index: The chosen card; None takes the freest.
        price_per_hour: What the machine costs.
        chosen: What was chosen before, such as the objective.
    """
    gpu = choose_gpu(machine, gpu_index)
    cards = [gpu] if gpu_index is not None and gpu else alike(machine, gpu)
    if config.training.num_processes is not None and gpu is not None:
        cards = used_cards(machine, gpu, config.training.num_processes)
    require_suitable(config)
    rows = rows_of(config)
    architecture, unknown = _architecture(config)
    facts = facts_of(config, cards, architecture, rows)
    resolved = resolve(config, facts)
    choices = {**(chosen or {}), **resolved.choices, **template_choice(config)}
    env = {}
    if gpu is not None:
        used = used_cards(machine, gpu, resolved.config.training.num_processes or 1)
        env = {"CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in used)}
    plan = Plan(
        config=resolved.config,
        choices=choices,
        name=name,
        yaml=to_yaml(resolved.config, {key: choice.reason for key, choice in choices.items()}),
        command=command_line(name=name),
        env=env,
        price_per_hour=price_per_hour,
        fit_unknown=unknown or (NO_CARD if not cards else "" if facts.place else NO_NUMBER),
        lengths=rows.words,
    )
    if architecture is None:
        return plan
    try:
        return _predicted(plan, architecture, facts, machine, gpu, rows)
    except UserError as error:
        return replace(plan, fit_unknown=error.what)


def objective_of(draft: Draft) -> Choice[Objective]:
    """What the goal and the data together lead to.

    Raises:
        UserError: The data cannot be read.
    """
    mapping, asked = draft.settings.get("mapping") or {}, draft.settings.get("format")
    spec = replace(
        spec_of(draft.data_path),
        mapping=parse_mapping(mapping) if isinstance(mapping, str) else mapping,
        format=None if asked in (None, "", "auto") else str(asked),
    )
    if is_hub_id(spec.path):  # not fetched just to plan; the run says it if the data do not suit
        goal = find_goal(draft.goal or "")
        return Choice(
            goal.objective if goal else "sft", "What the dataset holds is seen once it is on this disk."
        )
    return choose_objective(draft.goal, look(spec))


def require_suitable(config: RunConfig) -> None:
    """Refuse data that are for another objective, before anything is started.

    Raises:
        UserError: It says what the data are, and what they can be used for.
    """
    for spec in (*config.data.train_specs(), *config.data.eval_specs()):
        if not is_hub_id(spec.path):
            Dataset(spec, config.method.objective, check=False)


def _predicted(
    plan: Plan, architecture: Architecture, facts: Facts, machine: Machine | None, gpu: Gpu | None, rows: Rows
) -> Plan:
    """The plan with what it needs: memory of the card, disk, main memory, time and money."""
    place = facts.place
    setup = setup_of(plan.config, rows.longest if rows.counted else None)
    return replace(
        plan,
        fit=fit(architecture, setup, place.free, place.card) if place else None,
        budget=budget_of(
            plan.config,
            architecture,
            setup,
            machine,
            gpu,
            rows=facts.num_rows,
            tokens_per_row=rows.mean,
            price_per_hour=plan.price_per_hour,
        ),
    )


def refusals(plan: Plan) -> list[UserError]:
    """What is sure to make a run fail: too little room on a disk, in main memory or on the card; each with a way out."""
    found = list(plan.budget.problems) if plan.budget is not None else []
    if plan.fit is not None and plan.fit.verdict == "no":
        options = plan.fit.advice.options() if plan.fit.advice else ""
        found.append(
            UserError(
                plan.fit.sentence,
                printable(plan.config.model.model_name_or_path),
                f"This makes it fit: {options}"
                if options
                else "No setting makes it fit: choose a smaller model or a larger card.",
            )
        )
    return found


def start(plan: Plan, numbered: bool = True, anyway: bool = False) -> RunDir:
    """Make the run directory and start the trainer, detached.

    Args:
        plan: The run.
        numbered: A number is added to its name where that is taken.
        anyway: The user knows of its `refusals` and starts it all the same.

    Raises:
        UserError: It is sure to fail, the name is taken (unless `numbered`), the folder cannot be written, or nothing useful
            would be learnt through the chat template.
    """
    if not anyway:
        for refusal in refusals(plan):
            raise refusal
    run = lay_out(plan, numbered)
    launch(run, plan.config.training.num_processes or 1, plan.env)
    return run


def lay_out(plan: Plan, numbered: bool = True) -> RunDir:
    """Make the run directory of a run that is to be started later.

    Raises:
        UserError: As `start`.
    """
    require_training_packages()
    require_reporting(plan.config.watch.report_to)
    require_good_template(plan.config)
    run = create(plan.name, numbered)
    try:
        atomic.write_text(run.config, plan.yaml)
        # What finetui chose it may change later; what the user chose stays.
        chosen = {"price_per_hour": plan.price_per_hour, "chosen": sorted(plan.choices)}
        atomic.write_json(run.launch, chosen)
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


def facts_of(config: RunConfig, cards: Sequence[Gpu], architecture: Architecture | None, rows: Rows) -> Facts:
    """What the choices depend on; unknown stays None.

    Args:
        config: The run; open values stay open.
        cards: The cards it may use, the chosen one first; empty on a machine without.
        architecture: Of its model; None when nothing is known of it.
        rows: Of its dataset.
    """
    from engine.models.folder import inspect_model

    params = inspect_model(config.model.model_name_or_path).params
    first = cards[0] if cards else None
    place = None
    free = min((card.memory_free for card in cards), default=0)
    if first is not None and architecture is not None and free:
        place = Place(architecture, free, find_card(first.name), len(cards), rows.longest, rows.counted)
    return Facts(
        num_rows=rows.total,
        params_b=params / 1e9 if params else None,
        gpu_name=first.name if first else None,
        compute_capability=first.compute_capability if first else None,
        place=place,
        layers=architecture.layers if architecture else None,
        tokens_per_row=rows.mean,
        seen=seen_in(config),
    )


def seen_in(config: RunConfig) -> Seen | None:
    """What the data say about rewards and labels; None where that does not matter.

    Raises:
        UserError: They cannot be read.
    """
    if OBJECTIVES[config.method.objective].form not in LOOKS:
        return None
    return look(config.data.train_specs()[0])


def _architecture(config: RunConfig) -> tuple[Architecture | None, str]:
    """The model's architecture, or why it is not known."""
    try:
        return architecture_of(config.model.model_name_or_path), ""
    except UserError as error:
        return None, error.what


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
