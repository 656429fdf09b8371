"""The shuffle strategy of the join: every row is read once and sent by its id to the task that settles it.

    read -> by id -> settle -> by time -> tile

Rows travel as blocks, bytes in Arrow's form, so that types and nulls stay what they are, through two shuffles of
Dask's p2p, which keeps them on the workers' disks in between. Settling and tiling are the kernel of the co-located
strategy, and so is the result, row for row. Limit: a partition of ids, and the pairs of a day where a state is of
whole days, are each one task's, however many they are.
"""

from __future__ import annotations

import functools
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from sli.calendar.interval import BEGINNING, END, Interval
from sli.config.model import Config
from sli.engine.sql import inside_sql, quoted
from sli.engine.storage import plain
from sli.errors import EngineError
from sli.logs.files import LogFile
from sli.logs.reader import ROW, rows_sql
from sli.matching.cluster import dask_module, place_name
from sli.matching.execute import Report, cannot_load, cluster_client, forwarding_logs
from sli.matching.join import create_findings, join_rows
from sli.matching.other_tiles import LOSERS
from sli.matching.pairs import create_pairs
from sli.matching.sides import Sides, invalid_code, times_to_read
from sli.matching.spec import SAMPLES, Spec
from sli.planning.tasks import Piece, TaskSet
from sli.slis.states import Integers, integers
from sli.tiles.build import kernel, tell, tiles

ROWS = 1 << 16
"""Rows cut into blocks at a time."""
BYTES, TEXT = pd.ArrowDtype(pa.large_binary()), pd.ArrowDtype(pa.string())
PLACE = "sli:place"
NUMBERED = f"(SELECT *, rowid AS {ROW} FROM predictions)"
Block = tuple[int, str, bytes]
"""Where rows go, what they are, and the rows."""


def shuffled(config: Config, task_set: TaskSet, spec: Spec, losers: pa.Table, progress: Report) -> list[pa.Table]:
    """The tiles of a task_set, a table for each of its stretches of time, as `sli.tiles.build.task` makes them.

    Raises UnreadableFiles for files unreadable beyond their footer, EngineError for anything else.
    """
    # The other half of a task's memory is for rows on their way, which are not DuckDB's.
    spec = replace(spec, memory=config.shuffle_memory // 2, threads=1)
    with cluster_client(config, task_set.task_count) as client, _quiet(), _failures(config):
        futures = client.compute(_graph(client, task_set, spec, losers))
        places = {future.key: place for place, future in enumerate(futures)}
        made: list[Any] = [None] * len(futures)
        for done, future in enumerate(dask_module("distributed").as_completed(futures), 1):
            made[places[future.key]] = future.result()
            future.release()
            progress(done, len(futures))
    return made


def _graph(client: Any, task_set: TaskSet, spec: Spec, losers: pa.Table) -> list[Any]:
    """The tasks that make tiles, one a stretch of time, and all they rest on."""
    shuffle, (whole,), nothing = task_set.shuffle, task_set.tasks, _frame([])
    assert shuffle is not None
    edges = (BEGINNING, *shuffle.edges, END)
    read = _Read(spec, _like(whole.predictions), _like(whole.feedback), *times_to_read(whole, spec), shuffle.partitions)
    within = (
        inside_sql("t", whole.prediction_tiles),
        inside_sql("t", whole.feedback_tiles),
        inside_sql("f_t", whole.feedback_tiles),
    )
    settled = functools.partial(_settle, spec=spec, sides=Sides.in_memory(NUMBERED, "feedback", *within), edges=edges)
    tile = forwarding_logs(client, functools.partial(_tile, spec=spec, edges=edges))
    given = [*shuffle.pieces, *([losers] if len(losers) else [])]
    rows = dask_module("dask.dataframe").from_map(forwarding_logs(client, read), given, meta=nothing, label="read")
    by_id = _sent(rows, shuffle.partitions)
    by_time = _sent(by_id.map_partitions(forwarding_logs(client, settled), meta=nothing), len(edges) - 1)
    delayed = dask_module("dask").delayed(tile, pure=False)
    return [delayed(part, place) for place, part in enumerate(by_time.to_delayed())]


def _sent(frame: Any, places: int) -> Any:
    """The frame whose partitions are the places of the blocks."""
    return frame.set_index(PLACE, divisions=list(range(places + 1)), shuffle_method="p2p")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what p2p tells of its course, and the tracebacks of errors that are told anyway."""
    logs = {log: log.level for log in map(logging.getLogger, ("distributed.shuffle", "distributed.worker"))}
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)


@contextmanager
def _failures(config: Config) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        if cannot_load(error) or isinstance(error, dask_module("distributed.comm").CommClosedError):
            raise
        # Whatever happens to rows on their way: a disk that is full, a worker that goes in the wrong moment.
        raise EngineError(
            "rows were lost on their way between workers",
            where=place_name(config),
            found=plain(error.__cause__ or error),
            todo="see that the workers' disks have room for both logs, then run again",
            passes=True,
        ) from error


def _like(files: Iterable[LogFile]) -> tuple[LogFile, ...]:
    """A file of each form, where there are several: columns are of the type that holds those of all."""
    forms = {each.columns: each for each in reversed(tuple(files))}
    return tuple(reversed(forms.values())) if len(forms) > 1 else ()


@dataclass(frozen=True)
class _Read:
    """Reads rows of a log, or takes those excluded, into blocks by id."""

    spec: Spec
    predictions: tuple[LogFile, ...]
    feedback: tuple[LogFile, ...]
    """Files of each form that a log has."""
    reach: Interval
    known: Interval
    partitions: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Nothing of a run is to be taken for what another one on the cluster computes."""

    def __call__(self, given: Piece | pa.Table) -> pd.DataFrame:
        if not isinstance(given, Piece):
            with kernel(self.spec, (), (), "excluded predictions") as con:
                con.register("rows", given)
                return _frame(self._by_id(con, "excluded", "SELECT * FROM rows"))
        predicted = given.log == "predictions"
        source = self.spec.predictions if predicted else self.spec.feedback
        like = self.predictions if predicted else self.feedback
        within = self.reach if predicted else self.known
        start = max(given.span.start, within.start)
        span = Interval(start, max(start, min(given.span.end, within.end)))
        files = (*like, *given.files)
        with kernel(self.spec, files if predicted else (), () if predicted else files, str(given.span)) as con:
            rows = rows_sql(con, given.files, source, self.spec.zone, span)
            if like:
                rows = f"((FROM {rows_sql(con, like, source, self.spec.zone, span)} LIMIT 0) UNION ALL (FROM {rows}))"
            bad = f"CASE WHEN {invalid_code(given.log, self.spec)} > 0 THEN filename END AS filename"
            return _frame(self._by_id(con, given.log, f"SELECT * REPLACE ({bad}) FROM {rows}"))

    def _by_id(self, con: duckdb.DuckDBPyConnection, kind: str, sql: str) -> Iterator[Block]:
        # Rows without an id go anywhere, as long as it is the same place each time.
        key = f"CASE WHEN id IS NULL THEN hash({'t' if kind != 'excluded' else 'tile'}) ELSE hash(id) END"
        sql = f'SELECT *, ({key} % {self.partitions})::INTEGER AS "{PLACE}" FROM ({sql})'
        return _blocks(con, kind, sql, PLACE, lambda places: places)


def _settle(blocks: pd.DataFrame, spec: Spec, sides: Sides, edges: tuple[int, ...]) -> pd.DataFrame:
    """Match the rows of a partition of ids: blocks of its pairs, and of what is told beside them, by time."""
    if not len(blocks):
        return _frame([])
    with kernel(spec, (), (), f"partition {blocks.index[0]} of the ids") as con:
        for name, source in (("predictions", spec.predictions), ("feedback", spec.feedback)):
            if not _load(con, name, blocks, name):
                con.execute(f"CREATE TEMP TABLE {name} AS FROM {rows_sql(con, (), source, spec.zone, Interval(0, 0))}")
        losers = [LOSERS.empty_table(), *(each.select(LOSERS.names) for each in _tables(blocks, "excluded"))]
        join_rows(con, sides, spec, pa.concat_tables(losers))

        def place(tile: Integers) -> Integers:
            return np.searchsorted(np.array(edges[1:-1]), tile * spec.tile, side="right")

        kinds = ("matched", *ASIDES)
        return _frame(block for kind in kinds for block in _blocks(con, kind, f"FROM {kind}", "tile", place))


def _tile(blocks: pd.DataFrame, place: int, spec: Spec, edges: tuple[int, ...]) -> pa.Table:
    """The tiles of a stretch of time."""
    began, where = time.monotonic(), str(Interval(edges[place], edges[place + 1]))
    with kernel(spec, (), (), where) as con:
        create_findings(con)
        for kind, together in ASIDES.items():
            if _load(con, "parts", blocks, kind):
                con.execute(f"INSERT INTO {kind} {together}")
                con.execute("DROP TABLE parts")
        paired = _load(con, "matched", blocks, "matched")
        if paired:
            create_pairs(con, spec)
        made = tiles(con, spec, paired)
        if paired:
            tell(made, where, time.monotonic() - began)
        return made


ASIDES = {
    "marks": 'SELECT span, tile, log, "check", file, sum("count")::BIGINT, '
    f'list_sort(flatten(list(samples)))[:{SAMPLES}] FROM parts GROUP BY span, tile, log, "check", file',
    "shadowed": "FROM parts",
    "strays": "FROM parts",
}
"""Tables of what is told of rows beside the pairs, and SQL that puts the parts of several partitions together."""


def _blocks(
    con: duckdb.DuckDBPyConnection, kind: str, sql: str, by: str, place: Callable[[Integers], Integers]
) -> Iterator[Block]:
    """The rows of a query in the order of a column, which decides where they go: one block a place."""
    con.execute("SET arrow_lossless_conversion=true")
    rows = con.sql(f"SELECT * FROM ({sql}) ORDER BY {quoted(by)}").to_arrow_reader(ROWS)
    at, sink, writer = -1, pa.BufferOutputStream(), None
    for batch in rows:
        places = place(integers(batch.column(by)))
        for start, end in itertools.pairwise([*np.flatnonzero(np.diff(places, prepend=-1)), len(places)]):
            if writer is None or places[start] != at:
                if writer is not None:
                    writer.close()
                    yield at, kind, sink.getvalue().to_pybytes()
                at, sink = int(places[start]), pa.BufferOutputStream()
                writer = pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            writer.write_batch(batch.slice(start, end - start))
    if writer is not None:
        writer.close()
        yield at, kind, sink.getvalue().to_pybytes()


def _frame(blocks: Iterable[Block]) -> pd.DataFrame:
    places, kinds, contents = zip(*blocks, strict=True) if (blocks := list(blocks)) else ((), (), ())
    return pd.DataFrame(
        {
            PLACE: np.array(places, dtype=np.int64),
            "kind": pd.array(pa.array(kinds, pa.string()), dtype=TEXT),
            "block": pd.array(pa.array(contents, pa.large_binary()), dtype=BYTES),
        }
    )


def _tables(blocks: pd.DataFrame, kind: str) -> Iterator[pa.Table]:
    mine = pa.array(blocks.loc[(blocks["kind"] == kind).to_numpy(bool), "block"].array)
    return (pa.ipc.open_stream(each.as_buffer()).read_all() for each in mine)


def _load(con: duckdb.DuckDBPyConnection, name: str, blocks: pd.DataFrame, kind: str) -> bool:
    """Make a table of the blocks of a kind, one after the other. False if there are none."""
    found = False
    for table in _tables(blocks, kind):
        con.register("block_arrow", table)
        con.execute(
            f"INSERT INTO {name} FROM block_arrow" if found else f"CREATE TEMP TABLE {name} AS FROM block_arrow"
        )
        con.unregister("block_arrow")
        found = True
    return found
