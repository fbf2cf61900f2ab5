"""Filling in what only some objectives have, and what they change about batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.advise.choose_objective import Seen, choose_rewards, choose_weight
from engine.advise.objectives import OBJECTIVES
from engine.choice import Choice
from engine.config.filling import Filling
from engine.config.objective_sections import REWARDS
from engine.config.schema import ORDINARY_LENGTH, RunConfig
from engine.data.forms import Labelled, PromptOnly
from engine.errors import UserError

PROMPTS_A_STEP = 4  # prompts whose made-up answers are compared between two changes of the model
LONGEST_ANSWER = 512  # tokens


def before_batch(filling: Filling, layers: int | None, seen: Seen | None) -> None:
    """Everything that the size of a batch depends on.

    Raises:
        UserError: Nothing says what a good answer is.
    """
    config = filling.config
    objective, tuning = config.method.objective, config.method.tuning
    about = OBJECTIVES[objective]
    if tuning == "freeze":
        filling.fill("freeze_trainable_layers", lambda: _layers(layers))
    if objective not in ("sft", "cpt") and about.losses:
        usual = about.losses[0]
        filling.fill("loss_type", lambda: Choice(usual, f"The usual loss of {objective}.", about.losses[1:]))
    if about.beta is not None:
        filling.fill("beta", lambda: _beta(config))
    if "precompute_ref_log_probs" in about.settings:
        filling.fill("precompute_ref_log_probs", lambda: _precompute(tuning))
    if about.form is Labelled:
        share = seen.good_share if seen else None
        filling.fill("desirable_weight", lambda: choose_weight(share, True))
        filling.fill("undesirable_weight", lambda: choose_weight(share, False))
    if about.form is PromptOnly:
        filling.fill("reward_funcs", lambda: _rewards(config, seen))
        filling.fill("max_completion_length", lambda: _answer_length(filling.config))
        filling.fill("num_generations", lambda: _generations(filling.config))


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
        texts = choose(max(2, wanted))
        if texts.value < 2 and config.method.loss_type != "apo_zero_unpaired":
            return Choice(2, "kto compares each answer with another one of its batch, so 2 is the least.")
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


def accumulation(at_once: int, generations: int, rows: int = PROMPTS_A_STEP) -> Choice[int]:
    """As many batches as hold all answers to a few prompts, no more than there are."""
    steps = max(1, round(min(PROMPTS_A_STEP, rows) * generations / at_once))
    while steps * at_once % generations:
        steps += 1
    total = steps * at_once
    return Choice(steps, f"{total} answers a step, {generations} to each of {total // generations} prompts.")


def epochs(config: RunConfig, rows: int) -> Choice[float] | None:
    """How often the data are read, where that differs from imitation; None where it does not."""
    objective = config.method.objective
    if objective == "reward":
        return Choice(1.0, "A judge soon learns pairs by heart, so they are read once.", (2.0,))
    if OBJECTIVES[objective].form is PromptOnly:
        return Choice(1.0, f"Each of {rows:,} prompts is tried once, with several answers.", (2.0, 3.0))
    return None


def _layers(layers: int | None) -> Choice[int]:
    if layers is None:
        return Choice(2, "The last two layers; how many the model has is not known.", (4, 1))
    value = max(1, min(layers, round(layers / 4)))
    words = f"The last quarter of the model's {layers} layers."
    return Choice(value, words, (min(layers, 2 * value), 1))


def _beta(config: RunConfig) -> Choice[float]:
    objective = config.method.objective
    usual = OBJECTIVES[objective].beta or 0.0
    if objective == "grpo":
        return Choice(0.0, "grpo does well without comparing, which saves time.", (0.001, 0.04))
    if objective == "rloo" and config.method.tuning != "lora":
        return Choice(
            0.0, "Comparing would need a second copy of the model, because every weight may change.", (usual,)
        )
    return Choice(usual, f"The usual value for {objective}.", (usual / 2, usual * 3))


def _precompute(tuning: str) -> Choice[bool]:
    if tuning == "lora":
        return Choice(
            False,
            "With the adapter switched off the model is as it was before, so no second one is kept.",
            (True,),
        )
    return Choice(
        True,
        "The untrained model scores the data once, so that no second copy of it stays in memory.",
        (False,),
    )


def _rewards(config: RunConfig, seen: Seen | None) -> Choice[list[str]]:
    if config.rewards.reward_file is not None:
        return Choice(["reward"], "The function reward of your reward_file.")
    choice = choose_rewards(seen)
    if choice is None:
        raise UserError(
            "Nothing says what a good answer is.",
            "reward_funcs",
            f"Choose one or several of {', '.join(REWARDS)}, or give a file of your own with --reward_file. exact and numeric "
            "compare with a column answer in the data.",
        )
    return choice


def _answer_length(config: RunConfig) -> Choice[int]:
    length = config.training.max_length or ORDINARY_LENGTH
    value = max(1, min(LONGEST_ANSWER, length // 2))
    return Choice(
        value,
        f"{value:,} of the {length:,} tokens of max_length; making answers takes most of the time.",
        (2 * value,),
    )


def _generations(config: RunConfig) -> Choice[int]:
    usual = 8 if config.method.objective == "grpo" else 4
    size, accumulated = (
        config.training.per_device_train_batch_size,
        config.training.gradient_accumulation_steps,
    )
    if size is None or accumulated is None:
        return Choice(usual, f"{usual} answers to each prompt tell well what is better.", (4, 16))
    total = size * accumulated * (config.training.num_processes or 1)
    fitting: list[Any] = [number for number in range(2, min(total, 16) + 1) if total % number == 0]
    if not fitting:
        return Choice(2, "The least that can be compared.")
    value = min(fitting, key=lambda number: abs(number - usual))
    return Choice(value, f"{value} answers to each prompt, which divides the {total} of a step.")
