"""The lists of a state in memory: those of tiles and day tiles, and those of larger nodes, merged from them.

A row of some windows, or a larger node, is the merge of a few pieces: lists of nodes. A list that many rows
share is looked at once. Limit: the lists of all loaded tiles are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sli.engine.arrow import ChunkedColumn, concat_columns, flatten_lists, integer_column
from sli.slis.kinds.lists import Elements, Lists, ListState, laid_end_to_end
from sli.slis.states import Integers, rows_at

TOGETHER = 1 << 17
"""About how many elements are merged at a time, so that they fit the caches of the processor."""
TOGETHER_SHARED = 1 << 17
"""The same, where lists are pieces of several rows: each counts once."""
REPEATED = 2
"""How often each list must be a piece on average so that it is looked at only once."""
GROWTH = 2
"""A merged list has at most, or at most usually, so many times the elements of its largest piece."""


class Pieces(NamedTuple):
    """The lists that some rows are merged from, one element a list: its row, ascending, and its position among all."""

    row: Integers
    position: Integers

    def part(self, first: int, last: int) -> Pieces:
        """The pieces of the rows from `first` up to `last`, which become the rows from 0 on."""
        a, b = np.searchsorted(self.row, [first, last])
        return Pieces(self.row[a:b] - first, self.position[a:b])

    def at(self, rows: Integers) -> Pieces:
        """The pieces of these rows, which become the rows from 0 on, in this order.

        >>> pieces = Pieces(np.array([0, 1, 1]), np.array([7, 8, 9]))
        >>> pieces.at(np.array([1, 0])).position.tolist()
        [8, 9, 7]
        """
        first, last = (np.searchsorted(self.row, rows, side=side) for side in ("left", "right"))
        ends = np.concatenate([[0], np.cumsum(last - first)])
        at = np.arange(ends[-1]) + np.repeat(first - ends[:-1], last - first)
        return Pieces(np.repeat(np.arange(len(rows)), last - first), self.position[at])


class StoredLists:
    """The lists of one state by their positions: those of all tiles and day tiles, and then those of larger nodes."""

    def __init__(self, state: ListState, tiles: ChunkedColumn) -> None:
        self.state = state
        self.shelves = [Lists(*flatten_lists(chunk, list(state.fields))) for chunk in tiles.chunks]
        """Lists that lie together: each chunk of the table of tiles, and what was added at once."""
        self.first = np.cumsum([0, *map(len, tiles.chunks)])[:-1]
        """The position of the first list of each shelf."""

    def add(self, first: int, pieces: Pieces, rows: int) -> None:
        """Merge lists from their pieces and store them from position `first` on."""
        self.shelves.append(self.merge(pieces, rows))
        self.first = np.append(self.first, first)

    def merge(self, pieces: Pieces, rows: int) -> Lists:
        """The list of each row from its pieces."""
        cuts = list(self._stretches(pieces, rows))
        return laid_end_to_end([self._merge(pieces.part(first, last), last - first) for first, last in cuts])

    def result_sizes(self, pieces: Pieces, rows: int) -> Integers:
        """About how many elements the list of each row will have."""
        sizes, most = self._sizes(pieces), np.zeros(rows, dtype=np.int64)
        begins = np.flatnonzero(np.diff(pieces.row, prepend=-1))
        if len(begins):
            largest, every = (f.reduceat(sizes, begins) for f in (np.maximum, np.add))
            most[pieces.row[begins]] = np.minimum(every, GROWTH * largest)
        return most

    def _sizes(self, pieces: Pieces) -> Integers:
        """How many elements each piece has."""
        sizes = np.zeros(len(pieces.row), dtype=np.int64)
        for there, lists, at in self._by_shelf(pieces):
            sizes[there] = lists.offsets[at + 1] - lists.offsets[at]
        return sizes

    def _by_shelf(self, pieces: Pieces) -> Iterator[tuple[Integers, Lists, Integers]]:
        """For each shelf that has some of the pieces: which ones, its lists, and the places of the pieces there."""
        shelf = np.searchsorted(self.first, pieces.position, side="right") - 1
        for number in np.unique(shelf).tolist():
            there = np.flatnonzero(shelf == number)
            yield there, self.shelves[number], pieces.position[there] - self.first[number]

    def _stretches(self, pieces: Pieces, rows: int) -> Iterator[tuple[int, int]]:
        """Rows whose different pieces have about TOGETHER elements; more only if it is a single row."""
        sizes, most = self._sizes(pieces), TOGETHER
        if self._repeated(pieces):
            again = np.ones(len(sizes), dtype=bool)
            again[np.unique(pieces.position, return_index=True)[1]] = False
            sizes[again], most = 0, TOGETHER_SHARED
        reached = np.cumsum(np.bincount(pieces.row, weights=sizes, minlength=rows))
        first = 0
        while first < rows:
            before = reached[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(reached, before + most, side="right")))
            yield first, last
            first = last
        if not rows:
            yield 0, 0

    def _repeated(self, pieces: Pieces) -> bool:
        """Whether lists are so often pieces of several rows that each is worth being looked at only once."""
        return self.state.shares and len(np.unique(pieces.position)) * REPEATED <= len(pieces.position)

    def _merge(self, pieces: Pieces, rows: int) -> Lists:
        if self._repeated(pieces):
            positions, at = np.unique(pieces.position, return_inverse=True)
            different = self._expanded(Pieces(np.arange(len(positions)), positions), len(positions))
            return self.state.merge_shared(different, pieces.row, at, rows)
        return self._expanded(pieces, rows)

    def _expanded(self, pieces: Pieces, rows: int) -> Lists:
        """The list of each row, from the elements of each of its pieces."""
        owners = [np.array([], dtype=np.int64)]
        elements: list[Elements] = []
        for there, lists, places in self._by_shelf(pieces):
            offsets, at = rows_at(lists.offsets, places)
            owners.append(np.repeat(pieces.row[there], np.diff(offsets)))
            elements.append({name: column.take(integer_column(at)) for name, column in lists.elements.items()})
        owner, joined = np.concatenate(owners), concat_columns(elements or [self.state.nothing])
        if (np.diff(pieces.row) == 0).any():
            return self.state.merge(owner, rows, joined)
        # Each row is one list, or none, and a list is stored in order.
        if len(elements) > 1:
            order = np.argsort(owner, kind="stable")
            owner, joined = owner[order], {name: column.take(integer_column(order)) for name, column in joined.items()}
        return Lists(np.searchsorted(owner, np.arange(rows + 1)), joined)
