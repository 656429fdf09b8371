"""The run: discover, plan, match, tile, roll up, publish.

`_attempt` plans, then executes its plan. Limit: if several runs work at once, one publishes, and the others plan again,
a few times.
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

from sli.calendar.duration import Duration
from sli.calendar.interval import END, iso
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.interrupts import signals_first
from sli.engine.storage import message_of
from sli.errors import ConflictError, SliError
from sli.logs.agreement import nested_types, with_usable_slices
from sli.logs.dated import week_of
from sli.logs.discovery import check_usable, feedback_warnings
from sli.logs.files import Inputs, Problem, UnreadableFiles
from sli.maintenance.upkeep import keep_small
from sli.matching.execute import check_cluster, one_cluster
from sli.planning.as_of import check_publication, latest_as_of
from sli.planning.listing import NeedsOlder, listed_since
from sli.planning.plan import Plan
from sli.planning.planner import Approach
from sli.planning.planner import plan as plan_request
from sli.planning.published import Published
from sli.planning.request import Request
from sli.publishing import turns
from sli.publishing.store import Store
from sli.publishing.transaction import Transaction
from sli.runs.known import Progress, TooLarge, Work, step
from sli.runs.listed import list_logs
from sli.runs.outcome import Outcome, nothing_done
from sli.runs.preview import request_of
from sli.slis.states import CannotAmend
from sli.tiles.dry_run import check_code, check_names, check_states, load_code

ATTEMPTS = 6
"""How many attempts may lose to other runs before a run gives up; it keeps trying for at least PATIENCE."""
SMALLEST = 8
"""Tasks that run out of memory are halved again and again, into at most SMALLEST parts."""
NOT_REMOVED = "everything is published, but old files of the store could not be removed: "
LOG = logging.getLogger("sli.store")


def run(
    config: str | Path | Config,
    *,
    as_of: When = None,
    look_back: str | Duration | None = None,
    settings: Sequence[str] = (),
    progress: Progress | None = None,
    future: bool = False,
    undo_future: bool = False,
    full_listing: bool = False,
) -> Outcome:
    """Bring the tables up to date with the logs, as known at `as_of` (default: now), and return what changed.

    With `look_back`, for example `1d`, a run recomputes only stale hours of that last stretch before the newest
    published hour; older stale hours wait for a run without it, and hours that were never published are always
    computed. `future` allows an `as_of` in the future, where nothing is published as of today; `undo_future` first
    takes back what was published as of the future. With `full_listing` every folder of the logs is listed, as in the
    first run of a day; otherwise those named by dates are left out that are too old to matter. Raises SliError.

    >>> import sli
    >>> outcome = sli.run(config, as_of="2024-01-16")
    >>> outcome.published, outcome.tiles, outcome.results
    (True, 1, 12)
    >>> sli.run(config, as_of="2024-01-16").published
    False
    """
    began = time.monotonic()
    config = load_config(config, settings)
    request = request_of(config.since_instant, config.zone, as_of, look_back, future, full_listing)
    if undo_future and (before := taken_back(config)):
        LOG.info(f"took back what was published as of the future; the results are as of {iso(before.as_of)} again")
    outcome = carry_out(config, request, progress)
    return replace(outcome, seconds=time.monotonic() - began)


def taken_back(config: Config) -> Published | None:
    """Take back what was published as of the future: the publication gone back to, None if the newest one stays.

    Waits for its turn, since maintenance removes files. Raises StoreError.
    """
    with turns.Turn(config.store, config.storage) as turn:
        turn.take()
        return Store(config.store, config.storage).undo_after(latest_as_of())


def carry_out(config: Config, request: Request, progress: Progress | None = None) -> Outcome:
    """Plan and publish one request in its turn; plan again where another run published first. Raises SliError.

    If new states or slices have to wait until final hours are confirmed, a second run adds them at once. Left to the
    next run, new slices might wait for ever, where each run confirms some hours.
    """
    began, progress = time.monotonic(), progress or (lambda *_: None)
    outcome = _until_published(config, request, progress, began)
    if outcome.published and outcome.plan.needs_second:
        outcome = outcome.followed_by(_until_published(config, request, progress, time.monotonic()))
    return replace(outcome, seconds=time.monotonic() - began)


@signals_first()
@one_cluster()
def _until_published(config: Config, request: Request, progress: Progress, began: float) -> Outcome:
    check_code(config.declared, config.dask)
    with turns.Turn(config.store, config.storage) as turn:
        for attempt in itertools.count(1):
            try:
                return _attempt_until_nothing_new(config, request, turn, progress, began)
            except ConflictError:
                if attempt >= ATTEMPTS and time.monotonic() - began >= turns.PATIENCE:
                    raise
                time.sleep(random.uniform(0.05, 0.5) * 2 ** min(attempt, 4))
    raise AssertionError


class Overtaken(Exception):
    """Another run published while this one waited for its turn, or just before."""


@dataclass(frozen=True)
class Learned:
    """What earlier attempts of a run found out, so that the next attempt takes it into account."""

    broken: Mapping[str, Problem] = field(default_factory=dict)
    """Files that are broken although their footer can be read."""
    approach: Approach = field(default_factory=Approach)
    since: int = END
    """The first instant of which a run needs rows, as far as earlier attempts found out."""


def _attempt_until_nothing_new(
    config: Config, request: Request, turn: turns.Turn, progress: Progress, began: float
) -> Outcome:
    """Repeat the attempt, each time with what the earlier ones found out, until one succeeds or raises SliError."""
    learned = Learned()
    while True:
        try:
            return _attempt(config, request, learned, turn, progress, began)
        except Overtaken:
            continue
        except CannotAmend:
            learned = replace(learned, approach=replace(learned.approach, amend=False))
        except TooLarge as error:
            if learned.approach.split >= SMALLEST:
                raise error.error from None
            learned = replace(learned, approach=replace(learned.approach, split=2 * learned.approach.split))
            LOG.warning("a task takes more than `memory:` (%s), so tasks are halved", error.error.found)
        except NeedsOlder as older:
            learned = replace(learned, since=older.since)
        except UnreadableFiles as error:
            if error.files.keys() <= learned.broken.keys():
                raise
            learned = replace(learned, broken={**learned.broken, **error.files})


def _attempt(
    config: Config, request: Request, learned: Learned, turn: turns.Turn, progress: Progress, began: float
) -> Outcome:
    transaction, seen, inputs = _discover(config, request, learned, progress)
    unsliced, config = nested_types(config, inputs), with_usable_slices(config, inputs)
    plan_with = functools.partial(plan_request, config, inputs, transaction.published, seen, request, learned.approach)
    plan = plan_with()
    outcome = nothing_done(plan, inputs, feedback_warnings(config, inputs.feedback))
    if plan.empty:
        return outcome
    # Not at the top: a run that finds nothing to do needs no DuckDB.
    from sli.publishing.ids import Ids
    from sli.runs.execute import executed

    _prepare(config, transaction, plan, turn, inputs)
    work = Work(
        config=config,
        transaction=transaction,
        inputs=inputs,
        seen=seen,
        unsliced=unsliced,
        ids=Ids(config, transaction, plan, seen, inputs),
        progress=progress,
        began=began,
    )
    return _maintained(work, executed(work, outcome, plan_with).outcome)


def _discover(
    config: Config, request: Request, learned: Learned, progress: Progress
) -> tuple[Transaction, Inputs, Inputs]:
    """A transaction, the files that the published run saw, and the files that there are now. Raises SliError."""
    with step(progress, "listing files"):
        transaction = Transaction(Store(config.store, config.storage))
        since = min(listed_since(config, transaction.published, request), week_of(learned.since))
        seen, inputs = list_logs(config, transaction.rows, since)
        inputs = inputs.without(learned.broken)
    check_names(config, inputs)
    check_usable(inputs)
    check_publication(transaction.published, request, config.store)
    return transaction, seen, inputs


def _prepare(config: Config, transaction: Transaction, plan: Plan, turn: turns.Turn, inputs: Inputs) -> None:
    """Check what can fail before the work begins, and wait for the turn. Raises Overtaken (at most once), SliError."""
    if plan.task_sets:
        check_states(config, inputs.predictions)
        check_cluster(config)
    if turn.take() and transaction.overtaken:
        raise Overtaken
    transaction.open_tables()
    if plan.migration is not None:
        LOG.info(str(plan.migration))
    load_code(config.declared)


def _maintained(work: Work, outcome: Outcome) -> Outcome:
    """The outcome of a run, with a warning if it published and its store could not be kept small afterwards."""
    if not outcome.published:
        return outcome
    config, before = work.config, work.transaction.published
    first_of_day = before is None or config.zone.date(before.as_of) != config.zone.date(outcome.plan.as_of)
    try:
        with step(work.progress, "removing old files"):
            keep_small(work.transaction.store, config.stored.keep_files, first_of_day)
    except Exception as error:  # of any library: what is published stays published
        reason = (
            ": ".join(filter(None, (error.what, error.found))) if isinstance(error, SliError) else message_of(error)
        )
        return replace(outcome, warnings=(*outcome.warnings, f"{NOT_REMOVED}{reason}"))
    return outcome
