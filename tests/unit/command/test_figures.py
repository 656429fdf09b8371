"""Numbers and tables as people read them: digits that tell values apart, lines that fit, nothing hidden in a pipe."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from sli.command.figures import change_text, largest_first, number, numbers
from sli.command.grid import Column, columns, lines, printed


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


WIDE = [(f"2024-01-{i:02}", "a" * 30, *(f"{i + j / 1000:.3f}" for j in range(24)), "final") for i in range(1, 4)]
NAMES = ["window", "slice", *(f"measure_{j}" for j in range(24)), "maturity"]


def wide() -> list[Column]:
    return columns(NAMES, WIDE, whole=["window"], left=["slice", "maturity"])


def test_in_a_pipe_every_value_is_whole_and_a_row_is_a_line() -> None:
    found = lines(wide(), None, keys=2)
    assert len(found) == 4
    for row, line in zip(WIDE, found[1:], strict=True):
        assert line.split() == list(row)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_on_a_terminal_a_wide_table_goes_on_in_blocks_that_fit_and_each_has_its_dates(width: int) -> None:
    found = lines(wide(), width, keys=2)
    assert max(map(len, found)) <= width
    assert found.count("") == sum(line.startswith("window") for line in found) - 1
    for block in "\n".join(found).split("\n\n"):
        assert [line[:10] for line in block.split("\n")[1:]] == [row[0] for row in WIDE]
    for value in (cell for row in WIDE for cell in row[2:]):
        assert any(value in line.split() for line in found)


@pytest.mark.parametrize("width", [60, 80, 400])
def test_without_blocks_the_last_columns_are_left_out_and_named(width: int) -> None:
    found = lines(wide(), width, must=3)
    assert max(map(len, found)) <= width
    assert found[1].split()[0] == "2024-01-01"
    shown = found[0].split()
    assert found[-1].startswith("no room for: ") == (len(shown) < len(NAMES))


def test_texts_are_cut_before_numbers_and_wide_letters_count_twice() -> None:
    given = columns(["what", "n"], [("ÄÖ漢字" * 20, "1,234,567"), ("short", "2")], left=["what"])
    found = lines(given, 40, must=2)
    assert found[1].endswith("…  1,234,567")
    assert found[2].startswith("short ")
    assert lines(given, None)[1] == "ÄÖ漢字" * 20 + "  1,234,567"


def test_a_text_cannot_move_the_cursor_or_start_a_line() -> None:
    assert printed("a\nb\x1b[31m\tc") == "a\\nb\\x1b[31m\\tc"
    assert printed("Zürich 漢字") == "Zürich 漢字"


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_value_is_a_dash_with_its_reason(value: Any) -> None:
    assert number(value) == "-"
    assert number(value, "no labels") == "- (no labels)"
