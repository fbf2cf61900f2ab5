"""The forms that llama.cpp runs: GGUF files, a LoRA over its base, and what a Modelfile makes Ollama send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.deliver.export.gguf.runner import Info, LlamaRunner
from engine.deliver.export.job import Job, Tell
from engine.deliver.proof.asking import NEW_TOKENS
from engine.deliver.proof.bounds import fineness, gguf_bound, quant_of
from engine.deliver.proof.go_template import Said, TemplateError, render
from engine.deliver.proof.judge import Kind, judge
from engine.deliver.proof.seen import Case, Reference, Seen, Stops
from engine.deliver.proof.trained import write
from engine.deliver.proof.types import Form
from engine.errors import UserError

_MOST_LOGITS = (
    1 << 28
)  # bytes of logits of one prompt; longer ones are compared by their likeliest tokens alone


def prove_gguf(
    job: Job,
    file: Path,
    asked: Reference,
    work: Path,
    tell: Tell,
    adapter: Path | None = None,
    modelfile: Said | None = None,
) -> Form:
    """Ask a GGUF file.

    Args:
        job: What was exported.
        file: The GGUF file of the model, or of the base where `adapter` is given.
        asked: The reference.
        work: A folder for what is kept for a moment.
        tell: May cancel.
        adapter: A LoRA as GGUF to put over it.
        modelfile: Write prompts as Ollama does with it.

    Raises:
        UserError: llama.cpp cannot load it, or crashed.
    """
    context = max((len(case.ids) for case in asked.cases), default=0) + 3 * NEW_TOKENS
    with LlamaRunner(job.run, file, adapter, context, poll=tell.check) as llama:
        more = _ends_of(modelfile, llama) if modelfile is not None else frozenset()
        names = {number: llama.detokenize([number]) or name for number, name in asked.end_names.items()}
        ends = frozenset(llama.info.ends) | more
        stops = Stops(ends, names, llama.info.pad, llama.info.eos)
        seen: list[Seen | None] = []
        for case in asked.cases:
            written = _written(case, asked, llama.info, modelfile)
            if written is not None:
                written = _tokenized(written, case, asked, llama)
                written = _asked(written, case, llama, ends, work, modelfile)
            seen.append(written)
    quant = quant_of(file.name)
    name = f"{quant or file.name} with the LoRA over it" if adapter is not None else quant or file.name
    if modelfile is not None:
        name = f"Ollama, {name}"
    talks = job.trained.kind != "text"
    bound = gguf_bound(quant, asked.layers, asked.trained_in)
    shown = file.name if adapter is None else f"{file.name} + {adapter.name}"
    return judge(Kind(name, shown, bound, quant in ("F16", "BF16", "F32"), talks), asked, seen, stops)


def _written(case: Case, asked: Reference, info: Info, modelfile: Said | None) -> Seen | None:
    """The prompt as this form's template writes it; None where the form cannot take it."""
    blank = Seen(None, (), (), None, False, "")
    if isinstance(case.prompt.content, str):
        return replace(blank, text=case.text)
    if modelfile is None:
        if not info.template:
            return replace(blank, problem="the file holds no chat template")
        try:
            return replace(blank, text=write(case.prompt, asked.tokenizer, info.template))
        except Exception as error:  # whatever a broken template raises
            return replace(blank, problem=f"its chat template fails ({type(error).__name__})")
    turns = case.prompt.content
    if case.prompt.tools or any(turn.get("role") not in ("system", "user", "assistant") for turn in turns):
        return None
    wanted, ids = case.text, case.ids
    begins = turns[0]["role"] if turns else ""
    if modelfile.system and begins != "system":  # as Ollama adds it
        with_system = [{"role": "system", "content": modelfile.system}, *turns]
        try:
            wanted = write(replace(case.prompt, content=with_system), asked.tokenizer)
        except Exception:  # a template without a place for it: then the Modelfile must not have one either
            wanted = case.text
        ids = tuple(asked.tokenizer(wanted, add_special_tokens=False)["input_ids"])
    try:
        text = render(modelfile.template, turns, modelfile.system)
    except TemplateError as error:
        return replace(blank, problem=f"the Modelfile's template cannot be read ({error})")
    # llama.cpp writes the start token where the file says so: the template must leave it out.
    full = asked.bos + text if info.add_bos else text
    return replace(blank, text=full, wanted_text=wanted, wanted_ids=ids)


def _tokenized(one: Seen, case: Case, asked: Reference, llama: LlamaRunner) -> Seen:
    """As a server does it: where the file has llama.cpp add a start token, one that the template wrote is taken off."""
    text = case.text if one.text is None else one.text
    if llama.info.add_bos and asked.bos:
        text = text.removeprefix(asked.bos)
    (ids,) = llama.tokenize([text], add_special=True)
    return replace(one, ids=tuple(ids))


def _asked(
    one: Seen, case: Case, llama: LlamaRunner, ends: frozenset[int], work: Path, modelfile: Said | None
) -> Seen:
    whole = [*case.ids, *case.answer]
    if max(whole) >= llama.info.num_tokens:
        raise UserError(
            f"The file knows {llama.info.num_tokens:,} tokens, and the trained model uses token {max(whole):,}.",
            "vocabulary of the GGUF file",
            "Export it again.",
        )
    places = slice(len(case.ids) - 1, len(whole) - 1)
    logits = None
    if len(whole) * llama.info.num_tokens * 4 <= _MOST_LOGITS:
        kept = work / "logits"
        try:
            logits = llama.logits(whole, kept)[places].copy()
        finally:
            kept.unlink(missing_ok=True)
        found = tuple(int(row.argmax()) for row in logits)
    else:
        found = tuple(llama.next_tokens(whole)[places])
    answer = llama.greedy(one.ids or case.ids, 2 * NEW_TOKENS, sorted(ends))
    stopped = answer.stopped or _says_stop(answer.text, modelfile)
    return replace(one, next=found, logits=logits, stopped=stopped, said=answer.text)


def _says_stop(text: str, modelfile: Said | None) -> bool:
    return modelfile is not None and any(stop and stop in text for stop in modelfile.stops)


def _ends_of(modelfile: Said, llama: LlamaRunner) -> frozenset[int]:
    """Stop texts that are one token."""
    found = llama.tokenize(modelfile.stops) if modelfile.stops else []
    return frozenset(ids[0] for ids in found if len(ids) == 1)


def gguf_files(folder: Path) -> list[Path]:
    """The GGUF files of an export, finest number format first."""
    return sorted(folder.glob("*.gguf"), key=lambda path: (fineness(path.name), path.name))


def lora_files(folder: Path) -> tuple[Path | None, Sequence[Path]]:
    """The LoRA of a ``lora-gguf`` export, and the base files beside it."""
    files = gguf_files(folder)
    lora = next((path for path in files if "-lora-" in path.name), None)
    return lora, [path for path in files if path != lora]
