"""Beliefs over time: what was believed at an instant, from the revisions.

Limit: a belief is known at the as_of of the run that published it, not at the wall clock of that run.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from sli import publish
from sli.intervals import moment
from sli.publish import KEY
from sli.rollup import ROLLED
from sli.tables import Published, Store


def known_at(store: Store, published: Published | None, as_of: int, only: ds.Expression | None = None) -> pa.Table:
    """The rows (plain) believed at an instant: of each key the newest revision, unless it removed the row."""
    where = ds.field("as_of") <= pa.scalar(moment(as_of), pa.timestamp("us", tz="UTC"))
    rows = publish.plain(store.rows("revisions", published, only=where if only is None else where & only))
    con = duckdb.connect()
    con.register("rows", rows)
    return con.sql(
        f"SELECT model, {', '.join(ROLLED)}, as_of, run_id FROM rows QUALIFY row_number() OVER "
        f"(PARTITION BY {', '.join(KEY)} ORDER BY as_of DESC, sequence DESC) = 1 AND change <> 'removed'"
    ).to_arrow_table()


def restated(store: Store, published: Published | None, revised: pa.Table, as_of: int, sequence: int) -> pa.Table:
    """Rows that keep later beliefs as they were when an older as_of gets a revision of its own.

    Without them a reader of a later instant, whose run found nothing to change, would be shown the older run's value.
    """
    later = [
        each
        for each in store.rows("runs", published, ["as_of"]).column("as_of").cast(pa.int64()).to_pylist()
        if each > as_of
    ]
    if not later or len(revised) == 0:
        return revised.slice(0, 0)
    at = min(later)
    con = duckdb.connect()
    con.register("beliefs", known_at(store, published, at))
    con.register("revised", publish.plain(revised))
    key = " AND ".join(f"b.{name} = r.{name}" for name in KEY)
    values = ", ".join(f"CASE WHEN b.sli IS NULL THEN r.{name} ELSE b.{name} END AS {name}" for name in ROLLED)
    rows = con.sql(
        f"SELECT r.model, {values}, {at}::BIGINT AS as_of, coalesce(b.run_id, r.run_id) AS run_id, "
        "CASE WHEN b.sli IS NULL THEN 'removed' ELSE 'changed' END AS change, 'restated' AS cause, "
        f"r.value AS old_value, {sequence}::BIGINT AS sequence "
        f"FROM revised r LEFT JOIN beliefs b ON {key} WHERE b.sli IS NULL OR b.as_of <= {as_of}"
    ).to_arrow_table()
    return publish.stored(rows)
