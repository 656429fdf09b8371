"""Which nodes of the tile tree make up a window: a few, even if the window is long.

A node of level 1 is the merge of 4 neighbouring tiles, one of level 2 of 16, and so on. For example a window of the
tiles 3 to 20 is made of the tiles 3 and 20 and the nodes 1 to 4 of level 1. A node that only one window needs saves
nothing, so the window is made of smaller ones instead. Limit: only whole tiles; a window never cuts one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sli.calendar.interval import Instants
from sli.slis.states import Flags, Integers

RADIX = 4
"""How many nodes are merged to one of the next level."""
DAYS = -1
"""The level of day tiles; a node of level -2 is the merge of 4 neighbouring day tiles, and so on."""


Levels = Mapping[int, Integers]
"""The numbers of some nodes by their level."""


class Cover(NamedTuple):
    """The nodes of some windows, one element a node: its window, its level and its number on that level."""

    window: Integers
    level: Integers
    number: Integers

    def shared(self, built: Levels) -> dict[int, Integers]:
        """The nodes worth building besides those already `built`: at least two windows, or larger nodes, need each.

        >>> two = Cover(np.array([0, 1, 1]), np.array([1, 1, 1]), np.array([0, 0, 1]))
        >>> two.shared({})
        {1: array([0])}
        """
        worth: dict[int, Integers] = {}
        more: dict[int, Integers] = {}
        for level in _larger(self.level):
            needed = np.concatenate([self.number[self.level == level], more.get(level, NONE)])
            numbers, times = np.unique(needed[~_among(needed, level, built)], return_counts=True)
            worth[level] = numbers[times > 1]
            # Built or not, a node is made of its smaller ones once.
            more[level - 1 if level > 0 else level + 1] = _parts(numbers)
        return {level: numbers for level, numbers in worth.items() if len(numbers)}

    def of(self, built: Levels) -> Cover:
        """The same windows made of tiles, day tiles and `built` nodes alone.

        >>> Cover(np.array([7]), np.array([1]), np.array([2])).of({}).number.tolist()
        [8, 9, 10, 11]
        """
        nodes = self
        for level in _larger(self.level):
            whole = (nodes.level != level) | _among(nodes.number, level, built)
            nodes = joined([nodes._at(whole), nodes._at(~whole).parts()])
        return nodes

    def parts(self) -> Cover:
        """The nodes of the next smaller level that these are merged from; none of them is a tile or day tile."""
        below = np.where(self.level > 0, self.level - 1, self.level + 1)
        return Cover(np.repeat(self.window, RADIX), np.repeat(below, RADIX), _parts(self.number))

    def _at(self, which: Flags) -> Cover:
        return Cover(*(column[which] for column in self))


NONE = np.array([], dtype=np.int64)


def _larger(levels: Integers) -> Iterator[int]:
    """All levels above those of the tiles and day tiles, from the highest of these levels down."""
    yield from range(int(levels.max(initial=0)), 0, -1)
    yield from range(int(levels.min(initial=DAYS)), DAYS)


def _parts(numbers: Integers) -> Integers:
    return np.repeat(numbers * RADIX, RADIX) + np.tile(np.arange(RADIX), len(numbers))


def _among(numbers: Integers, level: int, nodes: Levels) -> Flags:
    return np.isin(numbers, nodes.get(level, NONE))


def joined(covers: Sequence[Cover]) -> Cover:
    return Cover(*(np.concatenate(arrays) for arrays in zip(*covers, strict=True)))


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
    return Cover(np.concatenate([NONE, *windows]), np.concatenate([NONE, *levels]), np.concatenate([NONE, *numbers]))


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

    def cover(self, starts: Instants, ends: Instants) -> Cover:
        """The nodes of each window: day tiles for its whole days, tiles for the rest."""
        every = np.arange(len(starts))
        if self.midnights is None or len(self.midnights) == 0:
            return self._cover_by_tiles(every, starts, ends)
        first = np.searchsorted(self.midnights, starts, side="left")
        last = np.searchsorted(self.midnights, ends, side="right") - 1
        whole = first < last
        opening, closing = (self.midnights[np.clip(day, 0, len(self.midnights) - 1)] for day in (first, last))
        days = cover(np.where(whole, first, 0), np.where(whole, last, 0))
        return joined(
            [
                self._cover_by_tiles(every, starts, np.where(whole, opening, ends)),
                self._cover_by_tiles(every[whole], closing[whole], ends[whole]),
                days._replace(level=DAYS - days.level),
            ]
        )

    def _cover_by_tiles(self, windows: Integers, starts: Instants, ends: Instants) -> Cover:
        count = self.last - self.first + 1
        lo = np.clip(starts // self.tile - self.first, 0, count)
        hi = np.maximum(lo, np.clip(ends // self.tile - self.first, 0, count))
        nodes = cover(lo, hi)
        return nodes._replace(window=windows[nodes.window])
