"""What the footer of one file says: its columns and their types, its rows, and the stretches of time they lie in.

Limit: a file whose footer has no statistics of the time column costs one read of that column.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.calendar.duration import DAY, SECOND
from sli.calendar.interval import BEGINNING, END, moment
from sli.calendar.zone import Zone
from sli.config.sections import Feedback, Predictions
from sli.engine.storage import READERS, Storage, filesystem, plain
from sli.errors import InputError, nearest
from sli.logs.files import LogFile
from sli.logs.listing import is_current
from sli.logs.pages import encrypted
from sli.logs.parts import Handle, Parts
from sli.masking import masked

TAIL = 64 << 10
"""Bytes fetched from the end of a remote file: most footers are shorter."""
NUMBERED = ("file_row_number", "file_index")
"""What DuckDB calls the numbers of a file's rows, which tell equal rows apart."""
NEAREST, FARTHEST = -(2**63) // 1000, 2**63 // 1000
"""Between them, from 1677 to 2262, times are taken for times: a file without any in there has another unit, or none."""
MICROS = {"s": SECOND, "ms": SECOND // 1000, "us": 1}
"""Microseconds in the units of time."""


@dataclass(frozen=True)
class ExpectedLog:
    """What to look for in the footers of one log."""

    log: str
    source: Predictions | Feedback
    columns: tuple[str, ...]
    zone: Zone
    classes: tuple[str, ...]
    """The names that values may be; none where they are numbers."""
    storage: Storage

    @property
    def needed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.source.id, self.source.time, self.source.value, *self.columns)))


class FileReplaced(Exception):
    """A file was replaced or removed between the listing of its log and the look at its footer."""


def read_footers(expected: ExpectedLog, files: list[LogFile], refused: Mapping[str, str]) -> Iterator[LogFile]:
    fs = filesystem(expected.source.path, expected.storage)[0] if "://" in expected.source.path else None

    def read(file: LogFile) -> LogFile:
        if file.path in refused:
            return file.set_aside("unreadable", refused[file.path])
        return _with_footer(expected, file, _opened if fs is None else functools.partial(_tail, fs))

    if fs is None:
        return map(read, files)
    with ThreadPoolExecutor(READERS) as pool:
        return iter(list(pool.map(read, files)))


def _opened(file: LogFile) -> Any:
    # Arrow opens local files itself, several times faster than through a Python file.
    return pa.OSFile(file.path)


def _tail(fs: Any, file: LogFile) -> Handle:
    """A remote file whose end is fetched in one request; anything before it only where it is read."""

    def fetched(start: int, end: int) -> bytes:
        return bytes(fs.cat_file(file.path, start=start, end=end))

    parts, start = Parts(file.bytes, fetched), max(0, file.bytes - TAIL)
    if file.bytes:
        parts.add(start, fetched(start, file.bytes))
    return Handle(parts)


def _with_footer(expected: ExpectedLog, file: LogFile, opened_by: Callable[[LogFile], Any]) -> LogFile:
    try:
        with opened_by(file) as opened:
            metadata = pq.read_metadata(opened)
            schema = metadata.schema.to_arrow_schema()
            read = _typed(expected, file._replace(rows=metadata.num_rows), schema)
            if secret := encrypted(opened, file.bytes, metadata, expected.needed):
                return read.set_aside("unreadable", f"column '{secret}' is encrypted")
            return _timed(expected, read, metadata, schema, opened) if read.usable else read
    except Exception as error:
        remote = "://" in file.path
        # Arrow tells of a footer that makes no sense by an OSError of no number, Python by names that are no text.
        broken = isinstance(error, pa.ArrowException | EOFError | FileNotFoundError | ValueError) or (
            type(error) is OSError and error.errno is None
        )
        if not remote and not isinstance(error, pa.ArrowException | EOFError | OSError | ValueError):
            raise
        if not broken and (remote or not isinstance(error, PermissionError | IsADirectoryError)):
            # The file may be whole and its storage away: to set it aside would lose what was published of it.
            raise InputError(
                f"a file of the {file.log} log could not be fetched",
                where=file.path,
                found=f"{type(error).__name__}: {plain(error)}",
                todo="run again once its storage answers",
                passes=True,
            ) from error
        return _unreadable(expected, file, error)


def _unreadable(expected: ExpectedLog, file: LogFile, error: Exception) -> LogFile:
    """The file set aside. Raises FileReplaced where it was replaced since it was listed, and may be whole."""
    if not is_current(file.path, file.fingerprint, expected.storage):
        raise FileReplaced(file.path) from error
    if isinstance(error, PermissionError):
        return file.set_aside("unreadable", "no permission to read it")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return file.set_aside("unreadable", masked(text)[:200])


def _typed(expected: ExpectedLog, file: LogFile, schema: pa.Schema) -> LogFile:
    names = Counter(map(str.lower, schema.names))
    for name in expected.needed:
        if names[name.lower()] > 1:
            # SQL, for which a and A are one, means the first of them.
            found = [each for each in schema.names if each.lower() == name.lower()]
            return file.set_aside("ambiguous column", f"'{name}' is one of {', '.join(found)}: SQL sees no difference")
    if reserved := [name for name in NUMBERED if names[name]]:
        return file.set_aside("ambiguous column", f"column '{reserved[0]}' has a name that DuckDB reserves")
    types = {name: schema.field(name).type for name in expected.needed if name in schema.names}
    hive = {part.split("=", 1)[0] for part in file.path.split("/") if "=" in part}
    for name in expected.needed:
        if name not in types and name not in hive:
            near = nearest(name, [*schema.names, *hive])
            there = f"only {', '.join(schema.names)}" if names else "no column at all"
            return file.set_aside("missing column", f"no column '{name}', {there}; {near}".rstrip("; "))
    source = expected.source
    rules: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        (source.id, lambda t: _is_text(t) or pa.types.is_integer(t), "text or integers"),
        (source.time, lambda t: pa.types.is_timestamp(t) or pa.types.is_date(t), "timestamps"),
        _classes(source.value, expected.classes)
        if expected.classes
        else (source.value, _is_number, "numbers or booleans"),
    )
    for name, allowed, kinds in rules:
        if name in types and not allowed(types[name]):
            return file.set_aside("wrong type", f"column '{name}' is {types[name]}, expected {kinds}")
    if source.time not in types:
        return file.set_aside("wrong type", f"column '{source.time}' is part of the path, expected timestamps")
    named = tuple((name, str(types[name]) if name in types else "hive") for name in expected.needed)
    return file._replace(columns=named)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _classes(name: str, classes: Iterable[str]) -> tuple[str, Callable[[Any], bool], str]:
    """The rule of a column of classes: floats only where classes are whole numbers, of which nulls make floats."""
    whole = any(each.removeprefix("-").isdecimal() for each in classes)

    def allowed(kind: Any) -> bool:
        if pa.types.is_floating(kind):
            return whole
        return _is_text(kind) or (_is_number(kind) and not pa.types.is_decimal(kind))

    return name, allowed, f"text, {'numbers' if whole else 'integers'} or booleans"


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def _timed(expected: ExpectedLog, file: LogFile, metadata: Any, schema: pa.Schema, opened: Any) -> LogFile:
    names = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    needed = [names[name] for name in expected.needed if name in names]
    kind = schema.field(expected.source.time).type
    bounds: list[tuple[int, int]] = []
    nulls, size = 0, 0
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        size += sum(group.column(i).total_compressed_size for i in needed)
        found = group.column(names[expected.source.time]).statistics
        if found is None or (not found.has_min_max and found.null_count != group.num_rows) or not found.has_null_count:
            bounds, nulls = _read_times(expected, opened)
            break
        nulls += found.null_count
        if found.has_min_max:
            bounds.append((_micros(found.min_raw, kind), _micros(found.max_raw, kind)))
    if bounds and not any(low < FARTHEST and high >= NEAREST for low, high in bounds):
        what = f"every time in column '{expected.source.time}' lies before the year 1678 or after 2261"
        return file.set_aside("wrong time", f"{what}; was it written in another unit, or as a placeholder?")
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    ranges = tuple(_instants(*each, expected.zone, zoned) for each in bounds)
    return file._replace(ranges=ranges, null_times=nulls, row_bytes=size / max(1, metadata.num_rows))


def _read_times(expected: ExpectedLog, opened: Any) -> tuple[list[tuple[int, int]], int]:
    opened.seek(0)
    # INT96, which has no statistics, can tell more than nanoseconds in 64 bits.
    column = pq.read_table(opened, columns=[expected.source.time], coerce_int96_timestamp_unit="us").column(0)
    if column.null_count == len(column):
        return [], column.null_count
    bounds = pc.min_max(column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64()))
    low, high = (_micros(bounds[name].as_py(), column.type) for name in ("min", "max"))
    return [(low, high)], column.null_count


def _micros(stored: int, kind: Any) -> int:
    """A time as Parquet stores it in microseconds, smaller parts cut off; of any year, also beyond datetime's."""
    if pa.types.is_date(kind):
        return stored * DAY
    return stored // 1000 if kind.unit == "ns" else stored * MICROS[kind.unit]


def _instants(low: int, high: int, zone: Zone, zoned: bool) -> tuple[int, int]:
    """First and last instant of times that are local ones unless they have a zone.

    The last one may be a local time that exists twice.
    """
    low, high = (min(max(each, BEGINNING), END - DAY) for each in (low, high))
    if zoned:
        return low, high + 1
    first, last = moment(low).replace(tzinfo=None), moment(high).replace(tzinfo=None)
    return zone.parse(first), max(zone.parse(last), zone.parse(last.replace(fold=1))) + 1
