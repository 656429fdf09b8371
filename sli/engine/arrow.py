"""Columns of Arrow to NumPy and back by their buffers, and columns of lists from flat rows and back.

Arrow's own conversions import pandas, which takes a quarter of the time of a run that finds nothing to do. DuckDB sorts
flat rows several times faster than it builds ordered lists of structs. Limit: columns of integers, floats, booleans or
text without nulls; lists of fewer than 2^31 elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Rows = Integers
"""Positions of rows."""
Column: TypeAlias = "pa.Array[Any]"
"""A column of any type, in one piece."""
ChunkedColumn: TypeAlias = "pa.ChunkedArray[Any]"
"""A column of any type, as tables have them."""


def integers(column: Column) -> Integers:
    """A column of integers as an array."""
    return np.asarray(np.from_dlpack(column), np.int64)


def floats(column: Column) -> npt.NDArray[np.float64]:
    """A column of floats as an array."""
    return np.asarray(np.from_dlpack(column), np.float64)


def flags(column: Column) -> Flags:
    """A column of booleans as an array."""
    return np.asarray(np.from_dlpack(column.cast(pa.uint8())), np.bool_)


def integer_column(values: Integers) -> Column:
    """A column of these integers."""
    buffer = pa.py_buffer(np.ascontiguousarray(values, np.int64).data)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, buffer])


def text_column(values: Sequence[str]) -> Column:
    """A column of these texts, of at most 2 GB together."""
    texts = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends.data), pa.py_buffer(b"".join(texts)))


def text_bytes(column: Column) -> memoryview:
    """The texts of a column, one after the other without separator."""
    _, ends, text = column.buffers()
    if not len(column) or ends is None or text is None:
        return memoryview(b"")
    first, last = np.frombuffer(memoryview(ends), np.int32)[[column.offset, column.offset + len(column)]]
    return memoryview(text)[first:last]


def float_column(values: npt.NDArray[np.float64]) -> Column:
    """A column of these floats."""
    buffer = pa.py_buffer(np.ascontiguousarray(values, np.float64).data)
    return pa.Array.from_buffers(pa.float64(), len(values), [None, buffer])


def small_decimals(column: Column) -> Integers | None:
    """Whole decimals of 128 bits without nulls as integers; None if one of them needs more than 64 bits."""
    _, buffer = column.buffers()
    assert buffer is not None
    low, high = np.frombuffer(memoryview(buffer), np.int64).reshape(-1, 2)[column.offset :][: len(column)].T
    return low if (high == low >> 63).all() else None


def decimal_column(values: Integers) -> Column:
    """A column of these integers as decimals of 128 bits."""
    buffer = pa.py_buffer(np.column_stack([values, values >> 63]).data)
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(values), [None, buffer])


def list_column(offsets: Integers, elements: Mapping[str, Column], kind: pa.DataType) -> Column:
    """A column of lists of type `kind`: list i has the elements `offsets[i]` up to `offsets[i + 1]`.

    The columns of `elements` are the fields of a list's element, in their order; a single column is the element itself.
    """
    assert isinstance(kind, pa.ListType)
    ends, element = pa.array(offsets, pa.int32()), kind.value_type
    if not isinstance(element, pa.StructType):
        (values,) = elements.values()
        return pa.ListArray.from_arrays(ends, values.cast(element)).cast(kind)
    fields = [element.field(i) for i in range(element.num_fields)]
    columns = [elements[field.name].cast(field.type) for field in fields]
    return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(columns, fields=fields)).cast(kind)


def flatten_lists(lists: Column, names: Sequence[str]) -> tuple[Integers, dict[str, Column]]:
    """The lists of a column end to end: the offset of each list, and the fields of their elements by name.

    List i takes elements `offsets[i]` up to `offsets[i + 1]`. A single name names the element itself. A column without
    null lists is not copied.
    """
    assert isinstance(lists, pa.ListArray)
    sizes = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    elements: Column = lists.flatten()
    fields = [elements] if len(names) == 1 else _fields(elements)
    return np.concatenate([[0], np.cumsum(sizes)]), dict(zip(names, fields, strict=True))


def lists_of_rows(flat: pa.Table, owner: str, rows: int) -> tuple[Integers, dict[str, Column]]:
    """What `list_column` needs for `rows` lists: element i belongs to the list of number `owner`, which ascends."""
    offsets = np.searchsorted(np.asarray(flat.column(owner), np.int64), np.arange(rows + 1))
    return offsets, {name: combined(flat.column(name)) for name in flat.schema.names if name != owner}


def concat_columns(parts: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """Columns of the same names, one after the other."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: pa.concat_arrays([part[name] for part in parts]) for name in parts[0]}


LONG = 64
"""About how many rows a stretch has to have on average so that it is not copied."""


def rows_in_order(table: pa.Table, positions: Rows) -> pa.Table:
    """The rows at these positions, in this order. If most follow each other, they are not copied.

    >>> rows_in_order(pa.table({"x": [5, 6, 7]}), np.array([2, 0])).column("x").to_pylist()
    [7, 5]
    """
    first = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    if len(first) * LONG > len(positions):
        chosen = np.zeros(len(table), dtype=bool)
        chosen[positions] = True
        some = table if chosen.all() else table.filter(pa.array(chosen))
        return some.combine_chunks().take(integer_column((np.cumsum(chosen) - 1)[positions]))
    sizes = np.diff(np.append(first, len(positions)))
    stretches = zip(positions[first].tolist(), sizes.tolist(), strict=True)
    return pa.concat_tables([table.slice(start, size) for start, size in stretches] or [table.slice(0, 0)])


def _fields(elements: Column) -> list[Column]:
    assert isinstance(elements, pa.StructArray)
    return elements.flatten()


def combined(column: ChunkedColumn) -> Column:
    """A column in one piece."""
    array: Column | ChunkedColumn = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunks, or of more bytes than one piece can have
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    return array
