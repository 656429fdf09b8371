"""Slices: a `slice_by` is a sorted tuple of column names, a slice gives each of them a value as text or null.

Inside, a slice travels as its canonical JSON text, so that it can be grouped, joined and compared as one string.
Limit: the values 1 and "1" of a column are one slice, and a value "(other)" is one with the rest of a capped slice.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence

SliceBy = tuple[str, ...]
ALL = "{}"
OTHER = "(other)"
"""The value of a capped slice that holds all but the largest."""


def slice_by_of(columns: Iterable[str]) -> SliceBy:
    """The columns in canonical order."""
    return tuple(sorted(columns))


def text(slice: Mapping[str, object]) -> str:
    """Canonical JSON of a slice, such as `{"carrier":"AA","origin":null}`."""
    whole = {name: None if slice[name] is None else str(slice[name]) for name in sorted(slice)}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False)


def parse(text: str) -> dict[str, str | None]:
    """A slice from its canonical JSON."""
    found: dict[str, str | None] = json.loads(text)
    return found


def sql_text(columns: SliceBy) -> str:
    """SQL that makes the canonical JSON from VARCHAR columns `slice_0`, `slice_1`, ... in the order of `columns`."""
    if not columns:
        return f"'{ALL}'"
    parts = ", ".join(f"{literal(name)}, slice_{i}" for i, name in enumerate(columns))
    return f"json_object({parts})::VARCHAR"


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


def bin_names(edges: Sequence[float]) -> list[str]:
    """Texts of the bins between ascending edges: `< 10`, `[10, 20)`, ..., `>= 50`."""
    named = [f"{each:g}" for each in edges]
    return [f"< {named[0]}", *(f"[{a}, {b})" for a, b in itertools.pairwise(named)), f">= {named[-1]}"]


def value_sql(name: str, edges: Sequence[float] | None) -> str:
    """SQL of a slice column's value as text; a column with edges is binned, its null stays null."""
    if edges is None:
        return text_of(quoted(name))
    column, names = f"{quoted(name)}::DOUBLE", bin_names(edges)
    cases = "".join(
        f" WHEN {column} < {edge!r}::DOUBLE THEN {literal(bin)}" for edge, bin in zip(edges, names, strict=False)
    )
    return f"CASE WHEN {quoted(name)} IS NULL THEN NULL{cases} ELSE {literal(names[-1])} END"
