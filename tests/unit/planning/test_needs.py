"""Needs against a naive model: for each instant the set of its needs."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sli.calendar.interval import Interval
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Need, Needs, lacks

SPAN = range(12)
KINDS = [RECOMPUTE, CONFIRM, HELD, lacks("sum_a"), lacks("count_b")]
Model = dict[int, set[Need]]

intervals = st.lists(
    st.tuples(st.sampled_from(SPAN), st.sampled_from(SPAN)).map(lambda ends: Interval(min(ends), max(ends))), max_size=4
)
kinds = st.sampled_from(KINDS)
some_kinds = st.sets(kinds)
values = st.dictionaries(kinds, intervals).map(Needs)


def model(needs: Needs) -> Model:
    return {at: {need for need in KINDS if covers(needs.of(need), at)} for at in SPAN}


def covers(tiles: tuple[Interval, ...] | list[Interval], at: int) -> bool:
    return any(interval.start <= at < interval.end for interval in tiles)


@given(values, some_kinds)
def test_the_tiles_of_needs_are_those_with_any_of_them_disjoint_and_in_order(needs: Needs, kinds: set[Need]) -> None:
    tiles = needs.of(*kinds)
    assert {at for at in SPAN if covers(tiles, at)} == {at for at, own in model(needs).items() if own & kinds}
    assert all(not interval.empty for interval in tiles)
    assert all(before.end < after.start for before, after in itertools.pairwise(tiles))


@given(values, kinds, intervals)
def test_a_need_is_added_in_tiles_and_nowhere_else(needs: Needs, need: Need, tiles: list[Interval]) -> None:
    expected = {at: own | {need} if covers(tiles, at) else own for at, own in model(needs).items()}
    assert model(needs.add(need, tiles)) == expected


@given(values, some_kinds, intervals)
def test_needs_are_taken_from_tiles_and_the_others_stay(needs: Needs, kinds: set[Need], tiles: list[Interval]) -> None:
    expected = {at: own - kinds if covers(tiles, at) else own for at, own in model(needs).items()}
    assert model(needs.take(kinds, tiles)) == expected


@given(values, intervals)
def test_needs_are_split_into_those_within_tiles_and_those_without(needs: Needs, tiles: list[Interval]) -> None:
    every, inside, outside = model(needs), model(needs.within(tiles)), model(needs.without(tiles))
    assert inside == {at: own if covers(tiles, at) else set() for at, own in every.items()}
    assert outside == {at: set() if covers(tiles, at) else own for at, own in every.items()}


@given(values, values)
def test_needs_are_subtracted_need_by_need(needs: Needs, other: Needs) -> None:
    taken = model(other)
    assert model(needs - other) == {at: own - taken[at] for at, own in model(needs).items()}


@given(values, some_kinds)
def test_only_some_needs_are_kept(needs: Needs, kinds: set[Need]) -> None:
    assert model(needs.only(kinds)) == {at: own & kinds for at, own in model(needs).items()}
    assert set(needs.states) == {"sum_a", "count_b"} & {need.removeprefix("lacks ") for need in needs.tiles}


@given(values, values)
def test_values_are_equal_if_every_instant_has_the_same_needs(needs: Needs, other: Needs) -> None:
    assert (needs == other) is (model(needs) == model(other))
    assert bool(needs) is any(model(needs).values())


@given(values)
def test_needs_are_stored_and_read_as_they_were(needs: Needs) -> None:
    assert Needs.from_json(json.loads(json.dumps(needs.to_json()))) == needs


@pytest.mark.parametrize("stored", [{"held": [[1]]}, {"held": [[2, 1]]}, {"held": 1}])
def test_stored_needs_that_make_no_sense_are_refused(stored: dict[str, list[list[int]]]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Needs.from_json(stored)
