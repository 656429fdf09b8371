"""States: the aggregates that a tile keeps for SLIs, and the arrays that an SLI sees once they are merged.

Merging in any order gives the same bits: counts are integers, sums are fixed-point integers, histograms and groups are
maps, samples and distinct values keep the smallest hashes. Limit: a sum is undefined if the size of a term is 2^96 or
more.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]

Scalar = TypeVar("Scalar", bound=np.generic)
Element = TypeVar("Element")

Kind = Literal["count", "sum", "min", "max", "histogram", "groups", "distinct", "sample", "window"]
Spread = Literal["real", "probability"]
Unit = Literal["pair", "query"]

VERSION = 2
"""Raise it when the stored form of a state or its meaning changes: it is part of every state's id."""

EXACT_ROWS = 1024
"""A histogram of at most this many values keeps them exactly."""
SAMPLE_ROWS = 1000
"""A sample keeps this many pairs."""
DISTINCT = 1024
"""A state of distinct values keeps this many hashes."""
BITS = 10
"""Significant bits of a rounded value: its relative error is at most 2**-BITS."""
SPLIT = float(2 ** (53 - BITS) + 1)
FRACTION = 2.0**80
LIMIT = 2.0**96
ROUNDABLE = 1e290
SUM_PARTS = {"whole": "DECIMAL(38, 0)", "fraction": "DECIMAL(38, 0)", "undefined": "BIGINT", "terms": "BIGINT"}
"""The stored parts of a sum: its whole part, its fraction in units of 1 / FRACTION, the number of terms that are too
large or not finite, and the number of all terms."""


@dataclass(frozen=True)
class State:
    """One aggregate: `kind` over the SQL expression `of` for the pairs where the SQL condition `where` holds.

    - Kind `histogram` counts pairs by value and, for each value, those where `mark` holds. `spread` says how it rounds:
      `real` keeps BITS significant bits, `probability` keeps them for the nearer of p and 1 - p.
    - Kind `groups` counts pairs by the text `of` and sums `amount` in each group.
    - Kind `sample` keeps label, prediction and the `columns` of some pairs.
    - Kind `window` is the value of the Python function `call` (its dotted name). It is the only kind that does not
      merge.

    With unit `query` a count or sum is over the queries of a ranking. `of` and `where` then see `ranked` (the labels by
    descending prediction, ties by ascending label), `ideal` (the labels, descending), `n` (their number) and `complete`
    (every prediction has a value and a label).
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
        """The name of its column in the tiles. Equal states of several SLIs share one column."""
        sql = [self.kind, self.of, self.where, self.spread, self.mark, self.amount]
        parts = [*sql, self.unit, self.call, *self.columns]
        content = "\x1f".join([str(VERSION), *parts, self.source])
        return f"{self.kind}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def integers(column: object) -> Integers:
    """The integers of a DuckDB or Arrow column without nulls."""
    return np.asarray(column, dtype=np.int64)


def rounded(values: Floats, spread: Spread = "real") -> Floats:
    """Values rounded to BITS significant bits (Veltkamp's splitting; Dekker 1971): the same bits as `rounded_sql`."""
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


def smallest_sql(of: str, number: int) -> str:
    """SQL list of the smallest values of a group."""
    # DuckDB's own min(x, n) reserves room for n values at once, which is too much where a group has few values.
    return f"list_slice(list_sort(list({of})), 1, {number})"


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
    """For each of n rows a map from value to count, in flat arrays.

    Row i has the values `keys[offsets[i]:offsets[i + 1]]`, ascending, each once, and their `counts`. `exact[i]` is true
    if the values of row i are not rounded. `marked` counts the pairs of a value for which the condition `mark` of the
    state holds; 0 if the state has none.

    >>> ages = Histograms(np.array([0, 2, 3]), np.array([30.0, 31.0, 25.0]), np.array([5, 1, 4]),
    ...                   np.array([0, 0, 0]), np.array([True, True]))
    >>> ages.totals
    array([6, 4])
    >>> ages.rows
    array([0, 0, 1])
    """

    offsets: Integers
    keys: Floats
    counts: Integers
    marked: Integers
    exact: Flags
    spread: Spread = "real"

    # Several SLIs read one histogram: the properties that they share are computed once.

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
        """Number of lower values in the row of each key for which `mark` holds."""
        return self._below(self.marked)

    def _below(self, counts: Integers) -> Integers:
        running = np.concatenate([[0], np.cumsum(counts)])[:-1]
        before: Integers = running - running[self.offsets[:-1][self.rows]]
        return before

    def rounded_unless(self, exact: Flags) -> Floats:
        """The keys, rounded in the rows where `exact` is false."""
        return np.where(exact[self.rows], self.keys, rounded(self.keys, self.spread))

    def take(self, rows: Integers) -> Histograms:
        """These rows in this order; -1 is an empty row."""
        offsets, at = rows_at(self.offsets, rows)
        # Index -1 finds the element appended here, for an empty row.
        exact = np.append(self.exact, True)[rows]
        return Histograms(offsets, self.keys[at], self.counts[at], self.marked[at], exact, self.spread)

    def between(self, first: int, last: int) -> Histograms:
        """The rows from `first` up to, but not including, `last`."""
        offsets, at = rows_between(self.offsets, first, last)
        exact = self.exact[first:last]
        return Histograms(offsets, self.keys[at], self.counts[at], self.marked[at], exact, self.spread)


def totals_by(offsets: Integers, counts: Integers) -> Integers:
    """Sums of `counts` between consecutive offsets; 0 for an empty stretch."""
    running = np.concatenate([[0], np.cumsum(counts)])
    totals: Integers = running[offsets[1:]] - running[offsets[:-1]]
    return totals


def sums_by(rows: Integers, terms: Floats | Integers, size: int) -> Floats:
    """Sum of the terms of each of `size` rows; `rows[i]` is the row of term i.

    A row's sum has the same bits for any content of the other rows. Add up doubles of a row with this function or with
    `sum_last_axis` only: a difference of running sums would carry the rounding of all rows before.
    """
    return np.bincount(rows, weights=terms, minlength=size).astype(np.float64)


def sum_last_axis(terms: Floats) -> Floats:
    """Sum along the last axis. A row's sum has the same bits for any content of the other rows."""
    # NumPy adds in the order of the memory, which depends on how the array was built.
    sums: Floats = np.ascontiguousarray(terms).sum(axis=-1)
    return sums


def rows_between(offsets: Integers, first: int, last: int) -> tuple[Integers, slice]:
    """The rows from `first` up to, but not including, `last`: their new offsets, and the slice of their elements."""
    return offsets[first : last + 1] - offsets[first], slice(int(offsets[first]), int(offsets[last]))


def rows_at(offsets: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """The rows `rows` in this order: their new offsets, and the indices of their elements. A row of -1 is empty."""
    sizes = np.where(rows < 0, 0, np.diff(offsets)[rows]) if len(offsets) > 1 else np.zeros(len(rows), dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    at = np.arange(ends[-1]) - np.repeat(ends[:-1] - np.where(rows < 0, 0, offsets[np.maximum(rows, 0)]), sizes)
    return ends, at


@dataclass(frozen=True)
class Groups:
    """For each of n rows a map from text to a count and a sum, in flat arrays.

    Row i has the texts `keys[offsets[i]:offsets[i + 1]]`, ascending, each once, with their `counts` and `sums`. A sum
    is NaN if one of its terms is not finite or 2^96 or more in size.

    >>> fares = Groups(np.array([0, 2, 3]), np.array(["east", "west", "east"], dtype=object),
    ...                np.array([2, 1, 4]), np.array([30.0, 8.0, 70.0]))
    >>> counts, sums = fares.dense(["east", "west"])
    >>> counts
    array([[2, 1],
           [4, 0]])
    >>> sums / counts.sum(axis=1, keepdims=True)
    array([[10.        ,  2.66666667],
           [17.5       ,  0.        ]])
    """

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
        """Counts and sums as tables with n rows and one column for each of `keys`; other keys are left out."""
        column = {key: i for i, key in enumerate(keys)}
        at = np.array([column.get(key, -1) for key in self.keys], dtype=np.int64)
        rows = self.rows[at >= 0]
        counts = np.zeros((len(self.offsets) - 1, len(keys)), dtype=np.int64)
        sums = np.zeros(counts.shape)
        counts[rows, at[at >= 0]] = self.counts[at >= 0]
        sums[rows, at[at >= 0]] = self.sums[at >= 0]
        return counts, sums

    def take(self, rows: Integers) -> Groups:
        """These rows in this order; -1 is an empty row."""
        offsets, at = rows_at(self.offsets, rows)
        return Groups(offsets, self.keys[at], self.counts[at], self.sums[at])

    def between(self, first: int, last: int) -> Groups:
        """The rows from `first` up to, but not including, `last`."""
        offsets, at = rows_between(self.offsets, first, last)
        return Groups(offsets, self.keys[at], self.counts[at], self.sums[at])


@dataclass(frozen=True)
class Distincts:
    """For each of n rows the number of hashes kept, at most DISTINCT, and the largest as a share of the hash range."""

    kept: Integers
    largest: Floats

    def take(self, rows: Integers) -> Distincts:
        """These rows in this order; -1 is an empty row."""
        return Distincts(np.where(rows < 0, 0, self.kept[rows]), np.where(rows < 0, np.nan, self.largest[rows]))

    def between(self, first: int, last: int) -> Distincts:
        """The rows from `first` up to, but not including, `last`."""
        return Distincts(self.kept[first:last], self.largest[first:last])


@dataclass(frozen=True)
class Samples:
    """For each of n rows a uniform sample of its pairs, ordered by `key`: labels, predictions and, as text, columns."""

    label: list[Floats]
    prediction: list[Floats]
    keys: list[Integers]
    columns: list[Mapping[str, Objects]]

    def take(self, rows: Integers) -> Samples:
        """These rows in this order; -1 is an empty row."""

        def at(values: list[Element], empty: Element) -> list[Element]:
            return [empty if row < 0 else values[row] for row in rows]

        nothing: Floats = np.array([])
        return Samples(
            at(self.label, nothing),
            at(self.prediction, nothing),
            at(self.keys, np.array([], dtype=np.int64)),
            at(self.columns, {}),
        )

    def between(self, first: int, last: int) -> Samples:
        """The rows from `first` up to, but not including, `last`."""
        at = slice(first, last)
        return Samples(self.label[at], self.prediction[at], self.keys[at], self.columns[at])


Array = npt.NDArray[np.generic]
MergedState = Array | Histograms | Groups | Distincts | Samples | tuple[Floats, Objects]
"""One state of n rows: an array (count, sum, min, max), a structure, or the values and reasons of kind `window`."""


@dataclass(frozen=True)
class Merged:
    """What an SLI sees: n rows, one for each window and slice, with its merged states by the names the SLI gave them.

    `predictions` and `labelled` are numbers of pairs, `ends` the ends of the windows (UTC microseconds), `level` the
    level of the confidence intervals. `reference` holds the same states of the window that each row is compared with,
    empty states where a row has no reference; it is None for an SLI that compares nothing.

    >>> two_windows = Merged(np.array([10, 20]), np.array([8, 20]), {"right": np.array([6, 15])}, np.array([1, 2]))
    >>> two_windows["right"] / two_windows.labelled
    array([0.75, 0.75])
    """

    predictions: Integers
    labelled: Integers
    states: Mapping[str, MergedState]
    ends: Integers
    level: float = 0.95
    reference: Merged | None = None

    # The type of a state follows from its kind, which only its SLI knows.
    def __getitem__(self, name: str) -> Any:
        return self.states[name]

    def take(self, rows: Integers) -> Merged:
        """These rows in this order; -1 is a row without predictions."""
        return Merged(
            _take(self.predictions, rows),
            _take(self.labelled, rows),
            {name: _take_state(state, rows) for name, state in self.states.items()},
            _take(self.ends, rows),
            self.level,
        )

    def between(self, first: int, last: int) -> Merged:
        """The rows from `first` up to, but not including, `last`."""
        return Merged(
            self.predictions[first:last],
            self.labelled[first:last],
            {name: _state_between(state, first, last) for name, state in self.states.items()},
            self.ends[first:last],
            self.level,
            None if self.reference is None else self.reference.between(first, last),
        )


def _take(values: npt.NDArray[Scalar], rows: Integers) -> npt.NDArray[Scalar]:
    nothing = np.array({"i": 0, "O": None}.get(values.dtype.kind, np.nan), dtype=values.dtype)
    return np.where(rows < 0, nothing, values[rows]) if len(values) else np.full(len(rows), nothing)


def _take_state(state: MergedState, rows: Integers) -> MergedState:
    if isinstance(state, tuple):
        return _take(state[0], rows), _take(state[1], rows)
    return _take(state, rows) if isinstance(state, np.ndarray) else state.take(rows)


def _state_between(state: MergedState, first: int, last: int) -> MergedState:
    if isinstance(state, tuple):
        return state[0][first:last], state[1][first:last]
    return state[first:last] if isinstance(state, np.ndarray) else state.between(first, last)
