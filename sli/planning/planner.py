"""Makes the plan: a pure function from (config, inputs, published state, request) to what to recompute and why.

It reads no rows and writes nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sli.calendar.interval import BEGINNING, Interval, difference, intersection, iso, union
from sli.config.model import Config
from sli.errors import StoreError
from sli.logs.files import Inputs
from sli.planning.changes import Cause, causes_of
from sli.planning.formats import Migration
from sli.planning.late_feedback import Horizon
from sli.planning.ledger import Ledger, ledger_of
from sli.planning.new_rows import News, news_of
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.planning.request import Backfill, Request
from sli.planning.stale import existing_of, strays_of, whole_days
from sli.planning.tasks import FACTOR, jobs_for


@dataclass(frozen=True)
class Way:
    """How to go about it, as earlier attempts taught: whether tiles may be amended, and how many times smaller tasks
    are than their memory should allow."""

    amend: bool = True
    smaller: int = 1


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
    tiles = ledger_of(config, basis, causes, existing, request)
    news = _news(config, inputs, basis, seen, causes, tiles, request) if way.amend and not new_sets else None
    every = [] if news else union([*tiles.pairs, *tiles.checked])
    old_sets = tuple(each for each in sets if each not in new_sets)
    cut = functools.partial(jobs_for, config, inputs, smaller=way.smaller)
    jobs = [
        *cut(every, [] if news else tiles.strays, config.states, sets),
        *(job for states, where in _grouped(tiles.filled) for job in cut(where, [], states, old_sets)),
        *cut(difference(existing, [*tiles.pairs, *tiles.pending]), [], config.states, new_sets),
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


def extended(config: Config, inputs: Inputs, plan: Plan, more: list[Interval]) -> Plan:
    """The plan with tiles whose winning predictions changed because of rows elsewhere, and the feedback they reach."""
    extra = difference(more, [*plan.pairs, *plan.checked])
    strays = union([*plan.strays, *strays_of(config, more, plan.as_of)])
    if not extra and strays == list(plan.strays):
        return plan
    frozen = [Interval(BEGINNING, plan.frozen_before)]
    pairs = whole_days(config, union([*plan.pairs, *difference(extra, frozen)]))
    checked = difference(whole_days(config, union([*plan.checked, *intersection(extra, frozen)])), pairs)
    first = jobs_for(config, inputs, union([*pairs, *checked]), strays, config.states, plan.slice_sets, plan.smaller)
    rest = plan.jobs[1:] if plan.pairs or plan.checked or plan.strays else plan.jobs
    causes = [Cause("duplicate predictions elsewhere", tuple(extra))] if extra else []
    held = tuple(difference(plan.held, [*pairs, *checked]))
    return replace(
        plan,
        pairs=tuple(pairs),
        checked=tuple(checked),
        strays=tuple(strays),
        held=held,
        jobs=(*first, *rest),
        causes=(*plan.causes, *causes),
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
    tiles: Ledger,
    request: Request,
) -> News | None:
    """The new rows, if all there is to do follows from them and they fit one task."""
    if basis is None or request.chunk is not None or request.look_back is not None:
        return None
    if basis.pending or basis.unchecked or _partial(config, basis) or not _amendable(config):
        return None
    if intersection(basis.held, [*tiles.pairs, *tiles.checked]):
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
    span = Horizon.of(config).newly_final(basis.as_of, as_of)
    for grain in config.all_grains:
        starts, ends = grain.windows(config.zone, config.since_instant, basis.newest)
        if len(starts) and bool(((ends >= span.start) & (ends < span.end)).any()):
            return span
    return None


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
