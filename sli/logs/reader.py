"""Reading the logs in SQL: rows of files in a span of time as id, t, value and declared columns, whatever their types.

Why a file cannot be read is told by the one who reads it: pyarrow tells damage from what only this program cannot read.
Limit: ids are compared as text, so the integer 7 and the text "7" would be one id; discovery keeps them from meeting.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sli.calendar.interval import DAY, Interval, zone
from sli.config.model import Config
from sli.engine.interrupts import stoppable
from sli.engine.spill import spill_folder
from sli.engine.storage import NOTHING, Storage, filesystem, plain, read_through
from sli.errors import EngineError, OutOfMemory, SliError
from sli.logs.files import LogFile, Problem
from sli.logs.listing import is_current
from sli.logs.pages import broken, chunks, has_checksum
from sli.logs.prefetch import Fetched, Wanted
from sli.masking import masked
from sli.slices import literal, quoted, text_of

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
    def needed(self) -> frozenset[str]:
        """All columns that are read."""
        return frozenset((self.id, self.time, self.value, *self.columns))

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

    def __init__(self, what: str, files: Mapping[str, Problem] | None = None) -> None:
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
    """The error for a query that takes more than `memory:` although it can spill to disk."""
    return OutOfMemory(
        "a task ran out of memory",
        where=where,
        found=found,
        todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
    )


@contextmanager
def within_memory(where: str) -> Iterator[None]:
    """Raise OutOfMemory where a query inside the block takes more memory than it may."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory(where, plain(error)) from error


def _problem(file: LogFile, source: Source, zone_name: str) -> Problem | None:
    """Why the rows of a file cannot be read; None if they can."""
    con = connect(1, 0)
    try:
        rows = rows_of(con, [file], source, zone_name, Interval(-(2**56), 2**56))
        con.execute(f"SELECT count(*), max(hash(COLUMNS(*))) FROM {rows}").fetchall()
    except BrokenFiles as found:
        return found.files[file.path]
    except duckdb.OutOfMemoryException:
        return None  # a matter of the machine
    except (duckdb.Error, OSError) as error:
        return _reason(file, source, error)
    finally:
        con.close()
    return None


def _reason(file: LogFile, source: Source, error: Exception) -> Problem:
    """Whether a file that DuckDB fails on is damaged: only where pyarrow, which reads it again, fails too."""
    stored = [name for name, kind in file.columns if kind != "hive" and name in source.needed]
    try:
        fs, place = filesystem(file.path, source.storage)
        with fs.open(place, "rb") as opened:
            for _ in pq.ParquetFile(opened, page_checksum_verification=True).iter_batches(columns=stored):
                pass
    except FileNotFoundError:
        return Problem("unreadable", "it was removed while it was read")
    except (pa.ArrowException, OSError, EOFError) as problem:
        return Problem("damaged", _first_line(problem))
    return Problem("unsupported", f"it is not damaged, but DuckDB cannot read it: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return masked((str(error).splitlines() or [type(error).__name__])[0])[:200]


def connect(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory database that spills to disk beyond its memory."""
    con = duckdb.connect()
    con.execute(f"SET threads={threads}")
    con.execute(f"SET VARIABLE memory={max(64 << 20, memory)}")
    con.execute(f"SET memory_limit='{max(64, memory >> 20)}MiB'")
    con.execute(f"SET temp_directory={literal(spill_folder())}")
    for setting in ("preserve_insertion_order=false", "enable_external_file_cache=false"):
        con.execute(f"SET {setting}")
    session(con)
    return con


def session(con: duckdb.DuckDBPyConnection) -> None:
    """What each cursor of a connection needs."""
    stoppable(con)
    for setting in ("enable_progress_bar=false", "TimeZone='UTC'"):
        con.execute(f"SET {setting}")


NANOSECONDS = 2**63 // 1000 - 1
"""As many microseconds as 64 bits of nanoseconds can tell."""
MIDDLE = np.uint32(1 << 31)
FILE = "sli:file"
"""Name of the column of paths where files are read: a file may have a column `filename` of its own."""
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
    groups: dict[tuple[tuple[tuple[str, str], ...], tuple[str, ...]], list[LogFile]] = {}
    files = list(files)
    for each in files:
        groups.setdefault((each.columns, _partitions(each)), []).append(each)
    _check_pages(con, files, source, span)
    _announce(con, files, source, span)
    selects = [
        _select(dict(types), group, source, zone_name, span, place if numbered else None)
        for place, ((types, _), group) in enumerate(groups.items())
    ]
    if not selects:
        columns = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in source.columns)
        columns += f", NULL::BIGINT AS {ROW}" * numbered
        return (
            f"(SELECT NULL::VARCHAR AS id, NULL::BIGINT AS t, NULL::DOUBLE AS value{columns}, NULL AS filename LIMIT 0)"
        )
    return f"({' UNION ALL '.join(selects)})"


def _partitions(file: LogFile) -> tuple[str, ...]:
    """Names of the hive columns in its path: DuckDB reads only files with the same ones together."""
    if "hive" not in file.types.values():
        return ()
    return tuple(part.partition("=")[0] for part in file.path.split("/")[:-1] if "=" in part)


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


_CHECKED: WeakKeyDictionary[duckdb.DuckDBPyConnection, set[tuple[str, frozenset[str], Interval]]] = WeakKeyDictionary()
"""Which parts of local files each connection has checked against the checksums of their pages."""


def _check_pages(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], source: Source, span: Interval) -> None:
    """Check the pages of local files against their checksums, if any; those of remote files are checked when fetched.

    Raises BrokenFiles.
    """
    checked, found = _CHECKED.setdefault(con, set()), {}
    for file in files:
        what = file.path, source.needed, span
        if "://" in file.path or what in checked:
            continue
        checked.add(what)
        try:
            with open(file.path, "rb") as opened:
                if not has_checksum(opened):
                    continue
                groups = chunks(pq.read_metadata(file.path), source.needed, file.ranges, _named(file, source, span))
                problem = broken(opened, itertools.chain.from_iterable(groups))
        except (OSError, pa.ArrowException):
            continue  # whoever reads it next says why it cannot be
        if problem:
            found[file.path] = Problem("damaged", problem)
    if found:
        raise BrokenFiles("files cannot be read", found)


def _named(file: LogFile, source: Source, span: Interval) -> Interval:
    """The times of rows to read as a file names them: a local time may lie up to a day from the instant of its name."""
    return span if "tz=" in file.types.get(source.time, "") else span.grown(DAY, DAY)


def _announce(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], source: Source, span: Interval) -> None:
    """Tell the file systems of a connection which bytes of remote files it is about to read."""
    for file in files:
        protocol, remote, _ = file.path.partition("://")
        if not remote:
            continue
        known = _REMOTE.setdefault(con, {})
        if protocol not in known:
            memory = con.execute("SELECT getvariable('memory')").fetchall()[0][0]
            known[protocol] = Fetched(protocol, source.storage, memory // FETCHED)
            con.register_filesystem(known[protocol])
        known[protocol].want(Wanted(file, source.needed, _named(file, source, span)))


def _select(
    types: dict[str, str],
    files: Iterable[LogFile],
    source: Source,
    zone_name: str,
    span: Interval,
    place: int | None,
) -> str:
    t, bounds, within = _times(files, quoted(source.time), types[source.time], zone_name, span)
    columns = "".join(f", {_clean(name, types[name])} AS {quoted(name)}" for name in source.columns)
    if place is not None:
        columns += f", {place << 56} + (file_index::BIGINT << 36) + file_row_number AS {ROW}"
    hive = "true" if "hive" in types.values() else "false"
    read = (
        f"read_parquet([{', '.join(place_of(file.path) for file in files)}], "
        f"filename={literal(FILE)}, hive_partitioning={hive}, hive_types_autocast=false)"
    )
    return (
        f"SELECT * FROM (SELECT {quoted(source.id)}::VARCHAR AS id, {t} AS t, "
        f"{source.value_sql} AS value{columns}, {quoted(FILE)} AS filename "
        f"FROM {read} WHERE {bounds}){within}"
    )


def _times(files: Iterable[LogFile], time: str, kind: str, zone_name: str, span: Interval) -> tuple[str, str, str]:
    """SQL of a time as UTC microseconds, of which rows to read, and of which of these lie in the span.

    What is smaller than a microsecond is cut off, before 1970 too. No cast does that: they round.
    """
    reach = NANOSECONDS if kind.startswith("timestamp[ns") else 2**56
    low, high = (min(max(at, -reach), reach) for at in (span.start, span.end))
    if "tz=" in kind:
        nanos = f"epoch_ns({time})"
        t = f"{nanos} // 1000 - ({nanos} % 1000 < 0)::BIGINT" if reach == NANOSECONDS else f"epoch_us({time})"
        return t, f"{time} >= make_timestamptz({low}) AND {time} < make_timestamptz({high})", ""
    # Of a zone's changes only those within what the files hold: a span may be all of time.
    instants = [instant for file in files for both in file.ranges for instant in both] or [low]
    low = min(max(low, min(instants)), high)
    high = max(min(high, max(instants) + 1), low)
    t = zone(zone_name).to_utc(time, low - DAY, high + DAY)
    first, last = max(low - DAY, -reach), min(high + DAY, reach)
    bounds = f"{time}::TIMESTAMP >= make_timestamp({first}) AND {time}::TIMESTAMP < make_timestamp({last})"
    return t, bounds, f" WHERE t >= {span.start} AND t < {span.end}"


def place_of(path: str) -> str:
    """SQL of a path as it is."""
    return literal(pattern_of(path))


def pattern_of(path: str) -> str:
    """The pattern that matches one path only: DuckDB takes `*`, `?` and `[` in local paths for wildcards."""
    return path if "://" in path else re.sub(r"[*?[]", r"[\g<0>]", path)


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
