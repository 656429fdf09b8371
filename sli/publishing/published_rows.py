"""The published results that a run compares with, read some partitions at a time.

A run of an older as_of compares with what was known then, which only the revisions tell. Limit: such a run reads all
revisions of the grains and days it compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sli.planning.extent import Extent
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.diff import nothing_published
from sli.publishing.history import rows_known_at
from sli.publishing.parquet_files import Partition
from sli.publishing.rows import decode_texts, flat_rows, text_counts
from sli.publishing.store import Store
from sli.publishing.tile_rows import EVERY_SLICE, Slices
from sli.schemas import RESULTS


@dataclass(frozen=True, kw_only=True)
class PublishedRows:
    """The results to compare with. A worker can read them, too."""

    store: Store
    published: Published | None
    table: Table | None
    """The table `results`; None: nothing is published."""
    as_of: int | None = None
    """The instant at which they were known; None: now."""

    def rows(self, grain: str, first: str, last: str, slices: Slices) -> pa.Table:
        """Those of a grain, from one day to another, as flat rows. Raises StoreError."""
        if self.as_of is not None:
            return self.known_at(self.as_of, grain, first, last, slices)
        if self.table is None:
            return nothing_published()
        within = [("grain", "=", grain), ("day", ">=", first), ("day", "<=", last)]
        if slices == EVERY_SLICE:
            return flat_rows(self.store.table_rows("results", self.table, RESULTS.names, within=within))
        batches = self.table.batches(RESULTS.names, within)
        return pa.concat_tables([nothing_published(), *(flat_rows(some).filter(slices.condition) for some in batches)])

    def known_at(self, as_of: int, grain: str, first: str, last: str, slices: Slices) -> pa.Table:
        """As `rows`, as they were known at an instant."""
        day = pc.field("day")
        only = (pc.field("grain") == grain) & (day >= first) & (day <= last)
        return rows_known_at(self.store, self.published, as_of, only).filter(slices.condition)


def known_then(store: Store, published: Published | None, plan: Plan) -> tuple[Extent, Mapping[Partition, int]]:
    """Of the results as known at the as_of of a plan: their extent, and how many rows each grain and day has."""
    rows = rows_known_at(store, published, plan.as_of)
    series = decode_texts(rows).group_by(["sli", "definition"]).aggregate([]).to_pylist()
    grains, slice_sets = (tuple(sorted(text_counts(rows.column(name)))) for name in ("grain", "slice_by"))
    extent = Extent(
        {row["sli"]: row["definition"] for row in series},
        # Those of the plan, since they change no value.
        plan.extent.objectives if series else {},
        grains,
        tuple(tuple(filter(None, columns.split(","))) for columns in slice_sets),
    )
    partitions = zip(rows.column("grain").to_pylist(), rows.column("day").to_pylist(), strict=True)
    return extent, Counter((str(grain), str(day)) for grain, day in partitions)
