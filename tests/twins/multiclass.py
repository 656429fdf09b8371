"""Twins of the multiclass SLIs, for the classes a, b and c with scores p_a, p_b and p_c."""

import numpy as np
from sklearn import metrics
from twins.common import nan, over, usable

CLASSES = ("a", "b", "c")
SCORES = ["p_a", "p_b", "p_c"]


def named(function):
    """A twin of labels and predictions as arrays of class names."""
    return usable(lambda u, **given: function(u.label.to_numpy(str), u.prediction.to_numpy(str), **given))


def rate(function):
    """scikit-learn's own averages; a class or a mean it knows nothing of is NaN."""

    def twin(y, z, label=None, average=None):
        labels, average = (CLASSES, average or "macro") if label is None else ([label], None)
        return np.squeeze(function(y, z, labels=list(labels), average=average, zero_division=nan))

    return named(twin)


def precision(y, z, **given):
    # scikit-learn falls back to a plain mean where every weight is 0; sli has no value there.
    apart = given.get("average") == "weighted" and not set(y) & set(z)
    return nan if apart else metrics.precision_score(y, z, **given)


def specificity(y, z, label=None, average=None):
    """From scikit-learn's matrix of each class against the rest."""
    cells = metrics.multilabel_confusion_matrix(y, z, labels=list(CLASSES)).astype(float)
    spared, wrong = cells[:, 0, 0], cells[:, 0, 1]
    if average == "micro":
        return spared.sum() / (spared.sum() + wrong.sum())
    with np.errstate(invalid="ignore"):
        each = spared / (spared + wrong)
    if label is not None:
        return each[CLASSES.index(label)]
    known = ~np.isnan(each)
    weights = (np.array([np.sum(y == name) for name in CLASSES]) if average == "weighted" else np.ones(3))[known]
    return np.average(each[known], weights=weights) if weights.any() else nan


def area(function, defined):
    """scikit-learn's area of each class against the rest, or its mean over the classes where it is defined."""

    def twin(y, p, label=None, average=None):
        each = {name: function(y == name, p[:, i]) for i, name in enumerate(CLASSES) if defined(np.mean(y == name))}
        if label is not None:
            return each.get(label, nan)
        weights = [np.sum(y == name) if average == "weighted" else 1 for name in each]
        return np.average(list(each.values()), weights=weights) if each else nan

    return scored(twin)


def mcc(y, z):
    return metrics.matthews_corrcoef(y, z) if len(set(y)) > 1 and len(set(z)) > 1 else nan


def kappa(y, z):
    return metrics.cohen_kappa_score(y, z) if len({*y, *z}) > 1 else nan


def confusion(y, z, label, decision):
    return metrics.confusion_matrix(y, z, labels=CLASSES)[CLASSES.index(label), CLASSES.index(decision)]


def scored(function):
    """A twin of labels and scores over the usable pairs with all scores."""

    def twin(d, **given):
        kept = d[d.usable & d[SCORES].notna().all(axis=1)]
        return over(kept, lambda u: function(u.label.to_numpy(str), u[SCORES].to_numpy(float), **given))

    return twin


own_score = scored(lambda y, p: np.mean(p[np.arange(len(y)), np.searchsorted(CLASSES, y)]))


def brier(y, p):
    return metrics.brier_score_loss(y, p, labels=CLASSES, scale_by_half=False)


def log_loss(y, p):
    """Each pair's loss by scikit-learn, which warns of scores that do not add up to 1, as a column of 1 - p and p."""
    own = p[np.arange(len(y)), np.searchsorted(CLASSES, y)]
    return metrics.log_loss(np.ones(len(own)), np.column_stack([1 - own, own]), labels=[0, 1])


TWINS = {
    "accuracy": named(metrics.accuracy_score),
    "precision": rate(precision),
    "recall": rate(metrics.recall_score),
    "f1": rate(metrics.f1_score),
    "specificity": named(specificity),
    "roc_auc": area(metrics.roc_auc_score, lambda share: 0 < share < 1),
    "average_precision": area(metrics.average_precision_score, lambda share: share > 0),
    "confusion": named(confusion),
    "balanced_accuracy": named(lambda y, z: metrics.recall_score(y, z, labels=np.unique(y), average="macro")),
    "mcc": named(mcc),
    "cohen_kappa": named(kappa),
    "log_loss": scored(log_loss),
    "brier": scored(brier),
    "top_k_accuracy": scored(lambda y, p, k: metrics.top_k_accuracy_score(y, p, k=k, labels=list(CLASSES))),
}
RATES = [{}, *({"label": name} for name in CLASSES), *({"average": name} for name in ("macro", "micro", "weighted"))]
PARAMETERS = {
    "precision": RATES,
    "recall": RATES,
    "f1": RATES,
    "specificity": [{}, {"label": "a"}, {"average": "micro"}, {"average": "weighted"}],
    "roc_auc": [{"average": "weighted"}, {"label": "b"}],
    "average_precision": [{}, {"label": "c"}],
    "confusion": [{"label": "a", "decision": "a"}, {"label": "c", "decision": "b"}],
    "top_k_accuracy": [{"k": 1}, {"k": 2}],
}
