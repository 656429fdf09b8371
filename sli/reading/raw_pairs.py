"""Pairs of predictions and feedback, made from the raw logs by plain pandas alone: what `verify` trusts.

They use nothing of the engine: no join and no states. Limit: both logs are read whole into memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sli.calendar.duration import Duration
from sli.calendar.interval import moment
from sli.config.log_sections import Feedback
from sli.config.model import Config
from sli.engine.storage import filesystem
from sli.logs.files import Files, Inputs
from sli.logs.log import feedback_log, predictions_log
from sli.reading.raw_rows import numbers, plain_column, raw_rows, with_text
from sli.slices import bin_names

if TYPE_CHECKING:
    Column = pa.ChunkedArray[Any]
    """A column of any type."""


def raw_pairs(config: Config, inputs: Inputs, as_of: int) -> pd.DataFrame:
    """A row for each prediction that counts, with the label that counts at `as_of`, if there is one.

    Columns: predicted_at, known_at, delay (seconds), prediction, label, labelled, usable, decision, query; and each
    column that the config names twice: as it is in the log, and as text under `slice:NAME`.
    """
    cutoff = pd.Timestamp(moment(as_of))
    predictions, feedback = _predictions(config, inputs.predictions, cutoff), _feedback(config, inputs, cutoff)
    if config.known_at_once:
        feedback = feedback.assign(time=feedback.id.map(predictions.set_index("id").time)).dropna(subset=["time"])
    return _as_pairs(config, _labelled(predictions, feedback, config.feedback_rules, config.horizon))


def _predictions(config: Config, files: Files, cutoff: pd.Timestamp) -> pd.DataFrame:
    """The predictions that count: of those with one id that are near each other one."""
    log, since = config.predictions, pd.Timestamp(moment(config.since_instant))
    predictions = raw_rows(files, predictions_log(config), config.zone)
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
    return _binned(config.edges, ordered[~_are_duplicates(config, ordered)])


def _are_duplicates(config: Config, ordered: pd.DataFrame) -> pd.Series[bool]:
    """Which predictions have one with their id before them that is near; ordered as they win."""
    tile = ordered.time.dt.as_unit("us").astype("int64") // config.tile
    # In this order tiles only ascend or only descend, so the one just before is the nearest.
    apart = tile.groupby(ordered.id).diff().abs()
    duplicates: pd.Series[bool] = apart.notna() & (apart * config.tile <= config.duplicates_apart)
    return duplicates


def _feedback(config: Config, inputs: Inputs, cutoff: pd.Timestamp) -> pd.DataFrame:
    """The valid rows of feedback known at `cutoff`."""
    feedback = raw_rows(inputs.feedback, feedback_log(config), config.zone)
    feedback = feedback[feedback.time <= cutoff]
    if config.task == "binary":
        feedback = feedback[feedback.value.isna() | feedback.value.isin([0.0, 1.0])]
    if config.task == "ranking":
        feedback = feedback[feedback.value.isna() | (feedback.value >= 0)]
    if config.feedback_rules.nulls == "ignore":
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
    predictions = predictions.assign(number=np.arange(len(predictions)))
    both = predictions[["id", "time", "number"]].merge(feedback, on="id", suffixes=("", "_known"))
    delay = both.time_known - both.time
    early, late = pd.Timedelta(log.early.micros, "us"), pd.Timedelta(horizon.micros, "us")
    both = both[(delay >= -early) & (delay <= late)]
    latest = both.sort_values(
        ["time_known", "value"], ascending=[log.keep == "first", False], na_position="last", kind="stable"
    ).drop_duplicates("number", keep="first")
    joined = predictions.merge(
        latest[["number", "time_known", "value"]], on="number", how="left", suffixes=("", "_label")
    )
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
        names = dict(enumerate(config.class_names))
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
        query=with_text("query", joined[query])["slice:query"] if (query := config.predictions.query) else None,
        delay=joined.delay.where(labelled),
    )


def reference_pairs(config: Config, predictions: Files) -> dict[str, pd.DataFrame]:
    """The rows of each reference table as pairs, by the path of the table."""
    first = predictions.first_usable
    types = predictions_log(config).column_types(first) if first else {}
    paths = {sli.reference.path for sli in config.declared if sli.reference and sli.reference.kind == "table"}
    return {path: _table_pairs(config, path, types) for path in paths}


def _table_pairs(config: Config, path: str, types: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a reference table as pairs, with prediction and label if it has the logs' value columns."""
    fs, place = filesystem(path, config.storage)
    with fs.open(place, "rb") as opened:
        table = pq.read_table(opened, partitioning=None)
    values = {}
    for key, log in (("value", predictions_log(config)), ("value_label", feedback_log(config))):
        present = log.value in table.column_names
        number = numbers(log, table.column(log.value)) if present else pd.Series(np.nan, range(len(table)))
        values[key] = number.where(_valid(config.class_names, config.task, number, key))
    columns: dict[str, pd.Series] = {}
    for name in config.columns:
        columns |= with_text(name, plain_column(_as_logged(table.column(name), types.get(name, ""))))
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
