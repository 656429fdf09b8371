"""The Parquet files of a write to a table, made one after another, and read before a commit names them.

The table library keeps a writer open for each partition until the last row has come, which takes megabytes a partition.
Here one file is open at a time; remote files are on their way together. Limit: rows of a partition that come apart from
each other lie in several files.
"""

from __future__ import annotations

import functools
import io
import itertools
import operator
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.arrow import Integers, rows_in_order
from sli.engine.storage import NO_OPTIONS, READERS, Storage, filesystem
from sli.rollup.results import encode

if TYPE_CHECKING:
    import pyarrow.fs as pa_fs
    import pyarrow.parquet as pq

Partition = tuple[str, ...]
"""The values of the partition columns of a table."""
SORTED_ROWS = 1 << 16
"""About how many rows are put in the order of their partitions at a time."""
PIECE_BYTES = 1 << 20
"""Rows that lie in smaller pieces are copied into one, since each piece takes milliseconds to write."""
FILE_BYTES = 64 << 20
"""A file that is larger is followed by another one: on remote storage a file is in memory until it is complete."""


@dataclass(frozen=True)
class NewFile:
    """A file that is written, but that no commit names yet. Its path is below the folder of its table."""

    path: str
    partition: Partition
    bytes: int
    rows: int


@dataclass(frozen=True)
class Files:
    """Writes the files of a table to its folder, a path or a URL."""

    folder: str
    partition_by: Sequence[str]
    storage: Storage = NO_OPTIONS

    def write(self, tables: Iterable[pa.Table], packed: bool) -> Iterator[NewFile]:
        """Write rows, one or more files a partition; with ZSTD if they are `packed`, else with Snappy.

        If it fails, its files are removed. Raises OSError and ArrowException.
        """
        begun: list[str] = []
        try:
            with uploading(self.storage) as upload:
                yield from self._write(tables, packed, begun, upload)
        except BaseException:
            self.remove(begun)
            raise

    def _write(self, tables: Iterable[pa.Table], packed: bool, begun: list[str], upload: Upload) -> Iterator[NewFile]:
        pieces = (piece for table in tables for piece in partitions_of(table, self.partition_by) if len(piece[1]))
        now = next(pieces, None)
        while now is not None:
            partition, schema, count = now[0], now[1].schema, 0
            path = self._new_path(partition)
            begun.append(path)
            with self._opened(path, upload) as file:
                with _writer(file, schema, packed) as writer:
                    while now is not None and (now[0], now[1].schema) == (partition, schema):
                        writer.write_table(now[1])
                        count += len(now[1])
                        now = next(pieces, None)
                        if file.tell() > FILE_BYTES:
                            break
                size = file.tell()
            yield NewFile(path, partition, size, count)

    def read(
        self,
        files: Iterable[NewFile],
        schema: pa.Schema,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
    ) -> pa.Table:
        """Rows of files that `write` made of tables with the columns of `schema`. Raises OSError and ArrowException."""
        import pyarrow.dataset as ds

        fs, kind = self._file_system(), ds.ParquetFileFormat()
        fragments = [kind.make_fragment(file.path, fs, self._is_in(file.partition)) for file in files]
        names = None if columns is None else [name for name in schema.names if name in columns]
        return ds.FileSystemDataset(fragments, schema, kind, fs).to_table(columns=names, filter=only)

    def _file_system(self) -> pa_fs.FileSystem:
        import pyarrow.fs as pa_fs

        if "://" not in self.folder:
            return pa_fs.SubTreeFileSystem(str(Path(self.folder).absolute()), pa_fs.LocalFileSystem())
        fs, place = filesystem(self.folder, self.storage)
        return pa_fs.SubTreeFileSystem(place, pa_fs.PyFileSystem(pa_fs.FSSpecHandler(fs)))  # type: ignore[abstract]  # in the stubs

    def _is_in(self, partition: Partition) -> pc.Expression | None:
        """That a row lies in this partition."""
        equal = (pc.field(name) == value for name, value in zip(self.partition_by, partition, strict=True))
        return functools.reduce(operator.and_, equal) if partition else None

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files that no commit names: a disk that is full would stay so. Stops where the storage fails."""
        with suppress(Exception):
            for path in paths:
                fs, place = filesystem(f"{self.folder}/{path}", self.storage)
                fs.rm_file(place)

    def _new_path(self, partition: Partition) -> str:
        folders = [f"{name}={quote(value, safe='')}" for name, value in zip(self.partition_by, partition, strict=True)]
        return "/".join([*folders, f"part-{uuid.uuid4()}.parquet"])

    @contextmanager
    def _opened(self, path: str, upload: Upload) -> Iterator[IO[bytes]]:
        place = f"{self.folder}/{path}"
        if "://" not in place:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            with open(place, "xb") as file:
                yield file
            return
        content = io.BytesIO()
        yield content
        upload(place, content.getvalue())


Upload = Callable[[str, bytes], None]
"""Begins to write a remote file. Raises the error of an earlier one that failed."""


@contextmanager
def uploading(storage: Storage) -> Iterator[Upload]:
    """A context in which remote files are written by parallel requests, one a file; all are written at its end.

    Those on their way have about FILE_BYTES together.
    """
    under_way: deque[tuple[Future[None], int]] = deque()

    def upload(url: str, content: bytes) -> None:
        while under_way and sum(size for _, size in under_way) + len(content) > FILE_BYTES:
            under_way.popleft()[0].result()
        fs, place = filesystem(url, storage)
        under_way.append((pool.submit(fs.pipe_file, place, content), len(content)))

    with ThreadPoolExecutor(READERS) as pool:
        yield upload
        for written, _ in under_way:
            written.result()


@dataclass(frozen=True)
class Written:
    """Files of a table that no commit names yet, and the columns of their rows."""

    place: Files
    schema: pa.Schema
    files: tuple[NewFile, ...]
    few: pa.Table | None = None
    """The rows themselves, where they are few: another process reads them from the files."""

    def __reduce__(self) -> tuple[type[Written], tuple[object, ...]]:
        return Written, (self.place, self.schema, self.files)

    def rows(self, partitions: Collection[str], columns: Collection[str], only: pc.Expression) -> pa.Table:
        """Rows of a table with one partition column. Raises OSError and ArrowException."""
        if self.few is not None:
            names = [name for name in self.few.schema.names if name in columns]
            inside = pc.field(self.place.partition_by[0]).isin(pa.array(sorted(partitions), pa.string()))
            return self.few.filter(inside & only).select(names)
        files = [file for file in self.files if file.partition[0] in partitions]
        return self.place.read(files, self.schema, columns, only)


def _writer(file: IO[bytes], schema: pa.Schema, packed: bool) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    # No schema of Arrow inside, since the schema of the table is what readers take.
    if packed:
        return pq.ParquetWriter(file, schema, compression="zstd", compression_level=1, store_schema=False)
    return pq.ParquetWriter(file, schema, compression="snappy", store_schema=False)


def partitions_of(table: pa.Table, partition_by: Sequence[str]) -> Iterator[tuple[Partition, pa.Table]]:
    """The rows of each partition, in their order, without the partition columns."""
    if not partition_by:
        yield (), table
        return
    for rows in in_order_of_partitions(table, partition_by):
        codes, partitions = _coded(rows, partition_by)
        values = rows.drop_columns(list(partition_by))
        for first, last in _runs(codes):
            yield partitions[codes[first]], values.slice(first, last - first)


def in_order_of_partitions(table: pa.Table, partition_by: Sequence[str]) -> Iterator[pa.Table]:
    """The rows in the order of their partitions, about SORTED_ROWS at a time; in tables of whole partitions."""
    codes, partitions = _coded(table, partition_by)
    if len(_runs(codes)) <= len(partitions):
        yield table
        return
    order, sizes, first = np.argsort(codes, kind="stable"), np.bincount(codes), 0
    while first < len(sizes):
        last = first + max(1, int(np.searchsorted(np.cumsum(sizes[first:]), SORTED_ROWS, side="right")))
        begin, end = sizes[:first].sum(), sizes[:last].sum()
        rows = rows_in_order(table, order[begin:end])
        yield rows.combine_chunks() if rows.nbytes < PIECE_BYTES * rows.column(0).num_chunks else rows
        first = last


def _coded(table: pa.Table, partition_by: Sequence[str]) -> tuple[Integers, list[Partition]]:
    """A number of its partition for each row, and the partition of each number."""
    codes = np.zeros(len(table), dtype=np.int64)
    texts: list[list[str]] = []
    for name in partition_by:
        column = encode(table.column(name))
        texts.append([str(value) for value in column.dictionary.to_pylist()])
        codes = codes * len(column.dictionary) + column.indices.to_numpy()
    present, codes = np.unique(codes, return_inverse=True)
    places = np.unravel_index(present, [max(1, len(values)) for values in texts])
    partitions = zip(*(np.array(values, object)[at] for values, at in zip(texts, places, strict=True)), strict=True)
    return codes.astype(np.int64), list(partitions)


def _runs(codes: Integers) -> list[tuple[int, int]]:
    """The first and last position of rows with the same number that follow each other."""
    ends = np.flatnonzero(np.diff(codes)) + 1
    return list(itertools.pairwise([0, *ends.tolist(), len(codes)])) if len(codes) else []
