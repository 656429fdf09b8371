"""The stage of a run that rolls up windows: its days, its windows, and how they differ from the published ones.

SLIs with the same windows to roll up are one group, so their states are merged once. Results are rolled up, compared
and put on disk by stretches of days of a grain. Limit: the results of one day of a grain are in memory at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import END
from sli.engine.connection import within_memory
from sli.matching.unmatched import with_reasons
from sli.planning.extent import Extent
from sli.planning.plan import Plan
from sli.planning.stages import RollUp
from sli.publishing.conflicts import new_conflicts
from sli.publishing.diff import Difference, Pair, Scope, difference, nothing_published
from sli.publishing.history import rows_known_at
from sli.publishing.parquet_files import Partition
from sli.publishing.rows import decode_texts, flat_rows, text_counts
from sli.rollup.days import update_days
from sli.rollup.evaluate import Evaluation
from sli.rollup.reference import reference_tables
from sli.rollup.results import NOTHING, newest_hour, roll_up, tile_tables
from sli.runs.known import Known, Work, step
from sli.runs.outcome import failing_slis
from sli.runs.stretches import Stretch, Windows, stretches_of
from sli.schemas import RESULTS
from sli.slis import Sli
from sli.slis.states import with_states

SlisAndWindows = Sequence[tuple[tuple[Sli, ...], Sequence[Windows]]]
"""SLIs with the windows to roll up for them."""


def roll_up_windows(work: Work, stage: RollUp, known: Known) -> Known:
    """Roll up the windows that may have changed, and compare them with the published ones. Raises SliError."""
    config, plan, published = work.config, known.plan, work.transaction.published
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
    tiles = _with_edges(work, known, rolled_up)
    changes = _changes(work, replace(known, tiles=tiles), rolled_up, reached)
    failing = failing_slis(config.declared, config.min_support, changes)
    outcome = replace(known.outcome, changes=changes, results=changes.results, failing=failing)
    return replace(known, outcome=outcome, tiles=tiles)


def _with_days(work: Work, known: Known) -> Known:
    """What is known once unmatched feedback has its reasons, and the hours of each day are added up."""
    config, plan, touched = work.config, known.plan, known.touched
    tiles = with_states(known.tiles, config.states)
    if known.only is None:
        with step(work.progress, "looking for the predictions of unmatched feedback"):
            tiles, changed = with_reasons(config, lambda: work.ids.both[0], work.ids.near, plan.as_of, tiles)
            touched = touched | changed
    with step(work.progress, "adding up days"), within_memory("the adding up of days"):
        before = work.stored(plan, "days")
        days = update_days(config, before, tiles, touched)
    conflicts = new_conflicts(config.max_conflicts, config.slice_sets, before, days, touched)
    # The newest hour may lie before the published one if predictions were removed.
    last = pc.max(days.filter(pc.equal(days.column("span"), pa.scalar("tile"))).column("day")).as_py()
    here = known.only is None or last is None or last in known.only
    newest = newest_hour(config.since_instant, config.zone, tiles if here else work.hours_of(plan, {last}))
    outcome = replace(known.outcome, conflicts=conflicts)
    return replace(known, outcome=outcome, tiles=tiles, touched=touched, days=days, newest=newest)


def _with_edges(work: Work, known: Known, rolled_up: SlisAndWindows) -> pa.Table:
    """The hour tiles that the windows need. They include days in the middle of which a window begins or ends."""
    if known.only is None:
        return known.tiles
    zone, edges = work.config.zone, [np.array([], dtype=np.int64)]
    for slis, windows in rolled_up:
        references = [sli.reference for sli in slis if sli.reference is not None]
        for grain, starts, ends in windows:
            edges += [starts, ends]
            if any(reference.kind == "previous" for reference in references):
                edges.append(grain.before(zone, starts, ends))
        edges += [np.array([r.interval.start, r.interval.end]) for r in references if r.interval is not None]
    days = {zone.date(int(at)) for at in np.unique(np.concatenate(edges)) if at != zone.midnight(zone.date(int(at)))}
    more = work.hours_of(known.plan, {day.isoformat() for day in days} - known.only)
    return pa.concat_tables([known.tiles, more], promote_options="permissive")


def _changes(work: Work, known: Known, rolled_up: SlisAndWindows, reached: int) -> Difference:
    """What the windows change of the published results."""
    config, plan = work.config, known.plan
    before = _known_at(work, plan) if plan.older else _published(work, known)
    plan = replace(plan, published=before.extent)
    references = reference_tables(config, [sli for slis, _ in rolled_up for sli in slis], work.inputs.predictions)
    tables = tile_tables(config.zone, known.tiles, known.days, references)
    with ExitStack() as stack:
        groups = [
            (stack.enter_context(Evaluation(config, tables, slis, config.caps)), windows) for slis, windows in rolled_up
        ]
        stretches = stretches_of(config, groups, before.sizes)
        changes = difference(_pairs(work, plan.as_of, stretches, before), Scope(config, plan, reached))
    work.progress("comparing", 1, 1)
    return changes


def _pairs(work: Work, as_of: int, stretches: Sequence[Stretch], before: Before) -> Iterator[Pair]:
    """The published and the new rows of each stretch."""
    finished, total = 0, sum(stretch.windows for stretch in stretches)

    def done(windows: int) -> None:
        nonlocal finished
        finished += windows
        work.progress("rolling up", finished, total)

    for stretch in stretches:
        new = [rows for part, windows in stretch.parts for rows in roll_up(part, *windows, as_of, done)]
        if stretch is stretches[-1]:
            work.progress("comparing", 0, 1)
        yield before.read(stretch.grain, stretch.first, stretch.last), pa.concat_tables(new or [NOTHING])


@dataclass(frozen=True)
class Before:
    """The results to compare with, as flat rows that are read when they are needed."""

    sizes: Mapping[Partition, int]
    """How many there are of each grain and day."""
    read: Callable[[str, str, str], pa.Table]
    """Reads those of a grain, from one day to another."""
    extent: Extent


def _published(work: Work, known: Known) -> Before:
    """The published results, of the days on which any may change."""
    config, plan, transaction = work.config, known.plan, work.transaction
    earliest, published = plan.roll_up.earliest, transaction.published
    if published is None:
        return Before({}, lambda *_: nothing_published(), plan.published)
    first = ""
    if earliest is not None and not plan.gone:
        instant = max(min(known.newest, published.newest, earliest), config.since_instant) - 1
        first = config.zone.date(instant).isoformat()

    def read(grain: str, begin: str, end: str) -> pa.Table:
        within = [("grain", "=", grain), ("day", ">=", begin), ("day", "<=", end)]
        return flat_rows(transaction.rows("results", RESULTS.names, within=within))

    sizes = {partition: rows for partition, rows in transaction.sizes("results").items() if partition[1] >= first}
    return Before(sizes, read, plan.published)


def _known_at(work: Work, plan: Plan) -> Before:
    """The results as they were known at the as_of of a plan; all of them are in memory."""
    rows = rows_known_at(work.transaction.store, work.transaction.published, plan.as_of)
    series = decode_texts(rows).group_by(["sli", "definition"]).aggregate([]).to_pylist()
    grains, slice_sets = (tuple(sorted(text_counts(rows.column(name)))) for name in ("grain", "slice_by"))
    extent = Extent(
        {row["sli"]: row["definition"] for row in series},
        # Those of the plan, since they change no value.
        plan.extent.objectives if series else {},
        grains,
        tuple(tuple(filter(None, columns.split(","))) for columns in slice_sets),
    )

    def read(grain: str, begin: str, end: str) -> pa.Table:
        day = pc.field("day")
        return rows.filter((pc.field("grain") == grain) & (day >= begin) & (day <= end))

    partitions = zip(rows.column("grain").to_pylist(), rows.column("day").to_pylist(), strict=True)
    sizes: Counter[Partition] = Counter((str(grain), str(day)) for grain, day in partitions)
    return Before(sizes, read, extent)
