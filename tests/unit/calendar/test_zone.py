"""Days of a time zone: at changes of the clock, at midnights the clock skips, and at the first day there is."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from scenario import DAY, HOUR, at

from sli.calendar.zone import REPEATED, Zone


@pytest.mark.parametrize(
    ("zone", "day", "midnight"),
    [
        ("UTC", date(2024, 1, 15), "2024-01-15T00:00Z"),
        ("America/New_York", date(2024, 3, 10), "2024-03-10T05:00Z"),
        ("America/New_York", date(2024, 3, 11), "2024-03-11T04:00Z"),
        # Clocks go from 23:59 to 01:00: the day begins at the change.
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00Z"),
        ("Asia/Beirut", date(2022, 3, 27), "2022-03-26T22:00Z"),
        # Samoa skipped a whole day, whose midnight is that of the next.
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00Z"),
        ("UTC", date.min, "0001-01-01T00:00Z"),
        ("America/New_York", date.min, "0001-01-01T04:56:02Z"),
    ],
)
def test_the_first_instant_of_a_day(zone: str, day: date, midnight: str) -> None:
    assert Zone(zone).midnight(day) == at(midnight)


@pytest.mark.parametrize(
    "zone", ["UTC", "Africa/Casablanca", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Dublin"]
)
def test_a_tile_fits_every_offset_until_the_last_year_of_a_config(zone: str) -> None:
    """Also those that are not looked at, since zones only repeat what they had."""
    calendar = Zone(zone)
    for start in (at("2011-01-01T00:00"), REPEATED, at("2070-01-01T00:00")):
        tile = calendar.tile(start, at("2100-01-01T00:00"))
        assert all(calendar.offset(start + week * 7 * DAY) % tile == 0 for week in range(52 * 29))
        seen = {calendar.offset(start + week * 7 * DAY) for week in range(53)}
        assert tile == math.gcd(HOUR, *seen), zone


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "Asia/Beirut", "Asia/Kolkata", "America/New_York"])
def test_each_day_begins_where_the_one_before_ends(zone: str) -> None:
    calendar = Zone(zone)
    for day in (date(2018, 1, 1) + timedelta(days=i) for i in range(366)):
        first = calendar.midnight(day)
        assert (calendar.date(first), calendar.date(first - 1)) == (day, day - timedelta(days=1))


def test_hours_of_the_year_1_have_a_day_in_every_zone() -> None:
    beginning = at("0001-01-01T00:00")
    assert Zone("America/New_York").date(beginning) == date.min == Zone("UTC").date(beginning)


def test_whole_days_keep_the_time_of_the_day_where_clocks_change() -> None:
    york = Zone("America/New_York")
    late = at("2024-11-03T04:00") + 24 * 3_600_000_000  # 23:00 on the day of 25 hours
    assert york.days_later(late, 1) == late + 24 * 3_600_000_000
    assert york.days_later(late, -1) == late - 25 * 3_600_000_000
    midnight = at("2024-11-03T04:00")
    assert york.days_later(midnight, 1) == midnight + 25 * 3_600_000_000
    assert york.days_later(at("2024-11-02T05:30"), 1) == at("2024-11-03T05:30"), (
        "01:30, which exists twice, is the earlier"
    )
    assert york.days_later(at("2024-03-09T07:30"), 1) == at("2024-03-10T07:30"), "02:30, which does not exist"
