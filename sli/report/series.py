"""Published rows over time, read from one publication grain by grain, and packed slice by slice.

The rows stay columns from the tables to the page. Limit: the rows of one grain and of the slices asked for are in
memory at once; of all other slices only those of one stretch of days are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.duration import SECOND
from sli.engine.arrow import ChunkedColumn
from sli.engine.connection import scratch
from sli.masking import masked
from sli.reading.publication import Publication
from sli.report import chunks
from sli.report.rows import Days, grain_rows, stretches
from sli.rollup.results import encode

Codes: TypeAlias = npt.NDArray[np.int32]
NUMBERS = {
    "value": "value",
    "low": "ci_low",
    "high": "ci_high",
    "missingLow": "missing_low",
    "missingHigh": "missing_high",
}
"""Columns of numbers: how the page calls them, and their names in the tables."""
VERDICTS = {"met": 0, "breached": 1, "undecided": 2}
VERDICT_LETTERS = "mbu"
REASON_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""Of more reasons than letters in one series, the rest are not told."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The SLIs and slices of a page, each with the number that the page calls it by."""

    slis: Mapping[str, int]
    definitions: Collection[str]
    """Rows of any other definition belong to a series that the config no longer has."""
    slices: Mapping[str, int]
    """By their canonical JSON."""
    since: int
    """Windows that begin earlier are cut by it, and left out. In seconds."""

    def first_slices(self, count: int) -> Wanted:
        """The same with only the first slices."""
        return replace(self, slices={text: at for text, at in self.slices.items() if at < count})


RESTATED_DIGITS = 7
"""Enough to see that a value and the one before it differ."""
NOTHING_RESTATED = chunks.table_of(
    {name: np.array([], np.float64 if name == "old" else np.int64) for name in ("slice", "sli", "end", "old")}
)
COLUMNS = [
    *("sli", "definition", "slice", "window_start", "window_end", *NUMBERS.values()),
    *("reason", "predictions", "labelled", "maturity", "verdict"),
]


def codes(column: ChunkedColumn, numbers: Mapping[str, int]) -> Codes:
    """For each text of a column its number; -1 for null and any other text."""
    texts = encode(column)
    distinct = cast("list[str]", texts.dictionary.to_pylist())
    table = np.array([*(numbers.get(text, -1) for text in distinct), -1], np.int32)
    at: Codes = table[texts.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
    return at


def slice_texts(column: ChunkedColumn) -> ChunkedColumn:
    """The canonical JSON of each slice of a column of maps."""
    with scratch() as con:
        con.register("slices", chunks.table_of({"slice": column}))
        texts: ChunkedColumn = con.sql("SELECT to_json(slice)::VARCHAR AS t FROM slices").to_arrow_table().column("t")
    return texts


def read_series(publication: Publication, wanted: Wanted, grain: str, days: Days | None = None) -> pa.Table:
    """The rows of a grain that are wanted, ordered by slice, window and SLI; times are in seconds.

    Columns: slice, sli and verdict as numbers (-1: none), start, end, the `NUMBERS`, reason (a text), predictions,
    labelled, final. Raises StoreError.
    """
    parts = [
        coded(grain_rows(publication, COLUMNS, grain, stretch), wanted)
        for stretch in (stretches(publication, grain) if days is None else [days])
    ]
    return in_order(pa.concat_tables(parts or [coded(schemas.RESULTS.empty_table(), wanted)]))


def in_order(series: pa.Table) -> pa.Table:
    """Rows ordered by slice, window and SLI."""
    return series.sort_by([(name, "ascending") for name in ("slice", "end", "sli")]).combine_chunks()


def coded(rows: pa.Table, wanted: Wanted) -> pa.Table:
    """Results in the form of `read_series`, in any order."""
    slice, sli = codes(slice_texts(rows.column("slice")), wanted.slices), codes(rows.column("sli"), wanted.slis)
    start, end = (rows.column(name).cast(pa.int64()).to_numpy() // SECOND for name in ("window_start", "window_end"))
    present = codes(rows.column("definition"), dict.fromkeys(wanted.definitions, 0))
    chosen = np.flatnonzero((slice >= 0) & (sli >= 0) & (present >= 0) & (start >= wanted.since))
    rows = rows.select([*NUMBERS.values(), "reason", "predictions", "labelled", "maturity", "verdict"]).take(chosen)
    return chunks.table_of(
        {
            "slice": slice[chosen],
            "sli": sli[chosen],
            "start": start[chosen],
            "end": end[chosen],
            **{name: rows.column(column) for name, column in NUMBERS.items()},
            "reason": rows.column("reason"),
            "predictions": rows.column("predictions"),
            "labelled": rows.column("labelled"),
            "final": chunks.is_text(rows.column("maturity"), "final"),
            # The tables call an objective undecided where there is no value; the page says that there is no value.
            "verdict": np.where(np.isnan(_floats(rows, "value")), -1, codes(rows.column("verdict"), VERDICTS)),
        }
    )


def packed_slices(series: pa.Table, slis: int, restated: pa.Table) -> Iterator[tuple[int, str]]:
    """Each slice of `read_series` and its chunk, packed; `slis` is how many SLIs the page has.

    `restated` has the columns slice, sli, end and old: the values before the last run.
    """
    slices, of_restated = series.column("slice").to_numpy(), restated.column("slice").to_numpy()
    edges = np.flatnonzero(np.diff(slices, prepend=-1, append=-1))
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        number = int(slices[first])
        old = restated.take(np.flatnonzero(of_restated == number))
        yield number, chunks.packed(chunk_text(series.slice(first, last - first), slis, old))


@dataclass(frozen=True)
class _Grid:
    """The rows of a slice in a grid: a line for each SLI, a place in it for each window."""

    slis: int
    windows: int
    place: chunks.Integers
    """Where in the grid each row belongs."""

    @classmethod
    def by(cls, column: str, rows: pa.Table, slis: int) -> tuple[_Grid, npt.NDArray[np.int64]]:
        """The grid with a place for each value of an ordered column, and the first row of each place."""
        keys = rows.column(column).to_numpy()
        new = np.diff(keys, prepend=keys[:1] - 1) != 0
        heads, place = np.flatnonzero(new), np.cumsum(new) - 1
        return cls(slis, len(heads), rows.column("sli").to_numpy().astype(np.int64) * len(heads) + place), heads

    def of(self, values: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        """A grid of these values of the rows, `empty` where no row is."""
        grid = np.full(self.slis * self.windows, empty, values.dtype)
        grid[self.place] = values
        return grid.reshape(self.slis, self.windows)


def chunk_text(rows: pa.Table, slis: int, restated: pa.Table) -> str:
    """The chunk of one slice and grain as JSON; the rows are in the order of `read_series`."""
    return chunks.object_text(_members(rows, slis, "end", restated))


def newest_text(series: pa.Table, slis: int, grain: int) -> str:
    """The newest window of each slice of `read_series` as JSON: like a chunk, with slices in place of windows."""
    slices, ends = (series.column(name).to_numpy() for name in ("slice", "end"))
    edges = np.flatnonzero(np.diff(slices, append=-1))
    newest = dict(zip(slices[edges].tolist(), ends[edges].tolist(), strict=True))
    rows = series.filter(pa.array(ends == np.array([newest[number] for number in slices.tolist()], np.int64)))
    members = _members(rows, slis, "slice", NOTHING_RESTATED)
    own = {"grain": str(grain), "slice": chunks.integers(np.array(list(newest), np.int64))}
    return chunks.object_text(own | members)


def _members(rows: pa.Table, slis: int, by: str, restated: pa.Table) -> dict[str, str]:
    """The members of a chunk that has a place for each value of the column `by`, as JSON."""
    grid, heads = _Grid.by(by, rows, slis)
    windows = rows.take(heads)
    start, end, predictions, labelled = (
        windows.column(name).to_numpy() for name in ("start", "end", "predictions", "labelled")
    )
    old = _old_values(restated, slis, end)
    columns = _number_columns(rows, grid, old) | _letter_columns(rows, grid)
    columns["old"] = [chunks.object_text(values) for values in old]
    lines = [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]
    return {
        "start": chunks.differences(start),
        "end": chunks.differences(end),
        "predictions": chunks.integers(predictions),
        "labelled": chunks.integers(labelled),
        "final": json.dumps(chunks.letters(windows.column("final").cast(pa.int8()).to_numpy(), "01")),
        "slis": f"[{','.join(map(chunks.object_text, lines))}]",
    }


@dataclass(frozen=True)
class Line:
    """The values of an SLI over time, NaN where there is none, and which of them are final."""

    values: chunks.Floats
    final: npt.NDArray[np.bool_]


def lines_of(series: pa.Table, slis: int) -> list[Line]:
    """The course of each SLI over the first slice of `read_series`."""
    rows = series.filter(pc.field("slice") == 0)
    grid, heads = _Grid.by("end", rows, slis)
    final = rows.column("final").to_numpy()[heads]
    return [Line(values, final) for values in grid.of(_floats(rows, "value"), np.nan)]


def _floats(rows: pa.Table, name: str) -> chunks.Floats:
    """A column of numbers, null as NaN."""
    return np.asarray(rows.column(name).to_numpy(), np.float64)


def _number_columns(rows: pa.Table, grid: _Grid, old: list[dict[str, str]]) -> dict[str, list[str]]:
    """The lists of numbers of each SLI, rounded. Bounds of missing labels are left out where both are the value."""
    digits = np.full((grid.slis, grid.windows), chunks.DIGITS)
    for sli, places in enumerate(old):
        digits[sli, [int(place) for place in places]] = RESTATED_DIGITS
    value, low, high, missing_low, missing_high = (grid.of(_floats(rows, name), np.nan) for name in NUMBERS)
    nothing_missing = (missing_low == value) & (missing_high == value)
    numbers = {
        "value": chunks.significant(value, digits),
        "low": chunks.of_width(low, low, high),
        "high": chunks.of_width(high, low, high),
        "missingLow": np.where(nothing_missing, np.nan, chunks.of_width(missing_low, missing_low, missing_high)),
        "missingHigh": np.where(nothing_missing, np.nan, chunks.of_width(missing_high, missing_low, missing_high)),
    }
    return {name: chunks.number_lists(grid_of_numbers) for name, grid_of_numbers in numbers.items()}


def _letter_columns(rows: pa.Table, grid: _Grid) -> dict[str, list[str]]:
    """For each SLI verdicts and reasons for having no value, a letter a window, and the texts of the reasons."""
    reasons = encode(rows.column("reason"))
    texts = cast("list[str]", reasons.dictionary.to_pylist())
    why = grid.of(reasons.indices.fill_null(-1).to_numpy(zero_copy_only=False), -1)
    verdict = grid.of(rows.column("verdict").to_numpy(), -1)
    columns: dict[str, list[str]] = {"verdict": [], "why": [], "reasons": []}
    for verdicts, numbers in zip(verdict, why, strict=True):
        used = np.unique(numbers[numbers >= 0])[: len(REASON_LETTERS)]
        own = np.where(np.isin(numbers, used), np.searchsorted(used, numbers), -1)
        columns["verdict"].append(json.dumps(chunks.letters(verdicts, VERDICT_LETTERS)))
        columns["why"].append(json.dumps(chunks.letters(own, REASON_LETTERS)))
        columns["reasons"].append(json.dumps([masked(texts[number]) for number in used]))
    return columns


def _old_values(restated: pa.Table, slis: int, ends: chunks.Integers) -> list[dict[str, str]]:
    """For each SLI the values before the last run, by the place of their window."""
    old: list[dict[str, str]] = [{} for _ in range(slis)]
    places = {end: str(place) for place, end in enumerate(ends.tolist())}
    values = chunks.numbers(chunks.significant(_floats(restated, "old"), RESTATED_DIGITS))
    slis_of, ends_of = (restated.column(name).to_numpy().tolist() for name in ("sli", "end"))
    for sli, end, value in zip(slis_of, ends_of, values, strict=True):
        if end in places:
            old[sli][places[end]] = value
    return old
