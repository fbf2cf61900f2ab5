"""``python -m engine.deliver.evaluate.lm_worker RUN_DIR OPTIONS``: benchmarks of lm-eval on two models of a run.

OPTIONS is JSON: ``sides`` (the one before, the one after), ``tasks``, ``limit``, ``batch_size``. The models are loaded as for
every other comparison, so quantization, tokens and adapter are those of the training, and handed to lm-eval as they are.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from engine.deliver.evaluate.statistics import SEED
from engine.deliver.evaluate.tasks import metrics_of
from engine.deliver.loading import Side, explained, load_sides
from engine.deliver.protocol import run_worker, send
from engine.deliver.source import find_trained
from engine.display import printable
from engine.errors import UserError
from engine.run.layout import RunDir


def main(run_path: str, options: str) -> int:
    """Measure, and send the lines of the table."""

    def work(channel: IO[str]) -> None:
        wanted = json.loads(options)
        run = RunDir(Path(run_path))
        before, after = (find_trained(run, which) for which in wanted["sides"])
        (new, old), tokenizer = load_sides([after, before])
        found = []
        for side in (old, new):
            send(
                channel, "progress", words=f"benchmarks with {side.trained.name}", done=0, total=0, left=None
            )
            found.append(_measured(side, tokenizer, wanted))
        higher = found[1].get("higher_is_better", {})
        metrics = metrics_of(found[0].get("samples", {}), found[1].get("samples", {}), higher)
        send(channel, "tasks", metrics=[asdict(metric) for metric in metrics])

    return run_worker(work, explained)


def _measured(side: Side, tokenizer: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    with side.active() as model:
        # Adapters sit inside the layers of the base, which is what lm-eval knows.
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        lm = import_module("lm_eval.models.huggingface").HFLM(
            pretrained=inner, tokenizer=tokenizer, backend="causal", batch_size=wanted.get("batch_size") or 8
        )
        try:
            found = import_module("lm_eval").simple_evaluate(
                model=lm,
                tasks=list(wanted["tasks"]),
                limit=wanted.get("limit") or None,
                log_samples=True,
                bootstrap_iters=0,
                random_seed=SEED,
                numpy_random_seed=SEED,
                torch_random_seed=SEED,
                fewshot_random_seed=SEED,
            )
        except Exception as error:
            if explained(error) is not None:
                raise
            raise UserError(
                f"lm-eval cannot measure this: {type(error).__name__}: {printable(error, 300)}",
                f"--tasks {printable(','.join(wanted['tasks']), 200)}",
                "List the names it knows: lm-eval ls tasks. Its data come from the Hub, so it needs the network once.",
            ) from error
    return dict(found or {})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
