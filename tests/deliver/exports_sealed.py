"""Finished exports of a run without weights, with real checksums."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from engine.deliver.export import manifest
from engine.deliver.export.manifest import Export, ExportedFile
from engine.deliver.proof.types import Cause, Check, Form, Proof
from engine.run.layout import RunDir


def sealed(
    run: RunDir,
    target: str,
    files: Sequence[str] = ("model.safetensors", "config.json"),
    name: str | None = None,
    verdict: str = "same",
    extra: dict[str, Any] | None = None,
    trained_from: str = "result",
    model: str = "base",
) -> Export:
    """An export as the core leaves it.

    Args:
        run: Its run.
        target: Its form.
        files: Names of its files.
        name: Of its folder; that of the target without it.
        verdict: Of its proof.
        extra: What only this target knows.
        trained_from: The state of the run it is of.
        model: The base model's name.
    """
    folder = run.exports / (name or target)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, file in enumerate(files):
        (folder / file).write_bytes(f"{file} {number}".encode() * 100)
        made.append(ExportedFile(file, (folder / file).stat().st_size, manifest.sha256(folder / file)))
    value = asdict(
        Export(
            folder, target, run.name, "sft", model, trained_from, "0" * 64, manifest.now(), "1", tuple(made),
            ("Q4_K_M",) if "gguf" in target else (), "", asdict(proof(verdict)), (), extra or {},
        )
    )  # fmt: skip
    del value["folder"]
    (folder / manifest.FILE).write_text(json.dumps({"v": manifest.VERSION, **value}))
    found = manifest.read(folder)
    assert found is not None
    return found


def proof(verdict: str) -> Proof:
    """With one check and, where it failed, its cause."""
    if verdict == "same":
        form = Form("Q4_K_M", "owl.gguf", "same", (Check("token ids", True, "8 of 8 identical", "all"),))
        return Proof("same", "It answers like the trained model.", "", "base and adapter", 8, 160, (form,))
    cause = Cause("The start token is there twice (a doubled BOS).", "Take one out.")
    form = Form("Q4_K_M", "owl.gguf", "differs", (Check("token ids", False, "0 of 8", "all"),), (cause,))
    words = f"Q4_K_M: it does not say the same as the trained model. {cause.what}"
    return Proof("differs", words, cause.fix, "base and adapter", 8, 160, (form,))
