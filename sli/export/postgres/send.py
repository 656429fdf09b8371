"""Sending what a model's tables in PostgreSQL lack: the results of the days whose files changed, and all that is small.

How far the tables have come is the version of `results` that they show; which files it has tells the days that changed
since, however many runs that were. Limit: if the store no longer has that version, all is compared again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from sli import schemas
from sli.config.model import Config
from sli.config.postgres_section import PostgresSink
from sli.errors import StoreError
from sli.export.postgres.about import about
from sli.export.postgres.connection import connected, place
from sli.export.postgres.rows import NUL, Slices, result_rows, slice_columns
from sli.export.postgres.staging import Staging
from sli.export.postgres.tables import MODELS, RESULTS, SLICES, TABLES, lock, prepare
from sli.publishing.delta_tables import Table
from sli.reading.figures import counted
from sli.reading.publication import Publication, newest_or_none

GROUP_ROWS = 100_000
"""About how many results are merged at a time: some days of a grain."""
BATCH_ROWS = 1 << 16
"""How many of them are converted at a time."""
Day = tuple[str, str]
"""A grain and a local date: a partition of `results`."""


@dataclass
class Sent:
    """What an export did: how many results it compared, how many it wrote, since they were new or other, or removed."""

    where: str
    results: int = 0
    written: int = 0
    removed: int = 0
    warnings: list[str] = field(default_factory=list)


def send_missing(config: Config, sink: PostgresSink) -> Sent:
    """Send what was published since the last export. Raises ExportError, StoreError."""
    return _send(config, sink, everything=False)


def send_all(config: Config, sink: PostgresSink) -> Sent:
    """Send everything, and remove what is not published. Raises ExportError, StoreError."""
    return _send(config, sink, everything=True)


def _send(config: Config, sink: PostgresSink, everything: bool) -> Sent:
    sent = Sent(place(sink))
    publication = newest_or_none(config)
    if publication is None:
        return sent
    with connected(sink) as connection:
        prepare(connection, sink.schema_name, sent.where)
        lock(connection, sink.schema_name, config.model)
        staging, results = Staging(connection, sink.schema_name, config.model), publication.table("results")
        assert results is not None, "it is published"
        position = _position(staging)
        if everything or (position.get("store"), position.get("version")) != (results.identity, results.version):
            _forget_others(staging, results.identity, position, sent)
            touched = None if everything else _touched(publication, position, results)
            _send_results(staging, publication, results, touched, sent)
            files = {"store": results.identity, "version": results.version, "files": _digest(results)}
            for table, rows in about(publication, files):
                staging.replace(table, [rows])
        if everything:
            connection.execute(staging.query("ANALYZE {}", RESULTS))
        connection.commit()
    return sent


def _send_results(
    staging: Staging, publication: Publication, results: Table, touched: set[Day] | None, sent: Sent
) -> None:
    """Make the results of these days what is published; None: of all days that are published, or are in the table."""
    counts = _counts(results)
    if touched is None:
        query = staging.query("SELECT DISTINCT grain, day::text FROM {} WHERE model = %s", RESULTS)
        there = staging.connection.execute(query, [staging.model]).fetchall()
        touched = {*counts, *((str(grain), str(day)) for grain, day in there)}
    slices: Slices = {}
    for grain, days in _groups(touched, counts):
        batches = _joined(results.batches(schemas.RESULTS.names, [("grain", "=", grain), ("day", "in", days)]))
        rows = (result_rows(batch, publication.config.model, slices) for batch in batches)
        written = staging.replace_days(rows, grain, days)
        sent.results += sum(counts.get((grain, day), 0) for day in days)
        sent.written, sent.removed = sent.written + written.written, sent.removed + written.removed
    _send_slices(staging, slices, bool(sent.removed), sent)


def _position(staging: Staging) -> Mapping[str, object]:
    """How far the tables have come: the columns `store`, `version` and `files`; empty before the first export."""
    names = ("store", "version", "files")
    query = staging.query(f"SELECT {', '.join(names)} FROM {{}} WHERE model = %s", MODELS)
    row = staging.connection.execute(query, [staging.model]).fetchone()
    return {} if row is None else dict(zip(names, row, strict=True))


def _forget_others(staging: Staging, store: str, position: Mapping[str, object], sent: Sent) -> None:
    """Remove the rows of a model that this store had under another name; tell of rows of another store."""
    if position and position["store"] != store:
        sent.warnings.append("the tables had this model from another store; its rows are replaced by those of this one")
    query = staging.query("SELECT model FROM {} WHERE store = %s AND model <> %s", MODELS)
    for (model,) in staging.connection.execute(query, [store, staging.model]).fetchall():
        for table in TABLES:
            staging.connection.execute(staging.query("DELETE FROM {} WHERE model = %s", table), [model])


def _touched(publication: Publication, position: Mapping[str, object], results: Table) -> set[Day] | None:
    """The days with other files than the tables show; None if that cannot be told, so all are."""
    if position.get("store") != results.identity:
        return None
    try:
        before = publication.store.tables.open("results", int(str(position["version"])))
    except StoreError:
        return None
    # A store that was put back from a copy has other files in versions of the same number.
    if before is None or _digest(before) != position["files"]:
        return None
    old, new = _files(before), _files(results)
    return {day for path, day in (old | new).items() if (path in old) != (path in new)}


def _files(results: Table) -> dict[str, Day]:
    """The files of a table, each with its day."""
    counts = results.counts()
    columns = (counts.column(name).to_pylist() for name in ("path", "partition.grain", "partition.day"))
    return {str(path): (str(grain), str(day)) for path, grain, day in zip(*columns, strict=True)}


def _digest(results: Table) -> str:
    return hashlib.sha256("\n".join(sorted(_files(results))).encode()).hexdigest()


def _counts(results: Table) -> dict[Day, int]:
    """How many rows each day has."""
    counts = results.counts()
    columns = (counts.column(name).to_pylist() for name in ("partition.grain", "partition.day", "num_records"))
    rows: dict[Day, int] = {}
    for grain, day, count in zip(*columns, strict=True):
        rows[str(grain), str(day)] = rows.get((str(grain), str(day)), 0) + int(count or 0)
    return rows


def _groups(days: Collection[Day], counts: Mapping[Day, int]) -> Iterator[tuple[str, list[str]]]:
    """The days of each grain, about as many together as have GROUP_ROWS rows."""
    group: list[str] = []
    rows, current = 0, ""
    for grain, day in sorted(days):
        if group and (grain != current or rows >= GROUP_ROWS):
            yield current, group
            group, rows = [], 0
        current = grain
        group.append(day)
        rows += counts.get((grain, day), 0)
    if group:
        yield current, group


def _joined(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Batches of BATCH_ROWS or more: a file has the few rows of a day, and converting many together costs as much."""
    waiting: list[pa.Table] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= BATCH_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _send_slices(staging: Staging, slices: Slices, removed: bool, sent: Sent) -> None:
    """Add slices that are new; if results were removed, remove slices that have none."""
    columns = {name: [value(key) for key in slices] for name, value in slice_columns(slices).items()}
    rows = pa.table({"model": [staging.model] * len(slices), "slice_key": [*slices], **columns})
    staging.add(SLICES, rows.cast(pa.schema([(name, pa.string()) for name in SLICES.columns])))
    if removed:
        lacking = "DELETE FROM {} s WHERE model = %s AND slice_key NOT IN (SELECT slice_key FROM {} WHERE model = %s)"
        staging.connection.execute(staging.query(lacking, SLICES, RESULTS), [staging.model, staging.model])
    if with_nul := sum(any(NUL in (value or "") for value in values.values()) for values in slices.values()):
        sent.warnings.append(
            f"{counted(with_nul, 'slice')} with a NUL character, which PostgreSQL cannot hold: texts have ␀ instead, "
            "`slice_key` has \\u0000"
        )
