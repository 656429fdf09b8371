"""Cases of contents: nulls, numbers that are none, ids of any text, columns that are missing or twice, odd layouts."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from corpus.cases import Aside, Make, N, Read, case, case_of_ids, with_column, written


def _of(column: str, values: list[Any], kind: pa.DataType | None = None) -> Make:
    return written(with_column(column, pa.array(values, kind)))


def _same(good: pa.Table) -> pa.Table:
    return good


# Nulls, and numbers that are none

case("no ids", _of("id", [None] * N, pa.string()), Read(0, {"invalid: no id": N}))
case(
    "one id is null",
    written(lambda good: with_column("id", pa.array([None, *good["id"].to_pylist()[1:]]))(good)),
    Read(5, {"invalid: no id": 1}),
)
NO_NUMBER = "invalid: value is NaN or infinite"
SCORE = "invalid: value outside 0..1"
LABEL = "invalid: label is neither 0 nor 1"
for _name, _value in {
    "NaN": math.nan,
    "infinity": math.inf,
    "-infinity": -math.inf,
    "1e308": 1e308,
    "2": 2.0,
    "-0.5": -0.5,
    "just above 1": math.nextafter(1, 2),
}.items():
    _score, _label = (SCORE, LABEL) if math.isfinite(_value) else (NO_NUMBER, NO_NUMBER)
    case(f"values of {_name}", _of("value", [_value] * N), Read(0, {_score: N}), Read(0, {_label: N}))
    _one = _of("value", [_value, 0.0, 1.0, 0.0, 1.0, 0.0])
    case(f"one value of {_name}", _one, Read(5, {_score: 1}), Read(5, {_label: 1}))
case("values of null", _of("value", [None] * N, pa.float64()), Read(), Read(0))
case("values of the null type", _of("value", [None] * N), Read(), Read(0))
case("values of -0.0", _of("value", [-0.0] * N), Read())
case("values next to nothing", _of("value", [5e-324] * N), Read(), Read(0, {LABEL: N}))
case("values of 0.5", _of("value", [0.5] * N), Read(), Read(0, {LABEL: N}))
case(
    "every column null",
    written(lambda good: pa.table({name: pa.nulls(N, good.schema.field(name).type) for name in good.column_names})),
    Read(0, {"invalid: no time": N}),
)

# Columns

case("no id column", written(lambda good: good.drop_columns("id")), Aside("missing column", "no column 'id'", N))
case("no time column", written(lambda good: good.drop_columns("at")), Aside("missing column", "no column 'at'", N))
case(
    "no value column", written(lambda good: good.drop_columns("value")), Aside("missing column", "no column 'value'", N)
)
case("no column", written(lambda _: pa.table({})), Aside("missing column", "no column at all"))
case(
    "other columns", written(lambda good: good.rename_columns(["a", "b", "c"])), Aside("missing column", "no column", N)
)
case(
    "names in capitals",
    written(lambda good: good.rename_columns(["ID", "AT", "VALUE"])),
    Aside("missing column", "no column", N),
)
case(
    "names with spaces",
    written(lambda good: good.rename_columns(["id ", " at", "value"])),
    Aside("missing column", "no column", N),
)
for _name in ("id", "at", "value"):
    case(
        f"{_name} twice",
        written(lambda good, n=_name: good.append_column(n, good[n])),
        Aside("ambiguous column", f"'{_name}' is one of", N),
    )
    case(
        f"{_name} in two cases",
        written(lambda good, n=_name: good.append_column(n.upper(), good[n])),
        Aside("ambiguous column", f"'{_name}' is one of", N),
    )
for _name in ("file_row_number", "file_index"):
    case(
        f"a column {_name}",
        written(lambda good, n=_name: good.append_column(n, pa.array([1] * N))),
        Aside("ambiguous column", f"'{_name}' has a name", N),
    )
for _name in (
    "filename",
    "sli:zoned",
    "rowid",
    "",
    " ",
    'a"b',
    "it's",
    "a\nb",
    "😀",
    "x" * 3000,
    "t",
    "label",
    "select",
):
    case(
        f"one more column, {_name[:12]!r}",
        written(lambda good, n=_name: good.append_column(n, pa.array(["x"] * N))),
        Read(),
    )
case(
    "one more column, 'sli:file'",
    written(lambda good: good.append_column("sli:file", pa.array(["x"] * N))),
    Aside("unsupported", "a column with this name is also in the file", N),
)
case(
    "a thousand more columns",
    written(
        lambda good: pa.table(
            {**dict(zip(good.column_names, good.columns, strict=True)), **{f"c{i}": [i] * N for i in range(1000)}}
        )
    ),
    Read(),
)
case("columns in another order", written(lambda good: good.select(["value", "id", "at"])), Read())
case("a column of structs, ten deep", written(lambda good: with_column("deep", _deep(10))(good)), Read())
case(
    "all columns in a struct",
    written(lambda good: pa.table({"row": good.to_struct_array()})),
    Aside("missing column", "no column 'id'", N),
)


def _deep(levels: int) -> pa.Array:
    values: pa.Array = pa.array([1] * N)
    for _ in range(levels):
        values = pa.StructArray.from_arrays([values], ["a"])
    return values


# Rows

case("no rows", written(lambda good: good.slice(0, 0)), Read(0))
case("no rows and no columns", written(lambda _: pa.table({}).slice(0, 0)), Aside("missing column", "no column at all"))
case("no groups of rows", lambda path, good: pq.ParquetWriter(path, good.schema).close(), Read(0))
case("a group for each row", written(_same, row_group_size=1), Read())


def _empty_group_between(path: Any, good: pa.Table) -> None:
    with pq.ParquetWriter(path, good.schema) as writer:
        for part in (good.slice(0, 3), good.slice(0, 0), good.slice(3)):
            writer.write_table(part)


case("a group without rows between others", _empty_group_between, Read())

# Ids of any text

for _name, _ids in {
    "empty": ["", *"abcdf"],
    "with a NUL": [f"a\0{i}" for i in range(N)],
    "of emoji": [f"👩‍👩‍👧{i}" for i in range(N)],
    "that look the same": ["é", "e\u0301", "e", "E", "\u200be", "e\u200b"],
    "of spaces": [" " * i for i in range(1, N + 1)],
    "of quotes": [f"'; DROP TABLE pairs; --{i}" for i in range(N)],
    "of a million letters": ["x" * 1_000_000 + str(i) for i in range(N)],
    "from right to left": [f"\u202e{i}" for i in range(N)],
    "that look like numbers": ["1", "1.0", "01", "1e0", "+1", "0x1"],
    "of null in words": ["null", "NULL", "None", "nan", "NaT", "N/A"],
}.items():
    case_of_ids(f"ids {_name}", _of("id", _ids), Read())

# Layouts of writers

for _codec in ("snappy", "gzip", "brotli", "zstd", "lz4", "none"):
    case(f"compressed by {_codec}", written(_same, compression=_codec), Read())
for _version in ("1.0", "2.4", "2.6"):
    for _page in ("1.0", "2.0"):
        case(f"version {_version}, pages of {_page}", written(_same, version=_version, data_page_version=_page), Read())
case(
    "pages of version 2, checksums",
    written(_same, data_page_version="2.0", write_page_checksum=True, compression="zstd"),
    Read(),
)
case("without statistics", written(_same, write_statistics=False), Read())
case("statistics of the ids alone", written(_same, write_statistics=["id"]), Read())
case("with an index of pages", written(_same, write_page_index=True), Read())
case("pages of a byte", written(_same, data_page_size=1, write_batch_size=1), Read())
case("without a dictionary", written(_same, use_dictionary=False), Read())
case("a dictionary that overflows", written(_same, dictionary_pagesize_limit=1, write_batch_size=1), Read())
case("without Arrow's schema", written(_same, store_schema=False), Read())
for _column, _encoding in (
    ("id", "DELTA_BYTE_ARRAY"),
    ("id", "DELTA_LENGTH_BYTE_ARRAY"),
    ("at", "DELTA_BINARY_PACKED"),
    ("value", "BYTE_STREAM_SPLIT"),
    ("at", "BYTE_STREAM_SPLIT"),
):
    case(
        f"{_column} as {_encoding}", written(_same, use_dictionary=False, column_encoding={_column: _encoding}), Read()
    )
case(
    "columns that are never null",
    written(lambda good: good.cast(pa.schema([field.with_nullable(False) for field in good.schema]))),
    Read(),
)
case("a note of a megabyte", written(lambda good: good.replace_schema_metadata({"note": "x" * 1_000_000})), Read())
case("notes that are no text", written(lambda good: good.replace_schema_metadata({b"\xff": b"\xfe"})), Read())
case(
    "Arrow's schema is nonsense",
    written(lambda good: good.replace_schema_metadata({b"ARROW:schema": b"AAAA////"}), store_schema=False),
    Read(),
)
case(
    "Arrow's schema is no base64",
    written(lambda good: good.replace_schema_metadata({b"ARROW:schema": b"\xff?"}), store_schema=False),
    Read(),
)
case("pandas' notes are no JSON", written(lambda good: good.replace_schema_metadata({b"pandas": b"{"})), Read())


def _by_duckdb(path: Any, good: pa.Table) -> None:
    import duckdb

    with duckdb.connect() as con:
        con.register("good", good)
        con.execute(f"COPY good TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")


def _by_polars(path: Any, good: pa.Table) -> None:
    import polars

    frame = polars.from_arrow(good)
    assert isinstance(frame, polars.DataFrame)
    frame.write_parquet(path)


case("by DuckDB", _by_duckdb, Read())
case("by Polars", _by_polars, Read())
