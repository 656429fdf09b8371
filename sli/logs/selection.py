"""What the next query reads of a file, so that only this is checked or fetched before.

Limit: it names columns, and groups of rows by their times and conditions; the query itself selects the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.parquet as pq

from sli.calendar.interval import Interval
from sli.logs.files import LogFile
from sli.logs.footer import TAIL
from sli.logs.pages import ColumnPages, column_pages
from sli.logs.where import excluded_groups


@dataclass(frozen=True)
class Selection:
    """A file, and which columns and times of it the next query reads."""

    file: LogFile
    columns: frozenset[str]
    span: Interval
    where: str | None = None

    def pages(self, metadata: pq.FileMetaData) -> list[list[ColumnPages]]:
        """The pages of the file that the query may need, for each group of rows."""
        return column_pages(metadata, self.columns, self.file.ranges, self.span, excluded_groups(self.where, metadata))

    @property
    def bytes(self) -> int:
        """About how many bytes the query reads, at most."""
        return min(self.file.bytes, TAIL + int(self.file.row_bytes * self.file.rows))
