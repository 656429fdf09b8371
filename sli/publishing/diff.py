"""What changed: the rows that a run rolled up, compared with the published rows.

A row is published again only if something in it changed. So a rerun changes nothing, and `revisions` holds each
published value once. Rows are compared grain by grain, small grains together, in the flat form. Limit: values are
compared to the bit; states are exact, so equal inputs give equal bits.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.grain import Grain
from sli.calendar.interval import meets_any
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.arrow import Flags
from sli.engine.connection import connected
from sli.engine.interrupts import make_stoppable
from sli.engine.sql import literal
from sli.planning.plan import Plan
from sli.planning.stages import windows_compared_with
from sli.publishing.rows import COMPARED, KEY, constant_column, encode_texts, flat_rows, text_counts
from sli.publishing.transaction import Transaction
from sli.rollup.results import NOTHING, ROLLED, TEXT
from sli.slis import Sli

if TYPE_CHECKING:
    import duckdb

ReadRows = Callable[[], pa.Table]
"""Reads the published rows of one grain, in the flat form."""
TOGETHER = 1 << 14
"""Grains are compared together up to so many rows: below, each comparison takes 30 ms whatever its rows."""


@dataclass(frozen=True)
class Difference:
    """`rows`: the new content of the partitions that change; `revised`: the rows added, changed and removed.

    Both are flat, with dictionary-encoded texts.
    """

    rows: pa.Table
    revised: pa.Table
    partitions: dict[str, list[str]]
    """For each grain the days to replace."""

    def counts(self, column: str) -> Counter[str]:
        """How often each text of a column occurs in `revised`, without nulls."""
        return text_counts(self.revised.column(column))


@dataclass(frozen=True)
class Scope:
    """Which published rows a run may replace: of the windows and series it rolled up, or no longer declared."""

    config: Config
    plan: Plan
    newest: int
    """Windows that reach this instant were rolled up, too."""

    def declared(self, rows: pa.Table) -> Flags:
        """For each published (flat) row whether the config declares its SLI, definition, grain and slices."""
        extent, declared = self.plan.declared, np.zeros(len(rows), dtype=bool)
        for name, definition in extent.series.items():
            # Both name and definition must match, since a renamed SLI keeps its definition.
            declared |= _is_in(rows, "sli", [name]) & _is_in(rows, "definition", [definition])
        declared &= _is_in(rows, "grain", extent.grains)
        return declared & _is_in(rows, "slice_by", [",".join(columns) for columns in extent.slice_sets])

    def rolled_up(self, rows: pa.Table) -> Flags:
        """For each published (flat) row whether the run rolled up its window."""
        starts, ends = rows.column("window_start").to_numpy(), rows.column("window_end").to_numpy()
        rolled_up = np.zeros(len(rows), dtype=bool)
        for group in self.plan.roll_up.groups:
            of_slis = _is_in(rows, "sli", group.slis)
            for grain in self.config.all_grains:
                at = np.flatnonzero(of_slis & _is_in(rows, "grain", [grain.name]))
                times = grain, starts[at], ends[at]
                rolled_up[at] |= self.plan.roll_up.rolls_up(self.config.zone, group, self.newest, *times)
        return rolled_up


def difference(old: Mapping[str, ReadRows], new: Mapping[str, pa.Table], scope: Scope) -> Difference:
    """Compare `new` rows with the `old` rows in scope, by grain; old rows out of scope stay as they are."""
    config, parts = scope.config, [no_difference()]
    with connected(config.parallel, config.task_memory) as con:
        for before, now in _small_grains_together(old, new):
            with con.cursor() as cursor:
                make_stoppable(cursor)
                parts.append(_compare_grains(cursor, before, now, scope))
    rows, revised = (
        pa.concat_tables([getattr(part, name) for part in parts], promote_options="permissive")
        for name in ("rows", "revised")
    )
    return Difference(rows, revised, {grain: days for part in parts for grain, days in part.partitions.items()})


def _small_grains_together(
    old: Mapping[str, ReadRows], new: Mapping[str, pa.Table]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The old and the new rows of each grain, in the order of the grains; grains with few rows come together."""
    before, now = _nothing_published(), NOTHING
    for grain in sorted({*old, *new}):
        published, rolled_up = old[grain]() if grain in old else _nothing_published(), new.get(grain, NOTHING)
        if sum(map(len, (before, now, published, rolled_up))) > TOGETHER and len(before) + len(now):
            yield before, now
            before, now = _nothing_published(), NOTHING
        before, now = _joined(before, published), _joined(now, rolled_up)
    if len(before) + len(now):
        yield before, now


def _joined(rows: pa.Table, more: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, more], promote_options="permissive") if len(rows) else more


@functools.cache
def _nothing_published() -> pa.Table:
    return flat_rows(schemas.RESULTS.empty_table())


def no_difference() -> Difference:
    """A difference without rows."""
    stamp = [pa.field("as_of", pa.int64()), pa.field("run_id", TEXT)]
    change = [pa.field(name, pa.float64() if name == "old_value" else TEXT) for name in _CHANGE]
    rows, revised = (
        pa.Table.from_batches([], pa.schema([pa.field("model", TEXT), *NOTHING.schema, *more]))
        for more in (stamp, [*stamp, *change])
    )
    return Difference(rows, revised, {})


def _compare_grains(con: duckdb.DuckDBPyConnection, old: pa.Table, new: pa.Table, scope: Scope) -> Difference:
    """The rows of some grains added, changed and removed, and all rows of the partitions these lie in.

    SQL only numbers these rows: copying them through it would take longer than to compare them.
    """
    _match_rows(con, old, new, scope)
    partitions: dict[str, list[str]] = {}
    for grain, day in con.execute("FROM changed_partitions ORDER BY ALL").fetchall():
        partitions.setdefault(grain, []).append(day)
    written = _numbers(con, "now", "change IN ('added', 'changed')")
    removed = _numbers(con, "before", "change = 'removed'")
    kept = _numbers(con, "before", "change = 'kept' AND (grain, day) IN (FROM changed_partitions)")
    now = _stamped(_at(new, written), scope)
    revised = [_with_change(now, written), _with_change(_stamped(_at(old, removed), scope), removed)]
    rows = [now, encode_texts(_at(old, kept).select(now.schema.names))]
    return Difference(
        pa.concat_tables(rows, promote_options="permissive"),
        pa.concat_tables(revised, promote_options="permissive"),
        partitions,
    )


_SAME_KEY = " AND ".join(f"o.{name} = n.{name}" for name in KEY)
_CHANGE = ("change", "cause", "old_value", "old_verdict")
"""The columns that a revision has besides those of a result."""


def _match_rows(con: duckdb.DuckDBPyConnection, old: pa.Table, new: pa.Table, scope: Scope) -> None:
    """Create the table `matched`, the numbers of old and new rows of the same key and how they differ.

    And the table `changed_partitions`, the grains and days in which some do.
    """
    config = scope.config
    declared = scope.declared(old)
    flags = {"declared": declared, "in_scope": scope.rolled_up(old) | ~declared}
    new = _with_changed_windows(config.zone, config.all_grains, config.declared, scope.plan, new)
    con.register("new_arrow", new.append_column("number", pa.array(np.arange(len(new)))))
    for name, values in flags.items():
        old = old.append_column(name, pa.array(values, pa.bool_()))
    con.register("old_arrow", old.append_column("number", pa.array(np.arange(len(old)))))
    changed = " OR ".join(f"o.{name} IS DISTINCT FROM n.{name}" for name in COMPARED)
    con.execute(
        "CREATE TEMP TABLE matched AS SELECT n.number AS now, o.number AS before, "
        "coalesce(n.grain, o.grain) AS grain, coalesce(n.day, o.day) AS day, "
        "CASE WHEN o.number IS NULL THEN 'added' WHEN n.number IS NULL AND o.in_scope THEN 'removed' "
        f"WHEN n.number IS NOT NULL AND ({changed}) THEN 'changed' ELSE 'kept' END AS change, "
        "CASE WHEN n.number IS NULL THEN if(o.declared, 'no predictions left', 'no longer declared') "
        f"ELSE {_cause(config.declared, scope.plan)} END AS cause, o.value AS old_value, "
        f"o.verdict AS old_verdict FROM new_arrow n FULL JOIN old_arrow o ON {_SAME_KEY}"
    )
    con.execute(
        "CREATE TEMP TABLE changed_partitions AS SELECT DISTINCT grain, day FROM matched WHERE change <> 'kept'"
    )


def _numbers(con: duckdb.DuckDBPyConnection, side: str, which: str) -> pa.Table:
    """The numbers of the new rows (`now`) or old rows (`before`) chosen, as column `number`, with how they changed."""
    sql = f"SELECT {side} AS number, {', '.join(_CHANGE)} FROM matched WHERE {which} ORDER BY number"
    return encode_texts(con.sql(sql).to_arrow_table())


def _at(rows: pa.Table, numbers: pa.Table) -> pa.Table:
    """The rows with these numbers; without a copy if these are all."""
    return rows if len(numbers) == len(rows) else rows.take(numbers.column("number"))


def _stamped(rows: pa.Table, scope: Scope) -> pa.Table:
    """Rows as the run publishes them."""
    n, plan = len(rows), scope.plan
    rows = encode_texts(rows.select(list(ROLLED)))
    rows = rows.add_column(0, "model", constant_column(scope.config.model, n))
    rows = rows.append_column("as_of", constant_column(plan.as_of, n))
    return rows.append_column("run_id", constant_column(plan.run_id, n))


def _with_change(rows: pa.Table, numbers: pa.Table) -> pa.Table:
    for name in _CHANGE:
        rows = rows.append_column(name, numbers.column(name))
    return rows


def _cause(slis: Sequence[Sli], plan: Plan) -> str:
    """SQL for the cause of a change: from what differs, and from the columns that `_with_changed_windows` adds."""
    # Built-in SLIs with a reference do not use labels, so feedback cannot be the cause of a change.
    with_reference = [sli.name for sli in slis if sli.reference is not None and "python" not in sli.declaration]
    compared = ", ".join(map(literal, [*with_reference, ""]))
    fresh = ", ".join(map(literal, [*plan.new_series, *plan.to_fill, ""]))
    grains = ", ".join(map(literal, [*plan.new.grains, ""]))
    return (
        f"CASE WHEN {not plan.published} THEN 'first run' "
        f"WHEN o.sli IS NULL AND (n.sli IN ({fresh}) OR n.grain IN ({grains})) THEN 'new definition' "
        "WHEN o.sli IS NULL THEN 'new predictions' "
        "WHEN o.predictions < n.predictions THEN 'new predictions' "
        "WHEN o.predictions > n.predictions THEN 'removed predictions' "
        "WHEN o.labelled < n.labelled THEN 'late feedback' WHEN o.labelled > n.labelled THEN 'withdrawn feedback' "
        "WHEN o.value IS DISTINCT FROM n.value OR o.reason IS DISTINCT FROM n.reason THEN CASE "
        f"WHEN n.reference_changed AND (n.sli IN ({compared}) OR NOT n.window_changed) THEN 'changed reference' "
        f"WHEN n.sli IN ({compared}) THEN 'changed predictions' ELSE 'corrected feedback' END "
        "WHEN o.maturity <> n.maturity THEN 'matured' "
        "WHEN o.objective IS DISTINCT FROM n.objective THEN 'new objective' ELSE 'corrected feedback' END"
    )


def _with_changed_windows(
    zone: Zone, grains: Sequence[Grain], slis: Sequence[Sli], plan: Plan, rows: pa.Table
) -> pa.Table:
    """Rows with two more columns: `window_changed` and `reference_changed`.

    They say whether a tile of the window changed, and whether a tile of its reference did.
    """
    starts, ends = (rows.column(name).to_numpy() for name in ("window_start", "window_end"))
    window, reference = (np.full(len(rows), plan.from_scratch) for _ in range(2))
    comparing = [] if plan.from_scratch else [sli for sli in slis if sli.reference is not None]
    for sli in comparing:
        changed = plan.roll_up.changed_for(plan.roll_up.group_of[sli.name])
        of_sli = np.flatnonzero(_is_in(rows, "sli", [sli.name]))
        names = rows.select(["grain"]).take(pa.array(of_sli, pa.int64()))
        for grain in grains:
            at = of_sli[_is_in(names, "grain", [grain.name])]
            window[at] = meets_any(starts[at], ends[at], changed)
            reference[at] = windows_compared_with(zone, grain, starts[at], ends[at], changed, sli.reference)
    return rows.append_column("window_changed", pa.array(window)).append_column(
        "reference_changed", pa.array(reference)
    )


def _is_in(rows: pa.Table, column: str, values: Iterable[str]) -> Flags:
    result: Flags = pc.is_in(rows.column(column), pa.array(list(values), pa.string())).to_numpy(zero_copy_only=False)
    return result


def published_by_grain(transaction: Transaction, first_day: str | None) -> dict[str, ReadRows]:
    """For each grain how to read its published rows from a day on (None: all)."""
    later = [] if first_day is None else [("day", ">=", first_day)]

    def read(grain: str) -> pa.Table:
        return flat_rows(transaction.rows("results", schemas.RESULTS.names, within=[("grain", "=", grain), *later]))

    grains = transaction.published.grains if transaction.published else ()
    return {grain: functools.partial(read, grain) for grain in grains}


def by_grain(flat: pa.Table) -> dict[str, ReadRows]:
    """For each grain how to find its rows among flat rows."""
    grains = sorted(text_counts(flat.column("grain")))
    return {grain: functools.partial(flat.filter, pc.field("grain") == grain) for grain in grains}
