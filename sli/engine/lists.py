"""Lists in Arrow: the elements of many lists, flat and in order, put together to one column.

DuckDB sorts flat rows several times faster than it builds ordered lists of structs. Limit: fewer than 2^31 elements.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]


def list_column(flat: pa.Table, owner: Integers, rows: int, kind: pa.DataType) -> pa.Array:
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


def flattened(column: pa.ChunkedArray, rows: Integers, names: Sequence[str]) -> tuple[Integers, dict[str, pa.Array]]:
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
