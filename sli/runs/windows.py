"""The stage of a run that rolls up windows: its days, its windows, and how they differ from the published ones.

SLIs with the same windows to roll up are one group, so their states are merged once. Limit: all rows of a run's results
are in memory until they are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.grain import Grain
from sli.calendar.interval import END, Instants
from sli.engine.connection import within_memory
from sli.matching.unmatched import with_reasons
from sli.planning.extent import Extent
from sli.planning.plan import Plan
from sli.planning.stages import RollUp
from sli.publishing.conflicts import new_conflicts
from sli.publishing.diff import Difference, ReadRows, Scope, by_grain, difference, published_by_grain
from sli.publishing.history import rows_known_at
from sli.publishing.rows import decode_texts, text_counts
from sli.rollup.days import update_days
from sli.rollup.reference import reference_tables
from sli.rollup.results import newest_hour, roll_up, tile_tables
from sli.runs.known import Known, Work, step
from sli.runs.outcome import failing_slis
from sli.slis import Sli
from sli.slis.states import with_states

SlisAndWindows = Sequence[tuple[tuple[Sli, ...], Sequence[tuple[Grain, Instants, Instants]]]]
"""SLIs with the windows to roll up for them: of each grain the starts and the ends."""


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
    rows = _roll_up(work, replace(known, tiles=tiles), rolled_up)
    with step(work.progress, "comparing"), within_memory("the comparison of results"):
        changes = _compare(work, known, reached, rows)
    failing = failing_slis(config.declared, config.min_support, changes.rows)
    outcome = replace(known.outcome, changes=changes, results=len(changes.rows), failing=failing)
    return replace(known, outcome=outcome, tiles=tiles)


def _with_days(work: Work, known: Known) -> Known:
    """What is known once unmatched feedback has its reasons, and the hours of each day are added up."""
    config, plan, touched = work.config, known.plan, known.touched
    tiles = with_states(known.tiles, config.states)
    if known.only is None:
        with step(work.progress, "looking for the predictions of unmatched feedback"):
            tiles, changed = with_reasons(config, lambda: work.ids.both[0], work.ids.near, plan.as_of, tiles)
            touched = touched | changed
    with step(work.progress, "adding up days"):
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


def _roll_up(work: Work, known: Known, rolled_up: SlisAndWindows) -> dict[str, pa.Table]:
    """The new rows of all windows, by grain, in the flat form (`publishing.rows`)."""
    config, finished = work.config, 0
    total = sum(len(starts) for _, windows in rolled_up for _, starts, _ in windows)
    references = reference_tables(config, [sli for slis, _ in rolled_up for sli in slis], work.inputs.predictions)
    tables = tile_tables(config.zone, known.tiles, known.days, references)

    def done(windows: int) -> None:
        nonlocal finished
        finished += windows
        work.progress("rolling up", finished, total)

    batches: dict[str, list[pa.Table]] = {}
    for slis, windows in rolled_up:
        for rows in roll_up(config, tables, slis, windows, known.plan.as_of, done):
            batches.setdefault(rows.column("grain")[0].as_py(), []).append(rows)
    return {grain: pa.concat_tables(tables) for grain, tables in batches.items()}


def _compare(work: Work, known: Known, reached: int, rows: dict[str, pa.Table]) -> Difference:
    """What the rolled-up rows change of the published ones."""
    plan, transaction = known.plan, work.transaction
    if plan.older:
        before = rows_known_at(transaction.store, transaction.published, plan.as_of)
        plan = replace(plan, published=_extent_of(before, plan))
        return difference(by_grain(before), rows, Scope(work.config, plan, reached))
    return difference(_published_rows(work, known), rows, Scope(work.config, plan, reached))


def _extent_of(rows: pa.Table, plan: Plan) -> Extent:
    """The extent of (flat) rows; the objectives, which change no value, are those of the plan."""
    series = decode_texts(rows).group_by(["sli", "definition"]).aggregate([]).to_pylist()
    grains, slice_sets = (tuple(sorted(text_counts(rows.column(name)))) for name in ("grain", "slice_by"))
    return Extent(
        {row["sli"]: row["definition"] for row in series},
        plan.extent.objectives if series else {},
        grains,
        tuple(tuple(filter(None, columns.split(","))) for columns in slice_sets),
    )


def _published_rows(work: Work, known: Known) -> dict[str, ReadRows]:
    """The published rows to compare with, by grain."""
    config, plan, published = work.config, known.plan, work.transaction.published
    earliest, first = plan.roll_up.earliest, None
    if published is not None and earliest is not None and not plan.gone:
        first = max(min(known.newest, published.newest, earliest), config.since_instant) - 1
    return published_by_grain(work.transaction, None if first is None else config.zone.date(first).isoformat())
