"""SQL for the rows of log files in a span of time: id, t, value and declared columns, of files of different types.

Limit: ids are compared as text, so the integer 7 and the text "7" are one id; `agreement` sets the rarer kind aside.
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
from sli.engine.storage import NO_OPTIONS, Storage
from sli.logs.files import LogFile, Problem, UnreadableFiles
from sli.logs.pages import checksum_error, column_pages, has_checksum
from sli.logs.prefetch import PrefetchFileSystem, Selection

PREFETCH_SHARE = 5
"""Bytes fetched from remote files may take a fifth of a task's memory."""


@dataclass(frozen=True)
class Log:
    """What a task needs to know of one log: the names of its columns."""

    id: str
    time: str
    value: str
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """For a multiclass task: a value is read as the position of its class in this list, -1 for any other text."""
    storage: Storage = NO_OPTIONS

    @property
    def needed(self) -> frozenset[str]:
        """All columns that are read."""
        return frozenset((self.id, self.time, self.value, *self.columns))

    @property
    def value_sql(self) -> str:
        """SQL of a row's value as a number."""
        if not self.classes:
            return f"{quoted(self.value)}::DOUBLE"
        classes = ", ".join(map(literal, self.classes))
        place = f"coalesce(list_position([{classes}], {text_of(quoted(self.value))}), 0) - 1"
        return f"CASE WHEN {quoted(self.value)} IS NOT NULL THEN {place} END::DOUBLE"


def predictions_log(config: Config) -> Log:
    """The predictions log, with every column the config asks for."""
    p = config.predictions
    return Log(p.id, p.time, p.value, config.columns, config.classes, config.storage)


def feedback_log(config: Config) -> Log:
    """The feedback log."""
    f = config.feedback
    return Log(f.id, f.time, f.value, (), config.classes, config.storage)


MAX_NANOSECOND_TIME = 2**63 // 1000 - 1
"""Microseconds of the latest time that 64 bits of nanoseconds can hold."""
FILE = "sli:file"
"""DuckDB's column of the path of each row; not its usual name `filename`, which a log may have too."""
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

    With `numbered` also ROW, a different number for each row. Checks the pages of local files against their checksums
    and raises UnreadableFiles where they differ; remote files are checked when DuckDB asks for them.
    """
    groups: dict[tuple[tuple[tuple[str, str], ...], tuple[str, ...]], list[LogFile]] = {}
    files = list(files)
    for file in files:
        groups.setdefault((file.columns, _partitions(file)), []).append(file)
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
    """Names of the hive columns in the path of a file: DuckDB reads files together only if these are the same."""
    if "hive" not in file.types.values():
        return ()
    return tuple(part.partition("=")[0] for part in file.path.split("/")[:-1] if "=" in part)


def count_sql(
    con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, zone_name: str, span: Interval
) -> str:
    """SQL for the number of rows that `rows_sql` gives. It reads only files that are partly in the span."""
    known, partial = 0, []
    for file in files:
        if all(span.start <= first and last < span.end for first, last in file.ranges):
            known += file.rows - file.null_times
        elif file.meets(span):
            partial.append(file)
    return f"{known} + (SELECT count(*) FROM {rows_sql(con, partial, log, zone_name, span)})" if partial else str(known)


_PREFETCH: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, PrefetchFileSystem]] = WeakKeyDictionary()
"""The file systems through which each connection reads remote files, by protocol."""


_CHECKED: WeakKeyDictionary[duckdb.DuckDBPyConnection, set[tuple[str, frozenset[str], Interval]]] = WeakKeyDictionary()
"""Which columns and spans of local files each connection has already checked."""


def _check_pages(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> None:
    """Check the needed pages of local files against their checksums, if they have any. Raises UnreadableFiles."""
    checked, problems = _CHECKED.setdefault(con, set()), {}
    for file in files:
        pages = file.path, log.needed, span
        if "://" in file.path or pages in checked:
            continue
        checked.add(pages)
        try:
            with open(file.path, "rb") as opened:
                if not has_checksum(opened):
                    continue
                groups = column_pages(
                    pq.read_metadata(file.path), log.needed, file.ranges, _stored_times(file, log, span)
                )
                problem = checksum_error(opened, itertools.chain.from_iterable(groups))
        except (OSError, pa.ArrowException):
            continue  # the next query that reads the file says why it cannot
        if problem:
            problems[file.path] = Problem("damaged", problem)
    if problems:
        raise UnreadableFiles("files cannot be read", problems)


def _stored_times(file: LogFile, log: Log, span: Interval) -> Interval:
    """The times that rows of a span have in a file: a local time differs by up to a day from its instant."""
    return span if "tz=" in file.types.get(log.time, "") else span.widened(DAY, DAY)


def _announce(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> None:
    """Announce to the connection's file systems which bytes of remote files its next query reads."""
    for file in files:
        protocol, remote, _ = file.path.partition("://")
        if not remote:
            continue
        systems = _PREFETCH.setdefault(con, {})
        if protocol not in systems:
            memory = con.execute("SELECT getvariable('memory')").fetchall()[0][0]
            systems[protocol] = PrefetchFileSystem(protocol, log.storage, memory // PREFETCH_SHARE)
            con.register_filesystem(systems[protocol])
        systems[protocol].announce(Selection(file, log.needed, _stored_times(file, log, span)))


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
    """SQL of a time as UTC microseconds, a condition for the rows to read, and one for the rows in the span.

    Nanoseconds are rounded down, also before 1970. A cast would round to the nearest microsecond.
    """
    reach = MAX_NANOSECOND_TIME if kind.startswith("timestamp[ns") else 2**56
    low, high = (min(max(at, -reach), reach) for at in (span.start, span.end))
    if "tz=" in kind:
        nanos = f"epoch_ns({time})"
        t = f"{nanos} // 1000 - ({nanos} % 1000 < 0)::BIGINT" if reach == MAX_NANOSECOND_TIME else f"epoch_us({time})"
        return t, f"{time} >= make_timestamptz({low}) AND {time} < make_timestamptz({high})", ""
    # Only changes of the zone within the times of the files matter: the span may be all of time.
    instants = [instant for file in files for ends in file.ranges for instant in ends] or [low]
    low = min(max(low, min(instants)), high)
    high = max(min(high, max(instants) + 1), low)
    t = zone(zone_name).to_utc(time, low - DAY, high + DAY)
    first, last = max(low - DAY, -reach), min(high + DAY, reach)
    bounds = f"{time}::TIMESTAMP >= make_timestamp({first}) AND {time}::TIMESTAMP < make_timestamp({last})"
    return t, bounds, f" WHERE t >= {span.start} AND t < {span.end}"


def _clean(name: str, kind: str) -> str:
    """SQL of a declared column: NaN and infinities become null, and -0.0 becomes 0.0, whose text differs."""
    return (
        f"CASE WHEN isfinite({quoted(name)}) THEN {quoted(name)} + 0.0 END"
        if kind in ("float", "double", "halffloat")
        else quoted(name)
    )
