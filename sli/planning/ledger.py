"""The ledger of tiles: what they need, what a run does of that, and what it leaves.

Final tiles that are stale are only confirmed: they are computed and, if they would change, held until a backfill
(`late_feedback` has the rule). Limit: the ledger says what to do with a tile, not what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np

from sli.calendar.interval import BEGINNING, END, Interval, difference, intersection, union, union_of
from sli.config.model import Config
from sli.logs.files import Inputs
from sli.planning.changes import Cause
from sli.planning.late_feedback import Horizon
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks, lacks_any
from sli.planning.published import Published
from sli.planning.request import Request


@dataclass(frozen=True)
class Ledger:
    """What a run does of what tiles need, what it leaves, and the tiles in which it counts unmatched feedback again."""

    does: Needs
    left: Needs
    feedback_tiles: list[Interval]


def ledger_of(
    config: Config,
    basis: Published | None,
    causes: Iterable[Cause],
    with_predictions: list[Interval],
    request: Request,
    moved: Sequence[Interval] = (),
) -> Ledger:
    """What a request does with each tile. `basis` is the published run it builds on; None: it starts from scratch.

    Tiles in `moved` are computed whatever the request is: predictions of theirs win or lose to rows elsewhere now.
    """
    stale, feedback_tiles = stale_tiles(config, causes, request.as_of)
    before = Horizon.of(config).final_before(basis.as_of, config.tile) if basis else BEGINNING
    final = [Interval(BEGINNING, before)]
    needed = _needed(config, basis, stale, final, with_predictions)
    asked = _asked(config, needed, basis, request)
    reached = Cause("computed predictions", (*moved, *(asked.of(RECOMPUTE) if request.part is not None else ())))
    feedback_tiles = union([*feedback_tiles, *stale_tiles(config, [reached], request.as_of)[1]])
    more = difference(moved, asked.of(RECOMPUTE, CONFIRM))
    asked = asked.add(RECOMPUTE, difference(more, final)).add(CONFIRM, intersection(more, final))
    does = settled(asked.each(partial(whole_days, config)))
    # The states of a tile count the same rows, and a tile that is held or to be confirmed may not count them all.
    does = does.take(map(lacks, does.states), [*needed.of(HELD), *does.of(CONFIRM)])
    return Ledger(does, left_by(needed, does), feedback_tiles)


def settled(needs: Needs) -> Needs:
    """The needs without those of tiles to recompute: a recompute also confirms a tile, and gives it every state."""
    return needs.take([CONFIRM, *map(lacks, needs.states)], needs.of(RECOMPUTE))


def left_by(needs: Needs, does: Needs) -> Needs:
    """What is left of needs. A tile is no longer held once it is recomputed or confirmed."""
    return (needs - does).without(does.of(RECOMPUTE)).take([HELD], does.of(CONFIRM))


def _needed(
    config: Config,
    basis: Published | None,
    stale: list[Interval],
    final: list[Interval],
    with_predictions: list[Interval],
) -> Needs:
    """What the published run left, and what came since: stale tiles, and states that are new."""
    if basis is None:
        return Needs({RECOMPUTE: stale})
    needs = basis.needs.only([RECOMPUTE, CONFIRM, HELD, *map(lacks, config.states)])
    for state in config.states:
        if state not in basis.states:
            needs = needs.add(lacks(state), with_predictions)
    needs = needs.add(CONFIRM, intersection(stale, final)).add(RECOMPUTE, difference(stale, final))
    return settled(needs)


def _asked(config: Config, needed: Needs, basis: Published | None, request: Request) -> Needs:
    """What a request is about: what is needed within its reach, or every tile of the part of a backfill."""
    if request.part is not None:
        reach = intersection([request.part], [tiles_until(config, request.as_of)])
        fills = (need for sli in config.declared if sli.name in request.slis for need in lacks_any(sli))
        return needed.only(fills).within(reach) if request.slis else Needs({RECOMPUTE: reach})
    work = needed.only([RECOMPUTE, CONFIRM, *map(lacks, needed.states)])
    if basis is None or request.look_back is None:
        return work
    # Hours never published lie within every look-back.
    return work.within([Interval(max(BEGINNING, basis.newest - request.look_back) // config.tile * config.tile, END)])


def stale_tiles(config: Config, causes: Iterable[Cause], as_of: int) -> list[list[Interval]]:
    """Tiles of predictions and tiles of feedback that the causes make stale.

    Only the times in the footers of files are known, so a new file of feedback makes every tile stale that its rows
    could belong to.
    """
    horizon, predictions, feedback = Horizon.of(config), [], []
    for cause in causes:
        for interval in cause.intervals:
            if cause.what.endswith("predictions"):
                predictions.append(interval)
                feedback.append(horizon.feedback_for(interval))
            else:
                predictions.append(horizon.predictions_for(interval))
                feedback.append(interval)
    whole = tiles_until(config, as_of)
    return [
        intersection((whole_tiles(interval, config.tile) for interval in intervals), [limits])
        for intervals, limits in ((predictions, whole), (feedback, Interval(BEGINNING, whole.end)))
    ]


def tiles_with_predictions(config: Config, inputs: Inputs, as_of: int) -> list[Interval]:
    """Tiles that may hold predictions, by the footers of the files."""
    _, first, last = inputs.predictions.ranges
    tile = config.tile
    tiles = union_of(first // tile * tile, np.maximum(BEGINNING, last // tile * tile + tile))
    return intersection(tiles, [tiles_until(config, as_of)])


def whole_days(config: Config, tiles: list[Interval]) -> list[Interval]:
    """The tiles, widened to whole days if a Python function must see all pairs of a day at once."""
    if all(state.merges for state in config.states.values()):
        return tiles
    zone, since = config.zone, config.since_instant
    days = ((zone.date(i.start), zone.date(i.end - 1) + timedelta(days=1)) for i in tiles)
    return union(Interval(max(since, zone.midnight(first)), zone.midnight(end)) for first, end in days)


def tiles_until(config: Config, as_of: int) -> Interval:
    """All tiles from `since` to as_of."""
    since = config.since_instant
    return whole_tiles(Interval(since, max(since, as_of + 1)), config.tile)


def whole_tiles(interval: Interval, tile: int) -> Interval:
    """The whole tiles that hold an interval."""
    return Interval(interval.start // tile * tile, max(BEGINNING, -(-interval.end // tile) * tile))
