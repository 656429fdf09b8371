"""Lists in memory: rows may have no pieces at all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from sli.engine.arrow import list_column
from sli.rollup import lists
from sli.rollup.lists import Pieces, StoredLists
from sli.slis.kinds import histograms
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


def drawn(spread: str, sizes: list[int]) -> pa.ChunkedArray:
    """Lists of so many pairs each, some with equal values; the larger ones are rounded, as tiles have them."""
    random = np.random.default_rng(len(sizes))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    values = random.random(len(owner)) if spread == "probability" else random.normal(0, 50, len(owner))
    columns = {"value": pa.array(values.round(4) + 0.0), "count": pa.array(np.ones(len(owner), np.int64))}
    columns["marked"] = pa.array(random.integers(0, 2, len(owner)))
    state = HistogramState(of="value", spread=spread, mark="label")
    return pa.chunked_array([list_column(*state.merge(owner, len(sizes), columns), state.type)])


@pytest.mark.parametrize("spread", ["real", "probability"])
@pytest.mark.parametrize("packed", [1 << 26, 1])
def test_lists_that_many_rows_share_are_merged_to_the_same_bits_as_each_row_by_itself(
    monkeypatch: pytest.MonkeyPatch, spread: str, packed: int
) -> None:
    monkeypatch.setattr(histograms, "PACKED", packed)
    state = HistogramState(of="value", spread=spread, mark="label")
    sizes = [400, 0, 900, 1024, 1025, 3000, 200, 5000, 300, 60, 700]
    # Sliding windows of 1 to 11 lists, so that some rows round their values and others do not.
    pieces = [(i, i + n) for n in range(1, 12) for i in range(len(sizes) - n + 1)]
    row = np.concatenate([np.full(last - first, at) for at, (first, last) in enumerate(pieces)])
    position = np.concatenate([np.arange(first, last) for first, last in pieces])
    stored = StoredLists(state, drawn(spread, sizes))
    for most in (lists.TOGETHER_SHARED, 2000):
        monkeypatch.setattr(lists, "TOGETHER_SHARED", most)
        shared = stored.merge(Pieces(row, position), len(pieces))
        for at, (first, last) in enumerate(pieces):
            alone = stored.merge(Pieces(np.zeros(last - first, np.int64), np.arange(first, last)), 1)
            own = shared.part(at, at + 1)
            assert own.offsets.tolist() == alone.offsets.tolist()
            for name, column in alone.elements.items():
                assert own.elements[name].to_numpy().tobytes() == column.to_numpy().tobytes()


def test_values_that_do_not_round_are_shared_all_the_same() -> None:
    values = [np.inf, 1e300, 5e-324, -0.0, 2.5]
    state = HistogramState(of="value")
    columns = {"value": pa.array(values), "count": pa.array([600] * 5), "marked": pa.array([0] * 5)}
    several = [list_column(*state.merge(np.arange(5), 5, columns), state.type)]
    stored = StoredLists(state, pa.chunked_array(several))
    row, position = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    offsets, elements = stored.merge(Pieces(row, position), 4)
    assert np.diff(offsets).tolist() == [5] * 4
    assert elements["value"].to_pylist()[:5] == [0.0, 5e-324, 2.5, 1e300, np.inf]
