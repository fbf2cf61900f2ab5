"""Which tensors of a checkpoint become which weights of the live model, by transformers' own rules, without loading any.

transformers renames weights while it loads them, and joins or splits some (the experts of a mixture lie one by one in the file
and as one block in the model). A merged model must have the names and shapes of its base, so the same rules are run backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.deliver.export.tensors import Stored


class Unmapped(Exception):
    """It cannot be told for certain where a weight comes from. The message says which."""


@dataclass(slots=True)
class Group:
    """Tensors of the checkpoint that together make some weights of the model.

    Attributes:
        keys: Names in the checkpoint.
        live: Names in the model.
        transform: transformers' rule that joins or splits them; None where one tensor is one weight.
        sources: What the rule is fed with: live name, checkpoint name, and the pattern that matched.
    """

    keys: list[str] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    transform: Any = None
    sources: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class BaseMap:
    """A checkpoint and the model it is loaded into.

    Attributes:
        model: On the meta device: names and shapes, no numbers.
        stored: Every tensor of the checkpoint.
        groups: By checkpoint name; names that the model does not load are missing.
        by_live: By live name.
        tied: Live names that share the weight of another one: head to embedding.
        modules: ``id`` of each module of the model to its name, as it was before an adapter was attached.
        shapes: Of every live weight, by the same names.
    """

    model: Any
    stored: dict[str, Stored]
    groups: dict[str, Group]
    by_live: dict[str, Group]
    tied: dict[str, str]
    modules: dict[int, str]
    shapes: dict[str, tuple[int, ...]]

    def convert(self, group: Group) -> dict[str, Any]:
        """The live weights of a group that has a rule, in the stored number format."""
        transform = deepcopy(group.transform)
        for live, key, pattern in group.sources:
            transform.add_tensor(live, key, pattern, self.stored[key].tensor)
        made = transform.convert(group.sources[0][0], model=self.model, config=self.model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}

    def revert(self, group: Group, live: Mapping[str, Any]) -> dict[str, Any]:
        """The checkpoint's tensors of a group from live weights.

        Raises:
            Unmapped: They are not the ones they were made from.
        """
        from transformers.core_model_loading import revert_weight_conversion

        made = revert_weight_conversion(self.model, dict(live))
        wrong = set(made) ^ set(group.keys)
        wrong |= {
            key for key in group.keys if key in made and tuple(made[key].shape) != self.stored[key].shape
        }
        if wrong:
            raise Unmapped(sorted(wrong)[0])
        return made


def meta_model(folder: Path, auto_model: str) -> Any:
    """The model of a folder without its numbers.

    Args:
        folder: With config.json.
        auto_model: The transformers class that training loaded it with.
    """
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    if auto_model == "AutoModelForSequenceClassification":
        config.num_labels = 1
    with torch.device("meta"):
        return getattr(transformers, auto_model).from_config(config, trust_remote_code=False)


def map_base(model: Any, stored: dict[str, Stored]) -> BaseMap:
    """Follow transformers' loader (`core_model_loading.convert_and_load_state_dict_in_model`) by name only.

    Args:
        model: As `meta_model` made it; gets the list of rules that were used, for going back.
        stored: Every tensor of the checkpoint.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    prefix = model.base_model_prefix
    live_names = model.state_dict()
    groups: dict[str, Group] = {}
    by_live: dict[str, Group] = {}
    first: dict[str, Group] = {}
    for key in sorted(stored, key=dot_natural_key):
        live, pattern = rename_source_key(key, renamings, converters, prefix, live_names)
        if live not in live_names and key in live_names:
            live, pattern = rename_source_key(
                key, [], [], base_model_prefix=prefix, meta_state_dict=live_names
            )
        if live not in live_names:
            continue
        group = first.setdefault(live, Group())
        if pattern is not None and group.transform is None:
            group.transform = deepcopy(by_pattern[pattern])
        group.keys.append(key)
        group.sources.append((live, key, pattern or key))
        groups[key] = group
    model._weight_conversions = [rule for rule in rules if rule.was_used()]
    for live, group in first.items():
        group.live = _targets(group, live)
        for name in group.live:
            by_live[name] = group
    modules = {id(module): name for name, module in model.named_modules()}
    shapes = {name: tuple(value.shape) for name, value in live_names.items()}
    return BaseMap(model, stored, groups, by_live, _tied(model, by_live), modules, shapes)


def _targets(group: Group, live: str) -> list[str]:
    """All live names of a group: a rule may split one tensor into several weights."""
    if group.transform is None:
        return [live]
    patterns = list(group.transform.target_patterns)
    hit = next((pattern for pattern in patterns if pattern in live), None)
    return [live] if hit is None else [live.replace(hit, pattern) for pattern in patterns]


def _tied(model: Any, by_live: Mapping[str, Group]) -> dict[str, str]:
    """Weights that are the same parameter as another one that the checkpoint has."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    tied: dict[str, str] = {}
    for same in names.values():
        owner = next((name for name in same if name in by_live), None)
        if owner is not None:
            tied |= {name: owner for name in same if name != owner}
    return tied
