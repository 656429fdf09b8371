"""The shuffle strategy of the join: every row is read once and sent, by its id, to the task that matches it.

    read -> by id -> match -> by time -> build tiles

Rows travel as packets: bytes in Arrow's format, which keep types and nulls. Dask's p2p shuffles them twice, through
the workers' disks. Matching and building are the same code as in the co-located strategy, so the tiles are the same,
row for row. Limit: one task has all rows of a partition of ids, and one has all pairs of a stretch of time.
"""

from __future__ import annotations

import functools
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from sli.calendar.interval import BEGINNING, END, Interval
from sli.config.model import Config
from sli.config.sections import Cluster
from sli.engine.connection import batches_of
from sli.engine.sql import quoted
from sli.engine.storage import message_of
from sli.errors import EngineError
from sli.logs.files import LogFile
from sli.logs.reader import ROW, rows_sql
from sli.matching.cluster import dask_module, place_name
from sli.matching.execute import Report, cannot_load, cluster_client, forward_logs, results_of
from sli.matching.join import create_audit_tables, join_rows
from sli.matching.other_tiles import LOSERS
from sli.matching.pairs import create_pairs
from sli.matching.sides import Sides, invalid_code, times_to_read
from sli.matching.spec import SAMPLES, Spec
from sli.planning.tasks import Piece, Shuffle, TaskSet
from sli.slis.states import Integers, integers
from sli.tiles.build import build_tiles, log_matched, task_connection

T = TypeVar("T")
ROWS = 1 << 16
"""How many rows are put into packets at a time."""
PLACE = "sli:place"
"""The column with the number of the partition that a packet goes to."""
_ID_NUMBER = {
    kind: f"CASE WHEN id IS NULL THEN hash({time}) ELSE hash(id) END"
    for kind, time in (("predictions", "t"), ("feedback", "t"), ("losers", "tile"))
}
"""SQL of a number that all rows of an id have. Rows without an id may go anywhere, but a repeated task must agree."""
NUMBERED = f"(SELECT *, rowid AS {ROW} FROM predictions)"
Packet = tuple[int, str, bytes]
"""The place that rows go to, the table they belong to, and the rows."""


def shuffle_and_build(
    config: Config,
    task_set: TaskSet,
    spec: Spec,
    losers: pa.Table,
    progress: Report,
    finish: Callable[[pa.Table], T],
    arrived: Callable[[T], None],
) -> list[T]:
    """Match the rows of a set of tasks and build its tiles: one table a stretch of time, as `match_and_build` returns.

    Each is given to `finish` by the task that builds it. What that returns is told to `arrived`, and returned.
    Raises UnreadableFiles for files that turn out unreadable beyond their footer, EngineError for anything else.
    """
    # The other half of a task's memory is for packets, which DuckDB does not count.
    spec = replace(spec, memory=config.shuffle_memory // 2, threads=1)
    with cluster_client(config, task_set.task_count) as client, _silence(), _engine_errors(config.dask):
        graph = _graph(client, task_set, spec, losers, finish)
        tiles: list[T] = results_of(client.compute(graph), progress, arrived)
    return tiles


def _graph(
    client: Any, task_set: TaskSet, spec: Spec, losers: pa.Table, finish: Callable[[pa.Table], object]
) -> list[Any]:
    """The tasks that build tiles, one a stretch of time, with all the tasks they depend on."""
    shuffle, (whole,), nothing = task_set.shuffle, task_set.tasks, _frame([])
    assert shuffle is not None
    edges = (BEGINNING, *shuffle.edges, END)
    alike = {"predictions": _one_of_each_form(whole.predictions), "feedback": _one_of_each_form(whole.feedback)}
    read = _Reader(spec, alike, shuffle.partitions)
    sides = Sides.in_memory(NUMBERED, "feedback", whole.prediction_tiles, whole.feedback_tiles)
    match_ids = functools.partial(_match_ids, spec=spec, sides=sides, edges=edges, shuffle=shuffle)
    build = forward_logs(client, functools.partial(_build_stretch, spec=spec, edges=edges, finish=finish))
    times = dict(zip(spec.logs, times_to_read(whole, spec), strict=True))
    pieces: list[Piece | pa.Table] = []
    pieces += [replace(piece, span=piece.span.within(times[piece.log])) for piece in shuffle.pieces]
    pieces += [losers] if len(losers) else []
    rows = dask_module("dask.dataframe").from_map(forward_logs(client, read), pieces, meta=nothing, label="read")
    by_id = _send(rows, shuffle.partitions)
    by_time = _send(by_id.map_partitions(forward_logs(client, match_ids), meta=nothing), len(edges) - 1)
    delayed = dask_module("dask").delayed(build, pure=False)
    return [delayed(part, place) for place, part in enumerate(by_time.to_delayed())]


def _send(frame: Any, places: int) -> Any:
    """Send the packets of a frame: each to the partition that its place names."""
    return frame.set_index(PLACE, divisions=list(range(places + 1)), shuffle_method="p2p")


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the progress messages of p2p, and the tracebacks of errors that are raised anyway."""
    logs = {log: log.level for log in map(logging.getLogger, ("distributed.shuffle", "distributed.worker"))}
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)


@contextmanager
def _engine_errors(cluster: Cluster) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        if cannot_load(error) or isinstance(error, dask_module("distributed.comm").CommClosedError):
            raise
        # For example a full disk, or a worker that stops while it sends.
        raise EngineError(
            "rows were lost on their way between workers",
            where=place_name(cluster),
            found=message_of(error.__cause__ or error),
            todo="see that the workers' disks have room for both logs, then run again",
            passes=True,
        ) from error


def _one_of_each_form(files: Iterable[LogFile]) -> tuple[LogFile, ...]:
    """A file for each different set of columns, or none if all files have the same.

    Read with each piece, they give a column the same type everywhere, which fits all files.
    """
    forms = {file.columns: file for file in reversed(tuple(files))}
    return tuple(reversed(forms.values())) if len(forms) > 1 else ()


@dataclass(frozen=True)
class _Reader:
    """Reads rows of a log, or takes rows of the table `losers`, into packets by id."""

    spec: Spec
    alike: Mapping[str, tuple[LogFile, ...]]
    """For each log one file of each form that it has."""
    partitions: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Makes the task unique, because Dask treats equal tasks of two runs as one task."""

    def __call__(self, piece: Piece | pa.Table) -> pd.DataFrame:
        if not isinstance(piece, Piece):
            with task_connection(self.spec, {}, "losers") as con:
                con.register("rows", piece)
                return _frame(self._by_id(con, "losers", "SELECT * FROM rows"))
        log, alike = self.spec.logs[piece.log], self.alike[piece.log]
        with task_connection(self.spec, {piece.log: (*alike, *piece.files)}, str(piece.span)) as con:
            rows = rows_sql(con, piece.files, log, piece.span)
            if alike:
                rows = f"((FROM {rows_sql(con, alike, log, piece.span)} LIMIT 0) UNION ALL (FROM {rows}))"
            bad = f"CASE WHEN {invalid_code(piece.log, self.spec.task)} > 0 THEN filename END AS filename"
            return _frame(self._by_id(con, piece.log, f"SELECT * REPLACE ({bad}) FROM {rows}"))

    def _by_id(self, con: duckdb.DuckDBPyConnection, kind: str, sql: str) -> Iterator[Packet]:
        place = f"{_ID_NUMBER[kind]} % {self.partitions}"
        return _packets(
            con, kind, f'SELECT *, ({place})::INTEGER AS "{PLACE}" FROM ({sql})', PLACE, lambda places: places
        )


def _match_ids(
    packets: pd.DataFrame, spec: Spec, sides: Sides, edges: tuple[int, ...], shuffle: Shuffle
) -> pd.DataFrame:
    """Match the rows of a partition of ids. Returns packets of its pairs and of its audit, by time."""
    if not len(packets):
        return _frame([])
    return _frame(
        packet
        for turn in range(shuffle.rounds)
        for packet in _match_some(packets, spec, sides, edges, (shuffle.partitions, shuffle.rounds, turn))
    )


def _match_some(
    packets: pd.DataFrame, spec: Spec, sides: Sides, edges: tuple[int, ...], turn: tuple[int, int, int]
) -> Iterator[Packet]:
    """Match the rows of one round: the number of partitions, of rounds, and which round it is."""
    partitions, rounds, this = turn

    def of_round(kind: str) -> str:
        return f"WHERE {_ID_NUMBER[kind]} // {partitions} % {rounds} = {this}" if rounds > 1 else ""

    with task_connection(spec, {}, f"partition {packets.index[0]} of the ids") as con:
        for name, source in spec.logs.items():
            if not _load(con, name, packets, name, of_round(name)):
                con.execute(f"CREATE TEMP TABLE {name} AS FROM {rows_sql(con, (), source, Interval(0, 0))}")
        losers = [LOSERS.empty_table(), *(rows.select(LOSERS.names) for rows in _tables(packets, "losers"))]
        join_rows(con, sides, spec, pa.concat_tables(losers))

        def place(tile: Integers) -> Integers:
            return np.searchsorted(np.array(edges[1:-1]), tile * spec.tile, side="right")

        for kind in ("matched", *AUDIT_TABLES):
            yield from _packets(con, kind, f"FROM {kind}", "tile", place)


def _build_stretch(
    packets: pd.DataFrame, place: int, spec: Spec, edges: tuple[int, ...], finish: Callable[[pa.Table], T]
) -> T:
    """Build the tiles of a stretch of time."""
    began, where = time.monotonic(), str(Interval(edges[place], edges[place + 1]))
    with task_connection(spec, {}, where) as con:
        create_audit_tables(con)
        for kind, merged in AUDIT_TABLES.items():
            if _load(con, "parts", packets, kind):
                con.execute(f"INSERT INTO {kind} {merged}")
                con.execute("DROP TABLE parts")
        paired = _load(con, "matched", packets, "matched")
        if paired:
            create_pairs(con, spec)
        rows = build_tiles(con, spec, paired)
        if paired:
            log_matched(rows, where, time.monotonic() - began)
    return finish(rows)


AUDIT_TABLES = {
    "checks": 'SELECT span, tile, log, "check", file, sum("count")::BIGINT, '
    f'list_sort(flatten(list(samples)))[:{SAMPLES}] FROM parts GROUP BY span, tile, log, "check", file',
    "duplicates_elsewhere": "FROM parts",
    "unmatched": "FROM parts",
}
"""The tables of `create_audit_tables`, and SQL that merges their rows from several partitions of ids."""


def _packets(
    con: duckdb.DuckDBPyConnection, kind: str, sql: str, by: str, place: Callable[[Integers], Integers]
) -> Iterator[Packet]:
    """The rows of a query as packets, one per place; `place` computes it from column `by`, which orders the rows."""
    con.execute("SET arrow_lossless_conversion=true")
    rows = batches_of(con.sql(f"SELECT * FROM ({sql}) ORDER BY {quoted(by)}"), ROWS)
    at, sink, writer = -1, pa.BufferOutputStream(), None
    for batch in rows:
        places = place(integers(batch.column(by)))
        for start, end in itertools.pairwise([*np.flatnonzero(np.diff(places, prepend=-1)), len(places)]):
            if writer is None or places[start] != at:
                if writer is not None:
                    writer.close()
                    yield at, kind, sink.getvalue().to_pybytes()
                at, sink = int(places[start]), pa.BufferOutputStream()
                writer = pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            writer.write_batch(batch.slice(start, end - start))
    if writer is not None:
        writer.close()
        yield at, kind, sink.getvalue().to_pybytes()


def _frame(packets: Iterable[Packet]) -> pd.DataFrame:
    places, kinds, contents = zip(*packets, strict=True) if (packets := list(packets)) else ((), (), ())
    return pd.DataFrame(
        {
            PLACE: np.array(places, dtype=np.int64),
            "kind": pd.arrays.ArrowExtensionArray(pa.array(kinds, pa.string())),
            "packet": pd.arrays.ArrowExtensionArray(pa.array(contents, pa.large_binary())),
        }
    )


def _tables(packets: pd.DataFrame, kind: str) -> Iterator[pa.Table]:
    contents = pa.array(packets.loc[(packets["kind"] == kind).to_numpy(bool), "packet"].array)
    return (pa.ipc.open_stream(packet.as_buffer()).read_all() for packet in contents)


def _load(con: duckdb.DuckDBPyConnection, name: str, packets: pd.DataFrame, kind: str, where: str = "") -> bool:
    """Create a table from all packets of a kind, of the rows `where` says. Returns False if there are none."""
    loaded = False
    for table in _tables(packets, kind):
        con.register("packet_arrow", table)
        into = f"INSERT INTO {name}" if loaded else f"CREATE TEMP TABLE {name} AS"
        con.execute(f"{into} FROM packet_arrow {where}")
        con.unregister("packet_arrow")
        loaded = True
    return loaded
