"""Slices: a `slice_by` is a sorted tuple of column names, a slice gives each of them a value as text or null.

Inside, a slice travels as its canonical JSON text, so that it can be grouped, joined and compared as one string.
Limit: the values 1 and "1" of a column are one slice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

SliceBy = tuple[str, ...]
ALL = "{}"


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
    """SQL that makes the canonical JSON from VARCHAR columns."""
    if not columns:
        return f"'{ALL}'"
    parts = ", ".join(f"{literal(name)}, {quoted(name)}" for name in columns)
    return f"json_object({parts})::VARCHAR"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"
