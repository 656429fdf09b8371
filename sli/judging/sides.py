"""An SLI in one window, and its change from one window to another, each with its interval.

Limit: one slice; predictions are taken as independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sli.calendar.interval import Interval, moment
from sli.planning.late_feedback import Horizon
from sli.reading.figures import Row, rows_of
from sli.reading.publication import Publication
from sli.reading.query import answer
from sli.reading.question import Question, Windows, question
from sli.slices import ALL
from sli.slis import Sli
from sli.slis.formula import Values
from sli.slis.maths.confidence import normal, outside
from sli.slis.maths.differences import of_sharing


@dataclass(frozen=True, kw_only=True)
class Side:
    """An SLI in one window of one slice. A number that there is none of is NaN; `reason` says why there is no value.

    `low` and `high` are the confidence interval, `missing_low` and `missing_high` the bounds over the missing labels.
    """

    start: pd.Timestamp
    end: pd.Timestamp
    value: float = np.nan
    reason: str | None = None
    low: float = np.nan
    high: float = np.nan
    missing_low: float = np.nan
    missing_high: float = np.nan
    predictions: int = 0
    labelled: int = 0
    maturity: str
    verdict: str | None = None

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not np.isnan(self.value)

    @property
    def coverage(self) -> float:
        """labelled / predictions; NaN without predictions."""
        return self.labelled / self.predictions if self.predictions else np.nan

    @property
    def missing(self) -> int:
        """How many predictions have no label."""
        return self.predictions - self.labelled


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

    def p_value(self, level: float) -> float:
        """How often chance alone makes a change as large, by the side of the interval (at `level`) towards 0."""
        if not self.value:
            return 1.0
        reach = self.value - self.low if self.value > 0 else self.high - self.value
        return outside(abs(self.value) / reach * normal(level) if reach else np.inf)


def question_of(publication: Publication, windows: Windows, slice: Mapping[str, str | None] | None) -> Question:
    """The question for windows of a slice; of the whole by default, merged from slices if the config has none of it.

    Raises ConfigError.
    """
    sets = publication.published.slice_sets
    if slice or () in sets:
        return question(publication, windows, slice or {})
    # Every prediction is in exactly one slice of a set.
    return replace(question(publication, windows, None, sets[0]), slice=ALL, rename=lambda _: ALL)


def sides_in(
    publication: Publication,
    slis: Sequence[Sli],
    windows: Sequence[Interval | None],
    slice: Mapping[str, str | None] | None = None,
) -> list[list[Side]]:
    """For each window the side of each SLI, of a slice (default: the whole); None is a window before `since`.

    Windows of equal length are merged in one pass. Raises SliError.
    """
    by_length: dict[int, list[Interval]] = {}
    for window in windows:
        if window is not None and slis:
            by_length.setdefault(window.end - window.start, []).append(window)
    keyed = {}
    for equal in by_length.values():
        asked = question_of(publication, (None, None, moment(equal[0].start), moment(equal[0].end)), slice)
        starts, ends = (np.array([getattr(one, name) for one in equal]) for name in ("start", "end"))
        for row in rows_of(answer(replace(asked, starts=starts, ends=ends), slis)):
            keyed[row.sli, row.window_start, row.window_end] = side_of(row)
    empty = [empty_side(publication, window) for window in windows]
    return [[keyed.get((sli.name, side.start, side.end), side) for sli in slis] for side in empty]


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


def empty_side(publication: Publication, window: Interval | None) -> Side:
    """The side of a window without predictions."""
    since = publication.config.since_instant
    edges = window or Interval(since, since)
    final = edges.end + Horizon.of(publication.config).after <= publication.published.as_of
    return Side(
        start=pd.Timestamp(moment(edges.start)),
        end=pd.Timestamp(moment(edges.end)),
        reason="before deployment" if window is None else "no predictions",
        maturity="final" if final else "provisional",
    )


def change_of(now: Side, before: Side, shared: Side | None = None, labels: bool = True) -> Change:
    """The change from one window to another; `shared` is the time that both have, if they overlap.

    `labels` says whether the SLI counts labelled predictions only.
    """
    first, second = (
        Values(*(np.array([x]) for x in (side.value, None, side.low, side.high, 0.0, np.nan, np.nan)))
        for side in (before, now)
    )
    name = "labelled" if labels else "predictions"
    counts = [0 if side is None else getattr(side, name) for side in (shared, before, now)]
    return Change(**{end: float(values[0]) for end, values in of_sharing(first, second, *counts)._asdict().items()})
