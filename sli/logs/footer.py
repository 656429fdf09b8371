"""What the footer of one file says: its columns and their types, its rows, and the stretches of time they lie in.

Limit: a file whose footer has no statistics of the time column costs one read of that column.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from sli.calendar.duration import DAY, SECOND
from sli.calendar.interval import BEGINNING, END, moment
from sli.calendar.zone import Zone
from sli.config.sections import Feedback, Predictions
from sli.engine.storage import READERS, Storage, filesystem, message_of
from sli.errors import InputError, nearest
from sli.logs.byte_ranges import ByteRanges, RangedFile
from sli.logs.files import LogFile
from sli.logs.listing import is_current
from sli.logs.pages import encrypted_column
from sli.masking import masked

TAIL = 64 << 10
"""Bytes fetched from the end of a remote file: most footers are shorter than this."""
NUMBERED = ("file_row_number", "file_index")
"""Columns by which DuckDB numbers the rows of files: a file must not have a column of such a name."""
EARLIEST, LATEST = -(2**63) // 1000, 2**63 // 1000
"""Times from 1677 to 2262 are plausible. A file without any was written in another unit, or with a placeholder."""
Rule = tuple[str, Callable[[pa.DataType], bool], str]
"""A column, which types it may have, and their names."""
MICROS = {"s": SECOND, "ms": SECOND // 1000, "us": 1}
"""Microseconds in each unit of time but nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class ExpectedLog:
    """What the config says of one log: its columns and their types."""

    log: str
    source: Predictions | Feedback
    columns: tuple[str, ...]
    zone: Zone
    classes: tuple[str, ...]
    """Of a multiclass task: the names that values may have. Else values are numbers."""
    storage: Storage

    @property
    def needed(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        return tuple(dict.fromkeys((self.source.id, self.source.time, self.source.value, *self.columns)))


class FileReplaced(Exception):
    """A file was replaced or removed after its log was listed and before its footer was read."""


def read_footers(expected: ExpectedLog, files: list[LogFile], refused: Mapping[str, str]) -> Iterator[LogFile]:
    """The same files with what their footers say; a `problem` says why a file cannot be used.

    `refused` gives the reasons for which paths must not be opened at all. Raises FileReplaced where a file is not the
    listed one any more, InputError where storage does not answer.
    """
    fs = filesystem(expected.source.path, expected.storage)[0] if "://" in expected.source.path else None

    def read(file: LogFile) -> LogFile:
        if file.path in refused:
            return file.set_aside("unreadable", refused[file.path])
        return _with_footer(expected, file, _open_local if fs is None else functools.partial(_open_remote, fs))

    if fs is None:
        return map(read, files)
    with ThreadPoolExecutor(READERS) as pool:
        return iter(list(pool.map(read, files)))


def _open_local(file: LogFile) -> pa.NativeFile:
    # Arrow opens local files itself, several times faster than through a Python file.
    return pa.OSFile(file.path, "r")


def _open_remote(fs: AbstractFileSystem, file: LogFile) -> pa.NativeFile:
    """A remote file. One request fetches its last TAIL bytes; bytes before them are fetched when they are read."""

    def fetch(start: int, end: int) -> bytes:
        return bytes(fs.cat_file(file.path, start=start, end=end))

    ranges, start = ByteRanges(file.bytes, fetch), max(0, file.bytes - TAIL)
    if file.bytes:
        ranges.add(start, fetch(start, file.bytes))
    return pa.PythonFile(RangedFile(ranges), mode="r")


def _with_footer(expected: ExpectedLog, file: LogFile, open_file: Callable[[LogFile], pa.NativeFile]) -> LogFile:
    try:
        with open_file(file) as opened:
            metadata = pq.read_metadata(opened)
            schema = metadata.schema.to_arrow_schema()
            read = _with_types(expected, file._replace(rows=metadata.num_rows), schema)
            if secret := encrypted_column(opened, file.bytes, metadata, expected.needed):
                return read.set_aside("unreadable", f"column '{secret}' is encrypted")
            return _with_times(expected, read, metadata, schema, opened) if read.usable else read
    except Exception as error:
        remote = "://" in file.path
        # Of a footer that makes no sense Arrow raises an OSError without a number, Python a ValueError for its names.
        nonsense = isinstance(error, pa.ArrowException | EOFError | FileNotFoundError | ValueError) or (
            type(error) is OSError and error.errno is None
        )
        if not remote and not isinstance(error, pa.ArrowException | EOFError | OSError | ValueError):
            raise
        if not nonsense and (remote or not isinstance(error, PermissionError | IsADirectoryError)):
            # The file may be whole and its storage away. Setting it aside would remove what was published of it.
            raise InputError(
                f"a file of the {file.log} log could not be fetched",
                where=file.path,
                found=f"{type(error).__name__}: {message_of(error)}",
                todo="run again once its storage answers",
                passes=True,
            ) from error
        return _unreadable(expected, file, error)


def _unreadable(expected: ExpectedLog, file: LogFile, error: Exception) -> LogFile:
    """The file, set aside. Raises FileReplaced where it was replaced since it was listed: the new one may be whole."""
    if not is_current(file.path, file.fingerprint, expected.storage):
        raise FileReplaced(file.path) from error
    if isinstance(error, PermissionError):
        return file.set_aside("unreadable", "no permission to read it")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return file.set_aside("unreadable", masked(text)[:200])


def _with_types(expected: ExpectedLog, file: LogFile, schema: pa.Schema) -> LogFile:
    """The file with the types of the needed columns, or set aside because of them."""
    names = Counter(map(str.lower, schema.names))
    for name in expected.needed:
        if names[name.lower()] > 1:
            # For SQL `a` and `A` are one name: it would read the first.
            alike = [other for other in schema.names if other.lower() == name.lower()]
            return file.set_aside("ambiguous column", f"'{name}' is one of {', '.join(alike)}: SQL sees no difference")
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
    rules: tuple[Rule, ...] = (
        (source.id, lambda kind: _is_text(kind) or pa.types.is_integer(kind), "text or integers"),
        (source.time, lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind), "timestamps"),
        (source.value, *(_class_rule(expected.classes) if expected.classes else (_is_number, "numbers or booleans"))),
    )
    for name, allowed, kinds in rules:
        if name in types and not allowed(types[name]):
            return file.set_aside("wrong type", f"column '{name}' is {types[name]}, expected {kinds}")
    if source.time not in types:
        return file.set_aside("wrong type", f"column '{source.time}' is part of the path, expected timestamps")
    named = tuple((name, str(types[name]) if name in types else "hive") for name in expected.needed)
    return file._replace(columns=named)


def _is_text(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _class_rule(classes: Iterable[str]) -> tuple[Callable[[pa.DataType], bool], str]:
    """Which types a column of classes may have, and their names.

    Floats are allowed only where a class is a whole number: a column of integers with nulls is often stored as floats.
    """
    whole = any(name.removeprefix("-").isdecimal() for name in classes)

    def allowed(kind: pa.DataType) -> bool:
        if pa.types.is_floating(kind):
            return whole
        return _is_text(kind) or (_is_number(kind) and not pa.types.is_decimal(kind))

    return allowed, f"text, {'numbers' if whole else 'integers'} or booleans"


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def _with_times(
    expected: ExpectedLog, file: LogFile, metadata: pq.FileMetaData, schema: pa.Schema, opened: pa.NativeFile
) -> LogFile:
    """The file with the first and last instant of each group of rows, or set aside because of them."""
    names = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    needed = [names[name] for name in expected.needed if name in names]
    kind = schema.field(expected.source.time).type
    bounds: list[tuple[int, int]] = []
    nulls, size = 0, 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        size += sum(group.column(i).total_compressed_size for i in needed)
        times = group.column(names[expected.source.time]).statistics
        counted = times is not None and times.has_null_count  # type: ignore[attr-defined]  # misspelt in the stubs
        if times is None or not counted or (not times.has_min_max and times.null_count != group.num_rows):
            bounds, nulls = _read_times(expected, opened)
            break
        nulls += times.null_count or 0
        low, high = times.min_raw, times.max_raw
        if times.has_min_max and low is not None and high is not None:
            bounds.append((_micros(low, kind), _micros(high, kind)))
    if bounds and not any(low < LATEST and high >= EARLIEST for low, high in bounds):
        what = f"every time in column '{expected.source.time}' lies before the year 1678 or after 2261"
        return file.set_aside("wrong time", f"{what}; was it written in another unit, or as a placeholder?")
    zoned = isinstance(kind, pa.TimestampType) and kind.tz is not None
    ranges = tuple(_instants(low, high, expected.zone, zoned) for low, high in bounds)
    return file._replace(ranges=ranges, null_times=nulls, row_bytes=size / max(1, metadata.num_rows))


def _read_times(expected: ExpectedLog, opened: pa.NativeFile) -> tuple[list[tuple[int, int]], int]:
    """First and last time of a file whose footer has no statistics of them, and how many times are null."""
    opened.seek(0)
    # INT96, which has no statistics, can hold times that do not fit 64 bits of nanoseconds.
    column = pq.read_table(opened, columns=[expected.source.time], coerce_int96_timestamp_unit="us").column(0)
    if column.null_count == len(column):
        return [], column.null_count
    bounds = pc.min_max(column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64()))
    low, high = (_micros(bounds[name].as_py(), column.type) for name in ("min", "max"))
    return [(low, high)], column.null_count


def _micros(stored: int, kind: pa.DataType) -> int:
    """Microseconds of a time as Parquet stores it, rounded down; also of years that `datetime` lacks."""
    if not isinstance(kind, pa.TimestampType):  # a date
        return stored * DAY
    return stored // 1000 if kind.unit == "ns" else stored * MICROS[kind.unit]


def _instants(low: int, high: int, zone: Zone, zoned: bool) -> tuple[int, int]:
    """First and last instant of times from `low` to `high`, which are local times unless they are `zoned`.

    The last one may be a local time that exists twice: then it is the later instant.
    """
    low, high = (min(max(time, BEGINNING), END - DAY) for time in (low, high))
    if zoned:
        return low, high + 1
    first, last = moment(low).replace(tzinfo=None), moment(high).replace(tzinfo=None)
    return zone.parse(first), max(zone.parse(last), zone.parse(last.replace(fold=1))) + 1
