"""`where`: which rows of a log exist, and which folders and groups of rows cannot have any of them.

The condition is SQL; DuckDB decides it for each row. Its simple parts, comparisons of a column with texts and whole
numbers that are joined by AND, also exclude folders by their names and groups of rows by the statistics of the
footer, so that these are not read. Limit: other parts exclude nothing beforehand.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from sli.engine.expression import expression_tree, named_columns
from sli.engine.sql import literal, quoted
from sli.logs.fields import FLOATS, INTEGERS, Unresolved, is_text, sql_type, type_of

OPERATORS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
Constant = str | int


class Comparison(NamedTuple):
    """A part of a condition: the column compares like this with at least one of the values."""

    column: str
    operator: str
    values: tuple[Constant, ...]

    def sql(self) -> str:
        texts = [literal(value) if isinstance(value, str) else repr(value) for value in self.values]
        if self.operator == "=" and len(texts) > 1:
            return f"{quoted(self.column)} IN ({', '.join(texts)})"
        return f"{quoted(self.column)} {self.operator} {texts[0]}"

    def excludes(self, low: object, high: object) -> bool:
        """Whether no value from `low` to `high` compares like this; False where they cannot be compared."""
        texts = isinstance(low, str)
        if texts != isinstance(self.values[0], str) or not isinstance(low, str | int):
            return False  # statistics of floats leave out NaN, which is the largest number in SQL
        return not any(_may_compare(self.operator, low, high, value) for value in self.values)


def _may_compare(operator: str, low: Any, high: Any, value: Any) -> bool:
    """Whether some value from `low` to `high` may compare like this with `value`."""
    if operator == "=":
        return bool(low <= value <= high)
    end = low if operator.startswith("<") else high
    return bool({"<": end < value, "<=": end <= value, ">": end > value, ">=": end >= value}[operator])


def comparisons(where: str) -> list[Comparison]:
    """The simple parts of a condition: it is false wherever one of them is false.

    >>> comparisons("env = 'prod' AND 3 < size AND lower(kind) = 'a'")
    [Comparison(column='env', operator='=', values=('prod',)), Comparison(column='size', operator='>', values=(3,))]
    """
    return [part for part in _parts_of(where) if part is not None]


@functools.lru_cache(maxsize=256)
def _parts_of(where: str) -> tuple[Comparison | None, ...]:
    """The parts that AND joins; None for one that is not simple."""
    named_columns(where)
    return tuple(map(_comparison, _parts(expression_tree(where))))


def _parts(node: Any) -> list[Any]:
    if node["class"] == "CONJUNCTION" and node["type"] == "CONJUNCTION_AND":
        return [part for child in node["children"] for part in _parts(child)]
    return [node]


def _comparison(node: Any) -> Comparison | None:
    if node["class"] == "COMPARISON" and node["type"] in OPERATORS:
        operator = OPERATORS[node["type"]]
        for one, other, sign in (
            (node["left"], node["right"], operator),
            (node["right"], node["left"], MIRRORED[operator]),
        ):
            column, value = _column(one), _constant(other)
            if column is not None and value is not None:
                return Comparison(column, sign, (value,))
    if node["class"] == "OPERATOR" and node["type"] == "COMPARE_IN":
        column, *values = _column(node["children"][0]), *map(_constant, node["children"][1:])
        constants = tuple(value for value in values if value is not None)
        if column is not None and len(constants) == len(values) and len({type(value) is str for value in values}) == 1:
            return Comparison(column, "=", constants)
    return None


def _column(node: Any) -> str | None:
    names = node.get("column_names") if node["class"] == "COLUMN_REF" else None
    return str(names[0]) if names and len(names) == 1 else None


def _constant(node: Any) -> Constant | None:
    if node["class"] != "CONSTANT":
        return None
    kind, text = node["literal"]["kind"], node["literal"].get("text")
    if kind == "STRING":
        return str(text)
    return int(text) if kind == "INTEGER" else None


def where_sql(where: str | None, types: Mapping[str, str]) -> str:
    """SQL of the condition for the rows of files with these stored types; empty if there is none.

    The simple parts come first, as the reader of Parquet can apply them to whole groups of rows. A row for which the
    condition cannot be computed does not exist.
    """
    if where is None:
        return ""
    known = {name.lower(): type_of(kind) for name, kind in types.items()}
    simple = [part.sql() for part in comparisons(where) if _fits(part, known.get(part.column.lower(), ""))]
    complete = len(simple) == len(_parts_of(where))
    return " AND ".join(simple if complete else [*simple, f"TRY(({where}))"])


def _fits(part: Comparison, kind: str) -> bool:
    """Whether a comparison with a column of this type needs no cast of its values, which could fail."""
    return is_text(kind) if isinstance(part.values[0], str) else kind.startswith((*INTEGERS, *FLOATS))


def check_condition(where: str, columns: Mapping[str, Any]) -> None:
    """Raise Unresolved unless the condition is true or false. `columns`: the Arrow field of each column it names."""
    kind = sql_type(where, tuple(columns.values()))
    if kind not in ("bool", "null"):
        raise Unresolved("wrong type", f"`where` is {kind}, not true or false: {where}")


def excluded_by_folder(where: str | None, folders: Mapping[str, str | None]) -> bool:
    """Whether no row of a file exists, by the folders it lies in: the value of each column of these."""
    if where is None or not folders:
        return False
    values = {name.lower(): value for name, value in folders.items()}
    compared = ((part, values[part.column.lower()]) for part in comparisons(where) if part.column.lower() in values)
    return any(value is None or part.excludes(value, value) for part, value in compared)


def excluded_groups(where: str | None, metadata: pq.FileMetaData) -> Sequence[bool]:
    """For each group of rows whether no row of it exists, by the statistics of the footer."""
    if where is None:
        return [False] * metadata.num_row_groups
    paths = [metadata.schema.column(i).path.lower() for i in range(metadata.num_columns)]
    once = {path: place for place, path in enumerate(paths) if paths.count(path) == 1}
    parts = [(once[part.column.lower()], part) for part in comparisons(where) if part.column.lower() in once]
    excluded = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        found = False
        for place, part in parts:
            statistics = group.column(place).statistics
            if statistics is not None and statistics.has_min_max:
                found |= part.excludes(statistics.min, statistics.max)
        excluded.append(found)
    return excluded
