"""Laws of the multiclass SLIs beyond those of every SLI: an interval has a width, a class must be one."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from sli.errors import ConfigError
from sli.slis.catalogue import class_scores, multiclass, one_vs_rest
from sli.slis.kinds.groups import Groups
from sli.slis.states import Merged

CLASSES = ("a", "b", "c")
RATES = [multiclass.precision, multiclass.recall, multiclass.f1]
WITHOUT_ERRORS = [one_vs_rest.specificity, multiclass.mcc, multiclass.cohen_kappa, multiclass.balanced_accuracy, *RATES]


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


@pytest.mark.parametrize("make", WITHOUT_ERRORS)
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
        (class_scores.log_loss, {"scores": {"cat": "p_cat"}}, "none for dog"),
        (one_vs_rest.specificity, {"label": "dgo"}, "did you mean 'dog'"),
        (one_vs_rest.roc_auc, {"scores": {"cat": "p_cat"}}, "none for dog"),
        (one_vs_rest.roc_auc, {"scores": {"cat": "p", "dog": "q"}, "average": "micro"}, "one of macro, weighted"),
        (class_scores.top_k_accuracy, {"k": 2, "scores": {"cat": "p", "dog": "q"}}, "1 to 1"),
    ],
)
def test_a_wrong_parameter_is_named(make, given, said):
    with pytest.raises(ConfigError, match=said):
        make(classes=("cat", "dog"), **given)
