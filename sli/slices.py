"""Slices: a `slice_by` is a sorted tuple of column names; a slice has a value for each of them, as text or null.

Internally a slice is its canonical JSON text, so it can be grouped, joined and compared as one string. Limit: the
values 1 and "1" of a column are the same slice; a value "(other)" is the same as the rest of a capped slice.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence

SliceBy = tuple[str, ...]
ALL = "{}"
OTHER = "(other)"
"""The value of the slice that has all rows outside the largest slices, if `top` limits their number."""


def slice_by_of(columns: Iterable[str]) -> SliceBy:
    """The columns in canonical order."""
    return tuple(sorted(columns))


def slice_text(slice: Mapping[str, object]) -> str:
    """Canonical JSON of a slice.

    >>> slice_text({"origin": None, "carrier": "AA"})
    '{"carrier":"AA","origin":null}'
    """
    values = {name: None if slice[name] is None else str(slice[name]) for name in sorted(slice)}
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)


def parse_slice(text: str) -> dict[str, str | None]:
    """A slice from its canonical JSON."""
    slice: dict[str, str | None] = json.loads(text)
    return slice


def bin_names(edges: Sequence[float]) -> list[str]:
    """Names of the bins between ascending edges.

    >>> bin_names([10, 20, 50])
    ['< 10', '[10, 20)', '[20, 50)', '>= 50']
    """
    texts = [f"{edge:g}" for edge in edges]
    return [f"< {texts[0]}", *(f"[{a}, {b})" for a, b in itertools.pairwise(texts)), f">= {texts[-1]}"]
