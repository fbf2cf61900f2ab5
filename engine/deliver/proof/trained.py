"""The reference of a proof, and the forms that transformers runs: the adapter and the merged model. Loads torch when called."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from engine.deliver.export.job import Job, Tell, wants_to_stop
from engine.deliver.prompts import Prompt
from engine.deliver.proof.asking import ENOUGH, LONGEST, NEW_TOKENS, USUAL, candidates
from engine.deliver.proof.seen import Case, Reference, Seen, Stops
from engine.errors import UserError
from engine.run import atomic

_MOST_NUMBERS = 1 << 27  # logits that are kept at once: half a GiB in float32


def choose_device(job: Job) -> None:
    """Keep this process off the cards where they have no room, or where a training may need it."""
    from engine.deliver.room import place_for, training_now
    from engine.machine.probe import probe

    training = training_now()
    try:
        place = place_for(job.trained.config, 1, "cpu" if training else "auto", probe(), training)
    except UserError:
        place = place_for(job.trained.config, 1, "cpu", probe())
    os.environ.update(place.env)


def ask(job: Job, model: Any, tokenizer: Any, tell: Tell) -> Reference:
    """The reference answers.

    Args:
        job: What was exported.
        model: The trained model.
        tokenizer: As it was saved with it.
        tell: May cancel.
    """
    cases: list[Case] = []
    left = [one for prompt in candidates(job) if (one := _prepared(prompt, tokenizer)) is not None]
    left = [one for one in left if len(one[2]) <= LONGEST]
    vocabulary = model.config.get_text_config().vocab_size
    scores = job.trained.kind == "score"
    while left and (len(cases) < USUAL or (not scores and sum(len(case.answer) for case in cases) < ENOUGH)):
        if (
            sum(case.logits.size for case in cases) + USUAL * NEW_TOKENS * vocabulary > _MOST_NUMBERS
            and cases
        ):
            break
        batch, left = left[:USUAL], left[USUAL:]
        cases += _scored(model, batch, tell) if scores else _answered(model, tokenizer, batch, tell)
    made = _reference(job, model, tokenizer, cases, scores)
    if cases and not scores and not any(case.stopped for case in cases):
        made.notes.append(
            f"The trained model itself ended none of its answers within {NEW_TOKENS} tokens, so stopping could not be compared."
        )
    return made


def see_model(model: Any, tokenizer: Any, stops: Stops, asked: Reference, tell: Tell) -> list[Seen]:
    """What a form that transformers runs does with each case.

    Args:
        model: The form, loaded.
        tokenizer: Its own.
        stops: What its own files say ends an answer.
        asked: The cases.
        tell: May cancel.
    """
    from engine.deliver.generation import answer_all

    seen: list[Seen] = []
    for case in asked.cases:
        tell.check()
        prepared = _prepared(case.prompt, tokenizer, own_template=True)
        text, ids = (None, ()) if prepared is None else (prepared[1], prepared[2])
        logits = _scores(model, case.ids) if asked.scores else _logits(model, case.ids, case.answer)
        problem = (
            "" if prepared is not None else "the chat template refuses this conversation, or there is none"
        )
        found = tuple(int(row.argmax()) for row in logits)
        seen.append(Seen(text, ids, found, logits, False, "", problem=problem))
    if asked.scores:
        return seen
    prompts = [one.ids or case.ids for one, case in zip(seen, asked.cases, strict=True)]
    answers = answer_all(
        model, tokenizer, prompts, 2 * NEW_TOKENS, USUAL, cancelled=partial(wants_to_stop, tell)
    )
    tell.check()
    return [
        replace(one, stopped=answer.stopped and answer.token_ids[-1] in stops.ends, said=answer.text)
        for one, answer in zip(seen, answers, strict=True)
    ]


def stops_of(folder: Path, tokenizer: Any, asked: Reference) -> Stops:
    """How a folder that transformers loads ends answers: what ``generate`` reads, and nothing else.

    Args:
        folder: With ``generation_config.json``, or at least ``config.json``.
        tokenizer: Loaded from it.
        asked: The reference.
    """
    config = (
        atomic.read_json(folder / "generation_config.json") or atomic.read_json(folder / "config.json") or {}
    )
    found = config.get("eos_token_id")
    ends = found if isinstance(found, list) else [found]
    names = {number: str(tokenizer.convert_ids_to_tokens(number)) for number in asked.end_names}
    pads = [
        number for number in (tokenizer.pad_token_id, config.get("pad_token_id")) if isinstance(number, int)
    ]
    end = tokenizer.eos_token_id
    bad = {end, *asked.end_names}
    pad = next((number for number in pads if number in bad), pads[0] if pads else -1)
    return Stops(
        frozenset(number for number in ends if isinstance(number, int)),
        names,
        pad,
        -1 if end is None else end,
    )


def load_merged(job: Job, folder: Path, device: str) -> tuple[Any, Any, str]:
    """A merged model as its users load it: its own number format, its own tokenizer.

    Returns:
        Model, tokenizer, number format.
    """
    import transformers
    from transformers import AutoTokenizer

    name = "AutoModelForSequenceClassification" if job.trained.kind == "score" else "AutoModelForCausalLM"
    model = getattr(transformers, name).from_pretrained(
        str(folder), dtype="auto", device_map={"": device}, trust_remote_code=False, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return model.eval(), tokenizer, str(model.dtype).removeprefix("torch.")


def _reference(job: Job, model: Any, tokenizer: Any, cases: Sequence[Case], scores: bool) -> Reference:
    settings = job.trained.config.model
    trained_in = "4bit" if settings.load_in_4bit else "8bit" if settings.load_in_8bit else ""
    dtype = settings.dtype or "float32"
    what = "base and adapter" if job.trained.is_adapter else "the trained model"
    words = f"{what} in {dtype}" + (
        f", the base in {trained_in[0]} bits as in training" if trained_in else ""
    )
    ends = {case.answer[-1] for case in cases if case.stopped}
    bos = tokenizer.bos_token
    return Reference(
        cases=cases,
        words=words,
        dtype=dtype,
        layers=int(getattr(model.config.get_text_config(), "num_hidden_layers", 1) or 1),
        trained_in=trained_in,
        scores=scores,
        bos=str(bos or ""),
        bos_id=-1 if bos is None else int(tokenizer.bos_token_id),
        end_names={number: str(tokenizer.convert_ids_to_tokens(number)) for number in ends},
        tokenizer=tokenizer,
    )


_Prepared = tuple[Prompt, str, tuple[int, ...]]


def _prepared(prompt: Prompt, tokenizer: Any, own_template: bool = False) -> _Prepared | None:
    """A prompt as text and token ids; None where the template refuses it.

    Args:
        prompt: The question.
        tokenizer: With its template.
        own_template: Write it as users of transformers do, not as the trainer does.
    """
    if isinstance(prompt.content, str):
        return prompt, prompt.content, tuple(tokenizer(prompt.content)["input_ids"])
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return None
    try:
        text = write(prompt, tokenizer) if own_template else _trained_text(prompt, tokenizer)
    except (UserError, TemplateError, ValueError, TypeError):
        return None
    return prompt, text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def write(prompt: Prompt, tokenizer: Any, template: str | None = None) -> str:
    """A conversation through transformers' own rendering.

    Args:
        prompt: Turns of a conversation.
        tokenizer: Gives the template and the named tokens.
        template: Another template than its own.
    """
    assert not isinstance(prompt.content, str)
    return str(
        tokenizer.apply_chat_template(
            [dict(turn) for turn in prompt.content],
            chat_template=template,
            tools=prompt.tools or None,
            tokenize=False,
            add_generation_prompt=True,
        )
    )


def _trained_text(prompt: Prompt, tokenizer: Any) -> str:
    from engine.train.tokens import writer_of

    assert not isinstance(prompt.content, str)
    return writer_of(tokenizer)[0].text(prompt.content, True, prompt.tools or None)


def _answered(model: Any, tokenizer: Any, batch: Sequence[_Prepared], tell: Tell) -> list[Case]:
    from engine.deliver.generation import answer_all

    answers = answer_all(
        model,
        tokenizer,
        [ids for _, _, ids in batch],
        NEW_TOKENS,
        USUAL,
        cancelled=partial(wants_to_stop, tell),
    )
    tell.check()
    cases = []
    for (prompt, text, ids), answer in zip(batch, answers, strict=True):
        logits = _logits(model, ids, answer.token_ids)
        cases.append(Case(prompt, text, ids, answer.token_ids, answer.stopped, answer.text, logits))
    return cases


def _scored(model: Any, batch: Sequence[_Prepared], tell: Tell) -> list[Case]:
    cases = []
    for prompt, text, ids in batch:
        tell.check()
        cases.append(Case(prompt, text, ids, (0,), False, "", _scores(model, ids)))
    return cases


def _logits(model: Any, ids: Sequence[int], answer: Sequence[int]) -> Any:
    """At each place of an answer, (n, vocabulary) float32 on the CPU."""
    import torch

    whole = torch.tensor([[*ids, *answer]], device=model.device)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters
    how: Mapping[str, Any] = {"logits_to_keep": len(answer) + 1} if keeps else {}
    with torch.inference_mode():
        rows = model(input_ids=whole, **how).logits[0]
    return rows[-len(answer) - 1 : -1].float().cpu().numpy()


def _scores(model: Any, ids: Sequence[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([list(ids)], device=model.device)).logits[:1].float().cpu().numpy()
