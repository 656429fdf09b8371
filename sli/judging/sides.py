"""An SLI in one window, and its change from one window to another, each with its interval.

Limit: one slice; the two windows of a change share no predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from sli.calendar.interval import Interval, moment
from sli.config.model import Config
from sli.planning.late_feedback import Horizon
from sli.planning.published import Published
from sli.reading.figures import Row, rows_of
from sli.reading.query import query
from sli.slis.formula import Values
from sli.slis.maths.differences import of_independent


@dataclass(frozen=True, kw_only=True)
class Side:
    """An SLI in one window of one slice. A number that there is none of is NaN; `reason` says why there is no value.

    `low` and `high` are the confidence interval, `missing_low` and `missing_high` the bounds over the missing labels.
    """

    start: pd.Timestamp
    end: pd.Timestamp
    value: float
    reason: str | None
    low: float
    high: float
    missing_low: float
    missing_high: float
    predictions: int
    labelled: int
    maturity: str
    verdict: str | None = None

    @property
    def coverage(self) -> float:
        """labelled / predictions; NaN without predictions."""
        return self.labelled / self.predictions if self.predictions else np.nan


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value now minus the value before, with the interval of that difference; NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the interval says that the value rose or fell."""
        return self.low > 0 or self.high < 0

    @property
    def judged(self) -> bool:
        """Whether there is an interval."""
        return not np.isnan(self.low)


def side_of(row: Row) -> Side:
    """The side that a row of `query` or of `results` is."""
    return Side(
        start=row.window_start,
        end=row.window_end,
        value=row.value,
        reason=row.reason if isinstance(row.reason, str) else None,
        low=row.ci_low,
        high=row.ci_high,
        missing_low=row.missing_low,
        missing_high=row.missing_high,
        predictions=row.predictions,
        labelled=row.labelled,
        maturity=row.maturity,
        verdict=row.verdict if isinstance(row.verdict, str) else None,
    )


def sides_in(
    config: Config,
    published: Published,
    slis: Sequence[str],
    window: Interval | None,
    slice: Mapping[str, str | None] | None = None,
) -> list[Side]:
    """The side of each of the SLIs in a window of a slice (default: the whole). Raises SliError.

    None is the time before `since`, where nothing is.
    """
    if window is None:
        return [_empty(config, published, Interval(config.since_instant, config.since_instant)) for _ in slis]
    frame = query(config, slis, start=moment(window.start), end=moment(window.end), slice=slice)
    rows = {row.sli: side_of(row) for row in rows_of(frame)}
    return [rows.get(name) or _empty(config, published, window) for name in slis]


def _empty(config: Config, published: Published, window: Interval) -> Side:
    """The side of a window without predictions."""
    final = window.end + Horizon.of(config).after <= published.as_of
    return Side(
        start=pd.Timestamp(moment(window.start)),
        end=pd.Timestamp(moment(window.end)),
        value=np.nan,
        reason="before deployment" if window.empty else "no predictions",
        low=np.nan,
        high=np.nan,
        missing_low=np.nan,
        missing_high=np.nan,
        predictions=0,
        labelled=0,
        maturity="final" if final else "provisional",
    )


def change_of(now: Side, before: Side) -> Change:
    """The change from one window to another that shares no predictions with it."""
    first, second = (
        Values(*(np.array([x]) for x in (side.value, None, side.low, side.high, 0.0, np.nan, np.nan)))
        for side in (before, now)
    )
    return Change(**{name: float(ends[0]) for name, ends in of_independent(first, second)._asdict().items()})


def plain(record: object) -> dict[str, object]:
    """A dataclass of this wing as plain values: times as ISO 8601, NaN as None."""
    return {name: _plain(value) for name, value in asdict(record).items()}  # type: ignore[call-overload]  # a dataclass


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Iterable):
        return [_plain(inner) for inner in value]
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return None if value != value else value
