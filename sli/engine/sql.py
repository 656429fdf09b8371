"""Pieces of SQL: names, texts, paths and conditions, quoted so that DuckDB reads them as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sli.calendar.interval import Interval


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def text_of(value: str) -> str:
    """SQL of a value as text, of whole numbers without a point: the same of integers and floats below 1e15.

    A column of integers is often one of floats in those files in which it has nulls.
    """
    text = f"({value})::VARCHAR"
    return (
        f"CASE WHEN typeof({value}) IN ('DOUBLE', 'FLOAT') AND ends_with({text}, '.0') THEN left({text}, -2) "
        f"ELSE {text} END"
    )


def path_sql(path: str) -> str:
    """SQL of a path as it is."""
    return literal(path_pattern(path))


def path_pattern(path: str) -> str:
    """The pattern that matches one path only: DuckDB takes `*`, `?` and `[` in local paths for wildcards."""
    return path if "://" in path else re.sub(r"[*?[]", r"[\g<0>]", path)


def inside_sql(column: str, intervals: Iterable[Interval]) -> str:
    """SQL condition: an instant lies in one of the intervals."""
    parts = [f"({column} >= {each.start} AND {column} < {each.end})" for each in intervals]
    return f"({' OR '.join(parts)})" if parts else "false"
