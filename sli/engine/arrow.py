"""Columns of Arrow to NumPy and back by their buffers, and columns of lists from flat rows and back.

Arrow's own conversions import pandas, which takes a quarter of the time of a run that finds nothing to do. DuckDB sorts
flat rows several times faster than it builds ordered lists of structs. Limit: columns of integers, floats, booleans or
text without nulls; lists of fewer than 2^31 elements.
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


def list_column(flat: pa.Table, owner: Rows, rows: int, kind: pa.DataType) -> pa.Array:
    """A column of `rows` lists of type `kind`: element i of `flat` belongs to list `owner[i]`, ascending.

    The columns of `flat` are the fields of the element, in their order; a single one is the element itself.
    """
    offsets = pa.array(np.searchsorted(owner, np.arange(rows + 1)), pa.int32())
    of = kind.value_type
    if not pa.types.is_struct(of):
        return pa.ListArray.from_arrays(offsets, _whole(flat.column(0), of)).cast(kind)
    fields = [of.field(i) for i in range(of.num_fields)]
    parts = [_whole(flat.column(i), field.type) for i, field in enumerate(fields)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(parts, fields=fields)).cast(kind)


def flattened(column: pa.ChunkedArray, rows: Rows, names: Sequence[str]) -> tuple[Rows, dict[str, pa.Array]]:
    """Offsets of the lists of these rows, laid end to end, and their elements' fields by name."""
    lists = column.take(pa.array(rows, pa.int64())).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], column.type)
    sizes = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    elements = lists.flatten()
    parts = [elements] if len(names) == 1 else elements.flatten()
    return np.concatenate([[0], np.cumsum(sizes)]), dict(zip(names, parts, strict=True))


def _whole(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = column.cast(kind).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], kind)
    return array
