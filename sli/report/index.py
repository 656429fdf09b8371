"""The pages of several models in one folder, and an index of them, the worst first.

A model whose page cannot be made stands first, with its error, and stops no other. Limit: the folder is on a disk, or
where the storage options of the first config lead.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sli.config.model import Config
from sli.config.several import Model
from sli.engine.storage import NO_OPTIONS
from sli.errors import SliError
from sli.judging.standing import Standing
from sli.report.files import check_file, check_folder, write_file
from sli.report.page import Written, rendered_template, write_report
from sli.report.words import SIGNS, facts_of

INDEX = "index.html"
WORST_FIRST = (
    "no page",
    "breached",
    "with problems",
    "nothing published",
    "no value",
    "undecided",
    "no objective",
    "met",
)


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """What came of one model: its page, or the error instead."""

    name: str
    file: str
    """The name of its page in the folder."""
    written: Written | None
    error: SliError | None = None
    served: bool = False
    """Whether its address answers even without a page: a server says there why."""

    @property
    def standing(self) -> Standing | None:
        return None if self.written is None else self.written.standing

    @property
    def state(self) -> str:
        """One of `WORST_FIRST`."""
        if self.written is None:
            return "no page"
        if self.standing is None:
            return "nothing published"
        verdicts = {one.verdict for one in self.standing.slis if one.objective is not None}
        if "breached" in verdicts:
            return "breached"
        if self.standing.problems:
            return "with problems"
        if not verdicts:
            return "no objective"
        if "no value" in verdicts:
            return "no value"
        return "met" if verdicts == {"met"} else "undecided"

    @property
    def sign(self) -> str:
        return SIGNS.get(self.state, "")

    @property
    def sentence(self) -> str:
        """What the index says of it."""
        if self.error is not None:
            return self.error.what
        return "Nothing published yet: run `sli run CONFIG`." if self.standing is None else self.standing.sentence

    @property
    def facts(self) -> str:
        return "" if self.standing is None else facts_of(self.standing)

    @property
    def problems(self) -> Sequence[str]:
        return () if self.standing is None else self.standing.problems


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The pages of several models, in the order of the models, and the index of them."""

    models: Sequence[ModelPage]
    index: Written


def write_reports(models: Sequence[Model], folder: str, tell: Callable[[ModelPage], None]) -> Pages:
    """Write a page for each model and an index into a folder. `tell` gets each page once it is written.

    Raises SliError if the folder cannot be written; an error of one model is in its page instead.
    """
    began = time.monotonic()
    storage = next((model.config.storage for model in models if isinstance(model.config, Config)), NO_OPTIONS)
    check_folder(folder, storage)
    place, pages = f"{folder.rstrip('/')}/{INDEX}", []
    for config in (model.config for model in models if isinstance(model.config, Config)):
        check_file(place, config)
    for model, file in zip(models, file_names([model.name for model in models]), strict=True):
        page = _written(model, f"{folder.rstrip('/')}/{file}", file)
        tell(page)
        pages.append(page)
    worst_first = sorted(pages, key=lambda page: WORST_FIRST.index(page.state))
    html = rendered_template("index.html", pages=worst_first).encode()
    write_file(place, html, storage)
    index = Written(path=place, bytes=len(html), seconds=time.monotonic() - began, standing=None)
    return Pages(models=pages, index=index)


def _written(model: Model, path: str, file: str) -> ModelPage:
    try:
        if isinstance(model.config, SliError):
            raise model.config
        return ModelPage(name=model.name, file=file, written=write_report(model.config, path))
    except SliError as error:
        return ModelPage(name=model.name, file=file, written=None, error=error)


def file_names(models: Sequence[str]) -> list[str]:
    """A file name for each model, no two alike.

    >>> file_names(["fraud", "fraud/eu", "fraud eu", "index"])
    ['fraud.html', 'fraud-eu.html', 'fraud-eu-2.html', 'index-2.html']
    """
    taken, names = {INDEX}, []
    for model in models:
        base = re.sub(r"[^\w.-]+", "-", model).strip("-.")[:100] or "model"
        number, name = 1, f"{base}.html"
        while name.lower() in taken:
            number += 1
            name = f"{base}-{number}.html"
        taken.add(name.lower())
        names.append(name)
    return names
