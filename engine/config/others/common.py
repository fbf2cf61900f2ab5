"""What tools that are built on transformers' trainer have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.advise.objectives import OBJECTIVES
from engine.config.others.table import Written
from engine.config.schema import RunConfig

if TYPE_CHECKING:
    from engine.config.others.reading import Reading

WARMUP = "finetui counts it as a share of all steps: set warmup_ratio"
MIN_RATE = 0.1  # share of the learning rate at which cosine_with_min_lr ends, as finetui's trainer has it


def hugging_face(job: Written) -> None:
    """When to measure and to save, by which rule the rate falls, and where curves go."""
    config, held_out = job.config, bool(job.material.evaluation)
    if config.training.max_steps < 0:
        job.values.pop("max_steps", None)
    if config.training.lr_scheduler_type == "cosine_with_min_lr":
        job.put("lr_scheduler_kwargs", {"min_lr_rate": MIN_RATE})
    job.covered.add("group_by_length")
    if config.training.group_by_length:
        job.put("train_sampling_strategy", "group_by_length", "group_by_length")
    job.put("report_to", list(config.watch.report_to) or "none", "report_to")
    job.put("eval_strategy", "steps" if held_out else "no")
    job.put("save_strategy", "steps")
    if not held_out:
        for key in ("eval_steps", "load_best_model_at_end"):
            job.values.pop(key, None)
    elif config.watch.load_best_model_at_end:
        best_checkpoint(job)


def best_checkpoint(job: Written) -> None:
    """What makes the best checkpoint the result; it can only be one that was saved."""
    watch, about = job.config.watch, OBJECTIVES[job.config.method.objective]
    job.put("metric_for_best_model", about.best_by)
    job.put("greater_is_better", about.higher_is_better)
    if (watch.save_steps or 1) % (watch.eval_steps or 1):
        job.put(
            "save_steps", watch.eval_steps, why="As often as it is measured, so that the best one is there."
        )
        job.notes.append(
            f"finetui saves every evaluation that is the best so far; here save_steps becomes {watch.eval_steps}, as eval_steps."
        )


def seen_precision(job: Written) -> None:
    """Number format while computing."""
    dtype = job.config.model.dtype
    job.covered.add("dtype")
    job.put("bf16", dtype == "bfloat16")
    job.put("fp16", dtype == "float16")
    if job.config.method.tuning == "lora" and dtype == "bfloat16":
        job.notes.append(
            "finetui keeps the adapter in bfloat16 too; which number format it has here is the tool's own choice."
        )


def no_freezing(job: Written, tool: str) -> None:
    """The tool cannot train the last layers only."""
    job.left_out(
        "freeze_trainable_layers",
        f"{tool} has no such setting; nearest is training every weight, which needs several times the memory.",
    )


def accelerated(job: Written, split: str, tool: str) -> str:
    """Options of the command for several cards; covers how they share the work."""
    training = job.config.training
    job.covered |= {"num_processes", "sharding"}
    processes = training.num_processes or 1
    if processes == 1:
        return ""
    words = f" --num_processes {processes}"
    if training.sharding != "fsdp":
        return words
    if split:
        return f"{words} {split}"
    job.notes.append(
        f"finetui splits the model between {processes} cards (sharding fsdp); for {tool} that is a file of its own, which is not "
        "written here: without it each card holds the whole model."
    )
    return words


def evaluation_batch(config: RunConfig) -> int:
    """How many answers are made up to a prompt while measuring: it has to divide the batch of an evaluation."""
    evaluated = (config.training.per_device_eval_batch_size or 1) * (config.training.num_processes or 1)
    made = config.generation.num_generations or evaluated
    return next((number for number in range(min(made, evaluated), 1, -1) if evaluated % number == 0), 2)


def report_back(reading: Reading) -> None:
    """Settings of transformers' trainer that run.yaml has in another form."""
    reports = reading.pop("report_to", None)
    reports = [] if reports in (None, "none", "None") else [reports] if isinstance(reports, str) else reports
    kept = [name for name in reports if name in ("tensorboard", "trackio", "wandb")]
    if kept:
        reading.take("report_to", kept, "report_to")
    for name in reports:
        if name not in kept and name not in ("none", "all"):
            reading.leave("report_to", name, "finetui reports to tensorboard, trackio and wandb")
    if reading.pop("train_sampling_strategy", None) == "group_by_length" or reading.pop(
        "group_by_length", False
    ):
        reading.take("group_by_length", True, "group_by_length")
    ratio = reading.pop("warmup_ratio", None)
    if ratio is not None:
        reading.take("warmup_ratio", ratio, "warmup_ratio")
    scheduled = reading.pop("lr_scheduler_kwargs", None)
    if scheduled and scheduled != {"min_lr_rate": MIN_RATE}:
        reading.leave(
            "lr_scheduler_kwargs", scheduled, f"finetui's cosine_with_min_lr ends at {MIN_RATE} of the rate"
        )
    told = {
        theirs: reading.tree[theirs]
        for theirs in ("bf16", "fp16")
        if isinstance(reading.tree.get(theirs), bool)
    }
    for theirs in told:
        reading.pop(theirs)
    if "dtype" not in reading.taken and told:
        named = {"bf16": "bfloat16", "fp16": "float16"}
        chosen = next(
            (named[theirs] for theirs, value in told.items() if value), "float32" if len(told) == 2 else None
        )
        reading.take("dtype", chosen, " and ".join(told))
    steps = reading.pop("warmup_steps", None)
    if steps and "warmup_ratio" not in reading.taken:
        reading.leave("warmup_steps", steps, WARMUP)


def warmup_back(value: Any) -> float:
    """A share of the steps; a number of steps cannot be told without the data."""
    if not 0 <= float(value) < 1:
        raise ValueError(WARMUP)
    return float(value)


def packing_back(reading: Reading, theirs: str, tool: str) -> None:
    """Packing, which means something else in each tool."""
    if theirs not in reading.tree:
        return
    packed = bool(reading.pop(theirs))
    reading.take("packing", packed, theirs)
    if packed:
        reading.notes.append(
            f"{theirs}: a step of {tool} learns from so many packed lines, one of finetui from so many rows: to learn from as many at "
            "once, raise per_device_train_batch_size."
        )
