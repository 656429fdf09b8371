"""One publication of a store, opened for reading: the newest one, or the one believed at an earlier instant.

Every table is read at the version that the publication rests on, so runs that publish meanwhile change nothing. Limit:
the versions of an earlier publication are kept for a while only; see `sli/publishing/past.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import iso
from sli.config.arguments import When, instant_of
from sli.config.entries import Context, PythonSli, built_in, parse_slis
from sli.config.model import Config
from sli.errors import ConfigError, StoreError, nearest
from sli.logs.files import Inputs
from sli.planning.published import Published
from sli.publishing.past import READ_INSTEAD, old_versions, publication_at
from sli.publishing.store import Store, Within
from sli.slis import Sli
from sli.slis.formula import Objective


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a config reads of its store."""

    config: Config
    store: Store
    published: Published
    past: bool
    """Whether it is an earlier one than the newest."""

    def rows(
        self,
        name: str,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table other than `results`, chosen as in `Store.rows`. Raises StoreError."""
        with self._versions():
            return self.store.rows(name, self.published, columns, only, within)

    def inputs(self) -> Inputs:
        """The files that its run saw. Raises StoreError."""
        with self._versions():
            return self.store.inputs(self.published)

    def _versions(self) -> AbstractContextManager[None]:
        return old_versions(self.store, self.published) if self.past else nullcontext()

    def sli(self, name: str) -> Sli:
        """An SLI of the config, or a built-in one, whose states the tiles have. Raises ConfigError.

        In an earlier publication it has the objective of then. One that had another definition is refused.
        """
        sli = sli_of(self.config.declared, self.config.context, self.published, name)
        if not self.past or name not in self.published.series:
            return sli
        if self.published.series[name] != self.config.definition(sli):
            raise ConfigError(
                f"'{name}' was declared in another way at that time",
                where="as_of",
                found=f"another definition in the run as of {iso(self.published.as_of)}",
                todo=READ_INSTEAD,
            )
        text = self.published.objectives.get(name)
        return replace(sli, objective=None if text is None else Objective(text))


def opened(config: Config, as_of: When = None) -> Publication:
    """The publication that a config reads: the newest one, or the one that was believed at `as_of`. Raises SliError."""
    store = Store(config.store, config.storage)
    results = store.results()
    newest = store.published_state(results)
    if newest is None or results is None:
        raise StoreError("nothing is published yet", where=store.root, todo="`sli run CONFIG` first")
    published = newest
    if as_of is not None:
        instant = instant_of(config.zone, "as_of", as_of)
        published = publication_at(store, newest, store.publications(results), instant)
    past = published is not newest
    published.check_current(store.root)
    if published.base != config.base:
        when = f"was published as of {iso(published.as_of)}" if past else "is published"
        todo = READ_INSTEAD if past else "`sli run CONFIG` first"
        raise ConfigError(f"the config differs from what {when}", where="CONFIG", todo=todo)
    return Publication(config=config, store=store, published=published, past=past)


def sli_of(declared: Sequence[Sli], context: Context, published: Published, name: str) -> Sli:
    """An SLI of the config, or a built-in one, whose states are all in the tiles. Raises ConfigError."""
    names = [sli.name for sli in declared]
    sli = declared[names.index(name)] if name in names else _undeclared(names, context, name)
    missing = [
        state_name
        for state_name, state in sli.formula.states.items()
        if state.id not in published.states and state.kind != "window"
    ]
    if missing:
        raise ConfigError(
            f"the tiles lack what '{name}' needs",
            where="SLI",
            found=f"no {', '.join(missing)}",
            todo="`sli run CONFIG` once" if name in names else "list it under `slis` and run once",
        )
    if isinstance(sli, PythonSli):
        sli.load()
    return sli


def _undeclared(names: Sequence[str], context: Context, name: str) -> Sli:
    """A built-in SLI without parameters. Raises ConfigError."""
    try:
        built_in(name, context.task)
    except ConfigError as error:
        raise ConfigError(
            f"there is no SLI '{name}'",
            where="SLI",
            expected=f"one of the config ({', '.join(names)}), or a built-in one",
            todo=nearest(name, names) or error.todo,
        ) from error
    try:
        return parse_slis([name], context)[0]
    except ConfigError as error:
        error.where, error.todo = "SLI", f"list it under `slis`: {error.todo}".removesuffix(": ")
        raise
