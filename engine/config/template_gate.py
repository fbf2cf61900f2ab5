"""No run starts that would learn nothing or never learn to stop, unless the user says so."""

from __future__ import annotations

from typing import Any

from engine.choice import Choice
from engine.config.schema import RunConfig
from engine.errors import UserError

ROWS = 200  # looked at before a start; the trainer looks at all of them


def require_good_template(config: RunConfig) -> None:
    """Look at the first rows through the chat template, where the model's tokenizer is on this machine.

    Raises:
        UserError: The verdict is bad, or the rows or the template cannot be used; it names the way around.
    """
    from engine.data.dataset import peek
    from engine.data.render import Renderer
    from engine.data.sources import is_hub_id
    from engine.data.templates.scan import Scanner, judge, refuse
    from engine.data.templates.verify import verify
    from engine.models.folder import inspect_model

    if config.template.allow_bad_template or config.method.objective != "sft":
        return
    model = config.model.model_name_or_path
    folder = inspect_model(model).folder
    if folder is None or not (folder / "tokenizer.json").is_file():
        return  # the trainer looks, once transformers has made the tokenizer
    first = config.data.train_specs()[0]
    if is_hub_id(first.path):
        return  # the trainer looks, once the rows are on this disk
    renderer = Renderer(folder, config.template.chat_template, model)
    rows = [row for _, row in peek(first, ROWS).examples]
    scanner = Scanner(renderer, config.training.max_length, config.template.assistant_only_loss)
    for row in rows:
        scanner.add(row)
    conversational = any("messages" in row for row in rows)
    verdict = judge(verify(renderer) if conversational else (), scanner.result)
    if verdict.bad:
        raise refuse(verdict, renderer.source.title)


def template_choice(config: RunConfig) -> dict[str, Choice[Any]]:
    """Why the run's template is used, where the model is on this machine and the choice was left to finetui."""
    from engine.data.templates.source import recommend
    from engine.models.chat_template import read_chat_template
    from engine.models.folder import inspect_model

    if config.template.chat_template != "model":
        return {}
    model = config.model.model_name_or_path
    try:
        folder = inspect_model(model).folder
        choice = recommend(read_chat_template(folder), model) if folder is not None else None
    except UserError:  # whoever uses the model says it better
        return {}
    return {} if choice is None else {"chat_template": choice}
