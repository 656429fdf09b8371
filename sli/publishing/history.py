"""Beliefs over time: what was believed at an instant, from the revisions.

Limit: a belief is known at the as_of of the run that published it, not at the wall clock of that run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import moment
from sli.planning.published import Published
from sli.publishing import rows as publish
from sli.publishing.rows import KEY
from sli.publishing.store import Store
from sli.rollup.results import ROLLED

if TYPE_CHECKING:
    import pandas as pd


def known_at(store: Store, published: Published | None, as_of: int, only: pc.Expression | None = None) -> pa.Table:
    """The rows (plain) believed at an instant: of each key the newest revision, unless it removed the row."""
    where = pc.field("as_of") <= pa.scalar(moment(as_of), pa.timestamp("us", tz="UTC"))
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
        f"r.value AS old_value, r.verdict AS old_verdict, NULL::VARCHAR AS backfill, {sequence}::BIGINT AS sequence "
        f"FROM revised r LEFT JOIN beliefs b ON {key} WHERE b.sli IS NULL OR b.as_of <= {as_of}"
    ).to_arrow_table()
    return publish.stored(rows)


def backfilled(store: Store, published: Published | None, only: str | None = None) -> pa.Table:
    """What backfills changed (of one id, or all): each row's value before the first chunk and after the last.

    Rows that only became final meanwhile are left out.
    """
    made = pc.field("backfill").is_valid() if only is None else pc.field("backfill") == only
    con = duckdb.connect()
    con.register(
        "rows", publish.plain(store.rows("revisions", published, only=made & (pc.field("cause") != "matured")))
    )
    key, order = ", ".join(KEY), "ORDER BY sequence"
    rows = con.sql(
        f"SELECT backfill, any_value(model) AS model, {key}, "
        f"CASE WHEN last(change {order}) = 'removed' THEN 'removed' ELSE first(change {order}) END AS change, "
        f"last(cause {order}) AS cause, first(old_value {order}) AS old_value, "
        f"CASE WHEN last(change {order}) <> 'removed' THEN last(value {order}) END AS value, "
        f"last(reason {order}) AS reason, last(objective {order}) AS objective, last(verdict {order}) AS verdict, "
        f"first(old_verdict {order}) AS old_verdict, last(coverage {order}) AS coverage, "
        f"last(maturity {order}) AS maturity, max(as_of) AS as_of, max(sequence) AS sequence FROM rows "
        f"GROUP BY backfill, {key} HAVING NOT (first(change {order}) = 'added' AND last(change {order}) = 'removed') "
        f"ORDER BY sequence, grain, window_end, window_start, sli, slice_by, slice"
    ).to_arrow_table()
    return publish.stored(rows)


def framed(rows: pa.Table) -> pd.DataFrame:
    """Stored rows as pandas: slices as dicts, `slice_by` as tuples."""
    names = [each for each in rows.schema.names if each != "day"]
    nested = {names.index(each): kind for each, kind in (("slice_by", tuple), ("slice", dict)) if each in names}
    flat = rows.select(names)
    for at in nested:
        flat = flat.set_column(at, names[at], pa.nulls(len(rows)))
    # Without threads: hardly a column is copied, and to wake them takes longer.
    frame: pd.DataFrame = flat.to_pandas(use_threads=False)
    for at, kind in nested.items():
        frame.isetitem(at, np.fromiter(map(kind, rows.column(names[at]).to_pylist()), object, len(rows)))
    return frame
