"""Twins of the SLIs of a binary task, from scikit-learn, SciPy and NumPy."""

from functools import partial

import numpy as np
from scipy.stats import binned_statistic
from sklearn import metrics
from twins.common import nan, over, usable, usable_pairs


def at_threshold(function, undefined=lambda *_: False):
    """A twin of labels and decisions as 0 and 1, at the config's threshold or at one's own."""

    def twin(d, threshold=None, **given):
        kept = usable_pairs(d)
        label = kept.label.to_numpy(dtype=bool)
        decision = kept.decision if threshold is None else kept.prediction.astype(float) >= threshold
        decision = decision.to_numpy(dtype=bool)
        if len(label) == 0 or undefined(label, decision):
            return nan
        return float(function(label.astype(int), decision.astype(int), **given))

    return twin


def cell(i, j):
    return at_threshold(lambda y, z: metrics.confusion_matrix(y, z, labels=[0, 1])[i, j])


def one_class(y, _):
    return y.all() or not y.any()


def prediction_rate(d, threshold=None):
    if threshold is None:
        return over(d.decision.dropna().astype(bool), np.mean)
    return over(d.prediction.dropna().astype(float), lambda p: np.mean(p >= threshold))


def cost(y, z, false_positive=1, false_negative=1, true_positive=0, true_negative=0):
    prices = np.array([[true_negative, false_positive], [false_negative, true_positive]])
    return (metrics.confusion_matrix(y, z, labels=[0, 1]) * prices).sum() / len(y)


def scored(function, undefined=lambda y: False):
    """A twin of labels as 0 and 1 and scores as floats."""
    return usable(
        lambda u, **given: function(u.label.astype(int).to_numpy(), u.prediction.astype(float).to_numpy(), **given),
        lambda u: undefined(u.label.to_numpy(dtype=bool)),
    )


def none_positive(y):
    return not y.any()


def by_bin(of, statistic, scores, bins):
    # SciPy's bins hold their lower edge, those of calibration errors their upper one: seen from 1 - s they agree.
    return binned_statistic(1 - scores, of, statistic, bins=bins, range=(0, 1)).statistic[::-1]


def ece(y, scores, bins=10):
    return np.abs(by_bin(y - scores, "sum", scores, bins)).sum() / len(y)


def of_bin(of, y, scores, bin, bins=10):
    return by_bin(of(y, scores), "mean", scores, bins)[bin]


def lift(y, scores, k):
    values, place, pairs = np.unique(-scores, return_inverse=True, return_counts=True)
    gained = np.concatenate([[0], np.cumsum(np.bincount(place, weights=y, minlength=len(values)))])
    depth = k / 100 * len(y)
    return np.interp(depth, np.concatenate([[0], np.cumsum(pairs)]), gained) / depth / y.mean()


def at_precision(y, scores, target, of):
    precision, recall, thresholds = metrics.precision_recall_curve(y, scores)
    reached = np.flatnonzero(precision[:-1] >= target)
    return {"recall": recall, "threshold": thresholds}[of][reached[0]] if len(reached) else nan


def pr_auc(y, scores):
    precision, recall, _ = metrics.precision_recall_curve(y, scores)
    return metrics.auc(recall, precision)


def best(of, where):
    """The best of one rate among the thresholds, one above all scores too, at which another satisfies a condition."""

    def twin(y, scores, target):
        tn, fp, fn, tp, _ = metrics.confusion_matrix_at_thresholds(y, scores)
        tn, fp, fn, tp = (np.append(end, x) for x, end in ((tn, (y == 0).sum()), (fp, 0), (fn, y.sum()), (tp, 0)))
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = {
                "recall": tp / (tp + fn),
                "specificity": tn / (tn + fp),
                "false_positive_rate": fp / (tn + fp),
                "precision": tp / (tp + fp),
            }
        return np.nanmax(rates[of][where(rates, target)])

    return twin


def at_least(name):
    return lambda rates, target: rates[name] >= target


TWINS = {
    "accuracy": at_threshold(metrics.accuracy_score),
    "precision": at_threshold(metrics.precision_score, lambda _, z: not z.any()),
    "recall": at_threshold(metrics.recall_score, lambda y, _: not y.any()),
    "specificity": at_threshold(partial(metrics.recall_score, pos_label=0), lambda y, _: y.all()),
    "false_positive_rate": at_threshold(lambda y, z: 1 - metrics.recall_score(y, z, pos_label=0), lambda y, _: y.all()),
    "false_negative_rate": at_threshold(lambda y, z: 1 - metrics.recall_score(y, z), lambda y, _: not y.any()),
    "negative_predictive_value": at_threshold(partial(metrics.precision_score, pos_label=0), lambda _, z: z.all()),
    "false_discovery_rate": at_threshold(lambda y, z: 1 - metrics.precision_score(y, z), lambda _, z: not z.any()),
    "false_omission_rate": at_threshold(
        lambda y, z: 1 - metrics.precision_score(y, z, pos_label=0), lambda _, z: z.all()
    ),
    "positive_rate": at_threshold(lambda y, _: np.mean(y)),
    "prediction_rate": prediction_rate,
    "f1": at_threshold(metrics.f1_score, lambda y, z: not (y | z).any()),
    "balanced_accuracy": at_threshold(metrics.balanced_accuracy_score, one_class),
    "mcc": at_threshold(metrics.matthews_corrcoef, lambda y, z: one_class(y, z) or one_class(z, y)),
    "cost": at_threshold(cost),
    "true_negatives": cell(0, 0),
    "false_positives": cell(0, 1),
    "false_negatives": cell(1, 0),
    "true_positives": cell(1, 1),
    "log_loss": scored(lambda y, p: metrics.log_loss(y, p, labels=[0, 1])),
    "brier": scored(metrics.mean_squared_error),
    "roc_auc": scored(metrics.roc_auc_score, lambda y: one_class(y, y)),
    "average_precision": scored(metrics.average_precision_score, none_positive),
    "pr_auc": scored(pr_auc, none_positive),
    "sensitivity_at_specificity": scored(best("recall", at_least("specificity")), lambda y: one_class(y, y)),
    "specificity_at_sensitivity": scored(best("specificity", at_least("recall")), lambda y: one_class(y, y)),
    "precision_at_recall": scored(best("precision", at_least("recall")), none_positive),
    "recall_at_false_positive_rate": scored(
        best("recall", lambda rates, target: rates["false_positive_rate"] <= target), lambda y: one_class(y, y)
    ),
    "ece": scored(ece),
    "calibration": scored(partial(of_bin, lambda y, _: y)),
    "calibration_score": scored(partial(of_bin, lambda _, scores: scores)),
    "lift": scored(lift, none_positive),
    "threshold_at_precision": scored(partial(at_precision, of="threshold"), none_positive),
    "recall_at_precision": scored(partial(at_precision, of="recall"), none_positive),
}
DECISIONS = (
    *("accuracy", "precision", "recall", "specificity", "false_positive_rate", "false_negative_rate"),
    *("true_negatives", "false_positives", "false_negatives", "true_positives"),
    *("prediction_rate", "f1", "balanced_accuracy", "mcc"),
    *("negative_predictive_value", "false_discovery_rate", "false_omission_rate"),
)
TARGETS = (
    *("sensitivity_at_specificity", "specificity_at_sensitivity"),
    *("precision_at_recall", "recall_at_false_positive_rate"),
)
PARAMETERS = {
    **{name: [{}, {"threshold": 0.25}] for name in DECISIONS},
    **{name: [{"target": 0.9}] for name in TARGETS},
    "cost": [
        *({}, {"false_positive": 5}, {"false_positive": 0.5, "false_negative": 2, "threshold": 1}),
        {"false_positive": 2, "false_negative": 8, "true_positive": -5, "true_negative": -0.5},
        {"false_positive": 0, "false_negative": 3, "true_positive": 1},
    ],
    "ece": [{}, {"bins": 3}],
    "calibration": [{"bin": 0}, {"bin": 4}, {"bin": 2, "bins": 3}],
    "calibration_score": [{"bin": 9}, {"bin": 1, "bins": 4}],
    "lift": [{"k": 30}, {"k": 100}, {"k": 1.5}],
    "threshold_at_precision": [{"target": 0.6}],
    "recall_at_precision": [{"target": 0.6}, {"target": 0.3}],
}
