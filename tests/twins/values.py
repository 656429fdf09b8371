"""Twins of the SLIs of a column's values: NumPy and SciPy.

PARAMETERS are for tasks whose predictions are numbers, MULTICLASS replaces some of them where they are classes.
"""

from collections import Counter

import numpy as np
from scipy import stats
from twins.common import nan, over


def of_column(function, undefined=lambda x: x.empty):
    """A twin of the values of a numeric column."""
    return lambda d, of="prediction", **given: over(
        d[of].dropna().astype(float), lambda x: function(x.to_numpy(), **given), undefined
    )


def in_bin(x, edges, bin):
    return np.histogram(x, [-np.inf, *edges, np.inf])[0][bin] / len(x)


def share(d, value, of="prediction"):
    return over(d[of].dropna(), lambda x: np.mean([each == value for each in x]))


def mode_share(d, of="prediction", rank=1):
    found = Counter(d[of].dropna()).most_common()
    return found[rank - 1][1] / sum(n for _, n in found) if len(found) >= rank else nan


TWINS = {
    "mean": of_column(np.mean),
    "sum": of_column(np.sum),
    "std": of_column(stats.tstd, lambda x: len(x) < 2),
    "min": of_column(np.min),
    "max": of_column(np.max),
    "quantile": of_column(lambda x, q: np.quantile(x, q)),
    "histogram": of_column(in_bin),
    "null_rate": lambda d, of="prediction": float(np.mean(d[of].isna())),
    "missing_count": lambda d, of="prediction": float(np.sum(d[of].isna())),
    "share": share,
    "mode_share": mode_share,
    "distinct_count": lambda d, of="prediction": float(len(set(d[of].dropna()))),
}
PARAMETERS = {
    "mean": [{}, {"of": "fare"}],
    "sum": [{}, {"of": "fare"}],
    "std": [{}, {"of": "fare"}],
    "min": [{}, {"of": "fare"}],
    "max": [{}, {"of": "fare"}],
    "quantile": [{"q": 0.9}, {"q": 0.25, "of": "fare"}],
    "histogram": [{"edges": [0.25, 0.5], "bin": 1}, {"of": "fare", "edges": [1000, 2000], "bin": 2}],
    "null_rate": [{}, {"of": "fare"}],
    "missing_count": [{}, {"of": "fare"}],
    "share": [{"of": "region", "value": "o'süd, x"}, {"of": "prediction", "value": 0.25}],
    "mode_share": [{"of": "region"}, {"of": "region", "rank": 3}, {"of": "prediction"}],
    "distinct_count": [{}, {"of": "region"}],
}
MULTICLASS = {
    **{name: [{"of": "fare"}] for name in ("mean", "sum", "std", "min", "max")},
    "quantile": [{"q": 0.25, "of": "fare"}],
    "histogram": [{"of": "fare", "edges": [1000, 2000], "bin": 2}],
    "share": [{"value": "b"}, {"of": "region", "value": "north"}],
    "mode_share": [{}, {"of": "region", "rank": 2}],
}
