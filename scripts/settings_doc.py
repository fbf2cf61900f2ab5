"""``python -m scripts.settings_doc``: writes docs/settings.md from the fields of engine.config."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from engine.config.schema import SECTIONS
from engine.config.writing import scalar

TARGET = Path(__file__).resolve().parent.parent / "docs" / "settings.md"


def render() -> str:
    """The page: a table of every section."""
    lines = [
        "# Settings",
        "",
        "Every key of `run.yaml`; each is also an option of `finetui train`, such as `--learning_rate 1e-4`.",
        '"chosen" means that finetui picks a value for your machine and data and writes the reason beside it.',
        "This page is made from the code: `python -m scripts.settings_doc`.",
    ]
    for section, model in SECTIONS.items():
        lines += [
            "",
            f"## {section}",
            "",
            (model.__doc__ or "").strip(),
            "",
            "| key | default | usual | what it does |",
            "|---|---|---|---|",
        ]
        for key, field in model.model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            default = (
                "a share"
                if key == "eval"
                else "required"
                if field.default is PydanticUndefined
                else "chosen"
                if field.default is None
                else f"`{scalar(field.default)}`"
            )
            usual = " ".join(str(part) for part in (extra.get("usual"), extra.get("unit")) if part)
            lines.append(f"| `{key}` | {default} | {usual} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"Wrote {TARGET}")
