"""SLIs of your own, as docs/sli.md describes them: a module in the folder of the config."""

import numpy as np

from sli.mergeable import Values, count, mean_of, mergeable, total


def f2(y_true, y_pred):
    """F-measure that holds recall twice as dear as precision."""
    right = np.sum(y_true * y_pred)
    return 5 * right / (4 * np.sum(y_true) + np.sum(y_pred))


def worst_mae(y_true, y_pred, slices, least=30):
    """The worst mean absolute error of a carrier with at least so many flights."""
    errors, (names,) = np.abs(y_pred - y_true), slices.values()
    found = [errors[names == name] for name in set(names) if name is not None]
    return max(each.mean() for each in found if len(each) >= least)


def weighted_bias(y_true, y_pred, weight):
    """Mean error, pairs without a weight left out."""
    known = ~np.isnan(weight)
    return np.average((y_pred - y_true)[known], weights=weight[known])


def error_growth(y_true, y_pred, reference):
    """Mean absolute error as a multiple of the reference's."""
    then_true, then_pred = reference
    return np.abs(y_pred - y_true).mean() / np.abs(then_pred - then_true).mean()


def overconfidence(y_true, y_pred, y_score):
    """Mean of the highest score less the share of right predictions."""
    return y_score.max(axis=1).mean() - np.mean(y_true == y_pred)


@mergeable(loss=total("abs(prediction - label) * weight", "usable"), weight=total("weight", "usable"))
def weighted_mae(s):
    return s["loss"] / s["weight"]


@mergeable(
    loss=total("ln(1 + abs(prediction - label))", "usable"),
    squares=total("ln(1 + abs(prediction - label)) ** 2", "usable"),
    n=count("usable"),
)
def log_error(s) -> Values:
    """Mean of ln(1 + |error|), with Student's interval."""
    return mean_of(s, s["loss"], s["squares"], s["n"], "no labelled predictions")
