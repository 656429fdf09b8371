"""Laws of differences of two values: intervals hold the true difference, formulas are those of published tables, and an
SLI of pairs that are drawn again is the SLI of these rows."""

import itertools

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from overlaps import Population, coverage
from scipy import stats
from sklearn import config_context
from worlds import CLASSES, built_in, config_of, pairs_of, series, twin_of

from sli.config.load import checked
from sli.matching.pairs import pairs_sql
from sli.matching.spec import Spec
from sli.slis import TASKS, entries
from sli.slis.formula import plain
from sli.slis.kinds.terms import Reader
from sli.slis.maths.confidence import wilson
from sli.slis.maths.differences import mcnemar, of_independent, of_paired_shares, of_resamples, of_sharing
from sli.slis.paired import Requests
from sli.slis.terms import Terms, drawn_alone, drawn_at_random, drawn_once, states_of_pairs, terms_sql
from sli.tiles.aggregate import queries_sql

LEVEL = 0.95


# Formulas


# Only first, only second: p values of Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13: 91.
PUBLISHED_P = {(1, 7): 0.039, (6, 16): 0.035}


@pytest.mark.parametrize("table", PUBLISHED_P)
def test_the_p_value_is_the_published_one(table):
    assert round(float(mcnemar(*table)), 3) == PUBLISHED_P[table]


def test_the_p_value_is_the_exact_one_less_half_the_chance_of_what_was_seen():
    only_first, only_second = (counts.ravel() for counts in np.meshgrid(np.arange(11), np.arange(11)))
    for b, c, found in zip(only_first, only_second, mcnemar(only_first, only_second), strict=True):
        exact = stats.binomtest(int(b), int(b + c), 0.5).pvalue if b + c else 1.0
        seen = stats.binom.pmf(b, b + c, 0.5) * (2 if b != c else 1)
        assert found == pytest.approx(min(1, exact - seen / 2) if b != c else 1, abs=1e-12)
    assert 0.04 < mcnemar(500_000, 502_000) < 0.05


# Both, only first, only second, neither: Newcombe (1998, Statistics in Medicine 17: 2635), method 10; and Fagerland,
# Lydersen and Laake (2014, Statistics in Medicine 33: 2850), tables 1 and 2, as the R package contingencytables has it.
PUBLISHED_ENDS = {
    (36, 2, 12, 0): (0.0569, 0.3404),
    (1, 7, 1, 12): (-0.5069, -0.0256),
    (59, 16, 6, 80): (-0.1186, -0.0046),
}


@pytest.mark.parametrize("table", PUBLISHED_ENDS)
def test_the_interval_of_paired_shares_is_the_published_one(table):
    found = of_paired_shares(*table, LEVEL)
    assert (round(float(found.low), 4), round(float(found.high), 4)) == PUBLISHED_ENDS[table]


def shares(part, whole):
    part, whole = np.asarray(part), np.asarray(whole)
    return plain(part / whole, np.full(len(part), None, dtype=object)).within(*wilson(part, whole, LEVEL))


def test_the_interval_of_independent_shares_is_the_published_one():
    # Newcombe (1998, Statistics in Medicine 17: 873), table II: 56/70 and 48/80, 9/10 and 3/10, 10/10 and 0/20.
    first, second = shares([56, 9, 10], [70, 10, 10]), shares([48, 3, 0], [80, 10, 20])
    found = of_independent(second, first)
    assert found.low.round(4).tolist() == [0.0524, 0.1705, 0.6791]
    assert found.high.round(4).tolist() == [0.3339, 0.8090, 1.0]


def test_the_other_way_round_the_difference_and_its_ends_change_their_signs():
    table = 30, 3, 9, 12
    there, back = of_paired_shares(*table, LEVEL), of_paired_shares(30, 9, 3, 12, LEVEL)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-15)
    a, b = shares([9], [40]), shares([30], [50])
    there, back = of_independent(a, b), of_independent(b, a)
    assert (there.low[0], there.high[0]) == pytest.approx((-back.high[0], -back.low[0]), abs=1e-15)


def test_no_interval_leaves_what_is_possible_and_every_one_holds_its_value():
    for table in itertools.product(range(4), repeat=4):
        found = of_paired_shares(*table, LEVEL)
        if not sum(table):
            assert np.isnan(found.low)
            continue
        assert found.low + 1e-15 >= -1
        assert found.high - 1e-15 <= 1
        assert found.low - 1e-15 <= found.value <= found.high + 1e-15
        assert 0 < mcnemar(table[1], table[2]) <= 1


def test_too_few_resamples_with_a_value_give_no_interval():
    values = np.where(np.arange(100) < 11, np.nan, 1.0)
    assert np.isnan(of_resamples(values, 50, LEVEL)).all()
    assert of_resamples(values[2:], 50, LEVEL) == (1.0, 1.0)
    assert np.isnan(of_resamples(values[11:], 1, LEVEL)).all()


# Coverage


def covers(found, true):
    return np.mean((found.low <= true + 1e-12) & (true - 1e-12 <= found.high))


RATES = [(0.5, 0.5), (0.9, 0.8), (0.9, 0.9), (0.98, 0.95), (0.99, 0.99), (0.02, 0.3)]


def check_independent_shares(numbers, draws):
    random = np.random.default_rng(3)
    for (n, m), (p, q) in itertools.product(numbers, RATES):
        sizes = np.full(draws, n), np.full(draws, m)
        found = of_independent(
            shares(random.binomial(n, p, draws), sizes[0]), shares(random.binomial(m, q, draws), sizes[1])
        )
        assert covers(found, q - p) > 0.925, (n, m, p, q)


def cells(p, q, correlation):
    """Chances of both, first, second and neither: two normal variables with this correlation, each cut at its rate."""
    joint = stats.multivariate_normal(cov=[[1, correlation], [correlation, 1]])
    both = joint.cdf([stats.norm.ppf(p), stats.norm.ppf(q)])
    chances = np.maximum([both, p - both, q - both, 1 - p - q + both], 0)
    return chances / chances.sum()


def check_paired_shares(numbers, draws):
    random = np.random.default_rng(4)
    for n, (p, q), correlation in itertools.product(numbers, RATES, (0, 0.8)):
        both, first, second, neither = random.multinomial(n, cells(p, q, correlation), draws).T
        found = of_paired_shares(both, first, second, neither, LEVEL)
        assert covers(found, q - p) > 0.935, (n, p, q, correlation)
        if p == q:
            assert np.mean(mcnemar(first, second) <= 0.05) < 0.06, (n, p, correlation)
        if correlation and n >= 200 and p == 0.5:
            # What pairing is for: the interval of the same counts, taken as independent, is much wider.
            apart = of_independent(shares(both + first, np.full(draws, n)), shares(both + second, np.full(draws, n)))
            assert np.mean(found.high - found.low) < 0.7 * np.mean(apart.high - apart.low)


def test_intervals_of_shares_hold_the_true_difference():
    check_independent_shares([(20, 20), (20, 200), (2000, 2000)], 4000)
    check_paired_shares([10, 50, 2000], 4000)


@pytest.mark.soak
def test_intervals_of_shares_hold_the_true_difference_in_many_worlds():
    check_independent_shares([(10, 10), (20, 1000), (50, 50), (200, 100), (1000, 1000)], 50_000)
    check_paired_shares([10, 20, 30, 100, 200, 500, 5000], 50_000)


@pytest.mark.parametrize("name", ["accuracy", "recall", "roc_auc", "mae"])
@pytest.mark.parametrize("case", ["half", "nested"])
def test_intervals_of_values_that_share_pairs_hold_the_true_difference_and_are_narrower(name, case):
    population = Population.of(name)
    found, apart = (coverage(population, how, 200, 400) for how in (case, "disjoint"))
    assert 0.92 < found["held"] < 0.985
    assert found["width"] < 0.8 * apart["width"]


def test_without_a_shared_pair_the_interval_is_that_of_independent_values():
    a, b = shares([9, 3], [40, 8]), shares([30, 0], [50, 5])
    assert np.array_equal(of_sharing(a, b, [0, 0], [40, 8], [50, 5]), of_independent(a, b))
    nothing = of_sharing(shares([1], [2]), shares([1], [2]), [0], [0], [0])
    assert nothing.value.tolist() == [0]


def requests_of(con, formula, labels, sides):
    """Requests that two sides gave these scores."""
    states = states_of_pairs(formula).values()
    queries = []
    for side, scores in zip(("first", "second"), sides, strict=True):
        known = np.ones(len(labels), bool)
        frame = {"label": labels, "prediction": scores, "decision": scores >= 0.5, "labelled": known, "usable": known}
        con.register(side, pa.table({"id": np.arange(len(labels)), **frame}))
        terms = {"labelled": "labelled", **terms_sql(states)}
        columns = "".join(f', {sql} AS "{side}:{name}"' for name, sql in terms.items())
        queries.append(f"(SELECT id{columns} FROM {side})")
    joined = (
        f"SELECT * EXCLUDE (id), count(*) AS times FROM {' JOIN '.join(queries)} USING (id) GROUP BY ALL ORDER BY ALL"
    )
    table = con.sql(joined).to_arrow_table()
    return Requests(formula, table.drop_columns(["times"]), table.column("times").to_numpy(), {}, 0, LEVEL)


def scored(random, n, correlation):
    """Labels and the scores of two sides, the second somewhat better, with correlated errors."""
    labels = random.random(n) < 0.4
    errors = random.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], n)
    skill = np.array([0.8, 1.0])
    return labels, (1 / (1 + np.exp(-(skill * (2 * labels - 1)[:, None] + errors)))).T


def bootstrap_coverage(name, n, correlation, draws):
    """The share of intervals that hold the true difference, and their mean width."""
    formula, random = entries("binary")[name].make(), np.random.default_rng(6)
    with duckdb.connect(config={"threads": 1}) as con:
        true = requests_of(con, formula, *scored(random, 100_000, correlation))
        values = [formula.value(side.merged(drawn_once(true.times))).value[0] for side in true._terms(True)]
        found = [requests_of(con, formula, *scored(random, n, correlation)).difference() for _ in range(draws)]
    # Few requests may have the same positive decisions on both sides: then a precision is a share of them.
    assert np.mean([each.resamples > 0 for each in found]) > 0.95
    held = [each.low <= values[1] - values[0] <= each.high for each in found]
    return np.mean(held), np.mean([each.high - each.low for each in found])


@pytest.mark.parametrize("name", ["roc_auc", "log_loss"])
def test_bootstrapped_intervals_hold_the_true_difference_and_are_narrower_where_errors_go_together(name, monkeypatch):
    monkeypatch.setattr("sli.slis.paired.RESAMPLES", 199)
    held, wide = bootstrap_coverage(name, 60, 0, 40)
    assert held > 0.86
    held, narrow = bootstrap_coverage(name, 60, 0.8, 40)
    assert held > 0.86
    assert narrow < 0.75 * wide


@pytest.mark.soak
@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "brier", "precision", "f1", "mcc"])
@pytest.mark.parametrize("correlation", [0, 0.8])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_bootstrapped_intervals_hold_the_true_difference_in_many_worlds(name, n, correlation):
    held, _ = bootstrap_coverage(name, n, correlation, 400)
    # Of 30 requests a precision rests on about 12, and an interval of so few is too narrow.
    least = 0.925 if n >= 100 else 0.8 if name == "precision" else 0.88
    assert held > least


# Drawing pairs again


class Drawn:
    """A world of a task, what each of its pairs (or queries) adds to every SLI, and the rows of each."""

    def __init__(self, task, folder):
        pairs = pairs_of(task)
        few = (
            pairs["query"].isin(pairs["query"].unique()[-60:]) if task == "ranking" else pairs.index >= len(pairs) - 400
        )
        self.pairs = pairs[few].reset_index(drop=True)
        tree = config_of(task, built_in(task))
        paths = {log: {**tree[log], "path": str(folder / log)} for log in ("predictions", "feedback")}
        self.pairs.to_parquet(folder / "reference.parquet")
        self.config = checked({**tree, **paths, "store": str(folder / "results"), "folder": str(folder)})
        self.con = duckdb.connect()
        self.con.execute("SET TimeZone='UTC'")
        self.con.register("raw", numbered(self.pairs, task))
        self.spec = Spec.of(self.config, 0, [], (), 1)
        self.con.execute(f"CREATE VIEW pairs AS {pairs_sql(self.spec)} FROM raw")

    def terms(self, formula):
        """The terms of an SLI, and for each the numbers of its rows."""
        by_query = any(state.unit == "query" for state in formula.states.values())
        columns = {"labelled": "complete" if by_query else "labelled", **terms_sql(formula.states.values())}
        selected = ", ".join(f'{sql} AS "side:{name}"' for name, sql in columns.items())
        source = f"({queries_sql((), self.spec)}) ORDER BY query" if by_query else "pairs ORDER BY k"
        table = self.con.sql(f"SELECT {selected} FROM {source}").to_arrow_table()
        rows = [[i] for i in range(len(self.pairs))]
        if by_query:
            rows = [[*group.index] for _, group in self.pairs.groupby("query", sort=True)]
        return Terms.of(Reader(table, "side:", {}, False), states_of_pairs(formula), 10**15, LEVEL), rows

    def frame(self, rows, times):
        """The rows of each group, as often as it is drawn; a query that is drawn again is another query."""
        groups = [(i, copy) for i in np.flatnonzero(times) for copy in range(times[i])]
        number = np.repeat(np.arange(len(groups)), [len(rows[i]) for i, _ in groups])
        frame = self.pairs.iloc[[row for i, _ in groups for row in rows[i]]].reset_index(drop=True)
        frame["query"] = np.char.add("q", number.astype(str))
        frame.attrs.update(end=pd.Timestamp(10**15, unit="us", tz="UTC"), tile="60min")
        return frame


def numbered(pairs, task):
    """The pairs as the join leaves them: label and prediction as numbers."""
    place = {name: float(i) for i, name in enumerate(CLASSES)}
    columns = [name for name in pairs if name in ("region", "fare", "kind", "query", "p_a", "p_b", "p_c")]
    raw = pairs[columns].assign(tile=0, k=np.arange(len(pairs), dtype=np.uint64))
    for name, of in (("truth", "label"), ("value", "prediction")):
        raw[name] = (pairs[of].map(place) if task == "multiclass" else pairs[of]).astype("float64")
    raw["t"], known = (pairs[name].dt.as_unit("us").astype("int64").to_numpy() for name in ("predicted_at", "known_at"))
    return raw.assign(f_t=pd.array(np.where(pairs.labelled, known, 0), dtype="Int64"))


@pytest.fixture(scope="module", params=TASKS)
def drawn(request, tmp_path_factory):
    return Drawn(request.param, tmp_path_factory.mktemp(request.param))


@config_context(skip_parameter_validation=True)  # much of the time of thousands of calls on few pairs
def test_an_sli_of_pairs_that_are_drawn_again_is_the_sli_of_these_rows(drawn):
    tried, frames, task = 0, {}, drawn.config.task
    for sli in drawn.config.declared:
        if sli.reference is not None or any(not state.resamples for state in sli.formula.states.values()):
            continue
        tried += 1
        terms, rows = drawn.terms(sli.formula)
        n = len(terms)
        times = [np.ones(n, dtype=np.int64), np.bincount(np.random.default_rng(8).integers(0, n, n), minlength=n)]
        if n not in frames:
            alone = [(np.arange(n) == i).astype(int) for i in range(3, 9)]
            frames[n] = [drawn.frame(rows, each) for each in (*times, *alone)]
        kind, parameters = series(task)[sli.name]
        expected = [float(twin_of(task, kind)(frame, **parameters)) for frame in frames[n]]
        matrices = drawn_at_random(times), drawn_alone(3, 9, n)
        found = np.concatenate([sli.formula.value(terms.merged(matrix)).value for matrix in matrices])
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True), sli.name
        once = sli.formula.value(terms.merged(drawn_once(times[1]))).value[0]
        assert once == pytest.approx(found[1], rel=1e-12, nan_ok=True), sli.name
    assert tried > (15 if task != "ranking" else 10)
