"""Since when is it worse: few false alarms on days that only vary, the right day where a drop lasts, an end of it."""

import numpy as np
import pytest
from days import BASELINE, LENGTH, LEVEL, WEEKDAY, Series, shares

from sli.slis.maths.worsening import Days, alarms, baseline, scores

AT = BASELINE + 60


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(2)


@pytest.mark.parametrize(("share", "spread", "n"), [(0.6, 0.1, 1000), (0.9, 0.3, 1000), (0.6, 0.3, 100)])
def test_days_that_only_vary_raise_few_alarms_a_year(random, share, spread, n):
    assert shares(random, 200, n, share, spread).alarms().standing.any(axis=1).mean() < 0.05


def test_a_drop_that_lasts_is_found_soon_and_its_first_day_is_told(random):
    told = shares(random, 100, 1000, 0.6, 0.1, 0.05, AT).alarms()
    found = told.first[:, -1]
    assert (found >= 0).mean() > 0.97
    assert np.median(np.abs(found[found >= 0] - AT)) <= 1
    assert np.median(told.raised[:, -1]) - AT < 15


def test_weekdays_that_differ_raise_no_alarm_and_hide_no_drop(random):
    pattern = np.where(WEEKDAY == 5, -0.3, 0.0)
    series = Series(*(part + pattern for part in shares(random, 100, 1000, 0.6, 0.1)))
    assert series.alarms().standing.any(axis=1).mean() < 0.05
    dropped = series.moved(-0.05, AT)
    assert (dropped.alarms().first[:, -1] >= 0).mean() > 0.95
    assert (dropped.alarms(weekly=False).first[:, AT + 30] >= 0).mean() < 0.05, "without weekdays it hides in the week"


def test_an_alarm_ends_when_the_days_are_as_good_as_before(random):
    told = shares(random, 100, 1000, 0.6, 0.1).moved(-0.05, AT, AT + 60).alarms()
    assert told.standing[:, AT + 59].mean() > 0.97
    assert told.standing[:, -1].mean() < 0.05
    ends = told.until[told.until >= 0]
    assert np.median(np.abs(ends - (AT + 60))) <= 2


def test_lower_is_better_is_the_same_upside_down(random):
    series = shares(random, 5, 1000, 0.6, 0.1, 0.05, AT)
    flipped = Series(-series.value, -series.high, -series.low)
    assert np.array_equal(series.alarms("higher").first, flipped.alarms("lower").first)


def test_days_without_a_value_or_an_interval_say_nothing(random):
    series = shares(random, 1, 1000, 0.6, 0.1, 0.05, AT)
    value, low, high = (part.copy() for part in series)
    value[:, 3:300:7], low[:, 60:80] = np.nan, np.nan
    days = Days.of(value, low, high, WEEKDAY, LEVEL, "higher")
    base = baseline(days)
    assert base.days.sum() == BASELINE
    z = scores(days, base)
    assert np.isnan(z[:, 3:300:7]).all()
    assert np.isnan(z[:, 60:80]).all()
    assert abs(alarms(z).first[0, -1] - AT) <= 3


def test_a_value_that_never_varied_is_worse_from_its_first_other_day_on():
    value = np.where(np.arange(LENGTH) < AT, 1.0, 0.5)
    days = Days.of(value, value, value, WEEKDAY, LEVEL, "higher")
    told = alarms(scores(days, baseline(days)))
    assert told.first[-1] == AT
    assert told.raised[-1] < AT + 8


def test_one_dreadful_day_is_no_alarm(random):
    series = shares(random, 50, 1000, 0.6, 0.1).moved(-0.5, AT, AT + 1)
    assert series.alarms().standing.any(axis=1).mean() < 0.05
