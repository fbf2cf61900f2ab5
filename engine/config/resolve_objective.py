"""Filling in what only some objectives have."""

from __future__ import annotations

from engine.advise.choose_objective import Seen, choose_rewards, choose_weight
from engine.advise.objectives import OBJECTIVES
from engine.choice import Choice
from engine.config.filling import Filling
from engine.config.objective_sections import REWARDS
from engine.config.schema import RunConfig
from engine.data.forms import Labelled, PromptOnly
from engine.errors import UserError


def fill_objective(filling: Filling, layers: int | None, seen: Seen | None) -> None:
    """What is learnt, from what, and by which measure: what most of the memory depends on.

    Raises:
        UserError: Nothing says what a good answer is, or the model has fewer layers than are to be trained.
    """
    config = filling.config
    objective, tuning = config.method.objective, config.method.tuning
    about = OBJECTIVES[objective]
    if tuning == "freeze":
        filling.fill("freeze_trainable_layers", lambda: choose_layers(layers))
        _require_layers(filling.config.method.freeze_trainable_layers or 0, layers)
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


def _require_layers(trained: int, layers: int | None) -> None:
    """Before anything is downloaded; the trainer looks again at the model itself."""
    if layers is not None and trained > layers:
        raise UserError(
            f"The model has {layers} layers, and {trained} of them are to be trained.",
            "freeze_trainable_layers",
            f"Choose at most {layers}, or --tuning full.",
        )


def epochs(config: RunConfig, rows: int) -> Choice[float] | None:
    """How often the data are read, where that differs from imitation; None where it does not."""
    objective = config.method.objective
    if objective == "reward":
        return Choice(1.0, "A judge soon learns pairs by heart, so they are read once.", (2.0,))
    if OBJECTIVES[objective].form is PromptOnly:
        return Choice(1.0, f"Each of {rows:,} prompts is tried once, with several answers.", (2.0, 3.0))
    return None


def choose_layers(layers: int | None) -> Choice[int]:
    """How many of a model's layers ``freeze`` trains."""
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
