"""Reading the logs in SQL: rows of files in a span of time as id, t, value and declared columns, whatever their types.

Why a file cannot be read is told by the one who reads it: pyarrow tells damage from what only this program cannot read.
Limit: ids are compared as text, so the integer 7 and the text "7" would be one id; discovery keeps them from meeting.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sli.calendar.duration import DAY
from sli.calendar.interval import Interval
from sli.calendar.zone import zone
from sli.config.model import Config
from sli.engine.sql import literal, path_sql, quoted, text_of
from sli.engine.storage import NOTHING, Storage
from sli.logs.files import LogFile, Problem, UnreadableFiles
from sli.logs.pages import broken, chunks, has_checksum
from sli.logs.prefetch import Fetched, Wanted

FETCHED = 5
"""The share of a task's memory that bytes of remote files may take: one in so many."""


@dataclass(frozen=True)
class Log:
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


def predictions_log(config: Config) -> Log:
    """The predictions log, with every column the config asks for."""
    p = config.predictions
    return Log(p.id, p.time, p.value, config.columns, config.classes, config.storage)


def feedback_log(config: Config) -> Log:
    """The feedback log."""
    f = config.feedback
    return Log(f.id, f.time, f.value, (), config.classes, config.storage)


NANOSECONDS = 2**63 // 1000 - 1
"""As many microseconds as 64 bits of nanoseconds can tell."""
FILE = "sli:file"
"""Name of the column of paths where files are read: a file may have a column `filename` of its own."""
ROW = '"sli:row"'
"""SQL of the column that numbers rows."""


def rows_sql(
    con: duckdb.DuckDBPyConnection,
    files: Iterable[LogFile],
    log: Log,
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
    _check_pages(con, files, log, span)
    _announce(con, files, log, span)
    selects = [
        _select(dict(types), group, log, zone_name, span, place if numbered else None)
        for place, ((types, _), group) in enumerate(groups.items())
    ]
    if not selects:
        columns = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in log.columns)
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


def count_sql(
    con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, zone_name: str, span: Interval
) -> str:
    """SQL of how many rows `rows_sql` gives: footers tell it of all files but those that lie in the span in part."""
    known, parts = 0, []
    for file in files:
        if all(span.start <= first and last < span.end for first, last in file.ranges):
            known += file.rows - file.null_times
        elif file.meets(span):
            parts.append(file)
    return f"{known} + (SELECT count(*) FROM {rows_sql(con, parts, log, zone_name, span)})" if parts else str(known)


_REMOTE: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, Fetched]] = WeakKeyDictionary()
"""File systems of each connection, by protocol."""


_CHECKED: WeakKeyDictionary[duckdb.DuckDBPyConnection, set[tuple[str, frozenset[str], Interval]]] = WeakKeyDictionary()
"""Which parts of local files each connection has checked against the checksums of their pages."""


def _check_pages(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> None:
    """Check the pages of local files against their checksums, if any; those of remote files are checked when fetched.

    Raises UnreadableFiles.
    """
    checked, found = _CHECKED.setdefault(con, set()), {}
    for file in files:
        what = file.path, log.needed, span
        if "://" in file.path or what in checked:
            continue
        checked.add(what)
        try:
            with open(file.path, "rb") as opened:
                if not has_checksum(opened):
                    continue
                groups = chunks(pq.read_metadata(file.path), log.needed, file.ranges, _named(file, log, span))
                problem = broken(opened, itertools.chain.from_iterable(groups))
        except (OSError, pa.ArrowException):
            continue  # whoever reads it next says why it cannot be
        if problem:
            found[file.path] = Problem("damaged", problem)
    if found:
        raise UnreadableFiles("files cannot be read", found)


def _named(file: LogFile, log: Log, span: Interval) -> Interval:
    """The times of rows to read as a file names them: a local time may lie up to a day from the instant of its name."""
    return span if "tz=" in file.types.get(log.time, "") else span.grown(DAY, DAY)


def _announce(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> None:
    """Tell the file systems of a connection which bytes of remote files it is about to read."""
    for file in files:
        protocol, remote, _ = file.path.partition("://")
        if not remote:
            continue
        known = _REMOTE.setdefault(con, {})
        if protocol not in known:
            memory = con.execute("SELECT getvariable('memory')").fetchall()[0][0]
            known[protocol] = Fetched(protocol, log.storage, memory // FETCHED)
            con.register_filesystem(known[protocol])
        known[protocol].want(Wanted(file, log.needed, _named(file, log, span)))


def _select(
    types: dict[str, str],
    files: Iterable[LogFile],
    log: Log,
    zone_name: str,
    span: Interval,
    place: int | None,
) -> str:
    t, bounds, within = _times(files, quoted(log.time), types[log.time], zone_name, span)
    columns = "".join(f", {_clean(name, types[name])} AS {quoted(name)}" for name in log.columns)
    if place is not None:
        columns += f", {place << 56} + (file_index::BIGINT << 36) + file_row_number AS {ROW}"
    hive = "true" if "hive" in types.values() else "false"
    read = (
        f"read_parquet([{', '.join(path_sql(file.path) for file in files)}], "
        f"filename={literal(FILE)}, hive_partitioning={hive}, hive_types_autocast=false)"
    )
    return (
        f"SELECT * FROM (SELECT {quoted(log.id)}::VARCHAR AS id, {t} AS t, "
        f"{log.value_sql} AS value{columns}, {quoted(FILE)} AS filename "
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


def _clean(name: str, kind: str) -> str:
    """A declared column; NaN and infinities of a float column are null, and -0.0 is 0.0, whose text is another."""
    return (
        f"CASE WHEN isfinite({quoted(name)}) THEN {quoted(name)} + 0.0 END"
        if kind in ("float", "double", "halffloat")
        else quoted(name)
    )
