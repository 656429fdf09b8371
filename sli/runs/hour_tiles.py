"""The hour tiles of a run, recomputed from all their pairs or amended by new rows, and the stored tiles it needs.

Limit: a recompute has all stored tiles in memory; to amend, only the stored tiles of the same days.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import BEGINNING, Interval, intersection, meets_any, union
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.connection import within_memory
from sli.errors import OutOfMemory
from sli.matching.execute import execute
from sli.matching.other_tiles import differing_tiles, find_losers, one_task_sees_all, published_losers
from sli.matching.spec import Spec
from sli.matching.unmatched import with_reasons
from sli.planning.needs import RECOMPUTE, Needs, lacks
from sli.planning.new_rows import NewRows
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.planning.stages import Recompute
from sli.planning.tasks import TaskSet
from sli.publishing.delta_tables import Within
from sli.publishing.ids import Ids
from sli.publishing.store import LAYOUT
from sli.publishing.transaction import Transaction
from sli.rollup.results import Pass, newest_hour
from sli.schemas import DAYS, TILES
from sli.slices import SliceBy
from sli.slis import State
from sli.slis.states import CannotAmend, with_states
from sli.tiles.amend import Contributions, contributions
from sli.tiles.audit_delta import amend_audit, audit_rows, changed_audit
from sli.tiles.build import match_and_build
from sli.tiles.delta import changed_tiles, update_tiles
from sli.tiles.replace import changed_intervals, with_filled, with_recomputed

LOG = logging.getLogger("sli")
Progress = Callable[[str, int, int], None]
PlanWith = Callable[[list[Interval]], Plan]
"""The plan of a run if these tiles have to be computed as well."""


@contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """Report the start and the end of a step that has no count."""
    progress(what, 0, 1)
    yield
    progress(what, 1, 1)


class TooLarge(Exception):
    """Tasks ran out of memory. `error` is raised if smaller tasks do so, too."""

    def __init__(self, error: OutOfMemory) -> None:
        super().__init__("too large")
        self.error = error


@dataclass(frozen=True)
class HourTiles:
    """Hour tiles after a run's work, and the plan with what the work showed.

    `only` names the local days whose tiles are here (None: all days), `touched` the days to write.
    """

    plan: Plan
    tiles: pa.Table
    touched: set[str]
    only: set[str] | None = None


@dataclass(frozen=True)
class StoredTiles:
    """The published tiles, with the states and slices that are still declared, and the audit.

    If the config dropped a state and declares it again, the stored state is not used: runs in between did not update
    it.
    """

    slice_sets: Sequence[SliceBy]
    states: Mapping[str, State]
    transaction: Transaction

    def hours_before(self, plan: Plan) -> pa.Table:
        """The hour tiles that a run changes; none if it starts from scratch."""
        if self.transaction.published is None or plan.from_scratch:
            return TILES.empty_table()
        return self._rows("tiles", [])

    def days_before(self, plan: Plan) -> pa.Table:
        """The day tiles that a run changes; none if it starts from scratch."""
        if self.transaction.published is None or plan.from_scratch:
            return DAYS.empty_table()
        return self._rows("days", [])

    def hours_of(self, days: set[str]) -> pa.Table:
        """The hour tiles of some local days."""
        return self._rows("tiles", [("day", "in", sorted(days))]) if days else TILES.empty_table()

    def _rows(self, name: str, within: Within) -> pa.Table:
        published = self.transaction.published
        assert published is not None
        columns = {*LAYOUT[name][0].names, *(state for state in self.states if state in published.states)}
        kept = [",".join(columns) for columns in self.slice_sets if columns in published.slice_sets]
        for_audit = pc.field("span").isin(["pairs", "feedback"])
        only = for_audit | pc.field("slice_by").isin(pa.array(kept, pa.string()))
        return self.transaction.rows(name, columns, only, within)


def unchanged_tiles(config: Config, plan: Plan) -> HourTiles:
    """The tiles of a plan that changes none: no stored tile is read."""
    return HourTiles(plan, with_states(TILES.empty_table(), config.states), set(), set())


def recompute_tiles(
    config: Config,
    transaction: Transaction,
    plan: Plan,
    ids: Ids,
    plan_with: PlanWith,
    progress: Progress,
) -> HourTiles:
    """Recompute the tiles of a plan from all their pairs.

    Raises TooLarge where tasks run out of memory, and UnreadableFiles.
    """
    before = StoredTiles(config.slice_sets, config.states, transaction).hours_before(plan)
    try:
        with step(progress, "looking for repeated ids"):
            plan, losing = _find_losers(config, plan, ids, before, plan_with)
        tiles, held = _carry_out(config, transaction.published, plan, before, losing, progress)
    except OutOfMemory as error:
        raise TooLarge(error) from error
    changed = _changed_tiles(config.states, config.tile, transaction.published, plan, before, tiles)
    plan = plan.after_tiles(changed, held)
    with step(progress, "looking for the predictions of unmatched feedback"):
        tiles, reclassified = with_reasons(config, lambda: ids.both[0], ids.near, plan.as_of, tiles)
    return HourTiles(plan, tiles, _touched_days(plan, before, tiles) | reclassified)


def _carry_out(
    config: Config, published: Published | None, plan: Plan, before: pa.Table, losing: pa.Table, progress: Progress
) -> tuple[pa.Table, list[Interval]]:
    """The tiles after the stages of a plan, and the final tiles that are held; `before` are the tiles before them."""
    tiles, held = before, list[Interval]()
    for stage in plan.task_stages:
        computed = _match(config, stage.task_set, losing, plan.as_of, progress)
        if isinstance(stage, Recompute):
            tiles, held = with_recomputed(config.tile, tiles, computed, stage, published)
        else:
            tiles = with_filled(before, tiles, computed, stage.task_set)
    return with_states(tiles, config.states), held


def _touched_days(plan: Plan, before: pa.Table, tiles: pa.Table) -> set[str]:
    """Local days whose tiles a run recomputed, filled or removed; `before` are the tiles it began with."""
    if plan.from_scratch:
        return _days_of(tiles)
    tasks = (task for task_set in plan.task_sets for task in task_set.tasks)
    touched = [interval for task in tasks for interval in (*task.prediction_tiles, *task.feedback_tiles)]
    days: set[str] = set()
    for rows in (before, tiles):
        starts = rows.column("start").cast(pa.int64()).to_numpy()
        days |= _days_of(rows.select(["day"]).filter(pa.array(meets_any(starts, starts + 1, touched))))
    return days


def _days_of(rows: pa.Table) -> set[str]:
    return {str(day) for day in pc.unique(rows.column("day")).to_pylist()}


def _changed_tiles(
    states: Mapping[str, State], tile: int, published: Published | None, plan: Plan, before: pa.Table, tiles: pa.Table
) -> list[Interval]:
    """The recomputed tiles whose windows may change: their states changed, or windows waited for them."""
    if published is None or plan.from_scratch:
        return list(plan.to_recompute)
    waited = intersection(published.needs.of(RECOMPUTE, *map(lacks, published.needs.states)), plan.to_recompute)
    return [*changed_intervals(states, tile, before, tiles, plan.to_recompute), *waited]


def amend_tiles(
    config: Config, transaction: Transaction, plan: Plan, new_rows: NewRows, ids: Ids, progress: Progress
) -> HourTiles:
    """Change the tiles only by the new rows. Raises CannotAmend if tiles cannot be amended."""
    try:
        with within_memory("new rows"):
            return _amend_by_new_rows(config, transaction, plan, new_rows, ids, progress)
    except OutOfMemory as error:
        LOG.warning("amending needs more than `memory:`, so its hours are recomputed (%s)", error.found)
        raise CannotAmend from error


def _amend_by_new_rows(
    config: Config, transaction: Transaction, plan: Plan, new_rows: NewRows, ids: Ids, progress: Progress
) -> HourTiles:
    # In this process even if the config asks for a cluster: starting one would take longer.
    spec = Spec.of(config, plan.as_of, config.states, plan.cells.slice_sets, config.parallel)
    pairs = contributions(new_rows, spec, ids.both)
    progress("matching", 1, 1)
    rows = changed_tiles(pairs.before, pairs.after, config.states)
    tiles, touched, held = _amend(config, transaction, plan, pairs, rows, [])
    if held:
        rows = rows.filter(pa.array(~_lie_in(rows, held)))
        tiles, touched, _ = _amend(config, transaction, plan, pairs, rows, held)
    changed = _tiles_at(config.tile, rows)
    exact = replace(plan, does=Needs({RECOMPUTE: changed})).after_tiles(changed, held)
    return HourTiles(exact, with_states(tiles, config.states), touched, touched)


def _amend(
    config: Config, transaction: Transaction, plan: Plan, pairs: Contributions, rows: pa.Table, held: Sequence[Interval]
) -> tuple[pa.Table, set[str], list[Interval]]:
    """Amend the tiles of `rows`, and their audit.

    Returns the tiles, the days touched, and the final tiles that changed. Tiles in `held` stay as they
    are. Raises CannotAmend.
    """
    before, after = (audit_rows(tiles, held) for tiles in (pairs.before, pairs.after))
    audit_days = changed_audit(before, after)
    # A tile that was held before never counted some of the rows, so they cannot be subtracted from it.
    audit_days_unheld = changed_audit(
        *(audit_rows(tiles, [*plan.held, *held]) for tiles in (pairs.before, pairs.after))
    )
    if intersection(_tiles_at(config.tile, rows), plan.held) or audit_days != audit_days_unheld:
        raise CannotAmend
    touched = {*_days_of(rows), *audit_days.values()}
    stored = with_states(StoredTiles(config.slice_sets, config.states, transaction).hours_of(touched), config.states)
    audit = amend_audit(audit_rows(stored, ()), before, after, audit_days)
    tiles = update_tiles(config, stored, pairs.before, pairs.after, rows, audit, audit_days)
    final = [Interval(BEGINNING, plan.final_before)]
    if not _lie_in(rows, final).any():
        return tiles, touched, []
    # A changed pair may leave its tile as it was, for example if another pair has the minimum.
    differs = changed_tiles(stored, tiles, config.states)
    return tiles, touched, intersection(_tiles_at(config.tile, differs), final)


def _lie_in(rows: pa.Table, tiles: Sequence[Interval]) -> np.ndarray:
    """Whether each row belongs to one of these tiles."""
    starts = rows.column("start").cast(pa.int64()).to_numpy()
    return meets_any(starts, starts + 1, tiles)


def _tiles_at(tile: int, rows: pa.Table) -> list[Interval]:
    starts = np.unique(rows.column("start").cast(pa.int64()).to_numpy()).tolist()
    return union(Interval(start, start + tile) for start in starts)


def newest_end(stored: StoredTiles, zone: Zone, since: int, hours: HourTiles, days: pa.Table) -> int:
    """End of the newest hour with predictions. It may lie before the published one if predictions were removed."""
    if hours.only is None:
        return newest_hour(since, zone, hours.tiles)
    last = pc.max(days.filter(pc.equal(days.column("span"), pa.scalar("tile"))).column("day")).as_py()
    tiles = hours.tiles if last is None or last in hours.only else stored.hours_of({last})
    return newest_hour(since, zone, tiles)


def with_edges(
    stored: StoredTiles, zone: Zone, since: int, hours: HourTiles, passes: Sequence[Pass], newest: int
) -> pa.Table:
    """The hour tiles that the passes need. They include days in the middle of which a window begins or ends."""
    if hours.only is None:
        return hours.tiles
    edges = [np.array([], dtype=np.int64)]
    for pass_ in passes:
        references = [sli.reference for sli in pass_.slis if sli.reference is not None]
        for grain, starts, ends in pass_.windows(zone, since, newest):
            edges += [starts, ends]
            if any(reference.kind == "previous" for reference in references):
                edges.append(grain.before(zone, starts, ends))
        edges += [np.array([r.interval.start, r.interval.end]) for r in references if r.interval is not None]
    days = {zone.date(int(at)) for at in np.unique(np.concatenate(edges)) if at != zone.midnight(zone.date(int(at)))}
    more = stored.hours_of({day.isoformat() for day in days} - hours.only)
    return pa.concat_tables([hours.tiles, more], promote_options="permissive")


def _find_losers(config: Config, plan: Plan, ids: Ids, before: pa.Table, plan_with: PlanWith) -> tuple[Plan, pa.Table]:
    """Find the predictions that lose to one in another tile; add the tiles where that changed to the plan."""
    published = published_losers(before, config.tile)
    if not ids.near or (not len(published) and one_task_sees_all(plan)):
        return plan, published
    now = find_losers(config, ids.both[0], ids.near, plan.as_of, published)
    moved = [] if plan.from_scratch else differing_tiles(now, published, config.tile)
    return plan_with(moved) if moved else plan, now


def _match(config: Config, task_set: TaskSet, losing: pa.Table, as_of: int, progress: Progress) -> pa.Table:
    # Without a cluster, tasks run one after another with all threads; so they can be fewer and read less twice.
    threads = config.parallel if config.dask == "in-process" else 1
    spec = Spec.of(config, as_of, task_set.states, task_set.slice_sets, threads)
    done = functools.partial(progress, "matching")
    if task_set.shuffle:
        from sli.tiles.shuffle import shuffle_and_build  # imports pandas, which most runs do not need

        tiles = shuffle_and_build(config, task_set, spec, losing, done)
    else:
        tiles = execute(
            config, [functools.partial(match_and_build, work, spec, losing) for work in task_set.tasks], done
        )
    return pa.concat_tables(tiles, promote_options="permissive")
