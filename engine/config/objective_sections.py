"""Settings that only some objectives have: learning from better and worse answers, and learning by rewards."""

from __future__ import annotations

from typing import Literal

from engine.config.section import Section, setting

REWARDS = ("exact", "numeric", "regex", "tags", "length", "json")
"""Reward functions that come with finetui; every other name is a function of ``reward_file``."""


class Preference(Section):
    """Learning from better and worse answers (dpo, kto, orpo, reward)."""

    precompute_ref_log_probs: bool | None = setting(
        None,
        "Score the data once with the untrained model, instead of keeping it in memory for comparison. It saves the memory of a "
        "second model when every weight is trained, and costs one reading of the data before the first step. An adapter needs "
        "neither: the untrained model is the same one with the adapter switched off.",
    )
    label_smoothing: float = setting(
        0.0,
        "Share of the pairs whose better and worse answer may be mixed up. Raise it for data judged in a hurry; it needs the "
        "loss robust (or exo_pair), and weakens what is learnt from the rest.",
        usual="0 to 0.1",
        ge=0,
        lt=0.5,
    )
    desirable_weight: float | None = setting(
        None,
        "How much a good answer counts. Raise it where good answers are rare, so that both kinds weigh about the same.",
        usual="1 to 4",
        gt=0,
        le=1000,
    )
    undesirable_weight: float | None = setting(
        None,
        "How much a bad answer counts. Raise it where bad answers are rare.",
        usual="1 to 4",
        gt=0,
        le=1000,
    )
    center_rewards_coefficient: float = setting(
        0.01,
        "Keeps the scores of a reward model around zero, so that they can be compared between runs. 0 switches it off.",
        usual="0 to 0.01",
        ge=0,
        le=10,
    )


class Rewards(Section):
    """What a good answer is, where the model makes up answers and learns from their scores (grpo, rloo)."""

    reward_funcs: list[str] | None = setting(
        None,
        "What is rewarded: exact (the right answer, word by word), numeric (the right number, also behind GSM8K's ####), regex, "
        "tags, length, json, or the name of a function in reward_file. Several are added up.",
        min_length=1,
        max_length=20,
    )
    reward_weights: list[float] | None = setting(
        None,
        "How much each of reward_funcs counts, in their order. Without it each counts 1.",
        usual="0.1 to 1",
    )
    reward_file: str | None = setting(
        None,
        "A Python file of yours with reward functions: def reward(completions, **columns) returns one number for each answer. "
        "The columns of the dataset arrive by name. Its code runs on this machine as you.",
    )
    reward_pattern: str | None = setting(
        None,
        "The regular expression that regex looks for anywhere in the answer; finding it earns 1, else 0.",
    )
    reward_tags: list[str] = setting(
        ["think", "answer"],
        "The tags that the reward 'tags' wants once each and in this order, as <think> ... </think>; each earns its share of 1.",
        min_length=1,
        max_length=10,
    )
    reward_length: int = setting(
        200,
        "How many characters an answer may have for the full reward 'length'; twice as long earns nothing.",
        "characters",
        "50 to 2000",
        ge=1,
        le=1_000_000,
    )
    reward_time_limit: float = setting(
        30.0,
        "How long a reward function may take for one batch of answers before the run ends with a message. The card idles meanwhile.",
        "seconds",
        "5 to 60",
        gt=0,
        le=3600,
    )


class Generation(Section):
    """How answers are made up in training by rewards (grpo, rloo)."""

    num_generations: int | None = setting(
        None,
        "How many answers are made up to each prompt and compared with each other. More tells better what is good, and takes "
        "time in proportion. The answers of a step must be a multiple of it.",
        usual="4 to 16",
        ge=2,
        le=256,
    )
    max_completion_length: int | None = setting(
        None,
        "Longest answer that is made up; longer ones are cut and seldom rewarded. Making answers is most of the time of a run, "
        "so keep it as short as good answers are.",
        "tokens",
        "256 to 2048",
        ge=1,
        le=131_072,
    )
    temperature: float = setting(
        1.0,
        "How adventurous made-up answers are. Lower it if they are nonsense; too low and all answers are alike, so nothing can be "
        "learnt from comparing them.",
        usual="0.7 to 1.2",
        gt=0,
        le=5,
    )
    top_p: float = setting(
        1.0,
        "Choose among the likeliest words that together have this probability.",
        usual="0.9 to 1",
        gt=0,
        le=1,
    )
    num_iterations: int = setting(
        1,
        "How often the same made-up answers are learnt from. More saves the time of making new ones, but they grow stale.",
        usual="1 to 4",
        ge=1,
        le=100,
    )
    epsilon: float = setting(
        0.2,
        "How far one step may change the probability of a word; guards against leaps.",
        usual="0.1 to 0.3",
        gt=0,
        lt=1,
    )
    scale_rewards: Literal["group", "batch", "none"] = setting(
        "group",
        "What rewards are measured against: the spread among the answers to the same prompt, in the whole batch, or not at all. "
        "none favours neither easy nor hard prompts.",
    )
    mask_truncated_completions: bool = setting(
        False,
        "Learn nothing from answers that were cut off. Switch on when many are, instead of punishing them.",
    )
