"""Results as rows of the tables in PostgreSQL: a slice as JSON and as a key, bounds of the objective, no NUL.

`slice_key` is the canonical JSON of a slice. Limit: of a slice longer than KEY_BYTES it is the start and a hash, since
an index holds no longer text; and PostgreSQL cannot hold a NUL, so texts show ␀ instead, where the key has \\u0000.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.arrow import ChunkedColumn, Column
from sli.export.postgres.tables import RESULTS
from sli.publishing.rows import decode_texts, flat_rows
from sli.reading.figures import slice_name
from sli.rollup.results import encode
from sli.schemas import UTC
from sli.slices import parse_slice, slice_text
from sli.slis.formula import Objective

KEY_BYTES = 512
NUL, SHOWN_NUL = "\0", "␀"
Slices = dict[str, dict[str, str | None]]
"""The values of slices, by their keys."""


def with_slice_keys(stored: pa.Table, slices: Slices) -> pa.Table:
    """Flat rows of results or revisions, with times and a column `slice_key`; adds their slices to `slices` by key."""
    rows = flat_rows(stored)
    for name in {"window_start", "window_end", "as_of"} & set(rows.schema.names):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, rows.column(name).cast(pa.int64()).cast(UTC))
    column = encode(rows.column("slice"))
    texts = [slice_text(parse_slice(str(text))) for text in column.dictionary.to_pylist()]
    keys = {text: key_of(text) for text in texts}
    slices.update((key, parse_slice(text)) for text, key in keys.items())
    return rows.append_column("slice_key", pa.array([keys[text] for text in texts], pa.string()).take(column.indices))


def result_rows(stored: pa.Table, model: str, slices: Slices) -> pa.Table:
    """Rows of `results` as the table in PostgreSQL has them; adds their slices to `slices` by key."""
    rows = with_slice_keys(stored, slices)
    rows = rows.set_column(rows.schema.get_field_index("model"), "model", pa.repeat(pa.scalar(model), len(rows)))
    own = slice_columns(slices)
    for name in ("slice_by", "slice"):
        texts = mapped(rows.column("slice_key"), own[name])
        rows = rows.set_column(rows.schema.get_field_index(name), name, texts)
    low = mapped(rows.column("objective"), lambda text: bounds_of(text)[0], pa.float64())
    high = mapped(rows.column("objective"), lambda text: bounds_of(text)[1], pa.float64())
    rows = rows.append_column("objective_low", low).append_column("objective_high", high)
    return decode_texts(rows).select(list(RESULTS.columns))


def slice_columns(slices: Slices) -> dict[str, Callable[[str], str]]:
    """By name of a column what it has for the key of a slice, as COPY reads it."""
    return {
        "slice_by": lambda key: array_text([*slices[key]]),
        "slice": lambda key: json_text(slices[key]),
        "slice_name": lambda key: without_nul(slice_name(dict(slices[key]))),
    }


def key_of(text: str) -> str:
    """The key of a slice: its canonical JSON, or the start of a long one and its hash.

    >>> key_of('{"origin":"JFK"}'), len(key_of('{"url":"%s"}' % ("x" * 9000)))
    ('{"origin":"JFK"}', 465)
    """
    raw = text.encode()
    if len(raw) <= KEY_BYTES:
        return text
    return f"{raw[:400].decode(errors='ignore')}#{hashlib.sha256(raw).hexdigest()}"


def mapped(
    column: ChunkedColumn, value_of: Callable[[str], object], kind: pa.DataType | None = None
) -> ChunkedColumn | Column:
    """For each text of a column what it stands for; null for null. It is asked once for each distinct text."""
    texts = encode(column)
    values = [value_of(str(text)) for text in texts.dictionary.to_pylist()]
    return pa.array(values, kind or pa.string()).take(texts.indices)


def bounds_of(objective: str | None) -> tuple[float | None, float | None]:
    """The least and the greatest value as required, of an objective.

    >>> bounds_of(">= 0.4"), bounds_of("<= 7200"), bounds_of(None)
    ((0.4, None), (None, 7200.0), (None, None))
    """
    if objective is None:
        return None, None
    sign, bound = Objective(objective).parts
    return (bound, None) if sign.startswith(">") else (None, bound)


def json_text(value: object) -> str:
    """JSON without NULs."""
    return json.dumps(_clean(value), ensure_ascii=False)


def _clean(value: object) -> object:
    if isinstance(value, Mapping):
        return {without_nul(str(key)): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return without_nul(value) if isinstance(value, str) else value


def array_text(values: Sequence[str]) -> str:
    """Texts as an array that PostgreSQL reads.

    >>> array_text(["a", 'b"c', ""])
    '{"a","b\\\\"c",""}'
    """
    quoted = (without_nul(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def without_nul(text: str) -> str:
    return text.replace(NUL, SHOWN_NUL)


def csv_of(rows: pa.Table) -> bytes:
    """Rows as CSV: texts in quotes, so that nothing is null and quotes are an empty text; doubles to the bit."""
    from pyarrow import csv

    for at, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            rows = rows.set_column(at, field.name, pc.replace_substring(rows.column(at), NUL, SHOWN_NUL))
    buffer = io.BytesIO()
    csv.write_csv(rows, buffer, csv.WriteOptions(include_header=False))
    return buffer.getvalue()
