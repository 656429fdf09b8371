"""The index of ids: a hash of each id of a log, and the tiles in which it lies. It says where else an id occurs.

The ids of most files lie in table `keys` of the store, in a partition for each week, as far back as matters to
an hourly run (`kept_since`). Those of older rows, and of the other files (all files in a first run, new ones
later), are read from the files themselves. If a row is gone, or two ids share a hash, an entry does no harm: what the
index points to is read from the logs and compared by its id. Limit: the hash depends on the version of DuckDB, so
after an upgrade the index is written again from the logs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, END, Interval, difference, intersection, meets_any
from sli.config.model import Config
from sli.engine.connection import repeated_keys
from sli.engine.sql import in_tiles_sql, literal, path_sql, tile_sql
from sli.logs.damaged import reading
from sli.logs.files import Files, LogFile
from sli.logs.log import Log, feedback_log, predictions_log
from sli.logs.reader import parts_sql, rows_sql
from sli.planning.listing import NeedsOlder
from sli.planning.reach import Reach
from sli.schemas import ID_INDEX
from sli.slis.states import Integers, integers

HASH = f"duckdb {duckdb.__version__}, by week"
"""The name of the hash function and of the partitions. An index with another name is written again."""
ID_HASH = "(hash(id) >> 1)::BIGINT"
"""SQL of the hash of an id: column `key` of the index."""
BATCH = 4_000_000
"""How many rows are indexed in memory at a time."""
WEEK = 7 * DAY
NO_ENTRIES = "SELECT NULL::BIGINT AS tile, NULL::BIGINT AS key LIMIT 0"
KEY_BYTES = 40
"""Bytes of memory per entry while hashes are sorted, with all copies."""


@dataclass(frozen=True, kw_only=True)
class IdIndex:
    """Where each id of one log lies: the ids of the files `indexed` are stored, those of `rest` are read from them."""

    config: Config
    log: Log
    root: str
    """The root of the store."""
    stored: Mapping[int, Mapping[str, int]]
    """The files of table `keys` for the log by their week: how many bytes each path below the root of the store has."""
    since: int
    """The instant from which on the ids of the files `indexed` are stored."""
    remembers: bool
    """Whether also ids of rows are stored that are gone since the published run."""
    indexed: Files
    rest: Files
    listed_since: int
    """No row before this instant is looked up: older files may be missing."""

    @property
    def without_rest(self) -> IdIndex:
        """The index of the files whose ids are stored."""
        return replace(self, rest=Files.of(()))

    def reading(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection to look ids up. Raises as `reading`."""
        return _reading(self.config, itertools.chain(self.indexed, self.rest), self.log)

    def knows_gone(self, tiles: Iterable[Interval]) -> bool:
        """Whether it has the ids of all rows that lay in these tiles, also of those that are gone."""
        return self.remembers and all(interval.start >= self.since for interval in tiles)

    def repeated(
        self, con: duckdb.DuckDBPyConnection, near: Sequence[Interval], within: Sequence[Interval]
    ) -> pa.Table:
        """Column `k`: the hashes of ids that lie in several of the tiles `within`, at least once in the tiles `near`.

        They are counted in shares of all hashes, so that each share fits in the memory of a task.
        """
        rows = sum(_rows_near(files, near) for files in (self.indexed, self.rest))
        shares = max(1, -(-KEY_BYTES * rows // self.config.task_memory))
        entries = f"SELECT tile, key FROM {self._entries(con, within)} WHERE key % {shares}"
        in_near = f"SELECT key FROM entries WHERE {in_tiles_sql(near, self.config.tile)}"
        keys = "" if list(near) == list(within) else f"WHERE key IN ({in_near})"
        return pa.concat_tables(
            repeated_keys(
                con,
                f"WITH entries AS NOT MATERIALIZED ({entries} = {share}) SELECT key AS k, tile FROM entries {keys}",
                "min(tile) <> max(tile)",
            )
            for share in range(shares)
        )

    def keys_near(self, con: duckdb.DuckDBPyConnection, keys: str, near: Sequence[Interval]) -> str:
        """SQL of those of the hashes `keys` (SQL of one column) whose ids lie in the tiles `near`."""
        return f"SELECT key FROM {self._entries(con, near)} WHERE key IN ({keys})"

    def rows_of(self, con: duckdb.DuckDBPyConnection, keys: str, spans: Sequence[Interval]) -> str:
        """SQL of the rows in these stretches of time whose ids have the hashes `keys` (SQL of one column).

        Of the files `indexed` only those are read that have rows in a tile that the index names, or rows so old that it
        does not name them. A few rows between the stretches may be there, too.
        """
        self._check_listed(spans)
        stored, parts = self._stored(con, spans), self._outside(spans)
        if stored:
            in_spans = in_tiles_sql(spans, self.config.tile)
            tiles = con.execute(
                f"SELECT DISTINCT tile FROM {stored} WHERE key IN ({keys}) AND {in_spans} ORDER BY tile"
            )
            numbers = integers(tiles.fetchnumpy()["tile"])
            files = files_with_tiles(self.indexed, numbers, self.config.tile)
            tile_spans = (
                Interval(int(number) * self.config.tile, (int(number) + 1) * self.config.tile) for number in numbers
            )
            if within := intersection(tile_spans, self._inside(spans)):
                parts.append((files, Interval(within[0].start, within[-1].end)))
        return f"(SELECT * FROM {parts_sql(con, parts, self.log)} WHERE {ID_HASH} IN ({keys}))"

    def _entries(self, con: duckdb.DuckDBPyConnection, spans: Sequence[Interval]) -> str:
        """SQL of the entries in some tiles: columns `tile` and `key`."""
        self._check_listed(spans)
        selects = [_entries_of(con, self.config, files, self.log, span) for files, span in self._outside(spans)]
        if stored := self._stored(con, spans):
            inside = in_tiles_sql(self._inside(spans), self.config.tile)
            selects.append(f"SELECT tile, key FROM {stored} WHERE {inside}")
        return f"({' UNION ALL '.join(selects or [NO_ENTRIES])})"

    def _check_listed(self, spans: Sequence[Interval]) -> None:
        """Raise NeedsOlder if older files may have rows in these stretches of time."""
        first = min((span.start for span in spans), default=END)
        if first < self.listed_since:
            raise NeedsOlder(first)

    def _inside(self, spans: Sequence[Interval]) -> list[Interval]:
        """The times in these stretches whose ids are stored."""
        return intersection(spans, [Interval(self.since, END)]) if self.stored else []

    def _outside(self, spans: Sequence[Interval]) -> list[tuple[Files, Interval]]:
        """Files to read for these stretches of time, and when: ids of the rows there are not stored."""
        older = difference(spans, self._inside(spans))
        parts = [
            (files.take(files.meeting(span)), span)
            for files, times in ((self.indexed, older), (self.rest, spans))
            for span in times
        ]
        return [(files, span) for files, span in parts if len(files)]

    def _stored(self, con: duckdb.DuckDBPyConnection, spans: Sequence[Interval]) -> str:
        """SQL of the stored entries of the weeks in these stretches of time; empty if there are none."""
        root, inside = f"{self.root}/", self._inside(spans)
        weeks = [week for week in sorted(self.stored) if intersection([week_interval(week)], inside)]
        files = {name: size for week in weeks for name, size in self.stored[week].items()}
        if "://" in root and files:
            root = self._remote_root(con)
        paths = ", ".join(path_sql(f"{root}{name}") for name in files)
        return f"read_parquet([{paths}], hive_partitioning=false)" if paths else ""

    def _remote_root(self, con: duckdb.DuckDBPyConnection) -> str:
        """What the paths of stored files begin with, by a protocol of their own: files of logs are fetched as such."""
        from sli.engine.remote_files import RemoteFiles  # imports asyncio, too

        protocol = f"stored{self.log.name}"
        if not con.filesystem_is_registered(protocol):
            sizes = {name: size for files in self.stored.values() for name, size in files.items()}
            con.register_filesystem(RemoteFiles(protocol, self.root, sizes, self.config.storage))
        return f"{protocol}://"


def index_rows(config: Config, files: Iterable[LogFile], since: int) -> Iterator[pa.Table]:
    """The entries of the rows of files from an instant on: tables of `schemas.ID_INDEX`, about BATCH rows at a time.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    span = Interval(since, END)
    for batch in _batches(file for file in files if file.meets(span)):
        sides = itertools.groupby(batch, key=lambda file: file.side)
        yield pa.concat_tables(_index_rows(config, side, list(of_side), span) for side, of_side in sides)


def _index_rows(config: Config, side: str, files: list[LogFile], span: Interval) -> pa.Table:
    """The entries of the rows of files of one side in a stretch of time."""
    log = predictions_log(config) if side == "predictions" else feedback_log(config)
    week = tile_sql("tile", WEEK // config.tile)
    with _reading(config, files, log) as con:
        entries = _entries_of(con, config, files, log, span)
        sql = f"SELECT {literal(side)} AS log, ({week})::VARCHAR AS week, tile, key FROM ({entries})"
        table: pa.Table = con.sql(sql).to_arrow_table()
    return table.cast(ID_INDEX)


def kept_since(reach: Reach, as_of: int) -> int:
    """The instant from which on the index keeps ids for runs as of an instant or later: the start of a week.

    It keeps a week more than rows that come in time need, so that a day's rows at once do not send a run to the logs.
    """
    return max(BEGINNING, (as_of - reach.far - WEEK) // WEEK * WEEK)


def week_interval(week: int) -> Interval:
    """The week with a number."""
    return Interval(max(BEGINNING, week * WEEK), min(END, (week + 1) * WEEK))


def _reading(config: Config, files: Iterable[LogFile], log: Log) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return reading(config.parallel, config.task_memory, [(log, files)], f"ids of the {log.name}")


def _entries_of(
    con: duckdb.DuckDBPyConnection, config: Config, files: Iterable[LogFile], log: Log, span: Interval
) -> str:
    """SQL of the entries of the rows of files in a stretch of time."""
    rows = rows_sql(con, files, replace(log, columns=()), span)
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


def _rows_near(files: Files, near: Iterable[Interval]) -> int:
    """How many rows there are in files that have any in these stretches of time."""
    file, first, last = files.ranges
    meeting = np.unique(file[meets_any(first, last + 1, near)])
    return int(integers(files.rows.column("rows"))[meeting].sum())
