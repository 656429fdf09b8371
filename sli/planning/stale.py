"""Which tiles the changes of the logs make stale.

Limit: files are known by the times in their footers, so a late file makes every tile stale that its feedback could
belong to.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sli.calendar.interval import BEGINNING, Interval, intersection, union, union_of
from sli.config.model import Config
from sli.logs.files import Inputs
from sli.planning.changes import Cause
from sli.planning.late_feedback import Horizon


def touched(config: Config, causes: list[Cause], as_of: int) -> tuple[list[Interval], list[Interval]]:
    """Tiles of predictions and tiles of feedback that the causes make stale."""
    horizon = Horizon.of(config)
    pairs, strays = [], []
    for cause in causes:
        for each in cause.intervals:
            if cause.what.endswith("predictions"):
                pairs.append(each)
                strays.append(horizon.feedback_for(each))
            else:
                pairs.append(horizon.predictions_for(each))
                strays.append(each)
    whole = limits(config, as_of)
    known = [Interval(BEGINNING, whole[0].end)]
    tile = config.tile
    return intersection((aligned(i, tile) for i in pairs), whole), intersection(
        (aligned(i, tile) for i in strays), known
    )


def strays_of(config: Config, pairs: Iterable[Interval], as_of: int) -> list[Interval]:
    """Tiles of feedback that predictions of these tiles may reach."""
    horizon = Horizon.of(config)
    reached = [aligned(horizon.feedback_for(each), config.tile) for each in pairs]
    return intersection(reached, [aligned(Interval(BEGINNING, as_of + 1), config.tile)])


def existing_of(config: Config, inputs: Inputs, as_of: int) -> list[Interval]:
    """Tiles that may hold predictions."""
    tile = config.tile
    _, first, last = inputs.predictions.ranges
    tiles = union_of(first // tile * tile, np.maximum(BEGINNING, last // tile * tile + tile))
    return intersection(tiles, limits(config, as_of))


def whole_days(config: Config, pairs: list[Interval]) -> list[Interval]:
    """Widened to whole days where a Python function must see all pairs of a day at once."""
    if not any(state.kind == "window" for state in config.states.values()):
        return pairs
    zone = config.zone
    return union(
        Interval(max(config.since_instant, zone.midnight(zone.date(i.start))), int(zone_day_end(config, i.end)))
        for i in pairs
    )


def zone_day_end(config: Config, end: int) -> int:
    """The first midnight at or after an instant."""
    zone = config.zone
    day = zone.date(end - 1)
    return zone.midnights(day, day.fromordinal(day.toordinal() + 1))[-1]


def limits(config: Config, as_of: int) -> list[Interval]:
    """From `since` to as_of, in whole tiles."""
    since = config.since_instant
    return [aligned(Interval(since, max(since, as_of + 1)), config.tile)]


def aligned(each: Interval, tile: int) -> Interval:
    """The whole tiles that hold an interval."""
    return Interval(floor(each.start, tile), max(BEGINNING, -(-each.end // tile) * tile))


def floor(at: int, tile: int) -> int:
    return at // tile * tile
