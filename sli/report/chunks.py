"""Columns of numbers and texts in the compact form that the page unpacks: JSON, gzipped, as base64.

A chunk holds one slice at one grain: its windows once, and for each SLI a column of values beside them. Limit: numbers
are rounded to `DIGITS` significant digits, the ends of an interval to a hundredth of its width.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.arrow import ChunkedColumn, Column

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
DIGITS = 4
"""As many as `reading.figures` prints."""
LEVEL = 6
"""How hard gzip tries: more takes twice as long and saves one hundredth."""


def table_of(columns: Mapping[str, Column | ChunkedColumn | npt.NDArray[Any]]) -> pa.Table:
    """A table of columns and arrays."""
    arrays = [pa.array(column) if isinstance(column, np.ndarray) else column for column in columns.values()]
    return pa.Table.from_arrays(arrays, names=[*columns])


def packed(json_text: str) -> str:
    """A JSON document as base64 of its gzipped bytes, the same each time."""
    return base64.b64encode(gzip.compress(json_text.encode(), LEVEL, mtime=0)).decode()


def unpacked(text: str) -> Any:
    """The document of `packed`."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def significant(values: Floats, digits: int | Integers = DIGITS) -> Floats:
    """Numbers rounded to this many significant digits, but not beyond the point; what is not finite becomes NaN.

    >>> significant(np.array([0.434123, 21_792.4, np.inf])).tolist()
    [0.4341, 21792.0, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _to_steps(values, np.minimum(np.floor(np.log10(np.abs(values))) - (digits - 1), 0))


def of_width(values: Floats, low: Floats, high: Floats) -> Floats:
    """Numbers rounded to a power of ten that is at most a hundredth of the width from `low` to `high`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _to_steps(values, np.floor(np.log10(high - low)) - 2)


def _to_steps(values: Floats, exponents: Floats) -> Floats:
    """Numbers rounded to these powers of ten; integers, and where the power is not finite, unchanged."""
    with np.errstate(invalid="ignore", over="ignore"):
        # Dividing by an exact power of ten gives the double nearest to the decimal number; multiplying would not.
        down, up = 10.0 ** np.clip(exponents, 0, 300), 10.0 ** np.clip(-exponents, 0, 300)
        rounded = np.round(values / down * up) / up * down
    kept = np.where(np.isfinite(rounded) & np.isfinite(exponents) & (values != np.round(values)), rounded, values)
    return np.where(np.isfinite(kept), kept, np.nan)


def numbers(values: Floats) -> list[str]:
    """Each number as JSON; NaN is null."""
    return cast("list[str]", _number_texts(values).to_pylist())


def number_lists(rows: Floats) -> list[str]:
    """Each row of a matrix as a JSON list, NaN as null; a row of nothing but NaN is an empty list."""
    edges = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32())
    lists: Column = pa.ListArray.from_arrays(edges, _number_texts(rows.ravel()))
    joined = cast("pa.StringArray", pc.binary_join(lists, ",")).to_pylist()
    nothing = cast("list[bool]", np.isnan(rows).all(axis=1).tolist())
    return ["[]" if empty else f"[{text}]" for text, empty in zip(joined, nothing, strict=True)]


def _number_texts(values: Floats) -> pa.StringArray:
    texts = pa.array(values, from_pandas=True).cast(pa.string()).fill_null("null")
    return cast("pa.StringArray", texts)


def is_text(column: ChunkedColumn, text: str) -> npt.NDArray[np.bool_]:
    """Which elements of a column are this text; null is not."""
    same = pc.equal(column, pa.scalar(text, column.type)).cast(pa.int8()).to_numpy()
    return np.asarray(same == 1, np.bool_)


def integers(values: Integers) -> str:
    """A JSON list of integers."""
    return f"[{','.join(map(str, values.tolist()))}]"


def differences(values: Integers) -> str:
    """A JSON list of the first number, and by how much each further one is larger than the one before."""
    return integers(np.diff(values, prepend=0))


def letters(codes: npt.NDArray[np.int8], alphabet: str) -> str:
    """One letter for each code; a code below 0 is `-`."""
    table = np.frombuffer(f"{alphabet}-".encode(), np.uint8)
    return str(table[codes].tobytes(), "ascii")


def object_text(members: Mapping[str, str]) -> str:
    """A JSON object of members that are JSON already."""
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"
