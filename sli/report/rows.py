"""The results of one publication, grain by grain: what is published while a page is made is not seen.

Limit: the files of an earlier publication are kept for a while only, so a page that takes days would miss some.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from sli.reading.publication import Publication

BATCH = 500_000
"""Most rows that are read at a time, unless one day has more."""
Days = tuple[str, str]
"""The first and the last of some local days."""


def grain_rows(publication: Publication, columns: Collection[str], grain: str, days: Days | None = None) -> pa.Table:
    """Rows of a grain whose windows end in these local days (default: all). Raises StoreError."""
    within = [("grain", "=", grain)]
    if days is not None:
        within += [("day", ">=", days[0]), ("day", "<=", days[1])]
    return publication.rows("results", columns, pc.field("grain") == grain, within)


def rows_by_day(publication: Publication, grain: str) -> dict[str, int]:
    """How many results of a grain each local day has, in the order of the days. Raises StoreError."""
    results = publication.table("results")
    assert results is not None
    files, days = results.counts(), Counter[str]()
    names = ("partition.grain", "partition.day", "num_records")
    for of_grain, day, rows in zip(*(files.column(name).to_pylist() for name in names), strict=True):
        if of_grain == grain and day is not None:
            days[str(day)] += int(rows or 0)
    return dict(sorted(days.items()))


def stretches(publication: Publication, grain: str) -> Iterator[Days]:
    """Days that split the rows of a grain into parts of at most `BATCH` rows, or of a day that has more."""
    first, last, total = "", "", 0
    for day, count in rows_by_day(publication, grain).items():
        if first and total + count > BATCH:
            yield first, last
            first, total = "", 0
        first, last, total = first or day, day, total + count
    if first:
        yield first, last
