"""The stages of a run that compute hour tiles from pairs: tiles are recomputed, or filled with what they lack.

Limit: the stored tiles of all days that the plan names are in memory, and what all other days have for the audit.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Interval, intersection, meets_any
from sli.errors import OutOfMemory
from sli.matching.execute import execute
from sli.matching.other_tiles import differing_tiles, find_losers, one_task_sees_all, published_losers
from sli.matching.spec import Spec
from sli.planning.needs import RECOMPUTE, lacks
from sli.planning.plan import Plan
from sli.planning.stages import Fill, Recompute
from sli.planning.tasks import TaskSet
from sli.rollup.evaluate import states_of
from sli.runs.known import Known, TooLarge, Work, of_pairs, step
from sli.runs.outcome import Outcome
from sli.schemas import TILES
from sli.tiles.build import match_and_build
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
        return Known(outcome=outcome, tiles=TILES.empty_table(), in_memory=False)
    stored = work.stored(plan, "tiles")
    audit = stored.rows(columns=TILES.names, only=~of_pairs())
    with step(work.progress, "looking for repeated ids"):
        losing = published = published_losers(audit, config.tile)
        if ids.near and (len(published) or not one_task_sees_all(plan)):
            losing = find_losers(ids.both[0], ids.near, plan.as_of, published)
        if not plan.from_scratch and (moved := differing_tiles(losing, published, config.tile)):
            outcome = replace(outcome, plan=plan_with(moved))
    loaded = work.days_meeting(outcome.plan.intervals)
    before = pa.concat_tables([audit, work.states_of(plan, loaded)], promote_options="permissive")
    return Known(outcome=outcome, tiles=before, loaded=loaded, losing=losing)


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
    days = (_days_in(rows, reached) for rows in (known.tiles, tiles))
    return replace(known, tiles=tiles, touched=known.touched.union(*days))


def _days_in(rows: pa.Table, intervals: Sequence[Interval]) -> set[str]:
    """The local days of the rows in some intervals."""
    starts = rows.column("start").cast(pa.int64()).to_numpy()
    inside = rows.select(["day"]).filter(pa.array(meets_any(starts, starts + 1, intervals)))
    return {str(day) for day in pc.unique(inside.column("day")).to_pylist()}
