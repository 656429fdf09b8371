"""The time of a row in SQL: timestamps, dates, texts and epoch numbers as UTC microseconds.

Nanoseconds are rounded down, also before 1970. A local time is read in the zone of the config. Limit: numbers and texts
of a column are read alike in all rows; what cannot be read is no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sli.calendar.duration import DAY
from sli.calendar.interval import Interval
from sli.calendar.zone import zone
from sli.engine.sql import literal
from sli.logs.fields import FLOATS, INTEGERS, field_sql, is_text, type_of
from sli.logs.files import LogFile
from sli.logs.log import Log

MAX_NANOSECOND_TIME = 2**63 // 1000 - 1
"""Microseconds of the latest time that 64 bits of nanoseconds can hold."""
REACH = 2**56
"""Microseconds of a time far outside the years 1 to 4000."""
PER_UNIT = {"s": 1_000_000, "ms": 1000, "us": 1}
"""Microseconds in each unit but nanoseconds."""
ZONED, NAIVE = '"sli:zoned"', '"sli:naive"'
"""Columns of the two readings of a text: as UTC microseconds, or as a local timestamp."""


_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?"
UNIVERSAL = r"\b(UTC|GMT)\b"
ISO_LOCAL, ISO_ZONED = rf"{_DAY}(?:{_CLOCK})?", rf"{_DAY}{_CLOCK}(?:Z|[+-]\d\d(?::?[0-5]\d)?)"
"""What texts are times: other texts might be read as times that they do not mean."""


class TimeSql(NamedTuple):
    """SQL that reads the times of files."""

    t: str
    """The time as UTC microseconds."""
    bounds: str
    """A condition for the rows to read, in terms of the column, so that groups of rows can be left out."""
    within: str
    """A condition on `t` for the rows of the span, empty if `bounds` is exact."""
    parsed: str = ""
    """Columns to be computed first."""


def time_sql(files: Iterable[LogFile], log: Log, types: Mapping[str, str], span: Interval) -> TimeSql:
    """SQL of the times of files that have the same stored types."""
    time = log.time
    within = f" WHERE t >= {span.start} AND t < {span.end}"
    if time is None:
        known = [file.ranges[0][0] if file.ranges else 0 for file in files]
        of_file = f"list_extract({known}::BIGINT[], file_index::BIGINT + 1)"
        t = f"{known[0]}::BIGINT" if len(set(known)) == 1 else of_file
        return TimeSql(t, "", within)
    column, kind = field_sql(time.field, types), type_of(types[time.field])
    if time.unit:
        bounds = _epoch_bounds(column, kind, time.unit, span)
        return TimeSql(epoch_sql(column, kind, time.unit), bounds, "" if kind.startswith(INTEGERS) else within)
    reach = MAX_NANOSECOND_TIME if kind.startswith("timestamp[ns") else REACH
    low, high = (min(max(at, -reach), reach) for at in (span.start, span.end))
    if "tz=" in kind:
        nanos = f"epoch_ns({column})"
        t = f"{nanos} // 1000 - ({nanos} % 1000 < 0)::BIGINT" if reach == MAX_NANOSECOND_TIME else f"epoch_us({column})"
        return TimeSql(t, f"{column} >= make_timestamptz({low}) AND {column} < make_timestamptz({high})", "")
    # Only changes of the zone within the times of the files matter: the span may be all of time.
    instants = [instant for file in files for ends in file.ranges for instant in ends] or [low]
    low = min(max(low, min(instants)), high)
    high = max(min(high, max(instants) + 1), low)
    naive = NAIVE if is_text(kind) else column
    t = zone(log.zone).to_utc(naive, low - DAY, high + DAY)
    if is_text(kind):
        return TimeSql(f"coalesce({ZONED}, {t})", "", within, text_sql(column, time.format))
    first, last = max(low - DAY, -reach), min(high + DAY, reach)
    bounds = f"{column}::TIMESTAMP >= make_timestamp({first}) AND {column}::TIMESTAMP < make_timestamp({last})"
    return TimeSql(t, bounds, within)


def has_code(format: str, code: str) -> bool:
    """Whether a format of strptime has a code, for example `z` for the offset from UTC."""
    return f"%{code}" in format.replace("%%", "")


def text_sql(column: str, format: str | None) -> str:
    """SQL of the two readings of a text, of which at most one is not null. ISO 8601 if there is no `format`."""
    if format is not None:
        parsed = f"try_strptime({column}, {literal(format)})"
        if has_code(format, "Z"):
            # Other names of zones are ambiguous: CST is an hour of America and one of China.
            parsed = f"CASE WHEN regexp_matches({column}, {literal(UNIVERSAL)}) THEN {parsed} END"
        if has_code(format, "z") or has_code(format, "Z"):
            return f"epoch_us({parsed}::TIMESTAMPTZ) AS {ZONED}, NULL::TIMESTAMP AS {NAIVE}"
        return f"NULL::BIGINT AS {ZONED}, {parsed}::TIMESTAMP AS {NAIVE}"
    zoned, local = (f"regexp_full_match({column}, {literal(form)})" for form in (ISO_ZONED, ISO_LOCAL))
    return (
        f"CASE WHEN {zoned} THEN epoch_us(TRY_CAST({column} AS TIMESTAMPTZ)) END AS {ZONED}, "
        f"CASE WHEN {local} THEN TRY_CAST({column} AS TIMESTAMP) END AS {NAIVE}"
    )


def epoch_sql(column: str, kind: str, unit: str) -> str:
    """SQL of the UTC microseconds of a number of units since 1970; null where it is far outside all plausible times."""
    if is_text(kind):
        column, kind = f"TRY_CAST({column} AS DECIMAL(28, 9))", "decimal"
    whole = kind.startswith(INTEGERS)
    if unit == "ns":
        number = f"TRY({column}::BIGINT)" if whole else f"(CASE WHEN abs({column}) < 9e18 THEN {column}::BIGINT END)"
        return f"({number} // 1000 - ({number} % 1000 < 0)::BIGINT)"
    factor = PER_UNIT[unit]
    if whole:
        return f"TRY({column}::BIGINT * {factor})"
    return f"(CASE WHEN abs({column}) < {REACH // factor} THEN floor({column} * {factor} + 0.5)::BIGINT END)"


def _epoch_bounds(column: str, kind: str, unit: str, span: Interval) -> str:
    """A condition for the numbers of a span: exact for whole numbers, else empty or a little too wide."""
    if not kind.startswith((*INTEGERS, *FLOATS)):
        return ""
    low, high = (max(-REACH, min(at, REACH)) for at in (span.start, span.end))
    if unit == "ns":
        first, end = (max(-MAX_NANOSECOND_TIME, min(at, MAX_NANOSECOND_TIME)) * 1000 for at in (low, high))
    else:
        first, end = -(-low // PER_UNIT[unit]), -(-high // PER_UNIT[unit])
    return (
        f"{column} >= {first} AND {column} < {end}"
        if kind.startswith(INTEGERS)
        else f"{column} >= {first - 1} AND {column} <= {end + 1}"
    )
