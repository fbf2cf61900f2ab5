"""The settings of a run. Each setting's help, unit, range and default live in the sections named here and nowhere else.

Sections are for people; keys carry the names Hugging Face and TRL use, and no key occurs in two sections, so that
``--learning_rate 1e-4`` on the command line is unambiguous. ``None`` means: finetui chooses, and says why.
"""

from __future__ import annotations

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.conflicts import first_conflict
from engine.config.data_sections import Data, Source, Template
from engine.config.method_sections import Lora, Method, Model
from engine.config.objective_sections import Generation, Preference, Rewards
from engine.config.section import Section
from engine.config.training_sections import Healing, Training, Watch

__all__ = ["ORDINARY_LENGTH", "SECTIONS", "RunConfig", "Source", "keys"]

ORDINARY_LENGTH = 1024  # tokens: holds an ordinary conversation, where the dataset has not been measured


class RunConfig(Section):
    """A whole run."""

    model: Model
    data: Data
    template: Template = Field(default_factory=Template)
    method: Method = Field(default_factory=Method)
    lora: Lora = Field(default_factory=Lora)
    preference: Preference = Field(default_factory=Preference)
    rewards: Rewards = Field(default_factory=Rewards)
    generation: Generation = Field(default_factory=Generation)
    training: Training = Field(default_factory=Training)
    watch: Watch = Field(default_factory=Watch)
    healing: Healing = Field(default_factory=Healing)

    @model_validator(mode="after")
    def _possible(self) -> RunConfig:
        problem = first_conflict(self)
        if problem is not None:
            key, words = problem
            raise PydanticCustomError("combination", words, {"key": key})
        return self


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def keys() -> dict[str, str]:
    """Every setting's key with its section."""
    return {key: section for section, model in SECTIONS.items() for key in model.model_fields}
