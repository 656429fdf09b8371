"""Which windows a run rolls up: those that rest on a tile that changes, or are compared with one that does.

A window that rests on a tile still waiting, or on one that lacks a state, waits with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, Interval, intersection, meets_any, union
from sli.calendar.zone import Zone
from sli.engine.arrow import Flags
from sli.planning.needs import RECOMPUTE, lacks_any
from sli.planning.plan import Plan
from sli.slis import Reference, Sli


@dataclass(frozen=True)
class SliChange:
    """What a plan changes for an SLI. SLIs with equal changes have the same affected windows."""

    everywhere: bool
    """Whether every window is rolled up: the SLI is new, or everything is."""
    changed: tuple[Interval, ...]
    """Tiles that change or gain its states."""
    waits_for: tuple[Interval, ...]
    """Tiles still to be recomputed, or that still lack its states."""
    reference: Reference | None
    """What its windows are compared with."""

    @staticmethod
    def of(plan: Plan, sli: Sli) -> SliChange:
        return SliChange(
            plan.from_scratch or sli.name in plan.new_series,
            tuple(union([*plan.may_change, *plan.does.of(*lacks_any(sli))])),
            plan.left.of(RECOMPUTE, *lacks_any(sli)),
            sli.reference,
        )


def affected_windows(
    zone: Zone, plan: Plan, change: SliChange, newest: int, grain: Grain, starts: Instants, ends: Instants
) -> Flags:
    """Which windows of a grain must be rolled up for SLIs with this change.

    All windows of a new SLI or grain. Otherwise the windows that rest on a tile that changes or is filled, that become
    final, or that reach `newest`, the end of the newest hour. A window that rests on a tile that waits or lacks a state
    is left out.
    """
    if change.everywhere or grain.name in plan.new.grains:
        hit = np.ones(len(starts), dtype=bool)
    else:
        hit = windows_resting_on(zone, grain, starts, ends, change.changed, change.reference) | (ends >= newest)
        if plan.newly_final is not None:
            hit |= (ends >= plan.newly_final.start) & (ends < plan.newly_final.end)
    return hit & ~windows_resting_on(zone, grain, starts, ends, change.waits_for, change.reference)


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


def reaches_all(slis: Sequence[Sli], plan: Plan) -> bool:
    """Whether some SLI compares all its windows with a fixed interval in which tiles change."""
    changed = [*plan.to_recompute, *plan.tiles_to_fill]
    intervals = [sli.reference.interval for sli in slis if sli.reference and sli.reference.interval]
    return bool(intersection(intervals, changed))
