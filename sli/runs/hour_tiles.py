"""The stages of a run that change hour tiles: recomputed from all pairs, filled, or amended by new rows.

Limit: a recompute has all stored tiles in memory; to amend, only the stored tiles of the same days.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import BEGINNING, Interval, intersection, meets_any, union
from sli.engine.connection import within_memory
from sli.errors import OutOfMemory
from sli.matching.execute import execute
from sli.matching.other_tiles import differing_tiles, find_losers, one_task_sees_all, published_losers
from sli.matching.spec import Spec
from sli.planning.late_feedback import Horizon
from sli.planning.needs import RECOMPUTE, lacks
from sli.planning.plan import Plan
from sli.planning.stages import Amend, Fill, Recompute
from sli.planning.tasks import TaskSet
from sli.rollup.evaluate import states_of
from sli.runs.known import Known, TooLarge, Work, step
from sli.runs.outcome import Outcome
from sli.schemas import TILES
from sli.slis.states import CannotAmend, with_states
from sli.tiles.amend import Contributions, contributions
from sli.tiles.audit_delta import amend_audit, audit_rows, changed_audit
from sli.tiles.build import match_and_build
from sli.tiles.delta import changed_tiles, update_tiles
from sli.tiles.replace import CELLS, changed_cells, changed_intervals, with_filled, with_recomputed

LOG = logging.getLogger("sli")


@contextmanager
def _in_tasks() -> Iterator[None]:
    try:
        yield
    except OutOfMemory as error:
        raise TooLarge(error) from error


@_in_tasks()
def known_before(work: Work, outcome: Outcome, plan_with: Callable[[list[Interval]], Plan]) -> Known:
    """What is known before the first stage: the stored tiles, if tasks change them, and which predictions lose.

    If other predictions lose than when they were published, the plan is made again `plan_with` their tiles. Raises
    TooLarge, and UnreadableFiles.
    """
    config, ids, plan = work.config, work.ids, outcome.plan
    looks_all_up = plan.migration is not None and plan.migration.looks_ids_up
    if not plan.task_sets and not plan.from_scratch and not looks_all_up:
        return Known(outcome=outcome, tiles=TILES.empty_table(), only=set())
    before = work.stored(plan, "tiles").rows()
    with step(work.progress, "looking for repeated ids"):
        losing = published = published_losers(before, config.tile)
        if ids.near and (len(published) or not one_task_sees_all(plan)):
            losing = find_losers(ids.both[0], ids.near, plan.as_of, published)
        if not plan.from_scratch and (moved := differing_tiles(losing, published, config.tile)):
            outcome = replace(outcome, plan=plan_with(moved))
    return Known(outcome=outcome, tiles=before, losing=losing)


@_in_tasks()
def recompute_tiles(work: Work, stage: Recompute, known: Known) -> Known:
    """Replace tiles by those of all their pairs; final ones that would change are held.

    Raises TooLarge where tasks run out of memory, and UnreadableFiles.
    """
    config, published = work.config, work.transaction.published
    computed = _match(work, stage.task_set, known)
    tiles, held = with_recomputed(config.tile, known.tiles, computed, stage, published)
    changed = list(stage.tiles)
    if published is not None and not known.plan.from_scratch:
        # Windows waited for some of the tiles.
        waited = published.needs.of(RECOMPUTE, *map(lacks, published.needs.states))
        changed = changed_intervals(config.states, config.tile, known.tiles, tiles, stage.tiles)
        changed += intersection(waited, stage.tiles)
        if functions := states_of(sli for sli in config.declared if sli.formula.calls_function):
            cells = changed_cells(functions, known.tiles, tiles, stage.tiles)
            known = replace(known, changed=known.changed.also(cells, waited))
    outcome = replace(known.outcome, plan=known.plan.after_tiles(changed, held))
    return _with_tiles(replace(known, outcome=outcome), stage.task_set, tiles)


@_in_tasks()
def fill_tiles(work: Work, stage: Fill, known: Known) -> Known:
    """Add the states or slices that tiles lack. Raises TooLarge where tasks run out of memory, and UnreadableFiles."""
    computed = _match(work, stage.task_set, known)
    published = work.transaction.published
    tiles = with_filled(known.tiles, computed, stage.task_set, published.slice_sets if published else ())
    known = replace(known, changed=known.changed.also(CELLS.empty_table(), stage.tiles))
    return _with_tiles(known, stage.task_set, tiles)


def _match(work: Work, task_set: TaskSet, known: Known) -> pa.Table:
    config = work.config
    # Without a cluster, tasks run one after another with all threads; so they can be fewer and read less twice.
    threads = config.parallel if config.dask == "in-process" else 1
    spec = Spec.of(config, known.plan.as_of, task_set.states, task_set.slice_sets, threads)
    done = functools.partial(work.progress, "matching")
    if task_set.shuffle:
        from sli.tiles.shuffle import shuffle_and_build  # imports pandas, which most runs do not need

        tiles = shuffle_and_build(config, task_set, spec, known.losing, done)
    else:
        tasks = [functools.partial(match_and_build, task, spec, known.losing) for task in task_set.tasks]
        tiles = execute(config, tasks, done)
    return pa.concat_tables(tiles, promote_options="permissive")


def _with_tiles(known: Known, task_set: TaskSet, tiles: pa.Table) -> Known:
    """What is known once a stage replaced the tiles: also on which local days its tasks changed, or removed, some."""
    reached = [interval for task in task_set.tasks for interval in (*task.prediction_tiles, *task.feedback_tiles)]
    days = [_days_of(rows.select(["day"]).filter(pa.array(_lie_in(rows, reached)))) for rows in (known.tiles, tiles)]
    return replace(known, tiles=tiles, touched=known.touched.union(*days))


def _days_of(rows: pa.Table) -> set[str]:
    return {str(day) for day in pc.unique(rows.column("day")).to_pylist()}


def amend_tiles(work: Work, stage: Amend, known: Known) -> Known:
    """Change the tiles only by the new rows. Raises CannotAmend if tiles cannot be amended."""
    try:
        with within_memory("new rows"):
            return _amend_by_new_rows(work, stage, known)
    except OutOfMemory as error:
        LOG.warning("amending needs more than `memory:`, so its hours are recomputed (%s)", error.found)
        raise CannotAmend from error


def _amend_by_new_rows(work: Work, stage: Amend, known: Known) -> Known:
    config, plan = work.config, known.plan
    # In this process even if the config asks for a cluster: starting one would take longer.
    spec = Spec.of(config, plan.as_of, config.states, plan.extent.slice_sets, config.parallel)
    pairs = contributions(stage.new_rows, spec, work.ids.both)
    work.progress("matching", 1, 1)
    rows = changed_tiles(pairs.before, pairs.after, config.states)
    tiles, touched, held = _amend(work, plan, pairs, rows, [])
    if held:
        rows = rows.filter(pa.array(~_lie_in(rows, held)))
        tiles, touched, _ = _amend(work, plan, pairs, rows, held)
    outcome = replace(known.outcome, plan=plan.after_tiles(_tiles_at(config.tile, rows), held))
    changed = known.changed.also(rows.select(CELLS.names).cast(CELLS), [])
    return replace(known, outcome=outcome, tiles=tiles, touched=touched, only=touched, changed=changed)


def _amend(
    work: Work, plan: Plan, pairs: Contributions, rows: pa.Table, held: Sequence[Interval]
) -> tuple[pa.Table, set[str], list[Interval]]:
    """Amend the tiles of `rows`, and their audit.

    Returns the tiles, the days touched, and the final tiles that changed. Tiles in `held` stay as they
    are. Raises CannotAmend.
    """
    config, published = work.config, work.transaction.published
    before, after = (audit_rows(tiles, held) for tiles in (pairs.before, pairs.after))
    audit_days = changed_audit(before, after)
    # A tile that was held before never counted some of the rows, so they cannot be subtracted from it.
    audit_days_unheld = changed_audit(
        *(audit_rows(tiles, [*plan.held, *held]) for tiles in (pairs.before, pairs.after))
    )
    if intersection(_tiles_at(config.tile, rows), plan.held) or audit_days != audit_days_unheld:
        raise CannotAmend
    touched = {*_days_of(rows), *audit_days.values()}
    stored = with_states(work.hours_of(plan, touched), config.states)
    audit = amend_audit(audit_rows(stored, ()), before, after, audit_days)
    tiles = update_tiles(config, stored, pairs.before, pairs.after, rows, audit, audit_days)
    assert published is not None
    final = [Interval(BEGINNING, Horizon.of(config).final_before(published.as_of, config.tile))]
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
