"""What each pair adds to a state, and the states of any pairs that are drawn from these, by brute force.

Each kind says in SQL what a pair adds, an expression of one row, and how the pairs that are drawn for a window make up
its state. Limit: the pairs are in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.slis.custom.function import UserFunction
from sli.slis.states import Array, Flags, Floats, Integers, MergedState, Objects

Drawn = Any
"""A sparse matrix of SciPy: how often each pair (column) is drawn for each window (row)."""
Term = Callable[[Drawn], MergedState]
"""Gives the state of each window."""


def drawn_matrix(offsets: Integers, pairs: Integers, times: Array, width: int) -> Drawn:
    """The matrix whose row i has `times[j]` in column `pairs[j]` for each j from `offsets[i]` to `offsets[i + 1]`."""
    from scipy.sparse import csr_array

    return csr_array((times, pairs, offsets), shape=(len(offsets) - 1, width))


class Reader(NamedTuple):
    """Reads what each pair adds to states from a table with the columns of `slis.terms.terms_sql`."""

    table: pa.Table
    prefix: str
    """What the columns of this side begin with."""
    functions: Mapping[str, UserFunction]
    """The Python function of each call."""
    rounds: bool
    """Whether histograms of many values round them, as in a tile."""

    def column(self, name: str) -> pa.ChunkedArray[Any]:
        """A column."""
        return self.table.column(f"{self.prefix}{name}")

    def nulls(self, name: str) -> Flags:
        """Which pairs have no value."""
        return np.asarray(self.column(name).is_null().to_numpy(), dtype=bool)

    def numbers(self, name: str) -> Floats:
        """A column of numbers; null is NaN."""
        return np.asarray(self.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)

    def texts(self, name: str) -> Objects:
        """A column of texts; null is None."""
        return np.asarray(self.column(name).to_numpy(), dtype=object)

    def text_positions(self, name: str) -> tuple[Objects, Integers]:
        """What `positions` gives for texts."""
        column = self.column(name)
        texts = np.array(pc.unique(column.drop_null()).to_pylist(), dtype=object)
        order = np.argsort(texts)
        at = pc.index_in(column, value_set=pa.array(texts, pa.string())).to_numpy()
        places = np.append(np.argsort(order), -1)
        return texts[order], places[np.where(np.isnan(at), len(texts), at).astype(np.int64)]


def positions(values: Any, given: Flags) -> tuple[Any, Integers]:
    """The different values of the pairs that have one, ascending, and the position of each pair's value; -1: none."""
    at = np.full(len(values), -1, dtype=np.int64)
    keys, at[given] = np.unique(values[given], return_inverse=True)
    return keys, at


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


class Keys(NamedTuple):
    """For each window its different keys: their offsets, positions among all keys, counts and sums of amounts."""

    offsets: Integers
    key: Integers
    counts: Integers
    amounts: Floats


def keyed(key: Integers, amount: Floats | None = None) -> Callable[[Drawn], Keys]:
    """From the position of each pair's key, -1 without one, and its amount: a function to the keys of each window.

    Pairs of equal keys and amounts share a column of a matrix, and a window has as many of a key as of its columns.
    """
    amount = np.zeros(len(key)) if amount is None else amount
    order = np.flatnonzero(key >= 0)
    order = order[np.lexsort((amount[order], key[order]))]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(key[order]) != 0) | (np.diff(amount[order]) != 0)
    column = np.full(len(key), -1, dtype=np.int64)
    column[order] = np.cumsum(new) - 1
    key_of, amount_of, given = key[order[new]], amount[order[new]], column >= 0
    offsets = np.concatenate([[0], np.cumsum(given)])
    ones = np.ones(int(given.sum()), dtype=np.int64)
    columns, parts = drawn_matrix(offsets, column[given], ones, max(1, len(key_of))), exact_parts(amount_of, len(key))

    def keys(drawn: Drawn) -> Keys:
        product = drawn @ columns
        product.sort_indices()
        window = np.repeat(np.arange(drawn.shape[0]), np.diff(product.indptr))
        key = key_of[product.indices]
        begins = np.flatnonzero((np.diff(window, prepend=-1) > 0) | (np.diff(key, prepend=-1) != 0))
        counts, amounts = np.array([], dtype=np.int64), np.array([])
        if len(begins):
            counts = np.add.reduceat(product.data, begins)
            sums = (np.add.reduceat(product.data * part[product.indices], begins) for part in parts)
            amounts = functools.reduce(np.add, sums)
        return Keys(np.searchsorted(window[begins], np.arange(drawn.shape[0] + 1)), key[begins], counts, amounts)

    return keys
