"""Proof on the user's own data: windows recomputed from the raw logs by plain pandas must equal what is published.

Nothing of the engine is used but discovery: no tiles, no states, no DuckDB join. Limit: both logs are read whole into
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.calendar.duration import MINUTE
from sli.calendar.interval import iso, moment
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.storage import filesystem
from sli.errors import ConfigError, StoreError
from sli.logs.agreement import sliceable
from sli.logs.files import Files, Inputs, LogFile
from sli.planning.published import Published
from sli.publishing.store import Store
from sli.reading.read import read
from sli.slices import OTHER, SliceBy, bin_names, slice_text
from sli.slis import Reference
from sli.tiles.dry_run import check_code

TOLERANCE = 1e-9
NULLABLE = {
    **{getattr(pa, f"int{n}")(): getattr(pd, f"Int{n}Dtype")() for n in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{n}")(): getattr(pd, f"UInt{n}Dtype")() for n in (8, 16, 32, 64)},
    pa.bool_(): pd.BooleanDtype(),
}
"""Types that keep their values beside nulls: 1 and a null are not 1.0 and NaN."""
Groups = dict[tuple[str | None, ...], pd.DataFrame]
"""Pairs by the values of their slice columns."""


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
    check_code(config)
    store = Store(config.store, config.storage)
    published = store.published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    published.check_current(config.store)
    series = {each.name: config.definition(each) for each in config.declared}
    if published.base != config.base or dict(published.series) != series:
        raise ConfigError("the config differs from what is published", where="CONFIG", todo="`sli run CONFIG` first")
    inputs = store.inputs(published)
    config = sliceable(config, inputs)
    frame = read(config)
    declared = frame.grain.isin([each.name for each in config.all_grains]) & frame.slice_by.isin(config.slice_sets)
    chosen, total = _chosen(frame, windows)
    found = Verification(published.as_of, 0, total)
    if not declared.all():
        found.differences.append(f"{int((~declared).sum()):,} rows of grains or slices that are not declared")
    pairs, tables = _pairs(config, inputs, published.as_of), _tables(config, inputs.predictions)
    for (grain, start, end), rows in chosen:
        if _waiting(published, start, end):
            found.waiting += 1
            continue
        found.windows += 1
        window = _Window(config, pairs, tables, grain, start, end)
        for slice_by in config.slice_sets:
            window.compare(found, slice_by, rows[rows.slice_by == slice_by])
    return found


def _chosen(frame: pd.DataFrame, windows: int | None) -> tuple[list[tuple[Any, pd.DataFrame]], int]:
    groups = list(frame.groupby(["grain", "window_start", "window_end"], sort=True))
    by_content = sorted(groups, key=lambda each: hashlib.sha256(str(each[0]).encode()).hexdigest())
    return by_content[:windows], len(groups)


def _waiting(published: Published, start: pd.Timestamp, end: pd.Timestamp) -> bool:
    stretches = [*published.waiting, *published.held]
    return any(pd.Timestamp(moment(each.start)) < end and pd.Timestamp(moment(each.end)) > start for each in stretches)


class _Window:
    """The pairs of one window, and of those it is compared with."""

    def __init__(
        self,
        config: Config,
        pairs: pd.DataFrame,
        tables: Mapping[str, pd.DataFrame],
        grain: str,
        start: pd.Timestamp,
        end: pd.Timestamp,
    ) -> None:
        self.config, self.pairs, self.tables = config, pairs, tables
        self.grain, self.start, self.end = grain, start, end
        self.name = f"{grain} {start:%Y-%m-%dT%H:%MZ}..{end:%Y-%m-%dT%H:%MZ}"
        self.inside = _between(pairs, start, end)

    def compare(self, found: Verification, slice_by: SliceBy, rows: pd.DataFrame) -> None:
        """Each published row of a slice set with the value of its pairs."""
        mine: Any = rows.itertuples()
        published = {(row.sli, tuple(row.slice.values())): row for row in mine}
        groups = _capped(_sliced(self.inside, slice_by), self.config.caps.get(slice_by))
        compared = {each.reference: self._reference(each.reference, slice_by) for each in self.config.declared}
        for key, members in groups.items():
            members.attrs.update(end=self.end, tile=f"{self.config.tile // MINUTE}min")
            for each in self.config.declared:
                row = published.pop((each.name, key), None)
                name = f"{each.name}, {self.name}, {dict(zip(slice_by, key, strict=True)) or 'all'}"
                if row is None:
                    found.differences.append(f"{name}: not published, {len(members)} predictions found")
                elif np.isnan(row.error_bound) and not np.isnan(row.value):
                    found.estimates += 1
                else:
                    found.rows += 1
                    other = compared[each.reference]
                    frames = [members] if other is None else [members, other.get(key, self.pairs.iloc[:0])]
                    value = each.formula.on_rows(*frames)
                    if slice_by and len(members) < self.config.min_support:
                        value = float("nan")
                    found.differences += _differences(name, row, members, value)
        found.differences += [f"{sli}, {self.name}, {key}: published, no prediction found" for sli, key in published]

    def _reference(self, reference: Reference | None, slice_by: SliceBy) -> Groups | None:
        """The pairs of the reference by slice."""
        if reference is None:
            return None
        if reference.kind == "table":
            pairs = self.tables[reference.path]
        elif reference.interval is not None:
            start, end = (pd.Timestamp(moment(each)) for each in (reference.interval.start, reference.interval.end))
            pairs = _between(self.pairs, start, end)
        else:
            grain = next(each for each in self.config.all_grains if each.name == self.grain)
            edges = [np.array([round(each.timestamp() * 1e6)]) for each in (self.start, self.end)]
            before = grain.before(self.config.zone, edges[0], edges[1])[0]
            pairs = _between(self.pairs, pd.Timestamp(moment(int(before))), self.start)
        return _sliced(pairs, slice_by)


def _between(pairs: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return pairs[(pairs.predicted_at >= start) & (pairs.predicted_at < end)]


def _sliced(inside: pd.DataFrame, slice_by: SliceBy) -> Groups:
    if not slice_by:
        return {(): inside} if len(inside) else {}
    texts = [inside[f"slice:{name}"] for name in slice_by]
    found: Any = inside.groupby(texts, dropna=False, sort=False)
    return {tuple(None if pd.isna(part) else part for part in key): members for key, members in found}


def _capped(groups: Groups, top: int | None) -> Groups:
    """The `top` largest groups, and the rest together."""
    if top is None or len(groups) <= top:
        return groups
    # Ties go by the canonical text of the slice, as in the tables.
    names = [str(i) for i in range(len(next(iter(groups))))]
    order = sorted(groups, key=lambda key: (-len(groups[key]), slice_text(dict(zip(names, key, strict=True)))))
    rest = (OTHER,) * len(names)
    small = [groups[key].assign(query=_of(groups[key]["query"], i)) for i, key in enumerate(order[top:])]
    return {key: groups[key] for key in order[:top]} | {rest: pd.concat(small)}


def _of(queries: pd.Series, slice: int) -> pd.Series:
    """Queries as those of one slice: in the rest of a capped set a query of two slices is two queries."""
    return queries.where(queries.isna(), f"{slice} " + queries.astype(str))


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


def _pairs(config: Config, inputs: Inputs, as_of: int) -> pd.DataFrame:
    """Every winning prediction with the label that counts at `as_of`."""
    p, f = config.predictions, config.feedback
    predictions = _read(config, inputs.predictions, p.id, p.time, p.value, config.columns)
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
    winners = _binned(config, order.drop_duplicates("id", keep="first"))
    feedback = _read(config, inputs.feedback, f.id, f.time, f.value, ())
    feedback = feedback[feedback.time <= cutoff]
    if config.task == "binary":
        feedback = feedback[feedback.value.isna() | feedback.value.isin([0.0, 1.0])]
    if config.task == "ranking":
        feedback = feedback[feedback.value.isna() | (feedback.value >= 0)]
    if f.nulls == "ignore":
        feedback = feedback[feedback.value.notna()]
    return _labelled(config, winners, feedback)


def _binned(config: Config, predictions: pd.DataFrame) -> pd.DataFrame:
    """With the bins of binned slice columns as their slice's text."""
    for name, edges in config.edges.items():
        names = np.array(bin_names(edges), dtype=object)
        number = predictions[name].astype(float)
        found = names[np.searchsorted(edges, number.fillna(0), side="right")]
        predictions = predictions.assign(
            **{f"slice:{name}": pd.Series(found, index=predictions.index).where(number.notna())}
        )
    return predictions


def _labelled(config: Config, winners: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    both = winners[["id", "time"]].merge(feedback, on="id", suffixes=("", "_known"))
    delay = both.time_known - both.time
    early, horizon = (pd.Timedelta(each, "us") for each in (config.feedback.early.micros, config.horizon.micros))
    both = both[(delay >= -early) & (delay <= horizon)]
    latest = both.sort_values(
        ["time_known", "value"], ascending=[config.feedback.keep == "first", False], na_position="last", kind="stable"
    ).drop_duplicates("id", keep="first")
    joined = winners.merge(latest[["id", "time_known", "value"]], on="id", how="left", suffixes=("", "_label"))
    waited: Any = joined.time_known - joined.time
    return _paired(
        config,
        joined.assign(predicted_at=joined.time, known_at=joined.time_known, delay=waited / pd.Timedelta("1s")),
    )


def _paired(config: Config, joined: pd.DataFrame) -> pd.DataFrame:
    """The columns of a pair from those of a prediction, `value_label`, `known_at` and `delay`."""
    labelled = joined.value_label.notna()
    label, prediction = joined.value_label, joined.value
    if config.task == "binary":
        label = label.astype(bool).where(labelled)
    if config.classes:
        names = dict(enumerate(config.classes))
        label, prediction = (each.map(names).astype(object).where(each.notna(), None) for each in (label, prediction))
    decision = (joined.value >= config.threshold).where(joined.value.notna())
    return joined.assign(
        prediction=prediction,
        label=label,
        labelled=labelled,
        usable=labelled & joined.value.notna(),
        decision=decision if config.task == "binary" else None,
        query=joined[config.predictions.query] if config.predictions.query else None,
        delay=joined.delay.where(labelled),
    )


def _tables(config: Config, predictions: Files) -> dict[str, pd.DataFrame]:
    """The pairs of each reference table by its path."""
    first = predictions.first_usable
    types = first.types if first else {}
    paths = {each.reference.path for each in config.declared if each.reference and each.reference.kind == "table"}
    return {path: _reference_pairs(config, path, types) for path in paths}


def _reference_pairs(config: Config, path: str, types: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a reference table as pairs; a prediction and a label where it has the logs' value columns."""
    fs, place = filesystem(path, config.storage)
    with fs.open(place, "rb") as opened:
        table = pq.read_table(opened, partitioning=None)
    values = {}
    for key, name in (("value", config.predictions.value), ("value_label", config.feedback.value)):
        known = name in table.column_names
        number = _number(config, _plain(table.column(name))) if known else pd.Series(np.nan, range(len(table)))
        values[key] = number.where(_valid(config, number, key))
    columns: dict[str, pd.Series] = {}
    for name in config.columns:
        columns |= _both(name, _column(_as_logged(table.column(name), types.get(name, ""))))
    found = pd.DataFrame(
        {
            **values,
            "predicted_at": pd.NaT,
            "known_at": pd.NaT,
            "delay": np.nan,
            **columns,
        }
    )
    return _paired(config, _binned(config, found))


def _valid(config: Config, number: pd.Series, key: str) -> pd.Series:
    """Which numbers a log would not set aside."""
    if config.task == "binary":
        allowed: pd.Series = number.between(0, 1) if key == "value" else number.isin([0.0, 1.0])
        return allowed
    least = 0 if config.classes or (config.task == "ranking" and key == "value_label") else -np.inf
    found: pd.Series = np.isfinite(number) & (number >= least)
    return found


def _as_logged(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """A column of a reference table with the type of the logs' own."""
    kind = "string" if kind == "hive" or kind.startswith("dictionary") else kind
    try:
        return column.cast(pa.type_for_alias(kind), safe=False)
    except ValueError:
        return column


def _plain(column: pa.ChunkedArray) -> pd.Series:
    found: pd.Series = column.to_pandas(types_mapper=NULLABLE.get)
    return found


def _column(column: pa.ChunkedArray) -> pd.Series:
    """A declared column; of numbers with a fraction only the finite ones, and no -0.0."""
    values = _plain(column)
    return values.where(np.isfinite(values)) + 0.0 if pa.types.is_floating(column.type) else values


def _both(name: str, values: pd.Series) -> dict[str, pd.Series]:
    """A declared column and its `slice:` text."""
    masked = isinstance(values.array, pd.arrays.BooleanArray | pd.arrays.IntegerArray | pd.arrays.FloatingArray)
    # SLIs get NumPy's types: it does not know the null of pandas' own.
    bare = values.astype(object).where(values.notna(), None) if masked else values
    # Where files hold numbers and others text, SQL makes text of all.
    mixed = pd.api.types.infer_dtype(values, skipna=True) in ("mixed", "mixed-integer")
    return {name: _text(values) if mixed else bare, f"slice:{name}": _text(values)}


def _number(config: Config, values: pd.Series) -> pd.Series:
    """Values as numbers: of a multiclass task the position of the class, -1 for any other."""
    if not config.classes:
        return values.astype("float64")
    positions = {name: float(i) for i, name in enumerate(config.classes)}
    texts = _text(values)
    return texts.map(positions).astype("float64").fillna(-1.0).where(texts.notna())


def _text(values: pd.Series) -> pd.Series:
    """Values as SQL writes them; null stays null."""

    def text(value: Any) -> str:
        # A short float is written with the digits that tell it from its neighbours, a longer one alike.
        if fraction:
            return str(float(value)).removesuffix(".0")
        return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)

    single, fraction = values.dtype == np.float32, pd.api.types.is_float_dtype(values.dtype)
    present = values.dropna()
    return (present.astype(str) if single else present).map(text).astype(object).reindex(values.index)


def _read(config: Config, files: Files, id: str, time: str, value: str, columns: Sequence[str]) -> pd.DataFrame:
    """Valid rows of files: id (text), time (UTC), value, the declared columns, and each as `slice:` text."""
    parts = [_part(config, file, id, time, value, columns) for file in files if file.usable]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", "time", "value", *columns])
    if not parts:
        whole = whole.astype({"time": "datetime64[us, UTC]", "value": float})
    return whole.assign(**{key: each for name in columns for key, each in _both(name, whole[name]).items()})


def _part(config: Config, file: LogFile, id: str, time: str, value: str, columns: Sequence[str]) -> pd.DataFrame:
    """The valid rows of one file."""
    stored = [name for name in dict.fromkeys((id, time, value, *columns)) if file.types[name] != "hive"]
    with filesystem(file.path, config.storage)[0].open(file.path, "rb") as opened:
        table = pq.read_table(opened, columns=stored, partitioning=None)
    partition = dict(part.split("=", 1) for part in file.path.split("/") if "=" in part)
    number = _number(config, _plain(table.column(value)))
    floating = pa.types.is_floating(table.column(value).type)
    nan = pc.is_nan(table.column(value)).fill_null(False).to_numpy() if floating else False
    ids, times = _text(_plain(table.column(id))), _instants(config, table.column(time).to_pandas())
    kept: pd.Series = (
        ids.notna() & times.notna() & ~np.isinf(number) & ~nan & ~(number < 0 if config.classes else False)
    )
    declared = {name: _column(table.column(name)) if name in stored else partition[name] for name in columns}
    found: pd.DataFrame = pd.DataFrame({"id": ids, "time": times, "value": number, **declared})
    return found.loc[kept]


def _instants(config: Config, times: Any) -> Any:
    """Instants in UTC; naive times are read in the config's zone (PEP 495, fold=0), one by one."""
    times = pd.to_datetime(times).dt.as_unit("us")
    if times.dt.tz is not None:
        return times.dt.tz_convert("UTC")
    distinct = {each: pd.Timestamp(moment(config.zone.parse(each.to_pydatetime()))) for each in times.dropna().unique()}
    return pd.to_datetime(times.map(distinct), utc=True).dt.as_unit("us")
