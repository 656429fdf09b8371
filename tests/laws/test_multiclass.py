"""Laws of the multiclass SLIs beyond those of every SLI: worst-case bounds are attained, a class must be one."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from sli.errors import ConfigError
from sli.slis import multiclass, one_vs_rest
from sli.slis.states import Groups, Merged

CLASSES = ("a", "b", "c")
RATES = [multiclass.precision, multiclass.recall, multiclass.f1]
BOUNDED = [
    *((make, {"label": name}) for make in RATES for name in CLASSES),
    *((make, {"average": "micro"}) for make in RATES),
    (multiclass.accuracy, {}),
    (multiclass.recall, {"average": "weighted"}),
    (multiclass.confusion, {"label": "a", "decision": "b"}),
    (one_vs_rest.specificity, {"label": "b"}),
    (one_vs_rest.specificity, {"average": "micro"}),
]
UNBOUNDED = [one_vs_rest.specificity, multiclass.mcc, multiclass.cohen_kappa, multiclass.balanced_accuracy, *RATES]


def groups(keys):
    found = sorted(Counter(keys).items())
    counts = np.array([n for _, n in found], dtype=np.int64)
    names = np.array([key for key, _ in found], dtype=object)
    return Groups(np.array([0, len(found)]), names, counts, np.zeros(len(found)))


def merged(d):
    """What the kernel makes of the pairs of one window."""
    kept, waiting = d[d.usable], d[d.label.isna() & d.prediction.notna()]
    states = {"cells": groups(kept.label + "\x1f" + kept.prediction), "waiting": groups(waiting.prediction)}
    return Merged(np.array([len(d)]), np.array([d.label.notna().sum()]), states, np.zeros(1, dtype=np.int64))


def pairs(labels, predictions):
    made = pd.DataFrame({"label": labels, "prediction": predictions}, dtype=object)
    return made.assign(usable=made.label.notna() & made.prediction.notna())


@pytest.mark.parametrize(("make", "parameters"), BOUNDED)
def test_worst_case_bounds_are_the_extremes_over_all_labellings(make, parameters):
    random, formula, seen = np.random.default_rng(11), make(classes=CLASSES, **parameters), 0
    for _ in range(40):
        known, open_ = random.integers(1, 6), random.integers(0, 4)
        labels = list(random.choice(CLASSES, known))
        predictions = list(random.choice([*CLASSES, None], known + open_))
        found = formula.value(merged(pairs([*labels, *[None] * open_], predictions)))
        if found.reason[0] is not None:
            assert np.isnan([found.missing_low[0], found.missing_high[0]]).all()
            continue
        labellings = itertools.product(CLASSES, repeat=int(open_))
        values = [formula.on_rows(pairs([*labels, *each], predictions)) for each in labellings]
        assert found.missing_low[0] == pytest.approx(min(values), abs=1e-12)
        assert found.missing_high[0] == pytest.approx(max(values), abs=1e-12)
        seen += 1
    assert seen > 10


@pytest.mark.parametrize("make", UNBOUNDED)
def test_a_window_without_errors_does_not_have_an_interval_without_width(make):
    labels = ["a", "b", "c"] * 20
    found = make(classes=CLASSES).value(merged(pairs(labels, labels)))
    assert found.value[0] == found.high[0] == 1
    assert 0.8 < found.low[0] < 0.99


@pytest.mark.parametrize(
    ("make", "given", "said"),
    [
        (multiclass.recall, {"label": "cta"}, "did you mean 'cat'"),
        (multiclass.f1, {"average": "makro"}, "did you mean 'macro'"),
        (multiclass.precision, {"label": "cat", "average": "macro"}, "either `label` or `average`"),
        (multiclass.confusion, {"label": "cat", "decision": "dgo"}, "did you mean 'dog'"),
        (multiclass.log_loss, {"scores": {"cat": "p_cat"}}, "none for dog"),
        (one_vs_rest.specificity, {"label": "dgo"}, "did you mean 'dog'"),
        (one_vs_rest.roc_auc, {"scores": {"cat": "p_cat"}}, "none for dog"),
        (one_vs_rest.roc_auc, {"scores": {"cat": "p", "dog": "q"}, "average": "micro"}, "one of macro, weighted"),
        (multiclass.top_k_accuracy, {"k": 2, "scores": {"cat": "p", "dog": "q"}}, "1 to 1"),
    ],
)
def test_a_wrong_parameter_is_named(make, given, said):
    with pytest.raises(ConfigError, match=said):
        make(classes=("cat", "dog"), **given)
