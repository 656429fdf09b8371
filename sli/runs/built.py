"""The tiles that tasks build: their states go from the task to files, the rest of their rows to the process of the run.

So the memory of that process does not grow with the states, however many tiles a run recomputes. Limit: a worker that
cannot write where this process reads sends the states themselves.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.config.sections import Cluster, Factory, Scheduler
from sli.engine.arrow import rows_in_order
from sli.engine.storage import filesystem, message_of
from sli.publishing.delta_tables import table_errors
from sli.publishing.parquet_files import Files, NewFile, Written
from sli.publishing.tile_rows import Slices, of_pairs
from sli.publishing.transaction import with_columns
from sli.rollup.results import encode
from sli.schemas import TILES
from sli.slis import State
from sli.tiles.replace import outline

PACKED_TIMES = 10
"""Tiles take about so many times as much memory as their files take room."""
GROUP_BYTES = 1 << 20
"""Rows are written in groups of at least so many bytes in memory: each group costs a reader the looking at it."""
ELSEWHERE = "the folder of the store is not there, or another one"


@dataclass(frozen=True)
class BuiltTiles:
    """What a task built: files of the rows with states, or these rows where they are few, and the outline of all."""

    outline: pa.Table
    files: tuple[NewFile, ...]
    few: pa.Table
    unwritten: str = ""
    """Why rows that are not few were not written."""


@dataclass(frozen=True, kw_only=True)
class TileWriter:
    """Writes the tiles that a task built to files, unless they are few. Part of the task."""

    place: Files
    schema: pa.Schema
    few: int
    """Rows that take at most so many bytes are few."""
    mark: str | None
    """A file beside those that are written: who does not see it would write elsewhere. None: this process sees all."""

    @staticmethod
    def schema_of(states: Mapping[str, State]) -> pa.Schema:
        """The columns of rows with these states."""
        return pa.schema([*TILES, *(pa.field(name, state.type) for name, state in states.items())])

    def __call__(self, tiles: pa.Table) -> BuiltTiles:
        """Raises no error of the storage, whatever its library raises: what cannot be written is few."""
        states = self.schema.names[len(TILES) :]
        short = outline(tiles, states)
        rows = with_columns(tiles.filter(of_pairs()), self.schema).select(self.schema.names).cast(self.schema)
        if rows.nbytes <= self.few:
            return BuiltTiles(short, (), rows)
        try:
            files = self._written(rows)
        except Exception as error:  # a worker may have no way to the store, no key of it, or not the library
            return BuiltTiles(short, (), rows, message_of(error))
        return BuiltTiles(short, (), rows, ELSEWHERE) if files is None else BuiltTiles(short, files, rows.slice(0, 0))

    def _written(self, rows: pa.Table) -> tuple[NewFile, ...] | None:
        """The files of some rows; None if they would lie elsewhere, or if the run that asked for them is over."""
        if not self._in_place:
            return None
        files = tuple(self.place.write(by_slice_sets(rows), packed=True))
        if self._in_place:
            return files
        self.place.remove(file.path for file in files)
        return None

    @property
    def _in_place(self) -> bool:
        if self.mark is None:
            return True
        fs, place = filesystem(f"{self.place.folder}/{self.mark}", self.place.storage)
        return bool(fs.exists(place))


@contextmanager
def marked(place: Files, dask: Cluster) -> Iterator[str | None]:
    """The name of a file that lies in the folder of a table meanwhile; None where tasks run on this machine.

    Raises StoreError.
    """
    if not isinstance(dask, Scheduler | Factory):
        yield None
        return
    name = f"_run-{uuid.uuid4()}"
    fs, path = filesystem(f"{place.folder}/{name}", place.storage)
    with table_errors(place.folder):
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(path, b"")
    try:
        yield name
    finally:
        with suppress(OSError):
            fs.rm_file(path)


@dataclass(frozen=True)
class Computed:
    """The rows with states of all tasks of a stage."""

    written: Written
    few: pa.Table

    @staticmethod
    def of(built: Sequence[BuiltTiles], place: Files, schema: pa.Schema) -> Computed:
        """Those that some tasks built."""
        files = tuple(file for tiles in built for file in tiles.files)
        return Computed(
            Written(place, schema, files), pa.concat_tables([schema.empty_table(), *(b.few for b in built)])
        )

    def rows(self, days: Collection[str], slices: Slices) -> pa.Table:
        """The rows of some local days and slices. Raises StoreError."""
        few = self.few.filter(pc.field("day").isin(pa.array(sorted(days), pa.string())) & slices.condition)
        names = self.written.schema.names
        with table_errors(self.written.place.folder, "read"):
            return pa.concat_tables([self.written.rows(days, names, slices.condition).select(names), few])

    def __len__(self) -> int:
        return len(self.few) + sum(file.rows for file in self.written.files)

    @property
    def sizes(self) -> Counter[str]:
        """About how many bytes the rows of each local day take in files."""
        sizes = Counter[str]()
        for file in self.written.files:
            sizes[file.partition[0]] += file.bytes
        if len(self.few):
            of_row = self.few.nbytes / len(self.few) / PACKED_TIMES
            days = Counter(map(str, self.few.column("day").to_pylist()))
            sizes += Counter({day: round(rows * of_row) for day, rows in days.items()})
        return sizes


def by_slice_sets(tiles: pa.Table) -> Iterator[pa.Table]:
    """Hour tiles in groups of rows of a day and a slice set, or of several sets if they are small.

    What is written together is a group of rows in its file: a reader of one slice set reads no other group.
    """
    days, sets = (encode(tiles.column(name)) for name in ("day", "slice_by"))
    key = days.indices.to_numpy().astype(np.int64) * max(1, len(sets.dictionary)) + sets.indices.to_numpy()
    order = np.argsort(key, kind="stable")
    in_order, key = rows_in_order(tiles, order), key[order]
    firsts = np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(key))
    begin = 0
    for first, end in itertools.pairwise(firsts.tolist()):
        last_of_day = end == len(key) or key[end] // len(sets.dictionary) != key[first] // len(sets.dictionary)
        if last_of_day or in_order.slice(begin, end - begin).nbytes >= GROUP_BYTES:
            yield in_order.slice(begin, end - begin)
            begin = end
