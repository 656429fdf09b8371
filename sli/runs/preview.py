"""Preview: what a run would do, as a plan and in numbers, without doing it.

It reads listings and footers of files and writes nothing. Limit: which results really change shows only in a run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import Duration
from sli.calendar.interval import BEGINNING, END, Interval
from sli.calendar.zone import Zone
from sli.config.arguments import When, duration_of
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.connection import connect, task_error
from sli.logs.agreement import with_usable_slices
from sli.logs.dated import week_of
from sli.logs.discovery import check_usable, discover
from sli.logs.files import LogFile
from sli.logs.log import logs_of
from sli.logs.reader import count_sql
from sli.matching.execute import check_cluster
from sli.planning.as_of import as_of_instant, check_published
from sli.planning.expected import Expected, expected
from sli.planning.listing import NeedsOlder, listed_since
from sli.planning.plan import Plan
from sli.planning.planner import plan as plan_request
from sli.planning.published import Published
from sli.planning.request import Request
from sli.publishing.commit import CALLS
from sli.publishing.rows import text_counts
from sli.publishing.store import Store
from sli.runs.listed import list_logs
from sli.slis.custom.function import NO_CALLS, Calls
from sli.tiles.dry_run import check_names, check_states

LAST_RUNS = 50
"""How long a call of a Python function takes is told from at most so many runs."""


def plan(
    config: str | Path | Config,
    *,
    as_of: When = None,
    look_back: str | Duration | None = None,
    settings: Sequence[str] = (),
    future: bool = False,
    full_listing: bool = False,
) -> Plan:
    """Return what `run` with the same arguments would do: which hours it recomputes and why.

    It reads listings and footers of files, and writes nothing. Raises SliError.

    >>> import sli
    >>> plan = sli.plan(config, as_of="2024-01-16")
    >>> plan.tiles, [cause.what for cause in plan.causes]
    (1, ['first run: predictions', 'first run: feedback'])
    """
    config = load_config(config, settings)
    return current_plan(config, request_of(config.since_instant, config.zone, as_of, look_back, future, full_listing))


def current_plan(config: Config, request: Request) -> Plan:
    """The plan of a request for the logs and the store as they are now. Raises SliError."""
    store = Store(config.store, config.storage)
    published = store.published()
    check_published(published, request, store.root)
    since, rows = listed_since(config, published, request), functools.partial(_published_rows, store, published)
    while True:
        seen, inputs = list_logs(config, rows, since)
        check_names(config, inputs)
        check_usable(inputs)
        usable = with_usable_slices(config, inputs)
        check_states(usable, inputs.predictions)
        try:
            return plan_request(usable, inputs, published, seen, request)
        except NeedsOlder as older:
            since = week_of(older.since)


def _published_rows(store: Store, published: Published | None, name: str, *chosen: Any) -> pa.Table:
    return store.rows(name, published, *chosen)


def expected_results(config: Config, plan: Plan) -> Expected:
    """How many results a plan will write, and how often it will call Python functions. Raises SliError."""
    store = Store(config.store, config.storage)
    published = store.published()
    slices = None
    if published is not None and not plan.from_scratch:
        rows = store.rows("days", published, ["slice_by", "slice"], pc.field("span") == "tile")
        slices = text_counts(rows.group_by(["slice_by", "slice"]).aggregate([]).column("slice_by"))
    known = expected(with_usable_slices(config, plan.inputs), plan, published, slices)
    calls = _calls_before(store, published) if published is not None and known.calls else NO_CALLS
    return replace(known, seconds_a_call=calls.seconds / calls.number) if calls.number else known


def _calls_before(store: Store, published: Published) -> Calls:
    """The calls of Python functions in the last runs."""
    plans = store.rows("runs", published, ["plan"], pc.field("sequence") > published.sequence - LAST_RUNS)
    made = [json.loads(str(plan)).get(CALLS, {}) for plan in plans.column("plan").to_pylist()]
    return functools.reduce(Calls.and_then, (Calls(**calls) for calls in made), NO_CALLS)


@dataclass(frozen=True)
class Kept:
    """How many of the rows in the files that a run reads are left by the `where` of a log."""

    key: str
    """The place of the log in the config."""
    kept: int
    rows: int


def kept_rows(config: Config, plan: Plan) -> list[Kept]:
    """What each `where` leaves of the files that a plan reads, by reading the columns it names. Raises SliError."""
    import duckdb

    logs = [log for log in logs_of(config) if log.where is not None]
    if not logs:
        return []
    files = {(file.log, file.path): file for files in _files_to_read(plan) for file in files if file.usable}
    if plan.from_scratch and not {log.name for log in logs} <= {name for name, _ in files}:
        # No row of a log exists in any file, so none is in a task.
        files |= {(file.log, file.path): file for file in discover(config).files if file.usable}
    kept = []
    con = connect(config.parallel, config.task_memory)
    try:
        for log in logs:
            mine = [file for (name, _), file in files.items() if name == log.name]
            sql = count_sql(con, mine, log, Interval(BEGINNING, END))
            kept.append(
                Kept(log.key, int(con.execute(f"SELECT {sql}").fetchall()[0][0]), sum(file.rows for file in mine))
            )
    except (duckdb.Error, OSError) as error:
        raise task_error(error, ", ".join(config.predictions.path)) from error
    finally:
        con.close()
    return kept


def _files_to_read(plan: Plan) -> Iterator[Iterable[LogFile]]:
    if plan.new_rows:
        yield from plan.new_rows.new.logs
    for task_set in plan.task_sets:
        for task in task_set.tasks:
            yield from (task.predictions, task.feedback)


def check_reachable(config: Config) -> None:
    """Raise StoreError or EngineError, within seconds, where the store or the Dask scheduler does not answer."""
    Store(config.store, config.storage).published()
    check_cluster(config)


def request_of(
    since: int, zone: Zone, as_of: When, look_back: str | Duration | None, future: bool, full_listing: bool
) -> Request:
    """The request of a run with these arguments. Raises ConfigError."""
    back = None if look_back is None else duration_of("look_back", look_back).micros
    return Request(
        as_of_instant(since, zone, as_of, future), back, now=as_of is None, future=future, full_listing=full_listing
    )
