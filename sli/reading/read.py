"""Reading what is published, as it is now or as it was known at an earlier instant, as pandas frames.

Limit: the whole answer is in memory; for more, open the Delta tables themselves with DuckDB, Polars or Spark.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli import schemas
from sli.calendar.duration import DAY
from sli.calendar.grain import TUMBLING
from sli.calendar.interval import moment
from sli.calendar.zone import Zone, zone
from sli.config.arguments import When, instant_of, no_such_slices, slice_columns
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, StoreError, check_known
from sli.planning.published import Published
from sli.publishing.audit import current_audit
from sli.publishing.history import backfill_changes, rows_known_at
from sli.publishing.rows import stored_rows, to_pandas
from sli.publishing.store import Store
from sli.reading.question import empty_time
from sli.slices import SliceBy

if TYPE_CHECKING:
    Instant = pa.Scalar[pa.TimestampType[Literal["us"], str]]
    Positions = pa.Int64Array | pa.UInt64Array

COLUMNS = [name for name, _ in schemas.RESULT]
ORDER = ("sli", "grain", "slice_by", "slice", "window_end", "window_start")
TABLES = ("results", "revisions", "audit", "runs", "backfills")
Slice = Mapping[str, str | None]


def read(
    source: str | Path | Config,
    *,
    sli: str | Sequence[str] | None = None,
    grain: str | None = None,
    start: When = None,
    end: When = None,
    slice: Slice | None = None,
    slice_by: Sequence[str] | None = None,
    as_of: When = None,
    table: str = "results",
) -> pd.DataFrame:
    """Published rows as a DataFrame; without further arguments all results, as they are known now.

    `source` is a config (a path or a Config) or the root of a store. `sli`, `grain`, `slice` (one slice; `{}`: all
    predictions together) and `slice_by` (all slices by these columns) choose rows. `start` chooses windows that end
    after it. `end` chooses hours, days, weeks and months that start before it, and windows of other grains that end by
    it. Times are ISO 8601 texts, dates or datetimes. `as_of` reads what was published as of that time.

    `table` is `results` (ordered by SLI, grain, slice and window), `revisions` (every value ever published and why it
    changed), `backfills` (what each backfill changed in all), `runs` or `audit`; all but `results` are in the order of
    their publication. The rows of `runs` and `audit` have no windows: there `start`, `end` and `as_of` choose rows by
    the as_of of their run. There may be no such rows; but an SLI, a grain or columns of slices that nothing is
    published for, and a `start` that is not before `end`, are errors.

    The columns are those of `sli.schemas`: `value`, `ci_low` and `ci_high` are in the unit of the SLI, `coverage` is
    labelled / predictions, times are UTC. `slice` holds dicts, `slice_by` tuples. Raises SliError.

    >>> import sli
    >>> days = sli.read(config, sli="accuracy", grain="day", slice={})
    >>> sorted(set(days.maturity) - {"final", "provisional"})
    []
    >>> bool(days.coverage.between(0, 1).all())
    True
    """
    store, zone = _open(source)
    results = store.results()
    published = store.published_state(results)
    if published is None:
        raise StoreError("nothing is published yet", where=store.root, todo="`sli run CONFIG` first")
    columns = slice_columns(slice, slice_by)
    _check_time(zone, start, end)
    if table in ("audit", "runs"):
        choices = {"sli": sli, "grain": grain, "slice": slice, "slice_by": slice_by}
        check_windowless(table, choices, "start, end or as_of")
        names = (schemas.AUDIT if table == "audit" else schemas.RUNS).names
        rows = store.rows(table, published, only=_run_filter(zone, start, end, as_of))
        return to_pandas(rows.select(names).sort_by("sequence"))
    only = _filter(sli, grain, zone, start, end)
    if table != "results":
        known = None if as_of is None else pc.field("as_of") <= _instant(zone, "as_of", as_of)
        rows = _changes(store, published, table, _all_of([only, known]))
        if not len(rows):
            # SLIs and grains that the config no longer has still have a history, so check only if nothing is found.
            _check(published, sli, grain)
        if columns is not None:
            rows = _of_slices(rows, slice, columns, ordered=False)
            _check_slices(published, columns, rows)
        return to_pandas(rows)
    _check(published, sli, grain)
    if as_of is None:
        rows = store.table_rows("results", results, only=only, within=_partitions(published, grain, zone, start, end))
    else:
        rows = stored_rows(rows_known_at(store, published, instant_of(zone, "as_of", as_of), only))
    rows = _of_slices(rows, slice, columns)
    _check_slices(published, columns, rows)
    return to_pandas(rows)


def standing_audit(config: Config, as_of: When = None) -> pd.DataFrame:
    """The current audit, or the audit as it was known at `as_of`. Raises SliError."""
    store = Store(config.store, config.storage)
    published = store.published()
    if as_of is None:
        return to_pandas(store.rows("audit", published, only=current_audit(published)))
    limit, newest, standing = instant_of(config.zone, "as_of", as_of), -1, 0
    runs = store.rows("runs", published, ["sequence", "as_of"]).sort_by("sequence")
    sequences = runs.column("sequence").to_numpy().tolist()
    instants = runs.column("as_of").cast(pa.int64()).to_numpy().tolist()
    for sequence, instant in zip(sequences, instants, strict=True):
        # A run whose as_of is older than that of an earlier run writes no audit.
        if instant >= newest:
            newest, standing = instant, sequence if instant <= limit else standing
    return to_pandas(store.rows("audit", published, only=pc.field("sequence") == standing))


def _of_slices(rows: pa.Table, slice: Slice | None, slice_by: SliceBy | None, ordered: bool = True) -> pa.Table:
    """The rows of these slices, sorted by the columns `ORDER` if `ordered`."""
    # These columns have no nulls, which the stubs cannot know.
    by = cast("list[list[str]]", rows.column("slice_by").to_pylist())
    values = cast("list[list[tuple[str, str | None]]]", rows.column("slice").to_pylist())
    sets, slices = [tuple(names) for names in by], [dict(pairs) for pairs in values]
    order = _ordered(rows, sets, slices) if ordered else pa.array(range(len(rows)), pa.int64())
    if slice_by is not None:
        order = order.filter(pa.array([names == slice_by for names in sets], pa.bool_()).take(order))
    if slice is not None:
        wanted = {name: None if value is None else str(value) for name, value in slice.items()}
        order = order.filter(pa.array([values == wanted for values in slices], pa.bool_()).take(order))
    # Taking rows from a column of many chunks is much slower.
    return rows.combine_chunks().take(order)


def _ordered(rows: pa.Table, sets: Sequence[tuple[str, ...]], slices: Sequence[Slice]) -> Positions:
    """The positions of the rows, sorted by the columns `ORDER`."""
    texts = {"slice_by": pa.array(map(str, sets), pa.string()), "slice": pa.array(map(str, slices), pa.string())}
    columns = [texts.get(name, rows.column(name)) for name in ORDER]
    return pc.sort_indices(pa.table(columns, names=list(ORDER)), [(name, "ascending") for name in ORDER])


def _open(source: str | Path | Config) -> tuple[Store, Zone]:
    """The store, and the zone in which times without one are read."""
    if isinstance(source, Config) or str(source).endswith((".yaml", ".yml")):
        config = load_config(source)
        return Store(config.store, config.storage), config.zone
    return Store(str(source)), zone("UTC")


def _changes(store: Store, published: Published, table: str, only: pc.Expression | None) -> pa.Table:
    """Rows of `revisions` or `backfills`, in the order of their publication. Raises ConfigError for another table."""
    check_known(f"there is no table '{table}'", table, TABLES)
    if table == "backfills":
        rows = backfill_changes(store, published)
        return rows if only is None else rows.filter(only)
    columns = [*COLUMNS, "sequence", "change", "cause", "old_value", "old_verdict", "backfill"]
    return store.rows(table, published, only=only).select(columns).sort_by("sequence")


def _run_filter(zone: Zone, start: When, end: When, as_of: When) -> pc.Expression | None:
    """Runs whose as_of is in `[start, end)` and not after `as_of`."""
    run = pc.field("as_of")
    return _all_of(
        [
            None if start is None else run >= _instant(zone, "start", start),
            None if end is None else run < _instant(zone, "end", end),
            None if as_of is None else run <= _instant(zone, "as_of", as_of),
        ]
    )


def _all_of(conditions: Sequence[pc.Expression | None]) -> pc.Expression | None:
    present = [condition for condition in conditions if condition is not None]
    return functools.reduce(operator.and_, present) if present else None


def check_windowless(table: str, given: Mapping[str, object], allowed: str) -> None:
    """Raise ConfigError if rows of a table without windows are chosen by what only windows have."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"the table `{table}` holds no windows, so {name} cannot choose among its rows",
                where=name,
                expected=f"{allowed}, which choose by the as_of of a run",
                found=str(value),
            )


def _check(published: Published, sli: str | Sequence[str] | None, grain: str | None) -> None:
    """Raise ConfigError for an SLI or grain that is not published."""
    for name in [sli] if isinstance(sli, str) else sli or ():
        check_known(f"no SLI '{name}' is published", name, published.series)
    if grain is not None:
        check_known(f"no grain '{grain}' is published", grain, published.grains)


def _check_slices(published: Published, columns: SliceBy | None, rows: pa.Table) -> None:
    """Raise ConfigError if there are no rows because nothing is published by these columns.

    Columns that the config no longer has still have a history, so check only if nothing is found.
    """
    if columns is None or len(rows) or columns in published.slice_sets:
        return
    what = f"nothing is published by {' x '.join(columns) or 'all predictions together'}"
    raise no_such_slices(what, columns, published.slice_sets)


def _check_time(at: Zone, start: When, end: When) -> None:
    """Raise ConfigError if no time lies between `start` and `end`."""
    if start is not None and end is not None:
        first, last = instant_of(at, "start", start), instant_of(at, "end", end)
        if first >= last:
            raise empty_time(at, first, last)


def _partitions(
    published: Published, grain: str | None, at: Zone, start: When, end: When
) -> list[tuple[str, str, str]]:
    """The partitions to read, with days to spare: `at` may differ from the zone whose days the store has."""
    conditions = [] if grain is None else [("grain", "=", grain)]
    if start is not None:
        conditions.append(("day", ">=", _first_day(published, instant_of(at, "start", start))))
    if end is not None:
        # A window that starts just before `end` lies in the partition of the day it ends in.
        longest = {"hour": 1, "day": 1, "week": 7}.get(grain or "", 31)
        conditions.append(("day", "<=", at.date(instant_of(at, "end", end) + (longest + 1) * DAY).isoformat()))
    return conditions


def _first_day(published: Published, start: int) -> str:
    """The earliest local date of any instant from `start` on."""
    if not published.timezone:
        return zone("UTC").date(start - DAY).isoformat()
    days = zone(published.timezone)
    # Clocks that go back just after midnight, as Newfoundland's did until 2011, return to the day before.
    return min(map(days.date, [start, *days.changes(start, start + DAY)])).isoformat()


def _filter(
    sli: str | Sequence[str] | None, grain: str | None, at: Zone, start: When, end: When
) -> ds.Expression | None:
    """Rows of the SLIs and the grain whose windows `start` and `end` choose."""
    names = [sli] if isinstance(sli, str) else sli
    before = None
    if end is not None:
        limit, tumbling = _instant(at, "end", end), ds.field("grain").isin(list(TUMBLING))
        starts_before, ends_by = ds.field("window_start") < limit, ds.field("window_end") <= limit
        before = (tumbling & starts_before) | (~tumbling & ends_by)
    return _all_of(
        [
            None if names is None else ds.field("sli").isin(list(names)),
            None if grain is None else ds.field("grain") == grain,
            None if start is None else ds.field("window_end") > _instant(at, "start", start),
            before,
        ]
    )


def _instant(at: Zone, name: str, value: str | date | datetime) -> Instant:
    return pa.scalar(moment(instant_of(at, name, value)), schemas.UTC)
