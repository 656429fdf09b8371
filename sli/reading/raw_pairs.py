"""Pairs of predictions and feedback, made from the raw logs by plain pandas alone: what `verify` trusts.

They use nothing of the engine: no DuckDB, no join, no states. Limit: both logs are read whole into memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.calendar.duration import Duration
from sli.calendar.interval import moment
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.config.sections import Feedback, Predictions
from sli.engine.storage import Storage, filesystem
from sli.logs.files import Files, Inputs, LogFile
from sli.slices import bin_names

if TYPE_CHECKING:
    Column = pa.ChunkedArray[Any]
    """A column of any type."""

NULLABLE = {
    **{getattr(pa, f"int{n}")(): getattr(pd, f"Int{n}Dtype")() for n in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{n}")(): getattr(pd, f"UInt{n}Dtype")() for n in (8, 16, 32, 64)},
    pa.bool_(): pd.BooleanDtype(),
}
"""Types that keep their values next to nulls: 1 and null do not become 1.0 and NaN."""


def raw_pairs(config: Config, inputs: Inputs, as_of: int) -> pd.DataFrame:
    """A row for each prediction that counts, with the label that counts at `as_of`, if there is one.

    Columns: predicted_at, known_at, delay (seconds), prediction, label, labelled, usable, decision, query; and each
    column that the config names twice: as it is in the log, and as text under `slice:NAME`.
    """
    cutoff = pd.Timestamp(moment(as_of))
    predictions, feedback = _predictions(config, inputs.predictions, cutoff), _feedback(config, inputs, cutoff)
    return _as_pairs(config, _labelled(predictions, feedback, config.feedback, config.horizon))


def _predictions(config: Config, files: Files, cutoff: pd.Timestamp) -> pd.DataFrame:
    """The predictions that count: one for each id."""
    log, since = config.predictions, pd.Timestamp(moment(config.since_instant))
    predictions = _read(files, log, config.columns, config.zone, config.classes, config.storage)
    predictions = predictions[(predictions.time <= cutoff) & (predictions.time >= since)]
    if config.task == "binary":
        predictions = predictions[predictions.value.isna() | predictions.value.between(0, 1)]
    ties = [f"slice:{name}" for name in config.columns]
    ordered = predictions.sort_values(
        ["time", "value", *ties],
        ascending=[log.keep == "first", True, *[True] * len(ties)],
        na_position="last",
        kind="stable",
    )
    return _binned(config.edges, ordered.drop_duplicates("id", keep="first"))


def _feedback(config: Config, inputs: Inputs, cutoff: pd.Timestamp) -> pd.DataFrame:
    """The valid rows of feedback known at `cutoff`."""
    log = config.feedback
    feedback = _read(inputs.feedback, log, (), config.zone, config.classes, config.storage)
    feedback = feedback[feedback.time <= cutoff]
    if config.task == "binary":
        feedback = feedback[feedback.value.isna() | feedback.value.isin([0.0, 1.0])]
    if config.task == "ranking":
        feedback = feedback[feedback.value.isna() | (feedback.value >= 0)]
    if log.nulls == "ignore":
        feedback = feedback[feedback.value.notna()]
    return feedback


def _binned(edges_of_columns: Mapping[str, Sequence[float]], predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions; for columns with bins the `slice:` text becomes the name of the bin."""
    for name, edges in edges_of_columns.items():
        names = np.array(bin_names(edges), dtype=object)
        number = predictions[name].astype(float)
        bins = pd.Series(names[np.searchsorted(edges, number.fillna(0), side="right")], index=predictions.index)
        predictions = predictions.assign(**{f"slice:{name}": bins.where(number.notna())})
    return predictions


def _labelled(predictions: pd.DataFrame, feedback: pd.DataFrame, log: Feedback, horizon: Duration) -> pd.DataFrame:
    """Each prediction with the latest feedback within the horizon; `log` says how early it may be, and which counts."""
    both = predictions[["id", "time"]].merge(feedback, on="id", suffixes=("", "_known"))
    delay = both.time_known - both.time
    early, late = pd.Timedelta(log.early.micros, "us"), pd.Timedelta(horizon.micros, "us")
    both = both[(delay >= -early) & (delay <= late)]
    latest = both.sort_values(
        ["time_known", "value"], ascending=[log.keep == "first", False], na_position="last", kind="stable"
    ).drop_duplicates("id", keep="first")
    joined = predictions.merge(latest[["id", "time_known", "value"]], on="id", how="left", suffixes=("", "_label"))
    delays: pd.Series[pd.Timedelta] = joined.time_known - joined.time
    seconds = delays / pd.Timedelta("1s")
    return joined.assign(predicted_at=joined.time, known_at=joined.time_known, delay=seconds)


def _as_pairs(config: Config, joined: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of a pair to predictions that have `value_label`, `known_at` and `delay`."""
    labelled = joined.value_label.notna()
    label, prediction = joined.value_label, joined.value
    if config.task == "binary":
        label = label.astype(bool).where(labelled)
    if config.classes:
        names = dict(enumerate(config.classes))
        label, prediction = (
            values.map(names).astype(object).where(values.notna(), None) for values in (label, prediction)
        )
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


def reference_pairs(config: Config, predictions: Files) -> dict[str, pd.DataFrame]:
    """The rows of each reference table as pairs, by the path of the table."""
    first = predictions.first_usable
    types = first.types if first else {}
    paths = {sli.reference.path for sli in config.declared if sli.reference and sli.reference.kind == "table"}
    return {path: _table_pairs(config, path, types) for path in paths}


def _table_pairs(config: Config, path: str, types: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a reference table as pairs, with prediction and label if it has the logs' value columns."""
    fs, place = filesystem(path, config.storage)
    with fs.open(place, "rb") as opened:
        table = pq.read_table(opened, partitioning=None)
    values = {}
    for key, name in (("value", config.predictions.value), ("value_label", config.feedback.value)):
        present = name in table.column_names
        number = (
            _number(config.classes, _plain(table.column(name))) if present else pd.Series(np.nan, range(len(table)))
        )
        values[key] = number.where(_valid(config.classes, config.task, number, key))
    columns: dict[str, pd.Series] = {}
    for name in config.columns:
        columns |= _with_text(name, _column(_as_logged(table.column(name), types.get(name, ""))))
    times = {"predicted_at": pd.NaT, "known_at": pd.NaT, "delay": np.nan}
    return _as_pairs(config, _binned(config.edges, pd.DataFrame({**values, **times, **columns})))


def _valid(classes: Sequence[str], task: str, number: pd.Series, key: str) -> pd.Series[bool]:
    """Which numbers would be valid in a log."""
    if task == "binary":
        return number.between(0, 1) if key == "value" else number.isin([0.0, 1.0])
    least = 0 if classes or (task == "ranking" and key == "value_label") else -np.inf
    return pd.Series(np.isfinite(number) & (number >= least))


def _as_logged(column: Column, type_name: str) -> Column:
    """A column of a reference table with the type that the logs' own column has."""
    name = "string" if type_name == "hive" or type_name.startswith("dictionary") else type_name
    try:
        # The stubs only know names written in the code; this one comes from a file.
        return column.cast(pa.type_for_alias(name), safe=False)  # type: ignore[call-overload]
    except ValueError:
        return column


def _plain(column: Column) -> pd.Series:
    values: pd.Series = column.to_pandas(types_mapper=NULLABLE.get)
    return values


def _column(column: Column) -> pd.Series:
    """A column that the config names. Floats that are not finite become null, and -0.0 becomes 0.0."""
    values = _plain(column)
    return values.where(np.isfinite(values)) + 0.0 if pa.types.is_floating(column.type) else values


def _with_text(name: str, values: pd.Series) -> dict[str, pd.Series]:
    """A column that the config names, and its `slice:` text."""
    nullable = isinstance(values.array, pd.arrays.BooleanArray | pd.arrays.IntegerArray | pd.arrays.FloatingArray)
    # SLIs get NumPy types, and NumPy does not know pandas' own null.
    plain = values.astype(object).where(values.notna(), None) if nullable else values
    # If some files have numbers and others text, SQL turns all of them into text.
    mixed = pd.api.types.infer_dtype(values, skipna=True) in ("mixed", "mixed-integer")
    return {name: _text(values) if mixed else plain, f"slice:{name}": _text(values)}


def _number(classes: Sequence[str], values: pd.Series) -> pd.Series:
    """Values as numbers; for a multiclass task the position of the class, -1 for an unknown class."""
    if not classes:
        return values.astype("float64")
    positions = {name: float(i) for i, name in enumerate(classes)}
    texts = _text(values)
    return texts.map(positions).astype("float64").fillna(-1.0).where(texts.notna())


def _text(values: pd.Series) -> pd.Series:
    """Values as SQL writes them; null stays null."""

    def text(value: object) -> str:
        # pandas writes a 32-bit float with the digits it needs; as a Python float it would have more.
        if fraction:
            return str(float(value)).removesuffix(".0")  # type: ignore[arg-type]
        return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)

    single, fraction = values.dtype == np.float32, pd.api.types.is_float_dtype(values.dtype)
    present = values.dropna()
    return (present.astype(str) if single else present).map(text).astype(object).reindex(values.index)


def _read(
    files: Files,
    log: Predictions | Feedback,
    columns: Sequence[str],
    zone: Zone,
    classes: Sequence[str],
    storage: Storage,
) -> pd.DataFrame:
    """Valid rows of files: id (text), time (UTC), value, the columns asked for, and each of these as `slice:` text."""
    parts = [_read_file(file, log, columns, zone, classes, storage) for file in files if file.usable]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", "time", "value", *columns])
    if not parts:
        rows = rows.astype({"time": "datetime64[us, UTC]", "value": float})
    return rows.assign(**{key: values for name in columns for key, values in _with_text(name, rows[name]).items()})


def _read_file(
    file: LogFile,
    log: Predictions | Feedback,
    columns: Sequence[str],
    zone: Zone,
    classes: Sequence[str],
    storage: Storage,
) -> pd.DataFrame:
    """The valid rows of one file, without `slice:` texts."""
    stored = [name for name in dict.fromkeys((log.id, log.time, log.value, *columns)) if file.types[name] != "hive"]
    with filesystem(file.path, storage)[0].open(file.path, "rb") as opened:
        table = pq.read_table(opened, columns=stored, partitioning=None)
    partition = dict(part.split("=", 1) for part in file.path.split("/") if "=" in part)
    number = _number(classes, _plain(table.column(log.value)))
    floating = pa.types.is_floating(table.column(log.value).type)
    nan = pc.is_nan(table.column(log.value)).fill_null(False).to_numpy() if floating else False
    ids, times = _text(_plain(table.column(log.id))), _instants(zone, table.column(log.time).to_pandas())
    valid = ids.notna() & times.notna() & ~np.isinf(number) & ~nan & ~(number < 0 if classes else False)
    extra = {name: _column(table.column(name)) if name in stored else partition[name] for name in columns}
    rows: pd.DataFrame = pd.DataFrame({"id": ids, "time": times, "value": number, **extra}).loc[valid]
    return rows


def _instants(zone: Zone, times: pd.Series) -> pd.Series[pd.Timestamp]:
    """Instants in UTC; naive times are read in the zone (PEP 495, fold=0), one by one."""
    times = pd.to_datetime(times).dt.as_unit("us")
    if times.dt.tz is not None:
        return times.dt.tz_convert("UTC")
    instants = {time: pd.Timestamp(moment(zone.parse(time.to_pydatetime()))) for time in times.dropna().unique()}
    return pd.to_datetime(times.map(instants), utc=True).dt.as_unit("us")
