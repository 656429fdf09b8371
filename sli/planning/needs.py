"""What tiles need, as one value: a map from each need to the tiles that have it.

    published needs + what the changes of the logs add = what is needed; less what a run does = what it leaves

Limit: the value says what a tile needs, not why; `ledger` has the arithmetic of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NewType

from sli.calendar.interval import Interval, difference, intersection, union
from sli.slis import Sli

Need = NewType("Need", str)
"""What a tile may need, by the name under which it is stored."""
RECOMPUTE = Need("recompute")
"""The logs of the tile changed: it is recomputed, and until then the windows that rest on it wait."""
CONFIRM = Need("confirm")
"""Input may have come for a final tile: it is computed, and held if it would change."""
HELD = Need("held")
"""Input would change a final tile: it stays as it is until a backfill."""
LACKS = "lacks "


def lacks(state: str) -> Need:
    """The need of a tile that lacks a state, by the id of the state."""
    return Need(LACKS + state)


def lacks_any(sli: Sli) -> tuple[Need, ...]:
    """The needs of tiles that lack states of an SLI."""
    return tuple(lacks(state.id) for state in sli.formula.states.values())


@dataclass(frozen=True)
class Needs:
    """Which tiles have which need. Of each need the intervals are disjoint and in order; equal needs are equal values.

    A tile may have several needs. Every method returns a new value.

    >>> needs = Needs().add(RECOMPUTE, [Interval(0, 2), Interval(2, 5)]).add(HELD, [Interval(4, 6)])
    >>> needs.of(RECOMPUTE), needs.of(RECOMPUTE, HELD)
    ((Interval(start=0, end=5),), (Interval(start=0, end=6),))
    >>> needs.without([Interval(3, 9)]) == Needs({RECOMPUTE: [Interval(0, 3)]})
    True
    """

    tiles: Mapping[Need, Iterable[Interval]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joined = {need: tuple(union(tiles)) for need, tiles in sorted(self.tiles.items())}
        object.__setattr__(self, "tiles", {need: tiles for need, tiles in joined.items() if tiles})

    def __bool__(self) -> bool:
        return bool(self.tiles)

    def of(self, *needs: Need) -> tuple[Interval, ...]:
        """The tiles that have any of these needs."""
        return tuple(union(interval for need in needs for interval in self.tiles.get(need, ())))

    @property
    def states(self) -> tuple[str, ...]:
        """The ids of the states that some tiles lack."""
        return tuple(need.removeprefix(LACKS) for need in self.tiles if need.startswith(LACKS))

    def add(self, need: Need, tiles: Iterable[Interval]) -> Needs:
        """These needs, and this one in more tiles."""
        return Needs({**self.tiles, need: [*self.tiles.get(need, ()), *tiles]})

    def take(self, needs: Iterable[Need], tiles: Iterable[Interval]) -> Needs:
        """All needs except some of them, which these tiles no longer have."""
        tiles = list(tiles)
        return Needs({**self.tiles, **{need: difference(self.tiles.get(need, ()), tiles) for need in needs}})

    def only(self, needs: Iterable[Need]) -> Needs:
        """Some of these needs, wherever they are."""
        return Needs({need: self.tiles.get(need, ()) for need in needs})

    def within(self, tiles: Iterable[Interval]) -> Needs:
        """The needs of these tiles."""
        tiles = list(tiles)
        return self.each(lambda own: intersection(own, tiles))

    def without(self, tiles: Iterable[Interval]) -> Needs:
        """The needs of all other tiles."""
        return self.take(self.tiles, tiles)

    def each(self, change: Callable[[list[Interval]], Iterable[Interval]]) -> Needs:
        """The same needs, each in the tiles that a function makes of its own."""
        return Needs({need: change(list(tiles)) for need, tiles in self.tiles.items()})

    def __sub__(self, other: Needs) -> Needs:
        """These needs without the others, need by need."""
        return Needs({need: difference(tiles, other.of(need)) for need, tiles in self.tiles.items()})

    def to_json(self) -> dict[str, list[list[int]]]:
        """As plain values: each interval is a list of its start and its end."""
        return {need: [[interval.start, interval.end] for interval in tiles] for need, tiles in self.tiles.items()}

    @staticmethod
    def from_json(stored: Mapping[str, Iterable[Iterable[int]]]) -> Needs:
        """The value that `to_json` made plain."""
        return Needs({Need(name): [Interval(*ends) for ends in tiles] for name, tiles in stored.items()})
