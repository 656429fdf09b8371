"""The results as one run left them: what is published while a page is made is not seen.

Limit: the files of an earlier publication are kept for a while only, so a page that takes days would miss some.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sli.config.model import Config
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.store import Store
from sli.reading.publication import Publication, newest_or_none

BATCH = 500_000
"""Most rows that are read at a time, unless one day has more."""
Days = tuple[str, str]
"""The first and the last of some local days."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One publication of a store, opened."""

    store: Store
    table: Table
    """The table of results."""
    published: Published

    @staticmethod
    def newest(config: Config) -> Snapshot | None:
        """The pinned or else the newest publication, or None before the first. Raises StoreError."""
        publication = newest_or_none(config)
        return None if publication is None else Snapshot.of(publication)

    @staticmethod
    def of(publication: Publication) -> Snapshot:
        """The results of a publication. Raises StoreError."""
        results = publication.table("results")
        assert results is not None
        return Snapshot(store=publication.store, table=results, published=publication.published)

    def rows(self, columns: Collection[str], grain: str, days: Days | None = None) -> pa.Table:
        """Rows of a grain whose windows end in these local days (default: all). Raises StoreError."""
        within = [("grain", "=", grain)]
        if days is not None:
            within += [("day", ">=", days[0]), ("day", "<=", days[1])]
        return self.store.table_rows("results", self.table, columns, pc.field("grain") == grain, within)

    def stretches(self, grain: str) -> Iterator[Days]:
        """Days that split the rows of a grain into parts of at most `BATCH` rows, or of a day that has more."""
        first, last, total = "", "", 0
        for day, count in self.store.rows_by_day(self.table, grain).items():
            if first and total + count > BATCH:
                yield first, last
                first, total = "", 0
            first, last, total = first or day, day, total + count
        if first:
            yield first, last
