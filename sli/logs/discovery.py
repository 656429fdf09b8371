"""Discovery: which Parquet files the two logs consist of, what time each covers, and which of them cannot be used.

Only listings and footers are read, and footers only of files not seen before. Limit: a file whose footer has no
statistics of the time column costs one read of that column.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.calendar.interval import BEGINNING, DAY, END, SECOND, Zone, moment
from sli.config.model import Config
from sli.config.sections import Feedback, Predictions
from sli.engine.arrow import Flags, Rows, flags, text_column
from sli.engine.storage import READERS, Storage, filesystem, plain
from sli.errors import ConfigError, InputError, nearest
from sli.logs.agreement import agreed
from sli.logs.files import Files, Inputs, LogFile
from sli.logs.listing import ENDINGS, Listing, is_current, listing
from sli.logs.pages import encrypted
from sli.logs.parts import Handle, Parts
from sli.masking import masked

TAIL = 64 << 10
"""Bytes fetched from the end of a remote file: most footers are shorter."""
ATTEMPTS = 5
"""How often a log is listed again because a file of it was replaced or removed before it was read."""
NUMBERED = ("file_row_number", "file_index")
"""What DuckDB calls the numbers of a file's rows, which tell equal rows apart."""
NEAREST, FARTHEST = -(2**63) // 1000, 2**63 // 1000
"""Between them, from 1677 to 2262, times are taken for times: a file without any in there has another unit, or none."""
MICROS = {"s": SECOND, "ms": SECOND // 1000, "us": 1}
"""Microseconds in the units of time."""


def discover(config: Config, known: Inputs | None = None) -> Inputs:
    """List both logs; footers of `known` files with the same fingerprint are not read again. Raises InputError."""
    known = known or Inputs.of([])
    wanted = (
        _Footer("predictions", config.predictions, config.columns, config.zone, config.classes, config.storage),
        _Footer("feedback", config.feedback, (), config.zone, config.classes, config.storage),
    )
    found = Inputs(*(_listed(*each) for each in zip(wanted, known.logs, strict=True)))
    if not found.predictions:
        raise InputError(
            "the predictions log is empty",
            where=config.predictions.path,
            expected=f"Parquet files that end in {', '.join(ENDINGS)}",
            found=_contents(config, "predictions"),
            todo="check `predictions.path`",
        )
    return agreed(config, found)


def _contents(config: Config, log: str) -> str:
    """What lies at the path of a log, in a few words."""
    found = listing(log, getattr(config, log).path, config.storage)
    return found.contents if found else "nothing"


TODO = {
    "unreadable": "write the file again, or move it away",
    "damaged": "write the file again, or move it away",
    "wrong id type": "write both logs' ids in one type",
}


def check_usable(inputs: Inputs) -> None:
    """Raise InputError where a log has files and none of them can be used.

    Without predictions there is nothing to publish. Without feedback there is, unless the config asks for columns that
    no file of it has.
    """
    for name, files in (("predictions", inputs.predictions), ("feedback", inputs.feedback)):
        if not files or files.usable.any():
            continue
        first = next(iter(files))
        if name == "predictions" or all(file.problem == "missing column" for file in files):
            raise InputError(
                f"no file of the {name} log can be used",
                where=first.path,
                found=f"{first.problem}: {first.explanation}",
                todo=TODO.get(first.problem, f"compare the columns under `{name}:` in the config with the files"),
            )


def without_feedback(config: Config, inputs: Inputs) -> tuple[str, ...]:
    """A warning if no file of the feedback log has a row that can be used, so that nothing has a label."""
    files = inputs.feedback
    if pc.sum(files.take(files.usable).rows.column("rows")).as_py():
        return ()
    why = "without rows" if files.usable.all() else "set aside or without rows" if files.usable.any() else "set aside"
    found = f"{len(files):,} Parquet file{'s' * (len(files) != 1)}, {why}" if files else _contents(config, "feedback")
    return (f"nothing is labelled: no usable feedback at {config.feedback.path}, only {found}",)


@dataclass(frozen=True)
class _Footer:
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


class _Moved(Exception):
    """A file was replaced or removed between the listing of its log and the look at its footer."""


def _listed(footer: _Footer, before: Files) -> Files:
    """The files of a log. Of those that are as they were before, the very same rows."""
    for _ in range(ATTEMPTS):
        found = listing(footer.log, footer.source.path, footer.storage)
        if found is None:
            raise _missing(footer, before)
        try:
            return _described(footer, found, before)
        except _Moved as moved:
            last = moved
    raise InputError(
        f"a file of the {footer.log} log was replaced or removed while it was read",
        where=str(last),
        todo="run again",
        passes=True,
    ) from last


def _missing(footer: _Footer, before: Files) -> InputError | ConfigError:
    what, key = f"the path of the {footer.log} log does not exist", f"{footer.log}.path"
    if before:
        # There was a log, so this is not a typing error: its storage may be away.
        return InputError(what, where=footer.source.path, todo=f"check `{key}`")
    return ConfigError(what, where=key, found=footer.source.path, todo=f"check `{key}`")


def _described(footer: _Footer, found: Listing, before: Files) -> Files:
    """The files listed, with what their footers tell. Raises _Moved."""
    places = before.places(text_column(found.paths))
    fingerprints = text_column(found.fingerprints)
    new = ~_as_before(footer, before, places, fingerprints)
    # Named even where they turn out missing: what was looked for decides whether to look again.
    named = tuple((name, "") for name in footer.needed)
    unseen = [
        LogFile(footer.log, found.paths[i], found.fingerprints[i], found.sizes[i], columns=named)
        for i in np.flatnonzero(new)
    ]
    places[new] = len(before) + np.arange(len(unseen))
    return before.with_more(Files.of(_with_footers(footer, unseen, found.refused))).take(places)


def _as_before(footer: _Footer, before: Files, places: Rows, fingerprints: pa.Array) -> Flags:
    """Which of the files listed, each of them at its place among those before, need no look at their footers."""
    needed = set(footer.needed)
    enough = np.array([needed <= {name for name, _ in each} for each in before.kinds.every], bool)
    again = pc.or_(
        pc.is_in(before.rows.column("problem"), value_set=text_column(["wrong id type", "wrong type", "unreadable"])),
        # What earlier versions called so they only could not read.
        pc.starts_with(before.rows.column("explanation"), "a page is damaged: "),
    )
    known = np.append(enough[before.kinds.of] & ~flags(again), False)
    same: Flags = before.same(places, "fingerprint", fingerprints) & known[places]
    return same


def _with_footers(footer: _Footer, files: list[LogFile], refused: Mapping[str, str]) -> Iterator[LogFile]:
    fs = filesystem(footer.source.path, footer.storage)[0] if "://" in footer.source.path else None

    def read(file: LogFile) -> LogFile:
        if file.path in refused:
            return file.set_aside("unreadable", refused[file.path])
        return _with_footer(footer, file, _opened if fs is None else functools.partial(_tail, fs))

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


def _with_footer(footer: _Footer, file: LogFile, opened_by: Callable[[LogFile], Any]) -> LogFile:
    try:
        with opened_by(file) as opened:
            metadata = pq.read_metadata(opened)
            schema = metadata.schema.to_arrow_schema()
            read = _typed(footer, file._replace(rows=metadata.num_rows), schema)
            if secret := encrypted(opened, file.bytes, metadata, footer.needed):
                return read.set_aside("unreadable", f"column '{secret}' is encrypted")
            return _timed(footer, read, metadata, schema, opened) if read.usable else read
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
        return _unreadable(footer, file, error)


def _unreadable(footer: _Footer, file: LogFile, error: Exception) -> LogFile:
    """The file set aside. Raises _Moved where it was replaced since it was listed, and may be whole."""
    if not is_current(file.path, file.fingerprint, footer.storage):
        raise _Moved(file.path) from error
    if isinstance(error, PermissionError):
        return file.set_aside("unreadable", "no permission to read it")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return file.set_aside("unreadable", masked(text)[:200])


def _typed(footer: _Footer, file: LogFile, schema: pa.Schema) -> LogFile:
    names = Counter(map(str.lower, schema.names))
    for name in footer.needed:
        if names[name.lower()] > 1:
            # SQL, for which a and A are one, means the first of them.
            found = [each for each in schema.names if each.lower() == name.lower()]
            return file.set_aside("ambiguous column", f"'{name}' is one of {', '.join(found)}: SQL sees no difference")
    if reserved := [name for name in NUMBERED if names[name]]:
        return file.set_aside("ambiguous column", f"column '{reserved[0]}' has a name that DuckDB reserves")
    types = {name: schema.field(name).type for name in footer.needed if name in schema.names}
    hive = {part.split("=", 1)[0] for part in file.path.split("/") if "=" in part}
    for name in footer.needed:
        if name not in types and name not in hive:
            near = nearest(name, [*schema.names, *hive])
            there = f"only {', '.join(schema.names)}" if names else "no column at all"
            return file.set_aside("missing column", f"no column '{name}', {there}; {near}".rstrip("; "))
    source = footer.source
    rules: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        (source.id, lambda t: _is_text(t) or pa.types.is_integer(t), "text or integers"),
        (source.time, lambda t: pa.types.is_timestamp(t) or pa.types.is_date(t), "timestamps"),
        _classes(source.value, footer.classes) if footer.classes else (source.value, _is_number, "numbers or booleans"),
    )
    for name, allowed, expected in rules:
        if name in types and not allowed(types[name]):
            return file.set_aside("wrong type", f"column '{name}' is {types[name]}, expected {expected}")
    if source.time not in types:
        return file.set_aside("wrong type", f"column '{source.time}' is part of the path, expected timestamps")
    named = tuple((name, str(types[name]) if name in types else "hive") for name in footer.needed)
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


def _timed(footer: _Footer, file: LogFile, metadata: Any, schema: pa.Schema, opened: Any) -> LogFile:
    names = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    needed = [names[name] for name in footer.needed if name in names]
    kind = schema.field(footer.source.time).type
    bounds: list[tuple[int, int]] = []
    nulls, size = 0, 0
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        size += sum(group.column(i).total_compressed_size for i in needed)
        found = group.column(names[footer.source.time]).statistics
        if found is None or (not found.has_min_max and found.null_count != group.num_rows) or not found.has_null_count:
            bounds, nulls = _read_times(footer, opened)
            break
        nulls += found.null_count
        if found.has_min_max:
            bounds.append((_micros(found.min_raw, kind), _micros(found.max_raw, kind)))
    if bounds and not any(low < FARTHEST and high >= NEAREST for low, high in bounds):
        what = f"every time in column '{footer.source.time}' lies before the year 1678 or after 2261"
        return file.set_aside("wrong time", f"{what}; was it written in another unit, or as a placeholder?")
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    ranges = tuple(_instants(*each, footer.zone, zoned) for each in bounds)
    return file._replace(ranges=ranges, null_times=nulls, row_bytes=size / max(1, metadata.num_rows))


def _read_times(footer: _Footer, opened: Any) -> tuple[list[tuple[int, int]], int]:
    opened.seek(0)
    # INT96, which has no statistics, can tell more than nanoseconds in 64 bits.
    column = pq.read_table(opened, columns=[footer.source.time], coerce_int96_timestamp_unit="us").column(0)
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
