"""Discovery: which Parquet files the two logs consist of, what time each covers, and which of them cannot be used.

Only listings and footers are read, and footers only of files not seen before. Limit: a file whose footer has no
statistics of the time column costs one read of that column.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.config import Config, Feedback, Predictions
from sli.errors import InputError, nearest
from sli.intervals import BEGINNING, Interval, Zone
from sli.listing import ENDINGS, is_current, listing
from sli.parts import Handle, Parts
from sli.storage import READERS, Storage, filesystem, plain

TAIL = 64 << 10
"""Bytes fetched from the end of a remote file: most footers are shorter."""


class LogFile(NamedTuple):
    """One file of a log. `ranges`: first and last instant of each group of rows; a `problem` sets the file aside.

    A plain tuple, since there may be a file an hour and a log for years of them, and every run looks at all.
    """

    log: str
    path: str
    fingerprint: str
    bytes: int
    rows: int = 0
    problem: str = ""
    explanation: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    row_bytes: float = 0.0
    null_times: int = 0
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def usable(self) -> bool:
        return not self.problem

    @property
    def intervals(self) -> list[Interval]:
        """The stretches of time the file has rows in."""
        return [Interval(first, last + 1) for first, last in self.ranges] if self.usable else []

    @property
    def latest(self) -> int:
        """The last instant the file has rows of, or the beginning of time."""
        return max((last for _, last in self.ranges), default=BEGINNING) if self.usable else BEGINNING

    def meets(self, span: Interval) -> bool:
        """Whether the file has rows in a stretch of time, as far as its footer tells."""
        return self.usable and any(first < span.end and last >= span.start for first, last in self.ranges)

    @property
    def types(self) -> dict[str, str]:
        """Type of each needed column; `hive` for one that is part of the path."""
        return dict(self.columns)


@dataclass(frozen=True)
class Inputs:
    """Everything discovered, each log's files in the order of their paths."""

    predictions: tuple[LogFile, ...]
    feedback: tuple[LogFile, ...]

    @property
    def files(self) -> tuple[LogFile, ...]:
        return self.predictions + self.feedback

    def without(self, broken: Mapping[str, str]) -> Inputs:
        """The same with files set aside that turned out unreadable beyond their footer."""

        if not broken:
            return self

        def mark(files: tuple[LogFile, ...]) -> tuple[LogFile, ...]:
            return tuple(
                f._replace(problem="damaged", explanation=f"a page is damaged: {broken[f.path]}")
                if f.path in broken
                else f
                for f in files
            )

        return Inputs(mark(self.predictions), mark(self.feedback))


def discover(config: Config, known: Iterable[LogFile] = ()) -> Inputs:
    """List both logs; footers of `known` files with the same fingerprint are not read again. Raises InputError."""
    before: dict[str, dict[str, LogFile]] = {"predictions": {}, "feedback": {}}
    for each in known:
        before[each.log][each.path] = each
    wanted = (
        _Footer("predictions", config.predictions, config.columns, config.zone, bool(config.classes), config.storage),
        _Footer("feedback", config.feedback, (), config.zone, bool(config.classes), config.storage),
    )
    found = [tuple(_listed(footer, before[footer.log])) for footer in wanted]
    predictions, feedback = _same_ids(config, found[0], found[1])
    if not predictions:
        raise InputError(
            "the predictions log is empty",
            where=config.predictions.path,
            expected=f"Parquet files that end in {', '.join(ENDINGS)}",
            todo="check `predictions.path`",
        )
    return Inputs(predictions, feedback)


TODO = {
    "unreadable": "write the file again, or move it away",
    "damaged": "write the file again, or move it away",
    "wrong id type": "write both logs' ids in one type",
}


def check_usable(inputs: Inputs) -> None:
    """Raise InputError where a log has files and none of them can be used."""
    for name, files in (("predictions", inputs.predictions), ("feedback", inputs.feedback)):
        if files and not any(f.usable for f in files):
            first = files[0]
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
    classes: bool
    """Whether values are names of classes."""
    storage: Storage

    @property
    def needed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.source.id, self.source.time, self.source.value, *self.columns)))


def _listed(footer: _Footer, before: Mapping[str, LogFile]) -> list[LogFile]:
    """The files of a log. Of those that are as they were before, the very same objects."""
    found = listing(footer.log, footer.source.path, footer.storage)
    if found is None:
        raise InputError(
            f"the path of the {footer.log} log does not exist",
            where=footer.source.path,
            todo=f"check `{footer.log}.path`",
        )
    needed = set(footer.needed)
    enough = functools.cache(lambda columns: needed <= {name for name, _ in columns})
    # Named even where they turn out missing: what was looked for decides whether to look again.
    named = tuple((name, "") for name in footer.needed)
    files: list[LogFile] = []
    unseen: list[int] = []
    for each in found.files:
        old = before.get(each.path)
        if (
            old is not None
            and old.fingerprint == each.fingerprint
            and old.problem not in ("wrong id type", "unreadable")
            and enough(old.columns)
        ):
            files.append(old)
        else:
            unseen.append(len(files))
            files.append(LogFile(footer.log, each.path, each.fingerprint, each.bytes, columns=named))
    for place, read in zip(unseen, _with_footers(footer, [files[place] for place in unseen]), strict=True):
        files[place] = read
    return files


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
    return file._replace(problem="unreadable", explanation=text[:200])


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
        (source.value, _is_class, "text, integers or booleans")
        if footer.classes
        else (source.value, _is_number, "numbers or booleans"),
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


def _is_class(kind: Any) -> bool:
    return bool(_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


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


def _same_ids(
    config: Config, predictions: tuple[LogFile, ...], feedback: tuple[LogFile, ...]
) -> tuple[tuple[LogFile, ...], tuple[LogFile, ...]]:
    """Set files aside whose ids are of another kind than those of the first predictions file."""

    @functools.cache
    def kind(columns: tuple[tuple[str, str], ...], column: str) -> str:
        text = dict(columns)[column]
        return "integer" if "int" in text and "dictionary" not in text else "text"

    first = next((f for f in predictions if f.usable), None)
    if first is None:
        return predictions, feedback
    expected = kind(first.columns, config.predictions.id)
    known = first.types[config.predictions.id]

    def check(files: tuple[LogFile, ...], column: str) -> tuple[LogFile, ...]:
        return tuple(
            f._replace(
                problem="wrong id type",
                explanation=f"ids ('{column}') are {f.types[column]}; those of {first.path} are {known}",
            )
            if f.usable and kind(f.columns, column) != expected
            else f
            for f in files
        )

    return check(predictions, config.predictions.id), check(feedback, config.feedback.id)


def instants(files: Iterable[LogFile]) -> Interval | None:
    """From the first to the last instant of the files, or None where they hold no time."""
    every = [interval for file in files for interval in file.intervals]
    return Interval(min(i.start for i in every), max(i.end for i in every)) if every else None
