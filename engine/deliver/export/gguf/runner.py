"""Running a GGUF file from a process that must not crash with it: prompts in, token ids, logits and texts out.

    with LlamaRunner(run, run.path / "exports/gguf/owl-Q8_0.gguf") as llama:
        [ids] = llama.tokenize([prompt_text])
        answer = llama.greedy(ids, 64)

Everything is exact and repeatable: greedy, on the CPU, the cache emptied before every prompt. llama.cpp's own messages are
in ``runner_worker.log`` in the run's folder. A crash in llama.cpp ends the worker and is a `UserError` here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.deliver.protocol import Message, Worker
from engine.run.layout import RunDir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODULE = "engine.deliver.export.gguf.runner_worker"


@dataclass(frozen=True, slots=True)
class Info:
    """What a GGUF file says of itself.

    Attributes:
        num_tokens: Size of the vocabulary.
        bos: Id of the start token; -1 where there is none.
        eos: Id of the end token; -1 where there is none.
        pad: Id of the pad token; -1 where there is none.
        add_bos: llama.cpp puts the start token in front of a text by itself: where the template writes it too, it is
            there twice.
        add_eos: It puts the end token behind a text.
        ends: Ids after which llama.cpp ends an answer, the end token among them.
        template: The chat template in the file; empty where there is none.
        architecture: llama.cpp's name for it, such as ``llama``.
        context: Most tokens the model was made for.
    """

    num_tokens: int
    bos: int
    eos: int
    pad: int
    add_bos: bool
    add_eos: bool
    ends: tuple[int, ...]
    template: str
    architecture: str
    context: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer.

    Attributes:
        ids: Its tokens, without the end token.
        end: The end token with which the model stopped by itself; None where the limit cut it off.
        text: The tokens as text, special tokens included.
    """

    ids: tuple[int, ...]
    end: int | None
    text: str

    @property
    def stopped(self) -> bool:
        """The model stopped by itself."""
        return self.end is not None


class LlamaRunner:
    """One GGUF file in a worker process. A context manager; `close` ends the worker.

    The worker ends with the thread that made it, however that ends.

    Attributes:
        info: What the file says of itself.
    """

    def __init__(
        self,
        run: RunDir,
        model: Path,
        adapter: Path | None = None,
        context: int = 1024,
        vocab_only: bool = False,
        poll: Callable[[], None] = lambda: None,
    ) -> None:
        """Load a file.

        Args:
            run: Its folder gets the log.
            model: The GGUF file.
            adapter: A LoRA adapter as GGUF (``lora-gguf``) to put over it.
            context: Most tokens of a prompt and its answer together.
            vocab_only: Load the tokenizer alone: only `tokenize` and `detokenize` work, and it takes no memory.
            poll: Called with every token; may raise (``tell.check``) to give up.

        Raises:
            UserError: llama.cpp cannot load it, or crashes.
        """
        self._poll = poll
        settings = {
            "model": str(model.absolute()),
            "adapter": str(adapter.absolute()) if adapter else None,
            "context": context,
            "vocab_only": vocab_only,
        }
        self._worker = Worker(_MODULE, run, json.dumps(settings))
        try:
            told = self._wait("ready")
        except BaseException:
            self.close()
            raise
        told.pop("kind")
        self.info = Info(**{**told, "ends": tuple(told["ends"])})

    def __enter__(self) -> LlamaRunner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        self._worker.process.kill()
        self._worker.close()

    def tokenize(
        self, texts: Sequence[str], add_special: bool = False, parse_special: bool = True
    ) -> list[list[int]]:
        """Token ids of texts.

        Args:
            texts: For a prompt, the whole rendered conversation.
            add_special: Put the start token in front where the file says so; a rendered prompt has it already. To see
                what a server does with a rendered prompt, ask with True and look for two start tokens.
            parse_special: Read ``<|im_end|>`` and the like as one token each.
        """
        asked = {
            "do": "tokenize",
            "texts": list(texts),
            "add_special": add_special,
            "parse_special": parse_special,
        }
        found: list[list[int]] = self._ask(asked)["ids"]
        return found

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self._ask({"do": "detokenize", "ids": list(ids)})["text"])

    def greedy(self, ids: Sequence[int], most: int, ends: Sequence[int] | None = None) -> Answer:
        """Answer a prompt, always with the likeliest token.

        Args:
            ids: Token ids of the rendered prompt.
            most: Tokens to write at most.
            ends: Ids that end the answer; what the file says (`Info.ends`) where None.

        Raises:
            UserError: The prompt is longer than the context, or llama.cpp crashed.
        """
        asked = {"do": "greedy", "ids": list(ids), "most": most, "ends": None if ends is None else list(ends)}
        told = self._ask(asked)
        return Answer(tuple(told["ids"]), told["end"], str(told["text"]))

    def next_tokens(self, ids: Sequence[int]) -> list[int]:
        """For every token of a sequence, the likeliest one after it: compare with another model's to get their agreement.

        Args:
            ids: Prompt and answer, (n,).

        Returns:
            (n,) ids; number i is the guess for what follows ``ids[i]``.
        """
        found: list[int] = self._ask({"do": "next", "ids": list(ids)})["ids"]
        return found

    def logits(self, ids: Sequence[int], into: Path) -> NDArray[np.float32]:
        """Logits after every token of a sequence.

        Args:
            ids: Token ids, (n,).
            into: A file that holds them, 4 bytes a number; delete it when done. 100 tokens of a 262,144-token
                vocabulary take 105 MB.

        Returns:
            (n, num_tokens) float32, read from the file as needed.
        """
        import numpy as np

        rows = int(self._ask({"do": "logits", "ids": list(ids), "into": str(into.absolute())})["rows"])
        return np.memmap(into, dtype="<f4", mode="r", shape=(rows, self.info.num_tokens))

    def _ask(self, request: Message) -> Message:
        self._worker.request(request)
        return self._wait("done")

    def _wait(self, kind: str) -> dict[str, Any]:
        for message in self._worker.messages():
            self._poll()
            if message["kind"] == kind:
                return message
        raise self._worker.ended()
