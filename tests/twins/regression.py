"""Twins of the regression SLIs: scikit-learn, or NumPy where it has none."""

import numpy as np
from scipy import stats
from sklearn import metrics
from twins.common import errors, usable


def constant(u):
    return u.label.nunique() < 2


def varying(function):
    return usable(lambda u: function(u.label.astype(float), u.prediction.astype(float)), constant)


def logs(function):
    return usable(
        lambda u: function(u.label.astype(float), u.prediction.astype(float)),
        lambda u: (u.label <= -1).any() or (u.prediction <= -1).any(),
    )


TWINS = {
    "mae": errors(metrics.mean_absolute_error),
    "mse": errors(metrics.mean_squared_error),
    "rmse": errors(metrics.root_mean_squared_error),
    "bias": errors(lambda y, p: np.mean(p - y)),
    "error_std": usable(lambda u: stats.tstd((u.prediction - u.label).to_numpy(float)), lambda u: len(u) < 2),
    "r2": varying(metrics.r2_score),
    "explained_variance": varying(metrics.explained_variance_score),
    "mape": usable(
        lambda u: metrics.mean_absolute_percentage_error(u.label.astype(float), u.prediction.astype(float)),
        lambda u: (u.label == 0).any(),
    ),
    "wape": usable(
        lambda u: metrics.mean_absolute_error(u.label.astype(float), u.prediction) / np.mean(np.abs(u.label)),
        lambda u: (u.label == 0).all(),
    ),
    "smape": errors(lambda y, p: np.mean(np.nan_to_num(2 * np.abs(p - y) / (np.abs(y) + np.abs(p))))),
    "msle": logs(metrics.mean_squared_log_error),
    "rmsle": logs(metrics.root_mean_squared_log_error),
    "median_absolute_error": errors(metrics.median_absolute_error),
    "pinball": errors(lambda y, p, q: metrics.mean_pinball_loss(y, p, alpha=q)),
    "max_error": errors(metrics.max_error),
    "error_quantile": errors(lambda y, p, q: np.quantile(p - y, q)),
    "absolute_error_quantile": errors(lambda y, p, q: np.quantile(np.abs(p - y), q)),
}
PARAMETERS = {
    "pinball": [{"q": 0.9}, {"q": 0.5}],
    "error_quantile": [{"q": 0.1}, {"q": 0.5}],
    "absolute_error_quantile": [{"q": 0.9}],
}
