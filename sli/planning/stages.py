"""The stages of a run, in the order in which they are executed: a run executes them, a plan prints the same ones.

First tiles are recomputed, amended or filled; then windows are rolled up from them; then the tables are written. Limit:
stages name tiles by time; which of them really change, and which windows then differ, shows only in the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property

import numpy as np

from sli.calendar.grain import Grain
from sli.calendar.interval import END, Instants, Interval, intersection, iso, meets_any, union
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.arrow import Flags
from sli.planning.changes import NewRows
from sli.planning.tasks import TaskSet
from sli.slis import Reference

Tiles = tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True)
class Recompute:
    """Tiles are made from all their rows."""

    tiles: Tiles
    confirm: Tiles
    """Final tiles that are held if they would change."""
    feedback_tiles: Tiles
    """Tiles of feedback in which unmatched feedback is counted again."""
    task_set: TaskSet


@dataclass(frozen=True)
class Amend:
    """Tiles are changed by the rows that came, where these rows may belong to them."""

    tiles: Tiles
    confirm: Tiles
    """Final tiles that are held if they would change."""
    new_rows: NewRows


@dataclass(frozen=True)
class Fill:
    """Tiles gain states or slices that they lack: those of the task set."""

    tiles: Tiles
    task_set: TaskSet


@dataclass(frozen=True, kw_only=True)
class Group:
    """SLIs that are rolled up over the same windows."""

    slis: tuple[str, ...]
    """Their names."""
    everywhere: bool
    """Whether every window is rolled up: the SLIs are new, or everything is."""
    filled: Tiles
    """Tiles that gain their states."""
    waits_for: Tiles
    """Tiles still to be recomputed, or that still lack their states."""
    reference: Reference | None
    """What their windows are compared with."""


@dataclass(frozen=True, kw_only=True)
class RollUp:
    """Windows are merged from tiles."""

    groups: tuple[Group, ...]
    changed: Tiles
    """The tiles whose windows may change: those recomputed, or once they are, those of them that really changed."""
    new_grains: tuple[str, ...]
    newly_final: Interval | None
    """The interval of window ends that became final since the last publication; None if no window did."""

    @cached_property
    def group_of(self) -> dict[str, Group]:
        """The group that each SLI is in, by its name."""
        return {name: group for group in self.groups for name in group.slis}

    def changed_for(self, group: Group) -> list[Interval]:
        """The tiles that change or are filled for the SLIs of a group."""
        return union([*self.changed, *group.filled])

    def windows(
        self, config: Config, group: Group, newest: int, before: int
    ) -> Iterator[tuple[Grain, Instants, Instants]]:
        """Of each grain the starts and ends of the windows that are rolled up for the SLIs of a group.

        `newest` is the end of the newest hour with predictions, `before` that of the last run.
        """
        for grain in config.all_grains:
            starts, ends = grain.windows(config.zone, config.since_instant, newest)
            hit = self.rolls_up(config.zone, group, before, grain, starts, ends)
            yield grain, starts[hit], ends[hit]

    def rolls_up(self, zone: Zone, group: Group, newest: int, grain: Grain, starts: Instants, ends: Instants) -> Flags:
        """Which windows of a grain are rolled up for the SLIs of a group.

        All windows of a new SLI or grain. Otherwise the windows that rest on a tile that changes or is filled, that
        become final, or that reach `newest`, the end of the newest hour. A window that rests on a tile that waits or
        lacks a state is left out.
        """
        if group.everywhere or grain.name in self.new_grains:
            hit = np.ones(len(starts), dtype=bool)
        else:
            changed = self.changed_for(group)
            hit = windows_resting_on(zone, grain, starts, ends, changed, group.reference) | (ends >= newest)
            if self.newly_final is not None:
                hit |= (ends >= self.newly_final.start) & (ends < self.newly_final.end)
        return hit & ~windows_resting_on(zone, grain, starts, ends, group.waits_for, group.reference)

    @cached_property
    def earliest(self) -> int | None:
        """No window that ends before this instant can change; None: any window can."""
        starts = [self.newly_final.start] if self.newly_final else []
        for group in self.groups:
            changed = self.changed_for(group)
            fixed = group.reference.interval if group.reference else None
            if group.everywhere or (fixed and intersection([fixed], changed)):
                return None
            starts += [interval.start for interval in changed]
        return None if self.new_grains else min(starts, default=END)


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


@dataclass(frozen=True)
class Write:
    """The tables are written, and one commit of `results` makes that visible."""

    tables: tuple[str, ...]
    replaces_all: bool
    """Whether tiles replace all that are stored, not only those of the same days."""


Stage = Recompute | Amend | Fill | RollUp | Write


def plain(value: object) -> object:
    """A stage, or what it holds, as plain values, instants as ISO 8601."""
    if isinstance(value, Interval):
        return [iso(value.start), iso(value.end)]
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, NewRows):
        return {"bytes": value.bytes}
    if isinstance(value, TaskSet):
        return {"states": plain(value.states), "slice_by": plain(value.slice_sets), **value.to_dict()}
    if is_dataclass(value):
        name = {"stage": NAMES[type(value)]} if type(value) in NAMES else {}
        return {**name, **{field.name: plain(getattr(value, field.name)) for field in fields(value)}}
    return value


NAMES: Mapping[type, str] = {Recompute: "recompute", Amend: "amend", Fill: "fill", RollUp: "roll up", Write: "write"}
"""What the stages are called."""
