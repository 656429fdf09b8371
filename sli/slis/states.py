"""States: mergeable aggregates over the pairs of a tile, and what SLIs see of them after merging.

Merging is associative and commutative to the bit: counts are integers, sums are exact fixed-point integers, histograms
and groups are maps, samples and sets of distinct values keep the smallest keys. Limit: a sum's term must be below 2^96
in size; beyond, the sum is undefined and says so.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]

Kind = Literal["count", "sum", "min", "max", "histogram", "groups", "distinct", "sample", "window"]
Spread = Literal["real", "probability"]
Unit = Literal["pair", "query"]

VERSION = 2
"""Part of every state's identity: raise it when the stored form or its meaning changes."""

EXACT_ROWS = 1024
"""A histogram of at most this many rows keeps their exact values."""
SAMPLE_ROWS = 1000
"""A sample keeps this many pairs."""
DISTINCT = 1024
"""A set of distinct values keeps this many hashes."""
BITS = 10
"""Significant bits of a rounded value: a relative error of at most 2**-BITS."""
SPLIT = float(2 ** (53 - BITS) + 1)
FRACTION = 2.0**80
LIMIT = 2.0**96
ROUNDABLE = 1e290
SUM_PARTS = {"whole": "DECIMAL(38, 0)", "fraction": "DECIMAL(38, 0)", "undefined": "BIGINT", "terms": "BIGINT"}
"""What a sum is kept as: its whole part, its fraction in 1 / FRACTION, the terms that do not fit, all terms."""


@dataclass(frozen=True)
class State:
    """One aggregate: `kind` over the SQL expression `of` for the pairs where `where` holds.

    `spread` says how a histogram rounds: `real` keeps BITS significant bits, `probability` does so from both ends of
    0..1; it also counts, for each value, the pairs where `mark` holds. `groups` counts pairs by the text `of` and sums
    `amount` in each group. `call` is the dotted name of a Python function for kind `window`, the one that does not
    merge; `columns` are what a sample keeps beside label and prediction. With unit `query` a count or sum is over the
    queries of a ranking: `of` and `where` see `ranked` (their labels by descending prediction, equal ones by ascending
    label), `ideal` (by descending label), `n` and `complete` (every prediction has a value and a label).
    """

    kind: Kind
    of: str = ""
    where: str = "true"
    spread: Spread = "real"
    mark: str = ""
    amount: str = ""
    unit: Unit = "pair"
    call: str = ""
    columns: tuple[str, ...] = ()
    source: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """Column name in the tiles: equal states of several SLIs are one column."""
        parts = [
            self.kind,
            self.of,
            self.where,
            self.spread,
            self.mark,
            self.amount,
            self.unit,
            self.call,
            *self.columns,
        ]
        content = "\x1f".join([str(VERSION), *parts, self.source])
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


def sum_sql(part: Callable[[str], str]) -> str:
    """SQL of a sum as it is stored; `part` gives the SQL of each of its parts."""
    parts = ", ".join(f"'{name}': {part(name)}::{kind}" for name, kind in SUM_PARTS.items())
    return f"{{{parts}}}"


def smallest(of: str, most: int) -> str:
    """SQL of the smallest values of a group whose values are few: DuckDB's own `min` takes room for `most` at once."""
    return f"list_slice(list_sort(list({of})), 1, {most})"


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

    `exact[i]` says that row i's keys are the very values; otherwise they are rounded ones. `marked` counts the values
    that were marked, 0 where the state marks none.
    """

    offsets: Integers
    keys: Floats
    counts: Integers
    marked: Integers
    exact: Flags
    spread: Spread = "real"

    # Several SLIs look at one histogram: what they all need of it is made once.

    @functools.cached_property
    def rows(self) -> Integers:
        """The row each key belongs to."""
        return np.repeat(np.arange(len(self.exact)), np.diff(self.offsets))

    @functools.cached_property
    def totals(self) -> Integers:
        """Number of values in each row."""
        return totals_by(self.offsets, self.counts)

    @functools.cached_property
    def below(self) -> Integers:
        """Number of lower values in the row of each key."""
        return self._below(self.counts)

    @functools.cached_property
    def marked_below(self) -> Integers:
        """Number of lower values that are marked."""
        return self._below(self.marked)

    def _below(self, counts: Integers) -> Integers:
        running = np.concatenate([[0], np.cumsum(counts)])[:-1]
        found: Integers = running - running[self.offsets[:-1][self.rows]]
        return found

    def where_exact(self, exact: Flags) -> Floats:
        """The keys, rounded in those rows where `exact` is false."""
        return np.where(exact[self.rows], self.keys, rounded(self.keys, self.spread))

    def take(self, rows: Integers) -> Histograms:
        """These rows in this order; -1 is an empty one."""
        offsets, at = taken(self.offsets, rows)
        # The row beyond the last, -1, is the empty one.
        exact = np.append(self.exact, True)[rows]
        return Histograms(offsets, self.keys[at], self.counts[at], self.marked[at], exact, self.spread)

    def part(self, first: int, last: int) -> Histograms:
        """The rows from `first` up to `last`."""
        offsets, at = cut(self.offsets, first, last)
        exact = self.exact[first:last]
        return Histograms(offsets, self.keys[at], self.counts[at], self.marked[at], exact, self.spread)


def totals_by(offsets: Integers, counts: Integers) -> Integers:
    """Sums of `counts` between consecutive offsets; 0 for an empty stretch."""
    running = np.concatenate([[0], np.cumsum(counts)])
    found: Integers = running[offsets[1:]] - running[offsets[:-1]]
    return found


def sums_by(rows: Integers, terms: Floats | Integers, size: int) -> Floats:
    """Sum of the terms of each of `size` rows; `rows` says whose each term is.

    One after the other in their order, so that a row's sum has the same bits whatever stands beside it: a difference of
    running sums would carry the rounding of all rows before. What adds up doubles of a row does it by this or `across`.
    """
    return np.bincount(rows, weights=terms, minlength=size).astype(np.float64)


def across(terms: Floats) -> Floats:
    """Sum along the last axis, with the same bits for a row whatever stands beside it."""
    # NumPy adds in the order in which the memory lies, which follows from how the terms were made.
    found: Floats = np.ascontiguousarray(terms).sum(axis=-1)
    return found


def cut(offsets: Integers, first: int, last: int) -> tuple[Integers, slice]:
    """Offsets of the stretches from `first` up to `last`, and where their elements lie."""
    return offsets[first : last + 1] - offsets[first], slice(int(offsets[first]), int(offsets[last]))


def taken(offsets: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """Offsets of the stretches of `rows` laid end to end, and where each element lies; a row of -1 is empty."""
    sizes = np.where(rows < 0, 0, np.diff(offsets)[rows]) if len(offsets) > 1 else np.zeros(len(rows), dtype=np.int64)
    made = np.concatenate([[0], np.cumsum(sizes)])
    at = np.arange(made[-1]) - np.repeat(made[:-1] - np.where(rows < 0, 0, offsets[np.maximum(rows, 0)]), sizes)
    return made, at


@dataclass(frozen=True)
class Groups:
    """For each of n rows a map from text to (count, exact sum), flat: row i holds `[offsets[i]:offsets[i + 1]]`,
    ascending by key. A sum is NaN where a term of it does not fit."""

    offsets: Integers
    keys: Objects
    counts: Integers
    sums: Floats

    @property
    def rows(self) -> Integers:
        """The row each key belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def totals(self) -> Integers:
        """Number of pairs in each row."""
        return totals_by(self.offsets, self.counts)

    def dense(self, keys: Sequence[str]) -> tuple[Integers, Floats]:
        """Counts and sums as arrays of n rows and one column a key; keys not named are left out."""
        column = {key: i for i, key in enumerate(keys)}
        at = np.array([column.get(key, -1) for key in self.keys], dtype=np.int64)
        rows = self.rows[at >= 0]
        counts = np.zeros((len(self.offsets) - 1, len(keys)), dtype=np.int64)
        sums = np.zeros(counts.shape)
        counts[rows, at[at >= 0]] = self.counts[at >= 0]
        sums[rows, at[at >= 0]] = self.sums[at >= 0]
        return counts, sums

    def take(self, rows: Integers) -> Groups:
        """These rows in this order; -1 is an empty one."""
        offsets, at = taken(self.offsets, rows)
        return Groups(offsets, self.keys[at], self.counts[at], self.sums[at])

    def part(self, first: int, last: int) -> Groups:
        """The rows from `first` up to `last`."""
        offsets, at = cut(self.offsets, first, last)
        return Groups(offsets, self.keys[at], self.counts[at], self.sums[at])


@dataclass(frozen=True)
class Distincts:
    """For each of n rows how many distinct hashes were kept, at most DISTINCT, and the largest as a share of all."""

    kept: Integers
    largest: Floats

    def take(self, rows: Integers) -> Distincts:
        """These rows in this order; -1 is an empty one."""
        return Distincts(np.where(rows < 0, 0, self.kept[rows]), np.where(rows < 0, np.nan, self.largest[rows]))

    def part(self, first: int, last: int) -> Distincts:
        """The rows from `first` up to `last`."""
        return Distincts(self.kept[first:last], self.largest[first:last])


@dataclass(frozen=True)
class Samples:
    """For each of n rows a uniform sample of its pairs, ordered by key: truth, prediction and, as text, columns."""

    truth: list[Any]
    prediction: list[Any]
    keys: list[Any]
    columns: list[Mapping[str, Any]]

    def take(self, rows: Integers) -> Samples:
        """These rows in this order; -1 is an empty one."""
        none = np.array([])

        def chosen(of: list[Any], empty: Any) -> list[Any]:
            return [empty if row < 0 else of[row] for row in rows]

        return Samples(
            chosen(self.truth, none), chosen(self.prediction, none), chosen(self.keys, none), chosen(self.columns, {})
        )

    def part(self, first: int, last: int) -> Samples:
        """The rows from `first` up to `last`."""
        at = slice(first, last)
        return Samples(self.truth[at], self.prediction[at], self.keys[at], self.columns[at])


@dataclass(frozen=True)
class Merged:
    """The states of n (window, slice) rows after merging, by the names an SLI gave them.

    `ends` are the windows' ends (UTC microseconds), `level` is that of the intervals (0.95). `reference` holds the same
    states of the window each row is compared with, empty ones where it has none; None for an SLI that compares nothing.
    """

    predictions: Integers
    labelled: Integers
    states: Mapping[str, Any]
    ends: Integers
    level: float = 0.95
    reference: Merged | None = None

    def __getitem__(self, name: str) -> Any:
        return self.states[name]

    def take(self, rows: Integers) -> Merged:
        """These rows in this order; -1 is one without predictions."""

        def chosen(of: Any) -> Any:
            if hasattr(of, "take") and not isinstance(of, np.ndarray):
                return of.take(rows)
            values = np.asarray(of)
            nothing: Any = 0 if values.dtype.kind == "i" else np.nan
            return np.where(rows < 0, nothing, values[rows]) if len(values) else np.full(len(rows), nothing)

        return Merged(
            chosen(self.predictions),
            chosen(self.labelled),
            {name: chosen(of) for name, of in self.states.items()},
            chosen(self.ends),
            self.level,
        )

    def part(self, first: int, last: int) -> Merged:
        """The rows from `first` up to `last`."""

        def of(state: Any) -> Any:
            if isinstance(state, tuple):
                return tuple(each[first:last] for each in state)
            return state.part(first, last) if hasattr(state, "part") else state[first:last]

        return Merged(
            self.predictions[first:last],
            self.labelled[first:last],
            {name: of(state) for name, state in self.states.items()},
            self.ends[first:last],
            self.level,
            None if self.reference is None else self.reference.part(first, last),
        )
