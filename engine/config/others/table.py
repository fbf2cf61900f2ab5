"""What the tables of the tools are made of, and how a converted run is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.advise.objectives import OBJECTIVES, OWN_SETTINGS
from engine.config.others.material import Material
from engine.config.schema import SECTIONS, RunConfig
from engine.config.writing import scalar
from engine.display import printable

Convert = Callable[[Any], Any]


def same(value: Any) -> Any:
    """No conversion."""
    return value


@dataclass(frozen=True, slots=True)
class Pair:
    """One setting under two names.

    Attributes:
        ours: Key of run.yaml.
        theirs: Key of the other tool.
        to: Our value as theirs; None leaves the key out.
        back: Their value as ours; None leaves it open. A ``ValueError`` says why there is none.
    """

    ours: str
    theirs: str
    to: Convert = same
    back: Convert = same


def pairs(*names: str) -> tuple[Pair, ...]:
    """Settings that both call the same."""
    return tuple(Pair(name, name) for name in names)


HUGGING_FACE = pairs(
    "per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size", "learning_rate",
    "num_train_epochs", "max_steps", "lr_scheduler_type", "weight_decay", "max_grad_norm", "optim", "neftune_noise_alpha",
    "torch_compile", "seed", "logging_steps", "eval_steps", "save_steps", "save_total_limit", "load_best_model_at_end",
)  # fmt: skip
"""Keys of transformers' TrainingArguments that run.yaml has under the same name."""

RLOO = pairs(
    "beta", "num_generations", "max_completion_length", "temperature", "top_p", "num_iterations", "epsilon",
    "mask_truncated_completions", "reward_weights",
)  # fmt: skip
GRPO = (*RLOO, *pairs("loss_type", "scale_rewards"))
"""Keys of TRL's RLOOConfig and GRPOConfig, which other tools pass on; run.yaml has them under the same name."""

NOWHERE = {
    "allow_bad_template": "the check of the template before the start",
    "sample_prompts": "answers to your own questions before, while and after it trains",
    "sample_steps": "answers to your own questions while it trains",
    "sample_max_new_tokens": "the length of those answers",
    "heal": "going on with a smaller batch after running out of memory",
    "allow_shorter": "going on with shorter rows after running out of memory",
    "on_nan": "stopping, or going back, when the loss explodes or is no number",
    "probe": "the trial of the longest rows before the first step",
    "reward_time_limit": "the time limit of reward functions",
    "early_stopping_patience": "stopping early when evaluations get no better",
    "freeze_trainable_layers": "training only the last layers",
    "loraplus_lr_ratio": "LoRA+",
    "bnb_4bit_quant_type": "another 4-bit number format than nf4",
    "use_bnb_nested_quant": "switching double quantization on or off",
}
"""What finetui does, in words, for settings that a tool may not have."""
ALWAYS_ON = {"heal", "probe", "on_nan"}
"""What finetui does unless it is switched off, so that it is missed also where nobody set it."""


@dataclass(slots=True)
class Written:
    """A configuration of another tool that is being put together.

    Attributes:
        config: What is converted.
        material: Its rows, template and rewards in files.
        reasons: Why finetui chose a value, by our key.
        values: Their keys with the values, in order.
        comments: What is said beside a key.
        covered: Our keys that are in the result, one way or the other.
        notes: What does not translate, in sentences.
        files: Other files of the folder: name to text.
    """

    config: RunConfig
    material: Material
    reasons: Mapping[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    covered: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """A value of run.yaml by its key, which is unique."""
        return values_of(self.config)[key]

    def put(self, theirs: str, value: Any, *ours: str, why: str = "") -> None:
        """Set their key, and remember which of ours it stands for."""
        self.covered.update(ours)
        if value is None:
            return
        self.values[theirs] = value
        reason = why or next((self.reasons[key] for key in ours if key in self.reasons), "")
        if reason:
            self.comments[theirs] = reason

    def table(self, table: tuple[Pair, ...], relevant: set[str]) -> None:
        """Set everything that only has another name."""
        for pair in table:
            if pair.ours in relevant:
                value = self.get(pair.ours)
                self.put(pair.theirs, None if value is None else pair.to(value), pair.ours)

    def left_out(self, key: str, instead: str) -> None:
        """One of our settings has no counterpart."""
        self.covered.add(key)
        words, about = NOWHERE.get(key), f"{key} {show(self.get(key))}"
        self.notes.append(
            f"{words[0].upper()}{words[1:]} ({about}): {instead}" if words else f"{about}: {instead}"
        )

    def remaining(self, tool: str) -> None:
        """Say what was not converted; nothing is left out silently."""
        for key in sorted(relevant_keys(self.config) - self.covered, key=list(values_of(self.config)).index):
            value = self.get(key)
            self.covered.add(key)
            if (
                value is not False
                and value not in (None, [], {})
                and (value != default_of(key) or key in ALWAYS_ON)
            ):
                self.left_out(key, f"{tool} has no such setting, so it is left out.")

    def yaml(self, head: list[str]) -> str:
        """The values as commented YAML; strings that could be misread are quoted."""
        lines = [f"# {printable(line, 1000)}".rstrip() for line in head]
        if self.notes:
            lines += ["#", "# What is not the same as in finetui:"]
            lines += [f"# - {printable(note, 1000)}" for note in self.notes]
        lines.append("")
        for key, value in self.values.items():
            comment = f"  # {printable(self.comments[key], 300)}" if key in self.comments else ""
            lines.append(f"{key}: {scalar(value)}{comment}")
        return "\n".join(lines) + "\n"


def values_of(config: RunConfig) -> dict[str, Any]:
    """Every setting by its key."""
    return {
        key: getattr(getattr(config, section), key)
        for section, model in SECTIONS.items()
        for key in model.model_fields
    }


def default_of(key: str) -> Any:
    """The default of a setting."""
    return next(model.model_fields[key].default for model in SECTIONS.values() if key in model.model_fields)


def relevant_keys(config: RunConfig) -> set[str]:
    """Settings that matter for this run: its objective's own, and those of its tuning."""
    own = OBJECTIVES[config.method.objective].settings
    found = {key for key in values_of(config) if key not in OWN_SETTINGS or key in own}
    if config.method.tuning != "lora":
        found -= set(SECTIONS["lora"].model_fields)
    if not config.model.load_in_4bit:
        found -= {"bnb_4bit_quant_type", "use_bnb_nested_quant"}
    if not config.watch.sample_prompts:
        found -= {"sample_steps", "sample_max_new_tokens"}
    if (config.training.num_processes or 1) == 1:
        found -= {"sharding"}
    if not config.healing.heal:
        found -= {"allow_shorter"}
    return found


def show(value: Any) -> str:
    """A value for a sentence."""
    return printable(scalar(value) if not isinstance(value, list) else ", ".join(map(str, value)), 120)
