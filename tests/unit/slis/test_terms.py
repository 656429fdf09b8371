"""What pairs add to states: sums are exact where terms cancel, and every kind of state follows from the pairs alone."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest

from sli.mergeable import count, groups, largest, smallest, total
from sli.slis import State
from sli.slis.kinds.distincts import DISTINCT, DistinctState
from sli.slis.kinds.terms import Reader, exact_parts
from sli.slis.terms import Terms, drawn_into, terms_of

WINDOWS = np.array([0, 1, 0, -1, 1, 0])
"""The window of each pair: pairs 0, 2 and 5; 1 and 4; none. A third window has no pairs."""


def merged(values: list[float | None], *states: State, windows: np.ndarray = WINDOWS, size: int = 3) -> list:
    rows = pa.table({"x": pa.array(values, pa.float64()), "labelled": [True] * len(values)})
    terms = terms_of(rows, states)
    reader = Reader(terms, "", {}, False)
    named = {str(i): state for i, state in enumerate(states)}
    states_of = Terms.of(reader, named, 0, 0.95).merged(drawn_into(windows, size))
    return [states_of[name] for name in named]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12])
def test_sums_are_exact_where_terms_cancel(scale: float) -> None:
    random = np.random.default_rng(1)
    halves = random.lognormal(0, 12, 500) * scale
    terms = np.concatenate([halves, -halves, random.random(7) * scale * 1e-9])
    terms = random.permutation(terms)
    windows = random.integers(0, 3, len(terms))
    [sums] = merged(list(terms), total("x"), windows=windows)
    assert sums == pytest.approx([math.fsum(terms[windows == i]) for i in range(3)], rel=1e-15)
    [by_text] = merged(list(terms), groups("'all'", amount="x"), windows=np.zeros(len(terms), dtype=np.int64), size=1)
    assert by_text.sums == pytest.approx([math.fsum(terms)], rel=1e-15)


def test_parts_of_terms_add_up_to_them() -> None:
    terms = np.array([1e30, -1.0, 2.0**-60, 0.0, np.nan, 5e-324])
    parts = exact_parts(terms, 100)
    known = ~np.isnan(terms)
    assert [math.fsum(column) for column in zip(*parts, strict=True)][:4] == list(terms[:4])
    assert all(np.isfinite(part[known]).all() for part in parts)
    assert np.isnan(sum(parts)[~known]).all()


def test_a_state_of_no_values_is_empty_and_a_term_that_is_too_large_makes_a_sum_undefined() -> None:
    values = [3.0, None, -1.0, 100.0, 1e300, 0.5]
    states = [total("x"), smallest("x"), largest("x"), count("x IS NOT NULL"), DistinctState(of="x")]
    sums, low, high, number, distinct = merged(values, *states)
    assert sums[0] == 2.5
    assert np.isnan(sums[1:]).all()
    assert (low.tolist()[:2], high.tolist()[:2]) == ([-1.0, 1e300], [3.0, 1e300])
    assert np.isnan([low[2], high[2]]).all()
    assert number.tolist() == [3, 1, 0]
    assert distinct.kept.tolist() == [3, 1, 0]


def test_the_smallest_hashes_of_different_values_are_kept() -> None:
    values = [float(i % 1500) for i in range(3000)]
    [distinct] = merged(values, DistinctState(of="x", where="x < 1400"), windows=np.zeros(3000, dtype=np.int64))
    hashes = sorted(int.from_bytes(hashlib.md5(str(i).encode()).digest()[8:], "little") >> 1 for i in range(1400))
    assert distinct.kept.tolist() == [DISTINCT, 0, 0]
    assert distinct.largest[0] == hashes[DISTINCT - 1] / 2**63
