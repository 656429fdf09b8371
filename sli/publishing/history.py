"""History: results as they were known at an earlier instant, and what backfills changed, from the revisions.

Limit: a revision is known from the as_of of its run on, not from the time at which the run worked.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import iso, moment
from sli.engine.connection import scratch
from sli.errors import StoreError
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.diff import RESTATED
from sli.publishing.rows import KEY, flat_rows, stored_rows
from sli.publishing.store import Store
from sli.rollup.results import ROLLED
from sli.schemas import UTC

SINCE = "sli.historySince"
"""The property of the table `revisions` that says since when it is whole, in microseconds."""


def check_kept(revisions: Table | None, as_of: int) -> None:
    """Raise StoreError if what was known at an instant is no longer in the table of revisions."""
    since = int(revisions.properties.get(SINCE, as_of)) if revisions is not None else as_of
    if as_of < since and revisions is not None:
        raise StoreError(
            "what was known at that time is no longer kept",
            where=revisions.uri,
            expected=f"{iso(since)} or later; what was known earlier went by `history` of the config or in a repair",
            found=iso(as_of),
            todo="ask for a later time, or read a copy of the store",
        )


def rows_known_at(store: Store, published: Published | None, as_of: int, only: pc.Expression | None = None) -> pa.Table:
    """The results known at an instant as flat rows: for each key the newest revision, unless it removed the row.

    Raises StoreError, also where what was known then is no longer kept.
    """
    where = pc.field("as_of") <= pa.scalar(moment(as_of), UTC)
    table = store.published_table("revisions", published)
    check_kept(table, as_of)
    rows = flat_rows(store.table_rows("revisions", table, only=where if only is None else where & only))
    con = scratch()
    con.register("rows", rows)
    known: pa.Table = con.sql(
        f"SELECT model, {', '.join(ROLLED)}, as_of, run_id FROM rows QUALIFY row_number() OVER "
        f"(PARTITION BY {', '.join(KEY)} ORDER BY as_of DESC, sequence DESC) = 1 AND change <> 'removed'"
    ).to_arrow_table()
    return known


def later_as_of(store: Store, published: Published | None, as_of: int) -> int | None:
    """The first as_of of a run that is later than this one; None if there is none."""
    as_ofs = store.rows("runs", published, ["as_of"]).column("as_of").cast(pa.int64()).to_numpy()
    return int(min(as_ofs[as_ofs > as_of], default=0)) or None


def restated_rows(known: pa.Table, revised: pa.Table, as_of: int, later: int) -> pa.Table:
    """Revisions that keep results as they were `known` at a later as_of when a run of an older one publishes `revised`.

    All rows are flat. Example: a run as of Wednesday changed nothing, so no revision has its as_of. A later run as of
    Tuesday publishes revisions. Without the rows of this function, they would also change what readers see as known on
    Wednesday.
    """
    con = scratch()
    con.register("known", known)
    con.register("revised", revised)
    key = " AND ".join(f"k.{name} = r.{name}" for name in KEY)
    values = ", ".join(f"CASE WHEN k.sli IS NULL THEN r.{name} ELSE k.{name} END AS {name}" for name in ROLLED)
    rows: pa.Table = con.sql(
        f"SELECT r.model, {values}, {later}::BIGINT AS as_of, coalesce(k.run_id, r.run_id) AS run_id, "
        f"CASE WHEN k.sli IS NULL THEN 'removed' ELSE 'changed' END AS change, '{RESTATED}' AS cause, "
        "r.value AS old_value, r.verdict AS old_verdict "
        f"FROM revised r LEFT JOIN known k ON {key} WHERE k.sli IS NULL OR k.as_of <= {as_of}"
    ).to_arrow_table()
    return rows


def backfill_changes(store: Store, published: Published | None, only: str | None = None) -> pa.Table:
    """What one backfill, or each of them, changed: the value of each row before its first part and after its last.

    `only` is the id of a backfill. Rows that only became final meanwhile are left out.
    """
    by_backfill = pc.is_valid(pc.field("backfill")) if only is None else pc.equal(pc.field("backfill"), pc.scalar(only))
    changed = pc.not_equal(pc.field("cause"), pc.scalar("matured"))
    con = scratch()
    con.register("rows", flat_rows(store.rows("revisions", published, only=by_backfill & changed)))
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
    return stored_rows(rows)
