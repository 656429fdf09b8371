"""Reading the logs in SQL: rows of files in a span of time as id, t, value and declared columns, whatever their types.

Limit: ids are compared as text, so the integer 7 and the text "7" would be one id; discovery keeps them from meeting.
"""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import duckdb
import numpy as np
import pyarrow as pa

from sli.config import Config
from sli.errors import EngineError, OutOfMemory, SliError
from sli.fetch import Fetched, Wanted
from sli.inputs import LogFile
from sli.intervals import DAY, Interval, zone
from sli.listing import is_current
from sli.signals import stoppable
from sli.slices import literal, quoted, text_of
from sli.storage import NOTHING, Storage, plain, read_through

FETCHED = 5
"""The share of a task's memory that bytes of remote files may take: one in so many."""


@dataclass(frozen=True)
class Source:
    """One log as the kernel reads it."""

    id: str
    time: str
    value: str
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """Of a multiclass task: a value is the position of its class among them, -1 for any other."""
    storage: Storage = NOTHING

    @property
    def value_sql(self) -> str:
        """SQL of a row's value as a number."""
        if not self.classes:
            return f"{quoted(self.value)}::DOUBLE"
        named = ", ".join(map(literal, self.classes))
        place = f"coalesce(list_position([{named}], {text_of(quoted(self.value))}), 0) - 1"
        return f"CASE WHEN {quoted(self.value)} IS NOT NULL THEN {place} END::DOUBLE"


def predictions_source(config: Config) -> Source:
    """The predictions log, with every column the config asks for."""
    p = config.predictions
    return Source(p.id, p.time, p.value, config.columns, config.classes, config.storage)


def feedback_source(config: Config) -> Source:
    """The feedback log."""
    f = config.feedback
    return Source(f.id, f.time, f.value, (), config.classes, config.storage)


class BrokenFiles(SliError):
    """Files that turned out unreadable beyond their footer."""

    def __init__(self, what: str, files: Mapping[str, str] | None = None) -> None:
        super().__init__(what)
        self.files = dict(files or {})


def check_readable(files: Iterable[LogFile], source: Source, zone_name: str, error: Exception) -> None:
    """Raise BrokenFiles from the error for those files that cannot be read to their end; return if all can.

    Raises EngineError where their storage does not answer: a file is broken only if its bytes are there.
    """
    if isinstance(error, duckdb.InterruptException):
        raise error
    if isinstance(error, duckdb.OutOfMemoryException):
        return
    found = {}
    for file in files:
        if not _problem(file, source, zone_name):
            continue
        if "://" in file.path:
            try:
                current = is_current(file.path, file.fingerprint, source.storage)
                read_through(file.path, source.storage)
            except Exception as away:
                raise EngineError(
                    "a file of the logs could not be fetched", where=file.path, found=plain(away), passes=True
                ) from away
            if not current:
                raise EngineError(
                    "a file of the logs was replaced while it was read", where=file.path, todo="run again", passes=True
                ) from error
        if problem := _problem(file, source, zone_name):
            found[file.path] = problem
    if found:
        raise BrokenFiles("files cannot be read", found) from error


def failed(error: Exception, where: str) -> EngineError:
    """What to raise where all files can be read after all."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return out_of_memory(where, plain(error))
    passes = isinstance(error, duckdb.IOException | OSError)
    return EngineError("a task failed", where=where, found=plain(error), passes=passes)


def out_of_memory(where: str, found: str) -> OutOfMemory:
    """What to raise where a query takes more than `memory:`, even with what it can spill on disk."""
    return OutOfMemory(
        "a task ran out of memory",
        where=where,
        found=found,
        todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
    )


@contextmanager
def within_memory(where: str) -> Iterator[None]:
    """Raises OutOfMemory where a query inside the block takes more than there is."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory(where, plain(error)) from error


def _problem(file: LogFile, source: Source, zone_name: str) -> str:
    """Why the rows of a file cannot be read; empty if they can."""
    con = connect(1, 0)
    try:
        rows = rows_of(con, [file], source, zone_name, Interval(-(2**56), 2**56))
        con.execute(f"SELECT count(*), max(hash(COLUMNS(*))) FROM {rows}").fetchall()
    except (duckdb.Error, OSError) as problem:
        return str(problem).splitlines()[0][:200]
    finally:
        con.close()
    return ""


@functools.cache
def _spill() -> str:
    """Where this process spills; gone when it ends."""
    folder = tempfile.mkdtemp(prefix="sli-spill-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def connect(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory database that spills to disk beyond its memory."""
    con = duckdb.connect()
    con.execute(f"SET threads={threads}")
    con.execute(f"SET VARIABLE memory={max(64 << 20, memory)}")
    con.execute(f"SET memory_limit='{max(64, memory >> 20)}MiB'")
    con.execute(f"SET temp_directory={literal(_spill())}")
    for setting in ("preserve_insertion_order=false", "enable_external_file_cache=false"):
        con.execute(f"SET {setting}")
    session(con)
    return con


def session(con: duckdb.DuckDBPyConnection) -> None:
    """What each cursor of a connection needs."""
    stoppable(con)
    for setting in ("enable_progress_bar=false", "TimeZone='UTC'"):
        con.execute(f"SET {setting}")


MIDDLE = np.uint32(1 << 31)
ROW = '"sli:row"'
"""SQL of the column that numbers rows."""


def rows_of(
    con: duckdb.DuckDBPyConnection,
    files: Iterable[LogFile],
    source: Source,
    zone_name: str,
    span: Interval,
    numbered: bool = False,
) -> str:
    """SQL for the rows of files in a span of time: id (text), t (UTC microseconds), value, columns, filename.

    With `numbered` also ROW, a number of its own for each row of these files.
    """
    groups: dict[tuple[tuple[str, str], ...], list[LogFile]] = {}
    files = list(files)
    for each in files:
        groups.setdefault(each.columns, []).append(each)
    _announce(con, files, source, span)
    selects = [
        _select(dict(types), group, source, zone_name, span, place if numbered else None)
        for place, (types, group) in enumerate(groups.items())
    ]
    if not selects:
        columns = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in source.columns)
        columns += f", NULL::BIGINT AS {ROW}" * numbered
        return (
            f"(SELECT NULL::VARCHAR AS id, NULL::BIGINT AS t, NULL::DOUBLE AS value{columns}, NULL AS filename LIMIT 0)"
        )
    return f"({' UNION ALL '.join(selects)})"


def count_of(
    con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], source: Source, zone_name: str, span: Interval
) -> str:
    """SQL of how many rows `rows_of` gives: footers tell it of all files but those that lie in the span in part."""
    known, parts = 0, []
    for file in files:
        if all(span.start <= first and last < span.end for first, last in file.ranges):
            known += file.rows - file.null_times
        elif file.meets(span):
            parts.append(file)
    return f"{known} + (SELECT count(*) FROM {rows_of(con, parts, source, zone_name, span)})" if parts else str(known)


_REMOTE: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, Fetched]] = WeakKeyDictionary()
"""File systems of each connection, by protocol."""


def _announce(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], source: Source, span: Interval) -> None:
    """Tell the file systems of a connection which bytes of remote files it is about to read."""
    needed = frozenset((source.id, source.time, source.value, *source.columns))
    for file in files:
        protocol, remote, _ = file.path.partition("://")
        if not remote:
            continue
        known = _REMOTE.setdefault(con, {})
        if protocol not in known:
            memory = con.execute("SELECT getvariable('memory')").fetchall()[0][0]
            known[protocol] = Fetched(protocol, source.storage, memory // FETCHED)
            con.register_filesystem(known[protocol])
        # A local time may lie up to a day from the instant of its name.
        local = "tz=" not in file.types.get(source.time, "")
        known[protocol].want(Wanted(file, needed, span.grown(DAY, DAY) if local else span))


def _select(
    types: dict[str, str],
    files: Iterable[LogFile],
    source: Source,
    zone_name: str,
    span: Interval,
    place: int | None,
) -> str:
    time, kind = quoted(source.time), types[source.time]
    low, high = max(span.start, -(2**56)), min(span.end, 2**56)
    if "tz=" in kind:
        t, bounds = f"epoch_us({time})", f"{time} >= make_timestamptz({low}) AND {time} < make_timestamptz({high})"
        within = ""
    else:
        # Of a zone's changes only those within what the files hold: a span may be all of time.
        instants = [instant for file in files for both in file.ranges for instant in both] or [low]
        low = min(max(low, min(instants)), high)
        high = max(min(high, max(instants) + 1), low)
        t = zone(zone_name).to_utc(f"{time}::TIMESTAMP", low - DAY, high + DAY)
        bounds = (
            f"{time}::TIMESTAMP >= make_timestamp({low - DAY}) AND {time}::TIMESTAMP < make_timestamp({high + DAY})"
        )
        within = f" WHERE t >= {span.start} AND t < {span.end}"
    columns = "".join(f", {_clean(name, types[name])} AS {quoted(name)}" for name in source.columns)
    if place is not None:
        columns += f", {place << 56} + (file_index::BIGINT << 36) + file_row_number AS {ROW}"
    hive = "true" if "hive" in types.values() else "false"
    read = (
        f"read_parquet([{', '.join(place_of(file.path) for file in files)}], "
        f"filename=true, hive_partitioning={hive}, hive_types_autocast=false)"
    )
    return (
        f"SELECT * FROM (SELECT {quoted(source.id)}::VARCHAR AS id, {t} AS t, "
        f"{source.value_sql} AS value{columns}, filename "
        f"FROM {read} WHERE {bounds}){within}"
    )


def place_of(path: str) -> str:
    """SQL of a path as it is: DuckDB takes `*`, `?` and `[` in that of a local file for a pattern."""
    return literal(path if "://" in path else re.sub(r"[*?[]", r"[\g<0>]", path))


def _clean(name: str, kind: str) -> str:
    """A declared column; NaN and infinities of a float column are null, and -0.0 is 0.0, whose text is another."""
    return (
        f"CASE WHEN isfinite({quoted(name)}) THEN {quoted(name)} + 0.0 END"
        if kind in ("float", "double", "halffloat")
        else quoted(name)
    )


def inside_sql(column: str, intervals: Iterable[Interval]) -> str:
    """SQL condition: an instant lies in one of the intervals."""
    parts = [f"({column} >= {each.start} AND {column} < {each.end})" for each in intervals]
    return f"({' OR '.join(parts)})" if parts else "false"


def repeated(con: duckdb.DuckDBPyConnection, keys: str) -> pa.Table:
    """Column `k`: the 64-bit integers that occur more than once in the column `k` of a query.

    Sorting is the cheapest way to see that none does; their upper halves, sorted, leave few that could.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE keys AS {keys}")
    short = con.execute("SELECT (k >> 32)::UINTEGER AS short FROM keys").fetchnumpy()["short"]
    parts = [short[short < MIDDLE], short[short >= MIDDLE]]
    with ThreadPoolExecutor(len(parts)) as pool:
        twice = [np.unique(each[1:][each[1:] == each[:-1]]) for each in pool.map(np.sort, parts)]
    con.register("twice_arrow", pa.table({"short": np.concatenate(twice)}))
    found = con.sql(
        "SELECT k FROM keys WHERE (k >> 32)::UINTEGER IN (FROM twice_arrow) GROUP BY k HAVING count(*) > 1"
    ).to_arrow_table()
    con.unregister("twice_arrow")
    con.execute("DROP TABLE keys")
    return found
