"""The windows that are compared: by default the last 7 days up to the newest hour, and the 7 days before.

Limit: nothing before `since`. A model younger than 14 days has a shorter stretch before, one younger than 7 days none.
"""

from __future__ import annotations

from sli.calendar.duration import HOUR
from sli.calendar.interval import Interval
from sli.config.arguments import When, instant_of
from sli.config.model import Config
from sli.errors import ConfigError
from sli.planning.published import Published
from sli.reading.question import check_span, edge_text

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
    check_span(zone, config.tile, first, last, told=edge_text(zone, start, end, since, published.newest))
    now = Interval(first, last)
    if against is not None:
        other = _asked(config, against)
        if other == now:
            raise ConfigError(
                "a time cannot be compared with itself",
                where="against",
                expected="another time than that from `start` to `end`",
                found=str(now),
            )
        return now, other
    earlier = max(since, just_before(config, now).start)
    return now, Interval(earlier, first) if earlier < first else None


def stretch_text(config: Config, window: Interval) -> str:
    """The length of a window in words: `day`, `week`, `31-day window`, `6-hour window`."""
    if days := _whole_days(config, window):
        return {1: "day", 7: "week"}.get(days, f"{days}-day window")
    return f"{(window.end - window.start) / HOUR:g}-hour window"


def _whole_days(config: Config, window: Interval) -> int:
    """How many calendar days a window has; 0 if it begins and ends at other times of day."""
    days = (config.zone.date(window.end) - config.zone.date(window.start)).days
    return days if days and config.zone.days_later(window.start, days) == window.end else 0


def just_before(config: Config, now: Interval) -> Interval:
    """The stretch of equal length just before: of as many calendar days, if the window is of whole days."""
    if days := _whole_days(config, now):
        return Interval(config.zone.days_later(now.start, -days), now.start)
    return Interval(2 * now.start - now.end, now.start)


def _asked(config: Config, against: str | tuple[When, When]) -> Interval:
    """The window that `against` names. Raises ConfigError."""
    edges: tuple[When, ...] = tuple(against.split("/")) if isinstance(against, str) else against
    if len(edges) != 2 or not all(edges):
        raise ConfigError(
            "`against` needs START/END",
            where="against",
            expected="for example 2026-01-05/2026-01-12",
            found=str(against),
        )
    first, last = (instant_of(config.zone, "against", edge) for edge in edges if edge is not None)
    check_span(config.zone, config.tile, first, last, where=("against", "against"))
    return Interval(first, last)
