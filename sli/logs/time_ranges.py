"""The stretches of time in which the rows of a file lie, by the statistics of its footer.

Limit: a file whose times are texts or have no statistics costs one read of its times.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, END, instant, moment
from sli.calendar.zone import Zone, zone
from sli.engine.expression import locked_database
from sli.engine.sql import literal, quoted
from sli.logs.fields import INTEGERS, field_sql, form_and_type, is_text, path_of, type_of
from sli.logs.files import LogFile
from sli.logs.log import Log, Time
from sli.logs.times import NAIVE, PER_UNIT, ZONED, epoch_sql, text_sql
from sli.logs.where import excluded_groups, where_sql

EARLIEST, LATEST = -(2**63) // 1000, 2**63 // 1000
"""Times from 1677 to 2262 are plausible. A file without any was written in another unit, or with a placeholder."""
YEAR_2000, YEAR_2100 = (instant(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)) for year in (2000, 2100))
UNITS = ("s", "ms", "us", "ns")
PROBABLY = "the unit is probably "
Bounds = tuple[int, int]


class Read(NamedTuple):
    """What the times of some rows are."""

    naive: list[Bounds]
    """First and last local time, in microseconds."""
    zoned: list[Bounds]
    """First and last instant."""
    missing: int
    """Rows whose time is null."""
    unreadable: int
    """Rows whose time is not null and no time."""
    example: str


def with_times(log: Log, file: LogFile, metadata: pq.FileMetaData, opened: pa.NativeFile, modified: int) -> LogFile:
    """The file with the first and last instant of each group of rows, or set aside because of them.

    `modified`: when the file was written, in microseconds.
    """
    excluded = excluded_groups(log.where, metadata)
    file = file._replace(row_bytes=_needed_bytes(file, metadata) / max(1, metadata.num_rows))
    groups = [number for number in range(metadata.num_row_groups) if not excluded[number]]
    if log.time is None:
        rows = sum(metadata.row_group(number).num_rows for number in groups)
        known = modified if log.known is None else log.known
        return file._replace(ranges=((known, known + 1),) if rows else ())
    kind = type_of(file.types[log.time.field])
    read = None if is_text(kind) else _from_statistics(log, log.time, kind, metadata, groups)
    if read is None:
        read = _read(log, log.time, file, opened, groups)
    low_high = [*read.naive, *read.zoned]
    if problem := _implausible(log.time, kind, low_high, read):
        return file.set_aside("wrong time", problem)
    zoned = set(read.zoned)
    ranges = tuple(_instants(low, high, zone(log.zone), (low, high) in zoned) for low, high in low_high)
    unreadable = "no time, or it cannot be read" if read.missing else "time cannot be read"
    explanation = f"{unreadable}, for example '{read.example}'" if read.unreadable else ""
    return file._replace(ranges=ranges, null_times=read.missing + read.unreadable, explanation=explanation)


def _needed_bytes(file: LogFile, metadata: pq.FileMetaData) -> int:
    """Compressed bytes of the needed columns."""
    paths = (metadata.schema.column(i).path for i in range(metadata.num_columns))
    places = [i for i, path in enumerate(paths) if path in file.types or path.split(".")[0] in file.types]
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return sum(group.column(i).total_compressed_size for group in groups for i in places)


def _implausible(time: Time, kind: str, bounds: Sequence[Bounds], read: Read) -> str:
    """Why no time of a file can be right; empty if one can."""
    if not bounds and time.unit and (likely := likely_unit(_number(read.example))):
        return _out_of_range(time, likely)
    if not bounds:
        if not read.unreadable:
            return ""
        what = f"no value of '{time.field}' is a time"
        if time.format:
            return f"{what} of the format {time.format}, for example '{read.example}'"
        if is_text(kind) and not time.unit:
            example = f"'{read.example}' is not ISO 8601"
            return f"{what}: {example}; write `time: {{column: {time.field}, format: ...}}`, or a `unit:` for numbers"
        return f"{what}, for example '{read.example}'"
    if time.unit and not any(low < YEAR_2100 and high >= YEAR_2000 for low, high in bounds):
        low = bounds[0][0]
        number = low * 1000 if time.unit == "ns" else low // PER_UNIT[time.unit]
        return _out_of_range(time, likely_unit(number))
    if not any(low < LATEST and high >= EARLIEST for low, high in bounds):
        what = f"every time in column '{time.field}' lies before the year 1678 or after 2261"
        return f"{what}; was it written in another unit, or as a placeholder?"
    return ""


def _out_of_range(time: Time, likely: str) -> str:
    what = f"in unit {time.unit} every time in '{time.field}' lies before the year 2000 or after 2100"
    return f"{what}; {PROBABLY}{likely}" if likely else what


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def likely_unit(number: float) -> str:
    """The unit in which a number is a time from 2000 to 2100; empty if there is none.

    >>> likely_unit(1_700_000_000), likely_unit(1_700_000_000_000), likely_unit(7)
    ('s', 'ms', '')
    """
    micros = {unit: number * PER_UNIT[unit] if unit != "ns" else number / 1000 for unit in UNITS}
    return next((unit for unit in UNITS if YEAR_2000 <= micros[unit] < YEAR_2100), "")


def _from_statistics(log: Log, time: Time, kind: str, metadata: pq.FileMetaData, groups: Sequence[int]) -> Read | None:
    """The times of groups of rows by the footer; None if it does not tell."""
    names = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    path = path_of(time.field)
    place = names.get(time.field, names.get(".".join(map(str, (path.column, *path.steps)))) if path else None)
    if place is None or (time.unit and not kind.startswith(INTEGERS)):
        return None
    bounds: list[Bounds] = []
    nulls = 0
    for group in map(metadata.row_group, groups):
        times = group.column(place).statistics
        counted = times is not None and times.has_null_count  # type: ignore[attr-defined]  # misspelt in the stubs
        if times is None or not counted or (not times.has_min_max and times.null_count != group.num_rows):
            return None
        if times.null_count and log.where is not None:
            return None  # rows that `where` excludes are not counted
        nulls += times.null_count or 0
        unsigned = kind.startswith("uint")
        low, high = (times.min, times.max) if unsigned else (times.min_raw, times.max_raw)
        if times.has_min_max and low is not None and high is not None:
            bounds.append((_micros(low, kind, time.unit), _micros(high, kind, time.unit)))
    possible = [low < LATEST and high >= EARLIEST for low, high in bounds]
    whole = [low >= EARLIEST and high < LATEST for low, high in bounds]
    if time.unit and any(possible) and not all(whole):
        return None  # times that cannot be are counted
    zoned = bool(time.unit) or "tz=" in kind
    return Read([] if zoned else bounds, bounds if zoned else [], nulls, 0, "")


def _read(log: Log, time: Time, file: LogFile, opened: pa.NativeFile, groups: Sequence[int]) -> Read:
    """The times of groups of rows, read from the file, of the rows that exist."""
    form, kind = form_and_type(file.types[time.field])
    opened.seek(0)
    if not form and log.where is None and not time.unit and not is_text(kind):
        return _read_timestamps(time.field, kind, opened)
    opened_file = pq.ParquetFile(opened, coerce_int96_timestamp_unit="us")
    stored = [name for name in opened_file.schema_arrow.names if name in file.types]
    total = Read([], [], 0, 0, "")
    for number in groups:
        rows = opened_file.read_row_group(number, columns=stored)
        read = _read_rows(log, time, file, rows)
        total = Read(
            total.naive + read.naive,
            total.zoned + read.zoned,
            total.missing + read.missing,
            total.unreadable + read.unreadable,
            total.example or read.example,
        )
    return total


def _read_timestamps(name: str, kind: str, opened: pa.NativeFile) -> Read:
    """First and last time of a file whose footer has no statistics of them, and how many times are null."""
    # INT96, which has no statistics, can hold times that do not fit 64 bits of nanoseconds.
    column = pq.read_table(opened, columns=[name], coerce_int96_timestamp_unit="us").column(0)
    if column.null_count == len(column):
        return Read([], [], column.null_count, 0, "")
    bounds = pc.min_max(column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64()))
    low, high = (_micros(bounds[name].as_py(), str(column.type), None) for name in ("min", "max"))
    zoned = "tz=" in kind
    return Read([] if zoned else [(low, high)], [(low, high)] if zoned else [], column.null_count, 0, "")


def _read_rows(log: Log, time: Time, file: LogFile, rows: pa.Table) -> Read:
    """The times of rows, in SQL."""
    types = file.types
    column, kind = field_sql(time.field, types), type_of(types[time.field])
    if time.unit:
        parsed = f"{epoch_sql(column, kind, time.unit)} AS {ZONED}, NULL::TIMESTAMP AS {NAIVE}"
    elif is_text(kind):
        parsed = text_sql(column, time.format)
    elif "tz=" in kind:
        parsed = f"epoch_us({column}::TIMESTAMPTZ) AS {ZONED}, NULL::TIMESTAMP AS {NAIVE}"
    else:
        parsed = f"NULL::BIGINT AS {ZONED}, {column}::TIMESTAMP AS {NAIVE}"
    if time.unit or is_text(kind):
        within = f"BETWEEN {EARLIEST} AND {LATEST - 1}"
        read = (
            f"SELECT given, CASE WHEN {ZONED} {within} THEN {ZONED} END AS {ZONED}, "
            f"CASE WHEN epoch_us({NAIVE}) {within} THEN {NAIVE} END AS {NAIVE} FROM"
        )
    else:
        read = "FROM"
    folders = "".join(
        f", {'NULL::VARCHAR' if value is None else literal(value)} AS {quoted(name)}"
        for name, value in file.folders.items()
        if name in types
    )
    con = locked_database().cursor()
    try:
        con.register("rows", rows)
        result: Any = con.execute(
            f"SELECT min(epoch_us({NAIVE})), max(epoch_us({NAIVE})), min({ZONED}), max({ZONED}), "
            "count(*) FILTER (given IS NULL), "
            f"count(*) FILTER (given IS NOT NULL AND {ZONED} IS NULL AND {NAIVE} IS NULL), "
            f"min(given::VARCHAR) FILTER ({ZONED} IS NULL AND {NAIVE} IS NULL) "
            f"FROM ({read} (SELECT {column} AS given, {parsed} FROM (SELECT *{folders} FROM rows) "
            f"WHERE {where_sql(log.where, types) or 'true'}))"
        ).fetchall()[0]
    finally:
        con.close()
    first, last, earliest, latest, missing, unreadable, example = result
    naive = [] if first is None else [(int(first), int(last))]
    zoned = [] if earliest is None else [(int(earliest), int(latest))]
    return Read(naive, zoned, int(missing), int(unreadable), str(example or "")[:60])


def _micros(stored: int, kind: str, unit: str | None) -> int:
    """Microseconds of a time as Parquet stores it, rounded down; also of years that `datetime` lacks."""
    if unit is None:
        if not kind.startswith("timestamp"):  # a date
            return stored * DAY
        unit = kind.removeprefix("timestamp[").partition("]")[0].partition(",")[0]
    return stored // 1000 if unit == "ns" else stored * PER_UNIT[unit]


def _instants(low: int, high: int, local: Zone, zoned: bool) -> tuple[int, int]:
    """First and last instant of times from `low` to `high`, which are local times unless they are `zoned`.

    The last one may be a local time that exists twice: then it is the later instant.
    """
    low, high = (min(max(time, BEGINNING), END - DAY) for time in (low, high))
    if zoned:
        return low, high + 1
    first, last = moment(low).replace(tzinfo=None), moment(high).replace(tzinfo=None)
    return local.parse(first), max(local.parse(last), local.parse(last.replace(fold=1))) + 1
