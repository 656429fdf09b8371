"""The forms of result rows: flat (as they are computed and compared), stored (as the tables hold them), and pandas.

A flat row has integers for instants and text for `slice_by` and `slice`; a stored row has timestamps, a list and a map.
Limit: this module does not know which rows changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.engine.arrow import ChunkedColumn, Column
from sli.engine.connection import scratch
from sli.publishing.parquet_files import in_order_of_partitions
from sli.rollup.results import ROLLED, encode
from sli.slices import parse_slice

if TYPE_CHECKING:
    import pandas as pd

KEY = ("sli", "definition", "grain", "window_start", "window_end", "slice_by", "slice")
"""The columns that identify a row of `results`."""
COMPARED = tuple(name for name in ROLLED if name not in (*KEY, "day"))
"""The columns that are compared: a row whose value differs in one of them has changed."""
BATCH_ROWS = 1 << 16
"""How many rows are converted to the stored form at a time."""


def flat_rows(stored: pa.Table) -> pa.Table:
    """Stored rows in the flat form."""
    with scratch() as con:
        con.register("stored", stored)
        flat: pa.Table = con.sql(
            "SELECT * REPLACE (epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end, "
            "epoch_us(as_of) AS as_of, "
            "array_to_string(slice_by, ',') AS slice_by, to_json(slice)::VARCHAR AS slice) FROM stored"
        ).to_arrow_table()
    return flat


def stored_rows(flat: pa.Table) -> pa.Table:
    """Flat rows in the stored form."""
    return decode_texts(_nested(flat))


def _nested(rows: pa.Table) -> pa.Table:
    """Flat rows in the stored form, but for dictionaries of texts."""
    for name in {"window_start", "window_end", "as_of"} & set(rows.schema.names):
        rows = rows.set_column(
            rows.schema.get_field_index(name), name, rows.column(name).cast(pa.int64()).cast(schemas.UTC)
        )
    for name, kind, read in (
        ("slice_by", pa.list_(pa.string()), lambda text: text.split(",") if text else []),
        ("slice", schemas.SLICE, lambda text: list(parse_slice(text).items())),
    ):
        column = encode(rows.column(name))
        assert isinstance(column, pa.DictionaryArray)
        distinct = pa.array([read(text) for text in column.dictionary.to_pylist()], kind)
        rows = rows.set_column(rows.schema.get_field_index(name), name, distinct.take(column.indices))
    return rows


def stored_batches(
    flat: pa.Table, constants: Mapping[str, str | int | None], partition_by: Sequence[str]
) -> Iterator[pa.Table]:
    """Flat rows in the stored form, at most BATCH_ROWS at a time, in the order of the partitions that they go to.

    Texts that are dictionaries stay so, since they are written several times as fast. `constants` are further columns
    of one value each.
    """
    sorted_rows = in_order_of_partitions(flat, partition_by)
    for batch in (batch for rows in sorted_rows for batch in rows.to_batches(max_chunksize=BATCH_ROWS)):
        rows = _nested(pa.Table.from_batches([batch]))
        for name, value in constants.items():
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, schemas.REVISIONS.field(name).type), len(rows)))
        yield rows


def to_pandas(stored: pa.Table) -> pd.DataFrame:
    """Stored rows as pandas: `slice_by` as tuples, `slice` as dicts, without the column `day`."""
    names = [name for name in stored.schema.names if name != "day"]
    kinds: dict[str, Callable[..., object]] = {"slice_by": tuple, "slice": dict}
    nested = {names.index(name): kind for name, kind in kinds.items() if name in names}
    flat = stored.select(names)
    for at in nested:
        flat = flat.set_column(at, names[at], pa.nulls(len(stored)))
    # Without threads, because few columns are copied and starting threads would take longer.
    frame: pd.DataFrame = flat.to_pandas(use_threads=False)
    for at, kind in nested.items():
        frame.isetitem(at, np.fromiter(map(kind, stored.column(names[at]).to_pylist()), object, len(stored)))
    return frame


def encode_texts(rows: pa.Table) -> pa.Table:
    """Dictionary-encode all text columns: most texts occur many times."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            rows = rows.set_column(i, field.name, encode(rows.column(i)))
    return rows


def decode_texts(rows: pa.Table) -> pa.Table:
    """Turn dictionary-encoded columns into plain texts."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(i, field.name, rows.column(i).cast(pa.string()))
    return rows


def constant_column(value: str | int, rows: int) -> ChunkedColumn:
    """A column of one value: a text (dictionary-encoded) or an integer.

    Memory holds the value once per BATCH_ROWS rows.
    """
    n = min(rows, BATCH_ROWS)
    piece: Column
    if isinstance(value, str):
        piece = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(n, np.int32), pa.int32()), pa.array([value], pa.string())
        )
    else:
        piece = pa.array(np.full(n, value), pa.int64())
    whole, rest = divmod(rows, BATCH_ROWS)
    return pa.chunked_array([piece] * whole + [piece.slice(0, rest)])


def text_counts(column: ChunkedColumn) -> Counter[str]:
    """How often each text of a column occurs, without nulls."""
    counts: Counter[str] = Counter()
    # Chunk by chunk: Arrow counts positions in the dictionary, and each chunk may have a different dictionary.
    for chunk in column.chunks:
        texts, numbers = pc.value_counts(chunk).flatten()
        for text, number in zip(texts.to_pylist(), numbers.to_pylist(), strict=True):
            if text is not None and number is not None:
                counts[text] += number
    return counts
