"""Discovery: which Parquet files the two logs consist of, what time each covers, and which of them cannot be used.

Only listings and footers are read, and footers only of files not seen before. Limit: a file whose footer has no
statistics of the time column costs one read of that column.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.config import Config, Feedback, Predictions
from sli.errors import InputError, nearest
from sli.intervals import Interval, Zone
from sli.storage import filesystem, plain

ENDINGS = (".parquet", ".pq", ".parq")
READERS = 8
"""Footers read at once."""


@dataclass(frozen=True)
class LogFile:
    """One file of a log. `ranges`: first and last instant of each group of rows; a `problem` sets the file aside."""

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

        def mark(files: tuple[LogFile, ...]) -> tuple[LogFile, ...]:
            return tuple(
                replace(f, problem="damaged", explanation=f"a page is damaged: {broken[f.path]}")
                if f.path in broken
                else f
                for f in files
            )

        return Inputs(mark(self.predictions), mark(self.feedback))


def discover(config: Config, known: Iterable[LogFile] = ()) -> Inputs:
    """List both logs; footers of `known` files with the same fingerprint are not read again. Raises InputError."""
    before = {(each.log, each.path): each for each in known}
    wanted = (
        _Footer("predictions", config.predictions, config.columns, config.zone, bool(config.classes)),
        _Footer("feedback", config.feedback, (), config.zone, bool(config.classes)),
    )
    found = [tuple(_listed(footer, before)) for footer in wanted]
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

    @property
    def needed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.source.id, self.source.time, self.source.value, *self.columns)))


def is_parquet(below: str, file: str) -> bool:
    """Whether a file is read at all; `below` is its path below the log's root, where `_` and `.` hide."""
    hidden = any(part.startswith(("_", ".")) and part != "." for part in below.split("/"))
    return not hidden and file.endswith(ENDINGS)


def listing(log: str, url: str) -> tuple[Any, str, dict[str, Any] | None]:
    """The file system of a log, its root, and what lies there by path; None if the root does not exist.

    Raises InputError where it cannot be listed.
    """
    try:
        fs, root = filesystem(url)
        entries = {root: fs.info(root)} if fs.isfile(root) else fs.find(root, detail=True)
        return fs, root, entries if entries or fs.exists(root) else None
    except Exception as error:
        # Each kind of storage has errors of its own.
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            found=f"{type(error).__name__}: {plain(error)}",
            todo="check the address and the credentials",
            passes=True,
        ) from error


def _listed(footer: _Footer, before: Mapping[tuple[str, str], LogFile]) -> list[LogFile]:
    url = footer.source.path
    fs, root, entries = listing(footer.log, url)
    if entries is None:
        raise InputError(
            f"the path of the {footer.log} log does not exist", where=url, todo=f"check `{footer.log}.path`"
        )
    seen, unseen = [], []
    for path in sorted(entries):
        if not is_parquet(posixpath.relpath(path, root), path):
            continue
        entry = entries[path]
        stamp = entry.get("ETag") or entry.get("mtime") or entry.get("LastModified") or entry.get("created") or ""
        file = LogFile(
            footer.log,
            fs.unstrip_protocol(path) if "://" in url else path,
            f"{entry['size']}-{stamp}",
            int(entry["size"]),
        )
        old = before.get((footer.log, file.path))
        if (
            old is not None
            and old.fingerprint == file.fingerprint
            and old.problem not in ("wrong id type", "unreadable")
            and set(footer.needed) <= set(old.types)
        ):
            seen.append(old)
        else:
            # Named even where they turn out missing: what was looked for decides whether to look again.
            unseen.append(replace(file, columns=tuple((name, "") for name in footer.needed)))
    with ThreadPoolExecutor(1 if "://" not in url else READERS) as pool:
        read = list(pool.map(lambda file: _with_footer(footer, file, fs), unseen))
    return sorted(seen + read, key=lambda file: file.path)


def _with_footer(footer: _Footer, file: LogFile, fs: Any) -> LogFile:
    try:
        # Arrow opens local files itself, several times faster than through a Python file.
        with pa.OSFile(file.path) if "://" not in file.path else fs.open(file.path, "rb") as opened:
            metadata = pq.read_metadata(opened)
            file = replace(file, rows=metadata.num_rows)
            file = _typed(footer, file, metadata.schema.to_arrow_schema())
            return _timed(footer, file, metadata, opened) if file.usable else file
    except (OverflowError, ValueError) as error:
        if isinstance(error, pa.ArrowException):
            return replace(file, problem="unreadable", explanation=str(error).splitlines()[0][:200])
        years = "a time beyond the years 1 to 9999; was it written in another unit?"
        return replace(file, problem="wrong type", explanation=f"column '{footer.source.time}' holds {years}")
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
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return replace(file, problem="unreadable", explanation=text[:200])


def _typed(footer: _Footer, file: LogFile, schema: pa.Schema) -> LogFile:
    types = {name: schema.field(name).type for name in footer.needed if name in schema.names}
    hive = {part.split("=", 1)[0] for part in file.path.split("/") if "=" in part}
    for name in footer.needed:
        if name not in types and name not in hive:
            near = nearest(name, [*schema.names, *hive])
            return replace(
                file,
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
            return replace(
                file, problem="wrong type", explanation=f"column '{name}' is {types[name]}, expected {expected}"
            )
    named = tuple((name, str(types[name]) if name in types else "hive") for name in footer.needed)
    return replace(file, columns=named)


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
    return replace(file, ranges=tuple(ranges), null_times=nulls, row_bytes=size / max(1, metadata.num_rows))


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

    def kind(file: LogFile, column: str) -> str:
        text = file.types[column]
        return "integer" if "int" in text and "dictionary" not in text else "text"

    first = next((f for f in predictions if f.usable), None)
    if first is None:
        return predictions, feedback
    expected = kind(first, config.predictions.id)
    known = first.types[config.predictions.id]

    def check(files: tuple[LogFile, ...], column: str) -> tuple[LogFile, ...]:
        return tuple(
            replace(
                f,
                problem="wrong id type",
                explanation=f"ids ('{column}') are {f.types[column]}; those of {first.path} are {known}",
            )
            if f.usable and kind(f, column) != expected
            else f
            for f in files
        )

    return check(predictions, config.predictions.id), check(feedback, config.feedback.id)


def instants(files: Iterable[LogFile]) -> Interval | None:
    """From the first to the last instant of the files, or None where they hold no time."""
    every = [interval for file in files for interval in file.intervals]
    return Interval(min(i.start for i in every), max(i.end for i in every)) if every else None
