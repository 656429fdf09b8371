"""Lists in memory: rows may have no pieces at all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sli.rollup.lists import Pieces, StoredLists
from sli.slis.kinds.histograms import HistogramState

STATE = HistogramState(of="value")


def tiles(*lists: list[float]) -> pa.ChunkedArray:
    return pa.chunked_array([[[{"value": x, "count": 1, "marked": 0} for x in values] for values in lists]], STATE.type)


def test_rows_without_any_piece_have_empty_lists_also_where_there_are_larger_nodes() -> None:
    stored = StoredLists(STATE, tiles([1.0], [2.0], [2.0, 3.0]))
    stored.add(3, Pieces(np.array([0, 0, 0]), np.arange(3)), 1)
    # As they come from a query: such arrays cannot be written to.
    nothing = pa.array([], pa.int64()).to_numpy()
    offsets, _ = stored.merge(Pieces(nothing, nothing), 2)
    assert offsets.tolist() == [0, 0, 0]
    offsets, elements = stored.merge(Pieces(np.array([1]), np.array([3])), 2)
    assert offsets.tolist() == [0, 0, 3]
    assert elements["count"].to_pylist() == [1, 2, 1]


def test_lists_of_several_chunks_come_in_the_order_of_their_rows() -> None:
    stored = StoredLists(STATE, pa.chunked_array([*tiles([1.0], [2.0]).chunks, *tiles([3.0, 4.0]).chunks]))
    offsets, elements = stored.merge(Pieces(np.arange(3), np.array([2, 0, 1])), 4)
    assert offsets.tolist() == [0, 2, 3, 4, 4]
    assert elements["value"].to_pylist() == [3.0, 4.0, 1.0, 2.0]
