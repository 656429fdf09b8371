"""The tables of a store, opened, created, read and written with Delta Lake: no other module of this wing imports it.

Whatever a run asks of the store's tables is a method of `Tables` or `Table`, and every error is one of ours. Limit:
on local disks the library is safe against kills only; what a power loss may do, `power_loss` knows.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine import panics
from sli.engine.storage import NO_OPTIONS, READERS, Storage, delta_options, message_of
from sli.errors import ConflictError, StoreError
from sli.publishing.parquet_files import Files, NewFile, Partition, Written
from sli.publishing.power_loss import LAST_KEY, FolderLog, force

if TYPE_CHECKING:
    import pyarrow.dataset
    import pyarrow.fs as pa_fs
    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties

Within: TypeAlias = Sequence[tuple[str, str, str | list[str]]]
"""Conditions on partition columns that select the files to read, for example [("day", ">=", "2026-01-31")]."""
APP = "sli"
REMOVE = "remove the whole store: the next run recomputes everything, without the history"
RESTORE = f"restore it from a copy; or {REMOVE}"
MEND = f"restore it from a copy; or `sli doctor CONFIG --repair` computes it from the logs; or {REMOVE}"
"""For every table but `results`, which says what is published."""
GONE = "run it again; if the file is still gone, `sli doctor CONFIG` names all that are, and what to do"
FEW_FILES = 12
"""A table of at most this many files is read file by file, without a dataset."""
NEXT_RUN = "run `sli run`: it removes what a power loss cut off, and nothing that was published"
DAMAGED = re.compile(r"Json error|No table metadata or protocol|Parquet error|Invalid JSON|EOF while parsing")
"""Messages of the table library about a log that it cannot parse."""
OLDER = re.compile(r"LogSegment end version \d+ not the same as the specified end version")
"""What the table library says where the newest version of a table is older than the one asked for."""
TARGET_BYTES = 16 << 20
"""The size of merged files. If they were larger, merging would rewrite too much."""
Replacing: TypeAlias = Collection[Partition] | Literal["all"] | None
"""The partitions whose rows a write replaces."""


def todo_for(name: str) -> str:
    """What to do about a table that is damaged or lost."""
    return RESTORE if name == "results" else MEND


class Tables:
    """The tables below a root, a folder or an s3:// prefix."""

    def __init__(self, root: str, storage: Storage = NO_OPTIONS) -> None:
        self.root, self.storage = root, storage
        self.options = delta_options(root, storage)
        self.local = "://" not in root

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def open(self, name: str, version: int | None = None, whole: int = -1, cut: int | None = None) -> Table | None:
        """A table at a version (default: the newest), or None if it does not exist yet. Raises StoreError.

        The newest one is before any commit that a power loss cut off: there may be at most `cut` of them, and all up to
        version `whole` must be whole.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        uri = self.uri(name)
        if self.local and not Path(uri).is_dir():
            return None
        if self.local:
            version = self._version_on_disk(name, version, whole, cut)
            if version == -1:
                return None
        try:
            with table_errors(uri, "read", "check the address and the credentials"):
                return self._table(DeltaTable(uri, version=version, storage_options=self.options), uri)
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, TableNotFoundError) or (version is not None and OLDER.search(str(cause))):
                return None
            if isinstance(cause, DeltaError) and DAMAGED.search(str(cause)):
                raise self._damaged_log(name, message_of(cause)) from cause
            raise

    def create(self, name: str, schema: pa.Schema, partitions: list[str]) -> Table:
        """A new table without rows. Raises ConflictError if it exists, StoreError."""
        from deltalake import DeltaTable

        uri = self.uri(name)
        with table_errors(uri):
            if self.local:
                Path(uri).mkdir(parents=True, exist_ok=True)
            table = DeltaTable.create(
                uri,
                schema=schema,
                partition_by=partitions,
                mode="error",
                # Files are selected by partition only; statistics of every column would make the log ten times as long.
                configuration={"delta.checkpointInterval": "10", "delta.dataSkippingNumIndexedCols": "0"},
                storage_options=self.options,
            )
        return self._table(table, uri)

    def mend(self, name: str, whole: int = -1, cut: int | None = None) -> None:
        """Remove the commits that a power loss cut off, of which `open` says what they may be. Raises StoreError."""
        if self.local:
            log = FolderLog(self.uri(name))
            with table_errors(self.uri(name)):
                found = log.first_cut()
            self._check_cut(name, found, whole, cut)
            with table_errors(self.uri(name)):
                log.mend()

    def force(self, name: str, after: Mapping[str, int], files: Iterable[NewFile] = ()) -> None:
        """Force to the disk files of a table, and the commits of tables after a version of each. Raises StoreError.

        Version -1 is before there is a table; then also the folders above the store are forced.
        """
        if self.local:
            with table_errors(self.uri(name)):
                paths = [Path(self.uri(name), file.path) for file in files]
                paths += [path for of, version in after.items() for path in FolderLog(self.uri(of)).new_files(version)]
                force([path.absolute() for path in paths], Path(self.root).absolute(), -1 in after.values())

    def _table(self, table: DeltaTable, uri: str) -> Table:
        return Table(table, uri, self.options, self.storage)

    def _version_on_disk(self, name: str, version: int | None, whole: int, cut: int | None) -> int | None:
        """The version to open: the one asked for, else the last before a commit that is not whole, -1 if none is.

        None: the newest. Raises StoreError if what is asked for is not whole, as the library would not notice.
        """
        with table_errors(self.uri(name), "read"):
            log = FolderLog(self.uri(name))
            found, checkpoint = log.first_cut(), log.damaged_checkpoint()
        if checkpoint is not None:
            raise self._damaged_log(name, f"{checkpoint.name} is not whole", NEXT_RUN)
        self._check_cut(name, found, whole if version is None else version, cut)
        return found[0] - 1 if found is not None and version is None else version

    def _check_cut(self, name: str, found: tuple[int, int] | None, whole: int, cut: int | None) -> None:
        if found is not None and (whole >= found[0] or (cut is not None and found[1] - found[0] >= cut)):
            raise self._damaged_log(name, f"the commit of version {found[0]} is missing, empty or cut off")

    def _damaged_log(self, name: str, found: str, todo: str = "") -> StoreError:
        what = "the store cannot be read, since the log of a table is damaged"
        return StoreError(what, where=f"{self.uri(name)}/_delta_log", found=found, todo=todo or todo_for(name))


class Table:
    """An open table at one version; a write leaves it open at the version that it made.

    Another process gets it by its address and version, and opens it when it first reads it.
    """

    def __init__(
        self, table: DeltaTable | None, uri: str, options: dict[str, str], storage: Storage, version: int | None = None
    ) -> None:
        self._handle, self.uri, self._options, self._storage = table, uri, options, storage
        self._local = "://" not in uri
        self.version = self._opened.version() if version is None else version

    def __reduce__(self) -> tuple[type[Table], tuple[object, ...]]:
        return Table, (None, self.uri, self._options, self._storage, self.version)

    @property
    def _opened(self) -> DeltaTable:
        if self._handle is None:
            from deltalake import DeltaTable

            self._handle = DeltaTable(self.uri, version=self.version, storage_options=self._options)
        return self._handle

    @property
    def _table(self) -> DeltaTable:
        """The table at `version`; most tables are not read again once a commit changed it."""
        if self._opened.version() != self.version:
            self._opened.load_as_version(self.version)
        return self._opened

    def history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The newest commits of the table (default: all that its log has), the newest first. Raises StoreError."""
        with table_errors(self.uri, "read"):
            if self._local:
                # The library would also read later commits, of which a power loss may have cut off the newest.
                return list(itertools.islice(FolderLog(self.uri).infos(self.version), limit))
            return self._table.history(limit)

    @property
    def identity(self) -> str:
        """What tells it from any other table, also from one that is made anew in its place. Raises StoreError."""
        with table_errors(self.uri, "read"):
            return str(self._table.metadata().id)

    def is_overtaken(self) -> bool:
        """Whether somebody wrote to the table since it was opened. Raises StoreError."""
        with table_errors(self.uri, "read"):
            # On S3 one request, where opening the table again would read its whole log.
            self._opened.update_incremental()
            return self._opened.version() != self.version

    def files(self) -> list[str]:
        """The paths or URLs of its files. Raises StoreError."""
        with table_errors(self.uri, "read"):
            return self._table.file_uris()

    def counts(self) -> pa.Table:
        """A row for each file: its partition in columns such as `partition.day`, its rows in `num_records`."""
        with table_errors(self.uri, "read"):
            # Not `pa.table`, which imports pandas.
            return pa.RecordBatchReader.from_stream(self._table.get_add_actions(flatten=True)).read_all()

    def rows(
        self, columns: Collection[str] | None = None, only: pc.Expression | None = None, within: Within = ()
    ) -> pa.Table:
        """Those of the columns that the table has (default: all), of the rows and files chosen. Raises StoreError."""
        with table_errors(self.uri, "read"):
            partitions = set(self._partition_by)
            if only is None and (not partitions if columns is None else partitions.isdisjoint(columns)):
                files = self._table.file_uris(file_pruning_predicate=list(within) or None)
                if len(files) <= FEW_FILES:
                    rows = self._rows_of_few(files)
                    return rows if columns is None else rows.select([n for n in rows.schema.names if n in columns])
            return self._scanner(columns, only, within).to_table()

    def batches(self, columns: Collection[str], within: Within) -> Iterator[pa.Table]:
        """As `rows`, some rows at a time: for files of which few rows are kept. Raises StoreError."""
        with table_errors(self.uri, "read"):
            scanner = self._scanner(columns, None, within)
            yield from (pa.Table.from_batches([batch]) for batch in scanner.to_batches() if len(batch))

    def dataset(self, within: Within = ()) -> pyarrow.dataset.FileSystemDataset:
        """The rows of the files chosen, as a dataset that others scan. Raises StoreError; scanning raises OSError."""
        import pyarrow.dataset as ds

        with table_errors(self.uri, "read"):
            dataset = self._table.to_pyarrow_dataset(
                file_pruning_predicate=list(within) or None, filesystem=self._folder()
            )
        assert isinstance(dataset, ds.FileSystemDataset)
        return dataset

    def _scanner(
        self, columns: Collection[str] | None, only: pc.Expression | None, within: Within
    ) -> pyarrow.dataset.Scanner:
        import pyarrow.dataset as ds

        dataset = self.dataset(within)
        names = None if columns is None else [name for name in dataset.schema.names if name in columns]
        # Remote storage answers slowly, so its data is prefetched; a local disk needs no threads for that.
        options = ds.ParquetFragmentScanOptions(pre_buffer=not self._local)
        return dataset.scanner(columns=names, filter=only, fragment_scan_options=options)

    def _folder(self) -> pa_fs.FileSystem | None:
        """The folder of a local table, which Arrow reads in half the time of the table library; None elsewhere."""
        import pyarrow.fs as pa_fs

        if not self._local:
            return None
        return pa_fs.SubTreeFileSystem(str(Path(self.uri).absolute()), pa_fs.LocalFileSystem())

    def _rows_of_few(self, files: Sequence[str]) -> pa.Table:
        """The rows of a few files, given by their paths or URLs, without a dataset, because a dataset imports pandas.

        A run that finds nothing to do reads only so few, and the import would take a quarter of its time.
        """
        import pyarrow.fs as pa_fs
        import pyarrow.parquet as pq
        from deltalake.fs import DeltaStorageHandler

        depth = len(self._partition_by) + 1
        wanted = {"/".join(uri.rsplit("/", depth)[1:]) for uri in files}
        paths = [(unquote(file["path"]), file["size_bytes"]) for file in self.counts().to_pylist()]
        sizes = {path: size for path, size in paths if path in wanted}
        local = self._folder()
        folder = local or pa_fs.PyFileSystem(DeltaStorageHandler(self.uri, self._options, sizes))

        def rows_of(path: str) -> pa.Table:
            with folder.open_input_file(path) as file:
                # Of a remote file all bytes by one request.
                return pq.ParquetFile(file if local else pa.BufferReader(file.read())).read()

        with ThreadPoolExecutor(1 if local else READERS) as pool:
            parts = list(pool.map(rows_of, sizes))
        return pa.concat_tables(parts or [self._schema.empty_table()], promote_options="default")

    @property
    def _schema(self) -> pa.Schema:
        # The stubs do not know that any object can export a schema.
        return pa.schema(self._table.schema())  # type: ignore[arg-type]

    def write(
        self,
        rows: pa.Table | Iterable[pa.Table] | Written,
        replacing: Replacing = None,
        metadata: Mapping[str, str] | None = None,
        sequence: int | None = None,
        packed: bool = False,
        partitions: Sequence[str] = (),
    ) -> None:
        """Append rows by one commit, or replace those that `replacing` names. Raises ConflictError and StoreError.

        The commit carries `metadata`, and `sequence` as the number of the run. Files that are `packed` have ZSTD, the
        others Snappy. Rows may have columns that the table lacks; those that come table by table have equal columns.
        `partitions` are the partition columns, which change where all rows are replaced.
        """
        with table_errors(self.uri), self._writing(0):
            tables = iter(() if isinstance(rows, Written) else [rows] if isinstance(rows, pa.Table) else rows)
            some = next(tables, self._schema.empty_table())
            schema = rows.schema if isinstance(rows, Written) else without_dictionaries(some.schema)
            if replacing != "all":
                self._add_columns(schema, sequence)
            elif list(partitions) != self._partition_by:
                self._partition_anew(schema, partitions, sequence)
            if isinstance(rows, Written):
                added = list(rows.files)
            else:
                files = Files(self.uri, self._partition_by, self._storage)
                added = list(files.write(itertools.chain([some], tables), packed))
            removed = [] if replacing is None or replacing == "all" else self._files_of(replacing)
            self._commit(schema, added, removed, replacing == "all", _properties(metadata, sequence))

    @property
    def _partition_by(self) -> list[str]:
        return list(self._table.metadata().partition_columns)

    def _add_columns(self, schema: pa.Schema, sequence: int | None) -> None:
        """Add the columns that the table lacks, by a commit of its own, which changes no row."""
        own = set(self._schema.names)
        if new := pa.schema([field for field in schema if field.name not in own]):
            from deltalake import Schema

            self._table.alter.add_columns(
                Schema.from_arrow(new).fields,
                commit_properties=_properties(None, sequence),
                post_commithook_properties=_log_stays(),
            )
            self.version = self._opened.version()

    @property
    def properties(self) -> Mapping[str, str]:
        """What the table says of itself. Raises StoreError."""
        with table_errors(self.uri, "read"):
            return dict(self._table.metadata().configuration)

    def set_properties(self, properties: Mapping[str, str], sequence: int) -> None:
        """Set what the table says of itself, by a commit. Raises ConflictError and StoreError."""
        with table_errors(self.uri), self._writing(0):
            self._table.alter.set_table_properties(
                dict(properties),
                raise_if_not_exists=False,
                commit_properties=_properties(None, sequence),
                post_commithook_properties=_log_stays(),
            )
            self.version = self._opened.version()

    def _partition_anew(self, schema: pa.Schema, partitions: Sequence[str], sequence: int | None) -> None:
        """Remove all rows and change the partition columns, by a commit of its own."""
        from deltalake import write_deltalake

        write_deltalake(
            self._table,
            schema.empty_table(),
            mode="overwrite",
            schema_mode="overwrite",
            partition_by=list(partitions),
            commit_properties=_properties(None, sequence),
            post_commithook_properties=_log_stays(),
        )
        self.version = self._opened.version()

    def _files_of(self, partitions: Collection[Partition]) -> list[dict[str, Any]]:
        """The files of these partitions: a dictionary each, of their path in the log, size and partition."""
        files, wanted = self.counts(), set(partitions)
        values = zip(*(files.column(f"partition.{name}").to_pylist() for name in self._partition_by), strict=True)
        at = [i for i, partition in enumerate(values) if partition in wanted]
        return files.take(pa.array(at, pa.int64())).to_pylist()

    def _commit(
        self,
        schema: pa.Schema,
        added: Sequence[NewFile],
        removed: Sequence[Mapping[str, Any]],
        all_replaced: bool,
        properties: CommitProperties,
    ) -> None:
        from deltalake.transaction import AddAction, RemoveAction

        now, by = time.time_ns() // 1_000_000, self._partition_by
        adds = [
            AddAction(
                path=file.path,
                size=file.bytes,
                partition_values=dict(zip(by, file.partition, strict=True)),
                modification_time=now,
                data_change=True,
                stats=json.dumps({"numRecords": file.rows}),
            )
            for file in added
        ]
        removes = [
            RemoveAction(
                # The library encodes paths once more.
                unquote(file["path"]),
                data_change=True,
                deletion_timestamp=now,
                size=file["size_bytes"],
                partition_values={name: file[f"partition.{name}"] for name in by},
            )
            for file in removed
        ]
        mode = "overwrite" if all_replaced else "append"
        self._table.create_write_transaction(
            [*removes, *adds],
            mode,
            schema,
            by,
            commit_properties=properties,
            post_commithook_properties=_log_stays(),
        )
        # The commit fails where another one came first, so its version is the next. The library does not go there.
        self.version += 1

    def restore(self, version: int, metadata: Mapping[str, str] | None = None, sequence: int | None = None) -> None:
        """Make a commit that goes back to the rows of an earlier version. Raises ConflictError and StoreError."""
        with table_errors(self.uri), self._writing(0):
            self._table.restore(
                version, commit_properties=_properties(metadata, sequence), post_commithook_properties=_log_stays()
            )
            self.version = self._opened.version()

    def forget(self, paths: Collection[str]) -> None:
        """Make a commit that no longer names some files. Raises ConflictError and StoreError."""
        gone = set(paths)
        with table_errors(self.uri), self._writing(0):
            removed = [file for file in self.counts().to_pylist() if unquote(file["path"]) in gone]
            self._commit(self._schema, [], removed, False, _properties(None))

    def compact(self) -> None:
        """Merge small files. Raises ConflictError and StoreError."""
        with table_errors(self.uri), self._writing(TARGET_BYTES):
            self._table.optimize.compact(target_size=TARGET_BYTES, post_commithook_properties=_log_stays())
            self.version = self._opened.version()

    @contextmanager
    def _writing(self, size: int) -> Iterator[None]:
        """A context for writing bytes; hides panics of the library. Raises OSError if the folder is read-only."""
        if self._local and not os.access(self.uri, os.W_OK):
            raise OSError("the folder is read-only, or its owner lets nobody write there")
        with panics.hide_panics(self.uri, size) if self._local else nullcontext():
            yield


def without_dictionaries(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema])


def _properties(metadata: Mapping[str, str] | None, sequence: int | None = None) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    # The library writes the number of the run last.
    last = {LAST_KEY: "txn"} if metadata and sequence is not None else {}
    return CommitProperties(
        custom_metadata={**metadata, **last} if metadata else None,
        app_transactions=None if sequence is None else [Transaction(APP, sequence)],
        max_commit_retries=0,
    )


def _log_stays() -> PostCommitHookProperties:
    """After a commit the library would remove older ones by their age alone, also those that a publication rests on."""
    from deltalake import PostCommitHookProperties

    return PostCommitHookProperties(cleanup_expired_logs=False)


@contextmanager
def table_errors(where: str, done: str = "written", todo: str = "") -> Iterator[None]:
    """A context that turns the errors of the table library into StoreError and ConflictError."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except BaseException as error:
        if isinstance(error, CommitFailedError) or "already exists" in str(error):
            what, found = "another run published at the same time", message_of(error)
            raise ConflictError(what, where=where, found=found, todo="run again", passes=True) from error
        panicked = type(error).__name__ == "PanicException"
        if not panicked and not isinstance(error, DeltaError | OSError | pa.ArrowException):
            raise
        if "No space left" in str(error):
            todo = "make room on its disk, then run again; nothing of this run is visible"
        if isinstance(error, FileNotFoundError) and not todo:
            todo = GONE
        what = f"the store cannot be {done}"
        raise StoreError(what, where=where, found=message_of(error), todo=todo, passes=True) from error
