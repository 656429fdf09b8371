"""From Arrow to NumPy and back, for columns without nulls, by their buffers.

Arrow's own conversions import pandas, which would be a quarter of the time of a run that finds nothing to do. Limit:
whole numbers, floats and text only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
"""Places of rows."""


def numbers(column: pa.Array) -> Rows:
    """A column of integers."""
    return np.asarray(np.from_dlpack(column), np.int64)


def floats(column: pa.Array) -> npt.NDArray[np.float64]:
    """A column of floats."""
    return np.asarray(np.from_dlpack(column), np.float64)


def flags(column: pa.Array) -> Flags:
    """A column of booleans."""
    return np.asarray(np.from_dlpack(column.cast(pa.uint8())), np.bool_)


def number_column(values: Rows) -> pa.Array:
    """The integers as a column."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int64))])


def text_column(values: Sequence[str]) -> pa.Array:
    """The texts as a column. They may hold 2 GB."""
    written = [each.encode() for each in values]
    ends = np.cumsum([0, *map(len, written)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(written), pa.py_buffer(ends), pa.py_buffer(b"".join(written)))


def text_bytes(column: pa.Array) -> memoryview:
    """A column's texts, one after the other."""
    _, ends, held = column.buffers()
    first, last = np.frombuffer(ends, np.int32)[[column.offset, column.offset + len(column)]] if len(column) else (0, 0)
    return memoryview(held or b"")[first:last]
