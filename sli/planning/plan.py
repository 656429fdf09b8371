"""The plan: a pure function from (config, inputs, published state, asked interval, as_of) to what to recompute.

It reads no rows and writes nothing; `run` executes this very object. Limit: which of the results planned for really
change shows only when they are computed.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sli.calendar.grain import Grain
from sli.calendar.interval import BEGINNING, END, Instants, Interval, Zone, common, inside, iso, union, without
from sli.config.model import Config
from sli.errors import StoreError
from sli.logs.files import Inputs
from sli.masking import masked
from sli.planning.formats import Migration
from sli.planning.published import Published
from sli.planning.request import Backfill, Request
from sli.planning.stale import (
    Cause,
    News,
    causes_of,
    existing_of,
    floor,
    limits,
    news_of,
    strays_of,
    touched,
    whole_days,
)
from sli.planning.tasks import FACTOR, Job, jobs_for
from sli.slis import Reference


@dataclass(frozen=True)
class Way:
    """How to go about it, as earlier attempts taught: whether tiles may be amended, and how many times smaller tasks
    are than their memory should allow."""

    amend: bool = True
    smaller: int = 1


@dataclass(frozen=True)
class Plan:
    """What a run will do and why. Empty when everything published is up to date."""

    request: Request
    older: bool
    """Whether as_of lies before what is published: then only `revisions` gains rows."""
    causes: tuple[Cause, ...]
    pairs: tuple[Interval, ...]
    """Tiles of predictions to recompute."""
    checked: tuple[Interval, ...]
    """Final tiles that input may have come for: computed, and held back if they would change."""
    strays: tuple[Interval, ...]
    """Tiles of feedback to recompute."""
    jobs: tuple[Job, ...]
    news: News | None
    """The new rows, where tiles are amended by them: the hours planned are those they could belong to. None where hours
    are computed anew."""
    filled: Mapping[str, tuple[Interval, ...]]
    """For an SLI the tiles that gain its states."""
    lacking: Mapping[str, tuple[Interval, ...]]
    """For an SLI the tiles that lack its states still: its windows that hold any wait."""
    gaps: Mapping[str, tuple[Interval, ...]]
    """The same for each state."""
    partial: tuple[str, ...]
    """States that some published tiles lack."""
    known_sets: tuple[tuple[str, ...], ...]
    """Slices that published tiles have."""
    pending: tuple[Interval, ...]
    """Stale tiles left for a later run: windows that hold any wait."""
    unchecked: tuple[Interval, ...]
    """Final tiles that input may have come for, left for a later run."""
    held: tuple[Interval, ...]
    frozen_before: int
    matured: Interval | None
    """Window ends that became final since the last publication."""
    fresh_series: tuple[str, ...]
    """SLIs whose every window is rolled up: new definitions, or new objectives."""
    fresh_grains: tuple[str, ...]
    gone_series: tuple[str, ...]
    """Definitions no longer declared."""
    slice_sets: tuple[tuple[str, ...], ...]
    """Slices computed; those new to the config wait for a run without limits."""
    backfills: tuple[Backfill, ...]
    """Unfinished ones, once this run is published."""
    progressed: bool
    """Whether that differs from what is published."""
    winners_may_change: bool
    """Whether another prediction of an id may win than the tiles remember."""
    from_scratch: bool
    migration: Migration | None
    """What it does to a store of an older format."""
    files_changed: int
    tile: int
    existing: tuple[Interval, ...]
    bytes: int
    run_id: str
    smaller: int
    """How many times smaller tasks are than their memory should allow."""
    changed: tuple[Interval, ...] | None = None
    """Of the tiles recomputed those whose windows may change; None before they are computed, or where all tiles are."""

    @property
    def as_of(self) -> int:
        return self.request.as_of

    @property
    def empty(self) -> bool:
        return not (
            self.migration
            or self.progressed
            or self.jobs
            or self.pairs
            or self.checked
            or self.strays
            or self.matured
            or self.fresh_series
            or self.fresh_grains
            or self.gone_series
            or self.files_changed
        )

    @property
    def renewed(self) -> tuple[Interval, ...]:
        """Recomputed tiles whose windows may change: all of them before it is known which do."""
        return self.pairs if self.changed is None else self.changed

    @property
    def gaining(self) -> tuple[Interval, ...]:
        """Tiles that gain a state of any SLI."""
        return tuple(union(each for where in self.filled.values() for each in where))

    @property
    def extends(self) -> bool:
        """Whether tiles gain states or slices without being recomputed."""
        return bool(self.filled) or not (self.from_scratch or set(self.slice_sets) <= set(self.known_sets))

    @property
    def tiles(self) -> int:
        """How many tiles that may hold predictions are recomputed, or gain a state."""
        worked = common(union([*self.pairs, *self.gaining]), self.existing)
        return sum((each.end - each.start) // self.tile for each in worked)

    @property
    def tiles_total(self) -> int:
        """How many tiles may hold predictions."""
        return sum((each.end - each.start) // self.tile for each in self.existing)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, instants as ISO 8601."""

        def spans(intervals: Iterable[Interval]) -> list[list[str]]:
            return [[iso(each.start), iso(each.end)] for each in intervals]

        return {
            "run_id": self.run_id,
            "as_of": iso(self.as_of),
            "asked": spans([self.request.chunk])[0] if self.request.chunk else None,
            "backfill": self.request.backfill.id if self.request.backfill else None,
            "migration": self.migration.to_dict() if self.migration else None,
            "causes": [
                {"what": c.what, "files": [masked(file) for file in c.files], "intervals": spans(c.intervals)}
                for c in self.causes
            ],
            "tiles": self.tiles,
            "tiles_total": self.tiles_total,
            "recompute": spans(self.pairs),
            "check": spans(self.checked),
            "new_series": list(self.fresh_series),
            "gone_series": list(self.gone_series),
            "held": spans(self.held),
            "pending": spans(self.pending),
            "unchecked": spans(self.unchecked),
            "filled": {name: spans(found) for name, found in self.filled.items()},
            "lacking": {name: spans(found) for name, found in self.lacking.items()},
            "tasks": sum(job.tasks for job in self.jobs),
            "bytes": self.bytes,
            "jobs": [job.to_dict() for job in self.jobs],
        }


def plan(
    config: Config,
    inputs: Inputs,
    published: Published | None,
    seen: Inputs,
    request: Request,
    way: Way = Way(),
) -> Plan:
    """Decide what to recompute. `seen` are the files the published run saw."""
    request = request if published is None else request.not_before(published.as_of)
    older = published is not None and request.as_of < published.as_of
    from_scratch = published is None or older or published.outdated or published.base != config.base
    basis = None if published is None or from_scratch else published
    causes = causes_of(inputs, basis, seen, request.as_of, published)
    existing = existing_of(config, inputs, request.as_of)
    sets = _slice_sets(config, basis, request)
    new_sets = [each for each in sets if basis and each not in basis.slice_sets]
    tiles = _tiles(config, basis, causes, existing, request)
    news = _news(config, inputs, basis, seen, causes, tiles, request) if way.amend and not new_sets else None
    every = [] if news else union([*tiles.pairs, *tiles.checked])
    old_sets = tuple(each for each in sets if each not in new_sets)
    cut = functools.partial(jobs_for, config, inputs, smaller=way.smaller)
    jobs = [
        *cut(every, [] if news else tiles.strays, config.states, sets),
        *(job for states, where in _grouped(tiles.filled) for job in cut(where, [], states, old_sets)),
        *cut(without(existing, [*tiles.pairs, *tiles.pending]), [], config.states, new_sets),
    ]
    read = {file.path: file for job in jobs for chunk in job.chunks for file in chunk.predictions + chunk.feedback}
    asked_for = [Cause("asked", tuple(tiles.pairs))] if request.chunk and tiles.pairs else []
    backfills = _backfills(config, basis, request)
    return Plan(
        request=request,
        older=older,
        causes=(*causes, *asked_for),
        pairs=tuple(tiles.pairs),
        checked=tuple(tiles.checked),
        strays=tuple(tiles.strays),
        jobs=tuple(jobs),
        news=news,
        filled=_of_slis(config, tiles.filled),
        lacking=_of_slis(config, tiles.gaps),
        gaps={state: tuple(where) for state, where in tiles.gaps.items()},
        partial=_partial(config, basis) if basis else (),
        known_sets=old_sets,
        pending=tuple(tiles.pending),
        unchecked=tuple(tiles.unchecked),
        held=tuple(tiles.held),
        frozen_before=tiles.frozen_before,
        matured=_matured(config, basis, request.as_of),
        fresh_series=tuple(_fresh(config, None if older else published, bool(new_sets))),
        fresh_grains=tuple(each.name for each in config.all_grains if basis and each.name not in basis.grains),
        gone_series=() if published is None or older else tuple(_gone(config, published)),
        slice_sets=sets,
        backfills=backfills,
        progressed=backfills != (basis.backfills if basis else ()),
        winners_may_change=_winners_may_change(basis, causes, request),
        from_scratch=from_scratch,
        migration=_migration(published, older),
        files_changed=0 if older else sum(len(cause.files) for cause in causes),
        tile=config.tile,
        existing=tuple(existing),
        bytes=sum(int(file.row_bytes * file.rows) for file in read.values()) + (news.bytes if news else 0),
        run_id=_run_id(config, inputs, request),
        smaller=way.smaller,
    )


def _migration(published: Published | None, older: bool) -> Migration | None:
    """What to do to a store of an older format. Raises StoreError where a run of an older as_of cannot do it."""
    found = None if published is None else published.migration
    if found is not None and found.recompute and older:
        raise StoreError(
            "the store has an older format, which a run of an older as_of leaves as it is",
            found=f"format {found.found}",
            todo="run without --as-of first, which migrates it",
        )
    return found


def _news(
    config: Config,
    inputs: Inputs,
    basis: Published | None,
    seen: Inputs,
    causes: list[Cause],
    tiles: _Tiles,
    request: Request,
) -> News | None:
    """The new rows, if all there is to do follows from them and they fit one task."""
    if basis is None or request.chunk is not None or request.look_back is not None:
        return None
    if basis.pending or basis.unchecked or _partial(config, basis) or not _amendable(config):
        return None
    if common(basis.held, [*tiles.pairs, *tiles.checked]):
        return None
    news = news_of(inputs, basis, seen, causes, request.as_of)
    return news if news is not None and news.bytes * FACTOR <= config.task_memory else None


def _partial(config: Config, basis: Published) -> tuple[str, ...]:
    """States that some published tiles lack, also where they would gain them by being computed anew."""
    return tuple(state for state in config.states if state not in basis.states or state in basis.gaps)


def _amendable(config: Config) -> bool:
    """Whether the states of a tile are those of its pairs taken one by one."""
    return not any(state.kind == "window" or state.unit == "query" for state in config.states.values())


def _winners_may_change(basis: Published | None, causes: list[Cause], request: Request) -> bool:
    left = basis is None or basis.pending or basis.unchecked or basis.held
    backfill = request.chunk is not None and not request.slis
    return bool(left) or backfill or any("prediction" in cause.what for cause in causes)


def _slice_sets(config: Config, basis: Published | None, request: Request) -> tuple[tuple[str, ...], ...]:
    """The slices to compute. New ones enter with a run that reaches every tile, not with one of some tiles or beside
    held ones."""
    # Tiles of new slices made beside held input would know more than those of the others.
    if basis is None or (request.chunk is None and request.look_back is None and not basis.held):
        return config.slice_sets
    return tuple(each for each in config.slice_sets if each in basis.slice_sets) or config.slice_sets


def _of_slis(config: Config, tiles: Mapping[str, list[Interval]]) -> dict[str, tuple[Interval, ...]]:
    """For each SLI the tiles of any of its states."""
    found = {
        each.name: tuple(union(i for state in each.formula.states.values() for i in tiles.get(state.id, ())))
        for each in config.declared
    }
    return {name: where for name, where in found.items() if where}


@dataclass(frozen=True)
class _Tiles:
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


def _tiles(
    config: Config, basis: Published | None, causes: list[Cause], existing: list[Interval], request: Request
) -> _Tiles:
    stale, strays = touched(config, causes, request.as_of)
    waiting, unchecked, held = (list(basis.pending), list(basis.unchecked), list(basis.held)) if basis else ([], [], [])
    frozen_before = floor(max(BEGINNING, basis.as_of - config.horizon.micros), config.tile) if basis else BEGINNING
    frozen = [Interval(BEGINNING, frozen_before)]
    due = union([*without(stale, [*waiting, *frozen]), *waiting])
    doubtful = union([*common(without(stale, waiting), frozen), *unchecked])
    within = _within(config, basis, request)
    if request.chunk is None:
        pairs, checked = common(due, within), common(doubtful, within)
    else:
        pairs, checked = ([], []) if request.slis else (within, [])
        strays = union([*strays, *strays_of(config, pairs, request.as_of)])
    pairs, checked = whole_days(config, pairs), whole_days(config, checked)
    checked = without(checked, pairs)
    pending, unchecked = without(due, pairs), without(doubtful, [*pairs, *checked])
    filled, gaps = _extended(config, basis, existing, request, within, union([*pairs, *pending]))
    return _Tiles(
        pairs, checked, strays, filled, gaps, pending, unchecked, without(held, [*pairs, *checked]), frozen_before
    )


def _within(config: Config, basis: Published | None, request: Request) -> list[Interval]:
    """The tiles a run may recompute. Hours never published lie within every look-back."""
    if request.chunk is not None:
        return common([request.chunk], limits(config, request.as_of))
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
        lacking = without(basis.gaps.get(state, ()) if state in basis.states else existing, recomputed)
        now = common(lacking, within) if request.chunk is None or state in asked else []
        if now := without(whole_days(config, now), basis.held):
            filled[state] = now
        if left := without(lacking, filled.get(state, ())):
            gaps[state] = left
    return filled, gaps


def _grouped(filled: Mapping[str, list[Interval]]) -> list[tuple[list[str], list[Interval]]]:
    """States that the same tiles gain, together."""
    groups: dict[tuple[Interval, ...], list[str]] = {}
    for state, where in filled.items():
        groups.setdefault(tuple(where), []).append(state)
    return [(states, list(where)) for where, states in groups.items()]


def _backfills(config: Config, basis: Published | None, request: Request) -> tuple[Backfill, ...]:
    """The unfinished backfills after a run; one of SLIs that are no longer declared has nothing left to do."""
    known = {each.id: each for each in (basis.backfills if basis else ())}
    reached = request.reached
    if reached is not None and (reached.id in known or not request.continues):
        known[reached.id] = max(reached, known.get(reached.id, reached), key=lambda each: each.done)
    declared = {each.name for each in config.declared}
    return tuple(each for each in known.values() if not each.over and declared.issuperset(each.slis))


def _fresh(config: Config, published: Published | None, new_sets: bool) -> Iterable[str]:
    """SLIs whose every window is rolled up."""
    for each in config.declared:
        objective = each.objective.text if each.objective else None
        known = published is not None and published.series.get(each.name) == config.definition(each)
        if not known or new_sets or (published is not None and published.objectives.get(each.name) != objective):
            yield each.name


def _gone(config: Config, published: Published) -> Iterable[str]:
    """Definitions, grains and slices published and no longer declared."""
    declared = {each.name: config.definition(each) for each in config.declared}
    yield from (definition for name, definition in published.series.items() if declared.get(name) != definition)
    grains = {grain.name for grain in config.all_grains}
    yield from (grain for grain in published.grains if grain not in grains)
    yield from (",".join(each) for each in published.slice_sets if each not in config.slice_sets)


def _matured(config: Config, basis: Published | None, as_of: int) -> Interval | None:
    if basis is None or as_of <= basis.as_of:
        return None
    horizon = config.horizon.micros
    span = Interval(basis.as_of - horizon + 1, as_of - horizon + 1)
    for grain in config.all_grains:
        starts, ends = grain.windows(config.zone, config.since_instant, basis.newest)
        if len(starts) and bool(((ends >= span.start) & (ends < span.end)).any()):
            return span
    return None


def affected(
    config: Config,
    plan: Plan,
    grain: Grain,
    starts: Instants,
    ends: Instants,
    newest: int,
    everywhere: bool,
    filled: tuple[Interval, ...],
    lacking: tuple[Interval, ...],
    reference: Reference | None,
) -> np.ndarray:
    """Which windows must be rolled up anew: they or their reference hold a tile that changed or was filled, they
    matured, or they reach the newest hour.

    None that holds a tile still to be done, or whose reference does.
    """
    hit = np.ones(len(starts), dtype=bool)
    if not everywhere:
        hit = resting_on(config.zone, grain, starts, ends, [*plan.renewed, *filled], reference) | (ends >= newest)
    if plan.matured is not None and not everywhere:
        hit |= (ends >= plan.matured.start) & (ends < plan.matured.end)
    return hit & ~resting_on(config.zone, grain, starts, ends, [*plan.pending, *lacking], reference)


def resting_on(
    zone: Zone,
    grain: Grain,
    starts: Instants,
    ends: Instants,
    intervals: Iterable[Interval],
    reference: Reference | None,
) -> npt.NDArray[np.bool_]:
    """Which windows hold an instant of the intervals, or are compared with one that does."""
    intervals = list(intervals)
    return inside(starts, ends, intervals) | compared_with(zone, grain, starts, ends, intervals, reference)


def compared_with(
    zone: Zone, grain: Grain, starts: Instants, ends: Instants, intervals: list[Interval], reference: Reference | None
) -> npt.NDArray[np.bool_]:
    """Which windows are compared with one that holds an instant of the intervals."""
    if reference is not None and reference.kind == "previous":
        first = grain.before(zone, starts, ends)
        return inside(first, starts, intervals) & (first < starts)
    fixed = None if reference is None else reference.interval
    return np.full(len(starts), fixed is not None and bool(common([fixed], intervals)))


def reaches_all(config: Config, plan: Plan) -> bool:
    """Whether tiles change that every window of some SLI is compared with."""
    changed = [*plan.pairs, *plan.gaining]
    intervals = [each.reference.interval for each in config.declared if each.reference and each.reference.interval]
    return bool(common(intervals, changed))


def _run_id(config: Config, inputs: Inputs, request: Request) -> str:
    """Content of a run: the same question to the same inputs has the same id."""
    content = [
        config.base,
        [config.definition(each) for each in config.declared],
        [each.objective.text if each.objective else None for each in config.declared],
        [list(each) for each in config.slice_sets],
        [each.name for each in config.all_grains],
        inputs.digest,
        [request.chunk.start, request.chunk.end] if request.chunk else None,
        request.backfill.id if request.backfill else None,
        request.look_back,
        request.as_of,
    ]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]
    return f"{iso(request.as_of).replace('-', '').replace(':', '')}-{digest}"


def extended(config: Config, inputs: Inputs, plan: Plan, more: list[Interval]) -> Plan:
    """The plan with tiles whose winning predictions changed because of rows elsewhere, and the feedback they reach."""
    extra = without(more, [*plan.pairs, *plan.checked])
    strays = union([*plan.strays, *strays_of(config, more, plan.as_of)])
    if not extra and strays == list(plan.strays):
        return plan
    frozen = [Interval(BEGINNING, plan.frozen_before)]
    pairs = whole_days(config, union([*plan.pairs, *without(extra, frozen)]))
    checked = without(whole_days(config, union([*plan.checked, *common(extra, frozen)])), pairs)
    first = jobs_for(config, inputs, union([*pairs, *checked]), strays, config.states, plan.slice_sets, plan.smaller)
    rest = plan.jobs[1:] if plan.pairs or plan.checked or plan.strays else plan.jobs
    causes = [Cause("duplicate predictions elsewhere", tuple(extra))] if extra else []
    held = tuple(without(plan.held, [*pairs, *checked]))
    return replace(
        plan,
        pairs=tuple(pairs),
        checked=tuple(checked),
        strays=tuple(strays),
        held=held,
        jobs=(*first, *rest),
        causes=(*plan.causes, *causes),
    )
