"""Transaction: the writes of one run, made visible together by one commit of `results`.

It opens `results` at its start. If another run publishes after that, the commit of this one fails. Limit: it locks
nothing, so a conflict shows only at a commit.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.storage import check_exclusive_writes
from sli.errors import ConflictError, StoreError, UnknownCommitError
from sli.planning.published import Published
from sli.publishing.delta_tables import TARGET_BYTES, Replacing, Table, Within, table_errors
from sli.publishing.parquet_files import Files, NewFile, Partition, Written
from sli.publishing.store import LAYOUT, STATE_KEY, Store
from sli.publishing.unchanged import IDLE_KEY, Idle

LOG = logging.getLogger("sli.store")
SMALL_FILES = {"keys": 24, "inputs": 8, "audit": 24, "revisions": 24, "runs": 24}
"""Tables that every run appends to. With so many more files than they need, small files are merged."""
FEW_BYTES = 16 << 20
"""Rows that take at most so many bytes are kept in memory beside their files."""
PACKED = ("tiles", "days")
"""Tables whose files ZSTD compresses: decimal numbers of 16 bytes each, which Snappy leaves three times as large."""


class Transaction:
    """The writes of one run on top of what is published when it begins."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.mend_results()
        results = store.results()
        self.published = store.published_state(results)
        self._tables: dict[str, Table | None] = {"results": results}
        self.sequence = 1 if self.published is None else self.published.sequence + 1
        self.versions: dict[str, int] = {} if self.published is None else dict(self.published.versions)
        self._staged: dict[str, list[str]] = {}
        """The files of each table that are written, but that no commit names yet."""

    def open_tables(self) -> None:
        """Open all tables before the work: where another run writes to one meanwhile, this one soon knows.

        What a power loss cut off of them is removed. Raises StoreError.
        """
        for name in LAYOUT:
            if name != "results":
                self.store.tables.mend(name, self.versions.get(name, -1))
        missing = [name for name in LAYOUT if name not in self._tables]
        # Reading the log of a remote table takes several requests, one after another.
        with ThreadPoolExecutor(len(LAYOUT) if "://" in self.store.root else 1) as pool:
            self._tables.update(zip(missing, pool.map(self.store.tables.open, missing), strict=True))

    def _table(self, name: str) -> Table | None:
        """A table, or None if it does not exist. Raises StoreError."""
        # Opened after `results`, so none is older than the version that is published, and a restore never goes forward.
        if name not in self._tables:
            self._tables[name] = self.store.tables.open(name)
        return self._tables[name]

    @property
    def overtaken(self) -> bool:
        """Whether another run published since this one began."""
        results = self._tables["results"]
        return self.store.tables.open("results") is not None if results is None else results.is_overtaken()

    def place(self, name: str) -> Files:
        """Writes files of a table where a commit can name them."""
        return Files(self.store.tables.uri(name), LAYOUT[name][1], self.store.storage)

    def stage(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> Written:
        """Write files that `write` can name. Their rows have the columns of a schema. Raises StoreError."""
        place, few = self.place(name), list[pa.Table]()

        def told(rows: pa.Table) -> pa.Table:
            few.append(rows if sum(some.nbytes for some in (*few, rows)) <= FEW_BYTES else rows.slice(0, 0))
            return rows

        with table_errors(place.folder):
            files = tuple(place.write(map(told, tables), name in PACKED))
        self.staged(name, files)
        whole = sum(map(len, few)) == sum(file.rows for file in files)
        return Written(place, schema, files, pa.concat_tables(few) if few and whole else None)

    def staged(self, name: str, files: Iterable[NewFile]) -> None:
        """Take over files that a task wrote to the place of a table."""
        self._staged.setdefault(name, []).extend(file.path for file in files)

    def discard(self, name: str, files: Iterable[NewFile]) -> None:
        """Remove files that no commit will name."""
        gone = {file.path for file in files}
        self.place(name).remove(gone)
        self._staged[name] = [path for path in self._staged.get(name, []) if path not in gone]

    def discard_all(self) -> None:
        """Remove the files that no commit named."""
        for name, paths in self._staged.items():
            self.place(name).remove(paths)
        self._staged.clear()

    def write(
        self,
        name: str,
        rows: pa.Table | Iterable[pa.Table] | Written,
        replacing: Replacing = None,
        state: Published | None = None,
        idle: Idle | None = None,
    ) -> None:
        """Append rows to a table, or replace the rows that `replacing` names. Raises ConflictError and StoreError.

        `replacing` are partitions, or "all". Rows of a table without states may come table by table.
        """
        schema, partitions = LAYOUT[name]
        data: Iterable[pa.Table] | Written
        if isinstance(rows, Written):
            data = rows
        else:
            tables = [rows] if isinstance(rows, pa.Table) else rows
            data = (with_columns(some, schema) for some in tables)
        table = self.table_to_write(name)
        metadata = {STATE_KEY: state.to_json()} if state else {}
        metadata |= {IDLE_KEY: idle.to_json()} if idle else {}
        staged = self._staged.pop(name, [])
        try:
            table.write(data, replacing, metadata, self.sequence, name in PACKED, partitions)
        except ConflictError:
            # Else nobody can say whether the commit succeeded, so its files stay.
            if name != "results" and self._lost(name, staged):
                self._staged[name] = staged
            raise
        self.versions[name] = table.version

    def _lost(self, name: str, staged: Sequence[str]) -> bool:
        """Whether a commit that failed did not succeed all the same: the table does not name its files."""
        with suppress(StoreError):
            table = self.store.tables.open(name)
            named = {uri.rsplit("/", 1)[-1] for uri in table.files()} if table else set()
            return not any(path.rsplit("/", 1)[-1] in named for path in staged)
        return False

    def table_to_write(self, name: str) -> Table:
        """The open table at the version it is published in, created if it does not exist. Raises StoreError."""
        # `results` is created before any other table, so a store without it has lost it.
        self._tables["results"] = self._tables["results"] or self._create("results")
        if self._table(name) is None and self.versions.get(name):
            raise self.store.missing_table(name)
        table = self._tables[name] = self._table(name) or self._create(name)
        if name != "results" and table.version != self.versions.get(name, 0):
            # A run that was killed, or that lost to another run, left newer versions behind.
            table.restore(self.versions.get(name, 0))
        return table

    def rows(
        self,
        name: str,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table as this transaction sees it, chosen as in `Store.rows`."""
        return self.store.table_rows(name, self.table_to_read(name), columns, only, within)

    def table_to_read(self, name: str) -> Table | None:
        """A table as this transaction sees it, or None if it does not exist. Raises StoreError."""
        table = self._table(name)
        if table is None and self.versions.get(name):
            raise self.store.missing_table(name)
        if name != "results" and table is not None and table.version != self.versions.get(name, 0):
            # A run that was killed left newer versions behind, with any content.
            return self.store.tables.open(name, self.versions.get(name, 0))
        return table

    def files(self, name: str) -> dict[Partition, dict[str, int]]:
        """The files of each partition of a table as this transaction sees it: bytes by the path below the store."""
        table, partitions = self.table_to_read(name), defaultdict[Partition, dict[str, int]](dict)
        if table is not None:
            files = table.counts()
            names = [f"partition.{column}" for column in LAYOUT[name][1]]
            columns = (files.column(of).to_pylist() for of in (*names, "path", "size_bytes"))
            for *values, path, size in zip(*columns, strict=True):
                partitions[tuple(values)][f"{name}/{path}"] = size
        return dict(partitions)

    def sizes(self, name: str) -> Mapping[Partition, int]:
        """How many rows each partition of a table has, as this transaction sees it."""
        table, sizes = self.table_to_read(name), Counter[Partition]()
        if table is not None:
            files = table.counts()
            names = [f"partition.{column}" for column in LAYOUT[name][1]]
            for *values, rows in zip(*(files.column(of).to_pylist() for of in (*names, "num_records")), strict=True):
                sizes[tuple(values)] += rows
        return sizes

    def small_files(self, name: str) -> int:
        """How many files a table has more than it needs: those that merging surely takes away. Raises StoreError."""
        table, sizes = self.table_to_read(name), defaultdict[str, list[int]](list)
        if table is not None:
            files = table.counts()
            for path, size in zip(*(files.column(of).to_pylist() for of in ("path", "size_bytes")), strict=True):
                if size < TARGET_BYTES:
                    sizes[path.rpartition("/")[0]].append(size)
        # Of merged files any two are larger than one may be.
        return sum(max(0, len(some) - max(1, -(-2 * sum(some) // TARGET_BYTES))) for some in sizes.values())

    def compact(self, name: str, least: int) -> None:
        """Merge the small files of a table if it has `least` more than it needs. Raises ConflictError, StoreError."""
        table = self._table(name)
        if table is None or table.version != self.versions.get(name) or self.small_files(name) < least:
            return
        table.compact()
        self.versions[name] = table.version

    def set_property(self, name: str, properties: Mapping[str, str]) -> None:
        """Set what a table says of itself. Raises ConflictError and StoreError."""
        table = self.table_to_write(name)
        table.set_properties(properties, self.sequence)
        self.versions[name] = table.version

    def publish_again(self) -> None:
        """Publish the same rows with what was written to other tables, as the same run. Raises as `publish`."""
        assert self.published is not None
        # What the last run changed, and its row of `runs`, are found by this number.
        self.sequence = self.published.sequence
        results = self.table_to_write("results")
        idle = results.history(1)[0].get(IDLE_KEY)
        nothing = Written(self.place("results"), LAYOUT["results"][0], ())
        self.publish(self.published, nothing, None, Idle(**json.loads(idle)) if idle else None)

    def publish(self, state: Published, rows: Written, replacing: Replacing, idle: Idle | None = None) -> Published:
        """Make the one atomic commit that lets readers see everything that was written.

        Raises ConflictError if another run published first, UnknownCommitError if nobody can say whether this one did,
        StoreError.
        """
        state = replace(
            state, sequence=self.sequence, versions={k: v for k, v in self.versions.items() if k != "results"}
        )
        self._force_to_disk(rows)
        try:
            before = self.table_to_write("results").version
            self.write("results", rows, replacing, state, idle)
            self.store.tables.force("results", {"results": before})
        except StoreError as error:
            if not self._is_published(state, error):
                self.staged("results", rows.files)
                raise
            LOG.warning(f"the storage failed, but all is published: {error.found}")
        return state

    def _force_to_disk(self, results: Written) -> None:
        """What a publication rests on: the other tables, and the files of its results. Raises StoreError."""
        before = {} if self.published is None else self.published.versions
        written = [name for name, version in self.versions.items() if version != before.get(name, -1)]
        after = {name: before.get(name, -1) for name in written if name != "results"}
        self.store.tables.force("results", after, results.files)

    def _is_published(self, state: Published, error: StoreError) -> bool:
        """Whether a commit succeeded although its answer was an error. Raises UnknownCommitError."""
        try:
            results = self.store.results()
            history = () if results is None else self.store.publications(results)
            # Another run may have published on top of it.
            own = next((known for _, known in history if known.sequence <= state.sequence), None)
        except StoreError as unreadable:
            raise UnknownCommitError(
                "the store stopped answering, so whether this run published its results is not known",
                where=self.store.tables.uri("results"),
                found=f"{error.found}; then: {unreadable.found or unreadable.what}",
                todo="run again: the next run finds out, and counts nothing twice",
                passes=True,
            ) from error
        return own is not None and own.to_json() == state.to_json()

    def _create(self, name: str) -> Table:
        if name == "results":
            check_exclusive_writes(self.store.root, self.store.storage)
        table = self.store.tables.create(name, *LAYOUT[name])
        if name == "results":
            # Once there is another table, a store without it has lost it.
            self.store.tables.force("results", {"results": -1})
        return table


def joined(parts: Sequence[Written]) -> Written:
    """What was staged for one table part by part."""
    few = [part.few for part in parts if part.few is not None]
    whole = len(few) == len(parts) and sum(rows.nbytes for rows in few) <= FEW_BYTES
    files = tuple(file for part in parts for file in part.files)
    return replace(parts[0], files=files, few=pa.concat_tables(few) if whole else None)


def with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns and types of a schema; dictionaries of texts stay, and further columns, the states, too."""
    names = [*schema.names, *(name for name in rows.schema.names if name not in schema.names)]
    columns = []
    for name in names:
        column = rows.column(name) if name in rows.schema.names else pa.nulls(len(rows), schema.field(name).type)
        whole = name not in schema.names or pa.types.is_dictionary(column.type)
        columns.append(column if whole else column.cast(schema.field(name).type))
    return pa.table(columns, names=names)
