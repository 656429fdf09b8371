"""Which nodes of the tile tree make up a window: a few, even if the window is long.

A node of level 1 is the merge of 4 neighbouring tiles, one of level 2 of 16, and so on. For example a window of the
tiles 3 to 20 is made of the tiles 3 and 20 and the nodes 1 to 4 of level 1. Limit: only whole tiles; a window never
cuts one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sli.calendar.interval import Instants
from sli.slis.states import Integers

RADIX = 4
"""How many nodes are merged to one of the next level."""
DAYS = -1
"""The level of day tiles; a node of level -2 is the merge of 4 neighbouring day tiles, and so on."""


class Cover(NamedTuple):
    """The nodes of some windows, one element a node: its window, its level and its number on that level."""

    window: Integers
    level: Integers
    number: Integers


def cover(lo: Integers, hi: Integers) -> Cover:
    """The nodes that make up the tiles `[lo[i], hi[i])` of each window i.

    >>> nodes = cover(np.array([3]), np.array([21]))
    >>> sorted(zip(nodes.level.tolist(), nodes.number.tolist()))
    [(0, 3), (0, 20), (1, 1), (1, 2), (1, 3), (1, 4)]
    """
    lo, hi = lo.copy(), hi.copy()
    windows: list[Integers] = []
    levels: list[Integers] = []
    numbers: list[Integers] = []
    level, every = 0, np.arange(len(lo))
    while (lo < hi).any():
        for _ in range(RADIX - 1):
            for side in ("low", "high"):
                edge = lo if side == "low" else hi
                take = (lo < hi) & (edge % RADIX != 0)
                if side == "high":
                    hi[take] -= 1
                windows.append(every[take])
                numbers.append((lo if side == "low" else hi)[take].copy())
                levels.append(np.full(int(take.sum()), level))
                if side == "low":
                    lo[take] += 1
        lo, hi, level = lo // RADIX, hi // RADIX, level + 1
    none = np.array([], dtype=np.int64)
    return Cover(np.concatenate([none, *windows]), np.concatenate([none, *levels]), np.concatenate([none, *numbers]))


@dataclass(frozen=True)
class Timeline:
    """Where the tiles and day tiles lie in time: tile number 0 is the `first` one, day number i begins at
    `midnights[i]`."""

    tile: int
    """The length of a tile in microseconds."""
    first: int
    """The start of the first tile, divided by the length of a tile."""
    last: int
    midnights: Instants | None = None

    def cover(self, starts: Instants, ends: Instants, disjoint: bool) -> Cover:
        """The nodes of each window: day tiles for its whole days, tiles for the rest.

        `disjoint` says that no two windows share a tile. Then each larger node would be used only once, so the windows
        are made of tiles alone.
        """
        every = np.arange(len(starts))
        if self.midnights is None or len(self.midnights) == 0:
            return self._cover_by_tiles(every, starts, ends, disjoint)
        first = np.searchsorted(self.midnights, starts, side="left")
        last = np.searchsorted(self.midnights, ends, side="right") - 1
        whole = first < last
        opening, closing = (self.midnights[np.clip(day, 0, len(self.midnights) - 1)] for day in (first, last))
        days = cover(np.where(whole, first, 0), np.where(whole, last, 0))
        parts = [
            self._cover_by_tiles(every, starts, np.where(whole, opening, ends), disjoint),
            self._cover_by_tiles(every[whole], closing[whole], ends[whole], disjoint),
            days._replace(level=DAYS - days.level),
        ]
        return Cover(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _cover_by_tiles(self, windows: Integers, starts: Instants, ends: Instants, disjoint: bool) -> Cover:
        count = self.last - self.first + 1
        lo = np.clip(starts // self.tile - self.first, 0, count)
        hi = np.maximum(lo, np.clip(ends // self.tile - self.first, 0, count))
        if disjoint:
            lengths = hi - lo
            numbers = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths - lo, lengths)
            return Cover(np.repeat(windows, lengths), np.zeros(len(numbers), dtype=np.int64), numbers)
        nodes = cover(lo, hi)
        return nodes._replace(window=windows[nodes.window])
