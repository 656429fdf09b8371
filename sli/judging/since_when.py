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
from sli.judging.sides import question_of
from sli.planning.late_feedback import Horizon
from sli.reading.figures import number, record
from sli.reading.publication import Publication, opened
from sli.reading.query import answer
from sli.slis import Sli
from sli.slis.formula import Unit
from sli.slis.maths.worsening import BASELINE, Alarms, Days, alarms, baseline, scores
from sli.slis.maths.worsening import Baseline as Base
from sli.slis.states import Floats, Integers

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
        return "not found" if self.first_day is None else f"since {self.first_day}"

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        if self.baseline is None:
            return str(self.reason)
        before = f"the {self.baseline.days} days from {self.baseline.start} to {self.baseline.end}"
        if self.first_day is None:
            past = " and ".join(f"from {first} to {last}" for first, last in self.ended)
            ended = f"; {self.sli} was worse {past}" if past else ""
            until = f"up to {self.last_day}, the last final day"
            return f"no lasting worsening found {until}; later days are not judged{ended}"
        value, value_before = (number(value, None, self.unit) for value in (self.value, self.value_before))
        return (
            f"{self.sli} has been worse since {self.first_day}: the mean of its {self.days} days is {value}, "
            f"against {value_before} on the same weekdays of {before}; found on {self.alarm_day}"
        )

    def to_dict(self) -> dict[str, object]:
        """As plain values: dates as text, NaN as None."""
        return record(self) | {"sentence": self.sentence}


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
    too short: 0 final days with an interval; 63 are needed
    """
    config = load_config(config, settings)
    publication = opened(config, as_of)
    newest = publication.published.newest if end is None else instant_of(config.zone, "end", end)
    return sinces_of(publication, [publication.sli(sli)], slice or {}, newest)[0]


def sinces_of(publication: Publication, slis: Sequence[Sli], slice: Mapping[str, str | None], end: int) -> list[Since]:
    """What `since_when` returns of each of these SLIs, their days merged in one pass. Raises SliError."""
    config, published = publication.config, publication.published
    first, last = _final_days(config, min(published.newest, end), published.as_of)
    nothing = [
        Since(sli=sli.name, slice=dict(slice), unit=sli.unit, reason=_refused(sli, first >= last)) for sli in slis
    ]
    usable = [sli for sli, one in zip(slis, nothing, strict=True) if not one.reason]
    if not usable:
        return nothing
    answers = iter(
        _answers(_Series(publication, usable, slice, first, last), [one for one in nothing if not one.reason])
    )
    return [one if one.reason else next(answers) for one in nothing]


def _refused(sli: Sli, empty: bool) -> str | None:
    """Why nothing can be said of an SLI, whatever its values are; `empty`: there are no days."""
    if sli.direction is None:
        return f"{sli.name} does not say which direction is better; give it an objective"
    if isinstance(sli, PythonSli):
        return "the days of a Python function have no interval"
    return _too_few(0, 0) if empty else None


def _too_few(usable: int, valued: int) -> str:
    without = f"{usable} of the {valued} final days with a value have an interval"
    what = without if valued > usable else f"too short: {usable} final days with an interval"
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
    """One value a day: SLIs of a slice on the days from `first` on."""

    publication: Publication
    slis: Sequence[Sli]
    slice: Mapping[str, str | None]
    first: date
    last: date
    """The day after the last."""

    def daily(self) -> Floats:
        """Of each SLI the values of all days and both ends of their intervals; NaN where there is none."""
        zone = self.publication.config.zone
        start, end = (moment(zone.midnight(day)) for day in (self.first, self.last))
        rows = answer(question_of(self.publication, ("1d", None, start, end), self.slice), self.slis)
        table = np.full((len(self.slis), 3, (self.last - self.first).days), np.nan)
        numbers = {sli.name: number for number, sli in enumerate(self.slis)}
        of_sli = rows.sli.map(numbers).to_numpy(dtype=np.int64)
        places = {at: (zone.date(at.value // 1000) - self.first).days for at in rows.window_start.unique()}
        of_day = rows.window_start.map(places).to_numpy(dtype=np.int64)
        table[of_sli, :, of_day] = rows[["value", "ci_low", "ci_high"]].to_numpy(dtype=np.float64)
        return table

    def day(self, position: int) -> date:
        return self.first + timedelta(days=int(position))


@dataclass(frozen=True)
class _Scored:
    """The days of an SLI, those of them that are usable, and what they are judged by."""

    value: Floats
    days: Days
    usable: Integers
    base: Base


def _answers(series: _Series, nothing: Sequence[Since]) -> Iterator[Since]:
    """What the days of the series say of each SLI; `nothing` has an empty answer for each."""
    weekday = (series.first.weekday() + np.arange((series.last - series.first).days)) % 7
    found: list[_Scored | str] = []
    for sli, (value, low, high) in zip(series.slis, series.daily(), strict=True):
        assert sli.direction is not None
        days = Days.of(value, low, high, weekday, series.publication.config.level, sli.direction)
        usable = np.flatnonzero(~np.isnan(days.value))
        if len(usable) < BASELINE + FEWEST:
            found.append(_too_few(len(usable), int((~np.isnan(value)).sum())))
        else:
            found.append(_Scored(value, days, usable, baseline(days)))
    scored = [one for one in found if isinstance(one, _Scored)]
    # Day by day, all SLIs at once: each day costs the same for one SLI as for many.
    told = alarms(np.stack([scores(one.days, one.base) for one in scored])) if scored else None
    alarms_of = iter([] if told is None else map(Alarms, *told))
    for sli, one, empty in zip(series.slis, found, nothing, strict=True):
        if isinstance(one, str):
            yield replace(empty, reason=one)
        else:
            yield _told(series, sli, one, next(alarms_of), empty)


def _told(series: _Series, sli: Sli, one: _Scored, told: Alarms, nothing: Since) -> Since:
    """What the alarms of an SLI say."""
    start, end = (series.day(one.usable[i]) for i in (0, BASELINE - 1))
    found = replace(
        nothing,
        baseline=Baseline(start=start, end=end, days=BASELINE),
        last_day=series.day(len(one.value) - 1),
        ended=tuple(_ended(series, told)),
    )
    first = int(told.first[-1])
    if first < 0:
        return found
    expected = one.base.expected
    since = np.flatnonzero(~np.isnan(expected + one.days.value) & (np.arange(len(one.value)) >= first))
    return replace(
        found,
        first_day=series.day(first),
        alarm_day=series.day(told.raised[-1]),
        days=len(since),
        value=float(one.value[since].mean()),
        value_before=float(expected[since].mean()) * (1 if sli.direction == "higher" else -1),
    )


def _ended(series: _Series, told: Alarms) -> Iterator[tuple[date, date]]:
    """The first and the last day of each alarm that has ended."""
    for end in np.flatnonzero(told.until >= 0):
        yield series.day(told.first[end - 1]), series.day(told.until[end] - 1)
