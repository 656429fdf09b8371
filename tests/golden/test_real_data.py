"""Real flights and real taxi rides: every published number equals scikit-learn on rows joined in pandas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import config_tree
from sklearn import config_context, metrics

import sli
from sli.command.demo import flights, taxi
from sli.config.load import checked, load_config

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT.parent / "shared" / "data" / "taxi_yellow_2020_sample.parquet"
SCORED = ROOT.parent / "shared" / "data" / "taxi_yellow_2020_scored.parquet"
needs = pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is absent: the taxi data is not part of the project")

Twin = Callable[[Any, Any, Any], float]
BINARY: dict[str, Twin] = {
    "accuracy": lambda y, s, d: metrics.accuracy_score(y, d),
    "precision": lambda y, s, d: metrics.precision_score(y, d),
    "recall": lambda y, s, d: metrics.recall_score(y, d),
    "f1": lambda y, s, d: metrics.f1_score(y, d),
    "specificity": lambda y, s, d: metrics.recall_score(~y, ~d),
    "log_loss": lambda y, s, d: metrics.log_loss(y, s, labels=[False, True]),
    "brier": lambda y, s, d: metrics.brier_score_loss(y, s),
    "roc_auc": lambda y, s, d: metrics.roc_auc_score(y, s),
    "positive_rate": lambda y, s, d: float(np.mean(y)),
}
REGRESSION: dict[str, Twin] = {
    "mae": lambda y, p, _: metrics.mean_absolute_error(y, p),
    "mse": lambda y, p, _: metrics.mean_squared_error(y, p),
    "rmse": lambda y, p, _: metrics.root_mean_squared_error(y, p),
    "bias": lambda y, p, _: float(np.mean(p - y)),
    "r2": lambda y, p, _: metrics.r2_score(y, p),
}


@config_context(skip_parameter_validation=True)  # half of the time of thousands of calls on small windows
def compare(frame: pd.DataFrame, pairs: pd.DataFrame, twins: dict[str, Twin]) -> int:
    """Compare rows of the whole with twins on the pairs (time, label, prediction, decision); how many were."""
    compared = 0
    for (start, end), rows in frame.groupby(["window_start", "window_end"]):
        inside = pairs[(pairs.time >= start) & (pairs.time < end)]
        labelled = inside[inside.label.notna()]
        for row in rows.itertuples():
            assert (row.predictions, row.labelled) == (len(inside), len(labelled))
            if np.isnan(row.value):
                assert isinstance(row.reason, str)
                continue
            y = labelled.label.astype(bool) if twins is BINARY else labelled.label
            expected = twins[row.sli](y.to_numpy(), labelled.prediction.to_numpy(), labelled.decision.to_numpy())
            assert abs(row.value - expected) <= 1e-12 * max(1.0, abs(expected)) + row.error_bound, (row, expected)
            compared += 1
    return compared


@pytest.fixture(params=[(1, 3, 11), pytest.param(range(1, 13), marks=pytest.mark.soak)], ids=["months", "year"])
def days(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Logs of the flights of some months: January, of which the model learns, and those in which the clocks change.

    How many days they have.
    """
    packaged = flights.packaged

    def of_months(name: str) -> pd.DataFrame:
        table = packaged(name)
        return table[table.month.isin(request.param)] if "month" in table else table

    monkeypatch.setattr(flights, "packaged", of_months)
    flights.prepare(tmp_path)
    return sum(pd.Timestamp(2013, month, 1).days_in_month for month in request.param if month > 1)


def test_flights_equal_scikit_learn(tmp_path: Path, days: int) -> None:
    config = load_config(
        ROOT / "configs" / "flights.yaml",
        [
            f"store={tmp_path}/results",
            f"predictions.path={tmp_path}/predictions",
            f"feedback.path={tmp_path}/feedback",
            "slis=[accuracy, precision, recall, f1, specificity, log_loss, brier, roc_auc, positive_rate]",
            "slice_by=[[]]",
        ],
    )
    sli.run(config, as_of="2014-02-01")
    logs = {
        name: pd.concat(pd.read_parquet(path) for path in sorted((tmp_path / name).rglob("*.parquet")))
        for name in ("predictions", "feedback")
    }
    joined = logs["predictions"].merge(logs["feedback"], on="output_id", how="left")
    pairs = pd.DataFrame(
        {
            "time": joined.predicted_at,
            "label": joined.late,
            "prediction": joined.score,
            "decision": joined.score >= 0.25,
        }
    )
    assert len(pairs) == {334: 309_772, 61: 56_102}[days]
    rows = sli.read(config, grain="day")
    assert compare(rows, pairs, BINARY) == days * len(BINARY)
    lengths = (rows.window_end - rows.window_start) / pd.Timedelta("1h")
    assert set(lengths) == {23.0, 24.0, 25.0}
    ends = sli.read(config, grain="cumulative").window_end.unique()
    for grain, chosen in (("cumulative", ends[[0, days // 3, -1]]), ("7d/1d", ends[[3, days // 8, days * 3 // 5]])):
        rows = sli.read(config, grain=grain)
        assert compare(rows[rows.window_end.isin(chosen)], pairs, BINARY) == 3 * len(BINARY)


@needs
def test_taxi_rides_equal_scikit_learn_dirt_and_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxi, "TRAINING_TRIPS", 1_000)  # a worse model does as well here
    # One trip in four of five months, in two of which the clocks change.
    trips = pd.read_parquet(SAMPLE)
    trips = trips[trips.tpep_pickup_datetime.dt.month.isin([1, 3, 4, 10, 11])].iloc[::4]
    trips.to_parquet(tmp_path / "trips.parquet")
    taxi.prepare(str(tmp_path / "trips.parquet"), tmp_path)
    config = load_config(
        ROOT / "configs" / "taxi.yaml",
        [f"store={tmp_path}/results", f"predictions.path={tmp_path}/predictions", f"feedback.path={tmp_path}/feedback"],
    )
    outcome = sli.run(config, as_of="2021-02-01")
    audit = sli.read(config, table="audit").groupby("check")["count"].sum()
    assert audit["before prediction"] > 0, "dropoffs before pickups are real and must be audited"
    assert outcome.published
    assert sli.verify(config, windows=30).equal


@needs
@pytest.mark.parametrize("task", ["tip", "fare"])
def test_scored_taxi_rides_with_late_labels_equal_scikit_learn(tmp_path: Path, task: str) -> None:
    rides = pd.read_parquet(SCORED)
    score, label = ("score_tip20", "label_tip20") if task == "tip" else ("fare_pred", "fare_amount")
    for name, columns in (
        ("predictions", ["output_id", "prediction_ts", score]),
        ("feedback", ["output_id", "feedback_ts_exp2d", label]),
    ):
        (tmp_path / name).mkdir()
        rides[columns].to_parquet(tmp_path / name / "all.parquet")
    twins = BINARY if task == "tip" else REGRESSION
    more = {"timezone": "America/New_York", "since": "2020-02-01", "horizon": "3d", "grains": ["day", "cumulative"]}
    config = config_tree(
        tmp_path,
        {"time": "prediction_ts", "value": score},
        {"time": "feedback_ts_exp2d", "value": label},
        task="binary" if task == "tip" else "regression",
        slis=list(twins),
        **more,
    )
    made = checked(config)
    sli.run(made, as_of="2020-05-15T12:00")
    cutoff = pd.Timestamp("2020-05-15T16:00Z")
    times = {
        c: rides[c].dt.tz_localize("America/New_York", ambiguous=True, nonexistent="shift_forward")
        for c in ("prediction_ts", "feedback_ts_exp2d")
    }
    known = (times["feedback_ts_exp2d"] - times["prediction_ts"] <= pd.Timedelta(days=3)) & (
        times["feedback_ts_exp2d"] <= cutoff
    )
    pairs = pd.DataFrame(
        {
            "time": times["prediction_ts"],
            "label": rides[label].where(known),
            "prediction": rides[score],
            "decision": rides[score] >= 0.5,
        }
    )[times["prediction_ts"] <= cutoff]
    assert compare(sli.read(made, grain="day"), pairs, twins) > 100 * len(twins)
    whole = sli.read(made, grain="cumulative")
    assert compare(whole[whole.window_end == whole.window_end.max()], pairs, twins) == len(twins)
