"""From failed checks to the likely cause, and how to put it right."""

from __future__ import annotations

from collections.abc import Sequence

from engine.deliver.proof.seen import Case, Reference, Seen, Stops
from engine.deliver.proof.types import Cause, Check
from engine.display import printable

_AGAIN = "Export it again with --overwrite; if you changed its files by hand, take those changes back."


def causes_of(
    plain: bool,
    asked: Reference,
    pairs: Sequence[tuple[Case, Seen]],
    stops: Stops,
    checks: Sequence[Check],
) -> tuple[Cause, ...]:
    """Likely causes, the first one most likely.

    Args:
        plain: The form has 16 bits a number or more.
        asked: The reference.
        pairs: What each side did.
        stops: How the form ends answers.
        checks: What was compared; at least one failed.
    """
    failed = {check.name for check in checks if check.passed is False}
    causes: list[Cause] = []
    if failed & {"prompt text", "token ids"}:
        causes.append(_prompt_cause(asked, pairs))
    if "stop tokens" in failed:
        causes.append(_stop_cause(asked, stops))
    if "pad token" in failed:
        causes.append(
            Cause(
                "The pad token is the end token: whoever trains this further teaches the model never to stop, and some programs "
                "cut answers off.",
                "Give pad_token in tokenizer_config.json (and pad_token_id in generation_config.json) a token of its own, then "
                "export again.",
            )
        )
    weights = failed & {"greedy tokens", "logits", "scores"}
    if weights and plain:
        causes.append(
            Cause(
                "The weights differ from the trained ones: they were changed, damaged, or made from another base.",
                _AGAIN,
            )
        )
    elif weights or (failed == {"stops by itself"} and not plain):
        causes.append(
            Cause(
                "This number format is too coarse for the model: too much of what was learnt is lost in rounding.",
                "Take a finer one, such as Q6_K, Q8_0 or F16: --quant NAME.",
            )
        )
    if not causes:
        causes.append(
            Cause(
                "The model goes on where the trained one stops, although prompts, weights and stop tokens are the same.",
                _AGAIN,
            )
        )
    return tuple(causes)


def _prompt_cause(asked: Reference, pairs: Sequence[tuple[Case, Seen]]) -> Cause:
    for case, one in pairs:
        wanted = case.ids if one.wanted_ids is None else one.wanted_ids
        text = case.text if one.wanted_text is None else one.wanted_text
        if one.problem:
            return Cause(f"The prompt cannot be written: {one.problem}.", _AGAIN)
        start = _start_cause(asked, wanted, one)
        if start is not None:
            return start
        if one.text is not None and one.text != text:
            return _template_cause(text, one.text)
        if one.ids != wanted:
            return _tokenizer_cause(asked, wanted, one.ids)
    return Cause("The prompts differ.", _AGAIN)


def _start_cause(asked: Reference, wanted: Sequence[int], one: Seen) -> Cause | None:
    """The start token is one too many, or missing."""
    bos, found = asked.bos_id, one.ids
    if bos < 0 or not found:
        return None
    name = printable(asked.bos, 40)
    if tuple(found[1:]) == tuple(wanted) and found[0] == bos:
        twice = len(wanted) > 0 and wanted[0] == bos
        words = (
            "is there twice (a doubled BOS)"
            if twice
            else "is put in front of every prompt, and training had none"
        )
        return Cause(
            f"The start token {name} {words}: the chat template writes it and the program that runs the model adds one, too.",
            "Only one of both may write it: take it out of the template, or set add_bos_token to false; then export again.",
        )
    if tuple(wanted[1:]) == tuple(found) and wanted[0] == bos:
        return Cause(
            f"The start token {name} is missing: training had it in front of every prompt.",
            "Set add_bos_token to true, or write it in the template; then export again.",
        )
    return None


def _template_cause(wanted: str, found: str) -> Cause:
    place = next(
        (at for at, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    begin = max(0, place - 20)
    trained, exported = (printable(text[begin : place + 40], 120) for text in (wanted, found))
    return Cause(
        f"The chat template differs from that of training. From character {place + 1:,} on, training writes {trained!r} and this "
        f"writes {exported!r}.",
        "Use the template of the trained model (chat_template.jinja in its folder) unchanged, and export again.",
    )


def _tokenizer_cause(asked: Reference, wanted: Sequence[int], found: Sequence[int]) -> Cause:
    place = next(
        (at for at, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    text = printable(asked.tokenizer.decode(list(wanted[place : place + 4])), 60)
    return Cause(
        f"The tokenizer cuts the same text differently: from token {place + 1:,} on, near {text!r}. A special token may have been "
        "renamed, or the words are split by another rule.",
        "Use tokenizer.json and tokenizer_config.json of the trained model unchanged, and export again.",
    )


def _stop_cause(asked: Reference, stops: Stops) -> Cause:
    renamed = {
        name: stops.names[number]
        for number, name in asked.end_names.items()
        if stops.names.get(number, name) != name
    }
    if renamed:
        pairs = ", ".join(
            f"{printable(old, 40)} is called {printable(new, 40)}" for old, new in renamed.items()
        )
        what = f"The stop token was renamed: {pairs} here."
    else:
        missing = ", ".join(
            printable(name, 40) for number, name in asked.end_names.items() if number not in stops.ends
        )
        what = f"The stop token {missing}, with which the trained model ends its answers, ends none here."
    return Cause(
        f"{what} The model would talk on until it is cut off.",
        "eos_token in tokenizer_config.json and eos_token_id in generation_config.json must name it; then export again.",
    )
