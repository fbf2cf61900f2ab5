"""From a prompt to an answer: prompts as token ids, many greedy answers at once, and one that is told while it is made.

For worker processes; torch is loaded when a function is called.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.deliver.sampling import Sampling
from engine.display import printable
from engine.errors import UserError

Messages = Sequence[Mapping[str, Any]]

# What a model's generation_config.json may ask for and a greedy answer that is compared with others must not have.
_PLAIN: dict[str, Any] = {
    "do_sample": False, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 50, "min_p": None, "typical_p": 1.0,
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": None,
    "suppress_tokens": None, "begin_suppress_tokens": None, "bad_words_ids": None, "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None, "guidance_scale": None, "stop_strings": None, "max_time": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: Its words, special tokens removed and white space at both ends too.
        token_ids: Every new token; the one that ended the answer is the last where it stopped.
        stopped: It ended by itself, not at the length limit.
        tokens: How many tokens it wrote.
    """

    text: str
    token_ids: tuple[int, ...]
    stopped: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that was told while it was made.

    Attributes:
        answer: The whole of it.
        cancelled: It was ended from outside.
        seconds: From the first look at the prompt to the last token.
    """

    answer: Answer
    cancelled: bool
    seconds: float


def prompt_ids(
    tokenizer: Any,
    prompt: str | Messages,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """The token ids that a model answers to.

    Args:
        tokenizer: As it was saved with the trained model.
        prompt: A conversation, written through the chat template; or a text to go on with, taken as it is.
        chat_template_kwargs: Variables of the template, such as ``enable_thinking``.
        tools: JSON schemas of functions the assistant may call.

    Raises:
        UserError: The template refuses the conversation, there is none, or the text is no Unicode.
    """
    _require_unicode(prompt)
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            [dict(message) for message in prompt],
            tools=list(tools) if tools else None,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            **(chat_template_kwargs or {}),
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise UserError(
            f"The chat template refuses this conversation: {printable(error, 200)}",
            "chat template",
            "Some templates take no system message, or want user and assistant in turns beginning with the user.",
        ) from error
    return list(encoded["input_ids"])


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """Ids of the tokens that end an answer: the template's, and what the model itself ends with."""
    from engine.train.tokens import end_ids

    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return sorted(end_ids(tokenizer) | set([own] if isinstance(own, int) else own or ()))


def window_of(model: Any) -> int | None:
    """Most tokens the model can look at; None where it does not say."""
    config = model.config.get_text_config()
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def answer_all(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_size: int = 16,
    told: Callable[[int, Answer], None] = lambda number, answer: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Greedy answers to many prompts, several at once, padded on the left; each row stops for itself.

    Settings of the model's generation_config.json have no influence, so the same model gives the same answers everywhere.
    A batch that memory is too small for is cut in halves.

    Args:
        model: In evaluation mode, perhaps with an adapter.
        tokenizer: Decodes the answers.
        prompts: Token ids of each prompt, as of `prompt_ids`; cut to the model's window by the caller.
        max_new_tokens: Longest answer.
        batch_size: Prompts at once.
        told: Given the number of a prompt and its answer, as soon as it is there.
        cancelled: Asked now and then; True ends it with the answers so far.

    Returns:
        Answers in the order of the prompts; fewer where it was cancelled.
    """
    from engine.train.heal.out_of_memory import is_out_of_memory

    ends = ends_of(model, tokenizer)
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    made: dict[int, Answer] = {}
    size, start = max(1, batch_size), 0
    while start < len(order) and not cancelled():
        batch = order[start : start + size]
        try:
            answers = _greedy(model, tokenizer, [prompts[n] for n in batch], max_new_tokens, ends, cancelled)
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size = max(1, size // 2)
            give_back_memory()
            continue
        if cancelled():
            break
        for number, answer in zip(batch, answers, strict=True):
            made[number] = answer
            told(number, answer)
        start += len(batch)
    return [made[number] for number in sorted(made)]


def stream(
    model: Any,
    tokenizer: Any,
    ids: Sequence[int],
    sampling: Sampling,
    tell: Callable[[str, int, float], None],
    cancelled: Callable[[], bool],
    keep_ends: bool = False,
) -> Streamed:
    """One answer, told piece by piece.

    Args:
        model: In evaluation mode.
        tokenizer: Decodes it.
        ids: The prompt.
        sampling: How it is made.
        tell: Given each new piece of text, how many tokens were made so far, and seconds since the beginning.
        cancelled: Asked after every token.
        keep_ends: Leave white space at both ends of the text.
    """
    import torch

    ends = ends_of(model, tokenizer)
    pieces = _Pieces(tokenizer, set(ends), tell)
    torch.manual_seed(sampling.seed)
    tensor = torch.tensor([list(ids)], device=model.device)
    how: dict[str, Any] = {"do_sample": False, "repetition_penalty": float(sampling.repetition_penalty)}
    if sampling.temperature > 0:
        how |= {
            "do_sample": True,
            "temperature": float(sampling.temperature),
            "top_p": float(sampling.top_p),
            "top_k": sampling.top_k,
        }
    began = time.monotonic()
    with torch.inference_mode():
        out = model.generate(
            input_ids=tensor,
            attention_mask=torch.ones_like(tensor),
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            streamer=pieces,
            stopping_criteria=_stopping(cancelled),
            use_cache=True,
            num_beams=1,
            **how,
        )
    seconds = max(time.monotonic() - began, 1e-6)
    answer = _answer(tokenizer, out[0, len(ids) :].tolist(), ends, keep_ends)
    return Streamed(answer, not answer.stopped and cancelled(), seconds)


def score(model: Any, tokenizer: Any, messages: Messages, max_length: int) -> float:
    """The score that a reward model gives to the last turn of a conversation.

    Raises:
        UserError: The conversation does not end with an answer, or the template refuses it.
    """
    import torch
    from jinja2 import TemplateError

    from engine.train.pairs import Pairs

    if len(messages) < 2 or messages[-1].get("role") != "assistant":
        raise UserError(
            "A reward model scores an answer, and there is none.",
            "the conversation",
            'Give a question and an answer, such as {"prompt": "...", "answer": "..."}.',
        )
    _require_unicode(messages)
    turns = [dict(message) for message in messages]
    try:
        ids = Pairs(tokenizer).whole(turns[:-1], turns[-1:])
    except TemplateError as error:
        raise UserError(
            f"The chat template refuses this conversation: {printable(error, 200)}",
            "chat template",
            "Some templates take no system message.",
        ) from error
    if len(ids) > max_length:
        raise UserError(
            f"Question and answer have {len(ids):,} tokens together; the model was trained to score at most {max_length:,}.",
            "the conversation",
            "Shorten the answer.",
        )
    with torch.inference_mode():
        return float(model(torch.tensor([ids], device=model.device)).logits[0, 0])


def _require_unicode(prompt: str | Messages) -> None:
    """Half a character (a lone surrogate) is what bytes that are no UTF-8 become; no tokenizer takes it."""
    try:
        json.dumps(prompt, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise UserError(
            "The text has bytes that are no UTF-8, or half a character.",
            "the message",
            "Save it as UTF-8, or leave them out.",
        ) from None


def _greedy(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    ends: Sequence[int],
    cancelled: Callable[[], bool],
) -> list[Answer]:
    import torch

    width = max(map(len, prompts))
    # Anything may stand where nobody looks; some tokenizers have no pad token.
    pad = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            eos_token_id=list(ends),
            pad_token_id=pad,
            stopping_criteria=_stopping(cancelled),
            use_cache=True,
            **_PLAIN,
        )
    return [_answer(tokenizer, row, ends, False) for row in out[:, width:].tolist()]


def _answer(tokenizer: Any, new: list[int], ends: Sequence[int], keep_ends: bool) -> Answer:
    """Up to the first end token; what stands behind it in a batch is padding."""
    end = next((place for place, number in enumerate(new) if number in ends), None)
    words = new if end is None else new[:end]
    kept = new if end is None else new[: end + 1]
    text = str(tokenizer.decode(words, skip_special_tokens=True))
    return Answer(text if keep_ends else text.strip(), tuple(kept), end is not None, len(kept))


def _stopping(cancelled: Callable[[], bool]) -> Any:
    import torch
    from transformers import StoppingCriteriaList

    def ended(input_ids: Any, scores: Any, **others: Any) -> Any:
        return torch.full((input_ids.shape[0],), cancelled(), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([ended])


def give_back_memory() -> None:
    """Free what an error left behind, on the card too."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Pieces:
    """Takes tokens as ``generate`` makes them, and tells the text of whole words."""

    def __init__(self, tokenizer: Any, ends: set[int], tell: Callable[[str, int, float], None]) -> None:
        from transformers import TextStreamer

        self._inner = TextStreamer(tokenizer, skip_prompt=False, skip_special_tokens=True)
        self._inner.on_finalized_text = self._told
        self._ends, self._tell = ends, tell
        self._tokens = -1  # the prompt comes first
        self._began = time.monotonic()

    def put(self, value: Any) -> None:
        self._tokens += 1
        if self._tokens > 0 and int(value.flatten()[-1]) not in self._ends:
            self._inner.put(value.flatten())

    def end(self) -> None:
        self._inner.end()

    def _told(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._tell(text, self._tokens, time.monotonic() - self._began)
