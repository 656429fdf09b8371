"""The requests that two slices both scored, read again from the logs and matched on a column of the predictions.

The pairs are made by the join of a run, as of the last one, from the files that it saw. Limit: the rows of both slices
within the window are in memory, or spilled to disk.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from sli.calendar.interval import Interval
from sli.config.model import Config
from sli.engine.connection import connect, within_memory
from sli.engine.expression import restrict_access
from sli.engine.sql import literal, quoted, text_of
from sli.errors import ConfigError, StoreError, check_known
from sli.logs.discovery import discover
from sli.logs.files import Files, Inputs
from sli.logs.log import predictions_log
from sli.matching.execute import Report, execute
from sli.matching.other_tiles import published_losers
from sli.matching.spec import Spec
from sli.planning.tasks import Task, co_located_tasks
from sli.reading.publication import Publication
from sli.slis import Sli
from sli.slis.custom.function import loaded
from sli.slis.paired import SIDES, Requests
from sli.slis.states import integers
from sli.slis.terms import is_over_queries, rests_on_labels, states_of_pairs, terms_sql
from sli.tiles.aggregate import queries_sql, slice_value_sql
from sli.tiles.build import joined
from sli.tiles.dry_run import check_code, check_names

Two = tuple[int, int]
"""A number of the first side, and of the second."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How the predictions of two slices were matched by a column, and how many were left out."""

    column: str
    requests: int
    """Requests that both slices scored."""
    compared: int
    """Those of them that the values rest on."""
    unpaired: Two
    """Requests that only one slice scored."""
    unlabelled: Two
    """Requests of both whose prediction in a slice has no label, if the SLI needs labels."""
    repeated: Two
    """Further predictions of a slice for a request: the first counts."""
    without: Two
    """Predictions of a slice whose column is null."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The two slices by one column whose requests are matched by another, in one stretch of time."""

    by: str
    names: tuple[str, str]
    pair: str
    window: Interval


def paired_requests(publication: Publication, sli: Sli, choice: Choice, progress: Report) -> tuple[Requests, Pairing]:
    """What the requests add to the SLI on both sides, and how they were matched.

    `progress` is called as tasks end. Raises SliError.
    """
    config = publication.config
    _check(config, sli, choice)
    states = states_of_pairs(sli.formula).values()
    functions = {state.call: loaded(state.call, config.folder) for state in states if state.call}
    terms = terms_sql(states)
    rows = _rows(publication, _Selection(choice=choice, terms=terms, by_query=is_over_queries(sli.formula)), progress)
    con = connect(config.parallel, config.task_memory)
    try:
        with within_memory("the requests that both slices scored"):
            con.register("rows_arrow", rows)
            table, pairing = _matched(con, choice, list(terms), rests_on_labels(sli.formula))
    finally:
        con.close()
    times = integers(table.column("times"))
    return Requests(
        sli.formula, table.drop_columns(["times"]), times, functions, choice.window.end, config.level
    ), pairing


def _check(config: Config, sli: Sli, choice: Choice) -> None:
    """Raise ConfigError if the SLI cannot be compared by requests, or the column does not name them."""
    check_code([sli], config.dask)
    if sli.reference is not None:
        raise ConfigError(
            f"{sli.name} compares each window with a reference, so single requests do not have it",
            where="--pair",
            todo="leave out --pair",
        )
    for state in sli.formula.states.values():
        if not state.resamples:
            raise ConfigError(
                f"{sli.name} rests on extremes or on a number of different values: drawing requests again tells "
                "nothing about these",
                where="--pair",
                todo="leave out --pair",
            )
    valid = [name for name in (*_id_parts(config), *config.columns) if name != choice.by]
    check_known(
        f"'{choice.pair}' cannot say which predictions belong to the same request",
        choice.pair,
        dict.fromkeys(valid),
        where="--pair",
        nothing="a column of `predictions.columns`",
        todo=f"list {choice.pair} under predictions.columns",
    )
    if is_over_queries(sli.formula) and choice.pair != config.predictions.query:
        raise ConfigError(
            f"{sli.name} is over queries, so queries are matched",
            where="--pair",
            expected=str(config.predictions.query),
            found=choice.pair,
        )


def _id_parts(config: Config) -> list[str]:
    """The columns that together are the id of a prediction; a single one names no request of two slices."""
    parts = predictions_log(config).id
    return [part.field for part in parts] if len(parts) > 1 else []


@dataclass(frozen=True, kw_only=True)
class _Selection:
    """Which rows of a task are wanted, and the SQL of their columns."""

    choice: Choice
    terms: Mapping[str, str]
    by_query: bool

    def sql(self, spec: Spec) -> str:
        by = self.choice.by
        if self.by_query:
            source, side = queries_sql((by,), spec), "slice_0"
            columns = {"request": "query", "t": "tile", "k": "0", "labelled": "complete", "usable": "complete"}
        else:
            source, side = "FROM pairs", slice_value_sql(by, spec.edges.get(by))
            request = text_of(quoted(self.choice.pair))
            columns = {"request": request, "t": "t", "k": "k", "labelled": "labelled", "usable": "usable"}
        first, second = map(literal, self.choice.names)
        own = "".join(f", {sql} AS {quoted(_own(name))}" for name, sql in columns.items())
        terms = "".join(f", {sql} AS {quoted(name)}" for name, sql in self.terms.items())
        return (
            f"SELECT ({side} = {second})::INTEGER AS {quoted(_own('side'))}{own}{terms} FROM ({source}) "
            f"WHERE {side} IN ({first}, {second})"
        )


def _own(name: str) -> str:
    """A column of this module, which no column of a log and no state is called."""
    return f"sli:{name}"


def _rows(publication: Publication, selection: _Selection, progress: Report) -> pa.Table:
    """One row for each prediction (or query) of either slice, with what it adds. Raises SliError."""
    config, choice = publication.config, selection.choice
    inputs = _inputs_seen(config, publication.inputs())
    check_names(config, inputs)
    losers = published_losers(_losing_tiles(publication, choice.window), config.tile)
    threads = config.parallel if config.dask == "in-process" else 1
    spec = Spec.of(config, publication.published.as_of, [], (), threads)
    if choice.pair not in spec.predictions.columns:
        # A part of the id, which is read anyway.
        log = replace(spec.predictions, columns=(*spec.predictions.columns, choice.pair))
        spec = replace(spec, predictions=log)
    tasks = [
        functools.partial(_select, task, spec, losers, selection)
        for task in co_located_tasks(config, inputs, [choice.window])
        if task.predictions
    ]
    tables = execute(config, tasks, progress)
    if not tables:
        raise StoreError("no predictions of the window are in the logs any more", where="predictions.path")
    return pa.concat_tables(tables, promote_options="permissive")


def _inputs_seen(config: Config, seen: Inputs) -> Inputs:
    """The files that the last run saw, with the types of all columns. Raises StoreError if one of them changed."""
    now = discover(config, seen)
    logs: list[Files] = []
    for files, before in zip(now.logs, seen.logs, strict=True):
        used = before.take(before.usable)
        gone = ~used.found_in(files, "fingerprint")
        if gone.any():
            raise StoreError(
                "a file of the logs was replaced or removed since the last run",
                where=used.take(gone).paths[0],
                todo="`sli run CONFIG` first",
            )
        logs.append(files.take(files.found_in(used)))
    predictions, feedback = logs
    return Inputs(predictions, feedback)


def _losing_tiles(publication: Publication, window: Interval) -> pa.Table:
    """The tiles of the window that name predictions which lose to one in another tile."""
    zone = publication.config.zone
    first, last = zone.date(window.start), zone.date(window.end - 1)
    days = [(first + timedelta(days=i)).isoformat() for i in range((last - first).days + 1)]
    columns = ["day", "span", "start", "shadowed"]
    return publication.rows("tiles", columns, ds.field("span") == "pairs", [("day", "in", days)])


def _select(task: Task, spec: Spec, losers: pa.Table, selection: _Selection) -> pa.Table:
    """The selected rows of a task: the work of a Dask task."""
    with joined(task, spec, losers) as con:
        # SQL of the config runs from here on.
        restrict_access(con)
        rows: pa.Table = con.sql(selection.sql(spec)).to_arrow_table()
        return rows


def _matched(
    con: duckdb.DuckDBPyConnection, choice: Choice, terms: Sequence[str], labels: bool
) -> tuple[pa.Table, Pairing]:
    """The requests of both sides, each different content once with its number of `times`, and how they were matched.

    `labels` says whether a request needs a label on both sides.
    """
    request, side, t, k, labelled, usable = map(quoted, map(_own, ("request", "side", "t", "k", "labelled", "usable")))
    con.execute(
        f"CREATE TEMP TABLE firsts AS SELECT * FROM rows_arrow WHERE {request} IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY {side}, {request} ORDER BY {t}, {k}) = 1"
    )
    both_sides = f"(FROM firsts WHERE {side} = 0) a JOIN (FROM firsts WHERE {side} = 1) b ON a.{request} = b.{request}"
    needed = f"a.{usable} AND b.{usable}" if labels else "true"
    requests, compared, *unlabelled = con.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {needed}), count(*) FILTER (WHERE NOT a.{labelled}), "
        f"count(*) FILTER (WHERE NOT b.{labelled}) FROM {both_sides}"
    ).fetchall()[0]
    counts = {
        number: rest
        for number, *rest in con.execute(
            f"SELECT {side}, count(*) - count({request}), count({request}), count(DISTINCT {request}) "
            f"FROM rows_arrow GROUP BY {side}"
        ).fetchall()
    }
    nulls, given, different = zip(*(counts.get(number, (0, 0, 0)) for number in (0, 1)), strict=True)
    columns = ", ".join(
        f"{alias}.{quoted(name)} AS {quoted(f'{prefix}:{shown}')}"
        for alias, prefix in zip("ab", SIDES, strict=True)
        for name, shown in ((_own("labelled"), "labelled"), *((term, term) for term in terms))
    )
    table: pa.Table = con.sql(
        f"SELECT {columns}, count(*) AS times FROM {both_sides} WHERE {needed} GROUP BY ALL ORDER BY ALL"
    ).to_arrow_table()
    return table, Pairing(
        column=choice.pair,
        requests=requests,
        compared=compared,
        unpaired=(different[0] - requests, different[1] - requests),
        unlabelled=(unlabelled[0], unlabelled[1]) if labels else (0, 0),
        repeated=(given[0] - different[0], given[1] - different[1]),
        without=(nulls[0], nulls[1]),
    )
