"""Rows that an answer has: their columns, and batches of them, which may still be computed while they are written.

Limit: a frame of pandas is in memory already; its batches are only cut from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sli import schemas
from sli.engine.arrow import Column

if TYPE_CHECKING:
    import pandas as pd

TYPES: dict[str, pa.DataType] = {
    field.name: field.type for table in (schemas.AUDIT, schemas.RUNS, schemas.REVISIONS) for field in table
}
"""The types of all columns that readers give, by name."""
BATCH_ROWS = 1 << 14
"""How many rows are converted at a time."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of an answer. `batches` can be gone through once."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]


def rows_of_frame(frame: pd.DataFrame) -> Rows:
    """The rows of a frame of `sli.read` or `sli.query`, with the types of the tables, also where all values are null.

    `slice_by` becomes a list and `slice` a map again.
    """
    columns = {str(name): _column(str(name), frame[name]) for name in frame.columns}
    table = pa.table(columns)
    return Rows(schema=table.schema, batches=table.to_batches(max_chunksize=BATCH_ROWS))


def _column(name: str, values: pd.Series[Any]) -> Column:
    if name == "slice":
        return pa.array([[*slice.items()] for slice in values], schemas.SLICE)
    if name == "slice_by":
        return pa.array([[*columns] for columns in values], TYPES[name])
    return pa.array(values, TYPES.get(name), from_pandas=True)
