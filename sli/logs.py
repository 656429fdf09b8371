"""Discovery: which Parquet files the two logs consist of, what time each covers, and which of them cannot be used.

Only listings and footers are read, and footers only of files not seen before. Limit: a file whose footer has no
statistics of the time column costs one read of that column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.columns import Flags, Rows, flags, text_column
from sli.config import Config, Feedback, Predictions
from sli.errors import ConfigError, InputError, nearest
from sli.inputs import Files, Inputs, LogFile
from sli.intervals import Zone
from sli.listing import ENDINGS, is_current, listing
from sli.masking import masked
from sli.parts import Handle, Parts
from sli.storage import READERS, Storage, filesystem, plain

TAIL = 64 << 10
"""Bytes fetched from the end of a remote file: most footers are shorter."""


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
            todo="check `predictions.path`",
        )
    return _same_ids(config, found)


TODO = {
    "unreadable": "write the file again, or move it away",
    "damaged": "write the file again, or move it away",
    "wrong id type": "write both logs' ids in one type",
}


def check_usable(inputs: Inputs) -> None:
    """Raise InputError where a log has files and none of them can be used."""
    for name, files in (("predictions", inputs.predictions), ("feedback", inputs.feedback)):
        if files and not files.usable.any():
            first = next(iter(files))
            raise InputError(
                f"no file of the {name} log can be used",
                where=first.path,
                found=f"{first.problem}: {first.explanation}",
                todo=TODO.get(first.problem, f"compare the columns under `{name}:` in the config with the files"),
            )


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


def _listed(footer: _Footer, before: Files) -> Files:
    """The files of a log. Of those that are as they were before, the very same rows."""
    found = listing(footer.log, footer.source.path, footer.storage)
    if found is None:
        what, key = f"the path of the {footer.log} log does not exist", f"{footer.log}.path"
        if before:
            # There was a log, so this is not a typing error: its storage may be away.
            raise InputError(what, where=footer.source.path, todo=f"check `{key}`")
        raise ConfigError(what, where=key, found=footer.source.path, todo=f"check `{key}`")
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
    return before.with_more(Files.of(_with_footers(footer, unseen))).take(places)


def _as_before(footer: _Footer, before: Files, places: Rows, fingerprints: pa.Array) -> Flags:
    """Which of the files listed, each of them at its place among those before, need no look at their footers."""
    needed = set(footer.needed)
    enough = np.array([needed <= {name for name, _ in each} for each in before.kinds.every], bool)
    again = pc.is_in(before.rows.column("problem"), value_set=text_column(["wrong id type", "unreadable"]))
    known = np.append(enough[before.kinds.of] & ~flags(again), False)
    same: Flags = before.same(places, "fingerprint", fingerprints) & known[places]
    return same


def _with_footers(footer: _Footer, files: list[LogFile]) -> Iterator[LogFile]:
    if "://" not in footer.source.path:
        return (_with_footer(footer, file, _opened) for file in files)
    fs = filesystem(footer.source.path, footer.storage)[0]
    with ThreadPoolExecutor(READERS) as pool:
        return iter(list(pool.map(lambda file: _with_footer(footer, file, lambda each: _tail(fs, each)), files)))


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
            read = _typed(footer, file._replace(rows=metadata.num_rows), metadata.schema.to_arrow_schema())
            return _timed(footer, read, metadata, opened) if read.usable else read
    except (OverflowError, ValueError) as error:
        if isinstance(error, pa.ArrowException):
            return _unreadable(footer, file, error)
        years = "a time beyond the years 1 to 9999; was it written in another unit?"
        return file._replace(problem="wrong type", explanation=f"column '{footer.source.time}' holds {years}")
    except Exception as error:
        remote = "://" in file.path
        # Arrow tells of a footer that makes no sense by an OSError of no number.
        broken = isinstance(error, pa.ArrowException | EOFError | FileNotFoundError) or (
            type(error) is OSError and error.errno is None
        )
        if not remote and not isinstance(error, pa.ArrowException | EOFError | OSError):
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
    """The file set aside. Raises InputError where it was replaced since it was listed, and may be whole."""
    if not is_current(file.path, file.fingerprint, footer.storage):
        raise InputError(
            f"a file of the {file.log} log was replaced or removed while it was read",
            where=file.path,
            todo="run again",
            passes=True,
        ) from error
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return file._replace(problem="unreadable", explanation=masked(text)[:200])


def _typed(footer: _Footer, file: LogFile, schema: pa.Schema) -> LogFile:
    types = {name: schema.field(name).type for name in footer.needed if name in schema.names}
    hive = {part.split("=", 1)[0] for part in file.path.split("/") if "=" in part}
    for name in footer.needed:
        if name not in types and name not in hive:
            near = nearest(name, [*schema.names, *hive])
            return file._replace(
                problem="missing column",
                explanation=f"no column '{name}', only {', '.join(schema.names)}; {near}".rstrip("; "),
            )
    source = footer.source
    rules: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        (source.id, lambda t: _is_text(t) or pa.types.is_integer(t), "text or integers"),
        (source.time, lambda t: pa.types.is_timestamp(t) or pa.types.is_date(t), "timestamps"),
        _classes(source.value, footer.classes) if footer.classes else (source.value, _is_number, "numbers or booleans"),
    )
    for name, allowed, expected in rules:
        if name in types and not allowed(types[name]):
            return file._replace(
                problem="wrong type", explanation=f"column '{name}' is {types[name]}, expected {expected}"
            )
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


def _timed(footer: _Footer, file: LogFile, metadata: Any, opened: Any) -> LogFile:
    names = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    needed = [names[name] for name in footer.needed if name in names]
    ranges: list[tuple[int, int]] = []
    nulls, size = 0, 0
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        size += sum(group.column(i).total_compressed_size for i in needed)
        found = group.column(names[footer.source.time]).statistics
        if found is None or (not found.has_min_max and found.null_count != group.num_rows) or not found.has_null_count:
            ranges, nulls = _read_times(footer, opened)
            break
        nulls += found.null_count
        if found.has_min_max:
            ranges.append((_earliest(found.min, footer.zone), _latest(found.max, footer.zone)))
    return file._replace(ranges=tuple(ranges), null_times=nulls, row_bytes=size / max(1, metadata.num_rows))


def _read_times(footer: _Footer, opened: Any) -> tuple[list[tuple[int, int]], int]:
    opened.seek(0)
    column = pq.read_table(opened, columns=[footer.source.time]).column(0)
    if column.null_count == len(column):
        return [], column.null_count
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    bounds = pc.min_max(column).as_py()
    return [(_earliest(bounds["min"], footer.zone), _latest(bounds["max"], footer.zone))], column.null_count


def _earliest(value: Any, zone: Zone) -> int:
    return zone.parse(_as_datetime(value))


def _latest(value: Any, zone: Zone) -> int:
    value = _as_datetime(value)
    # The last of a group may be a local time that exists twice, or a nanosecond past its microsecond.
    return max(zone.parse(value), zone.parse(value.replace(fold=1))) + 1


def _as_datetime(value: Any) -> datetime:
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime(warn=False)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    raise OSError(f"a time statistic of an unknown kind: {value!r}")


def _same_ids(config: Config, inputs: Inputs) -> Inputs:
    """Set files aside whose ids are of another kind than those of the first predictions file."""
    first = inputs.predictions.first_usable
    if first is None:
        return inputs
    known = first.types[config.predictions.id]

    def check(files: Files, column: str) -> Files:
        other = [_kind(dict(each).get(column, "")) != _kind(known) for each in files.kinds.every]
        wrong = np.flatnonzero(files.usable & np.array(other, bool)[files.kinds.of])
        if not len(wrong):
            return files
        marked = (
            each._replace(
                problem="wrong id type",
                explanation=f"ids ('{column}') are {each.types[column]}; those of {first.path} are {known}",
            )
            for each in files.take(wrong)
        )
        return files.with_replaced(wrong, marked)

    return Inputs(check(inputs.predictions, config.predictions.id), check(inputs.feedback, config.feedback.id))


def _kind(id_type: str) -> str:
    return "integer" if "int" in id_type and "dictionary" not in id_type else "text"
