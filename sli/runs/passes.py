"""Passes: which SLIs a run rolls up over which windows, and how the new results differ from the published ones.

SLIs with the same windows to roll up share a pass, so their states are merged once. Limit: all rows of a run's results
are in memory until they are compared.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from sli.calendar.grain import Grain
from sli.calendar.interval import END
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.connection import within_memory
from sli.logs.files import Files
from sli.planning.cells import Cells
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.publishing.diff import Difference, ReadRows, Scope, by_grain, difference, published_by_grain
from sli.publishing.history import rows_known_at
from sli.publishing.rows import decode_texts, text_counts
from sli.publishing.transaction import Transaction
from sli.rollup.reference import reference_tables
from sli.rollup.results import Pass, roll_up, tile_tables
from sli.runs.hour_tiles import Progress, step


def passes_of(
    grains: tuple[Grain, ...], zone: Zone, plan: Plan, newest: int, published: Published | None
) -> list[Pass]:
    """The passes of a run; `newest` is the end of the newest hour with predictions."""
    reached = newest
    if published is not None and not plan.from_scratch:
        # If the newest hour is the same, no window reaches further than before.
        reached = END if newest == published.newest else min(newest, published.newest)
    return [
        Pass(group.slis, grains, functools.partial(plan.roll_up.windows, zone, group, reached))
        for group in plan.roll_up.groups
    ]


def roll_up_passes(
    config: Config,
    as_of: int,
    tiles: pa.Table,
    days: pa.Table,
    newest: int,
    passes: Sequence[Pass],
    predictions: Files,
    progress: Progress,
) -> dict[str, pa.Table]:
    """The new rows of all windows of the passes, by grain, in the flat form (`publishing.rows`)."""
    zone, since = config.zone, config.since_instant
    total = sum(len(starts) for pass_ in passes for _, starts, _ in pass_.windows(zone, since, newest))
    references = reference_tables(config, [sli for pass_ in passes for sli in pass_.slis], predictions)
    tables = tile_tables(zone, tiles, days, references)
    reached = 0

    def done(windows: int) -> None:
        nonlocal reached
        reached += windows
        progress("rolling up", reached, total)

    batches: dict[str, list[pa.Table]] = {}
    for pass_ in passes:
        for rows in roll_up(config, tables, pass_, newest, as_of, done):
            batches.setdefault(rows.column("grain")[0].as_py(), []).append(rows)
    return {grain: pa.concat_tables(tables) for grain, tables in batches.items()}


def compare(
    config: Config,
    transaction: Transaction,
    plan: Plan,
    newest: int,
    passes: Sequence[Pass],
    rolled_up: dict[str, pa.Table],
    progress: Progress,
) -> Difference:
    """What the rolled-up rows change of the published ones."""
    with step(progress, "comparing"), within_memory("the comparison of results"):
        if plan.older:
            known = rows_known_at(transaction.store, transaction.published, plan.as_of)
            scope = Scope(config, replace(plan, published=_cells_of(known, plan)), passes)
            return difference(by_grain(known), rolled_up, scope)
        published = _published_rows(config.zone, config.since_instant, transaction, plan, newest)
        return difference(published, rolled_up, Scope(config, plan, passes))


def _cells_of(rows: pa.Table, plan: Plan) -> Cells:
    """The cells that (flat) rows have; the objectives, which change no value, are those of the plan."""
    series = decode_texts(rows).group_by(["sli", "definition"]).aggregate([]).to_pylist()
    grains, slice_sets = (tuple(sorted(text_counts(rows.column(name)))) for name in ("grain", "slice_by"))
    return Cells(
        {row["sli"]: row["definition"] for row in series},
        plan.cells.objectives if series else {},
        grains,
        tuple(tuple(filter(None, columns.split(","))) for columns in slice_sets),
    )


def _published_rows(zone: Zone, since: int, transaction: Transaction, plan: Plan, newest: int) -> dict[str, ReadRows]:
    """The published rows to compare with, by grain."""
    published, earliest, first = transaction.published, plan.roll_up.earliest, None
    if published is not None and earliest is not None and not plan.gone:
        first = zone.date(max(min(newest, published.newest, earliest), since) - 1).isoformat()
    return published_by_grain(transaction, first)
