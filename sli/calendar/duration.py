"""Lengths of time: their units in microseconds, and durations as people write them, for example `7d` or `15m`."""

from __future__ import annotations

import re
from dataclasses import dataclass

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST = 36_525 * DAY
"""The longest duration: beyond it times do not fit what dates and 64 bits can tell."""
_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}


def tile_unit(tile: int) -> str:
    """What is made of whole tiles of this length: `hours`, or `30 minutes`."""
    return "hours" if tile == HOUR else f"{tile // MINUTE} minutes"


@dataclass(frozen=True)
class Duration:
    """A length such as `7d`, `6h`, `15m`. `days` is set when it is whole days, which windows count on the calendar."""

    text: str
    micros: int
    days: int | None

    @staticmethod
    def parse(text: str) -> Duration:
        found = re.fullmatch(r"\s*(\d+)\s*([dhms])\s*", str(text))
        if not found:
            raise ValueError(f"'{text}' is not a duration; write a whole number and d, h, m or s, such as 7d, 6h, 15m")
        if len(found[1]) > 18 or int(found[1]) * _UNITS[found[2]] > LONGEST:
            raise ValueError(f"'{text[:40]}' is longer than {LONGEST // DAY:,} days, which is 100 years")
        count, unit = int(found[1]), found[2]
        return Duration(f"{count}{unit}", count * _UNITS[unit], count if unit == "d" else None)
