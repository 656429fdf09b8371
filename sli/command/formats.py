"""Rows as CSV, JSON or Parquet on stdout, in batches, so that an answer of any size takes little memory.

Nothing is lost in any of them. In CSV `slice_by` and `slice` are JSON texts, a null is an empty field and an empty text
is `""`. Limit: JSON has no infinity and no NaN, so these are the texts "Infinity", "-Infinity" and "NaN".
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.arrow import Column
from sli.reading.figures import plain
from sli.reading.rows import Rows

TIME = "%Y-%m-%dT%H:%M:%S"
"""How Arrow writes a time as ISO 8601; of microseconds there are six digits."""
QUOTED = re.compile('[",\\r\\n]')
"""A field of CSV with one of these is quoted."""
QUOTE = '"'
FRACTION = re.compile(r"\.0+$")
"""The fraction of a whole second."""


def print_rows(rows: Rows, format: str) -> None:
    """Write rows to stdout as `csv`, `json` or `parquet`, in UTF-8 whatever the locale is. Raises SliError."""
    sys.stdout.flush()
    out = cast("BufferedIOBase", sys.stdout.buffer)
    WRITERS[format](rows, out)
    out.flush()


def write_csv(rows: Rows, out: BufferedIOBase) -> None:
    """CSV as RFC 4180 has it, but lines end with a newline alone; the first line has the names."""
    names = rows.schema.names
    # An empty line would be no row at all.
    null = '""' if len(names) == 1 else ""
    out.write(",".join(map(_field, names)).encode() + b"\n")
    for batch in rows.batches:
        columns = [[null if text is None else _field(text) for text in texts(column)] for column in batch.columns]
        out.writelines(",".join(fields).encode() + b"\n" for fields in zip(*columns, strict=True))


def write_json(rows: Rows, out: BufferedIOBase) -> None:
    """One JSON array, an object a line: a slice is an object, a time ISO 8601, a null null."""
    names, separator = rows.schema.names, b"[\n"
    for batch in rows.batches:
        columns = [_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            text = json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False, allow_nan=False)
            out.write(separator + text.encode())
            separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def write_parquet(rows: Rows, out: BufferedIOBase) -> None:
    """One Parquet file with the types of the columns: a slice is a map, a time has its zone, UTC."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(pa.PythonFile(out, "w"), rows.schema, compression="zstd") as writer:
        for batch in gathered(rows.batches):
            writer.write_table(batch)


GROUP_ROWS = 1 << 17
"""About how many rows a row group of Parquet gets."""


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches put together to row groups."""
    some: list[pa.RecordBatch] = []
    for batch in batches:
        some.append(batch)
        if sum(map(len, some)) >= GROUP_ROWS:
            yield pa.Table.from_batches(some)
            some = []
    if some:
        yield pa.Table.from_batches(some)


WRITERS: dict[str, Callable[[Rows, BufferedIOBase], None]] = {
    "csv": write_csv,
    "json": write_json,
    "parquet": write_parquet,
}


def texts(column: Column) -> list[str | None]:
    """A column as texts; nulls stay None.

    >>> texts(pa.array([[("origin", "JFK")], None], pa.map_(pa.string(), pa.string())))
    ['{"origin":"JFK"}', None]
    """
    kind = column.type
    if pa.types.is_nested(kind):
        return [None if value is None else _compact(value) for value in _values(column)]
    if pa.types.is_timestamp(kind):
        zone = "" if kind.tz is None else "+00:00"
        times = pc.strftime(column, format=TIME).to_pylist()
        return [None if time is None else FRACTION.sub("", time) + zone for time in times]
    return column.cast(pa.string()).to_pylist()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _field(text: str) -> str:
    """A field of CSV: quoted where it must be, and where it is empty, since a null is an empty field."""
    return f'"{text.replace(QUOTE, QUOTE * 2)}"' if not text or QUOTED.search(text) else text


def _values(column: Column) -> list[Any]:
    """The values of a column as JSON can hold them."""
    kind, values = column.type, column.to_pylist()
    if pa.types.is_map(kind):
        return [None if value is None else dict(value) for value in values]
    if pa.types.is_floating(kind):
        return [value if value is None or math.isfinite(value) else json.dumps(value) for value in values]
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return values
    if pa.types.is_decimal(kind):
        return [None if value is None else float(value) for value in values]
    return [plain(value) for value in values]
