"""Arguments of public functions, which are texts, as instants and durations.

Limit: an argument is checked alone; the function itself checks that it is between `since` and as_of.
"""

from __future__ import annotations

from datetime import date, datetime

from sli.calendar.duration import Duration
from sli.calendar.zone import Zone
from sli.errors import ConfigError

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
