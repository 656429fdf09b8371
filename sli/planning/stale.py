"""Which tiles the changes of the logs make stale.

Limit: only the times in the footers of files are known, so a new file of feedback makes every tile stale that its rows
could belong to.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sli.calendar.interval import BEGINNING, Interval, intersection, union, union_of
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.logs.files import Inputs
from sli.planning.changes import Cause
from sli.planning.late_feedback import Horizon


def stale_tiles(
    horizon: Horizon, since: int, tile: int, causes: Iterable[Cause], as_of: int
) -> tuple[list[Interval], list[Interval]]:
    """Tiles of predictions and tiles of feedback that the causes make stale."""
    predictions, feedback = [], []
    for cause in causes:
        for interval in cause.intervals:
            if cause.what.endswith("predictions"):
                predictions.append(interval)
                feedback.append(horizon.feedback_for(interval))
            else:
                predictions.append(horizon.predictions_for(interval))
                feedback.append(interval)
    whole = tiles_until(since, tile, as_of)
    return _whole_tiles_within(predictions, whole, tile), _whole_tiles_within(
        feedback, Interval(BEGINNING, whole.end), tile
    )


def feedback_tiles_for(horizon: Horizon, tile: int, tiles: Iterable[Interval], as_of: int) -> list[Interval]:
    """The tiles in which feedback that may count for predictions of these tiles becomes known."""
    reached = [horizon.feedback_for(interval) for interval in tiles]
    return _whole_tiles_within(reached, whole_tiles(Interval(BEGINNING, as_of + 1), tile), tile)


def tiles_with_predictions(since: int, tile: int, inputs: Inputs, as_of: int) -> list[Interval]:
    """Tiles that may hold predictions, by the footers of the files."""
    _, first, last = inputs.predictions.ranges
    tiles = union_of(first // tile * tile, np.maximum(BEGINNING, last // tile * tile + tile))
    return intersection(tiles, [tiles_until(since, tile, as_of)])


def whole_days(config: Config, tiles: list[Interval]) -> list[Interval]:
    """The tiles, widened to whole days if a Python function must see all pairs of a day at once."""
    if all(state.merges for state in config.states.values()):
        return tiles
    zone, since = config.zone, config.since_instant
    return union(Interval(max(since, zone.midnight(zone.date(i.start))), _next_midnight(zone, i.end)) for i in tiles)


def _next_midnight(zone: Zone, at: int) -> int:
    """The first midnight at or after an instant."""
    day = zone.date(at - 1)
    return zone.midnights(day, day.fromordinal(day.toordinal() + 1))[-1]


def tiles_until(since: int, tile: int, as_of: int) -> Interval:
    """All tiles from `since` to as_of."""
    return whole_tiles(Interval(since, max(since, as_of + 1)), tile)


def whole_tiles(interval: Interval, tile: int) -> Interval:
    """The whole tiles that hold an interval."""
    return Interval(interval.start // tile * tile, max(BEGINNING, -(-interval.end // tile) * tile))


def _whole_tiles_within(intervals: Iterable[Interval], whole: Interval, tile: int) -> list[Interval]:
    return intersection((whole_tiles(interval, tile) for interval in intervals), [whole])
