"""The index of ids: a hash of each id of both logs, and the tiles in which it lies. It says where an id was before.

If a row is gone, its entry does no harm: rows that the index points to are read from the logs. Limit: the hash depends
on the version of DuckDB, so after an upgrade the index is built again from the logs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
from fsspec.implementations.dirfs import DirFileSystem

from sli.calendar.interval import BEGINNING, END, Interval
from sli.config.model import Config
from sli.engine.connection import connect, task_error
from sli.engine.sql import literal, path_sql
from sli.engine.storage import Storage, filesystem
from sli.logs.damaged import check_readable
from sli.logs.files import Files, LogFile
from sli.logs.log import feedback_log, predictions_log
from sli.logs.reader import rows_sql
from sli.schemas import ID_INDEX
from sli.slis.states import Integers

HASH = f"duckdb {duckdb.__version__}"
"""The name of the hash function, stored with the index."""
ID_HASH = "(hash(id) >> 1)::BIGINT"
"""SQL of the hash of an id: column `key` of the index."""
ALWAYS = Interval(BEGINNING, END)
BATCH = 4_000_000
"""How many rows are indexed in memory at a time."""


@dataclass(frozen=True)
class IdIndex:
    """The files of the index for each log, as paths below the root of a store."""

    root: str
    storage: Storage
    predictions: tuple[str, ...]
    feedback: tuple[str, ...]

    def sql(self, con: duckdb.DuckDBPyConnection, log: str) -> str:
        """SQL of the index of a log: columns `tile` and `key`."""
        names: tuple[str, ...] = getattr(self, log)
        if not names:
            return "(SELECT NULL::BIGINT AS tile, NULL::BIGINT AS key LIMIT 0)"
        root = self.root
        if "://" in root:
            # With a protocol of its own, since files with the protocol of the logs are prefetched as parts of the logs.
            if not con.filesystem_is_registered(DirFileSystem.protocol):
                fs, path = filesystem(root, self.storage)
                con.register_filesystem(DirFileSystem(path, fs))
            root = f"{DirFileSystem.protocol}:/"
        return f"read_parquet([{', '.join(path_sql(f'{root}/{name}') for name in names)}], hive_partitioning=false)"


def index_rows(config: Config, files: Iterable[LogFile]) -> Iterator[pa.Table]:
    """The index of all rows of files: tables of `schemas.ID_INDEX`, about BATCH rows at a time.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    sources = {"predictions": replace(predictions_log(config), columns=()), "feedback": feedback_log(config)}
    for batch in _batches(files):
        log = batch[0].side
        con = connect(config.parallel, config.task_memory)
        try:
            rows = rows_sql(con, batch, sources[log], config.timezone, ALWAYS)
            table: pa.Table = con.sql(
                # Rounded down, as in `files_with_tiles`: `//` alone rounds times before 1970 up.
                f"SELECT {literal(log)} AS log, t // {config.tile} - (t % {config.tile} < 0)::BIGINT AS tile, "
                f"{ID_HASH} AS key FROM {rows} WHERE id IS NOT NULL"
            ).to_arrow_table()
        except (duckdb.Error, OSError) as error:
            check_readable(batch, sources[log], config.timezone, error)
            raise task_error(error, batch[0].path) from error
        finally:
            con.close()
        yield table.cast(ID_INDEX)


def _batches(files: Iterable[LogFile]) -> Iterator[list[LogFile]]:
    """Files of one side that hold about BATCH rows together."""
    for _, group in itertools.groupby((f for f in files if f.usable), key=lambda f: f.side):
        batch: list[LogFile] = []
        rows = 0
        for file in group:
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
