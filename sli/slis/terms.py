"""What each pair adds to the states of an SLI, and the merged states of any pairs that are drawn from these.

So an SLI can be computed hundreds of times for other selections of the same pairs. Limit: counts, sums, histograms,
groups and Python functions; drawing some pairs again tells nothing about extremes and numbers of distinct values.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sli.slis.custom.function import UserFunction, value_or_reason, without_warnings
from sli.slis.formula import Formula
from sli.slis.kinds.groups import Groups
from sli.slis.kinds.histograms import EXACT_ROWS, Histograms, rounded
from sli.slis.kinds.sums import LIMIT
from sli.slis.kinds.windows import WindowValues
from sli.slis.states import Array, Flags, Floats, Integers, Merged, MergedState, Objects, Spread, State

Drawn = Any
"""A sparse matrix of SciPy: how often each pair (column) is drawn for each window (row)."""
KINDS = ("count", "sum", "histogram", "groups", "window", "sample")
"""The kinds of state that drawn pairs have. A sample is never looked at, since the Python function sees all pairs."""


def drawn_once(times: Integers) -> Drawn:
    """One window with every pair, each as often as `times` says."""
    return _matrix(np.array([0, len(times)]), np.arange(len(times)), times, len(times))


def drawn_alone(first: int, last: int, pairs: int) -> Drawn:
    """Windows that have one pair each: the pairs from `first` up to `last`."""
    size = last - first
    return _matrix(np.arange(size + 1), np.arange(first, last), np.ones(size, dtype=np.int64), pairs)


def drawn_at_random(times: Sequence[Integers]) -> Drawn:
    """A window for each of `times`, which says how often each pair is drawn."""
    pairs = [np.flatnonzero(column) for column in times]
    offsets = np.concatenate([[0], np.cumsum([len(column) for column in pairs])])
    counts = [column[at] for column, at in zip(times, pairs, strict=True)]
    return _matrix(offsets, np.concatenate(pairs), np.concatenate(counts), len(times[0]))


def _matrix(offsets: Integers, pairs: Integers, times: Array, width: int) -> Drawn:
    from scipy.sparse import csr_array

    return csr_array((times, pairs, offsets), shape=(len(offsets) - 1, width))


class _Term(Protocol):
    """What each pair adds to one state."""

    def merged(self, drawn: Drawn) -> MergedState:
        """The state of each window."""


@dataclass(frozen=True)
class _Counted:
    """Whether each pair counts."""

    counts: Integers

    def merged(self, drawn: Drawn) -> MergedState:
        counts: Integers = drawn @ self.counts
        return counts


@dataclass(frozen=True)
class _Summed:
    """The term of each pair that has one."""

    terms: Floats
    given: Flags

    def merged(self, drawn: Drawn) -> MergedState:
        fits = self.given & (np.abs(self.terms) < LIMIT)
        undefined = (drawn @ self.given.astype(np.int64) == 0) | (drawn @ (self.given & ~fits).astype(np.int64) > 0)
        return np.where(undefined, np.nan, drawn @ np.where(fits, self.terms, 0.0))


class _Elements(NamedTuple):
    """For each window its different keys: their offsets, positions among all keys, counts and sums of amounts."""

    offsets: Integers
    key: Integers
    counts: Integers
    amounts: Floats


@dataclass(frozen=True)
class _Keyed:
    """The key of each pair, and an amount that is summed by key. Equal keys with equal amounts share a column."""

    column: Integers
    """The column of each pair, -1 without a key; columns are ordered by key."""
    key: Integers
    """The position of the key of each column among all keys."""
    amount: Floats
    """The amount of each column."""

    @staticmethod
    def of(key: Integers, amount: Floats) -> _Keyed:
        """From the position of each pair's key, -1 without one, and its amount."""
        given = np.flatnonzero(key >= 0)
        order = given[np.lexsort((amount[given], key[given]))]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(key[order]) != 0) | (np.diff(amount[order]) != 0)
        column = np.full(len(key), -1, dtype=np.int64)
        column[order] = np.cumsum(new) - 1
        return _Keyed(column, key[order[new]], amount[order[new]])

    @functools.cached_property
    def pairs(self) -> Drawn:
        """Which pair has which column."""
        given = self.column >= 0
        offsets = np.concatenate([[0], np.cumsum(given)])
        return _matrix(offsets, self.column[given], np.ones(int(given.sum()), dtype=np.int64), max(1, len(self.key)))

    def elements(self, drawn: Drawn) -> _Elements:
        """The keys of each window, ascending."""
        product = drawn @ self.pairs
        product.sort_indices()
        window = np.repeat(np.arange(drawn.shape[0]), np.diff(product.indptr))
        key = self.key[product.indices]
        begins = np.flatnonzero((np.diff(window, prepend=-1) > 0) | (np.diff(key, prepend=-1) != 0))
        counts, amounts = np.array([], dtype=np.int64), np.array([])
        if len(begins):
            counts = np.add.reduceat(product.data, begins)
            amounts = np.add.reduceat(product.data * self.amount[product.indices], begins)
        offsets = np.searchsorted(window[begins], np.arange(drawn.shape[0] + 1))
        return _Elements(offsets, key[begins], counts, amounts)


@dataclass(frozen=True)
class _Histogrammed:
    keyed: _Keyed
    keys: Floats
    exact: bool
    spread: Spread

    def merged(self, drawn: Drawn) -> MergedState:
        offsets, key, counts, marked = self.keyed.elements(drawn)
        exact = np.full(drawn.shape[0], self.exact)
        return Histograms(offsets, self.keys[key], counts, marked.astype(np.int64), exact, self.spread)


@dataclass(frozen=True)
class _Grouped:
    keyed: _Keyed
    keys: Objects

    def merged(self, drawn: Drawn) -> MergedState:
        offsets, key, counts, sums = self.keyed.elements(drawn)
        return Groups(offsets, self.keys[key], counts, sums)


@dataclass(frozen=True)
class _Called:
    """A Python function, and its arguments of each pair; pairs that it does not get have a NaN label."""

    function: UserFunction
    label: Floats
    prediction: Floats
    columns: Mapping[str, npt.NDArray[np.generic]]

    def merged(self, drawn: Drawn) -> MergedState:
        values, reasons = np.full(drawn.shape[0], np.nan), np.full(drawn.shape[0], None, dtype=object)
        with without_warnings():
            for i, (begin, end) in enumerate(zip(drawn.indptr[:-1], drawn.indptr[1:], strict=True)):
                pairs = np.repeat(drawn.indices[begin:end], drawn.data[begin:end])
                pairs = pairs[~np.isnan(self.label[pairs])]
                if len(pairs):
                    columns = {name: column[pairs] for name, column in self.columns.items()}
                    arguments = self.label[pairs], self.prediction[pairs], columns
                    values[i], reasons[i] = value_or_reason(self.function, *arguments)
        return WindowValues(values, reasons)


@dataclass(frozen=True)
class Terms:
    """What each pair adds to the states of an SLI, by the names that the SLI gave them."""

    labelled: Integers
    states: Mapping[str, _Term]
    end: int
    """The end of the window of the pairs."""
    level: float
    """The level of the intervals."""

    def __len__(self) -> int:
        return len(self.labelled)

    def merged(self, drawn: Drawn) -> Merged:
        """What an SLI sees of each window."""
        predictions = drawn @ np.ones(len(self), dtype=np.int64)
        states = {name: term.merged(drawn) for name, term in self.states.items()}
        ends = np.full(drawn.shape[0], self.end)
        return Merged(predictions, drawn @ self.labelled, states, ends, self.level)


class Reader(NamedTuple):
    """Reads terms from a table with the columns that `tiles.terms` selects."""

    table: pa.Table
    prefix: str
    """What the columns of this side begin with."""
    functions: Mapping[str, UserFunction]
    """The Python function of each call."""
    rounds: bool
    """Whether histograms of many values round them, as in a tile."""

    def terms(self, formula: Formula, end: int, level: float) -> Terms:
        """The terms of an SLI."""
        states = {name: self._term(state) for name, state in formula.states.items() if state.kind != "sample"}
        return Terms(self._numbers("labelled").astype(np.int64), states, end, level)

    def _term(self, state: State) -> _Term:
        name = state.id
        if state.kind == "count":
            return _Counted(self._numbers(name).astype(np.int64))
        if state.kind == "sum":
            return _Summed(self._numbers(name), ~self._nulls(name))
        if state.kind == "histogram":
            return self._histogram(state)
        if state.kind == "groups":
            texts = self._texts(name)
            given = np.array([text is not None for text in texts], dtype=bool)
            keys, key = _positions(texts, given)
            amount = self._numbers(f"{name}:amount") if state.amount else np.zeros(len(key))
            # A null amount adds nothing; one that is no number makes the sum NaN.
            present = np.where(self._nulls(f"{name}:amount") if state.amount else False, 0.0, amount)
            return _Grouped(_Keyed.of(key, np.where(np.abs(present) < LIMIT, present, np.nan)), keys)
        function = self.functions[state.call]
        columns: dict[str, npt.NDArray[np.generic]] = {}
        for column in state.columns:
            place = f"{name}:{column}"
            columns[column] = self._texts(place) if function.needs_texts(column) else self._numbers(place)
        return _Called(function, self._numbers(f"{name}:label"), self._numbers(f"{name}:prediction"), columns)

    def _histogram(self, state: State) -> _Term:
        values = self._numbers(state.id)
        given = ~self._nulls(state.id)
        exact = not (self.rounds and int(given.sum()) > EXACT_ROWS)
        keys, key = _positions(values if exact else rounded(values, state.spread) + 0.0, given)
        marked = self._numbers(f"{state.id}:mark") if state.mark else np.zeros(len(key))
        return _Histogrammed(_Keyed.of(key, np.where(np.isnan(marked), 0.0, marked)), keys, exact, state.spread)

    def _column(self, name: str) -> pa.ChunkedArray[Any]:
        return self.table.column(f"{self.prefix}{name}")

    def _nulls(self, name: str) -> Flags:
        return np.asarray(self._column(name).is_null().to_numpy(), dtype=bool)

    def _numbers(self, name: str) -> Floats:
        return np.asarray(self._column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)

    def _texts(self, name: str) -> Objects:
        return np.asarray(self._column(name).to_numpy(), dtype=object)


def _positions(values: Any, given: Flags) -> tuple[Any, Integers]:
    """The different values of the pairs that have one, ascending, and the position of each pair's value; -1: none."""
    at = np.full(len(values), -1, dtype=np.int64)
    keys, at[given] = np.unique(values[given], return_inverse=True)
    return keys, at
