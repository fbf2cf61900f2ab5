"""Making GGUF files of a trained model: tokenizer first, then one 16-bit file, then the smaller ones from that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.deliver.export.base import unquantized_base
from engine.deliver.export.gguf.convert import Converted, convert_model
from engine.deliver.export.gguf.model_folder import prepare_model_folder
from engine.deliver.export.gguf.quantize import quantize
from engine.deliver.export.gguf.quants import Quant, file_bytes, file_name, find_quant
from engine.deliver.export.gguf.sizes import size_in, size_of
from engine.deliver.export.gguf.source import (
    DOWNLOAD_BYTES,
    Converter,
    find_converter,
    is_here,
)
from engine.deliver.export.gguf.tokenizer_check import check_tokenizer, refusal
from engine.deliver.export.job import Job, Needs, Tell
from engine.deliver.export.manifest import find_export, note_extra
from engine.display import gib
from engine.models.chat_template import read_json
from engine.models.weights import read_weights

WORK = ".gguf-work"  # inside the folder that is written; gone when it is finished
BASE = "base"  # in the names of files with the base model's weights
_PYTHON_BYTES = 1 << 30  # the converter with torch and transformers loaded


def needs(job: Job, quants: Sequence[Quant], merges: bool) -> Needs:
    """Disk and memory for GGUF files.

    Args:
        job: The export.
        quants: Their formats.
        merges: The files hold the trained model, so that an adapter is merged into its base first.
    """
    size = size_of(job.trained)
    plain = [quant for quant in quants if quant.is_plain]
    small = [quant for quant in quants if not quant.is_plain]
    sixteen = file_bytes(find_quant("BF16"), size.params, size.tables, size.hidden)
    merged = (
        2 * size.params if merges and job.trained.is_adapter and find_export(job, "merged") is None else 0
    )
    first = sixteen * max(1, len(plain))
    others = sum(file_bytes(quant, size.params, size.tables, size.hidden) for quant in small)
    fetched = 0 if is_here() else DOWNLOAD_BYTES
    largest = size.vocab * size.hidden
    parts = [f"the merged model in 16 bits, for the time being ({gib(merged)})"] if merged else []
    if small and not plain:
        parts.append(f"a 16-bit GGUF file, for the time being ({gib(sixteen)})")
    parts += [
        f"{quant.name} ({gib(file_bytes(quant, size.params, size.tables, size.hidden))})" for quant in quants
    ]
    # Merged weights go as soon as the 16-bit file stands. A tensor at a time is turned into 32 bits and from there.
    return Needs(
        max(merged + first, first + others) + fetched,
        _PYTHON_BYTES + 2 * 4 * largest,
        ", ".join(parts),
    )


def build(
    job: Job, quants: Sequence[Quant], into: Path, tell: Tell, base_only: bool = False
) -> dict[str, Path]:
    """Write GGUF files of the trained model.

    Args:
        job: The export.
        quants: Formats of the files.
        into: Folder they are written into.
        tell: Told of every step.
        base_only: Take the base model's weights instead, for an adapter to be put over it.

    Returns:
        The files by the names of their formats.

    Raises:
        UserError: The model cannot be converted.
        Cancelled: The user asked to stop.
        OSError: The disk is full.
    """
    reused = {} if base_only else _earlier(job, quants, into)
    quants = [quant for quant in quants if quant.name not in reused]
    if not quants:
        note_extra(into, quants=list(reused))
        return reused
    converter = find_converter(tell)
    work, log = into / WORK, job.run.path / "gguf.log"
    work.mkdir()
    log.unlink(missing_ok=True)
    try:
        base = base_folder(job, tell)
        mapped = _check_vocabulary(job, converter, base, work, log, tell)
        model = base if base_only else _whole_model(job, work, tell)
        made = _write(job, converter, model, quants, work, into, log, tell, BASE if base_only else "")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    note_extra(
        into,
        quants=[*reused, *made],
        llama_cpp_python=converter.version,
        pre_tokenizer=mapped.pre,
        tokenizer_mapped=mapped.mapped,
    )
    return {**reused, **made}


def base_folder(job: Job, tell: Tell) -> Path:
    """The folder with the base model's config.json; for a run that trained all weights, the trained model's own.

    Raises:
        UserError: The base is gone, or exists with a few bits only.
    """
    if not job.trained.is_adapter:
        return job.trained.path
    return unquantized_base(job.trained, tell)


def _earlier(job: Job, quants: Sequence[Quant], into: Path) -> dict[str, Path]:
    """Files of an earlier GGUF export of the very same weights, as links or copies."""
    found = find_export(job, "gguf") if job.target != "gguf" else None
    made: dict[str, Path] = {}
    for quant in quants if found is not None else ():
        assert found is not None
        old, new = (
            found.folder / file_name(job.run.name, quant.name),
            into / file_name(job.run.name, quant.name),
        )
        if not old.is_file():
            continue
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)
        made[quant.name] = new
    return made


def _check_vocabulary(
    job: Job, converter: Converter, base: Path, work: Path, log: Path, tell: Tell
) -> Converted:
    """Convert the vocabulary alone, and see that llama.cpp cuts text as in training: before gigabytes are written."""
    tell.step("Checking that llama.cpp reads text as the trained model does")
    tokenizer = job.trained.path
    folder = prepare_model_folder(tokenizer, base, work / "vocabulary", weights=False)
    target = work / "vocabulary.gguf"
    made = convert_model(converter, folder, target, job.run.name, "vocabulary", log, tell, 0)
    checked = check_tokenizer(job.run, tokenizer, target, tell.check)
    problem = refusal(checked, made.mapped, made.pre)
    if problem is not None:
        raise problem
    if made.mapped:
        tell.say(
            f"llama.cpp's converter does not know this tokenizer by its checksum. It cuts text into words by the same rule as "
            f"{made.pre}, so it is marked as that; {checked.texts} test texts give the same tokens."
        )
    elif checked.differing:
        tell.say(
            f"llama.cpp cuts {len(checked.differing)} of {checked.texts} odd test texts differently from the trained model "
            f"(first: {checked.differing[0]!r}). Conversations are the same."
        )
    if read_json(base / "config.json").get("vision_config"):
        tell.say(
            "The GGUF file holds the language part; pictures need a second file (mmproj) that is not made here."
        )
    return made


def _whole_model(job: Job, work: Path, tell: Tell) -> Path:
    if not job.trained.is_adapter:
        return job.trained.path
    earlier = find_export(job, "merged")
    if earlier is not None:
        tell.say(f"Using the merged model of {earlier.made_at[:16].replace('T', ' ')} UTC.")
        return earlier.folder
    from engine.deliver.export.merge import merge

    merged = work / "merged"
    merged.mkdir()
    merge(job.trained, merged, tell)
    return merged


def _write(
    job: Job,
    converter: Converter,
    model: Path,
    quants: Sequence[Quant],
    work: Path,
    into: Path,
    log: Path,
    tell: Tell,
    part: str,
) -> dict[str, Path]:
    stem = f"{job.run.name}-{part}" if part else job.run.name
    folder = prepare_model_folder(job.trained.path, model, work / "model")
    config = read_json(model / "config.json")
    weights = read_weights(model, config)
    # The format of the weights loses nothing; weights in 32 bits keep more digits in F16.
    best = "BF16" if weights.dtype == "bfloat16" else "F16"
    plain = [quant for quant in quants if quant.is_plain]
    small = [quant for quant in quants if not quant.is_plain]
    made: dict[str, Path] = {}
    for quant in plain:
        tell.step(f"Writing {quant.name}")
        target = into / file_name(stem, quant.name)
        convert_model(converter, folder, target, stem, quant.name, log, tell, 2 * weights.params)
        made[quant.name] = target
    if small:
        source = made.get(best) or next(iter(made.values()), None)
        if source is None:
            tell.step(f"Writing a 16-bit GGUF file ({best}), from which the smaller ones are made")
            source = work / f"{best}.gguf"
            convert_model(converter, folder, source, stem, best, log, tell, 2 * weights.params)
        shutil.rmtree(work / "merged", ignore_errors=True)
        size = size_in(weights.params, config)
        for quant in small:
            tell.step(f"Writing {quant.name}")
            target = into / file_name(stem, quant.name)
            expected = file_bytes(quant, size.params, size.tables, size.hidden)
            quantize(source, target, quant, log, tell, expected)
            made[quant.name] = target
    return made
