"""`sli.plot` draws what the tables say: gaps where nothing is known, and the provisional apart from the final."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from desk import Desk
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import dates
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sli
from sli.errors import ConfigError, SliError
from sli.report.figure import COLOURS, DENSE, SLICES

DAY = pd.Timedelta("1D")


def results(values: list[float | None], **columns: Any) -> pd.DataFrame:
    """Daily results from 2024-01-01 on, as `sli.read` gives them."""
    start = pd.date_range("2024-01-01", periods=len(values), tz="UTC")
    value = np.array(values, dtype=float)
    frame = pd.DataFrame(
        {
            "sli": "recall",
            "grain": "day",
            "window_start": start,
            "window_end": start + DAY,
            "slice": [{} for _ in values],
            "value": value,
            "reason": [None if known else "no labelled predictions" for known in ~np.isnan(value)],
            "ci_low": value - 0.1,
            "ci_high": value + 0.1,
            "predictions": 100,
            "coverage": 0.9,
            "maturity": "final",
            "objective": None,
            "verdict": None,
        }
    )
    return frame.assign(**columns)


def lines(figure: Figure) -> list[tuple[str, list[float]]]:
    """The lines of the upper axes that join values: the style and the values of each."""
    drawn = [line for line in figure.axes[0].lines if line.get_linestyle() != "None" and len(line.get_xdata()) > 1]
    return [(line.get_linestyle(), np.asarray(line.get_ydata()).tolist()) for line in drawn if not is_level(line)]


def is_level(line: Line2D) -> bool:
    return list(line.get_xdata()) == [0, 1]


def points(figure: Figure, mark: str) -> Iterator[float]:
    for line in figure.axes[0].lines:
        if line.get_marker() == mark and line.get_linestyle() == "None":
            yield from np.asarray(line.get_ydata()).tolist()


def texts(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc=side) for axes in figure.axes for side in ("left", "right")]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join(found)


def test_a_line_breaks_at_a_null_and_at_a_missing_window() -> None:
    frame = results([0.1, 0.2, None, 0.4, 0.5, 0.6, 0.7, 0.8])
    figure = sli.plot(frame.drop(index=5))
    assert [values for _, values in lines(figure)] == [[0.1, 0.2], [0.4, 0.5], [0.7, 0.8]]
    assert "no value: no labelled predictions" in texts(figure)
    bands = [path.vertices[:, 0] for each in figure.axes[0].collections for path in each.get_paths()]
    for band in bands:
        assert np.ptp(band) <= 1


def test_a_value_between_two_gaps_is_a_point() -> None:
    frame = results([0.1, 0.2, 0.3] * 40).assign(value=lambda f: f.value.where(f.index != 59).where(f.index != 61))
    figure = sli.plot(frame)
    assert set(points(figure, "o")) == {frame.value[60]}


def test_what_is_provisional_is_dashed_and_hollow_on_a_ground_of_its_own() -> None:
    frame = results([0.1, 0.2, 0.3, 0.4], maturity=["final", "final", "provisional", "provisional"])
    figure = sli.plot(frame)
    assert lines(figure) == [("-", [0.1, 0.2]), ("--", [0.2, 0.3, 0.4])]
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [np.asarray(line.get_ydata()).tolist() for line in hollow] == [[0.3, 0.4]]
    assert "provisional" in texts(figure)
    [ground] = figure.axes[0].patches
    assert ground.get_hatch()
    assert "provisional" not in texts(sli.plot(frame.iloc[:2]))


def test_the_objective_is_a_level_and_what_breaches_it_is_crossed() -> None:
    frame = results([0.1, 0.5, 0.3], objective=">= 0.4", verdict=["breached", "met", "undecided"])
    figure = sli.plot(frame)
    assert list(points(figure, "x")) == [0.1]
    assert "at least 0.4" in texts(figure)
    assert [line.get_ydata()[0] for line in figure.axes[0].lines if is_level(line)] == [0.4]


def test_the_strip_below_is_the_coverage() -> None:
    [line] = sli.plot(results([0.1, 0.2], coverage=[0.5, 1.0])).axes[1].lines
    assert np.asarray(line.get_ydata()).tolist() == [50, 100]


def test_slices_differ_by_colour_and_mark_and_only_the_largest_are_drawn() -> None:
    one = results([0.1, 0.2])
    every = [one.assign(slice=[{"site": f"s{i:02}"}] * 2, predictions=100 + i) for i in range(SLICES + 5)]
    figure = sli.plot(pd.concat(every))
    drawn = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines if len(line.get_xdata())}
    assert {colour for colour, mark in drawn if mark != "None"} == set(COLOURS)
    assert len({mark for _, mark in drawn} - {"None"}) == SLICES
    told = texts(figure)
    assert f"the {SLICES} largest of {SLICES + 5} slices" in told
    assert "s05" in told
    assert "s04" not in told


def test_times_are_those_of_the_zone() -> None:
    figure = sli.plot(results([0.1, 0.2]), timezone="America/New_York")
    formatter = figure.axes[1].xaxis.get_major_formatter()
    assert isinstance(formatter, dates.ConciseDateFormatter)
    assert formatter._tz == ZoneInfo("America/New_York")
    assert figure.axes[1].get_xlabel() == "America/New_York"


def test_many_windows_are_points_without_a_wall_of_lines() -> None:
    figure = sli.plot(results([0.1, 0.2] * DENSE))
    assert lines(figure) == []
    assert len(list(points(figure, "o"))) == 2 * DENSE
    assert "points without a line: too many windows" in texts(figure)


NAMES = st.text(st.sampled_from("_$\\\"'{}^&<>羽✈️\n\t aé") | st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(st.lists(NAMES | st.none(), min_size=1, max_size=3, unique=True))
@settings(max_examples=15, deadline=None)
def test_any_name_can_be_drawn(names: list[str | None]) -> None:
    """No warning of a missing glyph, no mathematics, no label left out."""
    frames = [results([0.1, 0.2], sli="a_$b$ 羽", slice=[{"site": name}] * 2) for name in names]
    figure = sli.plot(pd.concat(frames))
    figure.canvas.draw()
    assert len(names) == 1 or len(figure.legends[0].get_texts()) == len(names)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = Desk(tmp_path_factory.mktemp("figure"), None)  # type: ignore[arg-type]
    desk.configure(
        slis=["accuracy", {"sli": "feedback_delay", "q": 0.5}], slice_by=[[], ["site"]], grains=["hour", "day"]
    )
    desk.predictions(site=["A", "B"] * 3)
    desk.feedback()
    sli.run(desk.config, as_of="2024-02-01")
    return desk.config


def test_a_config_is_drawn_by_day_all_together_with_its_units(config: Path) -> None:
    figure = sli.plot(config, "feedback_delay")
    assert isinstance(figure, Figure)
    assert "feedback_delay, day, all" in texts(figure)
    figure.canvas.draw()
    assert any(label.get_text().endswith("h") for label in figure.axes[0].get_yticklabels())


def test_a_notebook_shows_the_figure_once_and_without_pyplot(config: Path) -> None:
    import sys

    figure = sli.plot(config, "accuracy")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sli": "accurcy"}, "did you mean 'accuracy'?"),
        ({}, "which SLI?"),
        ({"sli": "accuracy", "grain": "week"}, "no grain 'week' is published"),
        ({"sli": "accuracy", "slice": {"site": "C"}}, "there is nothing to draw of 'accuracy'"),
    ],
)
def test_what_cannot_be_drawn_is_a_clear_error(config: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SliError) as error:
        sli.plot(config, **asked)
    assert message in str(error.value)


def test_a_frame_is_drawn_whole(config: Path) -> None:
    frame = sli.read(config, sli="accuracy", slice={})
    with pytest.raises(ConfigError, match="a figure has one grain"):
        sli.plot(frame)
    with pytest.raises(ConfigError, match="a frame is drawn whole"):
        sli.plot(frame, grain="day")
    assert sli.plot(frame[frame.grain == "day"])
    assert sli.plot(sli.query(config, "accuracy", size="1h"))


def test_without_matplotlib_the_extra_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="sli-recompute\\[plot\\]"):
        sli.plot(config, "accuracy")
