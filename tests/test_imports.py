"""What is really imported: the light parts stay light."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "datasets",
    "accelerate",
    "pandas",
    "pyarrow",
    "numpy",
}


def loaded_by(code: str) -> set[str]:
    """Names of the modules in sys.modules after running code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('MODULES', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split("MODULES ")[1].split())


def test_help_loads_almost_nothing() -> None:
    loaded = loaded_by("from tui.__main__ import main; main(['--help'])")
    assert not loaded & (HEAVY | {"textual", "rich", "pydantic", "yaml", "psutil", "pynvml"})


def test_every_screen_and_widget_loads_without_torch() -> None:
    import tui

    names = [
        module.name for module in pkgutil.walk_packages(tui.__path__, "tui.") if module.name != "tui.__main__"
    ]
    assert "tui.app" in names
    loaded = loaded_by("import " + ", ".join(names))
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("engine.train")}


@pytest.mark.parametrize(
    "verb",
    [
        "doctor",
        "fit",
        "train",
        "runs",
        "attach",
        "logs",
        "stop",
        "pause",
        "resume",
        "chat",
        "compare",
        "export",
        "sweep",
        "data",
        "demo",
        "hub",
    ],
)
def test_verbs_load_neither_textual_nor_torch(verb: str) -> None:
    loaded = loaded_by(f"from tui.__main__ import main; main(['{verb}', '--help'])")
    assert not loaded & (HEAVY | {"textual"})


def test_the_run_directory_needs_the_standard_library_only() -> None:
    import engine.run

    names = [module.name for module in pkgutil.walk_packages(engine.run.__path__, "engine.run.")]
    loaded = {name.split(".")[0] for name in loaded_by("import " + ", ".join(names))}
    assert (
        not loaded
        - sys.stdlib_module_names
        - {"engine", "__main__", "sitecustomize", "_distutils_hack"}
        - {name for name in loaded if name.startswith(("__editable__", "_virtualenv", "_sysconfigdata"))}
    )
