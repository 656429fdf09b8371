"""Reading results: pandas frames of the newest belief, or of what was believed at an earlier instant.

Limit: the whole answer is held in memory; for more, open the Delta tables themselves with DuckDB, Polars or Spark.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli import publish, schemas
from sli.config import Config
from sli.errors import ConfigError, StoreError, nearest
from sli.history import backfilled, framed, known_at
from sli.intervals import DAY, Zone, moment, zone
from sli.loading import load_config
from sli.recompute import When, parsed
from sli.slices import slice_by_of
from sli.tables import Published, Store
from sli.windows import TUMBLING

COLUMNS = [name for name, _ in schemas.BELIEF]
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
    `revisions`, `audit`, `runs` or `backfills` (what each backfill changed in all), which are given whole.
    Raises SliError.
    """
    store, at = _opened(source)
    published = store.published()
    if published is None:
        raise StoreError("nothing is published yet", where=store.root, todo="`sli run CONFIG` first")
    if table != "results":
        return _other(store, published, table)
    _check(published, sli, grain)
    chosen = (sli, grain, slice if slice is not None else slice_by)
    if as_of is None:
        rows = publish.plain(store.rows("results", None, only=_filter(chosen, at, start, end)))
    else:
        rows = known_at(store, published, parsed(at, "as_of", as_of), _filter(chosen, at, start, end))
    frame = framed(publish.stored(rows))
    frame = frame[_in_time(frame, at, start, end)]
    return _ordered(_in_slice(frame, slice, slice_by))


def standing_audit(config: Config) -> pd.DataFrame:
    """The rows of `audit` that stand now. Raises SliError."""
    store = Store(config.store, config.storage)
    return framed(publish.newest_audit(store, store.published()))


def _in_slice(
    frame: pd.DataFrame, slice: Mapping[str, str | None] | None, slice_by: Sequence[str] | None
) -> pd.DataFrame:
    if slice_by is not None:
        frame = frame[frame.slice_by == slice_by_of(slice_by)]
    if slice is not None:
        wanted = {name: None if value is None else str(value) for name, value in slice.items()}
        frame = frame[pd.Series([each == wanted for each in frame["slice"]], index=frame.index, dtype=bool)]
    return frame


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    key = frame.assign(by=frame.slice_by.map(str), at=frame["slice"].map(str))
    order = key.sort_values(["sli", "grain", "by", "at", "window_end", "window_start"], kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _opened(source: str | Path | Config) -> tuple[Store, Zone]:
    if isinstance(source, Config):
        return Store(source.store, source.storage), source.zone
    if str(source).endswith((".yaml", ".yml")):
        config = load_config(source)
        return Store(config.store, config.storage), config.zone
    return Store(str(source)), zone("UTC")


def _other(store: Store, published: Published, table: str) -> pd.DataFrame:
    if table not in TABLES:
        raise ConfigError(
            f"there is no table '{table}'", expected=f"one of {', '.join(TABLES)}", todo=nearest(table, TABLES)
        )
    if table == "backfills":
        return framed(backfilled(store, published))
    columns = {
        "revisions": [*COLUMNS, "sequence", "change", "cause", "old_value", "old_verdict", "backfill"],
        "audit": schemas.AUDIT.names,
        "runs": schemas.RUNS.names,
    }
    return framed(store.rows(table, published).select(columns[table]).sort_by("sequence"))


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


def _filter(chosen: tuple[Any, Any, Any], at: Zone, start: When, end: When) -> ds.Expression | None:
    """What a scan can leave out; days a little wide, since the zone of the store's days may not be known."""
    sli, grain, columns = chosen
    found = []
    if sli is not None:
        found.append(ds.field("sli").isin([sli] if isinstance(sli, str) else list(sli)))
    if grain is not None:
        found.append(ds.field("grain") == grain)
    if columns is not None:
        # Lists cannot be compared in a scan; their length narrows it, the exact comparison follows on the frame.
        found.append(pc.list_value_length(ds.field("slice_by")) == len(columns))
    if start is not None:
        found.append(ds.field("day") >= at.date(parsed(at, "start", start) - 2 * DAY).isoformat())
    if end is not None:
        found.append(ds.field("day") <= at.date(parsed(at, "end", end) + 2 * DAY).isoformat())
    return functools.reduce(lambda a, b: a & b, found) if found else None


def _in_time(frame: pd.DataFrame, at: Zone, start: When, end: When) -> Any:
    keep = pd.Series(True, index=frame.index)
    tumbling = frame.grain.isin(TUMBLING)
    if start is not None:
        keep &= frame.window_end > pd.Timestamp(moment(parsed(at, "start", start)))
    if end is not None:
        limit = pd.Timestamp(moment(parsed(at, "end", end)))
        keep &= (tumbling & (frame.window_start < limit)) | (~tumbling & (frame.window_end <= limit))
    return keep
