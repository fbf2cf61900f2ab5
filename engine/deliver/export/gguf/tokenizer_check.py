"""Whether llama.cpp reads text as the trained model's tokenizer does: the same token ids, on conversations and odd texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.render import Renderer
from engine.deliver.export.gguf.runner import LlamaRunner
from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_chat_template
from engine.run.layout import RunDir

# Word endings, digits, runs of spaces, other scripts, emoji: where ways of splitting words differ.
PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure we'll see it: they've DONE it, he'd said, IT'S late.",
    "1 12 123 1234 12345 3.14 1,000,000 2026-05-17 a1b2",
    "  two  spaces,\ttabs\n\nnew lines \n  and   ends  ",
    "def f(x):\n    return x != y and z[0] == {'a': 1}  # code",
    "Grüße aus Köln, façade, naïve, Łódź, où ça",
    "Привет, мир! Γειά σου. 你好世界。こんにちは 안녕하세요 مرحبا नमस्ते",
    "🦉🙂 ok ✅ (a)... -- ~~ ??!! /// <b> $5 & 50%",
    "CamelCaseWords and snake_case_words andlongunbrokenwordswithoutanyspaces",
)
_CONVERSATIONS = (
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "user", "content": "Hello there!"},
        {"role": "assistant", "content": "Hi. How can I help?"},
        {"role": "user", "content": "Count: 1, 22, 333.\nThanks"},
    ],
)


@dataclass(frozen=True, slots=True)
class TokenizerCheck:
    """What a comparison showed.

    Attributes:
        texts: How many texts were compared.
        differing: Those cut differently, for people; conversations come first.
        conversations_differ: A rendered conversation is among them.
    """

    texts: int
    differing: tuple[str, ...]
    conversations_differ: bool


def check_tokenizer(
    run: RunDir, model: Path, gguf: Path, poll: Callable[[], None] = lambda: None
) -> TokenizerCheck:
    """Compare token ids.

    Args:
        run: Its folder gets the log.
        model: Folder of the tokenizer that was trained with.
        gguf: The file; one without weights will do.
        poll: May raise to give up.

    Raises:
        UserError: llama.cpp cannot load the file.
    """
    renderer = Renderer(model)
    prompts: list[str] = []
    texts: list[str] = list(PROBES)
    if read_chat_template(model) is not None:
        prompts = _rendered(renderer, _CONVERSATIONS)
        texts = [*prompts, *_rendered(renderer, [[{"role": "user", "content": text}] for text in PROBES])]
    expected = [list(renderer.tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    with LlamaRunner(run, gguf, vocab_only=True, poll=poll) as llama:
        found = llama.tokenize(texts)
    wrong = [number for number, ids in enumerate(found) if ids != expected[number]]
    shown = tuple(printable(texts[number], 200) for number in wrong)
    return TokenizerCheck(len(texts), shown, any(number < len(prompts) for number in wrong))


def _rendered(renderer: Renderer, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    texts = []
    for messages in conversations:
        try:
            texts.append(renderer.render(messages, add_generation_prompt=True))
        except UserError:  # a template that refuses some conversation is no matter of tokens
            continue
    return texts


def refusal(check: TokenizerCheck, mapped: bool, pre: str) -> UserError | None:
    """Why a file must not be made; None where it may.

    A tokenizer that the converter knows may differ on odd texts, as the published files of the same model do; one that was
    recognised by its structure must not differ at all.
    """
    if not check.differing or not (mapped or check.conversations_differ):
        return None
    how = f"by the rule {pre}, which looked the same, " if mapped else ""
    return UserError(
        f"llama.cpp cuts text {how}differently from the trained model's tokenizer, so its answers would be wrong: "
        f"{len(check.differing)} of {check.texts} test texts differ.",
        f"first: {check.differing[0]!r}",
        "Use the merged model with transformers or vLLM instead: --to merged",
    )
