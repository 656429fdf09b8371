"""Histograms: how often each value occurs, with no buckets chosen beforehand.

A histogram of at most EXACT_ROWS values keeps them exactly, a larger one rounds them to BITS significant bits. Rounding
twice is rounding once, so merging in any order gives the same bits.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np

from sli.engine.arrow import float_column, integer_column
from sli.slis.kinds.lists import (
    Elements,
    Keyed,
    Lists,
    ListState,
    doubles,
    first_of_equal,
    in_order,
    interleaved,
    owners,
    ranks,
)
from sli.slis.kinds.rounding import codes_of, numbered, rounded
from sli.slis.kinds.terms import Drawn, Reader, Term, keyed, positions
from sli.slis.states import (
    CannotAmend,
    Flags,
    Floats,
    Integers,
    MergedState,
    Spread,
    State,
    integers,
    sums_by,
    totals_by,
)

EXACT_ROWS = 1024
"""A histogram of at most this many values keeps them exactly."""
PACKED = 1 << 26
"""Two counts below this are added up as one float."""
CELLS = 4
"""Rounded values are added up in a table of at most this many cells for each of them."""


@dataclass(frozen=True)
class HistogramState(ListState):
    """The number of pairs by value of `of` and, for each value, of those where `mark` holds.

    `spread` says how a value rounds: `real` keeps BITS significant bits, `probability` keeps them for the nearer of p
    and 1 - p.
    """

    kind = "histogram"
    fields: ClassVar[Mapping[str, str]] = {"value": "DOUBLE", "count": "BIGINT", "marked": "BIGINT"}
    keyed = True
    shares = True
    element_bytes = 100
    most_elements = 8192

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return cls(of="x"), cls(of="x", where="x > 0", mark="x < 1")

    @property
    def values(self) -> str:
        return f"({self.of})::DOUBLE AS x{f', ({self.mark})::INTEGER AS mark' if self.mark else ''}"

    def collected(self, source: str) -> str:
        marked = f"{'mark' if self.mark else '0'}::BIGINT AS marked"
        return f"SELECT c.cell, x + 0.0::DOUBLE AS value, 1::BIGINT AS count, {marked} FROM {source}"

    def merge(self, owner: Integers, rows: int, elements: Elements) -> Lists:
        histogram = Counted(
            owner, doubles(elements["value"]), integers(elements["count"]), integers(elements["marked"])
        )
        large = np.bincount(owner, weights=histogram.counts, minlength=rows) > EXACT_ROWS
        of_large = large[owner]
        if not of_large.any():
            merged = histogram.sorted()
        elif of_large.all():
            merged = histogram.rounded(self.spread).added_up(self.spread)
        else:
            rounded_values = histogram.at(of_large).rounded(self.spread)
            merged = histogram.at(~of_large).sorted().with_rows_of(rounded_values.added_up(self.spread))
        columns = integer_column(merged.counts), integer_column(merged.marked)
        offsets, _ = ranks(merged.owner, rows)
        return Lists(offsets, dict(zip(self.fields, (float_column(merged.value), *columns), strict=True)))

    def merge_shared(self, lists: Lists, owner: Integers, at: Integers, rows: int) -> Lists:
        """The lists of rows that round are added up in a table with a column for each value; others merge as usual."""
        histogram = self.read(*lists)
        totals = sums_by(owner, histogram.totals[at], rows)
        large = totals > EXACT_ROWS
        summed = _summed(histogram, owner, at, totals) if large.any() else None
        if summed is None:
            return super().merge_shared(lists, owner, at, rows)
        if large.all():
            return summed
        of_small, place = ~large[owner], np.cumsum(~large) - 1
        others = super().merge_shared(lists, place[owner[of_small]], at[of_small], int((~large).sum()))
        return interleaved(summed, others, large)

    def updated(self, sides: Mapping[str, Lists], rows: int) -> Lists:
        """Raises CannotAmend also if a rounded histogram shrinks so much that it needs its exact values."""
        offsets, stored = sides["stored"].offsets, _counted(sides["stored"])
        less, more = (_counted(sides[side]) for side in ("before", "after"))
        change = less._replace(counts=-less.counts, marked=-less.marked).followed_by(more)
        before = totals_by(offsets, stored.counts)
        after = before + np.bincount(change.owner, weights=change.counts, minlength=rows).astype(np.int64)
        large = after > EXACT_ROWS
        if ((before > EXACT_ROWS) & ~large).any():
            raise CannotAmend
        grows = (before <= EXACT_ROWS) & large
        if grows.any():
            # All of their values round, so all of them change.
            apart = grows[stored.owner]
            change, stored = stored.at(apart).followed_by(change), stored.at(~apart)
            offsets = ranks(stored.owner, rows)[0]
        rounded_values = rounded(change.value, self.spread) + 0.0
        change = change._replace(value=np.where(large[change.owner], rounded_values, change.value)).sorted()
        changed = stored.changed_by(change, offsets)
        columns = float_column(changed.value), integer_column(changed.counts), integer_column(changed.marked)
        return Lists(ranks(changed.owner, rows)[0], dict(zip(self.fields, columns, strict=True)))

    def read(self, offsets: Integers, elements: Elements) -> Histograms:
        counts = integers(elements["count"])
        exact: Flags = totals_by(offsets, counts) <= EXACT_ROWS
        marked = integers(elements["marked"])
        return Histograms(offsets, doubles(elements["value"]), counts, marked, exact, self.spread)

    @property
    def term_sql(self) -> dict[str, str]:
        mark = {f"{self.id}:mark": f"({self.mark})::INTEGER"} if self.mark else {}
        return {self.id: self.where_sql(f"({self.of})::DOUBLE + 0.0::DOUBLE"), **mark}

    def term(self, reader: Reader) -> Term:
        values, given = reader.numbers(self.id), ~reader.nulls(self.id)
        exact = not (reader.rounds and int(given.sum()) > EXACT_ROWS)
        keys, key = positions(values if exact else rounded(values, self.spread) + 0.0, given)
        keys_of = keyed(key, np.nan_to_num(reader.numbers(f"{self.id}:mark")) if self.mark else None)

        def merged(drawn: Drawn) -> MergedState:
            offsets, key, counts, marked = keys_of(drawn)
            all_exact = np.full(drawn.shape[0], exact)
            return Histograms(offsets, keys[key], counts, marked.astype(np.int64), all_exact, self.spread)

        return merged


class Counted(NamedTuple):
    """Elements of histograms while they are merged, with the row that owns each."""

    owner: Integers
    value: Floats
    counts: Integers
    marked: Integers

    def at(self, which: Flags | Integers) -> Counted:
        """These elements."""
        return Counted(self.owner[which], self.value[which], self.counts[which], self.marked[which])

    def rounded(self, spread: Spread) -> Counted:
        """With rounded values."""
        return self._replace(value=rounded(self.value, spread) + 0.0)

    def sorted(self) -> Counted:
        """By owner and value, with equal values added up."""
        if not len(self.owner):
            return self
        owner, value, counts, marked = self.at(in_order(self.owner, self.value))
        different = first_of_equal(owner, value)
        if different.all():
            return Counted(owner, value, counts, marked)
        first = np.flatnonzero(different)
        return Counted(owner[first], value[first], np.add.reduceat(counts, first), np.add.reduceat(marked, first))

    def added_up(self, spread: Spread) -> Counted:
        """As `sorted`, for rounded values: there are few, so most rows have many of all, and a table needs no sort."""
        codes = codes_of(self.value, spread)
        if codes is None:
            return self.sorted()
        owners, row = numbered(self.owner)
        different, column = numbered(codes - codes.min())
        width = len(different)
        if len(owners) * width > CELLS * len(self.owner):
            return self.sorted()
        values = np.zeros(width)
        values[column] = self.value
        cell = row * width + column
        # Sums of whole numbers below 2^53 are exact as floats.
        counts = np.bincount(cell, weights=self.counts, minlength=len(owners) * width)
        marked = np.bincount(cell, weights=self.marked, minlength=len(owners) * width)
        filled = np.flatnonzero(counts)
        row, column = np.divmod(filled, width)
        return Counted(owners[row], values[column], counts[filled].astype(np.int64), marked[filled].astype(np.int64))

    def followed_by(self, other: Counted) -> Counted:
        """These elements, and then those."""
        return Counted(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def with_rows_of(self, other: Counted) -> Counted:
        """Together with other rows; both are sorted."""
        both = self.followed_by(other)
        return both.at(in_order(both.owner))

    def changed_by(self, change: Counted, offsets: Integers) -> Counted:
        """With the counts of a change added; both are sorted, and `offsets` are those of the owners here.

        Only the elements of the change are looked for, so a small change of large histograms takes little. Raises
        CannotAmend if something is subtracted that is not there.
        """
        change = change.at((change.counts != 0) | (change.marked != 0))
        place, there = _places(self.value, offsets, change)
        known, new = place[there], change.at(~there)
        changed = self._replace(counts=self.counts.copy(), marked=self.marked.copy())
        changed.counts[known] += change.counts[there]
        changed.marked[known] += change.marked[there]
        counts = np.concatenate([changed.counts[known], new.counts])
        marked = np.concatenate([changed.marked[known], new.marked])
        if (counts < 0).any() or (marked < 0).any() or (marked[counts == 0] > 0).any():
            raise CannotAmend
        if not counts.all():
            left = changed.counts > 0
            # Where elements before it go, a new element moves there.
            place = np.concatenate([[0], np.cumsum(left)])[place]
            changed = changed.at(left)
        if len(new.owner):
            changed = Counted(*(np.insert(a, place[~there], b) for a, b in zip(changed, new, strict=True)))
        return changed


def _counted(lists: Lists) -> Counted:
    """The elements of stored histograms."""
    elements = lists.elements
    numbers = (integers(elements[name]) for name in ("count", "marked"))
    return Counted(owners(lists), doubles(elements["value"]), *numbers)


def _places(values: Floats, offsets: Integers, wanted: Counted) -> tuple[Integers, Flags]:
    """For each of some elements the place of its value in the ascending `values` of its owner, and whether it is there.

    A value that is not there would stand before the one at its place.
    """
    low, end = offsets[wanted.owner], offsets[wanted.owner + 1]
    high, last = end, max(0, len(values) - 1)
    padded = values if len(values) else np.zeros(1)
    while (searching := low < high).any():
        middle = (low + high) // 2
        below = _is_below(padded[np.minimum(middle, last)], wanted.value)
        low, high = np.where(searching & below, middle + 1, low), np.where(searching & ~below, middle, high)
    found = padded[np.minimum(low, last)]
    there = (low < end) & ~_is_below(wanted.value, found) & ~_is_below(found, wanted.value)
    return low, there


def _is_below(a: Floats, b: Floats) -> Flags:
    """Which numbers are smaller than others; NaN comes last, and equals itself."""
    return (a < b) | (np.isnan(b) & ~np.isnan(a))


def _summed(histogram: Histograms, owner: Integers, at: Integers, totals: Floats) -> Lists | None:
    """The rounded lists of rows with more than EXACT_ROWS values; None if a table would take more than it saves.

    Row `owner[i]`, ascending, has row `at[i]` of the histograms; `totals` counts the values of each row.
    """
    large, keys = totals > EXACT_ROWS, rounded(histogram.keys, histogram.spread) + 0.0
    codes = codes_of(keys, histogram.spread)
    if codes is None:
        return None
    different, column = numbered(codes - codes.min())
    number, width, rows = len(histogram.exact), len(different), int(large.sum())
    if (number + rows) * width > CELLS * int(np.diff(histogram.offsets)[at].sum()):
        return None
    values = np.zeros(width)
    values[column] = keys
    cell, of_large = histogram.rows * width + column, large[owner]
    ends = np.searchsorted(owner[of_large], np.append(np.flatnonzero(large), len(large)))
    pieces = [at[of_large][first:last].tolist() for first, last in itertools.pairwise(ends.tolist())]

    def added(weights: Integers) -> Floats:
        table = np.bincount(cell, weights=weights, minlength=number * width).reshape(number, width)
        sums = np.empty((rows, width))
        for row, (first, *others) in zip(sums, pieces, strict=True):
            row[:] = table[first]
            for other in others:
                row += table[other]
        return sums

    # Sums of whole numbers below 2^53 are exact as floats.
    if totals.max() < PACKED:
        sums = added(histogram.counts + histogram.marked * PACKED)
        filled = sums != 0
        both = sums[filled].astype(np.int64)
        counts, marked = both % PACKED, both // PACKED
    else:
        sums, marks = added(histogram.counts), added(histogram.marked)
        filled = sums != 0
        counts, marked = sums[filled].astype(np.int64), marks[filled].astype(np.int64)
    columns = (
        float_column(np.broadcast_to(values, filled.shape)[filled]),
        integer_column(counts),
        integer_column(marked),
    )
    offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(filled, axis=1))])
    return Lists(offsets, dict(zip(HistogramState.fields, columns, strict=True)))


@dataclass(frozen=True)
class Histograms(Keyed):
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

    per_key = ("keys", "counts", "marked")

    marked: Integers
    exact: Flags
    spread: Spread = "real"

    @functools.cached_property
    def below(self) -> Integers:
        """Number of lower values in the row of each key."""
        return self._below(self.counts)

    @functools.cached_property
    def marked_below(self) -> Integers:
        """Number of lower values in the row of each key for which `mark` holds."""
        return self._below(self.marked)

    def _below(self, counts: Integers) -> Integers:
        below = np.cumsum(counts)
        below -= counts
        below -= np.repeat(np.append(below, 0)[self.offsets[:-1]], np.diff(self.offsets))
        return below

    @functools.cached_property
    def marked_totals(self) -> Integers:
        """Number of values in each row for which `mark` holds."""
        return totals_by(self.offsets, self.marked)

    @functools.cached_property
    def unmarked(self) -> Integers:
        """For each key how often `mark` does not hold."""
        return self.counts - self.marked

    @functools.cached_property
    def unmarked_below(self) -> Integers:
        """Number of lower values in the row of each key for which `mark` does not hold."""
        return self.below - self.marked_below

    def rounded_unless(self, exact: Flags) -> Floats:
        """The keys, rounded in the rows where `exact` is false."""
        return np.where(exact[self.rows], self.keys, rounded(self.keys, self.spread))

    def take(self, rows: Integers) -> Self:
        """These rows in this order; -1 is an empty row."""
        # Index -1 finds the element appended here, for an empty row.
        return replace(super().take(rows), exact=np.append(self.exact, True)[rows])

    def between(self, first: int, last: int) -> Self:
        """The rows from `first` up to, but not including, `last`."""
        return replace(super().between(first, last), exact=self.exact[first:last])
