"""Mending a damaged store: tables are moved away, files that are gone are forgotten, and what is published stays.

What was published is published again by a commit that names no damaged table, and that the next run cannot build on: so
that run computes everything from the logs. Limit: `results` itself must be readable, since it says what is published.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from sli import schemas
from sli.engine.connection import scratch
from sli.engine.storage import Storage, filesystem, message_of
from sli.errors import StoreError
from sli.planning.published import NO_BASE
from sli.publishing.diff import RESTATED
from sli.publishing.history import rows_known_at
from sli.publishing.rows import KEY, flat_rows, stored_rows
from sli.publishing.store import Store
from sli.publishing.thinning import begin_history
from sli.publishing.transaction import Transaction, with_columns

DAMAGED = "_damaged"
"""The folder in the store that damaged tables are moved to."""


def move_away(store: Store, name: str, stamp: str) -> str:
    """Move a table out of the way, and return where it is now; empty if there is nothing left of it.

    Raises StoreError.
    """
    place, target = store.tables.uri(name), f"{store.root}/{DAMAGED}/{name}-{stamp}"
    try:
        return target if _move(place, target, store.storage) else ""
    except Exception as error:
        raise StoreError("a damaged table cannot be moved", where=place, found=message_of(error)) from error


def _move(place: str, target: str, storage: Storage) -> bool:
    if "://" not in place:
        if not Path(place).exists():
            return False
        Path(target).parent.mkdir(exist_ok=True)
        Path(place).rename(target)
        return True
    fs, path = filesystem(place, storage)
    files = fs.find(path)
    for file in files:
        fs.mv(file, f"{filesystem(target, storage)[1]}{file.removeprefix(path)}")
    return bool(files)


def publish_without(
    store: Store, lost: Collection[str], files: Mapping[str, Collection[str]], damaged: Collection[str]
) -> None:
    """Publish again what is published, without the tables that are `lost`, and without `files` of other tables.

    Of `results` and `revisions` the one that is `damaged` gains from the other what it lacks: the newest values. What
    revisions that are gone told of earlier instants can no longer be asked for. Raises StoreError, and ConflictError if
    another run published meanwhile.
    """
    transaction = Transaction(store)
    published = transaction.published
    assert published is not None
    for name in lost:
        transaction.versions.pop(name, None)
    from_revisions = "results" in damaged and "revisions" not in damaged
    for name, gone in files.items():
        table = None if name == "results" and from_revisions else transaction.table_to_read(name)
        if table is not None:
            table.forget(gone)
            transaction.versions[name] = table.version
    known = _newest_revisions(transaction)
    if "revisions" in damaged:
        _restate(transaction, known)
        begin_history(transaction, published.as_of)
    rows = with_columns(stored_rows(known), schemas.RESULTS) if from_revisions else schemas.RESULTS.empty_table()
    written = transaction.stage("results", [rows] if len(rows) else [], schemas.RESULTS)
    transaction.publish(replace(published, base=NO_BASE, id_hash=""), written, "all" if from_revisions else None)


def _newest_revisions(transaction: Transaction) -> pa.Table:
    """The results that the revisions end with, as flat rows."""
    published = transaction.published
    assert published is not None
    return rows_known_at(transaction.store, replace(published, versions=transaction.versions), published.as_of)


def _restate(transaction: Transaction, known: pa.Table) -> None:
    """Add to the revisions the results that they do not end with, as known when they were published."""
    with scratch() as con:
        con.register("results", flat_rows(transaction.rows("results")))
        con.register("known", known)
        rows: pa.Table = con.sql(
            f"SELECT r.*, {transaction.sequence}::BIGINT AS sequence, 'changed' AS change, '{RESTATED}' AS cause, "
            "r.value AS old_value, r.verdict AS old_verdict, NULL::VARCHAR AS backfill "
            f"FROM results r ANTI JOIN known k USING ({', '.join((*KEY, 'as_of'))})"
        ).to_arrow_table()
    if len(rows):
        transaction.write("revisions", stored_rows(rows))
