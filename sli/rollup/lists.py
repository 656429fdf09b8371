"""The lists of a state in memory: those of tiles and day tiles, and those of larger nodes, merged from them.

A row of some windows, or a node, is the merge of a few pieces: lists of nodes. Limit: the lists of all loaded tiles are
in memory, and of a batch of rows also their pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sli.engine.arrow import ChunkedColumn, concat_columns, flatten_lists, integer_column
from sli.slis.kinds.lists import Elements, Lists, ListState
from sli.slis.states import Integers, rows_at

TOGETHER = 1 << 17
"""About how many elements are merged at a time, so that they fit the caches of the processor."""


class Pieces(NamedTuple):
    """The lists that some rows are merged from, one element a list: its row, ascending, where it lies and its position
    there."""

    row: Integers
    source: Integers
    """The level of the tree; while lists are merged, their shelf."""
    position: Integers

    def part(self, first: int, last: int) -> Pieces:
        """The pieces of the rows from `first` up to `last`, which become the rows from 0 on."""
        a, b = np.searchsorted(self.row, [first, last])
        return Pieces(self.row[a:b] - first, self.source[a:b], self.position[a:b])


class StoredLists:
    """The lists of one state: those of all tiles and day tiles, in the order of their table, and those of levels."""

    def __init__(self, state: ListState, tiles: ChunkedColumn) -> None:
        self.state = state
        self.shelves = [Lists(*flatten_lists(chunk, list(state.fields))) for chunk in tiles.chunks]
        """Lists that are stored together: a shelf for each chunk of the table, where they lie already, and each level.
        """
        self.first = np.cumsum([0, *map(len, tiles.chunks)])[:-1]
        """The position of the first list of each chunk."""
        self.shelf_of: dict[int, int] = {}
        """The shelf of each level above the tiles and day tiles."""

    def add_level(self, level: int, pieces: Pieces, rows: int) -> None:
        """Merge the lists of a level, each from its pieces."""
        merged = self.merge(pieces, rows)
        self.shelf_of[level] = len(self.shelves)
        self.shelves.append(merged)

    def merge(self, pieces: Pieces, rows: int) -> Lists:
        """The list of each row from its pieces."""
        shelf = np.searchsorted(self.first, pieces.position, side="right") - 1
        position = pieces.position - (self.first[shelf] if len(shelf) else 0)
        for level, number in self.shelf_of.items():
            of_level = pieces.source == level
            shelf[of_level], position[of_level] = number, pieces.position[of_level]
        placed = Pieces(pieces.row, shelf, position)
        parts = [self._merge(placed.part(first, last), last - first) for first, last in self._stretches(placed, rows)]
        return parts[0] if len(parts) == 1 else _laid_end_to_end(parts)

    def _stretches(self, placed: Pieces, rows: int) -> Iterator[tuple[int, int]]:
        """Rows whose pieces have about TOGETHER elements; more only if it is a single row."""
        sizes = np.zeros(len(placed.row), dtype=np.int64)
        for number in np.unique(placed.source).tolist():
            of_shelf, offsets = placed.source == number, self.shelves[number].offsets
            at = placed.position[of_shelf]
            sizes[of_shelf] = offsets[at + 1] - offsets[at]
        reached = np.cumsum(np.bincount(placed.row, weights=sizes, minlength=rows))
        first = 0
        while first < rows:
            before = reached[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(reached, before + TOGETHER, side="right")))
            yield first, last
            first = last
        if not rows:
            yield 0, 0

    def _merge(self, placed: Pieces, rows: int) -> Lists:
        owners = [np.array([], dtype=np.int64)]
        elements: list[Elements] = []
        for number in np.unique(placed.source).tolist():
            of_shelf, lists = np.flatnonzero(placed.source == number), self.shelves[number]
            offsets, at = rows_at(lists.offsets, placed.position[of_shelf])
            owners.append(np.repeat(placed.row[of_shelf], np.diff(offsets)))
            elements.append({name: column.take(integer_column(at)) for name, column in lists.elements.items()})
        owner, joined = np.concatenate(owners), concat_columns(elements or [self.state.nothing])
        if len(elements) == 1 and (np.diff(placed.row) > 0).all():
            # Each row is one list, or none, and a list is stored in order.
            return Lists(np.searchsorted(owner, np.arange(rows + 1)), joined)
        return self.state.merge(owner, rows, joined)


def _laid_end_to_end(parts: list[Lists]) -> Lists:
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Lists(np.concatenate([*offsets, ends[-1:]]), concat_columns([part.elements for part in parts]))
