"""``python -m engine.hub.worker``: Hub calls for a viewer, which never waits for the network and never loads its libraries.

Requests are JSON lines: ``{"id": 1, "do": "search", "query": "qwen", "kind": "model", "limit": 20}``, ``look`` and ``parts``
and ``download`` and ``files`` likewise with their arguments, and ``{"cancel": 1}``. Answers carry the ``id``: any number of
``progress``, then one ``result``, ``error`` or ``cancelled``. Requests run side by side.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from engine.deliver.protocol import claim_stdout, send
from engine.errors import UserError
from engine.hub import settings
from engine.hub.task import Cancelled, Progress, Task


def main() -> int:
    """Serve requests from standard input until it ends."""
    channel = claim_stdout()
    lock = threading.Lock()
    running: dict[int, threading.Event] = {}

    def answer(number: int, kind: str, **fields: Any) -> None:
        with lock:
            send(channel, kind, id=number, **fields)

    def work(number: int, request: Mapping[str, Any], stop: threading.Event) -> None:
        def tell(progress: Progress) -> None:
            if not stop.is_set():
                answer(number, "progress", progress=asdict(progress))

        try:
            result = DO[request["do"]](request, Task(tell, stop.is_set, str(request.get("repo_id", ""))))
        except Cancelled:
            answer(number, "cancelled")
        except UserError as error:
            answer(number, "error", what=error.what, where=error.where, fix=error.fix)
        except Exception as error:
            traceback.print_exc()
            what = settings.redacted(f"{type(error).__name__}: {error}")[:500]
            answer(number, "error", what=what, where="engine.hub.worker", fix="This is a bug in finetui.")
        else:
            answer(number, "result", result=result)
        finally:
            running.pop(number, None)

    for line in sys.stdin:
        request = json.loads(line)
        if "cancel" in request:
            if (stop := running.get(request["cancel"])) is not None:
                stop.set()
            continue
        running[request["id"]] = stop = threading.Event()
        threading.Thread(target=work, args=(request["id"], request, stop), daemon=True).start()
    return 0


def _search(request: Mapping[str, Any], task: Task) -> Any:
    from engine.hub.search import search

    return [found.to_dict() for found in search(request["query"], request["kind"], request["limit"], task)]


def _look(request: Mapping[str, Any], task: Task) -> Any:
    from engine.hub.facts import look

    return look(request["repo_id"], request["kind"], request["revision"], task).to_dict()


def _parts(request: Mapping[str, Any], task: Task) -> Any:
    from engine.hub.datasets import parts

    return parts(request["repo_id"], request["revision"], task).to_dict()


def _download(request: Mapping[str, Any], task: Task) -> Any:
    from engine.hub.download import download

    return str(download(request["repo_id"], request["revision"], task))


def _tokenizer(request: Mapping[str, Any], task: Task) -> Any:
    from engine.hub.download import tokenizer_files

    return str(tokenizer_files(request["repo_id"], request["revision"], task))


def _files(request: Mapping[str, Any], task: Task) -> Any:
    from engine.hub.datasets import files

    found = files(request["repo_id"], request["config"], request["split"], request["revision"], task=task)
    return [str(path) for path in found]


DO: dict[str, Callable[[Mapping[str, Any], Task], Any]] = {
    "search": _search,
    "look": _look,
    "parts": _parts,
    "download": _download,
    "tokenizer": _tokenizer,
    "files": _files,
}

if __name__ == "__main__":
    sys.exit(main())
