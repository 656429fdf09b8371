"""SLIs of how the logs arrive: how many predictions, how many of them labelled, how late the feedback, how recent.

Limit: they look at the predictions of a window, so if the predictions log stops altogether, only missing windows show
it.
"""

from __future__ import annotations

import numpy as np

from sli.errors import ConfigError, nearest
from sli.slis.catalogue.parameters import number_in
from sli.slis.formula import NO_LABELS, NOT_NEGATIVE, SHARE, Formula, Values, because, entry, histogram, plain
from sli.slis.kinds.extremes import MaxState
from sli.slis.maths.confidence import proportion
from sli.slis.maths.quantiles import quantile_of
from sli.slis.states import Merged

NO_PREDICTIONS = "no predictions"
LOGS: dict[str, tuple[str, str]] = {"predictions": ("true", NO_PREDICTIONS), "feedback": ("labelled", NO_LABELS)}
"""For each log the SQL condition of the predictions that count for `freshness`, and the reason if none does."""


@entry("count")
def count_() -> Formula:
    """Number of predictions."""
    return Formula({}, lambda s: plain(s.predictions.astype(np.float64)), range=NOT_NEGATIVE)


@entry("labelled")
def labelled() -> Formula:
    """Number of labelled predictions."""
    return Formula({}, lambda s: plain(s.labelled.astype(np.float64)), range=NOT_NEGATIVE)


@entry("coverage", better="higher", version=2)
def coverage() -> Formula:
    """Share of the predictions that are labelled."""
    return Formula(
        {},
        lambda s: proportion(s, s.labelled, s.predictions, (s.predictions == 0, NO_PREDICTIONS)),
        range=SHARE,
    )


@entry("feedback_delay", better="lower", unit="s", version=2)
def feedback_delay(q: float = 0.5) -> Formula:
    """q-quantile of the seconds from a prediction to the feedback that labels it."""
    q = number_in("q", q, 0, 1)
    return Formula(
        {"delays": histogram("delay", "labelled")},
        lambda s: quantile_of(s, s["delays"], q, NO_LABELS),
    )


@entry("freshness", better="lower", unit="s")
def freshness(log: str = "predictions") -> Formula:
    """Seconds from the newest prediction (log `feedback`: the newest labelled one) to the end of the window."""
    if log not in LOGS:
        raise ConfigError(
            f"there is no log '{log}'",
            where="log",
            expected="predictions or feedback",
            todo=nearest(str(log), LOGS),
        )
    where, missing = LOGS[log]

    def value(s: Merged) -> Values:
        # Doubles hold these microseconds exactly: they are whole numbers below 2^53.
        return plain((s.ends - s["newest"]) / 1e6, because((np.isnan(s["newest"]), missing)))

    states = {"newest": MaxState(of="epoch_us(predicted_at)::DOUBLE", where=where)}
    return Formula(states, value, range=NOT_NEGATIVE)
