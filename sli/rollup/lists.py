"""The lists of a state in memory: those of tiles and day tiles, and those of larger nodes, merged from them.

A row of some windows, or a node, is the merge of a few pieces: lists of nodes. Limit: the lists of all loaded tiles are
in memory, and of a batch of rows also their pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sli.engine.arrow import ChunkedColumn, concat_columns, flatten_lists, integer_column
from sli.rollup.cover import DAYS
from sli.slis.kinds.lists import Lists, ListState
from sli.slis.states import Integers, rows_at

TOGETHER = 1 << 17
"""About how many elements are merged at a time, so that they fit the caches of the processor."""


class Pieces(NamedTuple):
    """The lists that some rows are merged from, one element a list: its row, ascending, its level and its position
    among the lists of that level."""

    row: Integers
    level: Integers
    position: Integers

    def part(self, first: int, last: int) -> Pieces:
        """The pieces of the rows from `first` up to `last`, which become the rows from 0 on."""
        a, b = np.searchsorted(self.row, [first, last])
        return Pieces(self.row[a:b] - first, self.level[a:b], self.position[a:b])


class StoredLists:
    """The lists of one state by level; tiles and day tiles share one numbering."""

    def __init__(self, state: ListState, tiles: ChunkedColumn) -> None:
        self.state = state
        lists = Lists(*flatten_lists(tiles, list(state.fields)))
        self.levels = {0: lists, DAYS: lists}

    def add_level(self, level: int, pieces: Pieces, rows: int) -> None:
        """Merge the lists of a level, each from its pieces."""
        self.levels[level] = self.merge(pieces, rows)

    def merge(self, pieces: Pieces, rows: int) -> Lists:
        """The list of each row from its pieces."""
        parts = [self._merge(pieces.part(first, last), last - first) for first, last in self._stretches(pieces, rows)]
        return parts[0] if len(parts) == 1 else _laid_end_to_end(parts)

    def _stretches(self, pieces: Pieces, rows: int) -> Iterator[tuple[int, int]]:
        """Rows whose pieces have about TOGETHER elements; more only if it is a single row."""
        sizes = np.zeros(len(pieces.row), dtype=np.int64)
        for level, lists in self.levels.items():
            of_level = pieces.level == level
            sizes[of_level] = np.diff(lists.offsets)[pieces.position[of_level]]
        reached = np.cumsum(np.bincount(pieces.row, weights=sizes, minlength=rows))
        first = 0
        while first < rows:
            before = reached[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(reached, before + TOGETHER, side="right")))
            yield first, last
            first = last
        if not rows:
            yield 0, 0

    def _merge(self, pieces: Pieces, rows: int) -> Lists:
        owners, found = [], []
        for level in np.unique(pieces.level).tolist() or [0]:
            of_level = np.flatnonzero(pieces.level == level)
            lists = self.levels[level]
            offsets, at = rows_at(lists.offsets, pieces.position[of_level])
            owners.append(np.repeat(pieces.row[of_level], np.diff(offsets)))
            found.append({name: column.take(integer_column(at)) for name, column in lists.elements.items()})
        owner, elements = np.concatenate(owners), concat_columns(found)
        if len(found) == 1 and len(pieces.row) <= rows and (np.diff(pieces.row) > 0).all():
            # Each row is one list, or none, and a list is stored in order.
            return Lists(np.searchsorted(owner, np.arange(rows + 1)), elements)
        return self.state.merge(owner, rows, elements)


def _laid_end_to_end(parts: list[Lists]) -> Lists:
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Lists(np.concatenate([*offsets, ends[-1:]]), concat_columns([part.elements for part in parts]))
