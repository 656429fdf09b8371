"""States that are lists (histograms, groups, distinct values, samples): merges their elements and reads them back.

In the tile tree each element is one row, so DuckDB merges lists with a GROUP BY. Limit: the elements of all rows that
are read together are in memory at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import pyarrow as pa

from sli.engine.arrow import ChunkedColumn, Column
from sli.slis import State
from sli.slis.states import (
    DISTINCT,
    EXACT_ROWS,
    FRACTION,
    SAMPLE_ROWS,
    Distincts,
    Flags,
    Floats,
    Groups,
    Histograms,
    Integers,
    Objects,
    Samples,
    integers,
    rounded_sql,
    smallest_sql,
    totals_by,
)

HASHES = 2.0**63
"""The number of possible hashes."""
Lists: TypeAlias = Histograms | Groups | Distincts | Samples
StateValues: TypeAlias = Integers | Floats | Lists | tuple[Floats, Objects]
"""What merged rows have of one state; a pair is the value and the reason of a Python function."""
Elements: TypeAlias = "Mapping[str, Column | ChunkedColumn]"
"""The columns of the elements of many lists, laid end to end."""


@dataclass(frozen=True)
class Shape:
    """The rows of a list state's elements."""

    columns: Mapping[str, str]
    """SQL of each column from an element `x`, in the order of the element's fields."""
    order: str
    """The order of elements within a list."""

    @property
    def names(self) -> str:
        return ", ".join(self.columns)

    @property
    def unnested(self) -> str:
        return ", ".join(f"{sql} AS {name}" for name, sql in self.columns.items())


SHAPES = {
    "histogram": Shape({"value": "x.value", "n": "x.count", "marked": "x.marked"}, "value"),
    "groups": Shape(
        {
            "key": "x.key",
            "n": "x.count",
            "whole": "x.whole::HUGEINT",
            "fraction": "x.fraction::HUGEINT",
            "undefined": "x.undefined",
        },
        "key",
    ),
    "distinct": Shape({"hash": "x"}, "hash"),
    "sample": Shape(
        {"key": "x.key", "truth": "x.truth", "prediction": "x.prediction", "columns": "x.columns"},
        "key, truth, prediction",
    ),
}


def merge_sql(state: State, source: str, group: str, totals: str) -> str:
    """SQL that merges the elements of each group of rows of `source`.

    `totals` is a table with the number of values of each group, which decides whether a histogram rounds them.
    """
    if state.kind == "histogram":
        value = f"CASE WHEN total > {EXACT_ROWS} THEN {rounded_sql('value', state.spread)} + 0.0::DOUBLE ELSE value END"
        return (
            f"SELECT {group}, key AS value, sum(n)::BIGINT AS n, sum(marked)::BIGINT AS marked, "
            "any_value(total) AS total "
            f"FROM (SELECT {group}, {value} AS key, n, marked, total FROM ({source}) JOIN {totals} USING ({group})) "
            f"GROUP BY {group}, key"
        )
    if state.kind == "groups":
        summed = ", ".join(f"sum({name}) AS {name}" for name in ("n", "whole", "fraction", "undefined"))
        return f"SELECT {group}, key, {summed} FROM ({source}) GROUP BY {group}, key"
    if state.kind == "distinct":
        distinct = f"SELECT DISTINCT {group}, hash FROM ({source})"
        return f"SELECT {group}, unnest({smallest_sql('hash', DISTINCT)}) AS hash FROM ({distinct}) GROUP BY {group}"
    place = f"row_number() OVER (PARTITION BY {group} ORDER BY key, truth, prediction)"
    return f"SELECT {group}, key, truth, prediction, columns FROM ({source}) QUALIFY {place} <= {SAMPLE_ROWS}"


def _histograms(state: State, offsets: Integers, elements: Elements) -> Histograms:
    counts = integers(elements["n"])
    exact: Flags = totals_by(offsets, counts) <= EXACT_ROWS
    return Histograms(offsets, _doubles(elements["value"]), counts, integers(elements["marked"]), exact, state.spread)


def _groups(_: State, offsets: Integers, elements: Elements) -> Groups:
    whole, fraction, undefined = (
        _doubles(elements[name].cast(pa.float64())) for name in ("whole", "fraction", "undefined")
    )
    sums = np.where(undefined > 0, np.nan, whole + fraction / FRACTION)
    keys = np.asarray(elements["key"].to_numpy(zero_copy_only=False), dtype=object)
    return Groups(offsets, keys, integers(elements["n"]), sums)


def _distincts(_: State, offsets: Integers, elements: Elements) -> Distincts:
    kept = np.diff(offsets)
    largest = np.full(len(kept), np.nan)
    # Hashes ascend, so the last of a row is its largest.
    largest[kept > 0] = integers(elements["hash"])[offsets[1:][kept > 0] - 1] / HASHES
    return Distincts(kept, largest)


def _samples(state: State, offsets: Integers, elements: Elements) -> Samples:
    truth, prediction = (_doubles(elements[name]) for name in ("truth", "prediction"))
    keys = integers(elements["key"])
    # Arrow allows null lists, but a sample never stores one.
    texts = cast("list[list[str | None]]", elements["columns"].to_pylist() if state.columns else [])
    pieces = list(itertools.pairwise(offsets))
    columns: list[Mapping[str, Objects]] = [
        {name: np.array([row[i] for row in texts[a:b]], dtype=object) for i, name in enumerate(state.columns)}
        for a, b in pieces
    ]
    return Samples(
        [truth[a:b] for a, b in pieces], [prediction[a:b] for a, b in pieces], [keys[a:b] for a, b in pieces], columns
    )


def _doubles(column: Column | ChunkedColumn) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


READERS: Mapping[str, Callable[[State, Integers, Elements], Lists]] = {
    "histogram": _histograms,
    "groups": _groups,
    "distinct": _distincts,
    "sample": _samples,
}
"""For each kind of list the function that turns offsets and elements into what an SLI sees."""
