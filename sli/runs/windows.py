"""The stage of a run that rolls up windows: its tiles on disk, its days, its windows, and what these change.

SLIs with the same windows to roll up are one group, so their states are merged once. Windows are rolled up, compared
and written by stretches, which are tasks: of a cluster if there is one and more than one stretch.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from sli.calendar.interval import END
from sli.config.model import Config
from sli.engine.connection import within_memory
from sli.errors import OutOfMemory, StoreError
from sli.matching.execute import execute, in_process
from sli.matching.unmatched import with_reasons
from sli.planning.stages import RollUp
from sli.publishing.diff import Difference, Scope
from sli.publishing.history import later_as_of
from sli.publishing.parquet_files import Partition
from sli.publishing.published_rows import PublishedRows, known_then
from sli.rollup.reference import reference_tables
from sli.runs.known import Known, Work, step
from sli.runs.on_disk import computed_on_disk
from sli.runs.outcome import failing_slis
from sli.runs.rolled_up import RollUpTask
from sli.runs.stretches import SliceCounts, SlisAndWindows, Stretch, stretches_of

LOG = logging.getLogger("sli.cluster")
ENOUGH = 1 << 30
"""Stretches are rolled up beside each other only if each may take so many bytes."""


def roll_up_windows(work: Work, stage: RollUp, known: Known) -> Known:
    """Roll up the windows that may have changed, and compare them with the published ones. Raises SliError."""
    config, plan, published = work.config, known.plan, work.transaction.published
    if known.hours is None:
        known = _with_days(work, known)
    newest, reached = known.newest, known.newest
    if published is not None and not plan.from_scratch:
        # If the newest hour is the same, no window reaches further than before.
        reached = END if newest == published.newest else min(newest, published.newest)
    rolled_up = [
        (
            tuple(sli for sli in config.declared if sli.name in group.slis),
            list(stage.windows(config, group, newest, reached)),
        )
        for group in stage.groups
    ]
    changes = _changes(work, known, rolled_up, reached)
    failing = failing_slis(config.declared, config.min_support, changes.reasons)
    outcome = replace(known.outcome, changes=changes, results=changes.count, failing=failing)
    return replace(known, outcome=outcome)


def _with_days(work: Work, known: Known) -> Known:
    """What is known once unmatched feedback has its reasons, and the tiles of hours and of whole days are on disk."""
    if len(known.tiles):
        with step(work.progress, "looking for the predictions of unmatched feedback"):
            ids = work.ids
            tiles, changed = with_reasons(work.config, lambda: ids.both[0], ids.near, known.plan.as_of, known.tiles)
        known = replace(known, tiles=tiles, touched=known.touched | changed)
    with step(work.progress, "adding up days"), within_memory("the adding up of days"):
        return computed_on_disk(work, known)


def _changes(work: Work, known: Known, rolled_up: SlisAndWindows, reached: int) -> Difference:
    """What the windows change of the published results."""
    config, plan, transaction = work.config, known.plan, work.transaction
    store, published = transaction.store, transaction.published
    assert known.hours is not None
    assert known.days is not None
    later = None
    if plan.older:
        extent, sizes = known_then(store, published, plan)
        later = later_as_of(store, published, plan.as_of)
    else:
        extent, sizes = plan.published, _sizes(work, known)
    stretches = stretches_of(config, rolled_up, SliceCounts.of(known.audit_days), sizes)
    # What the days before took is free, but still held.
    pa.default_memory_pool().release_unused()
    # A few results are rolled up sooner than a cluster starts.
    here = config.dask == "in-process" or len(stretches) < 2
    backfill = plan.request.backfill
    shared = RollUpTask(
        scope=Scope.of(config, replace(plan, published=extent), reached),
        slis=tuple(tuple(sli.name for sli in slis) for slis, _ in rolled_up),
        hours=known.hours,
        days=known.days,
        references=reference_tables(config, [sli for slis, _ in rolled_up for sli in slis], work.inputs.predictions),
        before=PublishedRows(
            store=store,
            published=published,
            table=None if published is None else transaction.table_to_read("results"),
            as_of=plan.as_of if plan.older else None,
        ),
        changed=None if plan.from_scratch else known.changed,
        later=later,
        results=transaction.place("results"),
        revisions=transaction.place("revisions"),
        stamp={"sequence": transaction.sequence, "backfill": backfill.id if backfill else None},
        threads=config.parallel if here else 1,
    )
    at_once = _at_once(config, rolled_up, len(stretches)) if here else 1
    parts = _rolled_up(work, shared, stretches, here, at_once)
    with step(work.progress, "comparing"):
        return _together(work, parts)


def _at_once(config: Config, rolled_up: SlisAndWindows, stretches: int) -> int:
    """How many stretches are rolled up at once in this process, each with a thread and an equal part of the memory."""
    if any(sli.formula.calls_function for slis, _ in rolled_up for sli in slis):
        return 1  # calls of functions are counted for one stretch after another
    return max(1, min(stretches, config.parallel, config.task_memory // ENOUGH))


def _rolled_up(
    work: Work, shared: RollUpTask, stretches: Sequence[Stretch], here: bool, at_once: int
) -> Sequence[Difference]:
    """What each stretch changes: rolled up `here`, or on workers if these can use the store."""
    report = functools.partial(work.progress, "rolling up")
    counted = _Counted(report, sum(stretch.windows for stretch in stretches))
    tasks = [functools.partial(shared, stretch, counted) for stretch in stretches]
    if at_once > 1:
        return _beside_each_other(work, shared, stretches, counted, at_once)
    if not here:
        try:
            return execute(work.config, tasks, report, work.take_over)
        except StoreError as error:
            LOG.warning("workers cannot use the store, so this process rolls up: %s", error.found or error.what)
    return in_process(tasks, _nothing, work.take_over)


def _beside_each_other(
    work: Work, shared: RollUpTask, stretches: Sequence[Stretch], counted: _Counted, at_once: int
) -> Sequence[Difference]:
    """What each stretch changes, so many rolled up at once; then one by one those that need all of the memory."""
    part = shared.beside(at_once)

    def one(stretch: Stretch) -> Difference | None:
        try:
            return part(stretch, counted)
        except OutOfMemory:
            return None

    def take_over(changes: Difference | None) -> None:
        if changes is not None:
            work.take_over(changes)

    found = in_process([functools.partial(one, stretch) for stretch in stretches], _nothing, take_over, at_once)
    large = [stretch for stretch, changes in zip(stretches, found, strict=True) if changes is None]
    alone = iter(
        in_process([functools.partial(shared, stretch, _nothing) for stretch in large], _nothing, work.take_over)
    )
    return [next(alone) if changes is None else changes for changes in found]


class _Counted:
    """Reports how many windows are finished; a copy of it in another process reports nothing."""

    def __init__(self, report: Callable[[int, int], None], total: int) -> None:
        self.report, self.total, self.finished = report, total, 0
        self.one_by_one = threading.Lock()

    def __call__(self, windows: int) -> None:
        with self.one_by_one:
            self.finished += windows
            self.report(self.finished, self.total)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _Counted, (_nothing, 0)


def _nothing(*_: int) -> None:
    """A report to nobody."""


def _together(work: Work, parts: Sequence[Difference]) -> Difference:
    """What all stretches change. A partition of several of them is replaced once something in one of them changed."""
    changed = frozenset[Partition]().union(*(part.partitions for part in parts))
    whole = Difference()
    for part in parts:
        if part.unchanged <= changed:
            whole = whole.and_then(part)
        else:
            work.transaction.discard("results", part.results)
    return whole


def _sizes(work: Work, known: Known) -> Mapping[Partition, int]:
    """How many results are published of each grain and day on which any may change."""
    earliest, published = known.plan.roll_up.earliest, work.transaction.published
    if published is None:
        return {}
    first = ""
    if earliest is not None and not known.plan.gone:
        instant = max(min(known.newest, published.newest, earliest), work.config.since_instant) - 1
        first = work.config.zone.date(instant).isoformat()
    return {partition: rows for partition, rows in work.transaction.sizes("results").items() if partition[1] >= first}
