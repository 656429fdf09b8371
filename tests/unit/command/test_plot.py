"""The plot of `sli show` says what the frame says, in plain characters, whatever the frame holds."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sli.command.plot import PANELS, plot
from sli.config.load import checked
from sli.config.model import Config
from sli.reading.figures import slice_name


@pytest.fixture
def config() -> Config:
    log = {"id": "i", "time": "t", "value": "v"}
    return checked(
        {"model": "m", "since": "2024-01-01", "store": "/s", "horizon": "1d", "timezone": "America/New_York"}
        | {"task": "binary", "slis": ("accuracy",), "predictions": {"path": "/p", **log}}
        | {"feedback": {"path": "/f", **log}}
    )


def frame(values: list[float], grain: str = "day", start: str = "2024-03-01", **slice: str) -> pd.DataFrame:
    """One row a window of one slice, as `sli.read` gives them."""
    windows = pd.date_range(start, periods=len(values) + 1, freq="h" if grain == "hour" else "D", tz="America/New_York")
    instants = windows.tz_convert("UTC")
    columns: dict[str, Any] = {
        "sli": "accuracy",
        "grain": grain,
        "window_start": instants[:-1],
        "window_end": instants[1:],
        "slice": [dict(slice)] * len(values),
        "value": np.array(values, dtype=float),
        "reason": [None if np.isfinite(v) else "no labelled predictions" for v in values],
        "predictions": 10,
        "labelled": 8,
        "coverage": 0.8,
    }
    return pd.DataFrame(columns, index=range(len(values)))


def test_a_slice_is_named_by_its_values() -> None:
    assert [slice_name({}), slice_name({"a": "x", "b": None})] == ["all", "x, null"]


@pytest.mark.parametrize("grain", ["hour", "day", "cumulative", "7d/1d"])
@pytest.mark.parametrize("windows", [1, 2, 40, 2000])
def test_any_number_of_windows_fits_the_width_and_height(config: Config, grain: str, windows: int) -> None:
    lines = plot(
        frame([0.3, 0.9] * (windows // 2) or [0.5], grain), config.model, config.timezone, "accuracy", 100, 24
    ).split("\n")
    assert max(map(len, lines)) <= 100
    assert len(lines) == 24
    assert "\x1b" not in "".join(lines)


def test_several_slices_have_a_panel_each_under_their_names(config: Config) -> None:
    both = pd.concat([frame([0.2, 0.3, 0.2], origin="JFK"), frame([0.8, 0.9, 0.8], origin="LGA")], ignore_index=True)
    text = plot(both, config.model, config.timezone, "accuracy", 80)
    assert [line.strip() for line in text.split("\n") if line.strip() in ("JFK", "LGA")] == ["JFK", "LGA"]
    assert "coverage of these 2 slices" in text


def test_more_slices_than_panels_are_counted_and_the_largest_are_drawn(config: Config) -> None:
    many = [frame([0.5, 0.6], origin=f"s{i}").assign(predictions=100 - i) for i in range(PANELS + 3)]
    text = plot(pd.concat(many, ignore_index=True), config.model, config.timezone, "accuracy", 80)
    assert "3 more slices" in text
    assert "s0\n" in text
    assert f"s{PANELS}\n" not in text


def test_no_value_at_all_says_so_with_the_reason(config: Config) -> None:
    nothing = frame([np.nan, np.nan])
    assert (
        plot(nothing, config.model, config.timezone, "accuracy", 80)
        == "m: accuracy, day: no value to plot (no labelled predictions)"
    )
    assert plot(nothing[:0], config.model, config.timezone, "accuracy", 80) == "m: accuracy: no value to plot"


def test_no_line_is_drawn_over_a_window_without_a_value(config: Config) -> None:
    def blank_columns(values: list[float]) -> int:
        rows = plot(frame(values), config.model, config.timezone, "accuracy", 80).split("\n")[1:10]
        drawn = [row.split("┤")[-1].split("│")[-1].ljust(70) for row in rows]
        return sum(all(row[i] == " " for row in drawn) for i in range(2, 60))

    assert blank_columns([0.5] * 20) == 0
    assert blank_columns([0.5] * 9 + [np.nan] * 4 + [0.5] * 7) > 8


@pytest.mark.parametrize(
    "values", [[1.0] * 5, [0.0] * 5, [1e12, 2e12], [1e-9, 3e-9], [-5.0, 5.0], [123456.0, 123457.0]]
)
def test_values_of_any_size_get_marks(config: Config, values: list[float]) -> None:
    marks = [
        line.split("┤")[0].strip()
        for line in plot(frame(values), config.model, config.timezone, "accuracy", 80).split("\n")
        if "┤" in line
    ]
    assert len(set(marks[:-2])) == len(marks[:-2]) >= 2


def test_days_are_marked_at_local_midnight_also_after_the_clocks_change(config: Config) -> None:
    last = (
        plot(frame([0.5, 0.6] * 4, start="2024-03-08"), config.model, config.timezone, "accuracy", 130)
        .split("\n")[-1]
        .split()
    )
    assert last == [f"2024-03-{day:02}" for day in range(8, 16)]


@pytest.mark.parametrize(("start", "first"), [("2024-03-01 05:00", "2024-03-01 05:00"), ("2024-03-01", "2024-03-01")])
def test_hours_whose_first_mark_lies_far_to_the_right_have_their_date_on_the_left(
    config: Config, start: str, first: str
) -> None:
    *_, rule, last = plot(
        frame([0.5, 0.6] * 144, "hour", start=start), config.model, config.timezone, "accuracy", 80
    ).split("\n")
    assert last.strip().startswith(first)
    assert len(last) <= 80
    assert rule.count("┬") == len(re.split(r"\s{2,}", last.strip())) > 1


def test_two_calls_leave_nothing_to_each_other(config: Config) -> None:
    one, other = frame([0.1, 0.9, 0.4]), frame([0.5] * 300, "hour", origin="JFK")
    before = plot(one, config.model, config.timezone, "accuracy", 90)
    plot(other, config.model, config.timezone, "accuracy", 40, 60)
    assert plot(one, config.model, config.timezone, "accuracy", 90) == before


def test_the_size_of_the_terminal_does_not_cut_the_plot(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    assert max(map(len, plot(frame([0.1, 0.9]), config.model, config.timezone, "accuracy", 100).split("\n"))) > 90
