"""States that are lists (histograms, groups, distinct values, samples): their elements as rows, merged and read back.

In the tile tree each element is one row, so DuckDB merges a list with a GROUP BY. Limit: the elements of all rows that
are read together are in memory at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

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
    Samples,
    integers,
    rounded_sql,
    smallest_sql,
    totals_by,
)

HASHES = 2.0**63


@dataclass(frozen=True)
class Shape:
    """How a state that is a list lies in rows: columns made from an element `x`, in the order of its fields, and how
    they are ordered."""

    columns: Mapping[str, str]
    order: str

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
    """SQL that merges a list state's rows of each group; a histogram of more than EXACT_ROWS values is rounded."""
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


def _read_histograms(state: State, offsets: Integers, found: Mapping[str, Any]) -> Histograms:
    counts = integers(found["n"])
    exact: Flags = totals_by(offsets, counts) <= EXACT_ROWS
    return Histograms(offsets, _doubles(found["value"]), counts, integers(found["marked"]), exact, state.spread)


def _read_groups(_: State, offsets: Integers, found: Mapping[str, Any]) -> Groups:
    whole, fraction = (_doubles(found[name].cast(pa.float64())) for name in ("whole", "fraction"))
    undefined = _doubles(found["undefined"].cast(pa.float64())) > 0
    sums = np.where(undefined, np.nan, whole + fraction / FRACTION)
    keys = np.asarray(found["key"].to_numpy(zero_copy_only=False), dtype=object)
    return Groups(offsets, keys, integers(found["n"]), sums)


def _doubles(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _read_distincts(_: State, offsets: Integers, found: Mapping[str, Any]) -> Distincts:
    kept = np.diff(offsets)
    largest = np.full(len(kept), np.nan)
    # Ascending, so the last of a row is its largest.
    largest[kept > 0] = integers(found["hash"])[offsets[1:][kept > 0] - 1] / HASHES
    return Distincts(kept, largest)


def _read_samples(state: State, offsets: Integers, found: Mapping[str, Any]) -> Samples:
    truth, prediction = (_doubles(found[name]) for name in ("truth", "prediction"))
    keys = integers(found["key"])
    texts = found["columns"].to_pylist() if state.columns else []
    pieces = list(itertools.pairwise(offsets))
    columns: list[Mapping[str, Any]] = [
        {name: np.array([each[i] for each in texts[a:b]], dtype=object) for i, name in enumerate(state.columns)}
        for a, b in pieces
    ]
    return Samples(
        [truth[a:b] for a, b in pieces], [prediction[a:b] for a, b in pieces], [keys[a:b] for a, b in pieces], columns
    )


READERS = {
    "histogram": _read_histograms,
    "groups": _read_groups,
    "distinct": _read_distincts,
    "sample": _read_samples,
}
