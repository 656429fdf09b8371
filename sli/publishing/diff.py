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

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.grain import Grain
from sli.calendar.interval import meets_any
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.connection import connected, prepare_cursor
from sli.engine.sql import literal
from sli.planning.affected import windows_compared_with
from sli.planning.plan import Plan
from sli.publishing.rows import COMPARED, KEY, constant_column, encode_texts, flat_rows, text_counts
from sli.publishing.transaction import Transaction
from sli.rollup.results import NOTHING, ROLLED, TEXT, Pass
from sli.slis import Sli

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
    passes: Sequence[Pass]

    def declared(self) -> pa.Table:
        """Each SLI, definition, grain and slice_by that the config declares."""
        rows = [
            {"sli": sli.name, "definition": self.config.definition(sli), "grain": grain.name, "slice_by": slice_by}
            for sli in self.config.declared
            for grain in self.config.all_grains
            for slice_by in self._slice_sets
        ]
        return pa.Table.from_pylist(rows)

    @property
    def _slice_sets(self) -> list[str]:
        return [",".join(columns) for columns in self.config.slice_sets]

    def contains(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """For each published (flat) row whether it is in scope."""
        starts, ends = rows.column("window_start").to_numpy(), rows.column("window_end").to_numpy()
        declared = np.zeros(len(rows), dtype=bool)
        for sli in self.config.declared:
            # Both name and definition must match, since a renamed SLI keeps its definition.
            declared |= _is_in(rows, "sli", [sli.name]) & _is_in(rows, "definition", [self.config.definition(sli)])
        declared &= _is_in(rows, "grain", [grain.name for grain in self.config.all_grains])
        declared &= _is_in(rows, "slice_by", self._slice_sets)
        rolled_up = np.zeros(len(rows), dtype=bool)
        for pass_ in self.passes:
            of_slis = _is_in(rows, "sli", [sli.name for sli in pass_.slis])
            for grain in pass_.grains:
                at = np.flatnonzero(of_slis & _is_in(rows, "grain", [grain.name]))
                rolled_up[at] |= pass_.choose(grain, starts[at], ends[at])
        return rolled_up | ~declared


def difference(old: Mapping[str, ReadRows], new: Mapping[str, pa.Table], scope: Scope, first: bool) -> Difference:
    """Compare `new` rows with the `old` rows in scope, by grain; old rows out of scope stay as they are.

    `first`: nothing was published before.
    """
    config = scope.config
    if first and not old:
        parts = [all_added(new[grain], scope) for grain in sorted(new)]
    else:
        with connected(config.parallel, config.task_memory) as con:
            parts = []
            for before, now in _small_grains_together(old, new):
                with con.cursor() as cursor:
                    prepare_cursor(cursor)
                    parts.append(compare_grains(cursor, before, now, scope, first))
    parts = parts or [all_added(NOTHING, scope)]
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
    stamp = {"as_of": pa.int64(), "run_id": TEXT, "change": TEXT, "cause": TEXT, "old_value": pa.float64()}
    more = [pa.field(name, kind) for name, kind in {**stamp, "old_verdict": TEXT}.items()]
    nothing = pa.Table.from_batches([], pa.schema([pa.field("model", TEXT), *NOTHING.schema, *more]))
    return Difference(nothing, nothing, {})


def all_added(new: pa.Table, scope: Scope) -> Difference:
    """What `compare_grains` returns if nothing was published before: all rows, in the order of `new`."""
    n, plan = len(new), scope.plan
    rows = new.select(list(ROLLED)).add_column(0, "model", constant_column(scope.config.model, TEXT, n))
    rows = rows.append_column("as_of", constant_column(plan.as_of, pa.int64(), n))
    rows = rows.append_column("run_id", constant_column(plan.run_id, TEXT, n))
    revised = rows
    for name, value, kind in (
        ("change", "added", TEXT),
        ("cause", "first run", TEXT),
        ("old_value", None, pa.float64()),
        ("old_verdict", None, TEXT),
    ):
        revised = revised.append_column(name, constant_column(value, kind, n))
    grains = sorted(text_counts(new.column("grain")))
    return Difference(rows, revised, {grain: sorted(text_counts(new.column("day"))) for grain in grains})


def compare_grains(
    con: duckdb.DuckDBPyConnection, old: pa.Table, new: pa.Table, scope: Scope, first: bool
) -> Difference:
    """The rows of some grains added, changed and removed, and all rows of the partitions these lie in."""
    config = scope.config
    in_scope = scope.contains(old) if len(old) else np.array([], dtype=bool)
    con.register("old_arrow", old.append_column("in_scope", pa.array(in_scope, pa.bool_())))
    con.register("new_arrow", _with_changed_windows(config.zone, config.all_grains, config.declared, scope.plan, new))
    con.register("declared_arrow", scope.declared())
    _find_revised(con, scope, first)
    partitions: dict[str, list[str]] = {}
    for grain, day in con.execute("SELECT DISTINCT grain, day FROM revised ORDER BY ALL").fetchall():
        partitions.setdefault(grain, []).append(day)
    columns = ", ".join(f"o.{name}" for name in ROLLED)
    con.execute(
        f"CREATE TEMP TABLE final AS SELECT model, {', '.join(ROLLED)}, as_of, run_id FROM revised "
        f"WHERE change <> 'removed' UNION ALL SELECT o.model, {columns}, o.as_of, o.run_id FROM old_arrow o "
        f"JOIN (SELECT DISTINCT grain, day FROM revised) d USING (grain, day) "
        f"WHERE NOT EXISTS (FROM revised n WHERE {_SAME_KEY})"
    )
    order = "grain, day, sli, slice_by, slice, window_end, window_start"
    rows = con.sql(f"FROM final ORDER BY {order}").to_arrow_table()
    revised = con.sql(f"FROM revised ORDER BY {order}").to_arrow_table()
    return Difference(encode_texts(rows), encode_texts(revised), partitions)


_SAME_KEY = " AND ".join(f"o.{name} = n.{name}" for name in KEY)


def _find_revised(con: duckdb.DuckDBPyConnection, scope: Scope, first: bool) -> None:
    """Create the table `revised`, the rows added, changed and removed, from old_arrow, new_arrow, declared_arrow."""
    plan, model = scope.plan, literal(scope.config.model)
    changed = " OR ".join(f"o.{name} IS DISTINCT FROM n.{name}" for name in COMPARED)
    stamp = f"{plan.as_of}::BIGINT AS as_of, '{plan.run_id}' AS run_id"
    new_columns, old_columns = (", ".join(f"{table}.{name}" for name in ROLLED) for table in "no")
    con.execute(
        f"CREATE TEMP TABLE revised AS SELECT {model} AS model, {new_columns}, {stamp}, "
        f"CASE WHEN o.sli IS NULL THEN 'added' ELSE 'changed' END AS change, "
        f"{_cause(scope.config.declared, plan, first)} AS cause, o.value AS old_value, o.verdict AS old_verdict "
        f"FROM new_arrow n LEFT JOIN old_arrow o ON {_SAME_KEY} WHERE o.sli IS NULL OR {changed}"
    )
    con.execute(
        f"INSERT INTO revised SELECT {model}, {old_columns}, {stamp}, 'removed', CASE WHEN s.definition IS NULL "
        f"THEN 'no longer declared' ELSE 'no predictions left' END, o.value, o.verdict FROM old_arrow o "
        "LEFT JOIN declared_arrow s USING (sli, definition, grain, slice_by) "
        f"WHERE o.in_scope AND NOT EXISTS (FROM new_arrow n WHERE {_SAME_KEY})"
    )


def _cause(slis: Sequence[Sli], plan: Plan, first: bool) -> str:
    """SQL for the cause of a change: from what differs, and from the columns that `_with_changed_windows` adds."""
    # Built-in SLIs with a reference do not use labels, so feedback cannot be the cause of a change.
    with_reference = [sli.name for sli in slis if sli.reference is not None and "python" not in sli.declaration]
    compared = ", ".join(map(literal, [*with_reference, ""]))
    fresh = ", ".join(map(literal, [*plan.new_series, *plan.to_fill, ""]))
    grains = ", ".join(map(literal, [*plan.new_grains, ""]))
    return (
        f"CASE WHEN {first} THEN 'first run' "
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
        changed = [*plan.may_change, *plan.to_fill.get(sli.name, ())]
        of_sli = np.flatnonzero(_is_in(rows, "sli", [sli.name]))
        names = rows.select(["grain"]).take(pa.array(of_sli, pa.int64()))
        for grain in grains:
            at = of_sli[_is_in(names, "grain", [grain.name])]
            window[at] = meets_any(starts[at], ends[at], changed)
            reference[at] = windows_compared_with(zone, grain, starts[at], ends[at], changed, sli.reference)
    return rows.append_column("window_changed", pa.array(window)).append_column(
        "reference_changed", pa.array(reference)
    )


def _is_in(rows: pa.Table, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
    result: npt.NDArray[np.bool_] = pc.is_in(rows.column(column), pa.array(list(values), pa.string())).to_numpy(
        zero_copy_only=False
    )
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
