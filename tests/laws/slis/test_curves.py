"""Laws of curves: what is read from histograms equals scikit-learn where exact and lies within its bound where not."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.metrics import average_precision_score, roc_auc_score
from twins import binary as twins

from sli.slis.kinds.histograms import Histograms
from sli.slis.kinds.rounding import rounded
from sli.slis.maths import curves

share = st.floats(0, 1)
close = st.integers(0, 40).map(lambda i: 0.3 + i * 2.0**-14)  # several fall on one rounded score
scored = st.lists(
    st.tuples(st.booleans(), st.one_of(share, close, st.sampled_from([0.0, 0.25, 0.5, 1.0]))), max_size=80
)
rows_of_scored = st.lists(scored, max_size=5)
TOLERANCE = 1e-12
# For laws of all kinds of curves at once, and where an example takes long: 30 examples in `make test`.
few = settings(max_examples=settings.default.max_examples * 3 // 10)


@pytest.fixture(autouse=True, scope="module")
def _without_checks_of_parameters():
    """They are a third of the time of thousands of calls on few pairs."""
    with config_context(skip_parameter_validation=True):
        yield


def histograms(rows, exact=True) -> Histograms:
    """Histograms of lists of (label, score), one a row, positive ones marked, rounded where they are not exact."""
    flags = np.broadcast_to(np.asarray(exact, dtype=bool), len(rows)).copy()
    keys, counts, marked = [np.array([])], [np.array([])], [np.array([])]
    for pairs, kept in zip(rows, flags, strict=True):
        scores = np.array([score for _, score in pairs], dtype=np.float64)
        scores = scores if kept else rounded(scores, "probability")
        labels = np.array([label for label, _ in pairs], dtype=np.float64)
        distinct, place = np.unique(scores, return_inverse=True)
        keys.append(distinct)
        counts.append(np.bincount(place, minlength=len(distinct)))
        marked.append(np.bincount(place, weights=labels, minlength=len(distinct)))
    offsets = np.cumsum([0, *(len(part) for part in keys[1:])])
    flat = [np.concatenate(part) for part in (keys, counts, marked)]
    return Histograms(offsets, flat[0], flat[1].astype(np.int64), flat[2].astype(np.int64), flags, "probability")


def curve(*rows, exact=True):
    return curves.curve_of(histograms(rows, exact))


def arrays(pairs):
    return np.array([int(label) for label, _ in pairs]), np.array([s for _, s in pairs], dtype=np.float64)


def both_classes(pairs):
    return len({label for label, _ in pairs}) == 2


def any_positive(pairs):
    return any(label for label, _ in pairs)


TARGET = 0.75
AT_TARGET = {
    "recall at specificity": (
        curves.recall_at_specificity,
        twins.best("recall", twins.at_least("specificity")),
        both_classes,
    ),
    "specificity at recall": (
        curves.specificity_at_recall,
        twins.best("specificity", twins.at_least("recall")),
        both_classes,
    ),
    "precision at recall": (
        curves.precision_at_recall,
        twins.best("precision", twins.at_least("recall")),
        any_positive,
    ),
    "recall at false positive rate": (
        curves.recall_at_false_positive_rate,
        twins.best("recall", lambda rates, target: rates["false_positive_rate"] <= target),
        both_classes,
    ),
}
# By name: of a curve, of plain labels and scores, where defined.
KINDS = {
    "roc_auc": (curves.roc_area, roc_auc_score, both_classes),
    "average_precision": (curves.average_precision, average_precision_score, any_positive),
    **{
        f"lift {k}": (lambda c, k=k: curves.lift(c, k / 100), lambda y, s, k=k: twins.lift(y, s, k), any_positive)
        for k in (0.5, 10, 33, 100)
    },
    "pr_auc": (curves.precision_recall_area, twins.pr_auc, any_positive),
    **{
        name: (lambda c, best=best: best(c, TARGET), lambda y, s, twin=twin: twin(y, s, TARGET), defined)
        for name, (best, twin, defined) in AT_TARGET.items()
    },
    **{
        f"{of} at precision {target}": (
            lambda c, of=of, target=target: getattr(curves.at_precision(c, target), of),
            lambda y, s, of=of, target=target: twins.at_precision(y, s, target, of),
            any_positive,
        )
        for of in ("recall", "threshold")
        for target in (0.0, 0.4, 0.75, 1.0)
    },
}


def expected(kind, pairs):
    _, twin, defined = KINDS[kind]
    return float(twin(*arrays(pairs))) if defined(pairs) else math.nan


@few
@given(rows=rows_of_scored)
def test_exact_histograms_give_what_plain_rows_give(rows):
    of_rows = curve(*rows)
    for kind, (of_curve, _, defined) in KINDS.items():
        estimate = of_curve(of_rows)
        for i, pairs in enumerate(rows):
            if defined(pairs):
                truth = expected(kind, pairs)
                assert estimate.value[i] == pytest.approx(truth, abs=TOLERANCE, nan_ok=True), kind
                assert math.isnan(estimate.value[i]) or estimate.bound[i] == 0, kind


@few
@given(pairs=scored)
@example(pairs=[(False, 0.3 + 2.0**-14), (False, 0.3 + 2 * 2.0**-14), (True, 1.0)])
@example(pairs=[(False, 0.3 + 2.0**-14), (True, 0.3 + 2 * 2.0**-14)])
def test_rounded_histograms_give_a_value_within_its_bound(pairs):
    assume(any_positive(pairs))
    of_pairs = curve(pairs, exact=False)
    for kind, (of_curve, _, defined) in KINDS.items():
        if not defined(pairs):
            continue
        estimate, truth = of_curve(of_pairs), expected(kind, pairs)
        if math.isnan(estimate.value[0]):
            doubtful = curves.at_precision(of_pairs, float(kind.split()[-1])).doubtful[0]
            assert doubtful or math.isnan(truth), kind
        else:
            assert abs(estimate.value[0] - truth) <= estimate.bound[0] * (1 + TOLERANCE) + TOLERANCE, kind


@few
@given(before=scored, pairs=scored)
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(before, pairs):
    assume(any_positive(pairs))
    one_row, several = curve(pairs), curve(before, [], pairs, before)
    for kind, (of_curve, _, defined) in KINDS.items():
        if defined(pairs):
            for alone, beside in zip(of_curve(one_row)[:3], of_curve(several)[:3], strict=True):
                assert alone[0].tobytes() == beside[2].tobytes(), kind


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("recall at specificity", 0.9, 0.5),  # 9 of 10 is 0.9: the second positive may be taken with one negative
        ("recall at specificity", 0.91, 0.25),
        ("recall at specificity", 1, 0.25),
        ("recall at specificity", 0, 1),
        ("recall at false positive rate", 0.1, 0.5),
        ("recall at false positive rate", 0.09, 0.25),
        ("recall at false positive rate", 0, 0.25),
        ("specificity at recall", 0, 1),  # no pair is decided for: that is a threshold too
        ("specificity at recall", 0.25, 1),
        ("specificity at recall", 0.26, 0.9),
        ("specificity at recall", 1, 0.5),
        ("precision at recall", 0, 1),
        ("precision at recall", 0.5, 2 / 3),
        ("precision at recall", 0.51, 4 / 9),  # the threshold above, 3 of 8, reaches the recall too
    ],
)
def test_a_rate_at_a_target_is_the_best_over_all_thresholds_that_reach_it(name, target, expected):
    labels = "+ -+ ----+ + -----"
    scores = np.repeat(np.linspace(0.9, 0.1, 5), [len(part) for part in labels.split()])
    pairs = [(part == "+", score) for part, score in zip(labels.replace(" ", ""), scores, strict=True)]
    estimate = AT_TARGET[name][0](curve(pairs), target)
    assert estimate.value[0] == pytest.approx(expected, abs=1e-15)
    assert estimate.bound[0] == 0


def test_a_threshold_above_all_scores_counts_where_the_highest_score_is_a_negatives():
    pairs = [(False, 0.9), (True, 0.5)]
    assert AT_TARGET["recall at specificity"][0](curve(pairs), 1).value[0] == 0
    assert AT_TARGET["recall at false positive rate"][0](curve(pairs), 0).value[0] == 0
    assert AT_TARGET["specificity at recall"][0](curve(pairs), 0).value[0] == 1
    assert AT_TARGET["precision at recall"][0](curve(pairs), 0).value[0] == 0.5  # above all there is no precision


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
@pytest.mark.parametrize("kind", KINDS)
def test_empty_rows_are_undefined_and_no_error(kind, rows):
    estimate = KINDS[kind][0](curve(*rows))
    assert len(estimate.value) == len(estimate.bound) == len(estimate.error) == len(rows)
    assert np.isnan(estimate.value).all()


@pytest.mark.parametrize(("kind", "most"), [("roc_auc", 0.002), ("average_precision", 0.02), ("lift 10", 0.05)])
def test_many_close_scores_have_a_small_bound(kind, most):
    random = np.random.default_rng(3)
    labels = random.random(200_000) < 0.01
    scores = 1 - np.exp(-random.exponential(9, 200_000) - labels)
    estimate = KINDS[kind][0](curve(list(zip(labels, scores, strict=True)), exact=False))
    truth = KINDS[kind][1](labels.astype(int), scores)
    assert abs(estimate.value[0] - truth) <= estimate.bound[0] <= most


@given(pairs=scored)
def test_the_error_of_an_area_is_delongs(pairs):
    y, s = arrays(pairs)
    assume(y.sum() >= 2 and (1 - y).sum() >= 2)
    right = (s[y == 1][:, None] > s[y == 0]) + (s[y == 1][:, None] == s[y == 0]) / 2
    parts = (np.var(right.mean(axis=1 - axis), ddof=1) / right.shape[axis] for axis in (0, 1))
    assert curves.roc_area(curve(pairs)).error[0] == pytest.approx(math.sqrt(sum(parts)), abs=1e-9)


@few
@given(pairs=scored)
def test_the_error_of_average_precision_is_that_of_its_derivatives_by_the_pairs_weights(pairs):
    y, s = arrays(pairs)
    assume(0 < y.sum() < len(y))
    step = 1e-5
    slopes = []
    for i in range(len(y)):
        weights = np.ones((2, len(y)))
        weights[:, i] += [step, -step]
        up, down = (average_precision_score(y, s, sample_weight=w) for w in weights)
        slopes.append((up - down) / (2 * step))
    assert curves.average_precision(curve(pairs)).error[0] == pytest.approx(math.hypot(*slopes), abs=1e-6)


def test_the_running_sums_of_a_row_have_the_same_bits_long_or_short_and_in_any_company(monkeypatch):
    random = np.random.default_rng(3)
    sizes = [3, 0, 1500, 1024, 1023, 7, 40_000, 1, 2, 900]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    counts = random.integers(1, 9, offsets[-1])
    keys = np.concatenate([np.sort(random.random(size)) for size in sizes])
    terms = random.random(offsets[-1]) ** 20
    together = curves.curve_of(Histograms(offsets, keys, counts, counts // 2, np.full(len(sizes), True)))
    sums = together.running(terms)
    for first, last in itertools.pairwise(offsets):
        row = keys[first:last], counts[first:last], counts[first:last] // 2
        alone = curves.curve_of(Histograms(np.array([0, last - first]), *row, np.array([True])))
        assert alone.running(terms[first:last]).tobytes() == sums[first:last].tobytes()
    monkeypatch.setattr(curves, "LONG", 1 << 30)
    assert together.running(terms).tobytes() == sums.tobytes()
