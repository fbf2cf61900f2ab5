"""Settings about what is learnt from: the datasets, and how a conversation becomes text."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from engine.config.section import Section, setting
from engine.data.sources import Spec, parse_mapping, spec_of


class Source(Section):
    """One dataset."""

    path: str = setting(
        ...,
        "A file or folder (JSONL, JSON, CSV, TSV, Parquet, Arrow, text, also compressed), or the id of a Hub dataset such as "
        "trl-lib/tldr. #1000 behind it takes 1000 rows at random.",
        min_length=1,
    )
    config: str | None = setting(None, "Which one, of a Hub dataset that comes in several configurations.")
    split: str | None = setting(None, "Part to read, such as train or test; train where there are several.")
    revision: str | None = setting(None, "Branch, tag or commit of a Hub dataset.")
    sample: int | None = setting(None, "Take so many rows, drawn at random; all without it.", "rows", ge=1)
    weight: float = setting(
        1.0,
        "How often each row is used: 2 uses each twice, 0.5 uses half of them.",
        usual="0.5 to 3",
        gt=0,
        le=100,
    )
    mapping: dict[str, str] | None = setting(
        None, "Columns assigned by hand, such as {prompt: Frage, completion: Antwort}."
    )
    format: str | None = setting(
        None, "How rows are read, where finetui should not decide it: alpaca, chosen, ... (docs/datasets.md)."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict) or not isinstance(value.get("path"), str):
            return value
        written = spec_of(value["path"])
        parts = {"sample": written.sample, "config": written.config, "split": written.split}
        said = {key: part for key, part in parts.items() if part is not None and value.get(key) is None}
        return {**value, **said, "path": written.path}

    @field_validator("mapping", mode="before")
    @classmethod
    def _by_hand(cls, value: Any) -> Any:
        return parse_mapping(value) if isinstance(value, str) else value

    def spec(self, data: Data) -> Spec:
        """The source with what the section says for all of them."""
        return Spec(
            self.path,
            self.config,
            self.split,
            self.revision,
            self.sample,
            self.weight,
            dict(self.mapping or data.mapping),
            None if (format := self.format or data.format) == "auto" else format,
        )


class Data(Section):
    """What the model learns from."""

    train: list[Source] = setting(
        ...,
        "The datasets with training rows: files, folders or Hub ids; #1000 behind one takes 1000 of its rows. In run.yaml each "
        "may also have config, split, revision, sample, weight, mapping and format.",
        min_length=1,
    )
    eval: list[Source] | None = setting(
        None,
        "Datasets with rows held out for evaluation. Without them, a share of the training rows is held out.",
    )
    eval_fraction: float = setting(
        0.05,
        "Share of the rows that is kept out of training to measure progress honestly.",
        usual="0.02 to 0.1",
        ge=0,
        le=0.5,
    )
    mapping: dict[str, str] = setting(
        {},
        "Columns assigned by hand, for all datasets that have no mapping of their own: prompt=Frage,completion=Antwort.",
    )
    format: str = setting(
        "auto",
        "How rows are read, for all datasets that have no format of their own: a shape such as alpaca, or a conversion such as "
        "chosen (learn only the chosen answers of preference pairs). auto recognises it.",
    )

    @field_validator("train", "eval", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("mapping", mode="before")
    @classmethod
    def _by_hand(cls, value: Any) -> Any:
        return parse_mapping(value) if isinstance(value, str) else value

    def train_specs(self) -> list[Spec]:
        """The training sources, complete."""
        return [source.spec(self) for source in self.train]

    def eval_specs(self) -> list[Spec]:
        """The evaluation sources, complete."""
        return [source.spec(self) for source in self.eval or ()]


class Template(Section):
    """How a conversation becomes text, and which part of it is learnt."""

    chat_template: str = setting(
        "model",
        "'model' for the model's own chat template, the name of a known one such as chatml or llama3, or the path of a "
        ".jinja file. A model without one of its own gets one that fits.",
        min_length=1,
    )
    assistant_only_loss: bool = setting(
        True, "Learn only what the assistant says. Switch off to learn the questions too."
    )
    allow_bad_template: bool = setting(
        False,
        "Start although the check of the template says that nothing useful would be learnt, or never how to stop.",
    )
