"""The store: Delta tables under one root, made visible together by one commit of `results`.

That commit names the versions of the other tables it rests on and carries what the next plan needs; whatever a killed
run left in the others lies after those versions and is rolled back by the next writer. Limit: like all Delta writers
on local disks it is safe against kills, not shown safe against power loss.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.engine import panics
from sli.engine.storage import NOTHING, Storage, check_exclusive_writes, delta_options, plain
from sli.errors import ConflictError, StoreError
from sli.logs.files import Inputs
from sli.planning.published import Published

APP = "sli"
KEY = "sli_published"
LAYOUT: dict[str, tuple[pa.Schema, list[str]]] = {
    "tiles": (schemas.TILES, ["day"]),
    "days": (schemas.DAYS, ["month"]),
    "keys": (schemas.KEYS, ["log"]),
    "inputs": (schemas.INPUTS, []),
    "audit": (schemas.AUDIT, []),
    "revisions": (schemas.REVISIONS, ["grain"]),
    "runs": (schemas.RUNS, []),
    "results": (schemas.RESULTS, ["grain", "day"]),
}
"""Schema and partition columns of each table, in the order they are written: `results` last."""
Within = Sequence[tuple[str, str, Any]]
REMOVE = "remove the whole store: the next run recomputes everything, without the history"
RESTORE = f"restore it from a copy; or {REMOVE}"
SMALL_FILES = {"keys": 64, "inputs": 8}
"""Files of a table that is appended to every hour, before they are put together."""
FEW_FILES = 12
"""Files that are read one after the other."""
LOGGED = re.compile(r"\d{20}\.json|\d{20}\.checkpoint\.parquet")
NEWEST = 24
"""Files of a table's log that are looked at: commits since the last checkpoint, and more."""
DAMAGED = re.compile(r"Json error|No table metadata or protocol|Parquet error|Invalid JSON|EOF while parsing")
"""What the table library says of a log that makes no sense."""
TARGET_BYTES = 16 << 20
"""Size of files put together: larger ones would be written again too often."""


PIECES = 1 << 30
"""Bytes that rows written piece by piece are taken to be: nobody knows before they are written."""


class Store:
    """The tables under `root`, a folder or an s3:// prefix."""

    def __init__(self, root: str, storage: Storage = NOTHING) -> None:
        self.root = root.rstrip("/")
        self.storage = storage
        self.options = delta_options(root, storage)
        self.local = "://" not in self.root

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def handle(self, name: str, version: int | None = None) -> Any:
        """A DeltaTable, or None if there is none yet. Raises StoreError."""
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
                raise self._damaged(name, plain(error)) from error
            raise StoreError(
                "the store cannot be read",
                where=self.uri(name),
                found=plain(error),
                todo="check the address and the credentials",
                passes=True,
            ) from error

    def _check_log(self, name: str) -> None:
        """Raise StoreError where a commit is an empty file, as a power cut leaves it: it would read as no commit."""
        with suppress(FileNotFoundError), os.scandir(f"{self.uri(name)}/_delta_log") as entries:
            files = sorted((each for each in entries if LOGGED.fullmatch(each.name)), key=lambda each: each.name)
            for file in files[-NEWEST:]:
                if file.stat().st_size == 0:
                    raise self._damaged(name, f"{file.name} is empty")

    def _damaged(self, name: str, found: str) -> StoreError:
        what = "the store cannot be read, since the log of a table is damaged"
        return StoreError(what, where=f"{self.uri(name)}/_delta_log", found=found, todo=RESTORE)

    def published(self) -> Published | None:
        """The last published state, or None before the first publication. Raises StoreError."""
        return self.published_in(self.results())

    def results(self) -> Any:
        """The table of results, or None where there is no store yet. Raises StoreError where only it is missing."""
        found = self.handle("results")
        if found is None and any(self.handle(name) is not None for name in LAYOUT if name != "results"):
            # It is made before any other: by now another run has made it, or it is lost.
            found = self.handle("results")
            if found is None:
                raise self.missing("results")
        return found

    def published_in(self, results: Any) -> Published | None:
        """The same of an open table, or of none."""
        if results is None:
            return None
        where = self.uri("results")
        with _errors(where, "read"):
            # Mostly the newest commit, unless it is one of maintenance; all of them only if need be.
            for limit in (1, 20, None):
                for commit in results.history(limit):
                    if KEY in commit:
                        return Published.from_json(commit[KEY], where)
        if results.version() > 0:
            raise StoreError("the history of `results` is lost", where=where, todo=RESTORE)
        return None

    def undo_since(self, limit: int) -> Published | None:
        """Make the last publication as of `limit` or earlier the newest one; None where it is that already.

        What other tables gained since is rolled back by the next writer, as is what a killed run left. Raises
        StoreError.
        """
        from deltalake import CommitProperties

        results = self.results()
        published = self.published_in(results)
        if published is None or published.as_of <= limit:
            return None
        with _errors(self.uri("results")):
            for commit in results.history():
                before = Published.from_json(commit[KEY], self.uri("results")) if KEY in commit else published
                if before.as_of <= limit:
                    properties = CommitProperties(custom_metadata={KEY: commit[KEY]}, max_commit_retries=0)
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
        """Rows of a table: `results` at its newest, any other as of what `published` rests on.

        Of `columns` those the table has; `within` says of partition columns what files are looked at at all, such as
        [("day", ">=", "2026-01-31")].
        Raises StoreError.
        """
        version = published.versions.get(name) if published is not None else None
        table = None if name != "results" and version is None else self.handle(name, version)
        if table is None and version:
            raise self.missing(name)
        return self.rows_in(name, table, columns, only, within)

    def rows_in(
        self,
        name: str,
        table: Any,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """The same of an open table, or of none."""
        if table is None:
            return LAYOUT[name][0].empty_table()
        with _errors(self.uri(name), "read"):
            if columns is None and only is None and not LAYOUT[name][1] and len(table.file_uris()) <= FEW_FILES:
                rows = self._of_few_files(name, table)
                there = rows.schema.names
            else:
                found = table.to_pyarrow_dataset(
                    file_pruning_predicate=list(within) or None, filesystem=self._folder(name)
                )
                there = found.schema.names
                kept = None if columns is None else [each for each in there if each in columns]
                rows = found.to_table(columns=kept, filter=only, fragment_scan_options=self._scanned())
        # A store of an older form lacks columns that came later.
        for each in LAYOUT[name][0]:
            if each.name not in there and (columns is None or each.name in columns):
                rows = rows.append_column(each, pa.nulls(len(rows), each.type))
        return rows

    def _folder(self, name: str) -> Any:
        """The files of a table on a local disk, which the table library reads in twice the time; None elsewhere."""
        import pyarrow.fs as pa_fs

        if not self.local:
            return None
        return pa_fs.SubTreeFileSystem(str(Path(self.uri(name)).absolute()), pa_fs.LocalFileSystem())

    def _scanned(self) -> Any:
        """Fetching ahead hides how long a request takes; on a local disk it only costs threads."""
        import pyarrow.dataset as ds

        return ds.ParquetFragmentScanOptions(pre_buffer=not self.local)

    def _of_few_files(self, name: str, table: Any) -> pa.Table:
        """All rows of a table of few files, not read as a dataset: that would import pandas.

        A run that finds nothing to do reads no other, and the import would be a quarter of its time.
        """
        import pyarrow.fs as pa_fs
        import pyarrow.parquet as pq
        from deltalake.fs import DeltaStorageHandler

        folder = self._folder(name) or pa_fs.PyFileSystem(DeltaStorageHandler(self.uri(name), self.options))
        parts = []
        for file in table.file_uris():
            with folder.open_input_file(file.rsplit("/", 1)[-1]) as opened:
                parts.append(pq.ParquetFile(opened).read())
        return pa.concat_tables(parts, promote_options="default") if parts else LAYOUT[name][0].empty_table()

    def missing(self, name: str) -> StoreError:
        return StoreError("a table of the store is missing", where=self.uri(name), todo=RESTORE)

    def unseen(self, name: str, size: int) -> AbstractContextManager[None]:
        """To write so many bytes to a table, without the panics of a library. Raises OSError where none can be."""
        if not self.local:
            return nullcontext()
        if not os.access(self.uri(name), os.W_OK):
            raise OSError("the folder is read-only, or its owner lets nobody write there")
        return panics.unseen(self.uri(name), size)

    def inputs(self, published: Published | None) -> Inputs:
        """The files the last published run saw."""
        return Inputs.of_rows(self.rows("inputs", published))

    def begin(self) -> Transaction:
        """Begin to write on top of what is published now."""
        return Transaction(self)


class Transaction:
    """Writes of one run. Handles are opened first, so that whoever publishes in between makes this one fail."""

    def __init__(self, store: Store) -> None:
        self.store = store
        results = store.results()
        self.published = store.published_in(results)
        # Opened after it, so that none is behind what is published and a rollback only goes back.
        self._handles = {name: results if name == "results" else store.handle(name) for name in LAYOUT}
        self.sequence = 1 if self.published is None else self.published.sequence + 1
        self.versions: dict[str, int] = {} if self.published is None else dict(self.published.versions)

    @property
    def overtaken(self) -> bool:
        """Whether another run published since this one began."""
        results, now = self._handles["results"], self.store.handle("results")
        return now is not None and (results is None or now.version() != results.version())

    def write(
        self,
        name: str,
        rows: pa.Table | Iterable[pa.Table],
        replacing: str | None = None,
        state: Published | None = None,
    ) -> None:
        """Append rows, or replace those a predicate on partition columns names (`true`: all). Raises ConflictError.

        Of a table without states they may come piece by piece.
        """
        from deltalake import CommitProperties, write_deltalake
        from deltalake import Transaction as AppTransaction

        layout = LAYOUT[name][0]
        if isinstance(rows, pa.Table):
            made = _with_columns(rows, layout)
            size = made.nbytes
        else:
            pieces = (batch for piece in rows for batch in _with_columns(piece, layout).to_batches())
            made, size = pa.RecordBatchReader.from_batches(layout, pieces), PIECES
        how: dict[str, Any] = {"mode": "append" if replacing is None else "overwrite"}
        if replacing not in (None, "true"):
            how["predicate"] = replacing
        with _errors(self.store.uri(name)):
            if self._handles[name] is None and self.versions.get(name):
                raise self.store.missing(name)
            # First of all, so that a store without it has lost it.
            self._handles["results"] = self._handles["results"] or self._created("results")
            table = self._handles[name] = self._handles[name] or self._created(name)
            if name != "results" and table.version() != self.versions.get(name, 0):
                # A run that was killed, or lost the race, left this behind.
                table.restore(self.versions.get(name, 0))
            with self.store.unseen(name, size):
                write_deltalake(
                    table,
                    made,
                    **how,
                    schema_mode=_schema_mode(table, made, replacing),
                    commit_properties=CommitProperties(
                        custom_metadata={KEY: state.to_json()} if state else None,
                        app_transactions=[AppTransaction(APP, self.sequence)],
                        max_commit_retries=0,
                    ),
                )
        self.versions[name] = table.version()

    def rows(
        self,
        name: str,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table as this transaction sees it: what `Store.rows` gives, of a table that is open already."""
        return self.store.rows_in(name, self._seen(name), columns, only, within)

    def _seen(self, name: str) -> Any:
        """A table as this transaction sees it, or None."""
        table = self._handles[name]
        if table is None and self.versions.get(name):
            raise self.store.missing(name)
        if name != "results" and table is not None and table.version() != self.versions.get(name, 0):
            # A run that was killed left something behind, which may be anything.
            return self.store.handle(name, self.versions.get(name, 0))
        return table

    def files(self, name: str, partition: tuple[str, str]) -> tuple[str, ...]:
        """The files of a partition of a table as this transaction sees it, below the root of the store."""
        table, below = self._seen(name), f"{name}/{partition[0]}={partition[1]}/"
        with _errors(self.store.uri(name), "read"):
            found = () if table is None else table.file_uris(file_pruning_predicate=[(partition[0], "=", partition[1])])
            return tuple(below + each.rsplit("/", 1)[-1] for each in found)

    def compact(self, name: str) -> None:
        """Put small files of a table together once there are many of them. Raises ConflictError."""
        table = self._handles[name]
        if (
            table is not None
            and table.version() == self.versions.get(name)
            and len(table.file_uris()) > SMALL_FILES[name]
        ):
            with _errors(self.store.uri(name)), self.store.unseen(name, TARGET_BYTES):
                table.optimize.compact(target_size=TARGET_BYTES)
            self.versions[name] = table.version()

    def publish(self, state: Published, rows: Iterable[pa.Table], replacing: str | None) -> Published:
        """The one atomic commit: from here on every reader sees all that was written. Raises ConflictError."""
        state = replace(
            state, sequence=self.sequence, versions={k: v for k, v in self.versions.items() if k != "results"}
        )
        try:
            self.write("results", rows, replacing, state)
        except StoreError:
            # A commit may land and its answer be lost. The state names this run's own versions: no other is equal.
            landed = self.store.published()
            if landed is None or landed.to_json() != state.to_json():
                raise
        return state

    def _created(self, name: str) -> Any:
        from deltalake import DeltaTable

        if not any(self._handles.values()):
            check_exclusive_writes(self.store.root, self.store.storage)
        schema, partitions = LAYOUT[name]
        if self.store.local:
            Path(self.store.uri(name)).mkdir(parents=True, exist_ok=True)
        return DeltaTable.create(
            self.store.uri(name),
            schema=schema,
            partition_by=partitions,
            mode="error",
            # Files are found by partition alone; statistics of every column would make the log ten times as long.
            configuration={"delta.checkpointInterval": "10", "delta.dataSkippingNumIndexedCols": "0"},
            storage_options=self.store.options,
        )


def _schema_mode(
    table: Any, rows: pa.Table | pa.RecordBatchReader, replacing: str | None
) -> Literal["merge", "overwrite"] | None:
    """What becomes of a table's columns: one written anew takes the types of its rows, another gains columns."""
    if replacing == "true" and pa.schema(table.schema()) != rows.schema.remove_metadata():
        return "overwrite"
    return "merge" if {each.name for each in table.schema().fields} != set(rows.schema.names) else None


class _errors:
    """Turns the table library's errors into ours."""

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
                found=plain(error),
                todo="run again",
                passes=True,
            ) from error
        panicked = type(error).__name__ == "PanicException"
        if isinstance(error, DeltaError | OSError | pa.ArrowException) or panicked:
            full = "No space left" in str(error)
            raise StoreError(
                f"the store cannot be {self.done}",
                where=self.where,
                found=plain(error),
                todo="make room on its disk, then run again; nothing of this run is visible" if full else "",
                passes=True,
            ) from error


def _with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast to the table's types; state columns beyond them keep theirs."""
    fixed = [
        rows.column(f.name).cast(f.type) if f.name in rows.schema.names else pa.nulls(len(rows), f.type) for f in schema
    ]
    extra = [f for f in rows.schema if f.name not in schema.names]
    return pa.table(fixed + [rows.column(f.name) for f in extra], schema=pa.schema([*schema, *extra]))
