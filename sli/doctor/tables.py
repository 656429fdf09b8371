"""Whether the tables of a store are whole, and agree with each other.

Limit: files are compared by their sizes; rows of a few days only, `DAYS` of them, spread over all. `sli verify`
recomputes from the logs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import iso
from sli.doctor.damage import COMPUTED, HISTORY, damages
from sli.doctor.finding import Finding, Skipped, ok, problem, warning
from sli.doctor.setup import Setup
from sli.engine.connection import scratch
from sli.planning.needs import RECOMPUTE
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.history import rows_known_at
from sli.publishing.rows import KEY, flat_rows
from sli.publishing.store import LAYOUT
from sli.reading.figures import counted

DAYS = 7
"""Rows of so many days are compared: the oldest, the newest, and some between."""
REVISIONS = 5_000_000
"""If there are more revisions, results are not compared with them."""
REPAIR = "`sli doctor CONFIG --repair` "


def whole(setup: Setup) -> Iterator[Finding]:
    """Whether every file that the logs of the tables name is there, with its size."""
    published, results = _published(setup)
    found = damages(setup.store, published, results)
    for name, damage in found.items():
        if name in COMPUTED:
            yield problem(damage.text, REPAIR + "recomputes it from the logs")
        elif name in HISTORY:
            yield problem(damage.text, "restore it from a copy; else " + REPAIR + "keeps what is left of the history")
        else:
            yield problem(damage.text, REPAIR + "writes it again from the revisions")
    if not found:
        files = sum(len(table.files()) for name in LAYOUT if (table := _table(setup, published, name)))
        yield ok(f"all {counted(files, 'file')} of {counted(len(published.versions) + 1, 'table')} are there")


def agree(setup: Setup) -> Iterator[Finding]:
    """Whether keys are unique, and results agree with their tiles and with their newest revisions."""
    published, results = _published(setup)
    days = _days(results)
    if not days:
        raise Skipped("no results are published")
    rows = flat_rows(setup.store.table_rows("results", results, within=[("day", "in", days)]))
    findings = [*_doubled(rows), *_without_tiles(setup, published, rows, days), *_unlike_revisions(setup, rows, days)]
    findings += _unlike_runs(setup, published)
    yield from findings
    if not findings:
        some = f"{len(rows):,} results of {counted(len(days), 'day')} from {days[0]} to {days[-1]}"
        yield ok(f"{some}: keys are unique, tiles and revisions agree")


def _published(setup: Setup) -> tuple[Published, Table]:
    if setup.published is None or setup.results is None:
        raise Skipped("nothing is published yet")
    return setup.published, setup.results


def _table(setup: Setup, published: Published, name: str) -> Table | None:
    return setup.results if name == "results" else setup.store.published_table(name, published)


def _days(results: Table) -> list[str]:
    """Some of the days that have results, the oldest and the newest among them."""
    days = sorted({str(day) for day in results.counts().column("partition.day").to_pylist()})
    places = np.unique(np.linspace(0, len(days) - 1, min(DAYS, len(days))).round().astype(int))
    return [days[place] for place in places] if days else []


def _doubled(rows: pa.Table) -> Iterator[Finding]:
    keys = rows.group_by(list(KEY)).aggregate([([], "count_all")])
    doubled = keys.filter(pc.greater(keys.column("count_all"), pa.scalar(1)))
    if len(doubled):
        first = doubled.slice(0, 1).to_pylist()[0]
        yield problem(
            f"{counted(len(doubled), 'key')} of results occur more than once, such as {first['sli']} of the "
            f"{first['grain']} at {iso(first['window_start'])}",
            "restore the store from a copy, or remove it: the next run recomputes everything, without the history",
        )


def _without_tiles(setup: Setup, published: Published, rows: pa.Table, days: Sequence[str]) -> Iterator[Finding]:
    """Windows of hours whose predictions are not those of their tiles."""
    if () not in published.slice_sets or "hour" not in published.grains or published.outdated:
        return
    # The last hour of a day ends at the next midnight, and `day` is the day it ends in.
    near = {*days, *((date.fromisoformat(day) - timedelta(days=1)).isoformat() for day in days)}
    only = (pc.field("span") == "tile") & (pc.field("slice_by") == "")
    within = [("day", "in", sorted(near))]
    tiles = setup.store.rows("tiles", published, ["start", "predictions"], only, within)
    waiting = published.needs.of(RECOMPUTE)
    with scratch() as con:
        con.register("results", rows)
        con.register("tiles", tiles)
        differing = con.execute(
            "SELECT window_start, window_end, any_value(r.predictions) AS results, "
            "coalesce(sum(t.predictions), 0)::BIGINT AS tiles "
            "FROM (SELECT DISTINCT window_start, window_end, predictions FROM results "
            "WHERE grain = 'hour' AND slice_by = '') r LEFT JOIN tiles t "
            "ON epoch_us(t.start) >= r.window_start AND epoch_us(t.start) < r.window_end GROUP BY ALL "
            "HAVING results <> tiles ORDER BY window_start"
        ).fetchall()
    wrong = [row for row in differing if not any(one.start < row[1] and row[0] < one.end for one in waiting)]
    if wrong:
        start, _, has, tile = wrong[0]
        yield problem(
            f"{counted(len(wrong), 'hour')} of results do not agree with their tiles, such as {iso(start)}: "
            f"{has:,} predictions, {tile:,} in tiles",
            f"`sli backfill CONFIG --start {iso(start)} --end {iso(wrong[-1][1])}` recomputes them",
        )


def _unlike_revisions(setup: Setup, rows: pa.Table, days: Collection[str]) -> Iterator[Finding]:
    published, _ = _published(setup)
    table = setup.store.published_table("revisions", published)
    counts = pc.sum(table.counts().column("num_records")).as_py() if table is not None else 0
    if not counts or counts > REVISIONS:
        return
    believed = rows_known_at(setup.store, published, published.as_of, pc.field("day").isin(list(days)))
    columns = [*KEY, "value", "predictions", "labelled"]
    with scratch() as con:
        con.register("results", rows.select(columns))
        con.register("believed", believed.select(columns))
        [(count,)] = con.execute(
            "SELECT count(*) FROM ((FROM results EXCEPT FROM believed) UNION ALL (FROM believed EXCEPT FROM results))"
        ).fetchall()
    if count:
        yield problem(
            f"{counted(count, 'result')} of {counted(len(days), 'day')} are not what the newest revisions say",
            "restore the store from a copy; `sli verify CONFIG` says which of both is right",
        )


def _unlike_runs(setup: Setup, published: Published) -> Iterator[Finding]:
    """A history of runs that ends before the last publication, as a copy made while a run worked has it."""
    runs = setup.store.rows("runs", published, ["sequence"]).column("sequence")
    newest = pc.max(runs).as_py() or 0
    if newest != published.sequence:
        yield warning(
            f"the last publication is number {published.sequence:,}, and table runs ends at {newest:,}",
            "nothing is wrong with the values; the history of runs has a gap",
        )
