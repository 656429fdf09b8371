"""What changed: the rows that a run rolled up, compared with the published rows.

A row is published again only if something in it changed. So a rerun changes nothing, and `revisions` holds each
published value once. Rows are compared in the flat form, some partitions at a time.
Limit: values are compared to the bit; states are exact, so equal inputs give equal bits.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.grain import Grain
from sli.calendar.interval import meets_any
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.arrow import ChunkedColumn, Flags
from sli.engine.connection import connected, out_of_memory
from sli.engine.interrupts import make_stoppable
from sli.engine.sql import literal
from sli.engine.storage import message_of
from sli.planning.plan import Plan
from sli.planning.stages import windows_compared_with
from sli.publishing.delta_tables import table_errors
from sli.publishing.parquet_files import NewFile, Partition, Written
from sli.publishing.rows import COMPARED, KEY, constant_column, encode_texts, flat_rows
from sli.rollup.results import ROLLED, TEXT
from sli.slis import Sli
from sli.slis.custom.function import NO_CALLS, Calls

if TYPE_CHECKING:
    import duckdb

Pair = tuple[pa.Table, pa.Table]
"""The published rows of some partitions, and the rolled-up rows of the same ones; both flat."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changes of the published rows, in files that no commit names yet."""

    results: tuple[NewFile, ...] = ()
    """The new content of the partitions that change."""
    revisions: tuple[Written, ...] = ()
    """The rows added, changed and removed, with the columns of the table `revisions`."""
    partitions: frozenset[Partition] = frozenset()
    """The partitions to replace: their grains and days."""
    unchanged: frozenset[Partition] = frozenset()
    """Partitions that are in `results` although nothing of them changed here, since others have more of their rows."""
    causes: Counter[str] = field(default_factory=Counter)
    """How many rows were added, changed and removed, by cause."""
    count: int = 0
    """How many rows the partitions have now."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """In how many of these rows an SLI has a reason."""
    calls: Calls = NO_CALLS
    """Calls of Python functions for these rows, as far as they are counted."""

    @property
    def changed(self) -> int:
        """How many rows were added, changed and removed."""
        return self.causes.total()

    @property
    def revised(self) -> Iterator[pa.Table]:
        """The rows added, changed and removed, file by file. Raises StoreError."""
        for written in self.revisions:
            for file in written.files:
                with table_errors(written.place.folder, "read"):
                    yield written.place.read([file], written.schema, REVISED, pc.field("cause") != RESTATED)

    def and_then(self, second: Difference) -> Difference:
        """This difference and then another one."""
        return Difference(
            results=self.results + second.results,
            revisions=self.revisions + second.revisions,
            partitions=self.partitions | second.partitions,
            causes=self.causes + second.causes,
            count=self.count + second.count,
            reasons=self.reasons + second.reasons,
            calls=self.calls.and_then(second.calls),
        )


@dataclass(frozen=True)
class Scope:
    """Which published rows a run may replace: of the windows and series it rolled up, or no longer declared."""

    config: Config
    plan: Plan
    """Without what the comparison does not look at, so that it is small."""
    newest: int
    """Windows that reach this instant were rolled up, too."""

    @staticmethod
    def of(config: Config, plan: Plan, newest: int) -> Scope:
        """The scope of a plan."""
        stages = plan.roll_up, plan.write
        plan = replace(plan, stages=stages, causes=(), looked_up=(), with_predictions=(), tables=())
        return Scope(config, plan, newest)

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


def compared(pair: Pair, scope: Scope, threads: int, whole: bool) -> Iterator[pa.Table]:
    """Compare the new rows of a pair with its old rows in scope; old rows out of scope stay as they are.

    Flat rows: those added, changed and removed, and all others of the partitions in which there are such; if `whole`,
    of all partitions. Each table has whole partitions, and how they changed in the columns of a revision. Raises
    OutOfMemory.
    """
    # Beside the tiles of the roll-up, which have the other half.
    with connected(threads, scope.config.task_memory // 2) as con:
        yield from _compared(con, pair, scope, whole)


def revised_rows(rows: pa.Table) -> pa.Table:
    """Of rows of `compared` those added, changed and removed."""
    return _where(rows, pc.is_valid(rows.column("change")).to_numpy())


def new_rows(rows: pa.Table) -> pa.Table:
    """Of rows of `compared` the new content of their partitions."""
    return _where(rows, ~_is_in(rows, "change", ["removed"])).drop_columns([*_CHANGE])


def _where(rows: pa.Table, which: Flags) -> pa.Table:
    """The rows for which this is true; without a copy if it is for all."""
    return rows if which.all() else rows.filter(pa.array(which, pa.bool_()))


@functools.cache
def nothing_published() -> pa.Table:
    """No published rows, in the flat form."""
    return flat_rows(schemas.RESULTS.empty_table())


def _compared(con: duckdb.DuckDBPyConnection, pair: Pair, scope: Scope, whole: bool) -> Iterator[pa.Table]:
    """What differs in a pair; where it takes too much memory, half of its partitions at a time. Raises OutOfMemory."""
    import duckdb  # not at the top: a run that finds nothing to do needs no DuckDB

    try:
        with con.cursor() as cursor:
            make_stoppable(cursor)
            rows = _compare(cursor, pair, scope, whole)
    except duckdb.OutOfMemoryException as error:
        (keys, some), (other_keys, others) = map(partition_keys, pair)
        names = sorted({*some, *others})
        if len(names) < 2:
            raise out_of_memory("the comparison of results", message_of(error)) from error
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            old, new = (
                table.filter(pc.is_in(of, pa.array(half))) for table, of in zip(pair, (keys, other_keys), strict=True)
            )
            yield from _compared(con, (old, new), scope, whole)
        return
    if len(rows):
        yield rows


def partitions_in(rows: pa.Table) -> frozenset[Partition]:
    """The partitions of rows of `results`: their grains and days."""
    return frozenset(tuple(key.split(BETWEEN)) for key in partition_keys(rows)[1])


def partition_keys(rows: pa.Table) -> tuple[ChunkedColumn, list[str]]:
    """The partition of each row as one text, and the different ones."""
    columns = (rows.column(name).cast(pa.string()) for name in PARTITION)
    # The stubs know no separator that is a text.
    keys: ChunkedColumn = pc.binary_join_element_wise(*columns, BETWEEN)  # type: ignore[call-overload]
    return keys, [str(key) for key in pc.unique(keys).to_pylist()]


def _compare(con: duckdb.DuckDBPyConnection, pair: Pair, scope: Scope, whole: bool) -> pa.Table:
    """What `compared` yields. SQL only numbers these rows: copying them would take longer than to compare them."""
    old, new = pair
    _match_rows(con, old, new, scope)
    written = _numbers(con, "now", "change IN ('added', 'changed')")
    removed = _numbers(con, "before", "change = 'removed'")
    of_changed = "" if whole else " AND (grain, day) IN (FROM changed_partitions)"
    kept = _numbers(con, "before", f"change IS NULL AND before IS NOT NULL{of_changed}")
    now = _with_change(_stamped(_at(new, written), scope), written)
    gone = _with_change(_stamped(_at(old, removed), scope), removed)
    names = [name for name in now.schema.names if name not in _CHANGE]
    stay = _with_change(encode_texts(_at(old, kept).select(names)), kept)
    # In one piece, since each of them is written by itself.
    return pa.concat_tables([now, gone, stay], promote_options="permissive").unify_dictionaries().combine_chunks()


_SAME_KEY = " AND ".join(f"o.{name} = n.{name}" for name in KEY)
_CHANGE: dict[str, pa.DataType] = {"change": TEXT, "cause": TEXT, "old_value": pa.float64(), "old_verdict": TEXT}
"""The columns that a revision has besides those of a result; null in rows that stay as they are."""
PARTITION, BETWEEN = ("grain", "day"), "\n"
"""The columns that name a partition of `results`, and what stands between their values in one text."""
REVISED = ("model", *ROLLED, "as_of", "run_id", *_CHANGE)
"""The columns of a revision that `Difference.revised` has."""
RESTATED = "restated"
"""The cause of revisions that keep later results as they were."""


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
        f"WHEN n.number IS NOT NULL AND ({changed}) THEN 'changed' END AS change, "
        "CASE WHEN n.number IS NULL THEN if(o.declared, 'no predictions left', 'no longer declared') "
        f"ELSE {_cause(config.declared, scope.plan)} END AS cause, o.value AS old_value, "
        f"o.verdict AS old_verdict FROM new_arrow n FULL JOIN old_arrow o ON {_SAME_KEY}"
    )
    con.execute(
        "CREATE TEMP TABLE changed_partitions AS SELECT DISTINCT grain, day FROM matched WHERE change IS NOT NULL"
    )


def _numbers(con: duckdb.DuckDBPyConnection, side: str, which: str) -> pa.Table:
    """The numbers of the new rows (`now`) or old rows (`before`) chosen, as column `number`, with how they changed."""
    changes = ", ".join(f"CASE WHEN change IS NOT NULL THEN {name} END AS {name}" for name in _CHANGE)
    sql = f"SELECT {side} AS number, {changes} FROM matched WHERE {which} ORDER BY number"
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
