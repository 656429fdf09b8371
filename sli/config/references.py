"""The `against` of an SLI: windows are compared with the previous one, a fixed interval or a table.

Limit: only checks that a table exists. Its columns are checked when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from sli.calendar.duration import tile_unit
from sli.calendar.interval import Interval
from sli.calendar.zone import Zone
from sli.config.extends import located
from sli.engine.storage import Storage, filesystem, message_of
from sli.errors import ConfigError, nearest
from sli.slis import Reference


def parse_reference(against: object, zone: Zone, tile: int, folder: str, storage: Storage) -> tuple[Reference, object]:
    """The reference to compare a window with, and its entry in the definition. Raises ConfigError."""
    expected = "previous, {start: TIME, end: TIME} or {table: PATH}"
    found = str(dict(against) if isinstance(against, Mapping) else against)
    if against == "previous":
        return Reference("previous"), against
    if isinstance(against, Mapping) and set(against) == {"start", "end"}:
        interval = _interval(against["start"], against["end"], zone, tile, found)
        return Reference("window", interval), [interval.start, interval.end]
    if isinstance(against, Mapping) and set(against) == {"table"}:
        path = located(str(against["table"]), folder)
        return Reference("table", None, path), ["table", fingerprint(path, storage)]
    near = nearest(against, ["previous"]) if isinstance(against, str) else ""
    raise ConfigError("this is not a reference", where="against", expected=expected, found=found, todo=near)


def _interval(start: object, end: object, zone: Zone, tile: int, found: str) -> Interval:
    try:
        first, last = zone.parse(start), zone.parse(end)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "start or end is not a date or time",
            where="against",
            expected="ISO 8601, for example 2026-02-01",
            found=found,
        ) from error
    if first >= last:
        raise ConfigError(
            "the reference interval is empty", where="against", expected="a start before the end", found=found
        )
    if first % tile or last % tile:
        whole = f"whole {tile_unit(tile)}"
        raise ConfigError("start or end is inside a tile", where="against", expected=whole, found=found)
    return Interval(first, last)


def fingerprint(path: str, storage: Storage) -> str:
    """Size and time or ETag of a file, as a text that differs once the file changes. Raises ConfigError."""
    try:
        fs, place = filesystem(path, storage)
        info = fs.info(place)
    except Exception as error:
        raise ConfigError(
            "the reference table cannot be found",
            where="against" if isinstance(error, FileNotFoundError) else path,
            expected="a Parquet file",
            found=path if isinstance(error, FileNotFoundError) else message_of(error),
            todo="check the path of `against`",
        ) from error
    return f"{info.get('size')}:{info.get('ETag') or info.get('mtime') or info.get('LastModified')}"
