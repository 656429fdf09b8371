"""Numbers and durations as people read them: digits that tell values apart."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from sli.reading.figures import change_text, largest_first, number, numbers


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        (0.6987, 0.6611, ("0.6987", "0.6611")),
        (0.7483012, 0.7483411, ("0.74830", "0.74834")),
        (0.5, 0.50000000001, ("0.50000000000", "0.50000000001")),
        (100.0, 101.0, ("100", "101")),
        (1.0, 0.99996, ("1.0000", "0.99996")),
        (12345.2, 12345.3, ("12,345.2", "12,345.3")),
        (1e-9, 1.00001e-9, ("1.00000e-09", "1.00001e-09")),
        (9999.6, 9999.7, ("9,999.6", "9,999.7")),
        (1.0, 1.0, ("1", "1")),
        (math.nan, 0.5, ("-", "0.5")),
        (0.5, math.nan, ("0.5", "- (why)")),
        (0.1 + 0.2, 0.3, ("0.30000000000000004", "0.29999999999999999")),
        (math.inf, math.inf, ("inf", "inf")),
    ],
)
def test_two_values_are_told_with_as_many_digits_as_it_takes_to_see_that_they_differ(
    old: float, new: float, texts: tuple[str, str]
) -> None:
    assert numbers(old, new, "why" if math.isnan(new) else None) == texts
    assert (texts[0] == texts[1]) == (old == new)


def revised(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    names = ("sli", "old_value", "value", "change")
    return pd.DataFrame(rows, columns=list(names)).assign(
        reason=None, window_end=pd.date_range("2024-01-01", periods=len(rows), tz="UTC")
    )


def test_what_changed_most_comes_first_and_what_kept_its_value_last() -> None:
    rows = revised(
        ("same", 0.5, 0.5, "changed"),
        ("gone", 0.5, 0.5, "removed"),
        ("tiny", 0.7483, 0.7484, "changed"),
        ("large", 10_000.0, 9_000.0, "changed"),
        ("half", 0.2, 0.1, "changed"),
        ("from nothing", math.nan, 0.9, "added"),
        ("still nothing", math.nan, math.nan, "changed"),
        ("half, newer", 0.1, 0.2, "changed"),
    )
    names = largest_first(rows).sli.tolist()
    assert names == ["half, newer", "half", "large", "tiny", "from nothing", "gone", "still nothing", "same"]
    assert largest_first(rows[:0]).empty
    texts = {row.sli: change_text(row) for row in rows.itertuples()}
    assert texts["gone"] == "0.5 -> removed"
    assert texts["same"] == "0.5, as before"
    assert texts["from nothing"] == "- -> 0.9"


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_value_is_a_dash_with_its_reason(value: Any) -> None:
    assert number(value) == "-"
    assert number(value, "no labels") == "- (no labels)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (45.0, "45 s"),
        (0.25, "0.25 s"),
        (59.996, "1 min"),
        (192.0, "3 min 12 s"),
        (3599.9, "1 h"),
        (21_792.0, "6 h 3 min"),
        (187_300.0, "2 d 4 h"),
        (-960.0, "-16 min"),
        (0.0, "0 s"),
        (math.inf, "inf s"),
    ],
)
def test_seconds_are_a_duration(seconds: float, text: str) -> None:
    assert number(seconds, unit="s") == text


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        (21_792.0, 25_000.0, ("6 h 3 min", "6 h 57 min")),
        (21_792.0, 21_793.0, ("6 h 3 min 12 s", "6 h 3 min 13 s")),
        (21_792.0, 21_792.0001, ("21,792.0000 s", "21,792.0001 s")),
        (45.12345, 45.12346, ("45.1234 s", "45.1235 s")),
        (math.nan, 60.0, ("-", "1 min")),
    ],
)
def test_two_durations_are_told_so_that_they_differ(old: float, new: float, texts: tuple[str, str]) -> None:
    assert numbers(old, new, unit="s") == texts
