"""The rows of the raw logs by plain pandas, as `verify` trusts them: id, time, value and columns.

Nothing of the engine is used, but where the config itself is SQL: then DuckDB computes that expression on the rows of a
file, and pandas does the rest. Limit: a log is read whole into memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sli.calendar.interval import moment
from sli.calendar.zone import Zone
from sli.engine.expression import locked_database
from sli.engine.sql import quoted
from sli.engine.storage import filesystem
from sli.logs.fields import HIVE, field_sql, form_and_type, is_text, type_of
from sli.logs.files import Files, LogFile
from sli.logs.log import IdPart, Log, Time
from sli.logs.times import ISO_LOCAL, ISO_ZONED, UNIVERSAL, has_code
from sli.logs.values import broken_sql
from sli.logs.where import where_sql

if TYPE_CHECKING:
    Column = pa.ChunkedArray[Any]
    """A column of any type."""

NULLABLE = {
    **{getattr(pa, f"int{n}")(): getattr(pd, f"Int{n}Dtype")() for n in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{n}")(): getattr(pd, f"UInt{n}Dtype")() for n in (8, 16, 32, 64)},
    pa.bool_(): pd.BooleanDtype(),
}
"""Types that keep their values next to nulls: 1 and null do not become 1.0 and NaN."""
BROKEN = "sli:broken"
"""The column that says whether the text with the value is not JSON."""
SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""How many of each unit are a second."""


def raw_rows(files: Files, log: Log, zone: Zone) -> pd.DataFrame:
    """Valid rows of files: id (text), time (UTC), value, the columns of the log, and each of these as `slice:` text."""
    parts = [_rows_of_file(file, log.of(file.log), zone) for file in files if file.usable]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", "time", "value", *log.columns])
    if not parts:
        rows = rows.astype({"time": "datetime64[us, UTC]", "value": float})
    return rows.assign(**{key: values for name in log.columns for key, values in with_text(name, rows[name]).items()})


def _rows_of_file(file: LogFile, log: Log, zone: Zone) -> pd.DataFrame:
    """The valid rows of one file, without `slice:` texts."""
    table = _fields(file, log)
    number = numbers(log, table.column(log.value))
    ids = _ids([_id_part(part, table.column(part.field)) for part in log.id])
    times = _times(log.time, zone, table, file)
    valid = (
        ids.notna() & times.notna() & (number.isna() | np.isfinite(number)) & ~(number < 0 if log.classes else False)
    )
    valid &= ~_not_a_number(log, table.column(log.value), number)
    if BROKEN in table.column_names:
        valid &= ~table.column(BROKEN).to_pandas().astype(bool)
    extra = {name: plain_column(table.column(log.field(name))) for name in log.columns}
    rows: pd.DataFrame = pd.DataFrame({"id": ids, "time": times, "value": number, **extra}).loc[valid]
    return rows


def _fields(file: LogFile, log: Log) -> pa.Table:
    """The rows of a file that exist, with a column for each field."""
    stored = [
        name
        for name in sorted(file.stored(log.stored))
        if (kind := file.types[name]) != HIVE and not form_and_type(kind)[0]
    ]
    with filesystem(file.path, log.storage)[0].open(file.path, "rb") as opened:
        table = pq.read_table(opened, columns=stored or None, partitioning=None)
    for name, text in file.folders.items():
        if file.types.get(name) == HIVE:
            table = table.append_column(name, pa.array([text] * len(table), pa.string()))
    if log.where is None and set(log.needed) <= set(table.column_names):
        return table
    con = locked_database().cursor()
    try:
        con.register("rows", table)
        columns = ", ".join(f"{field_sql(field, file.types)} AS {quoted(field)}" for field in log.needed)
        columns += f", {broken} AS {quoted(BROKEN)}" if (broken := broken_sql(log, file.types)) else ""
        where = where_sql(log.where, file.types) or "true"
        computed: pa.Table = con.sql(f"SELECT {columns} FROM rows WHERE {where}").to_arrow_table()
        return computed
    finally:
        con.close()


def _ids(parts: Sequence[pd.Series]) -> pd.Series:
    """The parts of ids as one text; null if a part is null."""
    *firsts, ids = parts
    for part in reversed(firsts):
        escaped = part.map(lambda text: text.replace("\\", "\\\\").replace("|", "\\|"), na_action="ignore")
        ids = (escaped.astype(object) + "|" + ids.astype(object)).where(part.notna() & ids.notna(), None)
    return ids


def _id_part(part: IdPart, column: Column) -> pd.Series:
    values = _plain(column)
    if part.as_text and pd.api.types.is_float_dtype(values.dtype):
        whole = values.notna() & (values == np.floor(values)) & (values.abs() < 9e18)
        return values.where(~whole).map(str, na_action="ignore").where(~whole, values[whole].map(int).map(str))
    return _text(values)


def numbers(log: Log, column: Column) -> pd.Series:
    """Values as numbers: the position of a class (-1 for an unknown one), 1 or 0 of a label (2 for an unknown one)."""
    values = _plain(column)
    if log.spellings:
        positions = {text: float(i) for i, several in enumerate(log.spellings) for text in several}
        texts = _text(values)
        return texts.map(positions).astype("float64").fillna(-1.0).where(texts.notna())
    if log.labels:
        boolean = pa.types.is_boolean(column.type)
        texts = values.map(lambda value: str(value) if isinstance(value, str) else value, na_action="ignore")
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        known = {
            str(key) if text else key: number
            for keys, number in ((log.positive, 1.0), (log.negative, 0.0))
            for key in keys
            if isinstance(key, bool) == boolean and (text or not isinstance(key, str))
        }
        return texts.map(lambda value: known.get(value, 2.0), na_action="ignore").astype("float64")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pd.to_numeric(values, errors="coerce").astype("float64")
    return values.astype("float64")


def _not_a_number(log: Log, column: Column, number: pd.Series) -> pd.Series[bool]:
    """Which values are present and are not numbers: NaN, or a text that is none."""
    if log.spellings or log.labels:
        return pd.Series(False, number.index)
    floating = pa.types.is_floating(column.type)
    present = pd.Series(column.is_valid().to_numpy(), number.index)
    return present & number.isna() if floating or pa.types.is_string(column.type) else pd.Series(False, number.index)


def _plain(column: Column) -> pd.Series:
    values: pd.Series = column.to_pandas(types_mapper=NULLABLE.get)
    return values


def plain_column(column: Column) -> pd.Series:
    """A column that the config names. Floats that are not finite become null, and -0.0 becomes 0.0."""
    values = _plain(column)
    return values.where(np.isfinite(values)) + 0.0 if pa.types.is_floating(column.type) else values


def with_text(name: str, values: pd.Series) -> dict[str, pd.Series]:
    """A column that the config names, and its `slice:` text."""
    nullable = isinstance(values.array, pd.arrays.BooleanArray | pd.arrays.IntegerArray | pd.arrays.FloatingArray)
    # SLIs get NumPy types, and NumPy does not know pandas' own null.
    plain = values.astype(object).where(values.notna(), None) if nullable else values
    # If some files have numbers and others text, SQL turns all of them into text.
    mixed = pd.api.types.infer_dtype(values, skipna=True) in ("mixed", "mixed-integer")
    return {name: _text(values) if mixed else plain, f"slice:{name}": _text(values)}


def _text(values: pd.Series) -> pd.Series:
    """Values as SQL writes them; null stays null."""

    def text(value: object) -> str:
        # pandas writes a 32-bit float with the digits it needs; as a Python float it would have more.
        if fraction:
            return str(float(value)).removesuffix(".0")  # type: ignore[arg-type]
        return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)

    single, fraction = values.dtype == np.float32, pd.api.types.is_float_dtype(values.dtype)
    present = values.dropna()
    return (present.astype(str) if single else present).map(text).astype(object).reindex(values.index)


def _times(time: Time | None, zone: Zone, table: pa.Table, file: LogFile) -> pd.Series[pd.Timestamp]:
    """The times of rows in UTC; null where there is none."""
    if time is None:
        written = pd.Timestamp(moment(file.ranges[0][0])) if file.ranges else pd.NaT
        return pd.Series([written] * len(table), dtype="datetime64[us, UTC]")
    column = table.column(time.field)
    if time.unit is not None:
        return _epochs(_plain(column), time.unit)
    if is_text(type_of(file.types[time.field])):
        texts = _plain(column)
        instants = {text: _instant(text, time.format, zone) for text in texts.dropna().unique()}
        times: pd.Series[pd.Timestamp] = pd.Series(pd.to_datetime(texts.map(instants), utc=True))
        in_micros: pd.Series[pd.Timestamp] = times.dt.as_unit("us")
        return in_micros
    return _instants(zone, column.to_pandas())


def _epochs(values: pd.Series, unit: str) -> pd.Series[pd.Timestamp]:
    """Numbers since 1970 as times: fractions of a microsecond are rounded, those of nanoseconds cut off."""
    micros = [_micros(value, SECONDS[unit]) for value in values.astype(object)]
    times = [None if at is None or abs(at) >= 2**56 else pd.Timestamp(moment(at)) for at in micros]
    return pd.to_datetime(pd.Series(times, dtype=object), utc=True).dt.as_unit("us")


def _micros(value: object, per_second: int) -> int | None:
    try:
        number = Fraction(str(value))
    except ValueError:
        return None
    return math.floor(number * 1_000_000 / per_second + (Fraction(1, 2) if per_second < 10**9 else 0))


def _instant(text: str, format: str | None, zone: Zone) -> pd.Timestamp | None:
    try:
        if not format and not re.fullmatch(f"{ISO_LOCAL}|{ISO_ZONED}", text):
            return None
        if not format:
            return pd.Timestamp(moment(zone.parse(text)))
        time = datetime.strptime(text, format)
        if has_code(format, "Z"):
            if not re.search(UNIVERSAL, text):
                return None
            time = time.replace(tzinfo=UTC)
        return pd.Timestamp(moment(zone.parse(time)))
    except (ValueError, OverflowError):
        return None


def _instants(zone: Zone, times: pd.Series) -> pd.Series[pd.Timestamp]:
    """Instants in UTC; naive times are read in the zone (PEP 495, fold=0), one by one."""
    times = pd.to_datetime(times).dt.as_unit("us")
    if times.dt.tz is not None:
        return times.dt.tz_convert("UTC")
    instants = {time: pd.Timestamp(moment(zone.parse(time.to_pydatetime()))) for time in times.dropna().unique()}
    return pd.to_datetime(times.map(instants), utc=True).dt.as_unit("us")
