"""Transaction: the writes of one run, made visible together by one commit of `results`.

It opens every table at its start. If another run publishes after that, the commit of this one fails. Limit: it locks
nothing, so a conflict shows only at the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.storage import check_exclusive_writes
from sli.errors import StoreError
from sli.planning.published import Published
from sli.publishing.store import LAYOUT, STATE_KEY, Store, Within, table_errors

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

APP = "sli"
SMALL_FILES = {"keys": 64, "inputs": 8}
"""Tables that every run appends to, and with how many files: if there are more, small files are merged."""
TARGET_BYTES = 16 << 20
"""The size of merged files. If they were larger, merging would rewrite too much."""
PACKED = ("tiles", "days")
"""Tables whose files ZSTD compresses: decimal numbers of 16 bytes each, which Snappy leaves three times as large."""
UNKNOWN_BYTES = 1 << 30
"""The size supposed for rows that come batch by batch, since their true size is not known before they are written."""


class Transaction:
    """The writes of one run on top of what is published when it begins."""

    def __init__(self, store: Store) -> None:
        self.store = store
        results = store.results()
        self.published = store.published_state(results)
        # Opened after `results`, so none is older than the version that is published, and a restore never goes forward.
        self._tables = {name: results if name == "results" else store.table(name) for name in LAYOUT}
        self.sequence = 1 if self.published is None else self.published.sequence + 1
        self.versions: dict[str, int] = {} if self.published is None else dict(self.published.versions)

    @property
    def overtaken(self) -> bool:
        """Whether another run published since this one began."""
        results, now = self._tables["results"], self.store.table("results")
        return now is not None and (results is None or now.version() != results.version())

    def write(
        self,
        name: str,
        rows: pa.Table | Iterable[pa.Table],
        replacing: str | None = None,
        state: Published | None = None,
    ) -> None:
        """Append rows to a table, or replace the rows that `replacing` names. Raises ConflictError and StoreError.

        `replacing` is a predicate on partition columns, or `true` for all rows. Rows of a table without states may
        come batch by batch.
        """
        data: pa.Table | pa.RecordBatchReader
        if isinstance(rows, pa.Table):
            data = _with_columns(rows, LAYOUT[name][0])
            size = data.nbytes
        else:
            data, size = _reader(rows, LAYOUT[name][0]), UNKNOWN_BYTES
        with table_errors(self.store.uri(name)):
            table = self._table_to_write(name)
            with self.store.writing(name, size):
                _write(table, data, replacing, self._commit_properties(state), name in PACKED)
        self.versions[name] = table.version()

    def _table_to_write(self, name: str) -> DeltaTable:
        """The open table at the version it is published in, created if it does not exist. Raises StoreError."""
        if self._tables[name] is None and self.versions.get(name):
            raise self.store.missing_table(name)
        # `results` is created before any other table, so a store without it has lost it.
        self._tables["results"] = self._tables["results"] or self._create("results")
        table = self._tables[name] = self._tables[name] or self._create(name)
        if name != "results" and table.version() != self.versions.get(name, 0):
            # A run that was killed, or that lost to another run, left newer versions behind.
            table.restore(self.versions.get(name, 0))
        return table

    def _commit_properties(self, state: Published | None) -> CommitProperties:
        from deltalake import CommitProperties
        from deltalake import Transaction as AppTransaction

        return CommitProperties(
            custom_metadata={STATE_KEY: state.to_json()} if state else None,
            app_transactions=[AppTransaction(APP, self.sequence)],
            max_commit_retries=0,
        )

    def rows(
        self,
        name: str,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table as this transaction sees it, chosen as in `Store.rows`."""
        return self.store.table_rows(name, self._table_to_read(name), columns, only, within)

    def _table_to_read(self, name: str) -> DeltaTable | None:
        """A table as this transaction sees it, or None if it does not exist."""
        table = self._tables[name]
        if table is None and self.versions.get(name):
            raise self.store.missing_table(name)
        if name != "results" and table is not None and table.version() != self.versions.get(name, 0):
            # A run that was killed left newer versions behind, with any content.
            return self.store.table(name, self.versions.get(name, 0))
        return table

    def files(self, name: str, partition: tuple[str, str]) -> tuple[str, ...]:
        """The files of a partition of a table as this transaction sees it, as paths below the root of the store."""
        column, value = partition
        table = self._table_to_read(name)
        with table_errors(self.store.uri(name), "read"):
            uris = [] if table is None else table.file_uris(file_pruning_predicate=[(column, "=", value)])
            return tuple(f"{name}/{column}={value}/" + uri.rsplit("/", 1)[-1] for uri in uris)

    def compact(self, name: str) -> None:
        """Merge the small files of a table once there are many. Raises ConflictError."""
        table = self._tables[name]
        if (
            table is not None
            and table.version() == self.versions.get(name)
            and len(table.file_uris()) > SMALL_FILES[name]
        ):
            with table_errors(self.store.uri(name)), self.store.writing(name, TARGET_BYTES):
                table.optimize.compact(target_size=TARGET_BYTES)
            self.versions[name] = table.version()

    def publish(self, state: Published, rows: Iterable[pa.Table], replacing: str | None) -> Published:
        """Make the one atomic commit that lets readers see everything that was written. Raises ConflictError."""
        state = replace(
            state, sequence=self.sequence, versions={k: v for k, v in self.versions.items() if k != "results"}
        )
        try:
            self.write("results", rows, replacing, state)
        except StoreError:
            # The commit may have succeeded although its answer was lost. Then the published state equals this run's.
            published = self.store.published()
            if published is None or published.to_json() != state.to_json():
                raise
        return state

    def _create(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable

        if not any(self._tables.values()):
            check_exclusive_writes(self.store.root, self.store.storage)
        schema, partitions = LAYOUT[name]
        if self.store.local:
            Path(self.store.uri(name)).mkdir(parents=True, exist_ok=True)
        return DeltaTable.create(
            self.store.uri(name),
            schema=schema,
            partition_by=partitions,
            mode="error",
            # Files are selected by partition only, and statistics of every column would make the log ten times as long.
            configuration={"delta.checkpointInterval": "10", "delta.dataSkippingNumIndexedCols": "0"},
            storage_options=self.store.options,
        )


def _write(
    table: DeltaTable,
    data: pa.Table | pa.RecordBatchReader,
    replacing: str | None,
    properties: CommitProperties,
    packed: bool,
) -> None:
    """Append rows to a table, or replace those that `replacing` names."""
    from deltalake import WriterProperties, write_deltalake

    schema_mode = _schema_mode(table, data, replacing)
    codec = WriterProperties(compression="ZSTD" if packed else "SNAPPY", compression_level=1 if packed else None)
    if replacing is None:
        write_deltalake(
            table, data, mode="append", schema_mode=schema_mode, commit_properties=properties, writer_properties=codec
        )
        return
    write_deltalake(
        table,
        data,
        mode="overwrite",
        predicate=None if replacing == "true" else replacing,
        schema_mode=schema_mode,
        commit_properties=properties,
        writer_properties=codec,
    )


def _schema_mode(
    table: DeltaTable, rows: pa.Table | pa.RecordBatchReader, replacing: str | None
) -> Literal["merge", "overwrite"] | None:
    """Whether the write changes the table's columns: replacing all rows takes their types, others may add columns."""
    # The stubs do not know that any object can export a schema.
    if replacing == "true" and pa.schema(table.schema()) != rows.schema.remove_metadata():  # type: ignore[arg-type]
        return "overwrite"
    return "merge" if {field.name for field in table.schema().fields} != set(rows.schema.names) else None


def _with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns and types of a schema; further columns, the states, keep their types."""
    fixed = [
        rows.column(field.name).cast(field.type) if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    states = [field for field in rows.schema if field.name not in schema.names]
    return pa.table(fixed + [rows.column(field.name) for field in states], schema=pa.schema([*schema, *states]))


def _reader(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.RecordBatchReader:
    """The tables with the columns and types of a schema, batch by batch."""
    batches = (batch for rows in tables for batch in _with_columns(rows, schema).to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)
