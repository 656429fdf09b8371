"""What a field of the config means in a file: a column, a part of one, JSON or SQL, in this order."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from sli.logs.fields import Unresolved, columns_of, field_sql, path_of, resolved

SCHEMA = pa.schema(
    [
        ("output", pa.struct([("scores", pa.list_(pa.float64())), ("meta", pa.string()), ("odd name", pa.int32())])),
        ("output.flat", pa.int64()),
        ("tags", pa.map_(pa.string(), pa.int64())),
        ("payload", pa.string()),
        ("p-cat", pa.float64()),
        ("score", pa.float64()),
    ]
)
ROW = {
    "output": {"scores": [0.25, 0.75], "meta": '{"a": {"b": [7, 8]}}', "odd name": 5},
    "output.flat": 3,
    "tags": [("eu", 1)],
    "payload": '{"user": {"country": "de", "x.y": 2}, "scores": [0.1, 0.2]}',
    "p-cat": 0.5,
    "score": 0.5,
}


@pytest.mark.parametrize(
    ("field", "stored", "value"),
    [
        ("score", "double", 0.5),
        ("p-cat", "double", 0.5),
        ("output.flat", "int64", 3),
        ("output.scores[2]", "path:double", 0.75),
        ("output['odd name']", "path:int32", 5),
        ("output.meta.a.b[2]", "json 1:string", "8"),
        ("tags.eu", "path:int64", 1),
        ("tags['us']", "path:int64", None),
        ("payload.user.country", "json 0:string", "de"),
        ('payload.user["x.y"]', "json 0:string", "2"),
        ("payload.scores[1]", "json 0:string", "0.1"),
        ("payload.nothing", "json 0:string", None),
        ("(score * 2)", "sql:double", 1.0),
        ("score * 2", "sql:double", 1.0),
        ("upper(payload ->> 'user')", "sql:string", '{"COUNTRY":"DE","X.Y":2}'),
        ("payload::DOUBLE", "sql:double", None),
        ("hour", "hive", "12"),
        ("hour::INTEGER + 1", "sql:int32", 13),
    ],
)
def test_a_field_is_resolved_and_read(field: str, stored: str, value: object) -> None:
    types = resolved(field, SCHEMA, {"hour": "12"})
    assert types[field] == stored
    assert columns_of(field) >= {name for name in types if name in SCHEMA.names}
    rows = pa.Table.from_pylist([ROW], SCHEMA).append_column("hour", pa.array(["12"]))
    with duckdb.connect() as con:
        con.register("rows", rows)
        [(found,)] = con.execute(f"SELECT {field_sql(field, types)} FROM rows").fetchall()
    assert found == value


@pytest.mark.parametrize(
    ("field", "check", "part"),
    [
        ("scor", "missing column", "did you mean 'score'?"),
        ("p-dog", "missing column", "no column 'p-dog'"),
        ("my column", "missing column", "no column 'my column'"),
        ("output.score", "missing column", "no field 'score' in 'output', only scores, meta, odd name"),
        ("output.scores[0]", "wrong type", "places count from 1"),
        ("output.scores.first", "wrong type", "'output.scores' is list<"),
        ("score[1]", "wrong type", "'score' is double, which has no 1"),
        ("(scores + 1)", "missing column", "no column 'scores'"),
        ("(score + tags)", "wrong type", "`(score + tags)` cannot be computed"),
    ],
)
def test_a_field_that_a_file_lacks_is_named_with_what_is_there(field: str, check: str, part: str) -> None:
    with pytest.raises(Unresolved) as raised:
        resolved(field, SCHEMA, {})
    assert raised.value.check == check
    assert part in raised.value.explanation


def test_names_are_paths_and_other_texts_are_not() -> None:
    assert path_of("a") == ("a", ())
    assert path_of("a.b[3]['k'].c") == ("a", ("b", 3, "k", "c"))
    assert [path_of(text) for text in ("a + b", "1a", "a.b(", "a..b", "(a)")] == [None] * 5
