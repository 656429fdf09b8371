"""The ledger of tiles: which a run recomputes, confirms or fills, and which it leaves waiting or held."""

from __future__ import annotations

from dataclasses import dataclass

from sli.calendar.interval import BEGINNING, END, Interval, difference, intersection, union
from sli.config.model import Config
from sli.planning.changes import Cause
from sli.planning.late_feedback import Horizon
from sli.planning.published import Published
from sli.planning.request import Request
from sli.planning.stale import floor, limits, strays_of, touched, whole_days


@dataclass(frozen=True)
class Ledger:
    """Which tiles of predictions to recompute, check, extend by states, leave for later, or hold back."""

    pairs: list[Interval]
    checked: list[Interval]
    strays: list[Interval]
    filled: dict[str, list[Interval]]
    gaps: dict[str, list[Interval]]
    pending: list[Interval]
    unchecked: list[Interval]
    held: list[Interval]
    frozen_before: int


def ledger_of(
    config: Config, basis: Published | None, causes: list[Cause], existing: list[Interval], request: Request
) -> Ledger:
    stale, strays = touched(config, causes, request.as_of)
    waiting, unchecked, held = (list(basis.pending), list(basis.unchecked), list(basis.held)) if basis else ([], [], [])
    frozen_before = Horizon.of(config).final_before(basis.as_of, config.tile) if basis else BEGINNING
    frozen = [Interval(BEGINNING, frozen_before)]
    due = union([*difference(stale, [*waiting, *frozen]), *waiting])
    doubtful = union([*intersection(difference(stale, waiting), frozen), *unchecked])
    within = _within(config, basis, request)
    if request.chunk is None:
        pairs, checked = intersection(due, within), intersection(doubtful, within)
    else:
        pairs, checked = ([], []) if request.slis else (within, [])
        strays = union([*strays, *strays_of(config, pairs, request.as_of)])
    pairs, checked = whole_days(config, pairs), whole_days(config, checked)
    checked = difference(checked, pairs)
    pending, unchecked = difference(due, pairs), difference(doubtful, [*pairs, *checked])
    filled, gaps = _extended(config, basis, existing, request, within, union([*pairs, *pending]))
    return Ledger(
        pairs, checked, strays, filled, gaps, pending, unchecked, difference(held, [*pairs, *checked]), frozen_before
    )


def _within(config: Config, basis: Published | None, request: Request) -> list[Interval]:
    """The tiles a run may recompute. Hours never published lie within every look-back."""
    if request.chunk is not None:
        return intersection([request.chunk], limits(config, request.as_of))
    if basis is None or request.look_back is None:
        return [Interval(BEGINNING, END)]
    return [Interval(floor(max(BEGINNING, basis.newest - request.look_back), config.tile), END)]


def _extended(
    config: Config,
    basis: Published | None,
    existing: list[Interval],
    request: Request,
    within: list[Interval],
    recomputed: list[Interval],
) -> tuple[dict[str, list[Interval]], dict[str, list[Interval]]]:
    """For each state that tiles lack: those that gain it now, those that lack it still.

    `recomputed` are tiles that gain every state anyway, now or later.
    """
    filled: dict[str, list[Interval]] = {}
    gaps: dict[str, list[Interval]] = {}
    if basis is None:
        return filled, gaps
    asked = {
        state.id for each in config.declared if each.name in request.slis for state in each.formula.states.values()
    }
    for state in config.states:
        lacking = difference(basis.gaps.get(state, ()) if state in basis.states else existing, recomputed)
        now = intersection(lacking, within) if request.chunk is None or state in asked else []
        if now := difference(whole_days(config, now), basis.held):
            filled[state] = now
        if left := difference(lacking, filled.get(state, ())):
            gaps[state] = left
    return filled, gaps
