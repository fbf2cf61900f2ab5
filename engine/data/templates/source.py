"""Which template a run uses: the model's own, one of the catalogue, or a file."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.choice import Choice
from engine.data.templates import catalogue
from engine.data.templates.catalogue import Family
from engine.data.templates.sandbox import ChatTemplate
from engine.display import printable
from engine.errors import UserError

FALLBACK = "chatml"
"""For base models, which have no template of their own."""


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A template and what is known of it.

    Attributes:
        text: The template, as it is saved with the result.
        where: Where it comes from, for messages.
        title: Its name for people.
        own: The model brought it.
        family: Its place in the catalogue; None for a foreign one.
        choice: Why it is used; its value is what ``chat_template`` in run.yaml would say.
    """

    text: str
    where: str
    title: str
    own: bool
    family: Family | None
    choice: Choice[str]

    @property
    def ends(self) -> tuple[str, ...]:
        """End-of-turn tokens known of it, the usual one first; empty where the model's own end token serves."""
        return self.family.end if self.family is not None else ()

    def missing(self, vocabulary: Collection[str]) -> tuple[str, ...]:
        """Tokens the template needs that the vocabulary lacks; a model's own template brings its tokens along."""
        if self.family is None or self.own:
            return ()
        return tuple(token for token in self.family.tokens if token not in vocabulary)

    def compiled(self) -> tuple[ChatTemplate, ChatTemplate | None]:
        """The template, and the one with generation tags (the same, or its copy for training) where there is one.

        Raises:
            UserError: It is not valid Jinja.
        """
        template = _compile(self.text, self.where)
        if template.has_tags:
            return template, template
        copy = catalogue.training_copy(self.text)
        marked = _compile(copy, self.where) if copy is not None else None
        return template, marked if marked is not None and marked.has_tags else None


_CACHED = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")  # a folder of the Hub's cache
_compile = lru_cache(32)(ChatTemplate)  # compiling a long template takes a tenth of a second


def find_template(chat_template: str, own: tuple[str, str] | None, model: str = "") -> TemplateSource:
    """The template that a setting means for a model.

    Args:
        chat_template: ``model``, a name of the catalogue, or the path of a Jinja file.
        own: The model's own template and where it is from; None for a model without.
        model: Id or folder of the model, by which a known one without template is told.

    Raises:
        UserError: There is no such template.
    """
    if chat_template == "model":
        if own is not None:
            return _own(*own)
        choice = recommend(None, model)
        found = catalogue.family(choice.value)
        assert found is not None
        return _of(found, choice)
    found = catalogue.family(chat_template)
    if found is not None and not Path(chat_template).is_file():
        if not found.available:
            raise UserError(
                f"The template {found.title} comes with the training packages, which are not installed here.",
                f"chat_template {found.name}",
                "Install them: pip install 'finetui[train]'   or choose another template.",
            )
        return _of(found, _asked(found.name, found.title, own))
    return _file(chat_template, own)


def recommend(own: tuple[str, str] | None, model: str = "") -> Choice[str]:
    """Which template suits a model, and why."""
    from engine.models import catalogue as models

    if own is not None:
        known = catalogue.recognise(own[0])
        name = f" ({known.title})" if known else ""
        return Choice(
            "model",
            f"The model brings its own template{name}; it was trained with it, so it learns fastest and forgets least.",
            (FALLBACK,),
        )
    cached = _CACHED.search(model)
    model = f"{cached[1]}/{cached[2]}" if cached else model
    listed = models.find(model) or models.find_by_name(Path(model).name)
    found = catalogue.family(listed.template) if listed is not None and listed.template else None
    if found is not None and found.available and listed is not None and listed.tuned:
        return Choice(
            found.name,
            f"The model brings no template, but {listed.id} is known to use {found.title}.",
            (FALLBACK,),
        )
    fallback = catalogue.family(FALLBACK)
    assert fallback is not None
    return Choice(
        FALLBACK,
        f"This is a base model without a chat template: ChatML is used, and its marks {' and '.join(fallback.tokens)} "
        "become tokens that it learns.",
        tuple(other.name for other in catalogue.families() if other.available and not other.tokens),
    )


def _own(text: str, where: str) -> TemplateSource:
    known = catalogue.recognise(text)
    title = f"the model's own ({known.title if known else _looks_like(text) or printable(where, 60)})"
    return TemplateSource(text, where, title, True, known, recommend((text, where)))


def _of(found: Family, choice: Choice[str]) -> TemplateSource:
    return TemplateSource(found.text, f"template {found.name}", found.title, False, found, choice)


def _asked(name: str, title: str, own: tuple[str, str] | None) -> Choice[str]:
    """The user's own choice; where the model brings a template, that is the better one."""
    words = f"{title}, as asked."
    if own is not None:
        return Choice(
            name,
            f"{words} The model was trained with its own template, which it need not learn again.",
            ("model",),
        )
    return Choice(name, words)


def _file(path: str, own: tuple[str, str] | None) -> TemplateSource:
    try:
        text = Path(path).expanduser().read_text("utf-8")
    except (OSError, ValueError) as error:
        near = _near(path)
        raise UserError(
            f"The chat template cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}.",
            printable(path, 300),
            f"Did you mean {near}?"
            if near
            else "Give a .jinja file, 'model' for the model's own, or a name of the catalogue such as chatml.",
        ) from None
    title = printable(Path(path).name, 60)
    choice = _asked(path, f"The file {title}", own)
    return TemplateSource(text, path, title, False, catalogue.recognise(text), choice)


def _near(name: str) -> str:
    import difflib

    names = [known for found in catalogue.families() for known in (found.name, *found.aliases)]
    return next(iter(difflib.get_close_matches(Path(name).name.lower(), names, 1)), "")


def _looks_like(text: str) -> str:
    """The style of a template that is in no catalogue, by its marks."""
    marks = {
        "<|im_start|>": "ChatML",
        "<|start_header_id|>": "Llama 3",
        "<start_of_turn>": "Gemma",
        "[INST]": "Mistral",
    }
    return next((f"{style} style" for mark, style in marks.items() if mark in text), "")
