"""Key segments: where each id of both logs lies, as hashes, so that new ids are looked up in all of history at once.

A key that no row has any more does no harm: what is found is looked at in the logs. Limit: the hash is that of this
version of DuckDB; after another one has run, all keys are made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
from fsspec.implementations.dirfs import DirFileSystem

from sli.config import Config
from sli.intervals import BEGINNING, END, Interval
from sli.logs import LogFile
from sli.scan import connect, feedback_source, predictions_source, rows_of
from sli.schemas import KEYS
from sli.slices import literal
from sli.slis.states import Integers, integers
from sli.storage import Storage, filesystem

HASH = f"duckdb {duckdb.__version__}"
"""Names the hash of the keys that are stored."""
KEY = "(hash(id) >> 1)::BIGINT"
"""SQL of the key of an id."""
ALWAYS = Interval(BEGINNING, END)


@dataclass(frozen=True)
class Segments:
    """The files of the keys of each log, below the root of a store."""

    root: str
    storage: Storage
    predictions: tuple[str, ...]
    feedback: tuple[str, ...]

    def of(self, con: duckdb.DuckDBPyConnection, log: str) -> str:
        """SQL of the keys of a log: columns tile and key."""
        names: tuple[str, ...] = getattr(self, log)
        if not names:
            return "(SELECT NULL::BIGINT AS tile, NULL::BIGINT AS key LIMIT 0)"
        root = self.root
        if "://" in root:
            # By a protocol of its own: that of the logs is fetched ahead as they announce it.
            if not con.filesystem_is_registered(DirFileSystem.protocol):
                fs, path = filesystem(root, self.storage)
                con.register_filesystem(DirFileSystem(path, fs))
            root = f"{DirFileSystem.protocol}:/"
        return f"read_parquet([{', '.join(literal(f'{root}/{name}') for name in names)}], hive_partitioning=false)"


def keys_of(config: Config, predictions: Iterable[LogFile], feedback: Iterable[LogFile]) -> pa.Table:
    """The keys of all rows of files: a table of `schemas.KEYS`."""
    logs = {
        "predictions": (replace(predictions_source(config), columns=()), predictions),
        "feedback": (feedback_source(config), feedback),
    }
    con = connect(config.parallel, config.task_memory)
    try:
        parts = []
        for log, (source, files) in logs.items():
            rows = rows_of(con, [each for each in files if each.usable], source, config.timezone, ALWAYS)
            parts.append(
                con.sql(
                    f"SELECT {literal(log)} AS log, t // {config.tile} AS tile, {KEY} AS key FROM {rows} "
                    "WHERE id IS NOT NULL"
                ).to_arrow_table()
            )
    finally:
        con.close()
    return pa.concat_tables(parts).cast(KEYS)


def holding(files: Iterable[LogFile], numbers: Integers, tile: int) -> list[LogFile]:
    """The files that have rows in any of these tiles, by their numbers in ascending order."""
    files = [each for each in files if each.usable]
    ranges = [(i, first // tile, last // tile) for i, each in enumerate(files) for first, last in each.ranges]
    if not ranges or not len(numbers):
        return []
    owner, first, last = (integers(each) for each in zip(*ranges, strict=True))
    at = np.searchsorted(numbers, first)
    hit = numbers[np.minimum(at, len(numbers) - 1)]
    found = (hit >= first) & (hit <= last)
    return [files[i] for i in np.unique(owner[found])]
