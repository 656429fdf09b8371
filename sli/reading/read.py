"""Reading results: pandas frames of the newest belief, or of what was believed at an earlier instant.

Limit: the whole answer is held in memory; for more, open the Delta tables themselves with DuckDB, Polars or Spark.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli import schemas
from sli.calendar.duration import DAY
from sli.calendar.grain import TUMBLING
from sli.calendar.interval import moment
from sli.calendar.zone import Zone, zone
from sli.config.arguments import When, instant_of
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, StoreError, nearest
from sli.planning.published import Published
from sli.publishing.audit import current_audit
from sli.publishing.history import backfill_changes, rows_known_at
from sli.publishing.rows import stored_rows, to_pandas
from sli.publishing.store import Store
from sli.slices import slice_by_of

COLUMNS = [name for name, _ in schemas.BELIEF]
ORDER = ("sli", "grain", "by", "at", "window_end", "window_start")
TABLES = ("results", "revisions", "audit", "runs", "backfills")


def read(
    source: str | Path | Config,
    *,
    sli: str | Sequence[str] | None = None,
    grain: str | None = None,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    slice_by: Sequence[str] | None = None,
    as_of: When = None,
    table: str = "results",
) -> pd.DataFrame:
    """Published rows as a DataFrame with the columns of `schemas.BELIEF`, ordered by SLI, grain, slice and window.

    `source` is a config (file or object) or the root of a store. Windows are chosen by `start < window_end` and by
    `window_start < end` for `hour`, `day`, `week` and `month`, `window_end <= end` for the others. `slice` picks one
    slice (`{}`: all), `slice_by` all slices of those columns. `as_of` reads what was believed then. `table` may also be
    `revisions`, `audit`, `runs` or `backfills` (what each backfill changed in all), in the order of their publication:
    the same arguments choose among revisions and backfills; `runs` and `audit` have no windows, and `start`, `end` and
    `as_of` choose by the as_of of the run. Raises SliError.
    """
    store, at = _opened(source)
    results = store.results()
    published = store.published_state(results)
    if published is None:
        raise StoreError("nothing is published yet", where=store.root, todo="`sli run CONFIG` first")
    if table in ("audit", "runs"):
        choices = {"sli": sli, "grain": grain, "slice": slice, "slice_by": slice_by}
        check_windowless(table, choices, "start, end or as_of")
        return _of_runs(store, published, table, at, start, end, as_of)
    if table != "results":
        known = None if as_of is None else pc.field("as_of") <= _instant(at, "as_of", as_of)
        chosen = [each for each in (_filter(sli, grain, at, start, end), known) if each is not None]
        rows = _changes(store, published, table, functools.reduce(operator.and_, chosen) if chosen else None)
        if not len(rows):
            # What is no longer declared has a history, too.
            _check(published, sli, grain)
        return to_pandas(rows if slice is None and slice_by is None else _chosen(rows, slice, slice_by, ordered=False))
    _check(published, sli, grain)
    within, only = _within(published, grain, at, start, end), _filter(sli, grain, at, start, end)
    if as_of is None:
        rows = store.table_rows("results", results, only=only, within=within)
    else:
        rows = stored_rows(rows_known_at(store, published, instant_of(at, "as_of", as_of), only))
    return to_pandas(_chosen(rows, slice, slice_by))


def standing_audit(config: Config, as_of: When = None) -> pd.DataFrame:
    """The rows of `audit` that stand now, or stood after the last run of at most an as_of. Raises SliError."""
    store = Store(config.store, config.storage)
    published = store.published()
    if as_of is None:
        return to_pandas(store.rows("audit", published, only=current_audit(published)))
    limit, newest, standing = instant_of(config.zone, "as_of", as_of), -1, 0
    runs = store.rows("runs", published, ["sequence", "as_of"]).sort_by("sequence")
    for sequence, at in zip(
        runs.column("sequence").to_pylist(), runs.column("as_of").cast("int64").to_pylist(), strict=True
    ):
        # A run of an older as_of than those before it writes no audit.
        if at >= newest:
            newest, standing = at, sequence if at <= limit else standing
    return to_pandas(store.rows("audit", published, only=pc.field("sequence") == standing))


def _chosen(
    rows: pa.Table, slice: Mapping[str, str | None] | None, slice_by: Sequence[str] | None, ordered: bool = True
) -> pa.Table:
    """The rows of the slices asked for, in order, or in that they come in."""
    by = [tuple(each) for each in rows.column("slice_by").to_pylist()]
    at = [dict(each) for each in rows.column("slice").to_pylist()]
    order = _ordered(rows, by, at) if ordered else pa.array(range(len(rows)), pa.int64())
    if slice_by is not None:
        columns = slice_by_of(slice_by)
        order = order.filter(pa.array([each == columns for each in by], pa.bool_()).take(order))
    if slice is not None:
        wanted = {name: None if value is None else str(value) for name, value in slice.items()}
        order = order.filter(pa.array([each == wanted for each in at], pa.bool_()).take(order))
    # Of many chunks, rows are taken much more slowly.
    return rows.combine_chunks().take(order)


def _ordered(rows: pa.Table, by: Sequence[tuple[str, ...]], at: Sequence[dict[str, str | None]]) -> pa.Array:
    keys = {name: rows.column(name) for name in ("sli", "grain", "window_end", "window_start")}
    texts = {name: pa.array(map(str, each), pa.string()) for name, each in (("by", by), ("at", at))}
    return pc.sort_indices(pa.table({**keys, **texts}), [(each, "ascending") for each in ORDER])


def _opened(source: str | Path | Config) -> tuple[Store, Zone]:
    if isinstance(source, Config):
        return Store(source.store, source.storage), source.zone
    if str(source).endswith((".yaml", ".yml")):
        config = load_config(source)
        return Store(config.store, config.storage), config.zone
    return Store(str(source)), zone("UTC")


def _changes(store: Store, published: Published, table: str, only: pc.Expression | None) -> pa.Table:
    """Rows of a table of changes, in the order of their publication."""
    if table not in TABLES:
        raise ConfigError(
            f"there is no table '{table}'", expected=f"one of {', '.join(TABLES)}", todo=nearest(table, TABLES)
        )
    if table == "backfills":
        rows = backfill_changes(store, published)
        return rows if only is None else rows.filter(only)
    columns = [*COLUMNS, "sequence", "change", "cause", "old_value", "old_verdict", "backfill"]
    return store.rows(table, published, only=only).select(columns).sort_by("sequence")


def _of_runs(
    store: Store, published: Published, table: str, at: Zone, start: When, end: When, as_of: When
) -> pd.DataFrame:
    """Rows of `audit` or `runs`, those of runs of an as_of in `[start, end)`, and of at most `as_of`."""
    of, found = pc.field("as_of"), []
    if start is not None:
        found.append(of >= _instant(at, "start", start))
    if end is not None:
        found.append(of < _instant(at, "end", end))
    if as_of is not None:
        found.append(of <= _instant(at, "as_of", as_of))
    only = functools.reduce(operator.and_, found) if found else None
    names = (schemas.AUDIT if table == "audit" else schemas.RUNS).names
    return to_pandas(store.rows(table, published, only=only).select(names).sort_by("sequence"))


def check_windowless(table: str, given: Mapping[str, object], allowed: str) -> None:
    """Raise ConfigError where rows of a table without windows are to be chosen by what only windows have."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"the table `{table}` holds no windows, so nothing can be chosen by {name}",
                where=name,
                expected=f"{allowed}, the as_of of a run",
                found=str(value),
            )


def _check(published: Published, sli: str | Sequence[str] | None, grain: str | None) -> None:
    for name in [sli] if isinstance(sli, str) else sli or ():
        if name not in published.series:
            raise ConfigError(
                f"no SLI '{name}' is published",
                expected=f"one of {', '.join(published.series)}",
                todo=nearest(name, published.series),
            )
    if grain is not None and grain not in published.grains:
        raise ConfigError(
            f"no grain '{grain}' is published",
            expected=f"one of {', '.join(published.grains)}",
            todo=nearest(grain, published.grains),
        )


def _within(published: Published, grain: str | None, at: Zone, start: When, end: When) -> list[tuple[str, str, str]]:
    """The partitions to look at; the last day a little late, since `at` may not be the zone of the store's days."""
    found = [] if grain is None else [("grain", "=", grain)]
    if start is not None:
        found.append(("day", ">=", _first_day(published, instant_of(at, "start", start))))
    if end is not None:
        # A window that starts just before lies in the partition of the day it ends in.
        longest = {"hour": 1, "day": 1, "week": 7}.get(grain or "", 31)
        found.append(("day", "<=", at.date(instant_of(at, "end", end) + (longest + 1) * DAY).isoformat()))
    return found


def _first_day(published: Published, start: int) -> str:
    """The earliest local date of any instant from `start` on."""
    if not published.timezone:
        return zone("UTC").date(start - DAY).isoformat()
    days = zone(published.timezone)
    # Clocks that go back after midnight, as Newfoundland's did until 2011, lead into the day before.
    return min(map(days.date, [start, *days.changes(start, start + DAY)])).isoformat()


def _filter(
    sli: str | Sequence[str] | None, grain: str | None, at: Zone, start: When, end: When
) -> ds.Expression | None:
    found = []
    if sli is not None:
        found.append(ds.field("sli").isin([sli] if isinstance(sli, str) else list(sli)))
    if grain is not None:
        found.append(ds.field("grain") == grain)
    if start is not None:
        found.append(ds.field("window_end") > _instant(at, "start", start))
    if end is not None:
        limit, tumbling = _instant(at, "end", end), ds.field("grain").isin(list(TUMBLING))
        starts_before, ends_by = ds.field("window_start") < limit, ds.field("window_end") <= limit
        found.append((tumbling & starts_before) | (~tumbling & ends_by))
    return functools.reduce(operator.and_, found) if found else None


def _instant(at: Zone, name: str, value: When) -> pa.Scalar:
    assert value is not None
    return pa.scalar(moment(instant_of(at, name, value)), schemas.UTC)
