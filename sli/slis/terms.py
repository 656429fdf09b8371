"""What each pair adds to the states of an SLI, and the merged states of any pairs that are drawn from these.

So an SLI can be computed from pairs alone, by brute force and without tiles: of many slices at once, which `verify`
does, or hundreds of times for other selections of the same pairs, which a bootstrap does. Limit: the pairs are in
memory.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli.slis.custom.function import Pairs, UserFunction, value_or_reason, without_warnings
from sli.slis.formula import Formula
from sli.slis.kinds.distincts import DISTINCT, HASHES, Distincts
from sli.slis.kinds.groups import Groups
from sli.slis.kinds.histograms import EXACT_ROWS, Histograms, rounded
from sli.slis.kinds.samples import Samples
from sli.slis.kinds.sums import LIMIT
from sli.slis.kinds.windows import WindowValues
from sli.slis.states import Array, Flags, Floats, Integers, Merged, MergedState, Objects, Spread, State, integers

Drawn = Any
"""A sparse matrix of SciPy: how often each pair (column) is drawn for each window (row)."""


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


def drawn_into(windows: Integers, size: int) -> Drawn:
    """So many windows, or slices of one; each pair is drawn once for the one with its number, for none if it is -1."""
    order = np.argsort(windows, kind="stable")
    offsets = np.searchsorted(windows[order], np.arange(size + 1))
    pairs = order[offsets[0] :]
    return _matrix(offsets - offsets[0], pairs, np.ones(len(pairs), dtype=np.int64), len(windows))


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


def exact_parts(terms: Floats, draws: int) -> list[Floats]:
    """Parts that add up to the terms, and whose sums over `draws` terms are exact: what cancels leaves no rounding.

    Each part is a multiple of one power of two, so coarse that sums need no more than 53 bits (Rump, Ogita and Oishi
    2008, "Accurate floating-point summation", part I). Add up the sums from the first part to the last.
    """
    parts, rest = [np.zeros(len(terms))], np.where(np.isnan(terms), 0.0, terms)
    while rest.any():
        coarse = np.ldexp(1.0, int(np.frexp(np.abs(rest).max())[1]) + draws.bit_length())
        parts.append((rest + coarse) - coarse)
        rest = rest - parts[-1]
    parts[0][np.isnan(terms)] = np.nan
    return parts


@dataclass(frozen=True)
class _Summed:
    """The term of each pair: 0 if it has none, NaN if it is too large."""

    terms: Floats
    given: Flags

    @functools.cached_property
    def parts(self) -> Floats:
        """A column for each of the exact parts."""
        return np.column_stack(exact_parts(self.terms, len(self.terms)))

    def merged(self, drawn: Drawn) -> MergedState:
        sums: Floats = functools.reduce(np.add, (drawn @ self.parts).T)
        return np.where(drawn @ self.given.astype(np.int64) == 0, np.nan, sums)


@dataclass(frozen=True)
class _Extreme:
    """The value of each pair that has one; the state is the least or the greatest."""

    values: Floats
    given: Flags
    kind: str

    def merged(self, drawn: Drawn) -> MergedState:
        pairs = drawn.indices[self.given[drawn.indices]]
        offsets = np.concatenate([[0], np.cumsum(self.given[drawn.indices])])[drawn.indptr]
        some = np.diff(offsets) > 0
        extremes = np.full(drawn.shape[0], np.nan)
        if some.any():
            pick = np.fmin if self.kind == "min" else np.fmax
            extremes[some] = pick.reduceat(self.values[pairs], offsets[:-1][some])
        return extremes


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
    def of(key: Integers, amount: Floats | None = None) -> _Keyed:
        """From the position of each pair's key, -1 without one, and its amount."""
        amount = np.zeros(len(key)) if amount is None else amount
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

    @functools.cached_property
    def parts(self) -> list[Floats]:
        """The exact parts of the amounts."""
        return exact_parts(self.amount, len(self.column))

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
            sums = (np.add.reduceat(product.data * part[product.indices], begins) for part in self.parts)
            amounts = functools.reduce(np.add, sums)
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
class _Hashed:
    """The hash of each pair's value; the state keeps the smallest ones."""

    keyed: _Keyed
    hashes: Integers

    def merged(self, drawn: Drawn) -> MergedState:
        offsets, key, *_ = self.keyed.elements(drawn)
        kept = np.minimum(np.diff(offsets), DISTINCT)
        largest = np.full(len(kept), np.nan)
        largest[kept > 0] = self.hashes[key[(offsets[:-1] + kept)[kept > 0] - 1]] / HASHES
        return Distincts(kept, largest)


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a Python function for each pair; pairs that it does not get have a NaN label."""

    label: Floats
    prediction: Floats
    columns: Mapping[str, npt.NDArray[np.generic]]

    def drawn(self, drawn: Drawn) -> Iterator[Integers]:
        """The pairs of each window that the function gets."""
        for begin, end in itertools.pairwise(drawn.indptr):
            pairs = np.repeat(drawn.indices[begin:end], drawn.data[begin:end])
            yield pairs[~np.isnan(self.label[pairs])]

    def of(self, pairs: Integers) -> Pairs:
        """The arguments for these pairs."""
        return self.label[pairs], self.prediction[pairs], {name: column[pairs] for name, column in self.columns.items()}


@dataclass(frozen=True)
class _Called:
    """A Python function, which sees all pairs of a window."""

    function: UserFunction
    arguments: _Arguments

    def merged(self, drawn: Drawn) -> MergedState:
        values, reasons = np.full(drawn.shape[0], np.nan), np.full(drawn.shape[0], None, dtype=object)
        with without_warnings():
            for i, pairs in enumerate(self.arguments.drawn(drawn)):
                if len(pairs):
                    values[i], reasons[i] = value_or_reason(self.function, *self.arguments.of(pairs))
        return WindowValues(values, reasons)


@dataclass(frozen=True)
class _Sampled:
    """The sample of a Python function that compares: all pairs of a window, however many."""

    arguments: _Arguments

    def merged(self, drawn: Drawn) -> MergedState:
        keys = list(self.arguments.drawn(drawn))
        labels, predictions, columns = zip(*map(self.arguments.of, keys), strict=True) if keys else ((), (), ())
        return Samples(list(labels), list(predictions), keys, list(columns))


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


def states_of_pairs(formula: Formula) -> dict[str, State]:
    """The states that an SLI looks at if it has all pairs: a Python function that sees them all needs no sample."""
    sees_all = any(state.kind == "window" for state in formula.states.values())
    return {name: state for name, state in formula.states.items() if not (sees_all and state.kind == "sample")}


class Reader(NamedTuple):
    """Reads terms from a table with the columns that `tiles.terms` selects."""

    table: pa.Table
    prefix: str
    """What the columns of this side begin with."""
    functions: Mapping[str, UserFunction]
    """The Python function of each call."""
    rounds: bool
    """Whether histograms of many values round them, as in a tile."""

    def terms(self, states: Mapping[str, State], end: int, level: float) -> Terms:
        """The terms of these states."""
        terms = {name: self._term(state) for name, state in states.items()}
        return Terms(self._numbers("labelled").astype(np.int64), terms, end, level)

    def _term(self, state: State) -> _Term:
        name = state.id
        match state.kind:
            case "count":
                return _Counted(self._numbers(name).astype(np.int64))
            case "sum":
                given = ~self._nulls(name)
                return _Summed(np.where(given, _summable(self._numbers(name)), 0.0), given)
            case "min" | "max":
                return _Extreme(self._numbers(name), ~self._nulls(name), state.kind)
            case "histogram":
                return self._histogram(state)
            case "groups":
                keys, key = self._text_positions(name)
                # A null amount adds nothing; one that is too large makes the sum NaN.
                place = f"{name}:amount"
                amount = np.where(self._nulls(place), 0.0, _summable(self._numbers(place))) if state.amount else None
                return _Grouped(_Keyed.of(key, amount), keys)
            case "distinct":
                found = integers(self._column(name))
                hashes, key = _positions(found, found >= 0)
                return _Hashed(_Keyed.of(key), hashes)
            case "window":
                function = self.functions[state.call]
                return _Called(function, self._arguments(state, [*filter(function.needs_texts, state.columns)]))
            case "sample":
                return _Sampled(self._arguments(state, state.columns))
        raise ValueError(f"no term of the kind {state.kind}")

    def _histogram(self, state: State) -> _Term:
        values = self._numbers(state.id)
        given = ~self._nulls(state.id)
        exact = not (self.rounds and int(given.sum()) > EXACT_ROWS)
        keys, key = _positions(values if exact else rounded(values, state.spread) + 0.0, given)
        marked = np.nan_to_num(self._numbers(f"{state.id}:mark")) if state.mark else None
        return _Histogrammed(_Keyed.of(key, marked), keys, exact, state.spread)

    def _arguments(self, state: State, texts: Sequence[str]) -> _Arguments:
        columns = {
            column: (self._texts if column in texts else self._numbers)(f"{state.id}:{column}")
            for column in state.columns
        }
        return _Arguments(self._numbers(f"{state.id}:label"), self._numbers(f"{state.id}:prediction"), columns)

    def _column(self, name: str) -> pa.ChunkedArray[Any]:
        return self.table.column(f"{self.prefix}{name}")

    def _nulls(self, name: str) -> Flags:
        return np.asarray(self._column(name).is_null().to_numpy(), dtype=bool)

    def _numbers(self, name: str) -> Floats:
        return np.asarray(self._column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)

    def _texts(self, name: str) -> Objects:
        return np.asarray(self._column(name).to_numpy(), dtype=object)

    def _text_positions(self, name: str) -> tuple[Objects, Integers]:
        """What `_positions` gives for texts."""
        column = self._column(name)
        texts = np.array(pc.unique(column.drop_null()).to_pylist(), dtype=object)
        order = np.argsort(texts)
        at = pc.index_in(column, value_set=pa.array(texts, pa.string())).to_numpy()
        places = np.append(np.argsort(order), -1)
        return texts[order], places[np.where(np.isnan(at), len(texts), at).astype(np.int64)]


def _summable(terms: Floats) -> Floats:
    """The terms, but NaN for those that no sum can hold."""
    return np.where(np.abs(terms) < LIMIT, terms, np.nan)


def _positions(values: Any, given: Flags) -> tuple[Any, Integers]:
    """The different values of the pairs that have one, ascending, and the position of each pair's value; -1: none."""
    at = np.full(len(values), -1, dtype=np.int64)
    keys, at[given] = np.unique(values[given], return_inverse=True)
    return keys, at
