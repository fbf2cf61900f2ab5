"""The proof of one export from beginning to end, in the process that made it."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.deliver.export.job import Cancelled, Job, Tell
from engine.deliver.proof.bounds import model_bound, quant_of
from engine.deliver.proof.go_template import read_modelfile
from engine.deliver.proof.judge import Kind, judge
from engine.deliver.proof.seen import Reference
from engine.deliver.proof.table import markdown
from engine.deliver.proof.types import FILE, Cause, Check, Form, Proof
from engine.display import printable
from engine.errors import UserError

_WORK = ".proof-work"
_NO_LLAMA = "llama.cpp's Python package is not installed, so the GGUF file cannot be run here."
_INSTALL = "Install it (six minutes, it compiles llama.cpp): pip install 'finetui[train,gguf]', then export again with --overwrite"
_FORMS = ("adapter", "merged", "gguf", "lora-gguf", "ollama")


def prove(job: Job, folder: Path, tell: Tell) -> Proof | None:
    """See `engine.deliver.proof.prove`."""
    if job.target not in _FORMS:
        return None
    try:
        made = _proved(job, folder, tell)
    except Cancelled:
        raise
    except UserError as error:
        made = Proof("not run", error.what, error.fix)
    except Exception as error:
        made = _not_run(error)
    finally:
        shutil.rmtree(folder / _WORK, ignore_errors=True)
    (folder / FILE).write_text(markdown(made, job.run.name), "utf-8")
    for words in _aloud(made):
        tell.say(words)
    return made


def _proved(job: Job, folder: Path, tell: Tell) -> Proof:
    from engine.deliver.generation import give_back_memory
    from engine.deliver.proof.trained import choose_device

    early = _impossible(job, folder)
    if early is not None:
        return early
    choose_device(job)
    forms: list[Form] = []
    asked, device = _ask(job, folder, forms, tell)
    give_back_memory()
    if not asked.cases:
        return Proof(
            "not run",
            "There is no prompt to ask: the chat template refuses all of them.",
            "Look at the template.",
        )
    if job.target == "merged":
        tell.step("Checking: the merged model answers the same prompts")
        forms.append(_tried("merged", ".", lambda: _merged(job, folder, device, asked, tell)))
    elif job.target != "adapter":
        forms += _gguf(job, folder, asked, tell)
    return _verdict(asked, forms)


def _ask(job: Job, folder: Path, forms: list[Form], tell: Tell) -> tuple[Reference, str]:
    """The reference answers and the device they were made on; the trained model is gone from memory afterwards.

    An exported adapter is asked here, over the base that is loaded already.
    """
    from engine.deliver.loading import load_sides
    from engine.deliver.proof.trained import ask

    tell.step("Checking: the trained model answers the test prompts")
    (side,), tokenizer = load_sides([job.trained])
    with side.active() as model:
        asked = ask(job, model, tokenizer, tell)
    if asked.cases and job.target == "adapter":
        tell.step("Checking: the exported adapter answers the same prompts")
        forms.append(_tried("adapter", ".", lambda: _adapter(job, folder, side.model, asked, tell)))
    return asked, str(side.model.device)


def _impossible(job: Job, folder: Path) -> Proof | None:
    """What can be told before anything is model."""
    from importlib.util import find_spec

    from engine.deliver.proof.llama_forms import lora_files

    if job.target in ("gguf", "lora-gguf", "ollama") and find_spec("llama_cpp") is None:
        return Proof("not run", _NO_LLAMA, _INSTALL)
    if job.target == "lora-gguf" and not lora_files(folder)[1]:
        words = "A LoRA file runs only over a GGUF file of its base model, and there is none beside it."
        return Proof(
            "not run", words, "Have it written and checked, too: --to lora-gguf --quant F16 --overwrite"
        )
    return None


def _adapter(job: Job, folder: Path, model: Any, asked: Reference, tell: Tell) -> Form:
    from engine.deliver.export.model_files import load_tokenizer
    from engine.deliver.proof.trained import see_model, stops_of

    missing = model.load_adapter(str(folder), "exported").missing_keys
    if missing:
        raise UserError(
            f"{len(missing)} of the adapter's matrices are missing.", str(folder), "Export it again."
        )
    model.set_adapter("exported")
    model.eval()
    tokenizer = load_tokenizer(folder)
    stops = stops_of(folder, tokenizer, asked)
    seen = see_model(model, tokenizer, stops, asked, tell)
    bound = model_bound(asked.dtype, asked.dtype, asked.layers)
    return judge(
        Kind("adapter over its base", ".", bound, True, job.trained.kind != "text"), asked, seen, stops
    )


def _merged(job: Job, folder: Path, device: str, asked: Reference, tell: Tell) -> Form:
    from engine.deliver.export.needs import check_ram
    from engine.deliver.proof.trained import load_merged, see_model, stops_of
    from engine.run.checkpoints import size_of

    if device == "cpu":
        check_ram(size_of(folder), "checking the merged model")
    model, tokenizer, dtype = load_merged(job, folder, device)
    stops = stops_of(folder, tokenizer, asked)
    seen = see_model(model, tokenizer, stops, asked, tell)
    bound = model_bound(dtype, asked.dtype, asked.layers, asked.trained_in)
    return judge(Kind(f"merged, {dtype}", ".", bound, True, job.trained.kind != "text"), asked, seen, stops)


def _gguf(job: Job, folder: Path, asked: Reference, tell: Tell) -> list[Form]:
    from engine.deliver.proof.llama_forms import gguf_files, lora_files, prove_gguf

    work = folder / _WORK
    work.mkdir()
    lora, files = lora_files(folder) if job.target == "lora-gguf" else (None, gguf_files(folder))
    modelfile = folder / "Modelfile"
    said = read_modelfile(modelfile.read_text("utf-8")) if job.target == "ollama" else None
    forms = []
    for file in files:
        name = quant_of(file.name) or file.name
        tell.step(f"Checking: {name} answers the same prompts in llama.cpp")

        def one(file: Path = file) -> Form:
            return prove_gguf(job, file, asked, work, tell, lora, said)

        forms.append(_tried(name, file.name, one))
    return forms


def _tried(name: str, file: str, work: Callable[[], Form]) -> Form:
    """A form that cannot be loaded differs; one for which memory is too small was not looked at."""
    from engine.train.heal.out_of_memory import is_out_of_memory

    try:
        return work()
    except Cancelled:
        raise
    except UserError as error:
        short = "memory" in error.what
        told = error
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        short = is_out_of_memory(error)
        told = UserError(
            "Memory ran out." if short else f"It cannot be loaded: {printable(error, 200)}.",
            file,
            "Export it again.",
        )
    check = Check("loads", None if short else False, told.what, "yes")
    return Form(name, file, "not run" if short else "differs", (check,), (Cause(told.what, told.fix),))


def _verdict(asked: Reference, forms: list[Form]) -> Proof:
    differing = [form for form in forms if form.verdict == "differs"]
    skipped = [form for form in forms if form.verdict == "not run"]
    about = (asked.words, len(asked.cases), asked.positions, tuple(forms), tuple(asked.notes))
    if differing:
        first = differing[0].causes[0]
        names = ", ".join(form.name for form in differing)
        return Proof(
            "differs",
            f"{names}: it does not say the same as the trained model. {first.what}",
            first.fix,
            *about,
        )
    if skipped:
        first = skipped[0].causes[0]
        return Proof("not run", f"{skipped[0].name}: {first.what}", first.fix, *about)
    what = "gives the same scores as" if asked.scores else "answers like"
    return Proof("same", f"It {what} the trained model.", "", *about)


def _not_run(error: Exception) -> Proof:
    from engine.deliver.loading import explained

    told = explained(error)
    if told is not None:
        return Proof("not run", told.what, told.fix)
    traceback.print_exc(file=sys.stderr)
    words = f"The check itself failed: {type(error).__name__}: {printable(error, 200)}."
    return Proof("not run", words, "Ask the exported model a few questions yourself before you rely on it.")


def _aloud(made: Proof) -> list[str]:
    """What must not be missed while it is made."""
    if made.verdict == "differs":
        return [f"CHECK FAILED. {made.words} How to fix it: {made.fix}"]
    if made.verdict == "not run":
        return [f"Not checked: {made.words} {made.fix}"]
    return list(made.notes)
