"""Windows at query time as they were believed earlier: from the tiles of then, or refused, never wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from builders import small_world
from deltalake import DeltaTable
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.errors import ConfigError, StoreError

START = at("2024-03-08T00:00")
WORLD = small_world(horizon=3 * DAY, since=START, slice_by=((), ("a",)), grains=("hour", "day"), slis=("accuracy",))
FIRST, SECOND = START + 2 * DAY, START + 4 * DAY


def grown(root: Path, world: object = WORLD) -> Scenario:
    """Two days of predictions, a run, then the feedback of the first day and predictions of a third one, and a run."""
    scenario = Scenario(root, world)  # type: ignore[arg-type]
    rows = [Prediction(f"{i}", START + i * 3 * HOUR, i % 7 / 7, {"a": "xy"[i % 2]}) for i in range(24)]
    scenario.log_predictions("a.parquet", rows[:16])
    scenario.log_feedback("a.parquet", [Feedback(f"{i}", START + DAY + i * HOUR, float(i % 3 == 0)) for i in range(4)])
    scenario.run(FIRST)
    scenario.log_predictions("b.parquet", rows[16:])
    late = [Feedback(f"{i}", START + 2 * DAY + i * HOUR, float(i % 2)) for i in range(3, 12)]
    scenario.log_feedback("b.parquet", late)
    scenario.run(SECOND)
    return scenario


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return grown(tmp_path_factory.mktemp("twice"))


def days(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=["grain", "as_of", "run_id"]).reset_index(drop=True)


@pytest.mark.parametrize("as_of", [FIRST, FIRST + DAY, SECOND, SECOND + DAY])
@pytest.mark.parametrize("by", [(), ("a",)])
def test_a_published_window_is_what_was_read_then_to_the_bit(twice: Scenario, as_of: int, by: tuple[str, ...]) -> None:
    mine = sli.query(twice.config, "accuracy", size="1d", slice_by=by, as_of=text(as_of))
    published = sli.read(twice.config, grain="day", slice_by=by, as_of=text(as_of))
    whole_days = published[published.window_end <= mine.window_end.max()]
    pd.testing.assert_frame_equal(days(mine), days(whole_days), check_exact=True)
    assert set(mine.as_of) == {pd.Timestamp(FIRST if as_of < SECOND else SECOND, unit="us", tz="UTC")}


def test_windows_end_at_the_newest_hour_of_then(twice: Scenario) -> None:
    ends = [sli.query(twice.config, "accuracy", size="1h", as_of=text(t)).window_end.max() for t in (FIRST, SECOND)]
    assert [end.value // 1000 for end in ends] == [START + 46 * HOUR, START + 70 * HOUR]


def test_a_time_before_the_first_run_says_when_that_was(twice: Scenario) -> None:
    with pytest.raises(ConfigError, match="nothing was published yet at that time") as error:
        sli.query(twice.config, "accuracy", as_of=text(FIRST - HOUR))
    assert "2024-03-10 00:00 or later, the as_of of the first run" in error.value.expected


def test_what_a_run_with_an_older_as_of_told_has_no_tiles(tmp_path: Path) -> None:
    scenario = grown(tmp_path)
    before = sli.query(scenario.config, "accuracy", size="1d", as_of=text(FIRST))
    scenario.log_feedback("c.parquet", [Feedback("12", FIRST, 1.0)])
    scenario.run(FIRST + DAY)
    for as_of in (FIRST + DAY, SECOND - HOUR):
        with pytest.raises(StoreError, match="has no tiles, because a run told it afterwards") as error:
            sli.query(scenario.config, "accuracy", as_of=text(as_of))
        assert "sli.read(as_of=...)" in error.value.todo
        assert len(sli.read(scenario.config, as_of=text(as_of)))
    pd.testing.assert_frame_equal(sli.query(scenario.config, "accuracy", size="1d", as_of=text(FIRST)), before)
    now = sli.query(scenario.config, "accuracy", size="1d", as_of=text(SECOND))
    assert set(now.as_of) == {pd.Timestamp(SECOND, unit="us", tz="UTC")}


def test_verdicts_are_those_of_the_objective_of_then_and_another_definition_is_refused(tmp_path: Path) -> None:
    scenario = grown(tmp_path)
    scenario.settings = {"slis": [{"sli": "accuracy", "objective": ">= 0.9"}]}
    scenario.run(SECOND + DAY)
    then, now = (sli.query(scenario.config, "accuracy", as_of=text(t)) for t in (SECOND, SECOND + DAY))
    assert list(then.verdict.isna()) == [True]
    assert list(now.verdict) == ["breached"]
    scenario.settings = {"level": 0.9}
    scenario.run(SECOND + 2 * DAY)
    with pytest.raises(ConfigError, match="'accuracy' had another definition at that time"):
        sli.query(scenario.config, "accuracy", as_of=text(SECOND))
    scenario.settings = {"horizon": "2d"}
    scenario.run(SECOND + 3 * DAY)
    with pytest.raises(ConfigError, match="the config differs from what was published as of 2024-03-12"):
        sli.query(scenario.config, "accuracy", as_of=text(SECOND))


@pytest.mark.parametrize("gone", ["files", "log", "history"])
def test_tiles_that_were_cleaned_away_are_named_and_their_windows_still_read(
    twice: Scenario, tmp_path: Path, gone: str
) -> None:
    shutil.copytree(twice.root, tmp_path, dirs_exist_ok=True)
    scenario = replace(twice, root=tmp_path)
    if gone == "files":
        for name in ("tiles", "days"):
            DeltaTable(str(tmp_path / "store" / name)).vacuum(0, enforce_retention_duration=False, dry_run=False)
    else:
        table = tmp_path / "store" / ("results" if gone == "history" else "days")
        DeltaTable(str(table)).create_checkpoint()
        for version in (0, 1):
            (table / "_delta_log" / f"{version:020}.json").unlink()
    with pytest.raises(StoreError, match="the tiles of that time are no longer in the store") as error:
        sli.query(scenario.config, "accuracy", size="1d", as_of=text(FIRST))
    assert "sli.read(as_of=...)" in error.value.todo
    assert len(sli.read(scenario.config, as_of=text(FIRST)))
    assert len(sli.query(scenario.config, "accuracy", size="1d")) == 2


def test_the_command_and_the_values_know_as_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = grown(tmp_path, replace(WORLD, slis=("accuracy", "quantile_90")))
    (tmp_path / "config.yaml").write_text(json.dumps(config_of(scenario.world, tmp_path)))
    counts = []
    for more in (["--as-of", text(FIRST)], []):
        assert main(["query", str(tmp_path / "config.yaml"), "quantile_90", "--values", "--json", *more]) == 0
        counts.append(sum(row["count"] for row in json.loads(capsys.readouterr().out)))
    assert counts == [16, 24]
    assert main(["query", str(tmp_path / "config.yaml"), "accuracy", "--as-of", "2024-03-08"]) == 2
    assert "the as_of of the first run" in capsys.readouterr().err
