"""What pairs add to states: sums are exact where terms cancel."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from sli.mergeable import groups, total
from sli.slis import State
from sli.slis.kinds.terms import Reader, exact_parts
from sli.slis.terms import Terms, drawn_into, terms_of


def merged(values: list[float], *states: State, windows: np.ndarray, size: int = 3) -> list:
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
