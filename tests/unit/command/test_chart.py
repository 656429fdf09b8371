"""The chart and the trends of `sli show` say what the rows say, whatever these hold, at any width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.cells import cell_len

from sli.command.chart import Drawn, chart, columns_of
from sli.command.trends import SLICES, chosen, spark, trend_lines, trends
from sli.reading.figures import rows_of, slice_name

ZONE = "America/New_York"
DRAWN = Drawn(unit="", timezone=ZONE, level=0.95)
OBJECTIVE = Drawn(unit="", timezone=ZONE, level=0.95, objective="at least 0.5", bound=0.5)


def frame(values: list[float], grain: str = "day", start: str = "2024-03-01", **changes: Any) -> pd.DataFrame:
    """One row a window of one slice, as `sli.read` gives them."""
    windows = pd.date_range(start, periods=len(values) + 1, freq="h" if grain == "hour" else "D", tz=ZONE)
    instants = windows.tz_convert("UTC")
    value = np.array(values, dtype=float)
    slice = changes.pop("slice", {})
    columns: dict[str, Any] = {
        "sli": "accuracy",
        "grain": grain,
        "window_start": instants[:-1],
        "window_end": instants[1:],
        "slice": [slice] * len(values),
        "value": value,
        "reason": [None if np.isfinite(v) else "no labelled predictions" for v in values],
        "ci_low": np.nan,
        "ci_high": np.nan,
        "error_bound": 0.0,
        "predictions": 10,
        "labelled": 8,
        "coverage": 0.8,
        "maturity": "final",
        "objective": None,
        "verdict": None,
        "name": slice_name(slice),
    }
    return pd.DataFrame(columns | changes, index=range(len(values)))


def drawn(found: list[str]) -> list[str]:
    """The characters right of the axis, from the top down."""
    return [line[9:] for line in found[:12]]


def test_every_window_is_a_column_with_its_interval_verdict_maturity_and_coverage() -> None:
    values = frame([0.2, 0.4, np.nan, 0.6, 0.8]).assign(ci_low=[0.1, 0.3, np.nan, 0.5, 0.7])
    values = values.assign(
        ci_high=values.value + 0.1,
        verdict=["breached", "undecided", "undecided", "met", "met"],
        maturity=["final"] * 3 + ["provisional"] * 2,
        coverage=[1.0, 1.0, 1.0, 0.5, 0.0],
    )
    found = chart(values.drop(index=1), OBJECTIVE, 40)
    assert found == [
        "        │                ░░░",
        "     0.8┤                ooo",
        "        │                ░░░",
        "        │            ░░░ ░░░",
        "     0.6┤            ooo",
        "        │--------------------",
        "        │",
        "     0.4┤",
        "        │░░░",
        "        │░░░",
        "     0.2┤×××",
        "        │░░░",
        "        └┬───────────────────",
        "labelled ███     ███ ▅▅▅ ▁▁▁",
        "         2024-03-01",
        "o provisional  × breached",
        "░ 95% interval  - at least 0.5",
    ]


@pytest.mark.parametrize("grain", ["hour", "day", "cumulative", "7d/1d"])
@pytest.mark.parametrize("windows", [1, 2, 40, 900])
@pytest.mark.parametrize("width", [20, 40, 100, 300])
def test_any_number_of_windows_fits_any_width(grain: str, windows: int, width: int) -> None:
    found = chart(frame([0.3, 0.9] * (windows // 2) or [0.5], grain), DRAWN, width)
    assert max(map(len, found)) <= width
    assert "\x1b" not in "".join(found)
    assert found[-1].startswith("the newest ") == (windows > width - 10 or windows == 900)


def test_the_newest_windows_are_drawn_and_it_is_said_of_how_many() -> None:
    found = chart(frame([0.9] * 100 + [0.1] * 30), DRAWN, 40)
    assert sum(line.count("█") for line in found[:12]) == 30
    assert found[-1] == "the newest 30 of 130 windows: --start and --end choose others"[:39] + "…"
    assert "the newest 90 of 130 windows" in chart(frame([0.9] * 130), DRAWN, 100)[-1]


def test_windows_without_a_value_or_a_row_are_gaps_of_their_length() -> None:
    rows = frame([0.5] * 30)
    rows = rows.drop(index=range(10, 14)).assign(value=lambda f: f.value.where(f.index != 20))
    columns, seconds = columns_of([*rows_of(rows)], 30)
    assert [i for i, row in enumerate(columns) if row is None] == [10, 11, 12, 13]
    assert len(seconds) == 30
    found = drawn(chart(rows, DRAWN, 60))
    blank = [i for i in range(30) if all(line.ljust(30)[i] == " " for line in found)]
    assert blank == [10, 11, 12, 13, 20]


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 5,
        [0.0] * 5,
        [1e12, 2e12],
        [1e-9, 3e-9],
        [-5.0, 5.0],
        [123456.0, 123457.0],
        [-1.7e308, 1.7e308],
        [5e-324],
    ],
)
def test_values_of_any_size_get_marks(values: list[float]) -> None:
    labels = [line.split("┤")[0].strip() for line in chart(frame(values), DRAWN, 80) if "┤" in line]
    assert len(set(labels)) == len(labels) >= (1 if len(set(values)) == 1 else 2)
    assert len(trend_lines(trends(frame(values)), {}, ZONE, 80)) == 1


def test_an_interval_far_wider_than_the_values_does_not_squeeze_them() -> None:
    rows = frame([0.5, 0.6, 0.55, 0.5]).assign(ci_low=[0.45, 0.55, 0.5, -1e6], ci_high=[0.55, 0.65, 0.6, 1e6])
    found = drawn(chart(rows, DRAWN, 60))
    heights = {next(i for i, line in enumerate(found) if line.ljust(16)[4 * n] == "█") for n in range(3)}
    assert len(heights) == 3


def test_seconds_are_marked_as_durations_and_no_value_says_why() -> None:
    seconds = chart(frame([20_000.0, 25_000.0]), Drawn(unit="s", timezone=ZONE, level=0.95), 60)
    assert [line.split("┤")[0].strip() for line in seconds if "┤" in line] == ["6 h 30 min", "6 h"]
    assert chart(frame([np.nan] * 3), DRAWN, 60) == ["no value to draw: no labelled predictions"]
    assert chart(frame([]), DRAWN, 60) == ["no value to draw"]


def test_days_are_marked_by_their_local_date_also_after_the_clocks_change() -> None:
    labels = chart(frame([0.5] * 24, start="2024-02-26"), DRAWN, 140)[14].split()
    assert labels == ["2024-02-26", "2024-03-04", "2024-03-11", "2024-03-18"]
    hours = chart(frame([0.5] * 60, "hour", start="2024-03-09 05:00"), DRAWN, 80)[14]
    assert hours.split()[:2] == ["2024-03-09", "05:00"]
    assert "2024-03-10" in hours


# Trends


def many(count: int) -> pd.DataFrame:
    parts = [
        frame([0.5, 0.9 - i / 1000], slice={"site": f"s{i}"}).assign(
            predictions=(7 * i) % count, ci_low=0.1, ci_high=0.95 - i / 1000
        )
        for i in range(count)
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_slice_is_a_line_with_its_trend_value_interval_verdict_coverage_and_maturity() -> None:
    rows = pd.concat(
        [
            frame([0.1, np.nan, 0.3, 0.306], slice={"o": "JFK"}).assign(
                ci_low=0.269, ci_high=0.346, verdict="breached"
            ),
            frame([0.6, 0.5, 0.7, np.nan], slice={"o": "羽田空港"}).assign(verdict="undecided", maturity="provisional"),
            frame([0.8, 0.8], slice={"o": "gone"}),
        ],
        ignore_index=True,
    )
    found = trend_lines(chosen(trends(rows), "higher"), {}, ZONE, 110)
    assert found == [
        "JFK       ▁ ▃▃  0.306  [0.269 .. 0.346]                   breached  80.0% labelled  final",
        "gone      ██        -  (no predictions since 2024-03-03)",
        "羽田空港  ▆▅▇       -  (no labelled predictions)                    80.0% labelled  provisional",
    ]
    assert len({cell_len(line[: line.index("[") if "[" in line else line.index("(")]) for line in found}) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_of_many_slices_the_worst_and_the_largest_are_shown_at_any_width(width: int) -> None:
    every = trends(many(100))
    shown = chosen(every, "higher")
    assert len(shown) == SLICES
    worst = sorted(every, key=lambda trend: trend.newest.ci_high)[: SLICES // 2]
    assert {trend.name for trend in worst} <= {trend.name for trend in shown}
    largest = max(every, key=lambda trend: trend.newest.predictions)
    assert largest.name in {trend.name for trend in shown}
    assert max(map(cell_len, trend_lines(shown, {}, ZONE, width))) <= width
    assert len(chosen(every, None)) == SLICES


def test_equal_values_are_a_level_trend_and_gaps_are_blanks() -> None:
    assert spark([0.5, np.nan, 0.5], [0.5]) == "▄ ▄"
    assert spark([0.0, 0.5, 1.0, np.inf], [0.0, 1.0]) == "▁▅█ "
    assert spark([-1.7e308, 1.7e308], [-1.7e308, 1.7e308]) == "▁█"
