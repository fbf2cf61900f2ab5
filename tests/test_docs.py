"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.cli.main import VERBS, main
from engine.config.draft import DEMO_RECIPE
from engine.config.loading import load, parse, validate
from engine.config.resolve import Facts, resolve
from engine.config.writing import to_yaml
from engine.run.events import KINDS
from scripts.settings_doc import TARGET, render

ROOT = Path(__file__).resolve().parent.parent


def test_the_settings_page_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(), "run: python -m scripts.settings_doc"


def test_every_event_kind_is_documented() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert not [kind for kind in KINDS if f"| `{kind}` |" not in page]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example: " in shown
    assert f"finetui {verb}" in shown


def test_the_readme_names_real_verbs_and_targets() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"^\s*(?:\$ )?finetui ([a-z]+)", readme, re.M))
    assert used
    assert used <= {*VERBS, "keys"}
    targets = set(re.findall(r"^\s*(?:\$ )?make ([a-z]+)", readme, re.M))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert not [target for target in targets if f"\n{target}:" not in makefile]


def test_a_resolved_run_yaml_reads_back_the_same() -> None:
    resolved = resolve(load(DEMO_RECIPE), Facts(num_rows=400))
    tree, lines = parse(to_yaml(resolved.config, resolved.reasons), "written")
    assert validate(tree, {}, "written", lines) == resolved.config
