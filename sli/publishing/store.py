"""The store: Delta tables under one root, made visible together by one commit of `results`.

That commit names the versions of the other tables that it rests on, and carries the state that the next plan needs.
What a killed run wrote to the other tables has later versions, which the next run that writes rolls back. Limit: like
all Delta writers on local disks it is safe against kills, but not proven safe against power loss.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.engine import panics
from sli.engine.storage import NO_OPTIONS, Storage, delta_options, message_of
from sli.errors import ConflictError, StoreError
from sli.logs.files import Inputs
from sli.planning.published import Published

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    import pyarrow.fs as pa_fs
    from deltalake import DeltaTable

    OpenTable: TypeAlias = DeltaTable

STATE_KEY = "sli_published"
"""The key of the published state in the metadata of a commit of `results`."""
LAYOUT: dict[str, tuple[pa.Schema, list[str]]] = {
    "tiles": (schemas.TILES, ["day"]),
    "days": (schemas.DAYS, ["month"]),
    "keys": (schemas.ID_INDEX, ["log"]),
    "inputs": (schemas.INPUTS, []),
    "audit": (schemas.AUDIT, []),
    "revisions": (schemas.REVISIONS, ["grain"]),
    "runs": (schemas.RUNS, []),
    "results": (schemas.RESULTS, ["grain", "day"]),
}
"""Schema and partition columns of each table, in the order they are written: `results` last."""
Within = Sequence[tuple[str, str, str | list[str]]]
"""Conditions on partition columns that select the files to read, for example [("day", ">=", "2026-01-31")]."""
REMOVE = "remove the whole store: the next run recomputes everything, without the history"
RESTORE = f"restore it from a copy; or {REMOVE}"
FEW_FILES = 12
"""A table of at most this many files is read file by file, without a dataset."""
LOG_FILE = re.compile(r"\d{20}\.json|\d{20}\.checkpoint\.parquet")
NEWEST_LOG_FILES = 24
"""How many files of a table's log are checked: the commits since the last checkpoint, and some more."""
DAMAGED = re.compile(r"Json error|No table metadata or protocol|Parquet error|Invalid JSON|EOF while parsing")
"""Messages of the table library about a log that it cannot parse."""


class MissingVersion(StoreError):
    """A table exists, but not at the version that a publication rests on."""


class Store:
    """The tables under `root`, a folder or an s3:// prefix."""

    def __init__(self, root: str, storage: Storage = NO_OPTIONS) -> None:
        self.root = root.rstrip("/")
        self.storage = storage
        self.options = delta_options(root, storage)
        self.local = "://" not in self.root

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def table(self, name: str, version: int | None = None) -> DeltaTable | None:
        """A table at a version (default: the newest), or None if it does not exist yet. Raises StoreError."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        if self.local and not Path(self.uri(name)).is_dir():
            return None
        if self.local:
            self._check_log(name)
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self.options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            if isinstance(error, DeltaError) and DAMAGED.search(str(error)):
                raise self._damaged_log(name, message_of(error)) from error
            raise StoreError(
                "the store cannot be read",
                where=self.uri(name),
                found=message_of(error),
                todo="check the address and the credentials",
                passes=True,
            ) from error

    def _check_log(self, name: str) -> None:
        """Raise StoreError if a commit is an empty file, as a power cut leaves it: it would read as no commit."""
        with suppress(FileNotFoundError), os.scandir(f"{self.uri(name)}/_delta_log") as entries:
            files = sorted((file for file in entries if LOG_FILE.fullmatch(file.name)), key=lambda file: file.name)
            for file in files[-NEWEST_LOG_FILES:]:
                if file.stat().st_size == 0:
                    raise self._damaged_log(name, f"{file.name} is empty")

    def _damaged_log(self, name: str, found: str) -> StoreError:
        what = "the store cannot be read, since the log of a table is damaged"
        return StoreError(what, where=f"{self.uri(name)}/_delta_log", found=found, todo=RESTORE)

    def missing_table(self, name: str) -> StoreError:
        """The error to raise for a table that should exist."""
        return StoreError("a table of the store is missing", where=self.uri(name), todo=RESTORE)

    def missing_version(self, name: str, version: int) -> MissingVersion:
        """The error to raise for a table that exists, but not at a version."""
        found = f"its log no longer has version {version}"
        return MissingVersion("a table of the store lacks a version", where=self.uri(name), found=found, todo=RESTORE)

    def published(self) -> Published | None:
        """The last published state, or None before the first publication. Raises StoreError."""
        return self.published_state(self.results())

    def results(self) -> DeltaTable | None:
        """The table of results, or None if there is no store yet. Raises StoreError if only this table is missing."""
        results = self.table("results")
        if results is None and any(self.table(name) is not None for name in LAYOUT if name != "results"):
            # `results` is created before any other table. So either another run has just created it, or it is lost.
            results = self.table("results")
            if results is None:
                raise self.missing_table("results")
        return results

    def published_state(self, results: DeltaTable | None) -> Published | None:
        """The last published state that an open table of results carries. Raises StoreError."""
        if results is None:
            return None
        for _, published in self.publications(results):
            return published
        if results.version() > 0:
            raise StoreError("the history of `results` is lost", where=self.uri("results"), todo=RESTORE)
        return None

    def publications(self, results: DeltaTable) -> Iterator[tuple[int, Published]]:
        """The published states that the history of an open table of results has, each with the version of its commit.

        The newest come first. Raises StoreError.

        A state that `undo_after` went back to stands there twice, and what it took back stands between.
        """
        where, before = self.uri("results"), 0
        with table_errors(where, "read"):
            # Usually the newest commit carries the state. Commits of maintenance do not, so older ones are tried, too.
            for limit in (1, 20, None):
                commits = results.history(limit)
                for commit in commits[before:]:
                    if STATE_KEY in commit:
                        yield commit["version"], Published.from_json(commit[STATE_KEY], where)
                before = len(commits)

    def undo_after(self, limit: int) -> Published | None:
        """Go back to the last publication as of `limit` or earlier, and return it; None if it is the newest already.

        The next run that writes rolls back the other tables, as it does after a killed run. Raises StoreError.
        """
        from deltalake import CommitProperties

        results = self.results()
        published = self.published_state(results)
        if results is None or published is None or published.as_of <= limit:
            return None
        with table_errors(self.uri("results")):
            for commit in results.history():
                before = (
                    Published.from_json(commit[STATE_KEY], self.uri("results")) if STATE_KEY in commit else published
                )
                if before.as_of <= limit:
                    properties = CommitProperties(custom_metadata={STATE_KEY: commit[STATE_KEY]}, max_commit_retries=0)
                    results.restore(commit["version"], commit_properties=properties)
                    return before
        raise StoreError("the store has no earlier publication to go back to", where=self.uri("results"), todo=REMOVE)

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

    def published_table(self, name: str, published: Published | None) -> DeltaTable | None:
        """A table as `rows` reads it, or None if it is not published yet. Raises StoreError."""
        version = published.versions.get(name) if published is not None else None
        table = None if name != "results" and version is None else self.table(name, version)
        if table is None and version:
            raise self.missing_table(name) if self.table(name) is None else self.missing_version(name, version)
        return table

    def table_rows(
        self,
        name: str,
        table: DeltaTable | None,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of an open table as `rows` returns them; none if `table` is None. Raises StoreError."""
        schema, partitions = LAYOUT[name]
        if table is None:
            return schema.empty_table()
        with table_errors(self.uri(name), "read"):
            if columns is None and only is None and not partitions and len(table.file_uris()) <= FEW_FILES:
                rows = self._rows_of_few_files(name, table)
                existing = rows.schema.names
            else:
                dataset = table.to_pyarrow_dataset(
                    file_pruning_predicate=list(within) or None, filesystem=self._folder(name)
                )
                existing = dataset.schema.names
                names = None if columns is None else [column for column in existing if column in columns]
                rows = dataset.to_table(columns=names, filter=only, fragment_scan_options=self._scan_options())
        # A store of an older format lacks columns that were added later.
        for field in schema:
            if field.name not in existing and (columns is None or field.name in columns):
                rows = rows.append_column(field, pa.nulls(len(rows), field.type))
        return rows

    def rows_by_day(self, results: DeltaTable, grain: str) -> dict[str, int]:
        """How many results of a grain each local day has, in the order of the days. Raises StoreError."""
        with table_errors(self.uri("results"), "read"):
            files = pa.table(results.get_add_actions(flatten=True))
        days: dict[str, int] = {}
        names = ("partition.grain", "partition.day", "num_records")
        for of_grain, day, rows in zip(*(files.column(name).to_pylist() for name in names), strict=True):
            if of_grain == grain and day is not None:
                days[str(day)] = days.get(str(day), 0) + int(rows or 0)
        return dict(sorted(days.items()))

    def _folder(self, name: str) -> pa_fs.FileSystem | None:
        """The folder of a local table, which Arrow reads in half the time of the table library; None elsewhere."""
        import pyarrow.fs as pa_fs

        if not self.local:
            return None
        return pa_fs.SubTreeFileSystem(str(Path(self.uri(name)).absolute()), pa_fs.LocalFileSystem())

    def _scan_options(self) -> ds.ParquetFragmentScanOptions:
        """Options that prefetch data from remote storage, where requests are slow; a local disk needs no threads."""
        import pyarrow.dataset as ds

        return ds.ParquetFragmentScanOptions(pre_buffer=not self.local)

    def _rows_of_few_files(self, name: str, table: DeltaTable) -> pa.Table:
        """All rows of a table with few files, without a dataset, because a dataset imports pandas.

        A run that finds nothing to do reads only such tables, and the import would take a quarter of its time.
        """
        import pyarrow.fs as pa_fs
        import pyarrow.parquet as pq
        from deltalake.fs import DeltaStorageHandler

        folder = self._folder(name) or pa_fs.PyFileSystem(DeltaStorageHandler(self.uri(name), self.options))
        parts = []
        for uri in table.file_uris():
            with folder.open_input_file(uri.rsplit("/", 1)[-1]) as file:
                parts.append(pq.ParquetFile(file).read())
        return pa.concat_tables(parts, promote_options="default") if parts else LAYOUT[name][0].empty_table()

    def writing(self, name: str, size: int) -> AbstractContextManager[None]:
        """A context for writing `size` bytes to a table; hides panics of the library. Raises OSError if read-only."""
        if not self.local:
            return nullcontext()
        if not os.access(self.uri(name), os.W_OK):
            raise OSError("the folder is read-only, or its owner lets nobody write there")
        return panics.hide_panics(self.uri(name), size)

    def inputs(self, published: Published | None) -> Inputs:
        """The files that the last published run saw."""
        return Inputs.of_rows(self.rows("inputs", published))


class table_errors:
    """A context that turns the errors of the table library into StoreError and ConflictError."""

    def __init__(self, where: str, done: str = "written") -> None:
        self.where, self.done = where, done

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from deltalake.exceptions import CommitFailedError, DeltaError

        if isinstance(error, CommitFailedError) or "already exists" in str(error):
            raise ConflictError(
                "another run published at the same time",
                where=self.where,
                found=message_of(error),
                todo="run again",
                passes=True,
            ) from error
        panicked = type(error).__name__ == "PanicException"
        if isinstance(error, DeltaError | OSError | pa.ArrowException) or panicked:
            full = "No space left" in str(error)
            raise StoreError(
                f"the store cannot be {self.done}",
                where=self.where,
                found=message_of(error),
                todo="make room on its disk, then run again; nothing of this run is visible" if full else "",
                passes=True,
            ) from error
