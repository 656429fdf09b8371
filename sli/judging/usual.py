"""How much an SLI usually moves from one stretch of time to the next: what chance and the calendar do together.

Limit: over the stretches of equal length just before, at most `STRETCHES`, and only if `FEWEST` of them are final.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sli.calendar.interval import Interval
from sli.judging.sides import sides_in
from sli.judging.windows import just_before, stretch_text
from sli.planning.late_feedback import Horizon
from sli.reading.publication import Publication
from sli.slis import Sli
from sli.slis.states import Floats

STRETCHES, FEWEST = 21, 8
SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class UsualMove:
    """`SHARE` of the moves from one stretch to the next are at most this large, in the unit of the SLI."""

    move: float
    moves: int
    """How many moves were looked at."""
    stretch: str
    """What the stretches are: `day`, `week`, `31-day window`, `6-hour window`."""


def usual_moves(
    publication: Publication, slis: Sequence[Sli], now: Interval, slice: Mapping[str, str | None] | None
) -> list[UsualMove | None]:
    """How much each SLI usually moves, by the final stretches before `now`; None with too few. Raises SliError."""
    config, stretches = publication.config, [now]
    while len(stretches) <= STRETCHES:
        earlier = just_before(config, stretches[-1])
        if earlier.start < config.since_instant:
            break
        stretches.append(earlier)
    final = publication.published.as_of - Horizon.of(config).after
    stretches = [stretch for stretch in stretches[1:] if stretch.end <= final]
    if len(stretches) < FEWEST:
        return [None] * len(slis)
    text, sides = stretch_text(config, now), sides_in(publication, slis, stretches, slice)
    values = np.array([[side.value for side in of_stretch] for of_stretch in sides])
    return [_usual(np.abs(np.diff(of_sli)), text) for of_sli in values.T]


def _usual(moves: Floats, stretch: str) -> UsualMove | None:
    moves = moves[~np.isnan(moves)]
    if len(moves) < FEWEST - 1:
        return None
    most = float(np.quantile(moves, SHARE, method="higher"))
    return UsualMove(move=most, moves=len(moves), stretch=stretch)
