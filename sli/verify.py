"""Proof on the user's own data: windows recomputed from the raw logs by plain pandas must equal what is published.

Nothing of the engine is used but discovery: no tiles, no states, no DuckDB join. Limit: both logs are read whole into
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from sli.config import Config
from sli.errors import ConfigError, StoreError
from sli.intervals import iso, moment
from sli.loading import load_config
from sli.logs import LogFile
from sli.read import read
from sli.storage import filesystem
from sli.tables import Published, Store

TOLERANCE = 1e-9


@dataclass
class Verification:
    """How many windows and rows were compared, and each difference in words."""

    as_of: int
    windows: int
    windows_total: int
    rows: int = 0
    estimates: int = 0
    waiting: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "as_of": iso(self.as_of), "equal": self.equal}

    def lines(self) -> list[str]:
        found = [
            f"{self.rows:,} results in {self.windows:,} of {self.windows_total:,} windows "
            f"recomputed from the raw logs as of {iso(self.as_of)}"
        ]
        if self.estimates:
            found.append(f"{self.estimates:,} more are estimates from samples; they were not compared")
        if self.waiting:
            found.append(f"{self.waiting:,} windows rest on hours held or still to be done; they were not compared")
        if self.equal:
            return [*found, "all equal"]
        shown = self.differences[:10]
        more = [f"... {len(self.differences) - 10:,} more"] if len(self.differences) > 10 else []
        return [*found, f"{len(self.differences):,} differ:", *(f"  {each}" for each in shown), *more]


def verify(config: str | Path | Config, *, windows: int | None = 50, settings: Sequence[str] = ()) -> Verification:
    """Compare published rows with a recomputation: those of `windows` windows chosen by content, or of all (None).

    Values must agree to a relative 1e-9, within the row's error bound where it has one. Raises SliError.
    """
    config = load_config(config, settings)
    store = Store(config.store)
    published = store.published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    if published.base != config.base:
        raise ConfigError("the config differs from what is published", where="CONFIG", todo="`sli run CONFIG` first")
    frame = read(config)
    chosen, total = _chosen(frame, windows)
    found = Verification(published.as_of, 0, total)
    pairs = _pairs(config, store.inputs(published), published.as_of)
    for (grain, start, end), rows in chosen:
        if _waiting(published, start, end):
            found.waiting += 1
            continue
        found.windows += 1
        inside = pairs[(pairs.predicted_at >= start) & (pairs.predicted_at < end)]
        for slice_by in config.slice_sets:
            _compare(config, found, f"{grain} {start:%Y-%m-%dT%H:%MZ}..{end:%Y-%m-%dT%H:%MZ}", inside, slice_by, rows)
    return found


def _chosen(frame: pd.DataFrame, windows: int | None) -> tuple[list[tuple[Any, pd.DataFrame]], int]:
    groups = list(frame.groupby(["grain", "window_start", "window_end"], sort=True))
    by_content = sorted(groups, key=lambda each: hashlib.sha256(str(each[0]).encode()).hexdigest())
    return by_content[:windows], len(groups)


def _waiting(published: Published, start: pd.Timestamp, end: pd.Timestamp) -> bool:
    stretches = [*published.pending, *published.held]
    return any(pd.Timestamp(moment(each.start)) < end and pd.Timestamp(moment(each.end)) > start for each in stretches)


def _compare(
    config: Config,
    found: Verification,
    window: str,
    inside: pd.DataFrame,
    slice_by: tuple[str, ...],
    rows: pd.DataFrame,
) -> None:
    mine: Any = rows[rows.slice_by == slice_by].itertuples()
    published = {(row.sli, tuple(row.slice.values())): row for row in mine}
    groups = _sliced(inside, slice_by)
    for key, members in groups.items():
        for each in config.declared:
            row = published.pop((each.name, key), None)
            name = f"{each.name}, {window}, {dict(zip(slice_by, key, strict=True)) or 'all'}"
            if row is None:
                found.differences.append(f"{name}: not published, {len(members)} predictions found")
            elif np.isnan(row.error_bound) and not np.isnan(row.value):
                found.estimates += 1
            else:
                found.rows += 1
                found.differences += _differences(name, row, members, each.formula.on_rows(members))
    found.differences += [f"{sli}, {window}, {key}: published, no prediction found" for sli, key in published]


def _sliced(inside: pd.DataFrame, slice_by: tuple[str, ...]) -> dict[tuple[str | None, ...], pd.DataFrame]:
    if not slice_by:
        return {(): inside} if len(inside) else {}
    texts = [inside[f"slice:{name}"] for name in slice_by]
    found: Any = inside.groupby(texts, dropna=False, sort=False)
    return {tuple(None if pd.isna(part) else part for part in key): members for key, members in found}


def _differences(name: str, row: Any, members: pd.DataFrame, value: float) -> list[str]:
    differing = []
    labelled = int(members.labelled.sum())
    if (row.predictions, row.labelled) != (len(members), labelled):
        differing.append(
            f"{name}: {row.predictions} predictions, {row.labelled} labelled; found {len(members)}, {labelled}"
        )
    allowed = TOLERANCE * abs(value) + 1e-12 + (0.0 if np.isnan(row.error_bound) else row.error_bound)
    if np.isnan(row.value) != np.isnan(value) or (not np.isnan(value) and abs(row.value - value) > allowed):
        differing.append(f"{name}: {row.value} published, {value} recomputed")
    return differing


def _pairs(config: Config, files: Sequence[LogFile], as_of: int) -> pd.DataFrame:
    """Every winning prediction with the label that counts at `as_of`."""
    p, f = config.predictions, config.feedback
    predictions = _read(config, [x for x in files if x.log == "predictions"], p.id, p.time, p.value, config.columns)
    cutoff, since = pd.Timestamp(moment(as_of)), pd.Timestamp(moment(config.since_instant))
    predictions = predictions[(predictions.time <= cutoff) & (predictions.time >= since)]
    if config.task == "binary":
        predictions = predictions[predictions.value.isna() | predictions.value.between(0, 1)]
    ties = [f"slice:{name}" for name in config.columns]
    order = predictions.sort_values(
        ["time", "value", *ties],
        ascending=[p.keep == "first", True, *[True] * len(ties)],
        na_position="last",
        kind="stable",
    )
    winners = order.drop_duplicates("id", keep="first")
    feedback = _read(config, [x for x in files if x.log == "feedback"], f.id, f.time, f.value, ())
    feedback = feedback[feedback.time <= cutoff]
    if config.task == "binary":
        feedback = feedback[feedback.value.isna() | feedback.value.isin([0.0, 1.0])]
    if f.nulls == "ignore":
        feedback = feedback[feedback.value.notna()]
    return _labelled(config, winners, feedback)


def _labelled(config: Config, winners: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    both = winners[["id", "time"]].merge(feedback, on="id", suffixes=("", "_known"))
    delay = both.time_known - both.time
    early, horizon = (pd.Timedelta(each, "us") for each in (config.feedback.early.micros, config.horizon.micros))
    both = both[(delay >= -early) & (delay <= horizon)]
    latest = both.sort_values(
        ["time_known", "value"], ascending=[config.feedback.keep == "first", False], na_position="last", kind="stable"
    ).drop_duplicates("id", keep="first")
    joined = winners.merge(latest[["id", "time_known", "value"]], on="id", how="left", suffixes=("", "_label"))
    labelled = joined.value_label.notna()
    waited: Any = joined.time_known - joined.time
    return joined.assign(
        predicted_at=joined.time,
        prediction=joined.value,
        label=joined.value_label.astype(bool).where(labelled) if config.task == "binary" else joined.value_label,
        labelled=labelled,
        usable=labelled & joined.value.notna(),
        decision=(joined.value >= config.threshold).where(joined.value.notna()),
        known_at=joined.time_known,
        delay=(waited / pd.Timedelta("1s")).where(labelled),
    )


def _read(
    config: Config, files: Sequence[LogFile], id: str, time: str, value: str, columns: Sequence[str]
) -> pd.DataFrame:
    """Valid rows of files: id (text), time (UTC), value, the declared columns, and each as `slice:` text."""
    parts = []
    for file in files:
        if not file.usable:
            continue
        stored = [name for name in dict.fromkeys((id, time, value, *columns)) if file.types[name] != "hive"]
        with filesystem(file.path)[0].open(file.path, "rb") as opened:
            part = pq.read_table(opened, columns=stored, partitioning=None).to_pandas()
        for name in columns:
            if name not in part:
                part[name] = dict(p.split("=", 1) for p in file.path.split("/") if "=" in p)[name]
        parts.append(part.assign(**{"sli:time": _instants(config, part[time])}))
    if not parts:
        parts = [
            pd.DataFrame({name: pd.Series(dtype=object) for name in (id, time, value, *columns)}).assign(
                **{"sli:time": pd.Series(dtype="datetime64[us, UTC]")}
            )
        ]
    whole = pd.concat(parts, ignore_index=True)
    number = pd.to_numeric(whole[value].astype("float64"))
    kept: pd.Series = whole[id].notna() & whole["sli:time"].notna() & ~np.isinf(number)
    named = {f"slice:{name}": whole[name].where(whole[name].isna(), whole[name].astype(str)) for name in columns}
    found: pd.DataFrame = pd.DataFrame(
        {
            "id": whole[id].astype(str),
            "time": whole["sli:time"],
            "value": number,
            **{c: whole[c] for c in columns},
            **named,
        }
    )
    return found[kept]


def _instants(config: Config, times: Any) -> Any:
    """Instants in UTC; naive times are read in the config's zone (PEP 495, fold=0), one by one."""
    times = pd.to_datetime(times).dt.as_unit("us")
    if times.dt.tz is not None:
        return times.dt.tz_convert("UTC")
    distinct = {each: pd.Timestamp(moment(config.zone.parse(each.to_pydatetime()))) for each in times.dropna().unique()}
    return pd.to_datetime(times.map(distinct), utc=True).dt.as_unit("us")
