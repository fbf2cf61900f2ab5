"""What one step of a run has: rows at once, batches added up, answers made up; and a run as if that were chosen already."""

from __future__ import annotations

from collections.abc import Callable

from engine.advise.objectives import OBJECTIVES
from engine.choice import Choice
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.data.forms import Labelled, PromptOnly

PROMPTS_A_STEP = 4  # prompts whose made-up answers are compared between two changes of the model
LONGEST_ANSWER = 512  # tokens
USUAL_ANSWERS = {"grpo": 8, "rloo": 4}  # to each prompt


def rows_a_step(rows: int) -> int:
    """Rows between two changes of the model: 16, or 8 where there would be hardly any steps."""
    return 16 if rows >= 800 else 8


def with_step(config: RunConfig, rows: int) -> RunConfig:
    """The run with what is open of its step filled in as it will be: as few rows at once as it can have, all added up.

    Memory is predicted of this while other settings are still chosen, so that they still fit once the step is known:
    batches that are added up keep their gradients, share lines under a mask, and make up their answers together.

    Args:
        config: The run so far.
        rows: To learn from.
    """
    training, generation = config.training, config.generation
    batch = training.per_device_train_batch_size or _fewest(config)
    step = {
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": training.per_device_eval_batch_size or eval_batch(config, batch).value,
        "gradient_accumulation_steps": training.gradient_accumulation_steps
        or accumulation(config, batch * (training.num_processes or 1), rows).value,
    }
    answer = {"max_completion_length": generation.max_completion_length or answer_length(config).value}
    return config.model_copy(
        update={
            "training": training.model_copy(update=step),
            "generation": generation.model_copy(update=answer),
        }
    )


def batch(
    config: RunConfig, choose: Callable[[int], Choice[int]], wanted: int, rows: int = PROMPTS_A_STEP
) -> Choice[int]:
    """Rows at once.

    Args:
        config: The run so far.
        choose: The largest batch of rows that fits, up to a limit.
        wanted: Rows a step should have on one card.
        rows: To learn from.
    """
    form = OBJECTIVES[config.method.objective].form
    if form is Labelled:
        texts, fewest = choose(max(2, wanted)), _fewest(config)
        if texts.value < fewest:
            return Choice(
                fewest, "kto compares each answer with another one of its batch, so 2 is the least."
            )
        return texts
    if form is not PromptOnly:
        return choose(wanted)
    made = config.generation.num_generations or 1
    texts = choose(made * min(PROMPTS_A_STEP, rows))
    value = texts.value // made * made or next(n for n in range(texts.value, 0, -1) if made % n == 0)
    prompts = value // made
    holds = (
        f"all answers to {prompts} {'prompt' if prompts == 1 else 'prompts'}"
        if prompts
        else "a part of the answers"
    )
    return Choice(value, f"{texts.reason} It holds {holds}, {made} to each.")


def eval_batch(config: RunConfig, batch: int) -> Choice[int]:
    """Rows at once in evaluation."""
    if OBJECTIVES[config.method.objective].form is PromptOnly:
        value = max(2, batch - batch % 2)
        return Choice(value, f"{value} answers at once; at least two are made to each prompt.")
    return Choice(batch, f"{batch}, the same as in training, so evaluation needs no more memory.")


def accumulation(config: RunConfig, at_once: int, rows: int) -> Choice[int]:
    """Batches that are added up: 16 rows a step, fewer of a small dataset; or all answers to a few prompts.

    Args:
        config: The run so far.
        at_once: Rows, or answers, on all cards together.
        rows: To learn from.
    """
    if OBJECTIVES[config.method.objective].form is not PromptOnly:
        steps = max(1, rows_a_step(rows) // at_once)
        how = f"{at_once} at once" if steps == 1 else f"{at_once} at once, {steps} times"
        return Choice(steps, f"{at_once * steps} rows a step ({how}), good for {rows:,} rows.")
    made = config.generation.num_generations or USUAL_ANSWERS[config.method.objective]
    steps = max(1, round(min(PROMPTS_A_STEP, rows) * made / at_once))
    while steps * at_once % made:
        steps += 1
    total = steps * at_once
    return Choice(steps, f"{total} answers a step, {made} to each of {total // made} prompts.")


def answer_length(config: RunConfig) -> Choice[int]:
    """Tokens of a made-up answer: at most half of the text, for the prompt has to fit, too."""
    length = config.training.max_length or ORDINARY_LENGTH
    value = max(1, min(LONGEST_ANSWER, length // 2))
    return Choice(
        value,
        f"{value:,} of the {length:,} tokens of max_length; making answers takes most of the time.",
        (2 * value,),
    )


def generations(config: RunConfig) -> Choice[int]:
    """Answers to each prompt: the usual number, or what divides the batch that the user wants."""
    usual, training = USUAL_ANSWERS[config.method.objective], config.training
    size, accumulated = training.per_device_train_batch_size, training.gradient_accumulation_steps
    if size is None or accumulated is None:
        return Choice(usual, f"{usual} answers to each prompt tell well what is better.", (4, 16))
    total = size * accumulated * (training.num_processes or 1)
    fitting = [number for number in range(2, min(total, 16) + 1) if total % number == 0]
    if not fitting:
        return Choice(2, "The least that can be compared.")
    value = min(fitting, key=lambda number: abs(number - usual))
    return Choice(value, f"{value} answers to each prompt, which divides the {total} of a step.")


def _fewest(config: RunConfig) -> int:
    """Rows that must at least be in a batch."""
    compares = OBJECTIVES[config.method.objective].form is Labelled
    return 2 if compares and config.method.loss_type != "apo_zero_unpaired" else 1
