"""Cases of types: ids, times and values in every type and unit of Arrow and Parquet."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from corpus.cases import Aside, N, Read, case, with_column, written


def _cast(column: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(good: pa.Table) -> pa.Table:
        return with_column(column, lambda rows: rows[column].cast(kind))(good)

    return change


def _of(column: str, values: list[Any], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    return with_column(column, pa.array(values, kind))


# Ids: text in any form, all of them equal; other types beside files of text are of another kind, or no ids

for _kind in (
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
):
    case(f"ids: {_kind}", written(_cast("id", _kind)), Read())
for _kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
    case(
        f"ids: {_kind}",
        written(_of("id", list(range(N)), _kind)),
        Aside("wrong id type", f"ids ('id') are {_kind}, but string in", N),
    )
UNFIT: dict[str, pa.Array] = {
    "binary": pa.array([b"a"] * N),
    "large_binary": pa.array([b"a"] * N, pa.large_binary()),
    "fixed_size_binary": pa.array([b"ab"] * N, pa.binary(2)),
    "extension<arrow.uuid>": pa.array([uuid.UUID(int=i).bytes for i in range(N)], pa.uuid()),
    "halffloat": pa.array([np.float16(i) for i in range(N)], pa.float16()),
    "float": pa.array([1.0] * N, pa.float32()),
    "double": pa.array([1.0] * N),
    "decimal128": pa.array([Decimal(1)] * N, pa.decimal128(20)),
    "decimal256": pa.array([Decimal(1)] * N, pa.decimal256(50)),
    "bool": pa.array([True] * N),
    "date32": pa.array([date(2024, 1, 1)] * N),
    "timestamp": pa.array([datetime(2024, 1, 1)] * N),
    "time64": pa.array([time(10)] * N),
    "duration": pa.array([timedelta(1)] * N),
    "null": pa.nulls(N),
    "list": pa.array([["a"]] * N),
    "struct": pa.array([{"a": "a"}] * N),
    "map": pa.array([[("a", "a")]] * N, pa.map_(pa.string(), pa.string())),
    "fixed_size_list": pa.array([["a", "b"]] * N, pa.list_(pa.string(), 2)),
}
for _name, _values in UNFIT.items():
    case(f"ids: {_name}", written(with_column("id", _values)), Aside("wrong type", f"column 'id' is {_name}", N))

# Times: every unit, with and without a zone; numbers are no times without a unit

for _unit in ("s", "ms", "us", "ns"):
    for _zone in ("UTC", "Asia/Kolkata", "+05:45", "America/New_York"):
        case(
            f"times: {_unit}, {_zone}",
            written(_cast("at", pa.timestamp(_unit, _zone)))
            if _unit != "s"
            else written(
                lambda good, z=_zone: with_column(
                    "at", good["at"].cast(pa.timestamp("ms")).cast(pa.timestamp("s", z), safe=False).combine_chunks()
                )(good)
            ),
            Read(),
        )
    case(
        f"times: {_unit}, no zone",
        written(
            lambda good, u=_unit: with_column("at", good["at"].cast(pa.timestamp(u), safe=False).combine_chunks())(good)
        ),
        Read(),
    )
case(
    "times: INT96",
    written(
        lambda good: with_column("at", good["at"].cast(pa.timestamp("ns")).combine_chunks())(good),
        use_deprecated_int96_timestamps=True,
    ),
    Read(),
)
ISO = [f"2024-01-15T1{{}}:00:00.00{i}Z" for i in range(N)]


def _texts(kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(good: pa.Table) -> pa.Table:
        texts = [moment.isoformat() for moment in good["at"].to_pylist()]
        return with_column("at", pa.array(texts).cast(kind))(good)

    return change


for _kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
    case(f"times: {_kind}", written(_texts(_kind)), Read())
for _name, _values in UNFIT.items():
    if _name not in ("date32", "timestamp"):
        case(f"times: {_name}", written(with_column("at", _values)), Aside("wrong type", f"column 'at' is {_name}", N))
for _kind in (pa.int32(), pa.int64(), pa.uint32(), pa.uint64(), pa.float64()):
    case(
        f"times: {_kind}, no unit",
        written(_of("at", [1_705_314_600] * N, _kind)),
        Aside("wrong type", f"column 'at' is {_kind}", N),
    )
case(
    "times: time32", written(_of("at", [time(10)] * N, pa.time32("s"))), Aside("wrong type", "column 'at' is time32", N)
)
OUT = {
    "the year 1": datetime(1, 1, 1, tzinfo=UTC),
    "the year 1600": datetime(1600, 1, 1, tzinfo=UTC),
    "the year 9999": datetime(9999, 12, 31, tzinfo=UTC),
}
for _name, _when in OUT.items():
    case(
        f"times: {_name}",
        written(_of("at", [_when] * N, pa.timestamp("us", "UTC"))),
        Aside("wrong time", "before the year 1678 or after 2261", N),
    )
case(
    "times: far",
    written(
        _of("at", [2**62] * N, pa.int64()),
    ),
    Aside("wrong type", "column 'at' is int64", N),
)
for _number in (2**63 - 1, -(2**63), 2**62):
    case(
        f"times: {_number} us",
        written(lambda _, n=_number: with_column("at", pa.array([n] * N).cast(pa.timestamp("us", "UTC")))(_)),
        Aside("wrong time", "", N),
    )
    case(
        f"times: {_number} ms",
        written(lambda _, n=_number: with_column("at", pa.array([n] * N).cast(pa.timestamp("ms", "UTC")))(_)),
        Aside("wrong time", "", N),
    )
for _text in ("yesterday", "15/01/2024", "2024-13-45", "", "\x00", "1705314600", "2024-01-15T25:00:00Z", "x" * 5000):
    case(
        f"times: the text {_text[:20]!r}",
        written(_of("at", [_text] * N)),
        Aside("wrong time", "no value of 'at' is a time", N),
    )
case("times: nulls", written(_of("at", [None] * N, pa.timestamp("us", "UTC"))), Read(0, {"invalid: no time": N}))

# Values: numbers of any kind

NUMBERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
for _kind in (
    *NUMBERS,
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(10, 2),
    pa.decimal256(50, 2),
    pa.bool_(),
):
    case(
        f"values: {_kind}",
        written(
            _of("value", [0, 1] * 3, pa.int64())
            if False
            else lambda _, k=_kind: with_column(
                "value",
                pa.array(
                    [
                        Decimal(i % 2)
                        if pa.types.is_decimal(k)
                        else bool(i % 2)
                        if pa.types.is_boolean(k)
                        else np.float16(i % 2)
                        if k == pa.float16()
                        else i % 2
                        for i in range(N)
                    ],
                    k,
                ),
            )(_)
        ),
        Read(),
    )
for _name in (
    "binary",
    "large_binary",
    "extension<arrow.uuid>",
    "date32",
    "timestamp",
    "time64",
    "duration",
    "list",
    "struct",
    "map",
):
    case(
        f"values: {_name}",
        written(with_column("value", UNFIT[_name])),
        Aside("wrong type", f"column 'value' is {_name}", N),
    )
case("values: text", written(_of("value", ["0.5"] * N)), Aside("wrong type", "column 'value' is string", N))
case(
    "values: a dictionary of texts",
    written(_of("value", ["0.5"] * N, pa.dictionary(pa.int32(), pa.string()))),
    Aside("wrong type", "column 'value' is", N),
)
case(
    "values: a dictionary of numbers",
    written(with_column("value", pa.array([0.0, 1.0] * 3).dictionary_encode())),
    Read(),
)
