"""Fields: where a value of a row is. A field is a text of the config, and means, in this order:

- the column of that name, also a column of the folders (`hour=12/`);
- a path to a part of a nested column: `output.score`, `output.scores[1]` (places count from 1, as in SQL),
  `tags['eu']`; a text column on the way is read as JSON: `payload.user.country`;
- an SQL expression over the columns, for example `score / 100`.

What a field is depends on the columns of each file. So it is settled when a footer is read, and noted in the type of
the field: `double` is a column, `path:double` a part of one, `json 1:string` a part of the JSON after one step,
`sql:double` an expression. Limit: the fields of JSON are texts.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from sli.engine.expression import CHECK_SECONDS, locked_database, named_columns, run_within
from sli.engine.sql import literal, quoted
from sli.errors import ConfigError, nearest

HIVE = "hive"
"""The type of a column of the folders; its values are texts."""
INTEGERS, FLOATS = ("int", "uint"), ("float", "double", "halffloat")
"""How the names of these types begin."""
STEP = re.compile(r"\.(?P<name>[^\W\d][\w-]*)|\[(?P<place>\d+)\]|\['(?P<key>[^']+)'\]|\[\"(?P<quoted>[^\"]+)\"\]")
ROOT = re.compile(r"[^\W\d][\w-]*")
FORM = re.compile(r"(path|json \d+|sql):(.*)", re.DOTALL)
ARROW_TYPES = {
    "VARCHAR": "string",
    "JSON": "string",
    "BOOLEAN": "bool",
    "DOUBLE": "double",
    "FLOAT": "float",
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "UBIGINT": "uint64",
    "HUGEINT": "decimal128(38, 0)",
    "DATE": "date32[day]",
    "TIMESTAMP": "timestamp[us]",
    "TIMESTAMP_S": "timestamp[s]",
    "TIMESTAMP_MS": "timestamp[ms]",
    "TIMESTAMP_NS": "timestamp[ns]",
    "TIMESTAMP WITH TIME ZONE": "timestamp[us, tz=UTC]",
    '"NULL"': "null",
}
"""DuckDB's types of expressions as Arrow names them."""


class Unresolved(Exception):
    """A file lacks a field of the config. `check`: the name of the problem as in the audit."""

    def __init__(self, check: str, explanation: str) -> None:
        super().__init__(explanation)
        self.check, self.explanation = check, explanation


class Path(NamedTuple):
    """A column, and the steps from it to one of its parts: names of fields or keys, and places from 1."""

    column: str
    steps: tuple[str | int, ...]


@functools.lru_cache(maxsize=1024)
def path_of(field: str) -> Path | None:
    """The path that a field is, if it can be one; a name alone is a path without steps."""
    root = ROOT.match(field)
    if not root:
        return None
    steps: list[str | int] = []
    at = root.end()
    while at < len(field):
        step = STEP.match(field, at)
        if not step:
            return None
        steps.append(int(step["place"]) if step["place"] else step["name"] or step["key"] or step["quoted"])
        at = step.end()
    return Path(root[0], tuple(steps))


@functools.lru_cache(maxsize=1024)
def columns_of(field: str) -> frozenset[str]:
    """The columns that a field may need, whichever of its meanings it has."""
    if path := path_of(field):
        return frozenset((field, path.column))
    try:
        return named_columns(field) | {field}
    except ConfigError:  # not SQL, so it can only be the name of a column
        return frozenset((field,))


def form_and_type(stored: str) -> tuple[str, str]:
    """The form of a field (empty for a column, else `path`, `json N` or `sql`) and its type, by its stored type."""
    match = FORM.fullmatch(stored)
    return (match[1], match[2]) if match else ("", stored)


def type_of(stored: str) -> str:
    """The type of a field's values, by its stored type.

    >>> type_of("path:double"), type_of("hive"), type_of("timestamp[us, tz=UTC]")
    ('double', 'hive', 'timestamp[us, tz=UTC]')
    """
    return form_and_type(stored)[1]


def is_text(kind: str) -> bool:
    """Whether values of this type are texts.

    >>> is_text("large_string"), is_text("hive"), is_text("dictionary<values=int64, indices=int32, ordered=0>")
    (True, True, False)
    """
    texts = ("string", "large_string", "dictionary<values=string", "dictionary<values=large_string")
    return kind == HIVE or kind.startswith(texts)


def resolved(field: str, schema: pa.Schema, hive: Collection[str]) -> dict[str, str]:
    """The stored types of a field and of the columns it needs, in a file. Raises Unresolved."""
    if field in schema.names:
        return {field: str(schema.field(field).type)}
    if field in hive:
        return {field: HIVE}
    path = path_of(field)
    if path and path.steps and path.column in schema.names:
        return {field: _type_of_path(path, schema), path.column: str(schema.field(path.column).type)}
    if path and not path.steps:
        raise _missing(field, schema, hive)
    return _types_of_sql(field, schema, hive)


def _missing(name: str, schema: pa.Schema, hive: Collection[str]) -> Unresolved:
    there = f"only {', '.join(schema.names)}" if schema.names else "no column at all"
    near = nearest(name, [*schema.names, *hive])
    return Unresolved("missing column", f"no column '{name}', {there}; {near}".rstrip("; "))


def _type_of_path(path: Path, schema: pa.Schema) -> str:
    kind = schema.field(path.column).type
    walked = path.column
    for place, step in enumerate(path.steps):
        if step == 0:
            raise Unresolved("wrong type", f"'{walked}[0]' does not exist: places count from 1, as in SQL")
        if is_text(str(kind)):
            return f"json {place}:string"
        if pa.types.is_struct(kind) and isinstance(step, str):
            names = [kind.field(i).name for i in range(kind.num_fields)]
            if sum(name.lower() == step.lower() for name in names) > 1:
                raise Unresolved("ambiguous column", f"'{walked}' has several fields '{step}': SQL sees no difference")
            if step not in names:
                near = nearest(step, names)
                explanation = f"no field '{step}' in '{walked}', only {', '.join(names)}; {near}".rstrip("; ")
                raise Unresolved("missing column", explanation)
            kind = kind.field(step).type
        elif pa.types.is_map(kind):
            kind = kind.item_type
        elif _is_list(kind) and isinstance(step, int):
            kind = kind.value_type
        else:
            raise Unresolved("wrong type", f"'{walked}' is {kind}, which has no {step!r}")
        walked += f"[{step}]" if isinstance(step, int) else f".{step}"
    return f"path:{kind}"


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _types_of_sql(field: str, schema: pa.Schema, hive: Collection[str]) -> dict[str, str]:
    """The type of an SQL expression, found on an empty table with the columns that it names."""
    try:
        names = named_columns(field)
    except ConfigError as error:
        if field.startswith("("):
            raise
        raise _missing(field, schema, hive) from error
    columns: dict[str, pa.Field[pa.DataType]] = {}
    for name in names:
        actual = next((other for other in (*schema.names, *hive) if other.lower() == name.lower()), None)
        if actual is None:
            raise _missing(field if "(" not in field and " " not in field else name, schema, hive)
        columns[actual] = schema.field(actual) if actual in schema.names else pa.field(actual, pa.string())
    kind = sql_type(field, tuple(columns.values()))
    return {field: f"sql:{kind}", **{name: HIVE if name in hive else str(columns[name].type) for name in columns}}


@functools.lru_cache(maxsize=1024)
def sql_type(text: str, columns: tuple[pa.Field[pa.DataType], ...]) -> str:
    """The Arrow type of an SQL expression over columns of these types. Raises Unresolved if it does not fit them."""
    import duckdb

    con = locked_database().cursor()
    empty = pa.schema(list(columns) or [pa.field("nothing", pa.null())]).empty_table()

    def described() -> str:
        con.register("log", empty)
        # DESCRIBE binds the query without running it, so no constant expression in it is computed.
        return str(con.execute(f"DESCRIBE SELECT TRY({text}) FROM log").fetchall()[0][1])

    try:
        kind = run_within(con, CHECK_SECONDS, described)
    except (duckdb.Error, TimeoutError) as error:
        reason = (str(error).splitlines() or ["checking it takes too long"])[0].removeprefix("Binder Error: ")
        raise Unresolved("wrong type", f"`{text}` cannot be computed: {reason[:300]}") from error
    finally:
        con.close()
    if kind.startswith("DECIMAL"):
        return kind.replace("DECIMAL(", "decimal128(").replace(",", ", ")
    return ARROW_TYPES.get(kind, kind.lower())


def field_sql(field: str, types: Mapping[str, str]) -> str:
    """SQL of a field, by the stored types of a file."""
    form, _ = form_and_type(types[field])
    if not form:
        return quoted(field)
    if form == "sql":
        named_columns(field)  # the store may have been written by anybody, but what runs is checked here
        return f"TRY({field})"
    path = path_of(field)
    assert path is not None
    text = json_text_sql(field, types)
    if text is None:
        return _part_sql(path.column, path.steps)
    steps = (
        f"[{step - 1}]" if isinstance(step, int) else f".{json.dumps(step, ensure_ascii=False)}"
        for step in path.steps[_nested(form) :]
    )
    # A text that is not JSON is an error of DuckDB; here it has no fields.
    return f"TRY(json_extract_string({text}, {literal('$' + ''.join(steps))}))"


def json_text_sql(field: str, types: Mapping[str, str]) -> str | None:
    """SQL of the text in which a field is looked up as JSON; None if it is none."""
    form, _ = form_and_type(types[field])
    path = path_of(field)
    if not form.startswith("json") or path is None:
        return None
    return _part_sql(path.column, path.steps[: _nested(form)])


def _nested(form: str) -> int:
    """How many steps of a path lead to the text that is read as JSON."""
    return int(form.removeprefix("json "))


def _part_sql(column: str, steps: Sequence[str | int]) -> str:
    return quoted(column) + "".join(f"[{step if isinstance(step, int) else literal(step)}]" for step in steps)
