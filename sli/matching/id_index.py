"""The index of ids: a hash of each id of a log, and the tiles in which it lies. It says where else an id occurs.

The ids of most files lie in table `keys` of the store. Those of the other files (all files in a first run, new ones
later) are read from the files themselves. If a row is gone, or two ids share a hash, an entry does no harm: what the
index points to is read from the logs and compared by its id. Limit: the hash depends on the version of DuckDB, so
after an upgrade the index is written again from the logs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa

from sli.calendar.interval import ALWAYS, END, Interval, intersection, meets_any
from sli.config.model import Config
from sli.engine.connection import repeated_keys
from sli.engine.sql import inside_sql, literal, path_sql, tile_sql
from sli.engine.storage import filesystem
from sli.logs.damaged import reading
from sli.logs.files import Files, LogFile
from sli.logs.log import Log, feedback_log, predictions_log
from sli.logs.reader import parts_sql, rows_sql
from sli.schemas import ID_INDEX
from sli.slis.states import Integers, integers

HASH = f"duckdb {duckdb.__version__}"
"""The name of the hash function, stored with the index."""
ID_HASH = "(hash(id) >> 1)::BIGINT"
"""SQL of the hash of an id: column `key` of the index."""
BATCH = 4_000_000
"""How many rows are indexed in memory at a time."""
KEY_BYTES = 40
"""Bytes of memory per entry while hashes are sorted, with all copies."""


@dataclass(frozen=True, kw_only=True)
class IdIndex:
    """Where each id of one log lies: the ids of the files `indexed` are stored, those of `rest` are read from them."""

    config: Config
    log: Log
    root: str
    """The root of the store."""
    stored: tuple[str, ...]
    """The files of table `keys` for the log, as paths below the root."""
    indexed: Files
    rest: Files

    @property
    def without_rest(self) -> IdIndex:
        """The index of the files whose ids are stored."""
        return replace(self, rest=Files.of(()))

    def reading(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection to look ids up. Raises as `reading`."""
        return _reading(self.config, itertools.chain(self.indexed, self.rest), self.log)

    def repeated(self, con: duckdb.DuckDBPyConnection, near: tuple[Interval, ...]) -> pa.Table:
        """Column `k`: the hashes of ids that lie in more than one tile, at least once in the tiles `near`.

        They are counted in shares of all hashes, so that each share fits in the memory of a task.
        """
        rows = sum(_rows_near(files, near) for files in (self.indexed, self.rest))
        shares = max(1, -(-KEY_BYTES * rows // self.config.task_memory))
        entries = f"SELECT tile, key FROM {self._entries(con)} WHERE key % {shares}"
        keys = "" if near == (ALWAYS,) else f"WHERE key IN (SELECT key FROM entries WHERE {self._in_tiles(near)})"
        return pa.concat_tables(
            repeated_keys(
                con,
                f"WITH entries AS NOT MATERIALIZED ({entries} = {share}) SELECT key AS k, tile FROM entries {keys}",
                "min(tile) <> max(tile)",
            )
            for share in range(shares)
        )

    def keys_near(self, con: duckdb.DuckDBPyConnection, keys: str, near: tuple[Interval, ...]) -> str:
        """SQL of those of the hashes `keys` (SQL of one column) whose ids lie in the tiles `near`."""
        return f"SELECT key FROM {self._entries(con)} WHERE {self._in_tiles(near)} AND key IN ({keys})"

    def rows_of(self, con: duckdb.DuckDBPyConnection, keys: str, span: Interval) -> str:
        """SQL of all rows in a span of time whose ids have the hashes `keys` (SQL of one column).

        Of the files `indexed` only those are read that have rows in a tile that the index names.
        """
        tile, parts = self.config.tile, [(self.rest, span)]
        if self.stored:
            tiles = con.execute(f"SELECT DISTINCT tile FROM {self._stored(con)} WHERE key IN ({keys}) ORDER BY tile")
            numbers = integers(tiles.fetchnumpy()["tile"])
            files = files_with_tiles(self.indexed, numbers, tile)
            tile_spans = (Interval(int(number) * tile, (int(number) + 1) * tile) for number in numbers)
            if within := intersection(tile_spans, [span]):
                parts.append((files, Interval(within[0].start, within[-1].end)))
        return f"(SELECT * FROM {parts_sql(con, parts, self.log)} WHERE {ID_HASH} IN ({keys}))"

    def _entries(self, con: duckdb.DuckDBPyConnection) -> str:
        """SQL of all entries: columns `tile` and `key`."""
        rest = _entries_of(con, self.config, self.rest, self.log)
        return f"(SELECT tile, key FROM {self._stored(con)} UNION ALL {rest})" if self.stored else f"({rest})"

    def _stored(self, con: duckdb.DuckDBPyConnection) -> str:
        """SQL of the stored entries."""
        root = self.root
        if "://" in root:
            from fsspec.implementations.dirfs import DirFileSystem  # imports asyncio, too

            # With a protocol of its own, since files with the protocol of the logs are prefetched as parts of the logs.
            if not con.filesystem_is_registered(DirFileSystem.protocol):
                fs, path = filesystem(root, self.config.storage)
                con.register_filesystem(DirFileSystem(path, fs))
            root = f"{DirFileSystem.protocol}:/"
        paths = ", ".join(path_sql(f"{root}/{name}") for name in self.stored)
        return f"read_parquet([{paths}], hive_partitioning=false)"

    def _in_tiles(self, near: tuple[Interval, ...]) -> str:
        tile = self.config.tile
        return inside_sql("tile", (Interval(i.start // tile, -(-i.end // tile)) for i in near))


def index_rows(config: Config, files: Iterable[LogFile]) -> Iterator[pa.Table]:
    """The entries of all rows of files: tables of `schemas.ID_INDEX`, about BATCH rows at a time.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    for batch in _batches(files):
        sides = itertools.groupby(batch, key=lambda file: file.side)
        yield pa.concat_tables(_index_rows(config, side, list(of_side)) for side, of_side in sides)


def _index_rows(config: Config, side: str, files: list[LogFile]) -> pa.Table:
    """The entries of all rows of files of one side."""
    log = predictions_log(config) if side == "predictions" else feedback_log(config)
    with _reading(config, files, log) as con:
        entries = _entries_of(con, config, files, log)
        table: pa.Table = con.sql(f"SELECT {literal(side)} AS log, tile, key FROM ({entries})").to_arrow_table()
    return table.cast(ID_INDEX)


def _reading(config: Config, files: Iterable[LogFile], log: Log) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return reading(config.parallel, config.task_memory, [(log, files)], f"ids of the {log.name}")


def _entries_of(con: duckdb.DuckDBPyConnection, config: Config, files: Iterable[LogFile], log: Log) -> str:
    """SQL of the entries of the rows of files."""
    rows = rows_sql(con, files, replace(log, columns=()), ALWAYS)
    return f"SELECT {tile_sql('t', config.tile)} AS tile, {ID_HASH} AS key FROM {rows} WHERE id IS NOT NULL"


def _batches(files: Iterable[LogFile]) -> Iterator[list[LogFile]]:
    """Usable files that hold about BATCH rows together."""
    batch: list[LogFile] = []
    rows = 0
    for file in files:
        if file.usable:
            batch.append(file)
            rows += file.rows
        if rows >= BATCH:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def files_with_tiles(files: Files, numbers: Integers, tile: int) -> Files:
    """The files that have rows in any of these tiles; `numbers` of tiles ascend."""
    file, first, last = files.ranges
    # For each row group the first of these tiles that does not lie before it; END if there is none.
    hit = np.append(numbers, END)[np.searchsorted(numbers, first // tile)]
    return files.take(np.unique(file[hit <= last // tile]))


def _rows_near(files: Files, near: tuple[Interval, ...]) -> int:
    """How many rows there are in files that have any in these stretches of time."""
    file, first, last = files.ranges
    meeting = np.unique(file[meets_any(first, last + 1, near)])
    return int(integers(files.rows.column("rows"))[meeting].sum())
