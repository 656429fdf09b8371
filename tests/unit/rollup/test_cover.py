"""Which nodes make up windows: all of their tiles and no other, and no node that only one window needs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sli.rollup.cover import DAYS, RADIX, Cover, Timeline

HOUR = 3_600_000_000
YEAR = Timeline(HOUR, 0, 24 * 365 - 1, np.arange(366) * 24 * HOUR)

edges = st.tuples(st.integers(0, 24 * 90), st.integers(0, 24 * 90)).map(sorted)


def cover_of(windows: list[list[int]]) -> Cover:
    starts, ends = np.array(windows, dtype=np.int64).reshape(-1, 2).T * HOUR
    return YEAR.cover(starts, ends)


def tiles_of(level: int, number: int) -> range:
    """The hours of a node."""
    hours = RADIX**level if level >= 0 else 24 * RADIX ** (DAYS - level)
    return range(number * hours, (number + 1) * hours)


@given(st.lists(edges, max_size=6), st.lists(edges, max_size=6))
def test_windows_are_made_of_exactly_their_tiles_whatever_is_built(
    windows: list[list[int]], before: list[list[int]]
) -> None:
    built = cover_of(before).shared({})
    nodes = cover_of(windows).of(built)
    hours: list[list[int]] = [[] for _ in windows]
    for window, level, number in zip(*(column.tolist() for column in nodes), strict=True):
        assert level in (0, DAYS) or number in built[level]
        hours[window] += tiles_of(level, number)
    assert [sorted(of) for of in hours] == [list(range(*window)) for window in windows]


def test_no_node_is_built_for_windows_that_share_none() -> None:
    days = [[24 * day, 24 * day + 24] for day in range(365)]
    assert cover_of(days).shared({}) == {}
    assert cover_of([[0, 24 * 365]]).shared({}) == {}


def test_a_few_long_windows_of_a_year_need_few_nodes_and_the_next_ones_none() -> None:
    windows = [[24 * 300 + hour, 24 * 328 + hour] for hour in (5, 6, 7)]
    worth = cover_of(windows).shared({})
    assert 0 < sum(map(len, worth.values())) < 30
    assert cover_of(windows[1:]).shared(worth) == {}
    assert len(cover_of(windows).of(worth).window) < 3 * 30


def test_windows_since_the_same_time_share_nearly_all_they_need() -> None:
    windows = [[0, 24 * day] for day in range(1, 366)]
    nodes = cover_of(windows)
    worth = nodes.shared({})
    assert len(nodes.of(worth).window) < 8 * len(windows)
