"""Arguments of public functions, checked: instants, durations and slices.

Limit: an argument is checked alone; the function itself checks it against the config and what is published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from sli.calendar.duration import Duration
from sli.calendar.zone import Zone
from sli.errors import ConfigError, nearest
from sli.slices import SliceBy, slice_by_of

When = str | date | datetime | None


def instant_of(zone: Zone, name: str, value: str | date | datetime) -> int:
    """An instant; a naive time is read in the zone. Raises ConfigError."""
    try:
        return zone.parse(value)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{name} is not a date or time",
            where=name,
            expected="ISO 8601, for example 2013-03-01 or 2013-03-01T06:00Z",
            found=str(value),
        ) from error


def duration_of(name: str, value: str | Duration) -> Duration:
    """A duration, for example `1d`. Raises ConfigError."""
    try:
        return value if isinstance(value, Duration) else Duration.parse(value)
    except ValueError as error:
        raise ConfigError(
            f"{name} is not a duration", where=name, expected="for example 1d or 6h", found=str(value)
        ) from error


def slice_columns(slice: Mapping[str, str | None] | None, slice_by: Sequence[str] | None) -> SliceBy | None:
    """The columns of the slices that these arguments choose, None if neither is given. Raises ConfigError."""
    if slice is not None and not isinstance(slice, Mapping):
        expected = 'a dict of columns and values, for example {"origin": "JFK"}; {} is all predictions together'
        raise ConfigError("this is not a slice", where="slice", expected=expected, found=repr(slice))
    if isinstance(slice_by, str):
        expected = f'a list of columns, for example ["{slice_by}"]'
        raise ConfigError("slice_by is a text", where="slice_by", expected=expected, found=repr(slice_by))
    if slice is not None and slice_by is not None and slice_by_of(slice) != slice_by_of(slice_by):
        by = " x ".join(slice_by_of(slice)) or "no column"
        raise ConfigError(f"the slice is by {by}", where="slice_by", found=" x ".join(slice_by) or "no column")
    if slice is None and slice_by is None:
        return None
    return slice_by_of(slice if slice is not None else slice_by or ())


def no_such_slices(what: str, columns: SliceBy, slice_sets: Sequence[SliceBy]) -> ConfigError:
    """The error of columns that are in no set of slices, such as that of a column with a similar name."""
    known = [*dict.fromkeys(name for names in slice_sets for name in names)]
    near = next((nearest(name, known) for name in columns if name not in known), "")
    return ConfigError(
        what,
        where="slice_by",
        expected=f"one of {', '.join(' x '.join(names) or 'all' for names in slice_sets)}",
        found=" x ".join(columns) or "all",
        todo=near or f"list [{', '.join(columns)}] under `slice_by` and run once",
    )
