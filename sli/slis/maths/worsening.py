"""From which day on a value is worse than before: a mixture of CUSUMs over days, against the days that come first.

The unit is the day, not the pair: days differ more than the pairs in them explain, and neighbours are alike. Limit: no
bound on false alarms is proven; those of docs/benchmarks.md are simulated. Days whose weekday the baseline has fewer
than WEEKS times are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sli.slis.formula import Better
from sli.slis.maths.confidence import normal, wilson
from sli.slis.states import Flags, Floats, Integers

BASELINE = 56
"""Days that say what the value was before: eight weeks."""
WEEKS = 4
"""How often the baseline needs a weekday."""
SHIFTS = np.array([1 / 8, 1 / 4, 1 / 2, 1.0])
"""The shifts that the CUSUMs look for, in standard deviations of a day."""
ALARM = 2000.0
"""An alarm is raised where the mean of the CUSUMs reaches this."""
RECOVERY = 100.0
"""An alarm ends where the CUSUM for the way back reaches this."""
BACK = 0.7
"""The way back is looked for with this share of the shift, which at the alarm is mostly seen too large."""
WORST, BEST = 2.0, 4.0
"""A day counts as at most so many standard deviations worse, or better, than the baseline: no one day is an alarm."""
CORRELATED = 0.6
"""The largest correlation of a day with the next that the baseline is believed to have."""
SAME = 1e-9
"""Ends of intervals that are nearer to each other are the same."""
NOTHING = 1e-100
"""A variance of 0 counts as this much, so that days that never vary can be weighted."""
HALVINGS = 30
"""How often the interval that holds the variance between days is halved."""


class Days(NamedTuple):
    """Values by day (last axis), turned so that higher is better; NaN: no value, or no interval.

    `error` is half the width of the interval as a standard error. `number` is how many pairs a share is of; NaN if the
    interval is not Wilson's. `weekday` is 0 .. 6 for each day.
    """

    value: Floats
    error: Floats
    number: Floats
    weekday: Integers

    @staticmethod
    def of(value: Floats, low: Floats, high: Floats, weekday: Integers, level: float, better: Better) -> Days:
        """The days of an SLI, from its values and the ends of their intervals at `level`."""
        z = normal(level)
        known = np.isfinite(value + low + high)
        value, low, high = (np.where(known, numbers, np.nan) for numbers in (value, low, high))
        end = np.where(value < 0.5, high, low)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Wilson's end is where the value lies z standard deviations of that share away.
            number = z**2 * end * (1 - end) / (value - end) ** 2
            ends = wilson(value * number, number, level)
        share = np.isclose(ends[0], low, 0, SAME) & np.isclose(ends[1], high, 0, SAME)
        turned = value if better == "higher" else -value
        return Days(turned, (high - low) / (2 * z), np.where(share, number, np.nan), weekday)

    def variance(self, expected: Floats) -> Floats:
        """The sampling variance of each day: of a share the one that the expected share gives, not its own.

        Else days that are low by chance would have another weight than days that are high by chance.
        """
        share = np.abs(expected)
        # A share that was always 0 or 1 may yet be a little less extreme.
        least = 1 / (BASELINE * np.where(np.isnan(self.number), 1.0, self.number).mean(axis=-1, keepdims=True))
        return np.where(np.isnan(self.number), self.error**2, (share * (1 - share) + least) / self.number)


class Baseline(NamedTuple):
    """What the first BASELINE days with a value and an interval say. `days` tells which days these are.

    By day: `expected`, the mean of its weekday (NaN: unknown), and `variance`, that of this mean. By series: `error`,
    the standard error of the mean of all days; `between`, the variance between days beyond their sampling variance;
    `correlation`, that of a day with the next.
    """

    days: Flags
    expected: Floats
    variance: Floats
    error: Floats
    between: Floats
    correlation: Floats


class _Weekdays(NamedTuple):
    """The days of the baseline by weekday: `groups` has the weekday first, then the series, then the day."""

    groups: Flags
    weekday: Integers

    @staticmethod
    def of(days: Days) -> _Weekdays:
        usable = ~np.isnan(days.value)
        first = usable & (np.cumsum(usable, axis=-1) <= BASELINE)
        groups = np.stack([first & (days.weekday == weekday) for weekday in range(7)])
        return _Weekdays(groups & (groups.sum(axis=-1, keepdims=True) >= WEEKS), days.weekday)

    @property
    def freedom(self) -> Integers:
        """Days less weekdays."""
        numbers = self.groups.sum(axis=-1)
        return np.asarray((numbers - (numbers > 0)).sum(axis=0))

    def totals(self, terms: Floats) -> Floats:
        """The sum of the terms of each weekday."""
        return np.asarray(np.where(self.groups, terms, 0.0).sum(axis=-1), dtype=np.float64)

    def daily(self, by_weekday: Floats) -> Floats:
        """For each day what belongs to its weekday."""
        return np.moveaxis(by_weekday[self.weekday], 0, -1)

    def means(self, value: Floats, weights: Floats) -> Floats:
        """For each day the weighted mean of its weekday."""
        return self.daily(self.totals(weights * value) / self.totals(weights))


def baseline(days: Days) -> Baseline:
    """The baseline of each series: the mean of each weekday, and how days vary about it."""
    weekdays = _Weekdays.of(days)
    used = np.asarray(weekdays.groups.any(axis=0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = days.variance(weekdays.means(days.value, np.ones_like(days.value)))
        between = _between(days.value, variance, weekdays)
        weights = _weights(variance, between)
        expected = weekdays.means(days.value, weights)
        correlation = _neighbours(np.where(used, np.sqrt(weights) * (days.value - expected), np.nan))
        by_weekday = inflation(correlation) / weekdays.totals(weights)
        error = np.sqrt(inflation(correlation) / weekdays.totals(weights).sum(axis=0))
    return Baseline(used, expected, weekdays.daily(by_weekday), error, between, correlation)


def inflation(correlation: Floats) -> Floats:
    """How much larger the variance of a mean of many days is than that of as many independent ones."""
    return (1 + correlation) / (1 - correlation)


def _weights(variance: Floats, between: Floats) -> Floats:
    return 1 / np.maximum(variance + between[..., None], NOTHING)


def _between(value: Floats, variance: Floats, weekdays: _Weekdays) -> Floats:
    """The variance between days beyond their sampling variance: that of Paule and Mandel.

    With it the squared deviations, each divided by its variance, add up to the degrees of freedom (Paule and Mandel
    1982, Journal of Research of the National Bureau of Standards 87: 377). It is found by halving.
    """

    def squares(between: Floats) -> Floats:
        weights = _weights(variance, between)
        return np.asarray(weekdays.totals(weights * (value - weekdays.means(value, weights)) ** 2).sum(axis=0))

    least, freedom = np.zeros(weekdays.freedom.shape), weekdays.freedom
    alike = (value - weekdays.means(value, np.ones_like(value))) ** 2
    most: Floats = weekdays.totals(alike).sum(axis=0) / freedom
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        larger = squares(middle) > freedom
        least, most = np.where(larger, middle, least), np.where(larger, most, middle)
    return most


def _neighbours(standardised: Floats) -> Floats:
    """Correlation of a day with the next, from 0 to CORRELATED.

    A short series makes it too small by about (1 + 4 r) / n (Marriott and Pope 1954, Biometrika 41: 390).
    """
    both = standardised[..., :-1] * standardised[..., 1:]
    number = (~np.isnan(standardised)).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.nansum(both, axis=-1) / (~np.isnan(both)).sum(axis=-1)
        r = r / (np.nansum(standardised**2, axis=-1) / number)
        r += (1 + 4 * r) / number
    return np.asarray(np.clip(np.nan_to_num(r), 0.0, CORRELATED), dtype=np.float64)


def scores(days: Days, base: Baseline) -> Floats:
    """How many standard deviations each day after the baseline is worse than it; NaN for days that say nothing.

    The standard error of the baseline counts in favour of the value: its mean may be too high by chance.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (days.variance(base.expected) + base.between[..., None]) * inflation(base.correlation)[..., None]
        worse = base.expected - base.error[..., None] - days.value
        z = np.where(worse == 0, 0.0, worse / np.sqrt(spread + base.variance))
    return np.where(base.days, np.nan, np.clip(z, -BEST, WORST))


class Alarms(NamedTuple):
    """For each day the first day of the alarm that stands on it, and the day it was raised; -1: none stands.

    Where an alarm ends, `until` is the first day that is no longer worse, else -1.
    """

    first: Integers
    raised: Integers
    until: Integers

    @property
    def standing(self) -> Flags:
        return self.first >= 0


def alarms(z: Floats) -> Alarms:
    """The alarms of each series of scores.

    For each shift l: M <- max(M, 1) exp(l z - l^2 / 2), a CUSUM (Page 1954, Biometrika 41: 100) in the form of an
    e-detector (Shin, Ramdas and Rinaldo 2024, The New England Journal of Statistics in Data Science 2: 229). The alarm
    is raised where their mean reaches ALARM; its first day is the one on which the largest M last left 1. It ends where
    a CUSUM the other way reaches RECOVERY: for BACK times the mean score from the first day to the alarm, at most 1.
    """
    known, score = ~np.isnan(z), np.nan_to_num(z)
    steps = np.where(known[..., None], SHIFTS * score[..., None] - SHIFTS**2 / 2, 0.0)
    sums, numbers = np.cumsum(score, axis=-1), np.cumsum(known.astype(np.float64), axis=-1)
    logs, starts = np.zeros(steps[..., 0, :].shape), np.zeros(steps[..., 0, :].shape, dtype=np.int64)
    first, raised, back_start = (np.full(z.shape[:-1], -1) for _ in range(3))
    shift, back = np.zeros(z.shape[:-1]), np.zeros(z.shape[:-1])
    told = Alarms(*(np.full(z.shape, -1) for _ in Alarms._fields))
    for day in range(z.shape[-1]):
        starts = np.where(logs <= 0, day, starts)
        logs = np.maximum(logs, 0.0) + steps[..., day, :]
        back_start = np.where(back <= 0, day, back_start)
        back = np.maximum(back, 0.0) + np.where(known[..., day], shift * (shift / 2 - score[..., day]), 0.0)
        ended = (first >= 0) & (back >= np.log(RECOVERY))
        new = (first < 0) & (np.exp(logs).mean(axis=-1) >= ALARM)
        start = np.take_along_axis(starts, np.argmax(logs, axis=-1)[..., None], axis=-1)
        total, number = (
            np.take_along_axis(before, start, axis=-1)[..., 0] for before in (sums - score, numbers - known)
        )
        mean, start = (sums[..., day] - total) / np.maximum(numbers[..., day] - number, 1), start[..., 0]
        shift, back = np.where(new, np.minimum(BACK * mean, 1.0), shift), np.where(new, 0.0, back)
        first, raised = (np.where(new, now, np.where(ended, -1, past)) for now, past in ((start, first), (day, raised)))
        logs = np.where(((first >= 0) | ended)[..., None], 0.0, logs)
        told.first[..., day], told.raised[..., day] = first, raised
        told.until[..., day] = np.where(ended, back_start, -1)
    return told
