"""Rows of a table at given positions: the same whether they are copied or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from sli.engine.arrow import LONG, rows_in_order

ROWS = 5 * LONG


@pytest.mark.parametrize(
    "positions",
    [
        [],
        [7],
        range(ROWS),
        range(LONG, 4 * LONG),
        [*range(3 * LONG, ROWS), *range(2 * LONG)],
        [*range(1, 2 * LONG), 0, *range(2 * LONG, ROWS)],
        [*range(0, ROWS, 2), 1],
        [3, 3, 2, 9],
        [*range(2 * LONG), *range(2 * LONG)],
    ],
)
def test_rows_are_those_at_the_positions_in_their_order(positions: Sequence[int]) -> None:
    lists = [[row] * (row % 3) for row in range(ROWS)]
    table = pa.table({"row": pa.chunked_array([range(10), range(10, ROWS)]), "list": lists})
    taken = rows_in_order(table, np.array(positions, dtype=np.int64))
    assert taken.schema == table.schema
    assert taken.to_pylist() == [{"row": row, "list": lists[row]} for row in positions]


def test_rows_that_follow_each_other_are_not_copied() -> None:
    table = pa.table({"row": np.arange(ROWS)})
    before = table.column("row").chunk(0).buffers()[1]
    (first, second) = rows_in_order(table, np.array([*range(LONG, ROWS), *range(LONG)])).column("row").chunks
    assert before is not None
    for chunk in (first, second):
        buffer = chunk.buffers()[1]
        assert buffer is not None
        assert buffer.address == before.address
