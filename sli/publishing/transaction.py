"""Transaction: the writes of one run, made visible together by one commit of `results`.

It opens every table first, so a run that publishes in between makes this one fail. Limit: it finds out only when it
commits; nothing is locked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.storage import check_exclusive_writes
from sli.errors import StoreError
from sli.planning.published import Published
from sli.publishing.store import KEY, LAYOUT, Store, Within, table_errors

APP = "sli"
SMALL_FILES = {"keys": 64, "inputs": 8}
"""Tables that every run appends to: with more files than this, small ones are merged."""
TARGET_BYTES = 16 << 20
"""Size of merged files: larger ones would be rewritten too often."""
PIECES = 1 << 30
"""Bytes to expect of rows that are written batch by batch: the true size is unknown before they are written."""


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
        with table_errors(self.store.uri(name)):
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
        with table_errors(self.store.uri(name), "read"):
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
            with table_errors(self.store.uri(name)), self.store.unseen(name, TARGET_BYTES):
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


def _with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast to the table's types; state columns beyond them keep theirs."""
    fixed = [
        rows.column(f.name).cast(f.type) if f.name in rows.schema.names else pa.nulls(len(rows), f.type) for f in schema
    ]
    extra = [f for f in rows.schema if f.name not in schema.names]
    return pa.table(fixed + [rows.column(f.name) for f in extra], schema=pa.schema([*schema, *extra]))
