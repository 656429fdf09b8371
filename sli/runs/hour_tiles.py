"""The stages of a run that compute hour tiles from pairs: tiles are recomputed, or filled with what they lack.

Their states stay in files: what changed is found in outlines, and tiles are merged when they are put on disk. Limit:
their other columns are in memory, of the days that the plan names, and what all other days have for the audit.
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
from sli.masking import masked
from sli.matching.execute import execute
from sli.matching.other_tiles import differing_tiles, find_losers, one_task_sees_all, published_losers
from sli.matching.spec import Spec
from sli.planning.needs import RECOMPUTE, lacks
from sli.planning.plan import Plan
from sli.planning.stages import Fill, Recompute
from sli.planning.tasks import Task, TaskSet
from sli.publishing.tile_rows import of_pairs
from sli.publishing.transaction import FEW_BYTES
from sli.rollup.evaluate import states_of
from sli.runs.built import BuiltTiles, Computed, TileWriter, marked
from sli.runs.known import Known, Merge, TooLarge, Work, step
from sli.runs.outcome import Outcome
from sli.schemas import TILES
from sli.tiles.build import match_and_build
from sli.tiles.replace import (
    CELLS,
    changed_cells,
    changed_intervals,
    find_held,
    outline,
    with_filled,
    with_recomputed,
)

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
        return Known(outcome=outcome, tiles=TILES.empty_table())
    stored = work.stored(plan, "tiles")
    audit = stored.rows(columns=TILES.names, only=~of_pairs())
    with step(work.progress, "looking for repeated ids"):
        losing = published = published_losers(audit, config.tile)
        if ids.near and (len(published) or not one_task_sees_all(plan)):
            losing = find_losers(ids.both[0], ids.near, plan.as_of, published)
        if not plan.from_scratch and (moved := differing_tiles(losing, published, config.tile)):
            outcome = replace(outcome, plan=plan_with(moved))
    near = [("day", "in", sorted(work.days_meeting(outcome.plan)))]
    before = pa.concat_tables([audit, stored.rows(near, columns=TILES.names, only=of_pairs())])
    return Known(outcome=outcome, tiles=before, losing=losing)


@_in_tasks()
def recompute_tiles(work: Work, stage: Recompute, known: Known) -> Known:
    """Replace tiles by those of all their pairs; final ones that would change are held.

    Raises TooLarge where tasks run out of memory, and UnreadableFiles.
    """
    config, published = work.config, work.transaction.published
    built, computed = _match(work, stage.task_set, known)
    stored = _stored_outline(work, known, stage.task_set)
    held = find_held(config.tile, stored, built, stage, published)
    merged = functools.partial(with_recomputed, stage=stage, held=held)
    changed = list(stage.tiles)
    if published is not None and not known.plan.from_scratch:
        # Windows waited for some of the tiles.
        waited = published.needs.of(RECOMPUTE, *map(lacks, published.needs.states))
        after = merged(stored, built)
        changed = changed_intervals(config.states, config.tile, stored, after, stage.tiles)
        changed += intersection(waited, stage.tiles)
        if functions := states_of(sli for sli in config.declared if sli.formula.calls_function):
            cells = changed_cells(functions, stored, after, stage.tiles)
            known = replace(known, changed=known.changed.also(cells, waited))
    outcome = replace(known.outcome, plan=known.plan.after_tiles(changed, held))
    return _with_tiles(replace(known, outcome=outcome), stage.task_set, built, Merge(computed, merged))


@_in_tasks()
def fill_tiles(work: Work, stage: Fill, known: Known) -> Known:
    """Add the states or slices that tiles lack. Raises TooLarge where tasks run out of memory, and UnreadableFiles."""
    built, computed = _match(work, stage.task_set, known)
    published = work.transaction.published
    slice_sets = published.slice_sets if published else ()
    merged = functools.partial(with_filled, task_set=stage.task_set, published=slice_sets)
    known = replace(known, changed=known.changed.also(CELLS.empty_table(), stage.tiles))
    return _with_tiles(known, stage.task_set, built, Merge(computed, merged))


def _match(work: Work, task_set: TaskSet, known: Known) -> tuple[pa.Table, Computed]:
    """The outline of the tiles that the tasks of a set build, and their rows with states."""
    config, place = work.config, work.transaction.place("tiles")
    # Without a cluster, tasks run one after another with all threads; so they can be fewer and read less twice.
    threads = config.parallel if config.dask == "in-process" else 1
    spec = Spec.of(config, known.plan.as_of, task_set.states, task_set.slice_sets, threads)
    done = functools.partial(work.progress, "matching")
    schema = TileWriter.schema_of({name: config.states[name] for name in task_set.states})
    with marked(place, config.dask) as mark:
        writer = TileWriter(place=place, schema=schema, few=FEW_BYTES // task_set.built_by, mark=mark)
        if task_set.shuffle:
            from sli.tiles.shuffle import shuffle_and_build  # imports pandas, which most runs do not need

            built = shuffle_and_build(config, task_set, spec, known.losing, done, writer, work.take_over_tiles)
        else:
            tasks = [functools.partial(_built, task, spec, known.losing, writer) for task in task_set.tasks]
            built = execute(config, tasks, done, work.take_over_tiles)
    if reasons := sorted({tiles.unwritten for tiles in built} - {""}):
        LOG.warning("tasks cannot write tiles to the store, so they send them to this process: %s", masked(reasons[0]))
    outline = pa.concat_tables([tiles.outline for tiles in built], promote_options="permissive")
    return outline, Computed.of(built, place, schema)


def _built(task: Task, spec: Spec, losing: pa.Table, writer: TileWriter) -> BuiltTiles:
    return writer(match_and_build(task, spec, losing))


def _stored_outline(work: Work, known: Known, task_set: TaskSet) -> pa.Table:
    """The outline of the stored tiles of the days that some tasks reach."""
    days = _days_in(known.tiles, _reached(task_set))
    parts = (
        outline(work.hours_of(known.plan, set(some)), work.config.states)
        for some, _ in work.together(known.plan, days, {})
    )
    return pa.concat_tables([TILES.empty_table(), *parts], promote_options="permissive")


def _reached(task_set: TaskSet) -> list[Interval]:
    return [interval for task in task_set.tasks for interval in (*task.prediction_tiles, *task.feedback_tiles)]


def _with_tiles(known: Known, task_set: TaskSet, built: pa.Table, merge: Merge) -> Known:
    """What is known once a stage replaced the tiles: also on which local days its tasks changed, or removed, some."""
    tiles = merge.merged(known.tiles, built.select(TILES.names)).select(TILES.names)
    days = (_days_in(rows, _reached(task_set)) for rows in (known.tiles, tiles))
    return replace(known, tiles=tiles, touched=known.touched.union(*days), computed=(*known.computed, merge))


def _days_in(rows: pa.Table, intervals: Sequence[Interval]) -> set[str]:
    """The local days of the rows in some intervals."""
    starts = rows.column("start").cast(pa.int64()).to_numpy()
    inside = rows.select(["day"]).filter(pa.array(meets_any(starts, starts + 1, intervals)))
    return {str(day) for day in pc.unique(inside.column("day")).to_pylist()}
