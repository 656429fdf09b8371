"""Laws of batches, for every SLI: what a row says has the same bits whatever stands beside it, in whatever order, and
on however many threads."""

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from laws.slis.test_merging import HOUR, config, numbered, tiled, tree
from worlds import built_in, columns_of, pairs_of

import sli
from sli.errors import ConfigError
from sli.rollup import evaluate as evaluation
from sli.rollup.evaluate import Evaluation
from sli.rollup.merge import TileTables
from sli.rollup.reference import reference_tiles
from sli.slis import TASKS
from sli.slis.custom.sql import from_sql
from sli.slis.formula import Values
from sli.slis.states import Merged, sum_last_axis, sums_by

TILES = 200
SQL = [
    {"name": "fare_mean", "states": {"fares": "sum(fare)", "n": "count(fare)"}, "value": "fares / n"},
    {"name": "fare_curve", "states": {"x": "sum(fare)", "n": "count(*)"}, "value": "exp(-pow(ln(1 + x), 1.7) / n)"},
    {"name": "fails_for_some", "states": {"n": "count(fare)"}, "value": "(500000000 * n::INTEGER)::INTEGER"},
    {"name": "often_null", "states": {"n": "count(fare)"}, "value": "CASE WHEN n > 3 THEN 500000000 * n::INTEGER END"},
]
OWN = """
import numpy as np
from sli.mergeable import groups, histogram, mergeable, total

def gap(y_true, y_pred):
    return float(np.sum(y_true == y_pred) / len(y_true))

def drifted(y_true, y_pred, reference):
    return float(len(y_true) / 3 - np.log1p(len(reference[0])))

@mergeable(fares=histogram("fare"), kinds=groups("kind", amount="fare"))
def entropy(s):
    share = s["kinds"].counts / s["kinds"].totals[s["kinds"].rows]
    return np.bincount(s["kinds"].rows, -share * np.log(share), len(s["kinds"].totals)) + np.sqrt(s["fares"].totals)

@mergeable(fares=total("fare"), n=histogram("fare"))
def picky(s):
    if (s["n"].totals == 0).any():
        raise ValueError("no fares")
    return s["fares"] / s["n"].totals
"""
PYTHON = [
    {"name": "gap", "python": "neighbours_own:gap"},
    {"name": "drifted", "python": "neighbours_own:drifted", "against": "previous"},
    {"name": "entropy", "python": "neighbours_own:entropy"},
    {"name": "picky", "python": "neighbours_own:picky"},
]
AGAINST = [
    {"name": f"chi_squared_p_{name}", "sli": "chi_squared_p", "of": "region", "against": against}
    for name, against in {
        "table": {"table": "reference.parquet"},
        "window": {"start": "2024-03-10", "end": "2024-03-12"},
    }.items()
]


NUMBERS = [each.name for each in fields(Values) if each.name != "reason"]


def bits(found):
    """All that is said of each row, to the bit; any NaN is like another."""
    numbers = np.stack([getattr(found, name) for name in NUMBERS], axis=1)
    return [*zip(found.reason, map(bytes, np.where(np.isnan(numbers), np.nan, numbers)), strict=True)]


class Windows:
    """Tiles of a task, windows of one to all of them, and what each window is compared with."""

    def __init__(self, task, folder):
        (folder / "neighbours_own.py").write_text(OWN)
        own = [*SQL, *PYTHON] if task == "regression" else []
        self.config = config(task, folder, [*built_in(task), *AGAINST, *own])
        pairs = pairs_of(task)
        pairs[columns_of(task)].iloc[: len(pairs) // 3].to_parquet(folder / "reference.parquet", index=False)
        of = np.unique(pairs["query"], return_inverse=True)[1] if task == "ranking" else np.arange(len(pairs))
        # Some tiles hold hundreds of pairs and many a few; several together hold more than is kept exactly.
        random = np.random.default_rng(3)
        of_unit = (TILES * random.random(of.max() + 1) ** 3).astype(int)
        self.tiles = tiled(self.config, numbered(pairs, task), random.permutation(TILES)[of_unit[of]])
        starts = np.r_[np.arange(TILES), random.integers(0, TILES, 40), 0]
        ends = np.minimum(starts + np.r_[np.ones(TILES, int), random.integers(2, TILES, 40), TILES], TILES)
        made = tree(self.config, self.tiles)
        rows = made.merge(starts * HOUR, ends * HOUR)
        states = {id: made.values(state, rows, "", starts) for id, state in made.states.items()}
        made.con.close()
        self.merged = Merged(rows.predictions, rows.labelled, states, ends[rows.window] * HOUR)
        # What a row is compared with: another one, itself, or nothing.
        n = len(rows.window)
        self.compared = self.merged.take(np.where(np.arange(n) % 7 == 0, -1, random.integers(0, n, n)))
        self.every = {name: bits(values) for name, values in self.of(np.arange(n)).items()}

    def tables(self):
        """The reference tables by their path."""
        found = {}
        for each in self.config.declared:
            if each.reference is not None and each.reference.kind == "table":
                states = found.setdefault(each.reference.path, {})
                states.update({state.id: state for state in each.formula.states.values()})
        return {path: reference_tiles(self.config, path, states.values(), {}) for path, states in found.items()}

    def of(self, rows):
        """The values of these rows alone, in this order."""
        mine, theirs, found = self.merged.take(rows), self.compared.take(rows), {}
        for each in self.config.declared:
            names = {name: state.id for name, state in each.formula.states.items() if state.kind != "window"}
            own, other = (
                replace(side, states={name: side[id] for name, id in names.items()}) for side in (mine, theirs)
            )
            found[each.name] = each.formula.value(replace(own, reference=other if each.reference else None))
        return found

    def check(self, found, rows):
        differ = {
            name: rows[i]
            for name, values in found.items()
            for i, said in enumerate(bits(values))
            if said != self.every[name][rows[i]]
        }
        assert not differ, f"beside {len(rows) - 1} others these rows are not the same: {differ}"


@pytest.fixture(scope="module", params=TASKS)
def world(request, tmp_path_factory):
    return Windows(request.param, tmp_path_factory.mktemp(request.param))


def test_a_row_alone_says_what_it_says_among_many(world):
    rows = np.random.default_rng(5).choice(len(world.merged.predictions), 10, replace=False)
    for row in [np.argmax(world.merged.predictions), *rows]:
        world.check(world.of(np.array([row])), [row])


def test_other_neighbours_in_another_order_change_nothing(world):
    random, n = np.random.default_rng(6), len(world.merged.predictions)
    for size in (2, 9, 64, n):
        rows = random.permutation(n)[:size]
        world.check(world.of(rows), rows)


@pytest.mark.soak
def test_the_roll_up_says_the_same_however_it_cuts_and_spreads_its_rows(world, monkeypatch):
    starts = np.arange(TILES) * HOUR
    grain = next(each for each in world.config.all_grains if each.name == "hour")
    tables = world.tables()

    def rolled(starts):
        tiles = TileTables(world.tiles, world.tiles.slice(0, 0), np.array([], int), tables)
        said = {}
        with Evaluation(world.config, tiles, world.config.declared, {}) as parts:
            for part in parts.batches(grain, starts, starts + HOUR):
                at = [
                    (int(part.starts[window]), code)
                    for window, code in zip(part.rows.window, part.rows.code, strict=True)
                ]
                for sli, of in part.values:
                    said |= {(sli.name, *where): each for where, each in zip(at, bits(of), strict=True)}
        return said

    whole = rolled(starts)
    assert len(whole) > TILES / 2 * len(world.config.declared)
    monkeypatch.setattr(evaluation, "CACHED", 1)
    monkeypatch.setitem(vars(world.config), "parallel", 3)
    assert rolled(starts) == whole
    found = rolled(starts[::-7])
    assert found == {key: whole[key] for key in found}
    assert len(found) > TILES / 7 / 3 * len(world.config.declared)


# What values are made of


@pytest.mark.parametrize("value", ["n / sum(n)", "n / sum(n) OVER ()", "row_number() OVER ()", "n * random()"])
def test_a_value_in_sql_that_looks_beyond_its_window_is_refused(value):
    with pytest.raises(ConfigError):
        from_sql({"n": "count(*)"}, value)


def test_an_extreme_of_zeros_has_one_sign_whatever_their_order(tmp_path):
    extremes = [{"name": f"{kind}_", "states": {"x": f"{kind}(-fare)"}, "value": "x"} for kind in ("min", "max")]
    chosen = config("regression", tmp_path, extremes)
    pairs = numbered(pairs_of("regression"), "regression").iloc[:40]
    for seed in range(4):
        fare = np.random.default_rng(seed).choice([0.0, -0.0], 40)
        made = tiled(chosen, pairs.assign(fare=fare), np.arange(40) % 5)
        for id in (id for id, state in chosen.states.items() if state.kind in ("min", "max")):
            assert not np.signbit(made.column(id).to_numpy()).any()


def test_a_sum_has_the_same_bits_beside_others_and_however_it_lies_in_memory():
    random = np.random.default_rng(8)
    for columns in (2, 3, 8, 9, 31, 200):
        terms = random.random((40, columns)) * 10.0 ** random.integers(-8, 8, (40, columns))
        whole = sum_last_axis(terms)
        twice = np.repeat(terms[..., None], 3, axis=-1)
        for made in (np.asfortranarray(terms), np.ascontiguousarray(terms.T).T, twice[..., 1], twice[:, ::1, 2]):
            assert sum_last_axis(made).tobytes() == whole.tobytes()
        flat = sums_by(np.repeat(np.arange(40), columns), terms.ravel(), 41)
        assert flat[40] == 0
        for i in range(40):
            assert sum_last_axis(terms[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
            assert sums_by(np.zeros(columns, int), terms[i], 1).tobytes() == flat[i : i + 1].tobytes()


FUNCTIONS = {
    **{name: getattr(np, name) for name in ("log", "log1p", "log2", "exp", "expm1", "sqrt", "tanh", "arctanh")},
    "power": lambda x: x ** (2 / 3),
    "cube": lambda x: x**3,
    "hypot": lambda x: np.hypot(x, 0.3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_a_number_the_same_bits_wherever_it_lies(name):
    """NumPy works on several numbers at once where the processor can, and on what is left over one by one.

    Not of arrays that lie backwards: with AVX-512 it takes these one by one, to other bits. No kernel gets one.
    """
    function, x = FUNCTIONS[name], np.random.default_rng(9).random(403)
    whole = function(x)
    for start in range(9):
        for end in (start + 1, start + 2, start + 7, start + 17, 403):
            assert function(x[start:end]).tobytes() == whole[start:end].tobytes()
    assert function(x[1::3]).tobytes() == whole[1::3].tobytes()


def test_no_kernel_turns_an_array_around():
    for wing in ("slis", "rollup", "judging"):
        for path in (Path(sli.__file__).parent / wing).rglob("*.py"):
            assert not re.search(r"::\s*-|\bflip", path.read_text()), path
