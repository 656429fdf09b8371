"""How far around a row other rows with its id matter: the rule for duplicates, and what is looked up because of it.

Of predictions with one id, ordered as they win, one is a duplicate if another one before it is near: their tiles begin
at most `apart` apart. So what lies within `apart` of a prediction decides whether it counts, and all that a changed row
can change lies within `far` of it. Unmatched feedback has its reason from the predictions near it, too.

For example, with `duplicates_within: 30d` and a horizon of 7d a run looks the ids of an hour up in 37 days. Limit: the
rule knows times and tiles; the rows are compared in `matching`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sli.calendar.duration import FOREVER
from sli.calendar.interval import Interval, union
from sli.config.model import Config
from sli.planning.late_feedback import Horizon
from sli.planning.ledger import whole_tiles


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far ids are looked up, in microseconds."""

    tile: int
    """Length of a tile."""
    apart: int
    """How far apart the tiles of two duplicates may begin: whole tiles, so that all rows of a tile have one answer."""
    horizon: Horizon

    @staticmethod
    def of(config: Config) -> Reach:
        return Reach(tile=config.tile, apart=config.duplicates_apart, horizon=Horizon.of(config))

    @property
    def far(self) -> int:
        """How far from a row its id is looked up."""
        return self.apart + self.horizon.before + self.horizon.after

    @property
    def endless(self) -> bool:
        """Whether ids are looked up in all of history."""
        return self.far >= FOREVER.micros

    @property
    def frame(self) -> str:
        """SQL frame of the predictions near one, if a window has those of an id ordered by tile as they win."""
        return f"RANGE BETWEEN {self.apart // self.tile} PRECEDING AND CURRENT ROW"

    def duplicates_of(self, predictions: Iterable[Interval]) -> list[Interval]:
        """Tiles of predictions that may win over, or lose to, predictions of these tiles."""
        return self._widened(predictions, self.apart, self.apart)

    def around(self, rows: Iterable[Interval]) -> list[Interval]:
        """Tiles of the rows that decide what changes where rows of these tiles do."""
        return self._widened(rows, self.far, self.far)

    def explaining(self, feedback: Iterable[Interval]) -> list[Interval]:
        """Tiles of the predictions that unmatched feedback of these tiles has its reason from."""
        return self._widened(feedback, self.apart + self.horizon.after, self.apart + self.horizon.before)

    def explained_by(self, predictions: Iterable[Interval]) -> list[Interval]:
        """Tiles of unmatched feedback that may have its reason from predictions of these tiles."""
        return self._widened(predictions, self.apart + self.horizon.before, self.apart + self.horizon.after)

    def explains_from(self, feedback: str) -> str:
        """SQL of the first instant at which a prediction explains why feedback known at `feedback` is unmatched."""
        return f"{feedback} - {self.apart + self.horizon.after}"

    def explains_until(self, feedback: str) -> str:
        """SQL of the last such instant."""
        return f"{feedback} + {self.apart + self.horizon.before}"

    def _widened(self, tiles: Iterable[Interval], before: int, after: int) -> list[Interval]:
        return union(whole_tiles(interval.widened(before, after), self.tile) for interval in tiles)
