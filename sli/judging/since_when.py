"""The first day from which an SLI is worse than before, significantly and to this day.

It judges final days only, by the mixture of CUSUMs of `sli.slis.maths.worsening`. Limit: "before" is the first 56 of
the last 420 days, so a season that comes after them is a change too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from sli.calendar.interval import moment
from sli.config.arguments import When, instant_of
from sli.config.entries import PythonSli
from sli.config.load import load_config
from sli.config.model import Config
from sli.judging.sides import plain, question_of
from sli.planning.late_feedback import Horizon
from sli.reading.figures import number
from sli.reading.publication import Publication, opened
from sli.reading.query import answer
from sli.slis import Sli
from sli.slis.formula import Unit
from sli.slis.maths.worsening import BASELINE, Alarms, Days, alarms, baseline, scores
from sli.slis.states import Floats

LONGEST = 420
"""Days that are looked at: eight weeks before, and the 52 weeks after them."""
FEWEST = 7
"""Days after the baseline without which nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The days that say what an SLI was before: from `start` to `end`, both included; `days` of them have a value."""

    start: date
    end: date
    days: int


@dataclass(frozen=True, kw_only=True)
class Since:
    """From which day on an SLI is worse than in the days before.

    `first_day` is the first day of the alarm that still stands on `last_day`, the newest final day, and `alarm_day` the
    day whose value raised it; None: no alarm stands. `days` of the days since then have a value. `value` is its mean
    over these days (not merged: a day is the unit here), `value_before` that over the same weekdays of the baseline.
    `ended` has the first and the last day of earlier alarms. `reason` tells why nothing can be said.
    """

    sli: str
    slice: Mapping[str, str | None]
    unit: Unit
    baseline: Baseline | None = None
    last_day: date | None = None
    first_day: date | None = None
    alarm_day: date | None = None
    days: int = 0
    value: float = np.nan
    value_before: float = np.nan
    ended: tuple[tuple[date, date], ...] = ()
    reason: str | None = None

    @property
    def answer(self) -> str:
        """The answer in a few words."""
        if self.baseline is None:
            return "cannot be said"
        return "not worse" if self.first_day is None else f"since {self.first_day}"

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        if self.baseline is None:
            return f"since when {self.sli} is worse cannot be said: {self.reason}"
        before = f"the {self.baseline.days} days from {self.baseline.start} to {self.baseline.end}"
        if self.first_day is None:
            past = " and ".join(f"from {first} to {last}" for first, last in self.ended)
            return f"{self.sli} is not worse than in {before}{f'; it was {past}' if past else ''}"
        value, value_before = (number(value, None, self.unit) for value in (self.value, self.value_before))
        return (
            f"{self.sli} has been worse since {self.first_day}: {value} on average of {self.days} days, against "
            f"{value_before} on the same weekdays of {before}; shown by the days to {self.alarm_day}"
        )

    def to_dict(self) -> dict[str, object]:
        """As plain values: dates as text, NaN as None."""
        return plain(self) | {"sentence": self.sentence}


def since_when(
    config: str | Path | Config,
    sli: str,
    *,
    slice: Mapping[str, str | None] | None = None,
    end: When = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> Since:
    """From which day on the SLI of a slice (default: all predictions) is worse than before, by the final days to `end`.

    The days are merged from stored tiles, all by the present definition of the SLI. The first 56 days with a value and
    an interval are the baseline; at least 7 more are needed. `as_of` tells what was believed at that time. Raises
    SliError.

    >>> from sli.judging.since_when import since_when
    >>> print(since_when(config, "accuracy").sentence)
    since when accuracy is worse cannot be said: 0 final days have a value with an interval; 63 are needed
    """
    config = load_config(config, settings)
    publication = opened(config, as_of)
    newest = publication.published.newest if end is None else instant_of(config.zone, "end", end)
    return since_of(publication, publication.sli(sli), slice or {}, newest)


def since_of(publication: Publication, asked: Sli, slice: Mapping[str, str | None], end: int) -> Since:
    """What `since_when` returns, of an opened publication. Raises SliError."""
    config, published = publication.config, publication.published
    nothing = Since(sli=asked.name, slice=dict(slice), unit=asked.unit)
    if asked.direction is None:
        return replace(nothing, reason="it does not say which direction is better; give it an objective")
    if isinstance(asked, PythonSli):
        return replace(nothing, reason="the days of a Python function have no interval")
    first, last = _final_days(config, min(published.newest, end), published.as_of)
    if first >= last:
        return replace(nothing, reason=_too_few(0, 0))
    return _answer(_Series(publication, asked, nothing.slice, first, last), nothing)


def _too_few(usable: int, valued: int) -> str:
    without = f"{usable} of the {valued} final days with a value have an interval"
    what = without if valued > usable else f"{usable} final days have a value with an interval"
    return f"{what}; {BASELINE + FEWEST} are needed"


def _final_days(config: Config, newest: int, as_of: int) -> tuple[date, date]:
    """The first of the days to look at, and the day after the last: whole days since deployment that are final."""
    zone, since = config.zone, config.since_instant
    first = zone.date(since)
    if zone.midnight(first) < since:
        first += timedelta(days=1)
    last = zone.date(max(since, min(newest, Horizon.of(config).final_before(as_of, config.tile))))
    return max(first, last - timedelta(days=LONGEST)), last


@dataclass(frozen=True)
class _Series:
    """One value a day: an SLI of a slice on the days from `first` on."""

    publication: Publication
    sli: Sli
    slice: Mapping[str, str | None]
    first: date
    last: date
    """The day after the last."""

    def daily(self) -> tuple[Floats, Floats, Floats]:
        """The values of all days and both ends of their intervals; NaN where there is none."""
        zone = self.publication.config.zone
        start, end = (moment(zone.midnight(day)) for day in (self.first, self.last))
        rows = answer(question_of(self.publication, ("1d", None, start, end), self.slice), [self.sli])
        places = [(zone.date(at.value // 1000) - self.first).days for at in rows.window_start]
        table = np.full((3, (self.last - self.first).days), np.nan)
        table[:, places] = rows[["value", "ci_low", "ci_high"]].to_numpy(dtype=np.float64).T
        return table[0], table[1], table[2]

    def day(self, position: int) -> date:
        return self.first + timedelta(days=int(position))


def _answer(series: _Series, nothing: Since) -> Since:
    """What the days of the series say."""
    value, low, high = series.daily()
    direction = series.sli.direction
    assert direction is not None
    weekday = (series.first.weekday() + np.arange(len(value))) % 7
    days = Days.of(value, low, high, weekday, series.publication.config.level, direction)
    usable = np.flatnonzero(~np.isnan(days.value))
    if len(usable) < BASELINE + FEWEST:
        return replace(nothing, reason=_too_few(len(usable), int((~np.isnan(value)).sum())))
    base = baseline(days)
    told = alarms(scores(days, base))
    start, end = (series.day(usable[i]) for i in (0, BASELINE - 1))
    found = replace(
        nothing,
        baseline=Baseline(start=start, end=end, days=BASELINE),
        last_day=series.day(len(value) - 1),
        ended=tuple(_ended(series, told)),
    )
    first = int(told.first[-1])
    if first < 0:
        return found
    since = np.flatnonzero(~np.isnan(base.expected + days.value) & (np.arange(len(value)) >= first))
    return replace(
        found,
        first_day=series.day(first),
        alarm_day=series.day(told.raised[-1]),
        days=len(since),
        value=float(value[since].mean()),
        value_before=float(base.expected[since].mean()) * (1 if direction == "higher" else -1),
    )


def _ended(series: _Series, told: Alarms) -> Iterator[tuple[date, date]]:
    """The first and the last day of each alarm that has ended."""
    for end in np.flatnonzero(told.until >= 0):
        yield series.day(told.first[end - 1]), series.day(told.until[end] - 1)
