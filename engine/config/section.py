"""What every section of run.yaml is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def setting(default: Any, help: str, unit: str = "", usual: str = "", **limits: Any) -> Any:
    """A pydantic field with the words the wizard, ``--help`` and run.yaml show."""
    return Field(default, description=help, json_schema_extra={"unit": unit, "usual": usual}, **limits)


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", validate_default=False, protected_namespaces=(), hide_input_in_errors=True
    )
