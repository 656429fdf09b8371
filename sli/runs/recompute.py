"""The way of the data: discover, plan, match, tile, roll up, publish.

`_once` reads top to bottom like that sentence; each step is the module of its name. Limit: one run at a time publishes;
one that loses the race plans again, a few times.
"""

from __future__ import annotations

import functools
import itertools
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import Duration
from sli.calendar.interval import END, Interval, iso, union
from sli.config.arguments import When, length
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.connection import within_memory
from sli.engine.interrupts import delivered
from sli.errors import ConflictError
from sli.logs.agreement import nested, sliceable
from sli.logs.discovery import check_usable, discover, without_feedback
from sli.logs.files import Inputs, Problem, UnreadableFiles
from sli.matching.execute import check_cluster, one_cluster
from sli.planning.affected import SliChange, affected, reaches_all
from sli.planning.as_of import as_of_instant, check_publication, check_published, latest_as_of
from sli.planning.expected import Expected, expected
from sli.planning.plan import Plan
from sli.planning.planner import Way
from sli.planning.planner import plan as make_plan
from sli.planning.published import Published
from sli.planning.request import Request
from sli.publishing import rows as publish
from sli.publishing import turns
from sli.publishing.commit import Staged, commit, new_keys, state_of
from sli.publishing.conflicts import Conflicts, conflicting
from sli.publishing.history import known_at
from sli.publishing.store import Store, Transaction
from sli.rollup.days import renewed
from sli.rollup.reference import reference_tables
from sli.rollup.results import Pass, roll_up, tile_tables
from sli.runs.hour_tiles import (
    FoundHeld,
    Progress,
    TooLarge,
    amended,
    days_before,
    made_anew,
    newest_end,
    step,
    with_edges,
)
from sli.schemas import AUDIT
from sli.slis import Sli
from sli.tiles.delta import NotTold
from sli.tiles.dry_run import check_code, check_names, check_states, load_code

ATTEMPTS = 6
"""Times that a run loses to others before it gives up, or more of them within PATIENCE."""
SMALLEST = 8
"""Where tasks run out of memory they are cut into halves, and these again, down to one in so many."""
LOG = logging.getLogger("sli.store")


@dataclass(frozen=True)
class Outcome:
    """What a run did: `results` is how many rows there are now in the partitions it touched.

    `newly_bad` is told by the run that finds it; `warnings` are told by each run as long as they hold.
    """

    plan: Plan
    published: bool
    run_id: str
    tiles: int
    results: int
    audit: pa.Table
    newly_bad: pa.Table
    failing: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    """Wall-clock time from the call to its end: with failed attempts, a cluster's start and its end."""
    changes: publish.Difference = field(repr=False)
    inputs: Inputs = field(repr=False)
    conflicts: tuple[Conflicts, ...] = ()
    """Too many rows that lost to others of the same id, found by this run."""

    @functools.cached_property
    def revised(self) -> pa.Table:
        """The rows added, changed and removed, as in the table `revisions`."""
        return publish.stored(self.changes.revised)


def run(
    config: str | Path | Config,
    *,
    as_of: When = None,
    look_back: str | Duration | None = None,
    settings: Sequence[str] = (),
    progress: Progress | None = None,
    future: bool = False,
    undo_future: bool = False,
) -> Outcome:
    """Bring the tables up to date with the logs, as known at `as_of` (default: now).

    With `look_back`, such as `1d`, only stale hours of that last stretch before the newest published one are
    recomputed; older ones wait for a run without it, and hours never published are always computed. `future` allows
    an `as_of` in the future, where nothing is published as of today; `undo_future` first takes back what was
    published as of the future. Raises SliError.
    """
    began = time.monotonic()
    config = load_config(config, settings)
    request = _request(config, as_of, look_back, future)
    if undo_future and (before := Store(config.store, config.storage).undo_since(latest_as_of())):
        LOG.info(f"took back what was published as of the future; the results are as of {iso(before.as_of)} again")
    outcome = carry_out(config, request, progress)
    return replace(outcome, seconds=time.monotonic() - began)


def carry_out(config: Config, request: Request, progress: Progress | None = None) -> Outcome:
    """Plan and publish one request in its turn; plan again where another run published first. Raises SliError."""
    began = time.monotonic()
    outcome = _carried_out(config, request, progress or (lambda *_: None), began)
    return replace(outcome, seconds=time.monotonic() - began)


@delivered()
@one_cluster()
def _carried_out(config: Config, request: Request, progress: Progress, began: float) -> Outcome:
    check_code(config)
    with turns.Turn(config.store, config.storage) as turn:
        for attempt in itertools.count(1):
            try:
                return _with_readable(config, request, turn, progress, began)
            except ConflictError:
                if attempt >= ATTEMPTS and time.monotonic() - began >= turns.PATIENCE:
                    raise
                time.sleep(random.uniform(0.05, 0.5) * 2 ** min(attempt, 4))
    raise AssertionError


def plan(
    config: str | Path | Config,
    *,
    as_of: When = None,
    look_back: str | Duration | None = None,
    settings: Sequence[str] = (),
    future: bool = False,
) -> Plan:
    """What `run` with the same arguments would do; reads listings and footers, writes nothing. Raises SliError."""
    config = load_config(config, settings)
    return planned(config, _request(config, as_of, look_back, future))


def expected_of(config: Config, plan: Plan) -> Expected:
    """How many results a plan will write, and how often it will call Python functions. Raises SliError."""
    store = Store(config.store, config.storage)
    published = store.published()
    slices = None
    if published is not None and not plan.from_scratch:
        named = store.rows("days", published, ["slice_by", "slice"], pc.field("span") == "tile")
        slices = publish.counted(named.group_by(["slice_by", "slice"]).aggregate([]).column("slice_by"))
    inputs = discover(config, store.inputs(published))
    return expected(sliceable(config, inputs), plan, inputs, published, slices)


def check_reachable(config: Config) -> None:
    """Raise StoreError or EngineError, within seconds, where the store or the Dask scheduler does not answer."""
    Store(config.store, config.storage).published()
    check_cluster(config)


def planned(config: Config, request: Request) -> Plan:
    """The plan of a request, as things stand. Raises SliError."""
    store = Store(config.store, config.storage)
    published = store.published()
    check_published(published, request, store.root)
    seen = store.inputs(published)
    inputs = discover(config, seen)
    check_names(config, inputs)
    check_usable(inputs)
    config = sliceable(config, inputs)
    check_states(config, inputs.predictions)
    return make_plan(config, inputs, published, seen, request)


class Overtaken(Exception):
    """Another run published while this one waited for its turn, or just before."""


def _with_readable(config: Config, request: Request, turn: turns.Turn, progress: Progress, began: float) -> Outcome:
    """Begin anew without the files that turn out broken beyond their footer, until none does.

    And knowing of hours that turn out to be held beside which states or slices must not be made, without amending
    tiles that cannot be, in smaller tasks where these run out of memory, and, once, where another run published
    meanwhile.
    """
    broken: dict[str, Problem] = {}
    held: list[Interval] = []
    way = Way()
    while True:
        try:
            return _once(config, request, broken, held, way, turn, progress, began)
        except Overtaken:
            continue
        except NotTold:
            way = replace(way, amend=False)
        except TooLarge as found:
            if way.smaller >= SMALLEST:
                raise found.error from None
            way = replace(way, smaller=2 * way.smaller)
            LOG.warning("a task takes more than `memory:` (%s), so tasks are halved", found.error.found)
        except UnreadableFiles as error:
            if error.files.keys() <= broken.keys():
                raise
            broken |= error.files
        except FoundHeld as found:
            held = union([*held, *found.intervals])


def _once(
    config: Config,
    request: Request,
    broken: Mapping[str, Problem],
    known: Sequence[Interval],
    way: Way,
    turn: turns.Turn,
    progress: Progress,
    began: float,
) -> Outcome:
    transaction, seen, inputs = _listed(config, broken, progress)
    published = transaction.published
    check_publication(published, request, config.store)
    unsliced, config = nested(config, inputs), sliceable(config, inputs)
    basis = published and replace(published, held=tuple(union([*published.held, *known])))
    chosen = make_plan(config, inputs, basis, seen, request, way)
    if chosen.empty:
        return _nothing(config, chosen, inputs, began)
    _wait_for(config, transaction, chosen, turn, inputs)
    load_code(config)
    if chosen.news is None:
        worked = made_anew(config, transaction, chosen, inputs, known, progress)
    else:
        worked = amended(config, transaction, chosen, chosen.news, progress)
    chosen, touched = worked.plan, worked.touched
    with step(progress, "adding up days"):
        before = days_before(config, transaction, chosen)
        days = renewed(config, before, worked.tiles, touched)
    conflicts = conflicting(config, before, days, touched)
    newest = newest_end(config, transaction, worked, days)
    passes = _passes(config, chosen, newest, published)
    tiles = with_edges(config, transaction, worked, passes, newest)
    rolled = _rolled_up(config, chosen, tiles, days, newest, passes, inputs, progress)
    changes = _compared(config, transaction, chosen, newest, rolled, passes, progress)
    del rolled
    audit, audited = _audit(inputs, chosen, days, unsliced), transaction.rows("audit", only=publish.standing(published))
    keys = new_keys(inputs, chosen, seen, published)
    state = state_of(config, chosen, newest, published, keys)
    same_audit = publish.same_audit(audit, audited)
    staged = Staged(tiles, days, touched, keys, audit, same_audit, inputs, seen)
    with step(progress, "writing"):
        visible = commit(config, transaction, chosen, changes, staged, state, began)
    outcome = _outcome(config, chosen, visible, changes, audit, audited, inputs, began)
    return replace(outcome, conflicts=conflicts)


def _listed(config: Config, broken: Mapping[str, Problem], progress: Progress) -> tuple[Transaction, Inputs, Inputs]:
    """The store as it stands, the files that its last run saw, and those there are now. Raises InputError."""
    with step(progress, "listing files"):
        transaction = Store(config.store, config.storage).begin()
        seen = Inputs.of_rows(transaction.rows("inputs"))
        inputs = discover(config, seen).without(broken)
    check_names(config, inputs)
    check_usable(inputs)
    return transaction, seen, inputs


def _wait_for(config: Config, transaction: Transaction, chosen: Plan, turn: turns.Turn, inputs: Inputs) -> None:
    """All that can fail before the work begins, and the turn to do it. Raises Overtaken, once at most, and SliError."""
    if chosen.news is None:
        check_states(config, inputs.predictions)
        if chosen.jobs:
            check_cluster(config)
    if turn.take() and transaction.overtaken:
        raise Overtaken
    if chosen.migration is not None:
        LOG.info(str(chosen.migration))


def _request(config: Config, as_of: When, look_back: str | Duration | None, future: bool) -> Request:
    back = None if look_back is None else length("look_back", look_back).micros
    return Request(as_of_instant(config, as_of, future), back, now=as_of is None, future=future)


def _nothing(config: Config, chosen: Plan, inputs: Inputs, began: float) -> Outcome:
    # Not `empty_table`, which imports pandas.
    audit = pa.Table.from_batches([], AUDIT)
    warnings, changes = without_feedback(config, inputs), publish.unchanged()
    seconds = time.monotonic() - began
    return Outcome(chosen, False, chosen.run_id, 0, 0, audit, audit, (), warnings, seconds, changes, inputs)


def _passes(config: Config, chosen: Plan, newest: int, published: Published | None) -> list[Pass]:
    """Which SLIs are rolled up over which windows."""
    settled = newest
    if published is not None and not chosen.from_scratch:
        # Where the newest hour is the same, no window reaches beyond what it reached.
        settled = END if newest == published.newest else min(newest, published.newest)
    alike: dict[SliChange, list[Sli]] = {}
    for sli in config.declared:
        alike.setdefault(SliChange.of(chosen, sli), []).append(sli)
    return [
        Pass(tuple(slis), config.all_grains, functools.partial(affected, config.zone, chosen, change, settled))
        for change, slis in alike.items()
    ]


def _rolled_up(
    config: Config,
    chosen: Plan,
    tiles: pa.Table,
    days: pa.Table,
    newest: int,
    passes: Sequence[Pass],
    inputs: Inputs,
    progress: Progress,
) -> dict[str, pa.Table]:
    """New rows of every window affected, by grain."""
    total = sum(len(starts) for each in passes for _, starts, _ in each.windows(config, newest))
    references = reference_tables(config, [sli for each in passes for sli in each.slis], inputs.predictions)
    tables = tile_tables(config, tiles, days, references)
    reached = 0

    def done(windows: int) -> None:
        nonlocal reached
        reached += windows
        progress("rolling up", reached, total)

    found: dict[str, list[pa.Table]] = {}
    for each in passes:
        for rows in roll_up(config, tables, each, newest, chosen.as_of, done):
            found.setdefault(rows.column("grain")[0].as_py(), []).append(rows)
    return {grain: pa.concat_tables(parts) for grain, parts in found.items()}


def _compared(
    config: Config,
    transaction: Transaction,
    chosen: Plan,
    newest: int,
    rolled: dict[str, pa.Table],
    passes: Sequence[Pass],
    progress: Progress,
) -> publish.Difference:
    """What the rolled-up rows change of the published ones."""
    with step(progress, "comparing"), within_memory("the comparison of results"):
        believed = _believed(config, transaction, chosen, newest)
        scope = publish.Scope(config, chosen, passes)
        return publish.difference(believed, rolled, scope, transaction.published is None)


def _believed(config: Config, transaction: Transaction, chosen: Plan, newest: int) -> dict[str, publish.Read]:
    """The published rows to compare with, by grain: the newest ones, or those known at an older as_of."""
    published = transaction.published
    if chosen.older:
        return publish.by_grain(known_at(transaction.store, published, chosen.as_of))
    first = None
    if published is not None and not (
        chosen.from_scratch
        or chosen.fresh_series
        or chosen.fresh_grains
        or chosen.gone_series
        or reaches_all(config, chosen)
    ):
        matured = [chosen.matured.start] if chosen.matured else []
        changed = (each.start for each in (*chosen.pairs, *chosen.gaining))
        earliest = min([newest, published.newest, *matured, *changed])
        first = config.zone.date(max(earliest, config.since_instant) - 1).isoformat()
    return publish.believed(transaction, first)


def _audit(inputs: Inputs, chosen: Plan, days: pa.Table, unsliced: Mapping[str, str]) -> pa.Table:
    rows = publish.audited(days, inputs.files.told_of, publish.without_slices(unsliced, inputs.predictions))
    as_of = pa.array([chosen.as_of] * len(rows), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    return rows.append_column("run_id", pa.array([chosen.run_id] * len(rows), pa.string())).append_column(
        "as_of", as_of
    )


def _outcome(
    config: Config,
    chosen: Plan,
    visible: bool,
    changes: publish.Difference,
    audit: pa.Table,
    previous: pa.Table,
    inputs: Inputs,
    began: float,
) -> Outcome:
    failing = publish.failing_functions(config, changes.rows)
    return Outcome(
        chosen,
        visible,
        chosen.run_id,
        chosen.tiles,
        len(changes.rows),
        audit,
        publish.newly_bad(audit, previous),
        failing,
        without_feedback(config, inputs),
        time.monotonic() - began,
        replace(changes, rows=changes.rows.slice(0, 0)),
        inputs,
    )
