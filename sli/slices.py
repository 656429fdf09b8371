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


def slice_text(slice: Mapping[str, object]) -> str:
    """Canonical JSON of a slice, such as `{"carrier":"AA","origin":null}`."""
    whole = {name: None if slice[name] is None else str(slice[name]) for name in sorted(slice)}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False)


def parse_slice(text: str) -> dict[str, str | None]:
    """A slice from its canonical JSON."""
    found: dict[str, str | None] = json.loads(text)
    return found


def bin_names(edges: Sequence[float]) -> list[str]:
    """Texts of the bins between ascending edges: `< 10`, `[10, 20)`, ..., `>= 50`."""
    named = [f"{each:g}" for each in edges]
    return [f"< {named[0]}", *(f"[{a}, {b})" for a, b in itertools.pairwise(named)), f">= {named[-1]}"]
