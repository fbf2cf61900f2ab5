"""What can be learnt: for each objective the data it wants, its settings, its usual values, and what to watch.

The trainers themselves are in engine.train.objectives; this is what screens and the configuration know of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.choice import Choice
from engine.data.forms import Conversation, Form, Labelled, Objective, Preference, PromptOnly, Text

Better = Literal["up", "down", ""]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number the trainer logs beside the loss.

    Attributes:
        name: As TRL logs it; the same with ``eval_`` in evaluations.
        words: What it is, a few words for the chart.
        better: Where it should go; empty where it only tells.
    """

    name: str
    words: str
    better: Better = ""


@dataclass(frozen=True, slots=True)
class About:
    """An objective.

    Attributes:
        id: Its name in run.yaml.
        title: What people would say.
        words: What happens, one sentence.
        form: What an example is.
        settings: Its own keys of run.yaml, beside those every objective has.
        losses: Values of ``loss_type``; the first is the usual one.
        full_rate: Learning rate when the weights themselves are trained.
        lora_rate: Learning rate of an adapter.
        beta: Usual ``beta``; None where it has none.
        metrics: What to watch beside the loss, the most telling first.
        best_by: The evaluation metric by which the best checkpoint is told.
        higher_is_better: Of that metric.
        talks: The result answers questions; a reward model scores answers instead.
    """

    id: Objective
    title: str
    words: str
    form: type[Form]
    settings: tuple[str, ...]
    losses: tuple[str, ...]
    full_rate: float
    lora_rate: float
    beta: float | None
    metrics: tuple[Metric, ...]
    best_by: str = "eval_loss"
    higher_is_better: bool = False
    talks: bool = True


_REWARDS = (
    Metric("rewards/accuracies", "pairs where the better answer scores higher", "up"),
    Metric("rewards/margins", "distance between better and worse answers", "up"),
    Metric("rewards/chosen", "score of the better answers"),
    Metric("rewards/rejected", "score of the worse answers", "down"),
)
_LOGPS = (
    Metric("logps/chosen", "log-probability of the better answers"),
    Metric("logps/rejected", "log-probability of the worse answers"),
)
_ONLINE = (
    Metric("reward", "mean reward of the made-up answers", "up"),
    Metric("reward_std", "spread of the rewards"),
    Metric("frac_reward_zero_std", "prompts whose answers all score the same, so nothing is learnt", "down"),
    Metric("kl", "distance from the untrained model"),
    Metric("entropy", "how undecided the model is"),
    Metric("completions/mean_length", "tokens of an answer"),
    Metric("completions/clipped_ratio", "answers cut off at the longest length", "down"),
    Metric("completions/min_length", "tokens of the shortest answer"),
    Metric("completions/max_length", "tokens of the longest answer"),
)
_IMITATION = (Metric("mean_token_accuracy", "tokens guessed right", "up"),)
_MADE_UP = (
    "reward_funcs", "reward_weights", "reward_file", "reward_pattern", "reward_tags", "reward_length", "reward_time_limit",
    "num_generations", "max_completion_length", "temperature", "top_p", "num_iterations", "epsilon",
    "mask_truncated_completions",
)  # fmt: skip

OBJECTIVES: dict[Objective, About] = {
    about.id: about
    for about in (
        About(
            "sft", "Imitate answers", "The model learns to answer as the dataset does (supervised fine-tuning).",
            Conversation, ("loss_type", "neftune_noise_alpha", "packing", "group_by_length"), ("nll", "dft"), 2e-5, 2e-4, None, _IMITATION,
        ),
        About(
            "cpt", "Read texts", "The model goes on reading raw text, as it did when it was made (continued pre-training).",
            Text, ("loss_type", "neftune_noise_alpha", "packing", "group_by_length"), ("nll", "dft"), 1e-5, 1e-4, None, _IMITATION,
        ),
        About(
            "dpo", "Prefer the better of two answers",
            "The model learns to make better answers likelier and worse ones less likely than before (DPO).",
            Preference, ("loss_type", "beta", "precompute_ref_log_probs", "label_smoothing"),
            ("sigmoid", "ipo", "hinge", "robust", "exo_pair", "apo_zero", "apo_down", "sigmoid_norm"),
            1e-6, 1e-5, 0.1, (*_REWARDS, *_LOGPS, *_IMITATION),
        ),
        About(
            "kto", "Learn from thumbs up and down", "The model learns from single answers marked good or bad (KTO).",
            Labelled, ("loss_type", "beta", "precompute_ref_log_probs", "desirable_weight", "undesirable_weight"),
            ("kto", "apo_zero_unpaired"), 1e-6, 1e-5, 0.1,
            (
                *_REWARDS[1:],
                Metric("kl", "distance from the untrained model"),
                *_LOGPS,
            ),
        ),
        About(
            "orpo", "Imitate and prefer at once",
            "The model imitates the better answers and turns away from the worse ones in one go, also from a base model (ORPO).",
            Preference, ("beta", "neftune_noise_alpha"), (), 5e-6, 2e-5, 0.1,
            (
                *_REWARDS, Metric("nll_loss", "how surprising the better answers are", "down"),
                Metric("log_odds_chosen", "how much likelier better answers are", "up"), *_LOGPS,
            ),
        ),
        About(
            "reward", "Score answers", "The model becomes a judge that gives each answer a score (reward model).",
            Preference, ("center_rewards_coefficient",), (), 1e-5, 1e-4, None,
            (
                Metric("accuracy", "pairs where the better answer scores higher", "up"),
                Metric("margin", "distance between better and worse answers", "up"),
                Metric("mean_reward", "mean score"), Metric("min_reward", "lowest score"),
                Metric("max_reward", "highest score"),
            ),
            talks=False,
        ),
        About(
            "grpo", "Earn rewards", "The model makes up several answers to each prompt, and learns from the better scored (GRPO).",
            PromptOnly, ("loss_type", "beta", *_MADE_UP, "scale_rewards"),
            ("dapo", "grpo", "dr_grpo", "bnpo"), 1e-6, 1e-5, 0.0, _ONLINE, "eval_reward", True,
        ),
        About(
            "rloo", "Earn rewards, compared with the other answers",
            "As earning rewards, measured against the mean of the other answers to the same prompt (RLOO).",
            PromptOnly, ("beta", *_MADE_UP), (), 1e-6, 1e-5, 0.05, _ONLINE, "eval_reward", True,
        ),
    )
}  # fmt: skip

OWN_SETTINGS = frozenset(key for about in OBJECTIVES.values() for key in about.settings)
"""Keys of run.yaml that not every objective has."""


def shown_metric(objective: Objective, name: str) -> bool:
    """Whether a logged number goes into the metric events of a run; rewards of single functions are named by the user."""
    if any(metric.name == name for metric in OBJECTIVES[objective].metrics):
        return True
    return OBJECTIVES[objective].form is PromptOnly and name.startswith("rewards/")


def users_of(key: str) -> list[str]:
    """The objectives that have a setting of their own by this key."""
    return [name for name, about in OBJECTIVES.items() if key in about.settings]


def choose_rate(objective: Objective, tuning: str, params_b: float | None) -> Choice[float]:
    """The learning rate to start with: an adapter takes about ten times that of the weights themselves."""
    about = OBJECTIVES[objective]
    if tuning != "lora":
        start = "Training the weights themselves takes small steps"
        more = "" if objective == "sft" else f", and {objective} usually {about.full_rate:g}"
        return Choice(about.full_rate, f"{start}{more}.", (about.full_rate / 2, about.full_rate * 2.5))
    if objective == "sft":
        if params_b is not None and params_b >= 13:
            return Choice(1e-4, f"LoRA on a large model ({params_b:.0f} billion parameters).", (2e-4, 5e-5))
        return Choice(2e-4, "The usual rate for LoRA, ten times that of full fine-tuning.", (1e-4, 5e-4))
    why = {
        "cpt": "Usual for LoRA on raw text",
        "reward": "Usual for LoRA on a reward model",
        "orpo": "Usual for LoRA with orpo, which also imitates: more than dpo, less than sft",
    }.get(
        objective,
        f"Usual for LoRA with {objective}: far less than sft takes, because answers must change only a little",
    )
    return Choice(about.lora_rate, f"{why}.", (about.lora_rate / 2, about.lora_rate * 2))
