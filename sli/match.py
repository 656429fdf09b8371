"""The join: predictions with their feedback inside one task, in DuckDB, and the Dask that runs the tasks.

A task reads the predictions of a stretch of time and the feedback of that stretch and the horizon, settles duplicates and
corrections, and hands plain `pairs` to `tile`. Ids are compared by two 64-bit hashes of their text. Limit: two different ids
are taken for one with probability 2^-128 a pair: about 1e-19 for ten billion ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from sli.config import Config
from sli.errors import EngineError, SliError
from sli.intervals import DAY, Interval, zone
from sli.logs import LogFile
from sli.plan import Chunk
from sli.slices import literal, quoted
from sli.slis import State

SAMPLES = 5
"""Ids named beside a count in the audit."""
EXCLUDED = pa.schema([("id", pa.string()), ("tile", pa.int64()), ("winner", pa.float64())])
"""Predictions that lost to one in another tile: their id, their tile, the winner's value."""
INVALID = {1: "no id", 2: "value is NaN or infinite", 3: "value outside 0..1", 4: "label is neither 0 nor 1"}


@dataclass(frozen=True)
class Source:
    """One log as the kernel reads it."""

    id: str
    time: str
    value: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """All a task needs to know of the config and the run, in plain values that travel."""

    predictions: Source
    feedback: Source
    zone: str
    tile: int
    since: int
    as_of: int
    horizon: int
    early: int
    binary: bool
    threshold: float
    keep_prediction: str
    keep_feedback: str
    ignore_nulls: bool
    states: tuple[State, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    slice_columns: tuple[str, ...]
    windows: tuple[str, ...]
    functions: Mapping[str, bytes] = field(default_factory=dict)
    memory: int = 1 << 30
    threads: int = 1

    @staticmethod
    def of(
        config: Config, as_of: int, states: Iterable[str], slice_sets: tuple[tuple[str, ...], ...], threads: int
    ) -> Spec:
        from sli.slis.custom import pickled

        p, f = config.predictions, config.feedback
        chosen = tuple(config.states[each] for each in states)
        return Spec(
            Source(p.id, p.time, p.value, config.columns),
            Source(f.id, f.time, f.value, ()),
            config.timezone,
            config.tile,
            config.since_instant,
            as_of,
            config.horizon.micros,
            f.early.micros,
            config.task == "binary",
            config.threshold,
            p.keep,
            f.keep,
            f.nulls == "ignore",
            chosen,
            slice_sets,
            tuple(sorted({name for each in config.slice_sets for name in each})),
            tuple(g.name for g in config.all_grains if g.name in ("hour", "day")),
            {s.call: pickled(s.call, config.folder) for s in chosen if s.call},
            config.task_memory,
            threads,
        )


class BrokenFiles(SliError):
    """Files that turned out unreadable beyond their footer."""

    def __init__(self, what: str, files: Mapping[str, str] | None = None) -> None:
        super().__init__(what)
        self.files = dict(files or {})


def connect(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory database that spills to disk beyond its memory."""
    con = duckdb.connect()
    con.execute(f"SET threads={threads}")
    con.execute(f"SET memory_limit='{max(64, memory >> 20)}MiB'")
    for setting in ("preserve_insertion_order=false", "enable_progress_bar=false", "TimeZone='UTC'"):
        con.execute(f"SET {setting}")
    return con


def rows_of(
    con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], source: Source, zone_name: str, span: Interval
) -> str:
    """SQL for the rows of files in a span of time: id (text), t (UTC microseconds), value, columns, filename."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for each in files:
        groups.setdefault(each.columns, []).append(each.path)
    selects = [_select(con, dict(types), paths, source, zone_name, span) for types, paths in groups.items()]
    if not selects:
        columns = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in source.columns)
        return (
            f"(SELECT NULL::VARCHAR AS id, NULL::BIGINT AS t, NULL::DOUBLE AS value{columns}, NULL AS filename LIMIT 0)"
        )
    return f"({' UNION ALL '.join(selects)})"


def _select(
    con: duckdb.DuckDBPyConnection,
    types: dict[str, str],
    paths: list[str],
    source: Source,
    zone_name: str,
    span: Interval,
) -> str:
    if "://" in paths[0]:
        from sli.logs import filesystem

        con.register_filesystem(filesystem(paths[0])[0])
    time, kind = quoted(source.time), types[source.time]
    low, high = max(span.start, -(2**55)), min(span.end, 2**55)
    if "tz=" in kind:
        t, bounds = f"epoch_us({time})", f"{time} >= make_timestamptz({low}) AND {time} < make_timestamptz({high})"
    else:
        t = zone(zone_name).to_utc(f"{time}::TIMESTAMP", low - DAY, high + DAY)
        bounds = (
            f"{time}::TIMESTAMP >= make_timestamp({low - DAY}) AND {time}::TIMESTAMP < make_timestamp({high + DAY})"
        )
    columns = "".join(f", {_clean(name, types[name])} AS {quoted(name)}" for name in source.columns)
    hive = "true" if "hive" in types.values() else "false"
    read = f"read_parquet([{', '.join(map(literal, paths))}], filename=true, hive_partitioning={hive}, hive_types_autocast=false)"
    return (
        f"SELECT * FROM (SELECT {quoted(source.id)}::VARCHAR AS id, {t} AS t, {quoted(source.value)}::DOUBLE AS value{columns}, "
        f"filename FROM {read} WHERE {bounds}) WHERE t >= {span.start} AND t < {span.end}"
    )


def _clean(name: str, kind: str) -> str:
    """A declared column; NaN and infinities of a float column are null."""
    return (
        f"CASE WHEN isfinite({quoted(name)}) THEN {quoted(name)} END"
        if kind in ("float", "double", "halffloat")
        else quoted(name)
    )


def task(chunk: Chunk, spec: Spec, excluded: pa.Table) -> pa.Table:
    """Match one chunk and compute its tiles: a table of `schemas.TILES` and the states' columns."""
    from sli.tile import tiles

    con = connect(spec.threads, spec.memory)
    try:
        _load_predictions(con, chunk, spec, excluded)
        _load_feedback(con, chunk, spec)
        _settle_feedback(con, chunk, spec)
        _pair(con, chunk, spec)
        return tiles(con, chunk, spec)
    except duckdb.OutOfMemoryException as error:
        raise EngineError(
            "a task ran out of memory",
            where=str(chunk.reach),
            found=f"memory limit {spec.memory >> 20} MiB",
            todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
        ) from error
    except (duckdb.Error, OSError) as error:
        broken = _broken(chunk, spec)
        if broken:
            raise BrokenFiles("files cannot be read", broken) from error
        raise EngineError("a task failed", where=str(chunk.reach), found=str(error).splitlines()[0][:300]) from error
    finally:
        con.close()


def _broken(chunk: Chunk, spec: Spec) -> dict[str, str]:
    """Which files cannot be read to their end, and why."""
    found = {}
    for files, source in ((chunk.predictions, spec.predictions), (chunk.feedback, spec.feedback)):
        for file in files:
            con = connect(1, spec.memory)
            try:
                rows = rows_of(con, [file], source, spec.zone, Interval(-(2**55), 2**55))
                con.execute(f"SELECT count(*), max(hash(COLUMNS(*))) FROM {rows}").fetchall()
            except (duckdb.Error, OSError) as error:
                found[file.path] = str(error).splitlines()[0][:200]
            finally:
                con.close()
    return found


def inside_sql(column: str, intervals: Iterable[Interval]) -> str:
    """SQL condition: an instant lies in one of the intervals."""
    parts = [f"({column} >= {each.start} AND {column} < {each.end})" for each in intervals]
    return f"({' OR '.join(parts)})" if parts else "false"


def _prediction_columns(spec: Spec) -> str:
    return "".join(f", {quoted(name)}" for name in spec.predictions.columns)


def _load_predictions(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec, excluded: pa.Table) -> None:
    """Table `p`: the winning predictions of the chunk's reach; `marks` of those set aside and `shadowed`."""
    con.execute(
        'CREATE TEMP TABLE marks (span VARCHAR, tile BIGINT, log VARCHAR, "check" VARCHAR, file VARCHAR, "count" BIGINT, samples VARCHAR[])'
    )
    con.execute("CREATE TEMP TABLE shadowed (tile BIGINT, id VARCHAR, winner DOUBLE)")
    span = (
        Interval(max(chunk.reach.start, spec.since), min(chunk.reach.end, spec.as_of + 1))
        if chunk.reach.end > spec.since
        else None
    )
    rows = rows_of(con, chunk.predictions if span else (), spec.predictions, spec.zone, span or chunk.reach)
    outside = " WHEN value < 0 OR value > 1 THEN 3" if spec.binary else ""
    con.execute(
        f"CREATE TEMP TABLE p AS SELECT hash(id) AS k, hash('.' || id) AS k2, t, value AS prediction{_prediction_columns(spec)}, "
        f"(CASE WHEN id IS NULL THEN 1 WHEN NOT isfinite(value) THEN 2{outside} ELSE 0 END)::UTINYINT AS bad FROM {rows}"
    )
    _set_aside(con, "p", "predictions", rows, "pairs", inside_sql("t", chunk.pairs), spec)
    _settle_predictions(con, chunk, spec, excluded, rows)


def _set_aside(
    con: duckdb.DuckDBPyConnection, table: str, log: str, rows: str, span: str, where: str, spec: Spec
) -> None:
    """Mark and delete rows that are invalid."""
    if not _one(con, f"SELECT count(*) FROM {table} WHERE bad > 0"):
        return
    outside = "WHEN value < 0 OR value > 1 THEN 3" if log == "predictions" else "WHEN value NOT IN (0, 1) THEN 4"
    bad = f"CASE WHEN id IS NULL THEN 1 WHEN NOT isfinite(value) THEN 2 {outside if spec.binary else ''} ELSE 0 END"
    reasons = " ".join(f"WHEN {code} THEN {literal('invalid: ' + text)}" for code, text in INVALID.items())
    con.execute(
        f"INSERT INTO marks SELECT '{span}', t // {spec.tile}, '{log}', CASE {bad} {reasons} END AS reason, filename, count(*), "
        f"coalesce(min(id, {SAMPLES}), []) FROM {rows} WHERE {bad} > 0 AND {where} GROUP BY ALL"
    )
    con.execute(f"DELETE FROM {table} WHERE bad > 0")


def _repeated(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Table `repeated`: the hashes that occur more than once. Sorting integers is the cheapest way to see that none does."""
    keys = np.sort(con.execute(f"SELECT k FROM {table}").fetchnumpy()["k"])
    found = pa.table({"k": np.unique(keys[1:][keys[1:] == keys[:-1]])})
    con.register("repeated_arrow", found)
    con.execute("CREATE OR REPLACE TEMP TABLE repeated AS SELECT k::UBIGINT AS k FROM repeated_arrow")
    con.unregister("repeated_arrow")
    return len(found) > 0


def prediction_order(columns: Iterable[str], keep: str) -> str:
    """SQL ORDER BY that puts the winner of several predictions with one id first."""
    direction = "ASC" if keep == "first" else "DESC"
    ties = "".join(f", {quoted(name)}::VARCHAR ASC NULLS LAST" for name in columns)
    return f"t {direction}, prediction ASC NULLS LAST{ties}"


def _settle_predictions(
    con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec, excluded: pa.Table, rows: str
) -> None:
    """Delete from `p` all but the winner of each id; mark the losers."""
    con.execute(
        "CREATE TEMP TABLE lost (row BIGINT, k UBIGINT, k2 UBIGINT, t BIGINT, winner DOUBLE, differs BOOLEAN, elsewhere BOOLEAN)"
    )
    if len(excluded):
        con.register("excluded_arrow", excluded)
        con.execute(
            f"INSERT INTO lost SELECT p.rowid, p.k, p.k2, p.t, e.winner, p.prediction IS DISTINCT FROM e.winner, true FROM p JOIN excluded_arrow e "
            f"ON p.k = hash(e.id) AND p.k2 = hash('.' || e.id) AND p.t // {spec.tile} = e.tile"
        )
        con.unregister("excluded_arrow")
    if _repeated(con, "p"):
        order = prediction_order((*spec.slice_columns, *spec.predictions.columns), spec.keep_prediction)
        con.execute(
            f"INSERT INTO lost SELECT row, k, k2, t, won, prediction IS DISTINCT FROM won, tile <> won_tile FROM ("
            f"SELECT rowid AS row, k, k2, t, t // {spec.tile} AS tile, prediction, row_number() OVER w AS place, first_value(prediction) OVER w AS won, "
            f"first_value(t // {spec.tile}) OVER w AS won_tile FROM p WHERE k IN (FROM repeated) AND rowid NOT IN (SELECT row FROM lost) "
            f"WINDOW w AS (PARTITION BY k, k2 ORDER BY {order})) WHERE place > 1"
        )
    if not _one(con, "SELECT count(*) FROM lost"):
        return
    con.execute("DELETE FROM p WHERE rowid IN (SELECT row FROM lost)")
    con.execute(f"DELETE FROM lost WHERE NOT {inside_sql('t', chunk.pairs)}")
    con.execute(
        f"CREATE TEMP TABLE lost_ids AS SELECT DISTINCT hash(id) AS k, hash('.' || id) AS k2, id FROM {rows} WHERE hash(id) IN (SELECT k FROM lost)"
    )
    con.execute(
        f"INSERT INTO shadowed SELECT DISTINCT t // {spec.tile}, id, winner FROM lost JOIN lost_ids USING (k, k2) WHERE elsewhere"
    )
    for check, where in (("duplicate", "true"), ("conflict", "differs")):
        con.execute(
            f"INSERT INTO marks SELECT 'pairs', t // {spec.tile}, 'predictions', '{check}', NULL, count(*), min(id, {SAMPLES}) "
            f"FROM lost JOIN lost_ids USING (k, k2) WHERE {where} GROUP BY ALL"
        )


def _load_feedback(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec) -> None:
    """Table `f`: the valid feedback known in the chunk."""
    span = Interval(chunk.known.start, max(chunk.known.start, min(chunk.known.end, spec.as_of + 1)))
    rows = rows_of(con, chunk.feedback, spec.feedback, spec.zone, span)
    outside = " WHEN value NOT IN (0, 1) THEN 4" if spec.binary else ""
    con.execute(
        f"CREATE TEMP TABLE f AS SELECT hash(id) AS k, hash('.' || id) AS k2, t, value, "
        f"(CASE WHEN id IS NULL THEN 1 WHEN NOT isfinite(value) THEN 2{outside} ELSE 0 END)::UTINYINT AS bad FROM {rows}"
    )
    own = inside_sql("t", chunk.strays)
    _set_aside(con, "f", "feedback", rows, "feedback", own, spec)
    if spec.ignore_nulls:
        con.execute(
            f"INSERT INTO marks SELECT 'feedback', t // {spec.tile}, 'feedback', 'ignored null', NULL, count(*), [] "
            f"FROM f WHERE value IS NULL AND {own} GROUP BY ALL"
        )
        con.execute("DELETE FROM f WHERE value IS NULL")
    _find_strays(con, spec, rows, own)


def in_reach(spec: Spec) -> str:
    """SQL condition: feedback `f` may count for prediction `p`."""
    return f"f.t >= p.t - {spec.early} AND f.t <= p.t + {spec.horizon}"


def _find_strays(con: duckdb.DuckDBPyConnection, spec: Spec, rows: str, own: str) -> None:
    """Table `strays`: feedback of the chunk that no prediction reaches, with its id in full."""
    con.execute(
        f"CREATE TEMP TABLE stray_keys AS SELECT f.k, f.k2, f.t FROM f WHERE {own.replace('t ', 'f.t ')} AND NOT EXISTS "
        f"(FROM p WHERE p.k = f.k AND p.k2 = f.k2 AND {in_reach(spec)})"
    )
    con.execute("CREATE TEMP TABLE strays (tile BIGINT, id VARCHAR, t BIGINT)")
    if _one(con, "SELECT count(*) FROM stray_keys"):
        con.execute(
            f"INSERT INTO strays SELECT s.t // {spec.tile}, i.id, s.t FROM stray_keys s JOIN (SELECT DISTINCT hash(id) AS k, hash('.' || id) AS k2, id "
            f"FROM {rows} WHERE hash(id) IN (SELECT k FROM stray_keys)) i USING (k, k2)"
        )


def _settle_feedback(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec) -> None:
    """Delete from `f` all but the one row in reach that counts for each prediction; mark the others."""
    con.execute("CREATE TEMP TABLE beaten (row BIGINT, k UBIGINT, k2 UBIGINT, p_t BIGINT, conflict BOOLEAN)")
    if not _repeated(con, "f"):
        return
    direction = "DESC" if spec.keep_feedback == "latest" else "ASC"
    con.execute(
        f"INSERT INTO beaten SELECT row, k, k2, p_t, t = won_t AND value IS DISTINCT FROM won FROM (SELECT f.rowid AS row, f.k, f.k2, f.t, f.value, "
        f"p.t AS p_t, row_number() OVER w AS place, first_value(f.t) OVER w AS won_t, first_value(f.value) OVER w AS won FROM f JOIN p USING (k, k2) "
        f"WHERE f.k IN (FROM repeated) AND {in_reach(spec)} WINDOW w AS (PARTITION BY f.k, f.k2 ORDER BY f.t {direction}, f.value DESC NULLS LAST)) WHERE place > 1"
    )
    con.execute("DELETE FROM f WHERE rowid IN (SELECT row FROM beaten)")
    own = inside_sql("p_t", chunk.pairs)
    for check, where in (("superseded", "true"), ("conflict", "conflict")):
        con.execute(
            f"INSERT INTO marks SELECT 'pairs', p_t // {spec.tile}, 'feedback', '{check}', NULL, count(*), [] FROM beaten WHERE {own} AND {where} GROUP BY ALL"
        )


def _pair(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec) -> None:
    """View `pairs`: every winning prediction with the feedback that counts, or with none yet."""
    label = "f.value = 1" if spec.binary else "f.value"
    columns = "".join(f", p.{quoted(name)}" for name in spec.predictions.columns)
    con.execute(
        f"CREATE TEMP TABLE joined AS SELECT p.t // {spec.tile} AS tile, p.k, p.t, p.prediction{columns}, {label} AS label, f.t AS f_t "
        f"FROM p LEFT JOIN f ON p.k = f.k AND p.k2 = f.k2 AND {in_reach(spec)} WHERE {inside_sql('p.t', chunk.pairs)}"
    )
    con.execute(
        f"CREATE TEMP VIEW pairs AS SELECT *, label IS NOT NULL AS labelled, label IS NOT NULL AND prediction IS NOT NULL AS usable, "
        f"prediction >= {spec.threshold!r}::DOUBLE AS decision, CASE WHEN label IS NOT NULL THEN (f_t - t) / 1e6::DOUBLE END AS delay, "
        f"make_timestamptz(t) AS predicted_at, make_timestamptz(f_t) AS known_at FROM joined"
    )
    con.execute(
        "INSERT INTO marks SELECT 'pairs', tile, 'feedback', 'withdrawn', NULL, count(*), [] FROM joined WHERE f_t IS NOT NULL AND label IS NULL GROUP BY ALL"
    )


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = con.execute(sql).fetchone()
    return int(found[0]) if found else 0


def execute(config: Config, tasks: list[Callable[[], Any]], progress: Callable[[int, int], None]) -> list[Any]:
    """Run tasks with Dask: in this process, or on the cluster the config names. Results in the order of the tasks."""
    from sli.config import Scheduler, Workers

    if not isinstance(config.dask, Workers | Scheduler):
        return _in_process(config, tasks, progress)
    from distributed import Client, LocalCluster, as_completed

    if isinstance(config.dask, Workers):
        place: Any = LocalCluster(n_workers=config.dask.workers, threads_per_worker=1, dashboard_address=None)
    else:
        place = config.dask.scheduler
    try:
        client = Client(place, timeout="10s")
    except (OSError, TimeoutError) as error:
        raise EngineError(
            "nobody answers at the Dask scheduler",
            where=str(place),
            found=str(error)[:200],
            todo="start it, or set `dask: in-process`",
        ) from error
    with client:
        futures = [client.submit(each, pure=False) for each in tasks]
        for done, _ in enumerate(as_completed(futures), 1):
            progress(done, len(tasks))
        found = client.gather(futures)
    if isinstance(config.dask, Workers):
        place.close()
    return list(found)


def _in_process(config: Config, tasks: list[Callable[[], Any]], progress: Callable[[int, int], None]) -> list[Any]:
    import dask
    from dask.callbacks import Callback

    done = 0

    class Count(Callback):
        def _posttask(self, *_: Any) -> None:
            nonlocal done
            done += 1
            progress(min(done, len(tasks)), len(tasks))

    with Count():
        return list(
            dask.compute(
                *[dask.delayed(each, pure=False)() for each in tasks], scheduler="threads", num_workers=config.parallel
            )
        )
