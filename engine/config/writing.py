"""Writing run.yaml: every value, with the reason or the help beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from engine.advise.objectives import OBJECTIVES, OWN_SETTINGS
from engine.config.schema import SECTIONS, RunConfig
from engine.display import printable

AMBIGUOUS = ("yes", "no", "on", "off", "true", "false", "null", "y", "n", "nan", "inf")


def to_yaml(config: RunConfig, reasons: Mapping[str, str] | None = None) -> str:
    """The configuration as commented YAML that loads back to the same configuration.

    Args:
        config: What to write.
        reasons: Key to the sentence that says why finetui chose this value.
    """
    reasons = reasons or {}
    lines = ["# A finetui run. Repeat it anywhere with: finetui train -c run.yaml"]
    own = OBJECTIVES[config.method.objective].settings
    for section, model in SECTIONS.items():
        values = getattr(config, section).model_dump(mode="json", exclude_none=True)
        values = {key: value for key, value in values.items() if key not in OWN_SETTINGS or key in own}
        if not values:
            continue  # only settings of other objectives
        lines += ["", f"{section}:"]
        for key in model.model_fields:
            if key in values:
                reason = f"  # {printable(reasons[key], 300)}" if key in reasons else ""
                lines.append(f"  {key}: {scalar(values[key])}{reason}")
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    """A value on one line; JSON's notation is YAML's, and quoting everything leaves nothing to misread."""
    if isinstance(value, float):
        text = f"{value:.10g}"
        mantissa, mark, exponent = text.partition("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}" if mark else text
    if (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", value)
        and value.lower() not in AMBIGUOUS
    ):
        return value
    if isinstance(value, list):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(key))}: {scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        harmless = (
            printable(value, len(value)) == value
        )  # else escaped: a run.yaml is shown in terminals, too
        return yaml.safe_dump(value, default_style='"', allow_unicode=harmless, width=2**20).strip()
    return json.dumps(value)


def command_line(run_yaml: str = "run.yaml", name: str | None = None) -> str:
    """The command that starts the same run without the wizard."""
    return f"finetui train -c {run_yaml}" + (f" --name {name}" if name else "")
