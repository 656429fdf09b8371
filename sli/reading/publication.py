"""One publication of a store, opened for reading: the newest one, or the one believed at an earlier instant.

Every table is read at the version that the publication rests on, so runs that publish meanwhile change nothing. Limit:
the versions of an earlier publication are kept for a while only; see `sli/publishing/past.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import iso
from sli.config.arguments import When, instant_of
from sli.config.entries import Context, PythonSli, built_in, parse_slis
from sli.config.model import Config
from sli.errors import ConfigError, StoreError, nearest
from sli.logs.files import Inputs
from sli.planning.published import Published
from sli.publishing.delta_tables import Table, Within
from sli.publishing.past import READ_INSTEAD, old_versions, publication_at
from sli.publishing.store import Store
from sli.slis import Sli
from sli.slis.formula import Objective

KEPT_SLICES, KEPT_BYTES = 8, 256 << 20
_ONE_SLICE = re.compile(r'\bslice == |\bslice_by == ""')
"""In the condition for the tiles of a single slice."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a config reads of its store."""

    config: Config
    store: Store
    published: Published
    version: int
    """Of the table of results."""
    past: bool
    """Whether it is an earlier one than the newest."""
    _tables: dict[str, Table | None] = field(default_factory=dict, repr=False, compare=False)
    """The tables that are open."""
    kept_tiles: dict[str, pa.Table] | None = None
    """The hour tiles of the last slices asked for, which then stay in memory; None: nothing stays."""

    def rows(
        self,
        name: str,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table, chosen as in `Store.rows`. Raises StoreError."""
        if name == "tiles" and self.kept_tiles is not None and only is not None and _ONE_SLICE.search(str(only)):
            return self._of_kept(self.kept_tiles, columns, only, within)
        with self._versions():
            return self.store.table_rows(name, self.table(name), columns, only, within)

    def table(self, name: str) -> Table | None:
        """A table at the version of this publication, or None if it has no rows yet. Raises StoreError."""
        if name not in self._tables:
            with self._versions():
                self._tables[name] = self._opened(name)
        return self._tables[name]

    def _opened(self, name: str) -> Table | None:
        if name != "results":
            return self.store.published_table(name, self.published)
        table = self.store.tables.open(name, self.version)
        if table is None:
            raise self.store.missing_version(name, self.version)
        return table

    def _of_kept(
        self, kept: dict[str, pa.Table], columns: Collection[str] | None, only: pc.Expression, within: Within
    ) -> pa.Table:
        """Rows of the tiles of one slice, which are read once: a file holds a day, and a year has many."""
        rows = kept.pop(str(only), None)
        if rows is None:
            with self._versions():
                rows = self.store.table_rows("tiles", self.table("tiles"), None, only).combine_chunks()
        kept[str(only)] = rows
        while len(kept) > 1 and (len(kept) > KEPT_SLICES or sum(table.nbytes for table in kept.values()) > KEPT_BYTES):
            kept.pop(next(iter(kept)), None)
        if columns is not None:
            rows = rows.select([name for name in rows.schema.names if name in columns])
        for column, _, value in within:
            rows = rows.filter(pc.field(column).isin([value] if isinstance(value, str) else value))
        return rows

    def believed(self, as_of: int) -> Publication:
        """The publication that was believed at an instant, this one or one before it. Raises SliError."""
        results = self.table("results")
        if as_of >= self.published.as_of or results is None:
            return self
        version, published = publication_at(self.store, self.published, self.store.publications(results), as_of)
        return replace(
            self,
            published=published,
            version=version,
            past=True,
            _tables={},
            kept_tiles=None if self.kept_tiles is None else {},
        )

    def inputs(self) -> Inputs:
        """The files that its run saw. Raises StoreError."""
        with self._versions():
            return Inputs.of_rows(self.store.table_rows("inputs", self.table("inputs")))

    def _versions(self) -> AbstractContextManager[None]:
        return old_versions(self.store, self.published) if self.past else nullcontext()

    def sli(self, name: str) -> Sli:
        """An SLI of the config, or a built-in one, whose states the tiles have. Raises ConfigError.

        In an earlier publication it has the objective of then. One that had another definition is refused.
        """
        declared = {sli.name: sli for sli in self.config.declared}
        sli = declared[name] if name in declared else _undeclared([*declared], self.config.context, name)
        states = sli.formula.states.items()
        if lacking := [own for own, state in states if state.id not in self.published.states and state.merges]:
            raise ConfigError(
                f"the tiles lack what '{name}' needs",
                where="SLI",
                found=f"no {', '.join(lacking)}",
                todo="`sli run CONFIG` once" if name in declared else "list it under `slis` and run once",
            )
        if isinstance(sli, PythonSli):
            sli.load()
        if not self.past or name not in self.published.series:
            return sli
        if self.published.series[name] != self.config.definition(sli):
            raise ConfigError(
                f"'{name}' had another definition at that time",
                where="as_of",
                expected="the same declaration, `level`, `min_support` and `top` as now",
                found=f"others in the run as of {iso(self.published.as_of)}",
                todo=READ_INSTEAD,
            )
        text = self.published.objectives.get(name)
        return replace(sli, objective=None if text is None else Objective(text))


_PINNED: ContextVar[Publication | None] = ContextVar("pinned", default=None)


@contextmanager
def pinned(publication: Publication) -> Iterator[None]:
    """A context in which this publication is read wherever its store is opened, by this thread.

    So that what is asked one after another comes from one publication.
    """
    token = _PINNED.set(publication)
    try:
        yield
    finally:
        _PINNED.reset(token)


def opened(config: Config, as_of: When = None) -> Publication:
    """The publication that a config reads: the newest one, or the one that was believed at `as_of`. Raises SliError."""
    publication = newest_or_none(config)
    if publication is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    if as_of is not None:
        publication = publication.believed(instant_of(config.zone, "as_of", as_of))
    check_fits(publication)
    return publication


def check_fits(publication: Publication) -> None:
    """Raise SliError if tiles of this publication cannot be read with its config."""
    published, past = publication.published, publication.past
    published.check_current(publication.store.root)
    if published.base != publication.config.base:
        when = f"was published as of {iso(published.as_of)}" if past else "is published"
        todo = READ_INSTEAD if past else "`sli run CONFIG` first"
        raise ConfigError(f"the config differs from what {when}", where="CONFIG", todo=todo)


def newest_or_none(config: Config) -> Publication | None:
    """The pinned or else the newest publication, whatever config made it; None before the first. Raises StoreError."""
    pin = _PINNED.get()
    if pin is not None and pin.config.store == config.store:
        return replace(pin, config=config)
    store = Store(config.store, config.storage)
    results = store.results()
    published = store.published_state(results)
    if published is None or results is None:
        return None
    version = results.version
    return Publication(
        config=config, store=store, published=published, version=version, past=False, _tables={"results": results}
    )


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
