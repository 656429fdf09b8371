"""The rules of the ledger, for any needs that a run before left and any feedback that came since."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sli.calendar.duration import HOUR
from sli.calendar.interval import BEGINNING, Interval, difference, intersection, union
from sli.config.load import checked
from sli.planning.changes import Cause
from sli.planning.ledger import Ledger, ledger_of
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks
from sli.planning.published import Published
from sli.planning.request import Request

SOURCE = {"id": "id", "time": "at"}
CONFIG = checked(
    {
        "model": "m",
        "since": "2024-01-15",
        "store": "s",
        "horizon": "6h",
        "predictions": {"path": "p", "value": "score", **SOURCE},
        "feedback": {"path": "f", "value": "label", **SOURCE},
        "task": "binary",
        "slis": ["count", "brier"],
    }
)
SINCE, OLD, *NEW = CONFIG.since_instant, *CONFIG.states
HOURS = Interval(SINCE, SINCE + 40 * HOUR)
BEFORE = SINCE + 30 * HOUR
FINAL = [Interval(BEGINNING, BEFORE - 6 * HOUR)]

tiles = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 6)).map(
        lambda span: Interval(SINCE + span[0] * HOUR, SINCE + sum(span) * HOUR)
    ),
    max_size=2,
)
needs = st.builds(
    lambda waiting, confirm, held: Needs(
        {RECOMPUTE: waiting, CONFIRM: difference(intersection(confirm, FINAL), waiting), HELD: held}
    ),
    *[tiles] * 3,
)
look_backs = st.none() | st.integers(0, 30).map(lambda hours: hours * HOUR)


def ledger(left: Needs, came: list[Interval], look_back: int | None = None, moved: Sequence[Interval] = ()) -> Ledger:
    """The ledger after a run that left needs and knew only one state, when feedback came."""
    basis = Published(
        sequence=1, run_id="r", as_of=BEFORE, base="", newest=BEFORE, states=(OLD,), slice_sets=((),), grains=(),
        series={}, objectives={}, needs=left,
    )  # fmt: skip
    causes = [Cause("new feedback", tuple(came))]
    return ledger_of(CONFIG, basis, causes, [HOURS], Request(HOURS.end, look_back), moved)


@settings(max_examples=40)
@given(needs, tiles, look_backs)
def test_what_was_left_is_done_or_left_again(left: Needs, came: list[Interval], look_back: int | None) -> None:
    after = ledger(left, came, look_back)
    for need in (RECOMPUTE, CONFIRM):
        assert not difference(left.of(need), [*after.does.of(need), *after.left.of(need)])
        assert not intersection(after.does.of(need), after.left.of(need))
    if look_back is None:
        assert not after.left.of(RECOMPUTE, CONFIRM)


@settings(max_examples=40)
@given(needs, tiles, look_backs)
def test_a_final_tile_is_recomputed_only_if_it_waited_since_before(
    left: Needs, came: list[Interval], look_back: int | None
) -> None:
    after = ledger(left, came, look_back)
    assert not difference(intersection(after.does.of(RECOMPUTE), FINAL), left.of(RECOMPUTE))
    assert not difference(after.does.of(CONFIRM), FINAL)


@settings(max_examples=40)
@given(needs, tiles)
def test_tiles_whose_winners_moved_are_computed_whatever_is_asked(left: Needs, moved: list[Interval]) -> None:
    after = ledger(left, [], look_back=0, moved=moved)
    assert not difference(moved, after.does.of(RECOMPUTE, CONFIRM))
    assert not difference(intersection(after.does.of(RECOMPUTE), FINAL), left.of(RECOMPUTE))


@settings(max_examples=40)
@given(needs, tiles, look_backs)
def test_a_held_tile_leaves_when_it_is_recomputed_or_confirmed(
    left: Needs, came: list[Interval], look_back: int | None
) -> None:
    after = ledger(left, came, look_back)
    assert list(after.left.of(HELD)) == difference(left.of(HELD), after.does.of(RECOMPUTE, CONFIRM))


@settings(max_examples=40)
@given(needs, tiles, look_backs)
def test_tiles_gain_a_new_state_by_a_recompute_or_a_fill_or_lack_it_and_held_or_confirmed_ones_are_not_filled(
    left: Needs, came: list[Interval], look_back: int | None
) -> None:
    after = ledger(left, came, look_back)
    for state in NEW:
        fills, missing = after.does.of(lacks(state)), after.left.of(lacks(state))
        complete = union([*after.does.of(RECOMPUTE), *after.left.of(RECOMPUTE)])
        assert not difference([HOURS], [*fills, *missing, *complete])
        assert not intersection(fills, [*missing, *complete, *left.of(HELD), *after.does.of(CONFIRM)])
    assert OLD not in (*after.does.states, *after.left.states)
