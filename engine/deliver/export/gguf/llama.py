"""A GGUF file loaded into this process by llama.cpp, on the CPU. Only for worker processes: errors in C++ end the process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError

# Rows of logits are as long as the vocabulary; this many of them at once stay below 100 MB for 262,144 tokens.
_CHUNK = 64


class Llama:
    """A loaded model. Greedy and exact: no sampling, no GPU, and the cache is emptied before every prompt."""

    def __init__(
        self, path: Path, adapter: Path | None = None, context: int = 1024, vocab_only: bool = False
    ) -> None:
        """Load a file.

        Args:
            path: The GGUF file of the model.
            adapter: A LoRA adapter in GGUF form to put over it.
            context: Most tokens of a prompt and its answer together; capped at what the model was made for.
            vocab_only: Load the tokenizer alone; a file without weights will do.

        Raises:
            UserError: llama.cpp refuses the file or the adapter.
        """
        import llama_cpp

        self._c: Any = llama_cpp
        self._c.llama_backend_init()
        params = self._c.llama_model_default_params()
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        self._model = self._c.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise UserError(
                "llama.cpp cannot load this GGUF file.",
                printable(path.name, 120),
                "The lines above this one in the log say why; export it again.",
            )
        self._vocab = self._c.llama_model_get_vocab(self._model)
        self.num_tokens = int(self._c.llama_vocab_n_tokens(self._vocab))
        self._context: Any = None
        if not vocab_only:
            self._open(path, adapter, context)

    def _open(self, path: Path, adapter: Path | None, context: int) -> None:
        params = self._c.llama_context_default_params()
        params.n_ctx = self.context = max(8, min(context, int(self._c.llama_model_n_ctx_train(self._model))))
        params.n_batch = params.n_ubatch = min(self.context, 512)
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        params.n_threads = params.n_threads_batch = int(os.environ.get("OMP_NUM_THREADS") or threads)
        self._context = self._c.llama_init_from_model(self._model, params)
        if not self._context:
            raise UserError(
                "llama.cpp cannot prepare this model for running.",
                printable(path.name, 120),
                "The main memory may be too small for it; close other programs.",
            )
        self._batch = self._c.llama_batch_init(params.n_batch, 0, 1)
        self._batch_size = int(params.n_batch)
        if adapter is not None:
            lora = self._c.llama_adapter_lora_init(self._model, os.fsencode(adapter))
            one = (self._c.llama_adapter_lora_p_ctypes * 1)(lora)
            scale = (ctypes.c_float * 1)(1.0)
            if not lora or self._c.llama_set_adapters_lora(self._context, one, 1, scale):
                raise UserError(
                    "llama.cpp cannot put this LoRA adapter over the base model.",
                    printable(adapter.name, 120),
                    "Both must come from the same base model. Export the whole model instead: --to gguf",
                )

    def info(self) -> dict[str, Any]:
        """What the file says of itself; keys as in `engine.deliver.export.gguf.runner.Info`."""
        ends = [token for token in range(self.num_tokens) if self._c.llama_vocab_is_eog(self._vocab, token)]
        return {
            "num_tokens": self.num_tokens,
            "bos": int(self._c.llama_vocab_bos(self._vocab)),
            "eos": int(self._c.llama_vocab_eos(self._vocab)),
            "pad": int(self._c.llama_vocab_pad(self._vocab)),
            "add_bos": bool(self._c.llama_vocab_get_add_bos(self._vocab)),
            "add_eos": bool(self._c.llama_vocab_get_add_eos(self._vocab)),
            "ends": ends,
            "template": self._meta("tokenizer.chat_template"),
            "architecture": self._meta("general.architecture"),
            "context": int(self._c.llama_model_n_ctx_train(self._model)),
        }

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of a text.

        Args:
            text: Any text.
            add_special: Put the start token in front where the file says so.
            parse_special: Read ``<|im_end|>`` and the like as one token each, not as text.
        """
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        ids = (self._c.llama_token * size)()
        count = self._c.llama_tokenize(self._vocab, data, len(data), ids, size, add_special, parse_special)
        return [int(token) for token in ids[: max(0, int(count))]]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        given = (self._c.llama_token * len(ids))(*ids)
        size = 64 + 32 * len(ids)
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = int(self._c.llama_detokenize(self._vocab, given, len(ids), buffer, size, False, True))
            if count >= 0:
                return buffer.raw[:count].decode("utf-8", "replace")
            size = -count

    def greedy(self, ids: Sequence[int], most: int, ends: frozenset[int]) -> Iterator[int]:
        """The likeliest next token, again and again; the end token comes last where the model stops by itself.

        Args:
            ids: The prompt.
            most: Tokens to write at most.
            ends: Tokens that end an answer.

        Raises:
            UserError: The prompt is longer than the context.
        """
        logits = self._prompt(ids)
        for number in range(min(most, self.context - len(ids))):
            token = int(logits.argmax())
            yield token
            if token in ends:
                return
            if number + 1 < min(most, self.context - len(ids)):
                logits = self._decode([token], len(ids) + number, every=False)[0]

    def logits(self, ids: Sequence[int]) -> Iterator[Any]:
        """Logits after every token of a sequence, in pieces: arrays of float32, (rows, num_tokens).

        Raises:
            UserError: The sequence is longer than the context.
        """
        self._start(ids)
        for begin in range(0, len(ids), _CHUNK):
            yield self._decode(ids[begin : begin + _CHUNK], begin, every=True)

    def _prompt(self, ids: Sequence[int]) -> Any:
        self._start(ids)
        out: Any = None
        for begin in range(0, len(ids), self._batch_size):
            out = self._decode(ids[begin : begin + self._batch_size], begin, every=False)
        return out[0]

    def _start(self, ids: Sequence[int]) -> None:
        if not ids or len(ids) > self.context:
            raise UserError(
                f"The prompt has {len(ids):,} tokens, and the context holds 1 to {self.context:,}.",
                "prompt",
                "Use a shorter one.",
            )
        memory = self._c.llama_get_memory(self._context)
        if memory:
            self._c.llama_memory_clear(memory, True)

    def _decode(self, ids: Sequence[int], position: int, every: bool) -> Any:
        """Run tokens; logits of all of them or of the last, (rows, num_tokens) float32, a copy."""
        import numpy as np

        batch, count = self._batch, len(ids)
        batch.n_tokens = count
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = every or index == count - 1
        code = self._c.llama_decode(self._context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        rows = count if every else 1
        out = np.ctypeslib.as_array(self._c.llama_get_logits(self._context), shape=(rows * self.num_tokens,))
        return out.reshape(rows, self.num_tokens).copy()

    def _meta(self, key: str) -> str:
        size = 1 << 10
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = int(self._c.llama_model_meta_val_str(self._model, key.encode(), buffer, size))
            if count < size:
                return buffer.value.decode("utf-8", "replace") if count >= 0 else ""
            size = count + 1
