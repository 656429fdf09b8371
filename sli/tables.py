"""The store: Delta tables under one root, made visible together by one commit of `results`.

That commit names the versions of the other tables it rests on and carries what the next plan needs; whatever a killed
run left in the others lies after those versions and is rolled back by the next writer. Limit: like all Delta writers
on local disks it is safe against kills, not shown safe against power loss.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.errors import ConflictError, StoreError
from sli.inputs import Inputs
from sli.intervals import Interval
from sli.request import Backfill
from sli.storage import NOTHING, Storage, check_exclusive_writes, delta_options, plain

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
SMALL_FILES = {"keys": 64, "inputs": 8}
"""Files of a table that is appended to every hour, before they are put together."""
FEW_FILES = 12
"""Files that are read one after the other."""
TARGET_BYTES = 16 << 20
"""Size of files put together: larger ones would be written again too often."""


@dataclass(frozen=True)
class Published:
    """What the last visible run left: all that the next plan rests on besides the inputs it saw."""

    sequence: int
    run_id: str
    as_of: int
    base: str
    newest: int
    states: tuple[str, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    grains: tuple[str, ...]
    series: Mapping[str, str]
    objectives: Mapping[str, str | None]
    pending: tuple[Interval, ...] = ()
    unchecked: tuple[Interval, ...] = ()
    held: tuple[Interval, ...] = ()
    gaps: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)
    """For each state the tiles that lack it."""
    backfills: tuple[Backfill, ...] = ()
    """The unfinished ones."""
    audited: int = 0
    """The publication whose audit stands."""
    keyed: str = ""
    """The hash that `keys` holds of every id of the files seen; empty where it does not."""
    timezone: str = ""
    """Of the days; empty in a store of an older form."""
    versions: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Published:
        tree = json.loads(text)
        for name in ("pending", "unchecked", "held"):
            tree[name] = tuple(Interval(**each) for each in tree.get(name, ()))
        tree["gaps"] = {
            state: tuple(Interval(**each) for each in where) for state, where in tree.get("gaps", {}).items()
        }
        tree["backfills"] = tuple(
            Backfill(each["id"], Interval(**each["interval"]), tuple(each["slis"]), each["done"])
            for each in tree.get("backfills", ())
        )
        for name in ("states", "grains"):
            tree[name] = tuple(tree[name])
        tree["slice_sets"] = tuple(tuple(each) for each in tree["slice_sets"])
        return Published(**tree)


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
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self.options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise StoreError(
                "the store cannot be read",
                where=self.uri(name),
                found=plain(error),
                todo="check the address and the credentials",
                passes=True,
            ) from error

    def published(self) -> Published | None:
        """The last published state, or None before the first publication. Raises StoreError."""
        return self.published_in(self.handle("results"))

    def published_in(self, results: Any) -> Published | None:
        """The same of an open table, or of none."""
        if results is None:
            return None
        with _errors(self.uri("results"), "read"):
            # Mostly the newest commit, unless it is one of maintenance; all of them only if need be.
            for limit in (1, 20, None):
                for commit in results.history(limit):
                    if KEY in commit:
                        return Published.from_json(commit[KEY])
        return None

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
        return StoreError("a table of the store is missing", where=self.uri(name), todo="restore it from a copy")

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
        results = store.handle("results")
        self.published = store.published_in(results)
        # Opened after it, so that none is behind what is published and a rollback only goes back.
        self._handles = {name: results if name == "results" else store.handle(name) for name in LAYOUT}
        self.sequence = 1 if self.published is None else self.published.sequence + 1
        self.versions: dict[str, int] = {} if self.published is None else dict(self.published.versions)

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
        else:
            pieces = (batch for piece in rows for batch in _with_columns(piece, layout).to_batches())
            made = pa.RecordBatchReader.from_batches(layout, pieces)
        how: dict[str, Any] = {"mode": "append" if replacing is None else "overwrite"}
        if replacing not in (None, "true"):
            how["predicate"] = replacing
        with _errors(self.store.uri(name)):
            if self._handles[name] is None and self.versions.get(name):
                raise self.store.missing(name)
            table = self._handles[name] = self._handles[name] or self._created(name)
            if name != "results" and table.version() != self.versions.get(name, 0):
                # A run that was killed, or lost the race, left this behind.
                table.restore(self.versions.get(name, 0))
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
            with _errors(self.store.uri(name)):
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
        if isinstance(error, DeltaError | OSError | pa.ArrowException):
            raise StoreError(
                f"the store cannot be {self.done}", where=self.where, found=plain(error), passes=True
            ) from error


def _with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast to the table's types; state columns beyond them keep theirs."""
    fixed = [
        rows.column(f.name).cast(f.type) if f.name in rows.schema.names else pa.nulls(len(rows), f.type) for f in schema
    ]
    extra = [f for f in rows.schema if f.name not in schema.names]
    return pa.table(fixed + [rows.column(f.name) for f in extra], schema=pa.schema([*schema, *extra]))
