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
    """SQL of a value as text; whole numbers have no point, so integers and floats below 1e15 give the same text.

    A column of integers often has the type of floats in files in which it has nulls.
    """
    text = f"({value})::VARCHAR"
    return (
        f"CASE WHEN typeof({value}) IN ('DOUBLE', 'FLOAT') AND ends_with({text}, '.0') THEN left({text}, -2) "
        f"ELSE {text} END"
    )


def path_sql(path: str) -> str:
    """SQL of one path, in which no character is a wildcard."""
    return literal(path_pattern(path))


def path_pattern(path: str) -> str:
    """The pattern that matches one path only: DuckDB takes `*`, `?` and `[` in local paths for wildcards."""
    return path if "://" in path else re.sub(r"[*?[]", r"[\g<0>]", path)


def inside_sql(column: str, intervals: Iterable[Interval]) -> str:
    """SQL condition: an instant is in one of the intervals."""
    parts = [f"({column} >= {interval.start} AND {column} < {interval.end})" for interval in intervals]
    return f"({' OR '.join(parts)})" if parts else "false"


def in_tiles_sql(spans: Iterable[Interval], tile: int) -> str:
    """SQL condition: the tile with the number in column `tile` lies, at least in part, in one of these stretches."""
    return inside_sql("tile", (Interval(span.start // tile, -(-span.end // tile)) for span in spans))


def tile_sql(time: str, tile: int) -> str:
    """SQL of the number of the tile that holds an instant."""
    # DuckDB's `//` rounds towards zero, so alone it would put times before 1970 into the tile after theirs.
    return f"({time} // {tile} - ({time} % {tile} < 0)::BIGINT)"
