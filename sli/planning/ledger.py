"""The ledger of tiles: what they need, what a run does of that, and what it leaves.

Final tiles that are stale are only confirmed: they are computed and, if they would change, held until a backfill
(`late_feedback` has the rule). Limit: the ledger says what to do with a tile, not what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sli.calendar.interval import BEGINNING, END, Interval, difference, intersection, union
from sli.config.model import Config
from sli.planning.changes import Cause
from sli.planning.late_feedback import Horizon
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks, lacks_any
from sli.planning.published import Published
from sli.planning.request import Request
from sli.planning.stale import feedback_tiles_for, stale_tiles, tiles_until, whole_days


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
    horizon, tile = Horizon.of(config), config.tile
    stale, feedback_tiles = stale_tiles(horizon, config.since_instant, tile, causes, request.as_of)
    final = [Interval(BEGINNING, horizon.final_before(basis.as_of, tile) if basis else BEGINNING)]
    needed = _needed(config, basis, stale, final, with_predictions)
    asked = _asked(config, needed, basis, request)
    reached = [*moved, *(asked.of(RECOMPUTE) if request.part is not None else ())]
    feedback_tiles = union([*feedback_tiles, *feedback_tiles_for(horizon, tile, reached, request.as_of)])
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
        reach = intersection([request.part], [tiles_until(config.since_instant, config.tile, request.as_of)])
        fills = (need for sli in config.declared if sli.name in request.slis for need in lacks_any(sli))
        return needed.only(fills).within(reach) if request.slis else Needs({RECOMPUTE: reach})
    work = needed.only([RECOMPUTE, CONFIRM, *map(lacks, needed.states)])
    if basis is None or request.look_back is None:
        return work
    # Hours never published lie within every look-back.
    return work.within([Interval(max(BEGINNING, basis.newest - request.look_back) // config.tile * config.tile, END)])
