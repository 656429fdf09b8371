"""Which windows rest on tiles: those that hold one, or are compared with a window or an interval that does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, Interval, intersection, meets_any
from sli.calendar.zone import Zone
from sli.engine.arrow import Flags
from sli.slis import Reference


def windows_resting_on(
    zone: Zone,
    grain: Grain,
    starts: Instants,
    ends: Instants,
    intervals: Iterable[Interval],
    reference: Reference | None,
) -> Flags:
    """Which windows hold an instant of the intervals, or are compared with one that does."""
    intervals = list(intervals)
    return meets_any(starts, ends, intervals) | windows_compared_with(zone, grain, starts, ends, intervals, reference)


def windows_compared_with(
    zone: Zone,
    grain: Grain,
    starts: Instants,
    ends: Instants,
    intervals: Sequence[Interval],
    reference: Reference | None,
) -> Flags:
    """Which windows are compared with one that holds an instant of the intervals."""
    if reference is not None and reference.kind == "previous":
        first = grain.before(zone, starts, ends)
        return meets_any(first, starts, intervals) & (first < starts)
    fixed = None if reference is None else reference.interval
    return np.full(len(starts), fixed is not None and bool(intersection([fixed], intervals)))
