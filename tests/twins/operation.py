"""Twins of the SLIs of how the logs arrive: NumPy."""

import numpy as np
from twins.common import over


def freshness(d, log="predictions"):
    times = d.predicted_at if log == "predictions" else d.predicted_at[d.known_at.notna()]
    return over(times, lambda x: (d.attrs["end"] - round(np.max(x).timestamp() * 1e6)) / 1e6)


TWINS = {
    "count": len,
    "labelled": lambda d: float(np.sum(d.known_at.notna())),
    "coverage": lambda d: float(np.mean(d.known_at.notna())),
    "feedback_delay": lambda d, q=0.5: over(d.delay[d.labelled], lambda x: np.quantile(x, q)),
    "freshness": freshness,
}
PARAMETERS = {
    "feedback_delay": [{}, {"q": 0.9}],
    "freshness": [{}, {"log": "feedback"}],
}
