"""The ledger of tiles: which a run recomputes, confirms or fills, and which wait, are held or still lack a state.

Final tiles that are stale are only confirmed: they are computed and, if they would change, held until a backfill
(`late_feedback` has the rule). Limit: the ledger says what to do with a tile, not what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sli.calendar.interval import BEGINNING, END, Interval, difference, intersection, union
from sli.config.model import Config
from sli.planning.changes import Cause
from sli.planning.late_feedback import Horizon
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks
from sli.planning.published import Published
from sli.planning.request import Request
from sli.planning.stale import feedback_tiles_for, stale_tiles, tiles_until, whole_days
from sli.slis import State


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a run does with which tiles. `Plan` explains the fields."""

    to_recompute: list[Interval]
    to_confirm: list[Interval]
    feedback_tiles: list[Interval]
    to_fill: Mapping[str, list[Interval]]
    """For each state the tiles that gain it."""
    lacking_states: Mapping[str, list[Interval]]
    waiting: list[Interval]
    waiting_to_confirm: list[Interval]
    held: list[Interval]
    final_before: int


def ledger_of(
    config: Config, basis: Published | None, causes: Iterable[Cause], with_predictions: list[Interval], request: Request
) -> Ledger:
    """What a request does with each tile. `basis` is the published run it builds on; None: it starts from scratch."""
    horizon, zone, since, tile = Horizon.of(config), config.zone, config.since_instant, config.tile
    stale, feedback_tiles = stale_tiles(horizon, since, tile, causes, request.as_of)
    needs = basis.needs if basis else Needs()
    waiting, unconfirmed, held = needs.of(RECOMPUTE), needs.of(CONFIRM), needs.of(HELD)
    final_before = horizon.final_before(basis.as_of, tile) if basis else BEGINNING
    final = [Interval(BEGINNING, final_before)]
    stale_open = union([*difference(stale, [*waiting, *final]), *waiting])
    stale_final = union([*intersection(difference(stale, waiting), final), *unconfirmed])
    within = _within(since, tile, basis, request)
    if request.part is None:
        to_recompute, to_confirm = intersection(stale_open, within), intersection(stale_final, within)
    else:
        to_recompute, to_confirm = ([], []) if request.slis else (within, [])
        feedback_tiles = union([*feedback_tiles, *feedback_tiles_for(horizon, tile, to_recompute, request.as_of)])
    to_recompute = whole_days(zone, since, config.states, to_recompute)
    to_confirm = difference(whole_days(zone, since, config.states, to_confirm), to_recompute)
    still_waiting = difference(stale_open, to_recompute)
    lacking = _lacking(config.states, basis, with_predictions, complete=[*to_recompute, *still_waiting])
    to_fill = _to_fill(config, lacking, request, within, held)
    left = {state: difference(tiles, to_fill.get(state, ())) for state, tiles in lacking.items()}
    return Ledger(
        to_recompute=to_recompute,
        to_confirm=to_confirm,
        feedback_tiles=feedback_tiles,
        to_fill=to_fill,
        lacking_states={state: tiles for state, tiles in left.items() if tiles},
        waiting=still_waiting,
        waiting_to_confirm=difference(stale_final, [*to_recompute, *to_confirm]),
        held=difference(held, [*to_recompute, *to_confirm]),
        final_before=final_before,
    )


def _within(since: int, tile: int, basis: Published | None, request: Request) -> list[Interval]:
    """The tiles that a run may recompute. Hours never published lie within every look-back."""
    if request.part is not None:
        return intersection([request.part], [tiles_until(since, tile, request.as_of)])
    if basis is None or request.look_back is None:
        return [Interval(BEGINNING, END)]
    return [Interval(max(BEGINNING, basis.newest - request.look_back) // tile * tile, END)]


def _lacking(
    states: Mapping[str, State], basis: Published | None, with_predictions: list[Interval], complete: list[Interval]
) -> dict[str, list[Interval]]:
    """For each state the tiles that lack it, without tiles in `complete`: a recompute gives these every state."""
    if basis is None:
        return {}
    return {
        state: difference(basis.needs.of(lacks(state)) if state in basis.states else with_predictions, complete)
        for state in states
    }


def _to_fill(
    config: Config,
    lacking: Mapping[str, list[Interval]],
    request: Request,
    within: list[Interval],
    held: Iterable[Interval],
) -> dict[str, list[Interval]]:
    """For each state the tiles that gain it now: a part of a backfill fills only the states of its SLIs."""
    asked = {state.id for sli in config.declared if sli.name in request.slis for state in sli.formula.states.values()}
    to_fill = {}
    for state, tiles in lacking.items():
        if request.part is None or state in asked:
            reached = whole_days(config.zone, config.since_instant, config.states, intersection(tiles, within))
            to_fill[state] = difference(reached, held)
    return {state: tiles for state, tiles in to_fill.items() if tiles}
