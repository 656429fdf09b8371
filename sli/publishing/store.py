"""The store: Delta tables under one root, made visible together by one commit of `results`.

That commit names the versions of the other tables that it rests on, and carries the state that the next plan needs.
What a killed run wrote to the other tables has later versions, which the next run that writes rolls back. Limit: it
reads only; see `transaction` for writing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.interval import iso
from sli.engine.storage import NO_OPTIONS, Storage
from sli.engine.stored_files import StoredFolder
from sli.errors import StoreError
from sli.logs.files import Inputs
from sli.planning.published import NO_BASE, Published
from sli.publishing import delta_tables
from sli.publishing.delta_tables import REMOVE, RESTORE, Table, Within, todo_for

UNFORCED = 3
"""How many commits of `results` may not be on the disk yet: a run changes columns and settings, then publishes."""
STATE_KEY = "sli_published"
"""The key of the published state in the metadata of a commit of `results`."""
LAYOUT: dict[str, tuple[pa.Schema, list[str]]] = {
    "tiles": (schemas.TILES, ["day"]),
    "days": (schemas.DAYS, ["month"]),
    "keys": (schemas.ID_INDEX, ["log", "week"]),
    "inputs": (schemas.INPUTS, ["week"]),
    "audit": (schemas.AUDIT, []),
    "revisions": (schemas.REVISIONS, ["grain"]),
    "runs": (schemas.RUNS, []),
    "results": (schemas.RESULTS, ["grain", "day"]),
}
"""Schema and partition columns of each table, in the order they are written: `results` last."""


class MissingVersion(StoreError):
    """A table exists, but not at the version that a publication rests on."""


class Store:
    """The tables under `root`, a folder or an s3:// prefix."""

    def __init__(self, root: str, storage: Storage = NO_OPTIONS) -> None:
        self.root, self.storage = root.rstrip("/"), storage
        self.tables = delta_tables.Tables(self.root, storage)

    def missing_table(self, name: str) -> StoreError:
        """The error to raise for a table that should exist."""
        return StoreError("a table of the store is missing", where=self.tables.uri(name), todo=todo_for(name))

    def missing_version(self, name: str, version: int) -> MissingVersion:
        """The error to raise for a table that exists, but not at a version."""
        what, found = "a table of the store lacks a version", f"its log no longer has version {version}"
        return MissingVersion(what, where=self.tables.uri(name), found=found, todo=todo_for(name))

    def published(self) -> Published | None:
        """The last published state, or None before the first publication. Raises StoreError."""
        return self.published_state(self.results())

    def results(self) -> Table | None:
        """The table of results, or None if there is no store yet. Raises StoreError if only this table is missing."""
        results = self.tables.open("results", whole=self._begun, cut=UNFORCED)
        if results is None and any(self.tables.open(name) is not None for name in LAYOUT if name != "results"):
            # `results` is created before any other table. So either another run has just created it, or it is lost.
            results = self.tables.open("results", whole=self._begun, cut=UNFORCED)
            if results is None:
                raise self.missing_table("results")
        return results

    @property
    def _begun(self) -> int:
        """The version of results that is on the disk in any case: 0 once there is another table, else -1: none."""
        others = (name for name in LAYOUT if name != "results")
        return 0 if self.tables.local and any(Path(self.tables.uri(name)).is_dir() for name in others) else -1

    def mend_results(self) -> None:
        """Remove what a power loss cut off of the log of results. Raises StoreError."""
        self.tables.mend("results", self._begun, UNFORCED)

    def published_state(self, results: Table | None) -> Published | None:
        """The last published state that an open table of results carries. Raises StoreError."""
        if results is None:
            return None
        for _, published in self.publications(results):
            return published
        if results.version > 0:
            raise StoreError("the history of `results` is lost", where=self.tables.uri("results"), todo=RESTORE)
        return None

    def publications(self, results: Table) -> Iterator[tuple[int, Published]]:
        """The published states that the history of an open table of results has, each with the version of its commit.

        The newest come first, and none is older than a repair. Raises StoreError.

        A state that `undo_after` went back to stands there twice, and what it took back stands between.
        """
        for version, state in _states(results):
            yield version, Published.from_json(state, results.uri)

    def undo_after(self, limit: int) -> Published | None:
        """Go back to the last publication as of `limit` or earlier, and return it; None if it is the newest already.

        The next run that writes rolls back the other tables, as it does after a killed run. Raises StoreError.
        """
        results = self.results()
        published = self.published_state(results)
        if results is None or published is None or published.as_of <= limit:
            return None
        for version, state in _states(results):
            before = Published.from_json(state, results.uri)
            if before.as_of <= limit:
                self._check_whole(before)
                # The state as it was stored, since `to_json` would give it the current format.
                results.restore(version, {STATE_KEY: state}, before.sequence)
                self.tables.force("results", {"results": version})
                return before
        raise StoreError("the store has no earlier publication to go back to", where=results.uri, todo=REMOVE)

    def _check_whole(self, published: Published) -> None:
        """Raise StoreError if files of an earlier publication are gone that going back to it would need."""
        folder = StoredFolder(self.root, self.storage)
        for name in published.versions:
            table = self.published_table(name, published)
            paths = [] if table is None else table.counts().column("path").to_pylist()
            files = {file.path for file in folder.files(name, deep=True)}
            if not {f"{name}/{unquote(str(path))}" for path in paths} <= files:
                raise StoreError(
                    "the store cannot go back so far",
                    where=self.tables.uri(name),
                    expected="all files of that publication: replaced files stay for `keep_files` of the config",
                    found=f"the publication as of {iso(published.as_of)} has lost some",
                    todo=REMOVE,
                )

    def rows(
        self,
        name: str,
        published: Published | None,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table: `results` at its newest version, any other table at the version that `published` names.

        `columns` (default: all) may name columns that the table lacks; `only` filters rows, `within` chooses files.
        Raises StoreError.
        """
        return self.table_rows(name, self.published_table(name, published), columns, only, within)

    def published_table(self, name: str, published: Published | None) -> Table | None:
        """A table as `rows` reads it, or None if it is not published yet. Raises StoreError."""
        version = published.versions.get(name) if published is not None else None
        table = None if name != "results" and version is None else self.tables.open(name, version)
        if table is None and version:
            raise self.missing_table(name) if self.tables.open(name) is None else self.missing_version(name, version)
        return table

    def table_rows(
        self,
        name: str,
        table: Table | None,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of an open table as `rows` returns them; none if `table` is None. Raises StoreError."""
        schema = LAYOUT[name][0]
        if table is None:
            return schema.empty_table()
        rows = table.rows(columns, only, within)
        # A store of an older format lacks columns that were added later.
        for field in schema:
            if field.name not in rows.schema.names and (columns is None or field.name in columns):
                rows = rows.append_column(field, pa.nulls(len(rows), field.type))
        return rows

    def inputs(self, published: Published | None) -> Inputs:
        """The files that the last published run saw."""
        return Inputs.of_rows(self.rows("inputs", published))


def is_mended(state: str) -> bool:
    """Whether a published state is that of a repair: what was published before rests on tables that were moved away."""
    return bool(json.loads(state).get("base") == NO_BASE)


def _states(results: Table) -> Iterator[tuple[int, str]]:
    """The published states in the history of results as they are stored, the newest first, with their versions."""
    before = 0
    # Usually the newest commit carries the state. Commits of maintenance do not, so older ones are tried, too.
    for limit in (1, 20, None):
        commits = results.history(limit)
        for commit in commits[before:]:
            if STATE_KEY in commit:
                yield commit["version"], commit[STATE_KEY]
                if is_mended(commit[STATE_KEY]):
                    return
        before = len(commits)
