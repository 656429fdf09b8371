"""States: mergeable aggregates over the pairs of a tile, and what SLIs see of them after merging.

Merging is associative and commutative to the bit: counts are integers, sums are exact fixed-point integers, histograms
are maps from value to count, samples keep the smallest keys. Limit: a sum's term must be below 2^96 in size; beyond,
the sum is undefined and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

Kind = Literal["count", "sum", "min", "max", "histogram", "sample", "window"]
Spread = Literal["real", "probability"]

VERSION = 1
"""Part of every state's identity: raise it when the stored form or its meaning changes."""

EXACT_ROWS = 1024
"""A histogram of at most this many rows keeps their exact values."""
SAMPLE_ROWS = 1000
"""A sample keeps this many pairs."""
BITS = 10
"""Significant bits of a rounded value: a relative error of at most 2**-BITS."""
SPLIT = float(2 ** (53 - BITS) + 1)
FRACTION = 2.0**80
LIMIT = 2.0**96
ROUNDABLE = 1e290


@dataclass(frozen=True)
class State:
    """One aggregate: `kind` over the SQL expression `of` for the pairs where `where` holds.

    `spread` says how a histogram rounds: `real` keeps BITS significant bits, `probability` does so from both ends of
    0..1. `call` is the dotted name of a Python function for kind `window`, the one that does not merge.
    """

    kind: Kind
    of: str = ""
    where: str = "true"
    spread: Spread = "real"
    call: str = ""
    source: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """Column name in the tiles: equal states of several SLIs are one column."""
        content = "\x1f".join([str(VERSION), self.kind, self.of, self.where, self.spread, self.call, self.source])
        return f"{self.kind}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def integers(column: Any) -> Integers:
    """A column of DuckDB or Arrow that holds integers and no null."""
    return np.asarray(column, dtype=np.int64)


def rounded(values: Floats, spread: Spread = "real") -> Floats:
    """Values rounded to BITS significant bits (Veltkamp's splitting; Dekker 1971), bit for bit as the kernel's SQL."""
    with np.errstate(over="ignore", invalid="ignore"):
        if spread == "probability":
            return np.where(values < 0.5, _significant(values), 1.0 - _significant(1.0 - values))
        return np.where(np.abs(values) > ROUNDABLE, values, _significant(values))


def _significant(values: Floats) -> Floats:
    scaled = values * SPLIT
    return scaled - (scaled - values)


def rounded_sql(value: str, spread: Spread) -> str:
    """SQL twin of `rounded`."""

    def significant(x: str) -> str:
        return f"(({x}) * {SPLIT!r}::DOUBLE - (({x}) * {SPLIT!r}::DOUBLE - ({x})))"

    if spread == "probability":
        upper = f"1.0::DOUBLE - {significant(f'1.0::DOUBLE - {value}')}"
        return f"(CASE WHEN {value} < 0.5 THEN {significant(value)} ELSE {upper} END)"
    return f"(CASE WHEN abs({value}) > {ROUNDABLE!r} THEN {value} ELSE {significant(value)} END)"


@dataclass(frozen=True)
class Histograms:
    """For each of n rows a map from value to count, flat: row i holds `keys[offsets[i]:offsets[i + 1]]`, ascending.

    `exact[i]` says that row i's keys are the very values; otherwise they are rounded ones.
    """

    offsets: Integers
    keys: Floats
    counts: Integers
    exact: Flags
    spread: Spread = "real"

    @property
    def rows(self) -> Integers:
        """The row each key belongs to."""
        return np.repeat(np.arange(len(self.exact)), np.diff(self.offsets))

    @property
    def totals(self) -> Integers:
        """Number of values in each row."""
        return totals_by(self.offsets, self.counts)

    def where_exact(self, exact: Flags) -> Floats:
        """The keys, rounded in those rows where `exact` is false."""
        return np.where(exact[self.rows], self.keys, rounded(self.keys, self.spread))


def totals_by(offsets: Integers, counts: Integers) -> Integers:
    """Sums of `counts` between consecutive offsets; 0 for an empty stretch."""
    running = np.concatenate([[0], np.cumsum(counts)])
    found: Integers = running[offsets[1:]] - running[offsets[:-1]]
    return found


@dataclass(frozen=True)
class Samples:
    """For each of n rows a uniform sample of its pairs: `truth[i]` and `prediction[i]`, ordered by key."""

    truth: list[Any]
    prediction: list[Any]
    keys: list[Any]


@dataclass(frozen=True)
class Merged:
    """The states of n (window, slice) rows after merging, by the names an SLI gave them."""

    predictions: Integers
    labelled: Integers
    states: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.states[name]
