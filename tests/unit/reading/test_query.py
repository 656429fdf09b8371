"""Windows and slices at query time: the same numbers as the oracle's and the tables', without a row of the logs."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import config_tree, small_world
from oracle import Feedback, Prediction, oracle
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.errors import ConfigError, StoreError
from sli.reading.publication import Publication

START = at("2024-03-08T05:00")  # midnight in New York; the clocks change on the 10th
WORLD = small_world(
    horizon=2 * DAY,
    since=START,
    zone="America/New_York",
    slice_by=((), ("a",), ("a", "b")),
    grains=("hour", "day", "cumulative", ("sliding", "2d/1d", ("d", 2), ("d", 1))),
    slis=("accuracy", "log_loss", "quantile_90", "difference_previous"),
)
AS_OF = START + 9 * DAY


def logged(scenario: Scenario, rows: int = 400) -> Scenario:
    """Six days of predictions, a file a day; feedback for most."""
    pick = random.Random(4)
    days: dict[int, list[Prediction]] = {}
    for i in range(rows):
        time = START + pick.randrange(6 * 24) * HOUR + pick.randrange(HOUR)
        slices = {"a": pick.choice(["x", "x", "y", None]), "b": pick.choice(["1", "2"])}
        days.setdefault((time - START) // DAY, []).append(Prediction(f"{i}", time, round(pick.random(), 3), slices))
    for day, made in days.items():
        scenario.log_predictions(f"{day}.parquet", made)
        scenario.log_feedback(
            f"{day}.parquet",
            [
                Feedback(p.id, (p.time or 0) + HOUR, float(pick.random() < (p.value or 0)))
                for p in made
                if pick.random() < 0.8
            ],
        )
    return scenario


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A published store whose logs are gone."""
    scenario = logged(Scenario(tmp_path_factory.mktemp("query"), WORLD))
    scenario.run(AS_OF)
    for log in ("predictions", "feedback"):
        shutil.rmtree(scenario.root / log)
    return scenario


def check(found: pd.DataFrame, scenario: Scenario, grain: Any, by: tuple[str, ...], within: tuple[int, int]) -> None:
    """The rows are those of the oracle for sliding windows within a stretch of time."""
    world = replace(scenario.world, grains=(grain,), slice_by=(by,))
    predictions = [row for rows in scenario.predictions.values() for row in rows]
    feedback = [row for rows in scenario.feedback.values() for row in rows]
    expected = {
        (key.sli, key.window_start, key.window_end, dict(key.slice).__repr__()): row
        for key, row in oracle(world, predictions, feedback, AS_OF).results.items()
        if within[0] <= key.window_start and key.window_end <= within[1]
    }
    rows = {
        (r.sli, r.window_start.value // 1000, r.window_end.value // 1000, dict(sorted(r.slice.items())).__repr__()): r
        for r in found.itertuples()
    }
    assert rows.keys() == expected.keys()
    for key, row in expected.items():
        mine = rows[key]
        assert (mine.predictions, mine.labelled, mine.maturity) == (row.predictions, row.labelled, row.maturity)
        assert mine.value == pytest.approx(np.nan if row.value is None else row.value, abs=1e-12, nan_ok=True)
        assert row.reason == (mine.reason if isinstance(mine.reason, str) else None)


@pytest.mark.parametrize(
    ("size", "every", "grain"),
    [
        ("6h", "1h", ("sliding", "6h/1h", ("us", 6 * HOUR), ("us", HOUR))),
        ("30h", "5h", ("sliding", "30h/5h", ("us", 30 * HOUR), ("us", 5 * HOUR))),
        ("3d", "1d", ("sliding", "3d/1d", ("d", 3), ("d", 1))),
        ("2d", "1d", ("sliding", "2d/1d", ("d", 2), ("d", 1))),
    ],
)
@pytest.mark.parametrize("by", [(), ("a",), ("a", "b")])
def test_any_window_of_any_slice_equals_the_oracle(
    published: Scenario, size: str, every: str, grain: Any, by: Any
) -> None:
    names = list(WORLD.slis)
    found = sli.query(published.config, names, size=size, every=every, slice_by=by)
    newest = int(found.window_end.max().value // 1000)
    check(found, published, grain, by, (START, newest))
    assert len(found.window_end.unique()) > 3


def test_the_windows_of_a_grain_are_the_published_rows_to_the_bit(published: Scenario) -> None:
    rows = sli.read(published.config, grain="2d/1d", slice_by=["a"])
    rows = rows[rows.window_start >= pd.Timestamp(START, unit="us", tz="UTC")]
    found = sli.query(published.config, list(WORLD.slis), size="2d", every="1d", slice_by=["a"])
    last = found.window_end.max()
    order = ["sli", "window_end", "predictions", "labelled"]
    mine = found.sort_values(order).reset_index(drop=True)
    theirs = rows[rows.window_end <= last].sort_values(order).reset_index(drop=True)
    pd.testing.assert_frame_equal(mine.drop(columns="slice"), theirs.drop(columns="slice"), check_exact=True)


def test_all_of_the_time_is_one_window_and_equals_the_cumulative_row(published: Scenario) -> None:
    (found,) = sli.query(published.config, "accuracy").itertuples()
    row = sli.read(published.config, sli="accuracy", grain="cumulative", slice_by=[]).iloc[-1]
    for name in ("value", "ci_low", "ci_high", "missing_low", "missing_high", "predictions", "labelled", "window_end"):
        assert getattr(found, name) == row[name], name


def test_one_slice_and_a_window_that_cuts_days(published: Scenario) -> None:
    interval = (START + 31 * HOUR, START + 100 * HOUR)
    found = sli.query(published.config, "accuracy", start=text(interval[0]), end=text(interval[1]), slice={"a": None})
    grain = ("sliding", "one", ("us", 69 * HOUR), ("us", 69 * HOUR))
    world = replace(published.world, since=interval[0], grains=(grain,), slice_by=(("a",),), slis=("accuracy",))
    rows = [row for each in published.predictions.values() for row in each]
    known = [row for each in published.feedback.values() for row in each]
    answer = {
        dict(k.slice)["a"]: r
        for k, r in oracle(world, rows, known, AS_OF).results.items()
        if k.window_end == interval[1]
    }
    assert list(found.value) == [answer[None].value]
    assert list(found.predictions) == [answer[None].predictions]


@pytest.mark.parametrize(
    ("slis", "size", "every", "tables"),
    [
        (["accuracy"], "6h", None, ["tiles"]),
        (["accuracy"], "2d", "1d", ["days"]),
        (["accuracy"], "30h", "5h", ["tiles", "days"]),
        # The window before one of six hours is not looked at: it might have a whole day.
        (["difference_previous"], "6h", None, ["tiles", "days"]),
    ],
)
def test_day_tiles_are_read_only_where_windows_hold_whole_days(
    published: Scenario,
    monkeypatch: pytest.MonkeyPatch,
    slis: list[str],
    size: str,
    every: str | None,
    tables: list[str],
) -> None:
    rows, asked = Publication.rows, []

    def read(publication: Publication, name: str, *given: Any) -> Any:
        asked.append(name)
        return rows(publication, name, *given)

    monkeypatch.setattr(Publication, "rows", read)
    sli.query(published.config, slis, size=size, every=every)
    assert asked == tables


def test_a_built_in_sli_that_needs_no_other_states_is_answered_though_nobody_declared_it(published: Scenario) -> None:
    assert len(sli.query(published.config, "f1")) == 1
    with pytest.raises(ConfigError, match="the tiles lack what 'roc_auc' needs") as error:
        sli.query(published.config, "roc_auc")
    assert "slis" in error.value.todo


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sli": "acuracy"}, "did you mean 'accuracy'"),
        ({"slice": {"c": "x"}}, "no tiles of these slices are kept"),
        ({"slice": "A"}, "this is not a slice"),
        ({"start": "2024-03-08T07:30"}, "start must fall on whole hours"),
        ({"size": "90m"}, "size must be made of whole hours"),
        ({"size": "0h"}, "size must be made of whole hours"),
        ({"every": "1h"}, "`every` needs a `size`"),
        ({"size": "400d"}, "no window fits"),
        ({"start": "2024-04-01"}, "the time asked for is empty"),
        ({"size": "1h", "every": "1h", "start": "1990-01-01"}, "too many windows"),
        ({"size": "six hours"}, "size is not a duration"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(published: Scenario, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        sli.query(published.config, asked.pop("sli", "accuracy"), **asked)
    assert message in str(error.value)


def test_a_store_never_published_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing is published yet"):
        sli.query(logged(Scenario(tmp_path, WORLD), 10).config, "accuracy")


def test_windows_with_hours_still_to_be_computed_are_null_and_say_so(tmp_path: Path) -> None:
    scenario = logged(Scenario(tmp_path, WORLD))
    scenario.run(AS_OF)
    scenario.world = replace(WORLD, slis=(*WORLD.slis, "roc_auc"))
    scenario.backfill(AS_OF, "2024-03-09", "2024-03-11", sli=["roc_auc"])
    found = sli.query(scenario.config, "roc_auc", size="1d")
    waits = found.reason == "holds hours still to be computed"
    assert list(waits) == [True, False, False, True, True, True][: len(found)]
    assert found.value[waits].isna().all()
    assert found.value[~waits].notna().all()


# Slices


def test_the_largest_slices_are_told_apart_and_the_rest_is_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = logged(Scenario(tmp_path, replace(WORLD, top=2)))
    scenario.run(AS_OF)
    scenario.check(AS_OF)
    days = sli.read(scenario.config, grain="day", sli="accuracy", slice_by=["a", "b"])
    for _, rows in days.groupby("window_start"):
        named = [each["a"] for each in rows["slice"]]
        assert len(named) <= 3
        assert named.count("(other)") == (len(named) == 3)
    whole = sli.read(scenario.config, grain="day", sli="accuracy", slice_by=[])
    assert (days.groupby("window_start").predictions.sum().to_numpy() == whole.predictions.to_numpy()).all()
    (tmp_path / "config.yaml").write_text(json.dumps(config_of(scenario.world, tmp_path)))
    for command in (["show", "--by", "a,b"], ["query", "accuracy", "--by", "a,b"]):
        assert main([command[0], str(tmp_path / "config.yaml"), *command[1:]]) == 0
        assert "(other): all slices of a window but its 2 largest" in capsys.readouterr().out
    one = sli.query(scenario.config, "accuracy", slice={"a": None, "b": "2"})
    assert len(one) == 1, "a slice asked for by name is told though the tables have it among the rest"


def test_small_slices_are_null_with_the_reason_and_the_whole_is_not(tmp_path: Path) -> None:
    scenario = logged(Scenario(tmp_path, replace(WORLD, min_support=40)))
    scenario.run(AS_OF)
    scenario.check(AS_OF)
    days = sli.read(scenario.config, grain="day", sli="accuracy", slice_by=["a"])
    small = days.predictions < 40
    assert small.any()
    assert not small.all()
    assert (days.reason[small] == "fewer than 40 predictions").all()
    assert days.value[~small].notna().all()


def binned(tmp_path: Path, bins: Any) -> Any:
    """A published store with slices of a number."""
    random_ = np.random.default_rng(3)
    times = pd.Timestamp("2024-03-08T12:00Z") + pd.to_timedelta(random_.integers(0, 3 * 86_400, 500), unit="s")
    fares = np.where(random_.random(500) < 0.1, np.nan, random_.gamma(2, 10, 500).round(1))
    (tmp_path / "predictions").mkdir()
    (tmp_path / "feedback").mkdir()
    frame = pd.DataFrame({"output_id": np.arange(500).astype(str), "predicted_at": times, "score": random_.random(500)})
    frame.assign(fare=fares).to_parquet(tmp_path / "predictions" / "p.parquet")
    known = frame.assign(known_at=frame.predicted_at + pd.Timedelta("1h"), label=(frame.score > 0.4).astype(float))
    known[["output_id", "known_at", "label"]].to_parquet(tmp_path / "feedback" / "f.parquet")
    pd.DataFrame({"fare": fares}).to_parquet(tmp_path / "train.parquet")
    tree = config_tree(since="2024-03-08", slice_by=[[], ["fare"]], bins={"fare": bins}, slis=["accuracy", "count"])
    del tree["grains"]
    (tmp_path / "config.yaml").write_text(json.dumps(tree))
    sli.run(tmp_path / "config.yaml", as_of="2024-03-20")
    return tmp_path / "config.yaml", fares


def test_numbers_are_sliced_by_declared_bins_that_stay_the_same(tmp_path: Path) -> None:
    path, fares = binned(tmp_path, [10, 20.5, 50])
    rows = sli.query(path, "count", slice_by=["fare"])
    found = {each["fare"]: n for each, n in zip(rows["slice"], rows.predictions, strict=True)}
    names = ["< 10", "[10, 20.5)", "[20.5, 50)", ">= 50"]
    edges = [-np.inf, 10, 20.5, 50, np.inf]
    expected: dict[Any, int] = {
        name: int(((fares >= a) & (fares < b)).sum()) for name, a, b in zip(names, edges, edges[1:], strict=False)
    }
    assert found == {**expected, None: int(np.isnan(fares).sum())}
    assert sli.verify(path, windows=None).equal


def test_bins_of_quantiles_come_from_the_reference_table(tmp_path: Path) -> None:
    path, fares = binned(tmp_path, {"quantiles": 4, "table": "train.parquet"})
    rows = sli.query(path, "count", slice_by=["fare"])
    known = rows[[each["fare"] is not None for each in rows["slice"]]]
    assert len(known) == 4
    assert known.predictions.between(0.2 * len(fares), 0.26 * len(fares)).all()
    assert sli.verify(path, windows=None).equal


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        ([20, 10], "edges must ascend"),
        ([], "edges must ascend"),
        ({"quantiles": 4, "table": "gone.parquet"}, "gone.parquet"),
    ],
)
def test_wrong_bins_are_refused(tmp_path: Path, bins: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        binned(tmp_path, bins)
    assert message in str(error.value)


def test_slices_are_ranked_by_how_far_they_surely_lie_behind(published: Scenario) -> None:
    found = sli.compare_slices(published.config, "accuracy", support=20)
    whole = sli.query(published.config, "accuracy").value.iloc[0]
    assert (found.whole == whole).all()
    assert (found.behind == whole - found.value).all()
    assert found.surely.is_monotonic_decreasing
    assert (found.labelled >= 20).all()
    assert set(found.slice_by) == {("a",), ("a", "b")}
    assert found.since.isna().all(), "six days are too few"
    assert found.worsened.isna().all()
    assert (found.surely <= found.behind.clip(lower=0.0)).all()
    worse = sli.compare_slices(published.config, "log_loss", support=20)
    assert (worse.behind == worse.value - worse.whole).all()
    with pytest.raises(ConfigError, match="does not say which direction is better"):
        sli.compare_slices(published.config, "quantile_90")


def test_the_commands_print_windows_and_slices(published: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    path = published.root / "config.json.yaml"
    path.write_text(json.dumps(config_of(published.world, published.root)))
    assert main(["query", str(path), "accuracy", "--size", "1d", "--slice", "a=x"]) == 0
    shown = capsys.readouterr().out
    assert "95% interval" in shown
    assert "if labels arrive" in shown
    assert main(["slices", str(path), "--sli", "accuracy", "--support", "5"]) == 0
    said = capsys.readouterr().out
    assert "over all, since when it is worse cannot be said; " in said
    assert "worst first" in said
    assert main(["query", str(path), "acuracy"]) == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"slis": [{"sli": "mean", "of": "a"}]}, "slis, mean"),
        ({"slis": [{"sli": "ks", "of": "a"}]}, "slis, ks"),
    ],
)
def test_a_text_column_where_a_number_is_needed_is_refused_before_any_work(
    tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    scenario = logged(Scenario(tmp_path, WORLD, changes), 20)
    with pytest.raises(ConfigError, match="'a' is text where a number is needed") as error:
        scenario.run(AS_OF)
    assert error.value.where == where


def test_a_run_warns_of_p_values_over_many_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sli.command.text import outcome_lines

    scenario = logged(Scenario(tmp_path, WORLD, {"slis": ["accuracy", {"sli": "ks_p"}]}))
    outcome, config = scenario.run(AS_OF), scenario.config
    printed = outcome, config
    assert not any("significant" in line for line in outcome_lines(*printed))
    monkeypatch.setattr("sli.command.text.MANY", 100)
    lines = outcome_lines(*printed)
    significant = "with 400 predictions in a window even a tiny difference is significant"
    assert f"ks_p: {significant}; judge by ks instead" in lines


def test_the_values_an_sli_keeps_are_counted_for_any_window(
    published: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sli.distribution(published.config, "quantile_90", size="2d", slice={"a": "x"})
    rows = [p for each in published.predictions.values() for p in each if p.slices["a"] == "x"]
    for (start, end), mine in found.groupby(["window_start", "window_end"]):
        inside = [p.value for p in rows if start.value <= (p.time or 0) * 1000 < end.value and p.value is not None]
        expected = pd.Series(inside).value_counts()
        assert dict(zip(mine.value, mine["count"], strict=True)) == expected.to_dict()
        assert mine["count"].is_monotonic_decreasing
    with pytest.raises(ConfigError, match="keeps no values"):
        sli.distribution(published.config, "accuracy")
    path = published.root / "config.yaml"
    path.write_text(json.dumps(config_of(published.world, published.root)))
    assert main(["query", str(path), "quantile_90", "--values", "--rows", "2"]) == 0
    assert "more" in capsys.readouterr().out
