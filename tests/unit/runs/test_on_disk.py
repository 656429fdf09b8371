"""How hour tiles lie in their files."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sli.runs import on_disk
from sli.runs.on_disk import by_slice_sets

ROWS = [
    ("2024-01-02", "", 0),
    ("2024-01-01", "", 1),
    ("2024-01-01", "region", 2),
    ("2024-01-01", "", 3),
    ("2024-01-02", "region", 4),
    ("2024-01-01", "region", 5),
]


def groups() -> list[list[int]]:
    day, slice_by, number = zip(*ROWS, strict=True)
    tiles = pa.table({"day": day, "slice_by": slice_by, "number": number})
    return [rows.column("number").to_pylist() for rows in by_slice_sets(tiles)]


def test_rows_of_a_day_and_a_slice_set_are_written_together_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "GROUP_BYTES", 0)
    assert groups() == [[0], [4], [1, 3], [2, 5]]


def test_small_slice_sets_share_a_group_but_days_never_do() -> None:
    assert groups() == [[0, 4], [1, 3, 2, 5]]


def test_no_tiles_are_no_group() -> None:
    nothing = pa.table({"day": pa.array([], pa.string()), "slice_by": pa.array([], pa.string())})
    assert list(by_slice_sets(nothing)) == []
