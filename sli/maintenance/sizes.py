"""The files and bytes of each table of a store: of the rows that are published, and of everything that lies there.

Limit: it lists the whole store, which takes some seconds on S3 where there are tens of thousands of files.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from sli.engine.stored_files import StoredFolder
from sli.publishing.store import LAYOUT, Store


@dataclass(frozen=True)
class TableSize:
    """The size of one table."""

    name: str
    rows: int
    live_files: int
    """Files with rows that are published."""
    live_bytes: int
    files: int
    """All of its files, with those that were replaced, and with its log."""
    bytes: int


def table_sizes(store: Store) -> list[TableSize]:
    """The size of each table, in the order of LAYOUT. Raises StoreError and what the storage raises."""
    published = store.published()
    sizes = []
    for name in LAYOUT:
        table = store.published_table(name, published)
        if table is None:
            continue
        counts, stored = table.counts(), StoredFolder(store.tables.uri(name), store.storage).files(deep=True)
        rows, live = (int(pc.sum(counts.column(of)).as_py() or 0) for of in ("num_records", "size_bytes"))
        sizes.append(TableSize(name, rows, len(counts), live, len(stored), sum(file.bytes for file in stored)))
    return sizes
