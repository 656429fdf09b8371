"""The windows that are compared: by default the last 7 days up to the newest hour, and the 7 days before.

Limit: nothing before `since`. A model younger than 14 days has a shorter stretch before, one younger than 7 days none.
"""

from __future__ import annotations

from sli.calendar.interval import Interval, iso
from sli.config.arguments import When, instant_of
from sli.config.model import Config
from sli.errors import ConfigError
from sli.planning.published import Published

DAYS = 7
Windows = tuple[Interval, Interval | None]
"""The window now, and the one before if there is any."""


def compared_windows(
    config: Config,
    published: Published,
    start: When = None,
    end: When = None,
    against: str | tuple[When, When] | None = None,
) -> Windows:
    """From `start` (default: 7 days before `end`) to `end` (default: the newest hour), and what it is compared with.

    `against` is `START/END` or a pair; by default it is the stretch of equal length just before. Raises ConfigError.
    """
    zone, since = config.zone, config.since_instant
    last = published.newest if end is None else instant_of(zone, "end", end)
    first = max(since, zone.days_later(last, -DAYS)) if start is None else instant_of(zone, "start", start)
    if first >= last:
        raise ConfigError(
            "the time asked for is empty", where="start", expected=f"before {iso(last)}", found=iso(first)
        )
    now = Interval(first, last)
    if against is not None:
        return now, _asked(config, against)
    earlier = max(since, _just_before(config, now).start)
    return now, Interval(earlier, first) if earlier < first else None


def _just_before(config: Config, now: Interval) -> Interval:
    """The stretch of equal length just before: of as many calendar days, if the window is of whole days."""
    zone = config.zone
    days = (zone.date(now.end) - zone.date(now.start)).days
    if days and zone.days_later(now.start, days) == now.end:
        return Interval(zone.days_later(now.start, -days), now.start)
    return Interval(2 * now.start - now.end, now.start)


def _asked(config: Config, against: str | tuple[When, When]) -> Interval:
    """The window that `against` names. Raises ConfigError."""
    edges = tuple(against.split("/")) if isinstance(against, str) else against
    if len(edges) != 2 or not all(edges):
        raise ConfigError(
            "`against` is a start and an end",
            where="against",
            expected="for example 2026-01-05/2026-01-12",
            found=str(against),
        )
    first, last = (instant_of(config.zone, "against", edge) for edge in edges if edge is not None)
    if first >= last:
        raise ConfigError("`against` is empty", where="against", expected="START before END", found=str(against))
    return Interval(first, last)
