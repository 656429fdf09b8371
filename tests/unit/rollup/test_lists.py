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
