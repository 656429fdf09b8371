"""Lengths of time: their units in microseconds, and durations as people write them, for example `7d` or `15m`."""

from __future__ import annotations

import re
from dataclasses import dataclass

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST = 36_525 * DAY
"""The longest duration, 100 years: longer ones could leave the range of dates."""
_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}


def tile_unit(tile: int) -> str:
    """The length of a tile as a unit in messages: `hours`, or for example `30 minutes`."""
    return "hours" if tile == HOUR else f"{tile // MINUTE} minutes"


@dataclass(frozen=True)
class Duration:
    """A length of time, for example `7d`. `days` is set for whole days, which windows count on the calendar.

    >>> Duration.parse("7d").days, Duration.parse("6h").micros // MINUTE
    (7, 360)
    """

    text: str
    micros: int
    days: int | None

    @staticmethod
    def parse(text: str) -> Duration:
        """The duration of a text; raises ValueError."""
        parts = re.fullmatch(r"\s*(\d+)\s*([dhms])\s*", str(text))
        if not parts:
            raise ValueError(
                f"'{text}' is not a duration; write a whole number and d, h, m or s, for example 7d, 6h, 15m"
            )
        if len(parts[1]) > 18 or int(parts[1]) * _UNITS[parts[2]] > LONGEST:
            raise ValueError(f"'{text[:40]}' is longer than {LONGEST // DAY:,} days, which is 100 years")
        count, unit = int(parts[1]), parts[2]
        return Duration(f"{count}{unit}", count * _UNITS[unit], count if unit == "d" else None)


FOREVER = Duration("forever", 10_000 * 366 * DAY, None)
"""Longer than any two instants lie apart."""
