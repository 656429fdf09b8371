"""Laws of every kind of state: what tiles keep follows from the pairs alone, to the same bits however they are cut."""

import dataclasses
import importlib
import inspect
import json
import pickle
import pkgutil
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sli.rollup import lists as stored_lists
from sli.rollup.merge import TileTables, TileTree
from sli.slis import kinds
from sli.slis.kinds import histograms, lists
from sli.slis.kinds.samples import Samples
from sli.slis.kinds.terms import Reader
from sli.slis.states import CannotAmend, State, take
from sli.slis.terms import Terms, drawn_at_random, terms_of
from sli.tiles import aggregate
from sli.tiles.aggregate import aggregate_finest, aggregate_pairs
from sli.tiles.delta import update_tiles

HOUR = 3_600_000_000
LARGEST = np.nextafter(2.0**96, 0)
SPECIAL = [
    *(None, 0.0, -0.0, 1.0, -1.0, 1 / 3, 5e-324, 1e28, -1e28, 2.0**53 + 1, LARGEST),
    *(np.nan, np.inf, -np.inf, 1e300, -(2.0**96)),
]
SLICES = ((), ("g",))
FEW = settings(max_examples=settings.default.max_examples // 12, deadline=None)
EXAMPLES = [state for kind in kinds.KINDS for state in kind.examples()]
MERGING = [state for state in EXAMPLES if state.merges]

value = st.sampled_from(SPECIAL) | st.floats(width=32)
pair = st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", None]), value)
pairs = st.lists(pair, max_size=30)


def named(state):
    return f"{state.kind}-{state.of}-{state.where}"


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as opened:
        opened.execute("SET threads=1")
        yield opened


def table_of(rows):
    """Pairs as the kernel has them; what a kind names besides `x` follows from the number of the pair."""
    tile, group, x = zip(*rows, strict=True) if rows else ((), (), ())
    number = np.arange(len(rows))
    return pa.table(
        {
            "tile": pa.array(tile, pa.int64()),
            "g": pa.array(group, pa.string()),
            "x": pa.array(x, pa.float64()),
            "k": pa.array(number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), pa.uint64()),
            "truth": pa.array(number % 2, pa.float64()),
            "value": pa.array(number / 7, pa.float64()),
            "decision": pa.array(number % 3 == 0),
            "labelled": pa.array(number % 5 > 0),
        }
    )


def tiles_of(con, rows, states=MERGING, finest=None):
    """The tiles of pairs, with the slices of SLICES."""
    own = con.cursor()
    own.register("pairs", table_of(rows) if isinstance(rows, list) else rows)
    spec = SimpleNamespace(states=states, slice_sets=SLICES, edges={})
    prepared = aggregate_finest(own, spec)
    assert finest is None or prepared == finest
    tiles = pa.concat_tables(aggregate_pairs(own, columns, spec, prepared) for columns in SLICES)
    own.close()
    start = pa.array(tiles.column("tile").to_numpy() * HOUR, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    day = pa.array(["2024-01-01"] * len(tiles), pa.string())
    return tiles.drop_columns(["tile"]).append_column("start", start).append_column("day", day)


def merged(con, tiles, states=MERGING):
    """All tiles merged to one window: what SLIs see by the ids of states, and the window as tiles."""
    own = con.cursor()
    tree = TileTree(own, TileTables(tiles), {state.id: state for state in states}, HOUR, {})
    starts, ends = np.array([0]), np.array([100 * HOUR])
    rows = tree.merge(starts, ends)
    seen = {state.id: tree.values(state, rows, "", starts) for state in states}
    packed = tree.as_tiles(rows)
    own.close()
    return seen, packed


def by_slice(tiles, state):
    """The stored state of each slice as text, which tells -0.0 from 0.0 and takes NaN for itself."""
    keys = zip(tiles.column("slice_by").to_pylist(), tiles.column("slice").to_pylist(), strict=True)
    return dict(zip(keys, map(repr, tiles.column(state.id).to_pylist()), strict=True))


def large(n=6000):
    """So many pairs that histograms round, and samples and distinct values keep only some."""
    random = np.random.default_rng(4)
    x = np.where(random.random(n) < 0.1, random.choice(SPECIAL[1:], n).astype(float), random.normal(size=n))
    return list(zip(random.integers(0, 6, n).tolist(), random.choice(["a", "b"], n).tolist(), x.tolist(), strict=True))


def in_one_tile(rows):
    return [(0, group, x) for _, group, x in rows]


def check_same(one, other, states=MERGING):
    for state in states:
        assert by_slice(one, state) == by_slice(other, state), named(state)


# Discovery


def test_every_kind_is_registered_and_has_an_example():
    found = set()
    for module in pkgutil.iter_modules(kinds.__path__, f"{kinds.__name__}."):
        members = vars(importlib.import_module(module.name)).values()
        found |= {one for one in members if inspect.isclass(one) and issubclass(one, State)}
    concrete = {one for one in found if not inspect.isabstract(one) and "kind" in vars(one)}
    assert concrete == set(kinds.KINDS)
    for kind in kinds.KINDS:
        assert kind.examples()
        assert all(type(state) is kind for state in kind.examples())
    assert len({kind.kind for kind in kinds.KINDS}) == len(kinds.KINDS)


@pytest.mark.parametrize("state", EXAMPLES, ids=named)
def test_a_state_is_a_value_that_workers_get(state):
    again = pickle.loads(pickle.dumps(state))
    assert (again, again.id) == (state, state.id)
    assert state.id.startswith(f"{state.kind}_")


@pytest.mark.parametrize("state", EXAMPLES, ids=named)
def test_its_trial_fails_where_a_column_is_missing(con, state):
    own = con.cursor()
    own.register("pairs", table_of([]))
    own.execute(f"DESCRIBE {state.trial}").fetchall()
    own.register("pairs", table_of([]).drop_columns(["x", "truth"]))
    if "x" in (*state.columns, state.of, state.where):
        with pytest.raises(duckdb.BinderException):
            own.execute(f"DESCRIBE {state.trial}")


# Merging


def stored(tiles):
    """The tiles as they are read after they were written."""
    file = pa.BufferOutputStream()
    pq.write_table(tiles, file)
    return pq.read_table(pa.BufferReader(file.getvalue()))


def shown(seen, row):
    """What an SLI sees of one row, as text."""
    one = take(seen, np.array([row])) if isinstance(seen, np.ndarray) else seen.take(np.array([row]))
    return repr(one)


@FEW
@given(pairs)
def test_states_merged_from_any_stored_tiles_are_those_of_all_pairs(con, rows):
    whole = tiles_of(con, in_one_tile(rows))
    many, packed = merged(con, stored(tiles_of(con, rows)))
    check_same(packed, whole)
    one, _ = merged(con, stored(whole))
    for state in MERGING:
        assert whole.column(state.id).type == state.type
        for row in range(len(whole)):
            assert shown(many[state.id], row) == shown(one[state.id], row), named(state)


def by_brute_force(rows, slices, rounds=False):
    """What SLIs see of slices of all pairs, without tiles."""
    table = table_of(rows)
    groups = np.array([group for _, group, _ in rows], dtype=object)
    drawn = drawn_at_random(
        [np.array([by == "" or json.loads(slice)["g"] == group for group in groups], int) for by, slice in slices]
    )
    reader = Reader(terms_of(table, MERGING), "", {}, rounds)
    return Terms.of(reader, {state.id: state for state in MERGING}, 0, 0.95).merged(drawn)


def in_order(seen):
    """What an SLI sees, as plain values: a sample without its keys and in order."""
    if isinstance(seen, Samples):
        texts = [[sorted(map(str, values)) for values in columns.values()] for columns in seen.columns]
        return {"label": [*map(np.sort, seen.label)], "prediction": [*map(np.sort, seen.prediction)], "columns": texts}
    return dataclasses.asdict(seen) if dataclasses.is_dataclass(seen) else {"": seen}


def check_alike(seen, other, name):
    """The same, but for the last bits of sums."""
    for (field, one), two in zip(in_order(seen).items(), in_order(other).values(), strict=True):
        if isinstance(one, np.ndarray) and one.dtype == float:
            np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-20, err_msg=f"{name}, {field}")
        else:
            assert repr(one) == repr(two), f"{name}, {field}"


def check_brute_force(con, rows, states, rounds=False):
    seen, packed = merged(con, tiles_of(con, in_one_tile(rows)))
    slices = list(zip(packed.column("slice_by").to_pylist(), packed.column("slice").to_pylist(), strict=True))
    brute = by_brute_force(rows, slices, rounds)
    for state in states:
        check_alike(seen[state.id], brute[state.id], named(state))


@FEW
@given(pairs.filter(len))
def test_collected_states_follow_from_the_pairs_alone(con, rows):
    check_brute_force(con, rows, MERGING)


def test_states_of_many_pairs_follow_from_them_but_a_sample_keeps_only_some(con):
    check_brute_force(con, large(), [state for state in MERGING if not state.for_function], rounds=True)


def test_without_a_value_a_state_is_that_of_a_window_without_predictions(con):
    seen, _ = merged(con, tiles_of(con, [(0, "a", None)]))
    for state in MERGING:
        if state.of == "x":
            assert shown(seen[state.id], 0) == shown(seen[state.id], -1), named(state)


def test_many_pairs_merge_to_the_same_bits_and_small_groups_are_added_up_before(con, monkeypatch):
    monkeypatch.setattr(aggregate, "FEW_ROWS", 50)
    rows = large()
    whole = tiles_of(con, in_one_tile(rows), finest=True)
    check_same(merged(con, tiles_of(con, rows, finest=True))[1], whole)
    apart = [(group_number, group, x) for group_number, (_, group, x) in enumerate(rows[:60])]
    few = tiles_of(con, apart, finest=False)
    check_same(merged(con, few)[1], tiles_of(con, in_one_tile(rows[:60])))


def test_pairs_that_are_read_little_by_little_give_the_same_bits(con, monkeypatch):
    whole, of_tiles = tiles_of(con, in_one_tile(large())), tiles_of(con, large())
    monkeypatch.setattr(lists, "READ", 500)
    check_same(tiles_of(con, in_one_tile(large())), whole)
    monkeypatch.setattr(stored_lists, "TOGETHER", 100)
    check_same(merged(con, of_tiles)[1], whole)


# Updates


def update(before, minus, plus, state):
    """Tiles after an update. Raises CannotAmend."""
    names = ["day", "start", "slice_by", "slice"]
    keys = pa.concat_tables([minus.select(names), plus.select(names)]).group_by(names).aggregate([])
    config = SimpleNamespace(parallel=1, task_memory=1 << 28, states={state.id: state})
    own = [*names, "span", "predictions", "labelled", state.id]
    return update_tiles(config, *(tiles.select(own) for tiles in (before, minus, plus)), keys, before.slice(0, 0), [])


def rows_of(tiles, state):
    names = ["start", "slice_by", "slice", "predictions", "labelled", state.id]
    return sorted(map(repr, tiles.select(names).to_pylist()))


@settings(max_examples=settings.default.max_examples * 2 // 5, deadline=None)
@given(state=st.sampled_from(MERGING), kept=pairs, gone=pairs, new=pairs)
def test_what_is_subtracted_was_never_added_or_the_tile_is_recomputed(con, state, kept, gone, new):
    every = table_of(kept + gone + new)
    first, second = len(kept), len(kept) + len(gone)
    parts = [every.slice(0, second), every.slice(first, len(gone)), every.slice(second)]
    expected = tiles_of(con, pa.concat_tables([every.slice(0, first), every.slice(second)]), [state])
    try:
        updated = update(*(tiles_of(con, part, [state]) for part in parts), state)
    except CannotAmend:
        assert gone, "only what is subtracted can be unknown"
        assert state.kind not in ("count", "sum", "groups")
    else:
        assert rows_of(updated, state) == rows_of(expected, state)


@pytest.mark.parametrize("number", [1, 5500])
def test_a_large_state_loses_pairs_exactly_or_is_recomputed(con, number):
    every = table_of(in_one_tile(large()))
    kept = every.slice(0, len(every) - number)
    before, minus, expected = (tiles_of(con, rows) for rows in (every, every.slice(len(kept)), kept))
    for state in MERGING:
        try:
            updated = update(before, minus, minus.slice(0, 0), state)
        except CannotAmend:
            continue
        assert rows_of(updated, state) == rows_of(expected, state), named(state)


# Rounded histograms


@pytest.mark.parametrize("spread", ["real", "probability"])
@pytest.mark.parametrize("more", [[], [np.nan], [-np.nan, 1e300, -1e300], [5e-324, 0.0], [1.0, 0.5, 0.25]])
def test_rounded_values_add_up_to_the_same_bits_in_a_table_and_by_sorting(spread, more):
    random = np.random.default_rng(2)
    values = random.beta(0.2, 0.2, 5000) if spread == "probability" else random.normal(scale=100, size=5000)
    values = np.concatenate([values, more, more])
    ones, owner = np.ones(len(values), dtype=np.int64), random.integers(0, 3, len(values)) * 2
    rows = histograms.Counted(owner, values, ones, ones * (values > 0.1)).rounded(spread)
    for one, other in zip(rows.added_up(spread), rows.sorted(), strict=True):
        np.testing.assert_array_equal(one, other)
    order = np.argsort(rows.value[~np.isnan(rows.value)])
    codes = histograms.codes_of(rows.value[~np.isnan(rows.value)], spread)
    assert codes is None or (np.diff(codes[order]) >= 0).all()
