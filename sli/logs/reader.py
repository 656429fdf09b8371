"""SQL for the rows of log files in a span of time: id, t, value and declared columns, of files of different types.

Limit: ids are compared as text, so the integer 7 and the text "7" are one id; `agreement` sets the rarer kind aside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.parquet as pq

from sli.calendar.duration import DAY
from sli.calendar.interval import ALWAYS, Interval
from sli.engine.sql import literal, path_sql, quoted
from sli.logs.fields import FLOATS, HIVE, field_sql, type_of
from sli.logs.files import Columns, Files, LogFile, Problem, UnreadableFiles
from sli.logs.log import Log
from sli.logs.pages import checksum_error, has_checksum
from sli.logs.selection import Selection
from sli.logs.times import time_sql
from sli.logs.values import id_sql, value_sql
from sli.logs.where import where_sql

if TYPE_CHECKING:
    import duckdb

    from sli.logs.prefetch import PrefetchFileSystem

PREFETCH_SHARE = 5
"""Bytes fetched from remote files may take a fifth of a task's memory."""


FILE = "sli:file"
"""DuckDB's column of the path of each row; not its usual name `filename`, which a log may have too."""
ROW = '"sli:row"'
"""SQL of the column that numbers rows."""


def rows_sql(
    con: duckdb.DuckDBPyConnection,
    files: Iterable[LogFile],
    log: Log,
    span: Interval,
    numbered: bool = False,
) -> str:
    """SQL for the rows of files in a span of time: id (text), t (UTC microseconds), value, columns, filename.

    With `numbered` also ROW, a different number for each row. Checks the pages of local files against their checksums
    and raises UnreadableFiles where they differ; remote files are checked when DuckDB asks for them.
    """
    groups: dict[tuple[str, Columns, tuple[str, ...]], list[LogFile]] = {}
    files = list(files)
    for file in files:
        groups.setdefault((file.log, file.columns, _partitions(file)), []).append(file)
    _check_pages(con, files, log, span)
    _announce(con, files, log, span)
    selects = [
        _select(dict(types), group, log.of(name), span, place if numbered else None)
        for place, ((name, types, _), group) in enumerate(groups.items())
    ]
    if not selects:
        columns = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in log.columns)
        columns += f", NULL::BIGINT AS {ROW}" * numbered
        return (
            f"(SELECT NULL::VARCHAR AS id, NULL::BIGINT AS t, NULL::DOUBLE AS value{columns}, NULL AS filename LIMIT 0)"
        )
    return f"({' UNION ALL '.join(selects)})"


def parts_sql(con: duckdb.DuckDBPyConnection, parts: Iterable[tuple[Files, Interval]], log: Log) -> str:
    """As `rows_sql`, for the rows of several groups of files, each in a span of its own."""
    # Without files the columns would have no types.
    selects = [f"SELECT * FROM {rows_sql(con, files, log, span)}" for files, span in parts if len(files)]
    return f"({' UNION ALL '.join(selects)})" if selects else rows_sql(con, [], log, ALWAYS)


def _partitions(file: LogFile) -> tuple[str, ...]:
    """Names of the hive columns in the path of a file: DuckDB reads files together only if these are the same."""
    return tuple(file.folders) if HIVE in file.types.values() else ()


def count_sql(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> str:
    """SQL for the number of rows that `rows_sql` gives. It reads only files that are partly in the span."""
    known, partial = 0, []
    for file in files:
        whole = all(span.start <= first and last < span.end for first, last in file.ranges)
        if whole and log.of(file.log).where is None:
            known += file.rows - file.null_times
        elif file.meets(span):
            partial.append(file)
    return f"{known} + (SELECT count(*) FROM {rows_sql(con, partial, log, span)})" if partial else str(known)


_PREFETCH: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, PrefetchFileSystem]] = WeakKeyDictionary()
"""The file systems through which each connection reads remote files, by protocol."""


_CHECKED: WeakKeyDictionary[duckdb.DuckDBPyConnection, set[tuple[str, frozenset[str], Interval]]] = WeakKeyDictionary()
"""Which columns and spans of local files each connection has already checked."""


def _check_pages(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> None:
    """Check the needed pages of local files against their checksums, if they have any. Raises UnreadableFiles."""
    checked, problems = _CHECKED.setdefault(con, set()), {}
    for file in files:
        selection = _selection(file, log.of(file.log), span)
        pages = file.path, selection.columns, span
        if "://" in file.path or pages in checked:
            continue
        checked.add(pages)
        try:
            with open(file.path, "rb") as opened:
                if not has_checksum(opened):
                    continue
                groups = selection.pages(pq.read_metadata(file.path))
                problem = checksum_error(opened, itertools.chain.from_iterable(groups))
        except (OSError, pa.ArrowException):
            continue  # the next query that reads the file says why it cannot
        if problem:
            problems[file.path] = Problem("damaged", problem)
    if problems:
        raise UnreadableFiles("files cannot be read", problems)


def _selection(file: LogFile, log: Log, span: Interval) -> Selection:
    """What the next query reads of a file. A local time differs by up to a day from its instant."""
    zoned = log.time is not None and "tz=" in file.types.get(log.time.field, "")
    return Selection(file, file.stored(log.stored), span if zoned else span.widened(DAY, DAY), log.where)


def _announce(con: duckdb.DuckDBPyConnection, files: Iterable[LogFile], log: Log, span: Interval) -> None:
    """Announce to the connection's file systems which bytes of remote files its next query reads."""
    for file in files:
        protocol, remote, _ = file.path.partition("://")
        if not remote:
            continue
        from sli.logs.prefetch import PrefetchFileSystem  # imports fsspec

        systems = _PREFETCH.setdefault(con, {})
        if protocol not in systems:
            memory = con.execute("SELECT getvariable('memory')").fetchall()[0][0]
            systems[protocol] = PrefetchFileSystem(protocol, log.storage, memory // PREFETCH_SHARE)
            con.register_filesystem(systems[protocol])
        systems[protocol].announce(_selection(file, log.of(file.log), span))


def _select(
    types: dict[str, str],
    files: Sequence[LogFile],
    log: Log,
    span: Interval,
    place: int | None,
) -> str:
    time = time_sql(files, log, types, span)
    columns = "".join(f", {_column_sql(log.field(name), types)} AS {quoted(name)}" for name in log.columns)
    if place is not None:
        columns += f", {place << 56} + (file_index::BIGINT << 36) + file_row_number AS {ROW}"
    hive = "true" if HIVE in types.values() else "false"
    read = (
        f"read_parquet([{', '.join(path_sql(file.path) for file in files)}], "
        f"filename={literal(FILE)}, hive_partitioning={hive}, hive_types_autocast=false)"
    )
    if time.parsed:
        read = f"(SELECT *, file_index, file_row_number, {time.parsed} FROM {read})"
    conditions = [condition for condition in (time.bounds, where_sql(log.where, types)) if condition]
    return (
        f"SELECT * FROM (SELECT {id_sql(log, types)} AS id, {time.t} AS t, "
        f"{value_sql(log, types)} AS value{columns}, {quoted(FILE)} AS filename "
        f"FROM {read} WHERE {' AND '.join(conditions) or 'true'}){time.within}"
    )


def _column_sql(field: str, types: Mapping[str, str]) -> str:
    """SQL of a declared column: NaN and infinities become null, and -0.0 becomes 0.0, whose text differs."""
    value = field_sql(field, types)
    floating = type_of(types[field]) in FLOATS
    return f"CASE WHEN isfinite({value}) THEN {value} + 0.0 END" if floating else value
