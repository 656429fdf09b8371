"""The roll-up of a run: the values of SLIs over windows, as rows of the results table.

Every window is a merge of tiles: no rows of a log are read, and nothing is subtracted. Limit: the longest window is
merged from all of its nodes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants
from sli.calendar.zone import Zone
from sli.config.model import Config
from sli.engine.arrow import ChunkedColumn, Column
from sli.planning.late_feedback import Horizon
from sli.rollup.evaluate import Batch, Evaluation
from sli.rollup.merge import TileTables
from sli.slis import Sli
from sli.slis.states import Floats, Objects

TextDictionary: TypeAlias = "pa.DictionaryArray[pa.lib.Int32Type, pa.lib.StringType]"


def newest_hour(since: int, zone: Zone, tiles: pa.Table) -> int:
    """End of the local hour of the newest prediction; `since` if there is none."""
    spans = tiles.column("span").to_numpy(zero_copy_only=False)
    starts = tiles.column("start").cast(pa.int64()).to_numpy()[spans == "tile"]
    if len(starts) == 0:
        return since
    last = int(starts.max())
    return int(zone.hours(last, last + 1)[-1])


def roll_up(
    evaluation: Evaluation, grain: Grain, starts: Instants, ends: Instants, as_of: int, done: Callable[[int], None]
) -> Iterator[pa.Table]:
    """The results of windows of a grain in batches: one row a window, slice and SLI, with the columns ROLLED.

    `done` is called after each batch with the number of windows that are finished. Raises OutOfMemory.
    """
    for batch in evaluation.batches(grain, starts, ends):
        yield from (rows for _, rows in results(evaluation.config, grain, batch, as_of))
        done(batch.done)


def tile_tables(zone: Zone, tiles: pa.Table, days: pa.Table, references: Mapping[str, pa.Table]) -> TileTables:
    """What `roll_up` merges, from rows of the tables `tiles` and `days`, and the reference tables by their path."""
    days = days.filter(pc.equal(days.column("span"), pa.scalar("tile")))
    return TileTables(tiles, days, midnights_of(zone, days), references)


def midnights_of(zone: Zone, days: pa.Table) -> Instants:
    """The first instants of the first to the last day tile, and of the day after."""
    starts = days.column("start").cast(pa.int64()).to_numpy()
    if len(starts) == 0:
        return np.array([], dtype=np.int64)
    first, last = zone.date(int(starts.min())), zone.date(int(starts.max())) + timedelta(days=1)
    return np.array(zone.midnights(first, last), dtype=np.int64)


def results(config: Config, grain: Grain, batch: Batch, as_of: int) -> Iterator[tuple[Sli, pa.Table]]:
    """The rows of a batch, one table an SLI, with the columns ROLLED and texts as dictionaries.

    All SLIs share the memory of equal columns.
    """
    n = len(batch.rows)
    if not batch.values:
        return
    first = pa.array(np.zeros(n, dtype=np.int32), pa.int32())
    null_texts, null_numbers = pa.nulls(n, TEXT), pa.nulls(n, pa.float64())
    common = _common_columns(config.zone, Horizon.of(config), batch, as_of)

    def texts(column: Objects) -> Column:
        known = np.flatnonzero(column != None)  # noqa: E711 - of each element
        return pa.array(column, pa.string()).dictionary_encode() if len(known) else null_texts

    def number(column: Floats) -> Column:
        return null_numbers if np.isnan(column).all() else pa.array(column, pa.float64(), from_pandas=True)

    def constant(text: str | None) -> Column:
        return null_texts if text is None else pa.DictionaryArray.from_arrays(first, pa.array([text], pa.string()))

    for sli, values in batch.values:
        columns = {
            **common,
            "sli": constant(sli.name),
            "definition": constant(config.definition(sli)),
            "grain": constant(grain.name),
            "value": number(values.value),
            "reason": texts(values.reason),
            "ci_low": number(values.low),
            "ci_high": number(values.high),
            "missing_low": number(values.missing_low),
            "missing_high": number(values.missing_high),
            "error_bound": number(values.bound),
            "objective": constant(sli.objective.text if sli.objective else None),
            "verdict": texts(sli.objective.verdicts(values)) if sli.objective else null_texts,
        }
        yield sli, pa.table({name: columns[name] for name in ROLLED})


def _common_columns(zone: Zone, horizon: Horizon, batch: Batch, as_of: int) -> dict[str, Column]:
    """The columns that all SLIs share."""
    rows, end = batch.rows, batch.ends[batch.rows.window]
    distinct, at = np.unique(end, return_inverse=True)
    days = [zone.date(int(instant) - 1).isoformat() for instant in distinct]
    final = horizon.final(end, as_of).astype(np.int32)
    with np.errstate(invalid="ignore"):
        coverage = rows.labelled / rows.predictions
    return {
        "window_start": pa.array(batch.starts[rows.window]),
        "window_end": pa.array(end),
        "slice_by": encode(rows.slice_by),
        "slice": encode(rows.slice),
        "predictions": pa.array(rows.predictions),
        "labelled": pa.array(rows.labelled),
        "coverage": pa.array(coverage, from_pandas=True),
        "maturity": pa.DictionaryArray.from_arrays(
            pa.array(final, pa.int32()), pa.array(["provisional", "final"], pa.string())
        ),
        "day": pa.DictionaryArray.from_arrays(pa.array(at, pa.int32()), pa.array(days, pa.string())),
    }


def encode(texts: ChunkedColumn) -> TextDictionary:
    """A column of texts, dictionary-encoded with one dictionary."""
    dictionaries = texts if pa.types.is_dictionary(texts.type) else pc.dictionary_encode(texts)
    whole = dictionaries.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], TEXT)
    # The type of a column is not known before it is read.
    return cast("TextDictionary", whole)


ROLLED: dict[str, pa.DataType] = {
    "sli": pa.string(),
    "definition": pa.string(),
    "grain": pa.string(),
    "window_start": pa.int64(),
    "window_end": pa.int64(),
    "slice_by": pa.string(),
    "slice": pa.string(),
    "value": pa.float64(),
    "reason": pa.string(),
    "ci_low": pa.float64(),
    "ci_high": pa.float64(),
    "missing_low": pa.float64(),
    "missing_high": pa.float64(),
    "error_bound": pa.float64(),
    "predictions": pa.int64(),
    "labelled": pa.int64(),
    "coverage": pa.float64(),
    "maturity": pa.string(),
    "objective": pa.string(),
    "verdict": pa.string(),
    "day": pa.string(),
}
"""The columns of rolled-up rows; rows of table `results` also have model, as_of and run_id."""
TEXT = pa.dictionary(pa.int32(), pa.string())
# Built from batches, since building it from empty arrays would import pandas.
NOTHING = pa.Table.from_batches(
    [], pa.schema([(name, TEXT if pa.types.is_string(kind) else kind) for name, kind in ROLLED.items()])
)
"""A table without results."""
