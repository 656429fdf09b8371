"""The fields of some rows: columns, fields of structs and maps, and fields of JSON texts, by their dotted names.

Limit: of a list only one of numbers is a field; what lies within other lists is not looked at.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.sql import quoted
from sli.logs.fields import path_of

NAME = re.compile(r"\w+")
"""A key of a struct or a JSON text that a dotted name can hold."""
PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
"""A name that SQL reads without quotes, keywords aside."""
KEYS = 60
"""The most keys that a map or a JSON text may have to be one with fields."""
DEPTH = 5
INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls the index of a frame that it stores."""
INTEGER_BITS = 63


@dataclass(frozen=True)
class Field:
    """One field of a log with its values in the sampled rows."""

    name: str
    """What the config calls it: a column, or a dotted name within one."""
    values: pa.Array[Any]
    hive: bool = False
    """Whether it is part of the paths (`origin=JFK/`), not of the files."""
    mixed: bool = False
    """Whether files of the log have it in types of several kinds, for example integers and texts."""
    total: int | None = None
    """How many values it has in all files, if known: for a field of the paths."""
    column: str = ""
    """The struct, map or JSON text that it lies in."""
    json: str = ""
    """The dotted name of the JSON text that it lies in: `column`, or a part of it."""
    expression: str = ""
    """SQL that the config must use instead of the name, for example a cast."""

    @property
    def setting(self) -> object:
        """What the config says for it."""
        return {"sql": self.expression} if self.expression else self.name

    @property
    def text(self) -> str:
        """What the config says for it where it takes only a text: as id and as time."""
        return f"({self.expression})" if self.expression else self.name

    @property
    def score(self) -> object:
        """What the config says for it as a score: what lies in a JSON text must become a number first."""
        kind = "DOUBLE[]" if self.is_list else "DOUBLE"
        return {"sql": f"TRY_CAST({self.sql} AS {kind})"} if self.json else self.setting

    @property
    def sql(self) -> str:
        """The field in an SQL condition, for example `"total fare"` or `(payload ->> '$.user.id')`."""
        column = self.column or self.name
        path = self.name[len(column) + 1 :].split(".") if self.column else []
        names = self.json[len(column) :].count(".") if self.json else len(path)
        parts = (column, *path[:names])
        sql = ".".join(part if PLAIN.fullmatch(part) and part not in _reserved() else quoted(part) for part in parts)
        return f"({sql} ->> '$.{'.'.join(path[names:])}')" if self.json else sql

    @property
    def leaf(self) -> str:
        """The last part of its name in lower case: `score` of `output.score`."""
        return self.name.rsplit(".", 1)[-1].lower()

    @functools.cached_property
    def kind(self) -> pa.DataType:
        kind: pa.DataType = self.values.type
        return kind

    @functools.cached_property
    def python(self) -> list[Any]:
        """Its values as Python objects."""
        return self.values.to_pylist()

    @property
    def is_text(self) -> bool:
        return bool(pa.types.is_string(self.kind) or pa.types.is_large_string(self.kind))

    @property
    def is_whole(self) -> bool:
        return bool(pa.types.is_integer(self.kind))

    @property
    def is_boolean(self) -> bool:
        return bool(pa.types.is_boolean(self.kind))

    @property
    def is_floating(self) -> bool:
        return bool(pa.types.is_floating(self.kind))

    @property
    def is_number(self) -> bool:
        return self.is_whole or self.is_floating or self.is_boolean or self.is_decimal

    @property
    def is_decimal(self) -> bool:
        return bool(pa.types.is_decimal(self.kind))

    @property
    def is_list(self) -> bool:
        return bool(pa.types.is_list(self.kind) or pa.types.is_large_list(self.kind))

    @functools.cached_property
    def known(self) -> pa.Array[Any]:
        """Its values without nulls and NaN."""
        values = self.values.drop_null()
        return values.filter(pc.invert(pc.is_nan(values))) if self.is_floating else values

    @functools.cached_property
    def counts(self) -> Mapping[Any, int]:
        """How often each value occurs, the most common first. Not for lists."""
        counts = Counter(self.known.to_pylist())
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0]))))

    @functools.cached_property
    def texts(self) -> list[str | None]:
        """Each row's value as the text by which ids of other types are the same: whole floats are written as whole."""
        if self.is_floating or self.is_decimal:
            return [str(int(value)) if value is not None and value % 1 == 0 else None for value in self.python]
        return [None if value is None else str(value) for value in self.python]

    @functools.cached_property
    def distinct(self) -> frozenset[str]:
        return frozenset(text for text in self.texts if text is not None)

    @property
    def is_share(self) -> bool:
        """Whether all its values lie between 0 and 1; true if it has none."""
        if not self.is_number:
            return False
        values = pc.cast(self.known, pa.float64(), safe=False)
        least, largest = pc.min(values).as_py(), pc.max(values).as_py()
        return least is None or (least >= 0 and largest <= 1)

    def only(self, rows: pa.Array[Any]) -> Field:
        """The same field in some of the rows, given as flags."""
        return replace(self, values=self.values.filter(rows))


@functools.cache
def _reserved() -> frozenset[str]:
    """Names that SQL reads as something else."""
    import duckdb

    with duckdb.connect() as con:
        rows = con.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'").fetchall()
    return frozenset(name for (name,) in rows)


def fields_of(rows: pa.Table) -> Iterator[Field]:
    """The fields of a table's columns. Texts of JSON and structs are not fields themselves, but what they hold is."""
    for name in rows.schema.names:
        if not INDEX.fullmatch(name):
            for field in _within(name, _plain(rows.column(name)), DEPTH):
                yield field if field.name == name else _in_column(field, name)


def _in_column(field: Field, column: str) -> Field:
    """A field of a struct, a map or a JSON text; by SQL where a path cannot name it, for example in `out put`."""
    field = replace(field, column=column)
    path = path_of(field.name)
    if path and path.column == column:
        return field
    kind = "BIGINT" if field.is_whole else "DOUBLE" if field.is_floating else ""
    return replace(field, expression=f"TRY_CAST({field.sql} AS {kind})" if field.json and kind else field.sql)


def _plain(values: Any) -> pa.Array[Any]:
    """Values of a column without chunks, dictionaries and views."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    plain: pa.Array[Any] = values.cast(pa.string()) if pa.types.is_string_view(values.type) else values
    return plain


def _within(name: str, values: pa.Array[Any], depth: int) -> Iterator[Field]:
    """A column or a part of a struct as a field, or the fields it has."""
    kind, types = values.type, pa.types
    if types.is_struct(kind):
        for at in range(kind.num_fields if depth else 0):
            inner = kind.field(at).name
            if NAME.fullmatch(inner):
                yield from _within(f"{name}.{inner}", _plain(pc.struct_field(values, [at])), depth - 1)
    elif types.is_map(kind):
        yield from _of_objects(name, [None if row is None else dict(row) for row in values.to_pylist()], depth)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        if types.is_floating(kind.value_type) or types.is_integer(kind.value_type):
            yield Field(name, values.cast(pa.list_(kind.value_type)))
    elif types.is_string(kind) or types.is_large_string(kind):
        yield from _of_texts(name, values, depth)
    elif not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind)):
        yield Field(name, values)


def _of_texts(name: str, values: pa.Array[Any], depth: int) -> Iterator[Field]:
    """The fields of JSON texts; other texts are a field."""
    objects = _objects(values)
    if objects is None:
        yield Field(name, values)
    else:
        yield from (replace(field, json=name) for field in _of_objects(name, objects, depth))


def _objects(texts: pa.Array[Any]) -> list[Any] | None:
    """What texts hold as JSON, if nearly all are objects or lists of it."""
    known = [text for text in texts.to_pylist() if text is not None]
    if not known or not all(text.lstrip().startswith(("{", "[")) for text in known[:20]):
        return None
    objects: list[Any] = []
    for text in texts.to_pylist():
        try:
            objects.append(None if text is None else json.loads(text))
        except ValueError:
            objects.append(None)
    read = sum(isinstance(value, dict | list) for value in objects)
    return objects if read > 0.9 * len(known) else None


def _of_objects(name: str, rows: Sequence[Any], depth: int) -> Iterator[Field]:
    """The fields of objects, one a row."""
    keys = dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row)
    if not depth or len(keys) > KEYS:
        return
    for key in keys:
        if isinstance(key, str) and NAME.fullmatch(key):
            inner = [row.get(key) if isinstance(row, dict) else None for row in rows]
            yield from _of_values(f"{name}.{key}", inner, depth - 1)


def _of_values(name: str, values: Sequence[Any], depth: int) -> Iterator[Field]:
    """The field of Python values if they are of one kind, or the fields of the objects they are."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if kinds == {dict}:
        yield from _of_objects(name, values, depth)
    elif kinds and (kinds <= {int, float} or kinds in ({bool}, {str})):
        large = any(abs(value) >> INTEGER_BITS for value in known if isinstance(value, int))
        yield Field(name, pa.array(values, pa.float64() if float in kinds or large else None))
    elif kinds == {list} and all(type(item) in (int, float) for value in known for item in value):
        yield Field(name, pa.array(values, pa.list_(pa.float64())))
