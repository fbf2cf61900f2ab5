"""``python -m engine.deliver.chat_worker RUN_DIR``: loads the trained model once and answers requests.

A request is ``{"messages": [...], "max_new_tokens": 256, "temperature": 0, "base": false}``; the answer comes as
``token`` messages and one ``done`` message with the whole text, whether it stopped by itself, and tokens per second.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from engine.deliver.loading import load_trained
from engine.deliver.protocol import run_worker, send
from engine.deliver.source import find_trained
from engine.run.layout import RunDir


def main(run_path: str) -> int:
    """Serve requests from standard input until it ends."""

    def serve(channel: IO[str]) -> None:
        trained = find_trained(RunDir(Path(run_path)))
        model, tokenizer = load_trained(trained)
        send(channel, "ready", words=trained.words)
        for line in sys.stdin:
            _answer(channel, model, tokenizer, json.loads(line))

    return run_worker(serve)


def _answer(channel: IO[str], model: Any, tokenizer: Any, request: dict[str, Any]) -> None:
    import torch
    from transformers import TextIteratorStreamer

    from engine.train.tokens import end_ids

    prompt = tokenizer.apply_chat_template(
        request["messages"], tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids = prompt["input_ids"].to(model.device)
    temperature = float(request.get("temperature") or 0)
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    ends = sorted(end_ids(tokenizer))
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    made: list[Any] = []
    base = getattr(model, "disable_adapter", None) if request.get("base") else None

    def generate() -> None:
        try:
            with torch.inference_mode(), base() if base else contextlib.nullcontext():
                made.append(
                    model.generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        max_new_tokens=int(request.get("max_new_tokens") or 256),
                        eos_token_id=ends,
                        pad_token_id=tokenizer.pad_token_id,
                        streamer=streamer,
                        use_cache=True,
                        **sampling,
                    )
                )
        except Exception as error:  # reported by the caller's thread, which waits for the stream to end
            made.append(error)
            streamer.end()

    started = time.monotonic()
    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    text = ""
    for piece in streamer:
        if piece:
            text += piece
            send(channel, "token", text=piece)
    thread.join()
    if isinstance(made[0], Exception):
        raise made[0]
    new = made[0][0, ids.shape[1] :].tolist()
    seconds = max(time.monotonic() - started, 1e-6)
    send(
        channel,
        "done",
        text=text.strip(),
        stopped=bool(new) and new[-1] in ends,
        tokens=len(new),
        tokens_per_second=round(len(new) / seconds, 1),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
