"""`history`: the revisions that stay of those older than it: of each result the one that was known at the cut.

So everything that was known at an instant since the cut can be read as before, to the bit; what was known earlier
cannot, and reading it is refused. The table says where the cut is. Limit: a result that never changed since keeps its
revision for ever, since it is still known.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import FOREVER, Duration
from sli.calendar.interval import moment
from sli.engine.connection import scratch
from sli.publishing.history import SINCE
from sli.publishing.rows import KEY, flat_rows
from sli.publishing.transaction import Transaction
from sli.schemas import UTC


def cut_of(as_of: int, history: Duration) -> int | None:
    """The instant before which revisions may go, for results as of an instant; None: all stay."""
    return None if history == FOREVER else as_of - history.micros


def removable(transaction: Transaction, cut: int | None) -> int:
    """How many revisions `thin` would remove; it is worth its work only if there are some. Raises StoreError."""
    months = (month for grain in _old_grains(transaction, cut) for month in _months(transaction, grain))
    return sum(len(rows) - len(_thinned(rows, cut)) for rows in months if cut is not None)


def thin(transaction: Transaction, cut: int) -> None:
    """Remove revisions that a later one had replaced before the cut. Raises ConflictError and StoreError."""
    for grain in _old_grains(transaction, cut):
        rows = (_thinned(month, cut) for month in _months(transaction, grain))
        transaction.write("revisions", rows, [(grain,)])
    begin_history(transaction, cut)


def begin_history(transaction: Transaction, since: int) -> None:
    """Let the table of revisions say that it is whole since an instant, unless it already says a later one.

    Raises ConflictError and StoreError.
    """
    table = transaction.table_to_read("revisions")
    said = None if table is None else table.properties.get(SINCE)
    transaction.set_property("revisions", {SINCE: str(since if said is None else max(since, int(said)))})


def _old_grains(transaction: Transaction, cut: int | None) -> list[str]:
    """The grains with revisions of before the cut."""
    if cut is None:
        return []
    old = transaction.rows("revisions", ["grain"], pc.field("as_of") < pa.scalar(moment(cut), UTC))
    return sorted(str(grain) for grain in old.column("grain").unique().to_pylist())


def _months(transaction: Transaction, grain: str) -> Iterator[pa.Table]:
    """The revisions of a grain, those of the windows of a month at a time."""
    within = [("grain", "=", grain)]
    days = transaction.rows("revisions", ["day"], within=within).column("day")
    for month in sorted({str(day)[:7] for day in days.unique().to_pylist()}):
        yield transaction.rows("revisions", only=pc.starts_with(pc.field("day"), month), within=within)


def _thinned(rows: pa.Table, cut: int) -> pa.Table:
    """The revisions of some windows without those that another one had replaced before the cut."""
    flat = flat_rows(rows).append_column("place", pa.array(np.arange(len(rows))))
    with scratch() as con:
        con.register("flat", flat)
        places = con.sql(
            f"SELECT place FROM flat QUALIFY as_of >= {cut} OR row_number() OVER "
            f"(PARTITION BY {', '.join(KEY)}, as_of >= {cut} ORDER BY as_of DESC, sequence DESC) = 1 ORDER BY place"
        ).to_arrow_table()
    return rows.take(places.column("place"))
